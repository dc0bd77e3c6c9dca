"""The public keys of the federation, where another host publishes them (`Federation.JwkUrl`).

They are fetched in the background and never on a request's thread; old ones count while there are no new ones.

Source: Pelican `token/token_verify.go:checkFederationIssuer`.
"""

from typing import Final, Protocol

from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.outbound.client import OutboundError
from director_wsgi.trust.keys import KeySet, NotAKeySet, parse_key_set
from director_wsgi.trust.poll import Poll
from director_wsgi.trust.registry import BadAnswer, NoAnswer, Sender
from director_wsgi.trust.shared import ALONE, KEY_SETS, Sharing

REFRESH_S: Final = 900.0
RETRY_S: Final = 5.0
"""Least time between two tries, also while there are no keys yet."""

TIMEOUT_S: Final = 10.0

_MAX_BYTES: Final = 256 << 10
_NO_KEYS: Final = KeySet()


class _Client(Sender, Protocol):
    def close(self) -> None: ...


class FederationKeys:
    """The keys. One thread refreshes them; any thread reads them, without a lock and without waiting.

    Args:
        client: Asks for them; closed with this object.
        url: Where they are.
        sharing: With whom they are shared.
        clock: Monotonic seconds.
    """

    def __init__(self, client: _Client, url: str, *, sharing: Sharing = ALONE, clock: Clock = monotonic) -> None:
        self._client = client
        self._url = url
        self._poll: Poll[KeySet] = Poll("the keys of the federation", self._fetch, nothing=_NO_KEYS, clock=clock)
        self._poll.share("federation-keys", url, codec=KEY_SETS, sharing=sharing)

    def key_set(self) -> KeySet:
        """The keys as last fetched; empty until they have been."""
        return self._poll.value

    @property
    def loaded(self) -> bool:
        """Whether they were ever fetched, by whichever worker."""
        return self._poll.loaded

    @property
    def age_s(self) -> float:
        """Seconds since they were last fetched; infinite if they never were."""
        return self._poll.age_s

    def refresh(self, deadline: Deadline) -> bool:
        """Fetch them; keep the old ones if that fails, which is logged once. Whether they were fetched."""
        return self._poll.refresh(deadline)

    @property
    def is_due(self) -> bool:
        """Whether it is time to fetch them anew, and nobody has."""
        return self._poll.is_due(REFRESH_S)

    def next_refresh_in_s(self) -> float:
        """How long to wait before the next `refresh`: soon after a failure, less and less soon after several."""
        return max(self._poll.next_refresh_in_s(REFRESH_S), RETRY_S)

    def close(self) -> None:
        """Fetch them no more; a fetch under way fails."""
        self._client.close()

    def _fetch(self, deadline: Deadline) -> KeySet:
        headers = {"Accept": "application/json"}
        try:
            answer = self._client.send("GET", self._url, deadline=deadline, headers=headers, max_bytes=_MAX_BYTES)
        except OutboundError as error:
            raise NoAnswer(f"Federation.JwkUrl could not be asked: {error.failure.value}") from None
        if answer.status != 200:
            raise NoAnswer(f"Federation.JwkUrl answered {answer.status}")
        try:
            keys = parse_key_set(answer.body)
        except NotAKeySet as error:
            raise BadAnswer(f"what Federation.JwkUrl answered is no key set: {error}", settles=False) from None
        if not keys.keys:
            raise BadAnswer("the key set at Federation.JwkUrl holds no key that can be used", settles=False)
        return keys
