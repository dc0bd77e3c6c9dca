"""TTLTable: a bounded table whose entries die, safe between threads.

`cachetools.TLRUCache` does the work: the least recently used entry makes room, each entry has its own end. It is not
safe between threads and takes a function from key and value to the end of life; here are one lock and a lifetime
given with each entry.
"""

import math
import threading
from typing import Generic, TypeVar

from cachetools import TLRUCache

from director_wsgi.limits.deadline import Clock, monotonic

K = TypeVar("K")
V = TypeVar("V")


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
        if capacity < 1:
            raise ValueError("a table needs room for at least one entry")
        self._lock = threading.Lock()
        self._entries: TLRUCache[K, _Entry[V]] = TLRUCache(capacity, ttu=_end_of, timer=clock)

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

    def pop(self, key: K) -> V | None:
        """Remove the entry and return its value; None if there was none or it had died."""
        with self._lock:
            try:
                value = self._entries[key].value
                del self._entries[key]
            except KeyError:
                return None
        return value

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
