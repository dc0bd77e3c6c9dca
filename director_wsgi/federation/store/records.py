"""The interface of a store: records with revisions, and leases.

Revisions grow, over all kinds, by one for each change, and never begin again: a store that had to start anew starts
beyond whatever it may have reached before. All processes see the same changes in the same order, each `put` as a whole.

The shape is one that Redis can hold as well: a hash for each record, a sorted set of keys by revision, a counter; a
lease is a key with an end.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from director_wsgi.limits.deadline import Deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something under a kind and a key, and until when it holds.

    Attributes:
        kind, key: Text without halves of surrogate pairs.
        expires_at: Seconds since the Unix epoch; infinity for what never ends.
        granted_s: How long that was when it was put, in seconds.

    Raises:
        ValueError: One of them is NaN.
    """

    kind: str
    key: str
    expires_at: float
    granted_s: float

    def __post_init__(self) -> None:
        if math.isnan(self.expires_at) or math.isnan(self.granted_s):
            raise ValueError("the end of an entry cannot be NaN")

    def remaining_s(self, now: float) -> float:
        """Seconds left at `now`, a wall clock's; never more than was granted, however the clock was set meanwhile."""
        return min(max(self.expires_at - now, 0.0), self.granted_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Entry):
    """What is stored."""

    body: bytes = field(repr=False)
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal(Entry):
    """A record lives on; its body is the one it had before."""

    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Put(Entry):
    """Store a record, or renew one.

    Attributes:
        body: None to renew the life of a record and keep its body; see `Written.missing`.
        unless_known: Do nothing if there is such a record, or one was dropped lately: for what may be out of date.
    """

    body: bytes | None = field(repr=False)
    unless_known: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Forget a record before its end; nothing happens if there is none."""

    kind: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of a `put`.

    Attributes:
        revision: The newest one.
        missing: Renewals of what is not there: the store was emptied, or has forgotten what had ended. They were
            passed over; put them again with their bodies.
    """

    revision: int
    missing: tuple[Put, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is newer than a revision, each in the order of revisions, nothing twice.

    Attributes:
        records: Whose bodies are newer. What has ended may be among them; `remaining_s` tells.
        renewed: Whose life alone is newer.
        dropped: Kind and key of what was dropped and not put again. What merely ended is not here: it ends by itself
            wherever it is known.
        revision: To ask from next time.
        is_whole: Everything there is, since the revision asked from was 0, or too old, or another store's. It tells
            nothing of what is not in it: the store may have been emptied. Keep that until it ends.
    """

    records: tuple[Record, ...] = ()
    renewed: tuple[Renewal, ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()
    revision: int
    is_whole: bool = False


class Store(Protocol):
    """A table of records that many processes share. Any thread may call any method.

    Every method may raise any `StoreError`, and then nothing has been done.
    """

    def put(self, changes: Sequence[Put | Drop], deadline: Deadline) -> Written:
        """Do all of this, in this order, as one change that others see as a whole."""
        ...

    def get(self, kind: str, key: str) -> Record | None:
        """One record; it may have ended."""
        ...

    def changes(self, since: int) -> Changes:
        """What is newer than the revision `since`; 0 for everything."""
        ...

    def revision(self) -> int:
        """The newest revision. Cheap enough to be asked fifty times a second."""
        ...

    def take_lease(self, name: str, holder: str, ttl_s: float) -> bool:
        """Take the lease, or renew it if it is one's own. Whoever holds it does so for `ttl_s` seconds from now.

        Returns:
            Whether `holder` has it now.
        """
        ...

    def leave(self, name: str, holder: str) -> None:
        """Give the lease back before its end; nothing happens if it is somebody else's."""
        ...

    def holder(self, name: str) -> str | None:
        """Who holds the lease; None if nobody does."""
        ...

    def close(self) -> None:
        """End it; what is called later raises `StoreError`. May be called again."""
        ...
