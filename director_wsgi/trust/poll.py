"""What the registry knows as a whole, such as a table of all caches: fetched again and again in the background.

One worker of a host fetches it for all: those that share it take over what another has fetched, and so does a director
that is started. An old table is worth having while there is no new one, however old.
"""

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.trust.registry import Closed, RegistryError
from director_wsgi.trust.shared import Codec, SharedAnswers, Sharing

log = logging.getLogger(__name__)

V = TypeVar("V")

RETRY_S: Final = 1.0
"""Between two tries while nothing was ever fetched; also the first pause after a failure."""


@dataclass(frozen=True, slots=True)
class _Held(Generic[V]):
    """The table, and when it was fetched; both change at once."""

    value: V
    fetched_at: float = -math.inf


class Poll(Generic[V]):
    """The table. One thread refreshes it, and the replica's brings what another worker has fetched.

    Any thread reads it, without a lock and without waiting.
    """

    def __init__(
        self,
        what: str,
        fetch: Callable[[Deadline], V],
        *,
        nothing: V,
        on_value: Callable[[V], object] = lambda _value: None,
        clock: Clock = monotonic,
    ) -> None:
        """Nothing has been fetched yet.

        Args:
            what: Names it in the log.
            fetch: Asks the registry; raises `RegistryError` only.
            nothing: Stands for it until it has been fetched.
            on_value: Told of each table, whoever fetched it; on the thread that brings it.
            clock: Monotonic seconds.
        """
        self._what = what
        self._fetch = fetch
        self._on_value = on_value
        self._clock = clock
        self._lock = threading.Lock()  # for whoever writes `_held`
        self._held = _Held(nothing)
        self._failures = 0  # in a row; of the thread that refreshes
        self._shared: SharedAnswers[V] | None = None

    def share(self, kind: str, place: str, *, codec: Codec[V], sharing: Sharing) -> None:
        """Let other workers have it, and take theirs; before anything is fetched. See `SharedAnswers`."""
        self._shared = SharedAnswers(kind, place, codec=codec, memory=self, sharing=sharing)

    @property
    def value(self) -> V:
        """The table as last fetched."""
        return self._held.value

    @property
    def loaded(self) -> bool:
        """Whether it was ever fetched, by whichever worker."""
        return self._held.fetched_at > -math.inf

    @property
    def age_s(self) -> float:
        """Seconds since it was last fetched; infinite if it never was."""
        return self._clock() - self._held.fetched_at

    def refresh(self, deadline: Deadline) -> bool:
        """Fetch it; keep the old one if that fails, which is logged once. Whether it was fetched."""
        try:
            value = self._fetch(deadline)
        except Closed:
            return False
        except RegistryError as error:
            if not self._failures:
                log.warning("cannot refresh %s: %s", self._what, error)
            self._failures += 1
            return False
        if self._failures or not self.loaded:
            log.info("fetched %s", self._what)
        self._failures = 0
        self.learn("", value, 0.0)
        if self._shared is not None:
            self._shared.answered("", value)
        return True

    def is_due(self, interval_s: float) -> bool:
        """Whether nobody has fetched it for so long."""
        return self.age_s >= interval_s

    def next_refresh_in_s(self, interval_s: float) -> float:
        """How long to wait before it may be due.

        Args:
            interval_s: From one time it was fetched, by whichever worker, to the next while all is well. After a
                failure it is less at first, and grows up to this; a second while nothing was ever fetched, and while
                another worker should have fetched it.
        """
        if not self.loaded:
            return min(interval_s, RETRY_S)
        if not self._failures:
            return max(interval_s - self.age_s, min(interval_s, RETRY_S))
        return min(interval_s, RETRY_S * 2.0 ** min(self._failures - 1, 32))

    # -- as a `Memory`; the key is always the same

    def learn(self, _key: str, value: V, age_s: float, /) -> None:
        """Take over what was fetched so long ago, unless something newer is there."""
        fetched_at = self._clock() - age_s
        with self._lock:
            if fetched_at < self._held.fetched_at:
                return
            self._held = _Held(value, fetched_at)
        self._on_value(value)

    def renew(self, _key: str, age_s: float, /) -> bool:
        """The same was fetched again so long ago. Whether there is anything."""
        fetched_at = self._clock() - age_s
        with self._lock:
            if not self.loaded:
                return False
            self._held = _Held(self._held.value, max(fetched_at, self._held.fetched_at))
        return True

    def forget(self, _key: str, /) -> None:
        """Nothing: what was fetched counts until there is something newer."""
