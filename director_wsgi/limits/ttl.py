"""TTLTable: a bounded table whose entries die, safe between threads.

`cachetools.TLRUCache` does the work: it knows which entry is the least recently used, and each has its own end. It is
not safe between threads, takes a function from key and value to the end of life, and never changes its size; here are
one lock, a lifetime given with each entry, and a bound that may change.
"""

import math
import threading
from typing import Final, Generic, TypeVar

from cachetools import TLRUCache

from director_wsgi.limits.deadline import Clock, monotonic

K = TypeVar("K")
V = TypeVar("V")

BATCH: Final = 256
"""Entries that go at a time where a table is made smaller: about a tenth of a millisecond, for which others wait."""


class _Entry(Generic[V]):
    """A value and how long it lives; the table asks for the latter once, when the entry is put."""

    __slots__ = ("ttl_s", "value")

    def __init__(self, value: V, ttl_s: float) -> None:
        self.value = value
        self.ttl_s = ttl_s


def _end_of(_key: object, entry: _Entry[V], now: float) -> float:
    return now + entry.ttl_s


class TTLTable(Generic[K, V]):
    """Bounded memory of what holds for a while.

    All methods may be called from any thread; none blocks longer than a dictionary look-up. A dead entry is never
    returned, whether or not it has been removed yet. Values are handed out as they were put in: put immutable ones.

    Args:
        capacity: Most entries kept, at least 1; the least recently used makes room.
        clock: Monotonic seconds.

    Raises:
        ValueError: `capacity` is below 1.
    """

    def __init__(self, capacity: int, clock: Clock = monotonic) -> None:
        self._capacity = _checked(capacity)
        self._lock = threading.Lock()
        self._entries: TLRUCache[K, _Entry[V]] = TLRUCache(math.inf, ttu=_end_of, timer=clock)

    def get(self, key: K) -> V | None:
        """The value, which counts as a use; None if there is none or it has died."""
        # Not the table's own `get`, which looks twice and may find the entry dead only the second time.
        with self._lock:
            try:
                return self._entries[key].value
            except KeyError:
                return None

    def put(self, key: K, value: V, ttl_s: float) -> None:
        """Keep `value` for `ttl_s` seconds in place of what was there; not at all if `ttl_s` is not above 0.

        Raises:
            ValueError: `ttl_s` is NaN.
        """
        if math.isnan(ttl_s):
            raise ValueError("a lifetime cannot be NaN")
        with self._lock:
            self._entries[key] = _Entry(value, ttl_s)
            self._make_room(at_most=2)

    def pop(self, key: K) -> V | None:
        """Remove the entry and return its value; None if there was none or it had died."""
        with self._lock:
            try:
                value = self._entries[key].value
                del self._entries[key]
            except KeyError:
                return None
        return value

    def resize(self, capacity: int) -> None:
        """Change how many entries are kept. If fewer: the least recently used go, before this returns.

        They go a few at a time, and meanwhile others may use the table.

        Raises:
            ValueError: `capacity` is below 1.
        """
        self._capacity = _checked(capacity)
        has_room = False
        while not has_room:
            with self._lock:
                has_room = self._make_room(at_most=BATCH)

    @property
    def capacity(self) -> int:
        """Most entries kept."""
        return self._capacity

    def expire(self) -> int:
        """Remove what has died, and return how many that were.

        Needed only to give memory back early: dead entries are also removed by each `put`, and never exceed the
        capacity.
        """
        with self._lock:
            return len(self._entries.expire())

    def __len__(self) -> int:
        """Entries alive."""
        with self._lock:
            self._entries.expire()
            return len(self._entries)

    def __contains__(self, key: K) -> bool:
        """Whether the key is there and alive; does not count as a use."""
        with self._lock:
            return key in self._entries

    def _make_room(self, *, at_most: int) -> bool:
        """Let so many go that are too many; whether there are no more of these. The lock is held."""
        for _ in range(at_most):
            if len(self._entries) <= self._capacity:
                return True
            self._entries.popitem()
        return len(self._entries) <= self._capacity


def _checked(capacity: int) -> int:
    if capacity < 1:
        raise ValueError("a table needs room for at least one entry")
    return capacity
