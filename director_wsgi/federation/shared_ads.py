"""Advertisements that workers tell each other: what one has admitted, all use, as if it had come to them.

What is stored of an advertisement is what the directory holds, and whether the registry vouches for the server's name:
only then do the others' filters heed it as well, see `trust.admission`.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from director_wsgi.errors import AdRejected
from director_wsgi.federation.alone import Alone
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.filters import Filters
from director_wsgi.federation.models import ServerAd
from director_wsgi.federation.replica import Replica
from director_wsgi.federation.store.codec import UnreadableBody, decode_ad, encode_ad
from director_wsgi.federation.store.records import Record, Renewal
from director_wsgi.limits.deadline import WallClock

log = logging.getLogger(__name__)

KIND: Final = "ad"
"""Of the records; their keys are data URLs."""

SHARED_WITHIN_S: Final = 0.1
"""How long the answer to an advertisement is kept back, at most, until no death of this worker could undo it."""

_HEEDED: Final = b"h"
_NOT_HEEDED: Final = b"-"


@dataclass(frozen=True, slots=True, eq=False)
class _Token:
    """Stands for a record. Two are equal if nothing has to be written but a longer life."""

    ad: ServerAd
    is_heeded: bool

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Token) and self.ad is other.ad and self.is_heeded == other.is_heeded

    def __hash__(self) -> int:
        return hash((id(self.ad), self.is_heeded))

    def encode(self) -> bytes:
        return (_HEEDED if self.is_heeded else _NOT_HEEDED) + encode_ad(self.ad)


class SharedAds:
    """Publishes what this worker has admitted, and takes over what others have: a `Follower`.

    `admitted` may be called by any thread; the rest is called by the replica's.
    """

    def __init__(
        self,
        replica: Replica | Alone,
        directory: Directory,
        filters: Filters,
        *,
        wall: WallClock,
        on_heard: Callable[[str], object] = lambda _data_url: None,
    ) -> None:
        """Follow what others publish.

        Args:
            replica: Not started yet.
            directory: Takes what others have admitted.
            filters: Heeds what servers say of themselves.
            wall: Seconds since the Unix epoch.
            on_heard: Told the data URL of a server that another worker has heard from.
        """
        self._replica = replica
        self._directory = directory
        self._filters = filters
        self._wall = wall
        self._on_heard = on_heard
        self._refused = 0
        replica.follow(KIND, self)
        replica.after_telling(directory.show)

    @property
    def refused(self) -> int:
        """Others' advertisements that could not be taken over so far."""
        return self._refused

    def admitted(self, ad: ServerAd, lifetime_s: float, *, is_heeded: bool) -> None:
        """Let other workers use an advertisement, and wait until they can, for `SHARED_WITHIN_S` at most.

        Args:
            ad: The object that the directory holds.
            lifetime_s: From now on.
            is_heeded: Whether the registry vouches for the server's name.
        """
        token = _Token(ad, is_heeded)
        self._replica.publish(KIND, ad.data_url, token.encode, lifetime_s=lifetime_s, token=token)
        self._replica.has_shared(SHARED_WITHIN_S)

    def took(self, record: Record) -> _Token | None:
        """See `Follower.took`."""
        lifetime_s = record.remaining_s(self._wall())
        if lifetime_s <= 0:
            return None
        try:
            ad = decode_ad(record.body[1:])
        except UnreadableBody as error:
            self._refuse("a stored advertisement cannot be read: %s", error)
            return None
        return self._record(ad, lifetime_s, is_heeded=record.body[:1] == _HEEDED)

    def renewed(self, renewal: Renewal) -> bool:
        """See `Follower.renewed`."""
        # What the server said of itself is what it said before, so the filters need not hear it again.
        try:
            if not self._directory.renew(renewal.key, renewal.remaining_s(self._wall())):
                return False
        except AdRejected:  # it has ended meanwhile, and its place is taken
            return False
        self._on_heard(renewal.key)
        return True

    def dropped(self, key: str) -> None:
        """See `Follower.dropped`."""
        self._directory.remove(key)

    def _record(self, ad: ServerAd, lifetime_s: float, *, is_heeded: bool) -> _Token | None:
        if is_heeded:
            self._filters.server_said(ad)
        try:
            kept = self._directory.record(ad, lifetime_s, self._filters.filtered(), at_once=False)
        except AdRejected as error:
            self._refuse("an advertisement that another worker has admitted is not taken over: %s", error)
            return None
        self._on_heard(ad.data_url)
        return _Token(kept, is_heeded)

    def _refuse(self, text: str, error: Exception) -> None:
        """All that is refused is counted; the first and every thousandth is logged."""
        if self._refused % 1000 == 0:
            log.warning(text, error)
        self._refused += 1
