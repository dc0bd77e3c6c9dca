"""TTLTable: a bounded table whose entries die, safe between threads.

Three structures: the entries in the order of their use, so that the least recently used can make room; a heap of their
ends, so that the dead are found without looking at the living; and one lock. An entry that is replaced or makes room
leaves its end in the heap, where it is passed over by its number; when most of the heap is such, it is made anew.

`cachetools.TLRUCache` does the same at three times the cost (docs/performance.md), and buries all the dead at once,
however many, while others wait for the lock. Every redirect looks up each server it might ask.
"""

import heapq
import math
import threading
from collections import OrderedDict
from typing import Final, Generic, NamedTuple, TypeVar

from director_wsgi.limits.deadline import Clock, monotonic

K = TypeVar("K")
V = TypeVar("V")

BATCH: Final = 256
"""Entries that go at a time, where many have died or a table is made smaller: about a tenth of a millisecond, for which
others wait."""

_SPARE_ENDS: Final = 64
"""Ends of what is gone that are never worth making the heap anew."""


class _Entry(NamedTuple, Generic[V]):
    """A value, the instant of its death, and the number of the `put` it came by."""

    value: V
    ends_at: float
    number: int


class TTLTable(Generic[K, V]):
    """Bounded memory of what holds for a while.

    All methods may be called from any thread; none blocks longer than a dictionary look-up. A dead entry is never
    returned, whether or not it has been removed yet. Values are handed out as they were put in: put immutable ones.

    Args:
        capacity: Most entries kept, at least 1; the dead make room, then the least recently used.
        clock: Monotonic seconds.

    Raises:
        ValueError: `capacity` is below 1.
    """

    # _lock guards _entries, _ends and _number; nothing is called under it.

    def __init__(self, capacity: int, clock: Clock = monotonic) -> None:
        self._capacity = _checked(capacity)
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()  # the least recently used first
        self._ends: list[tuple[float, int, K]] = []  # numbers differ, so keys are never compared
        self._number = 0

    def get(self, key: K) -> V | None:
        """The value, which counts as a use; None if there is none or it has died."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
        return entry.value if self._clock() < entry.ends_at else None

    def put(self, key: K, value: V, ttl_s: float) -> None:
        """Keep `value` for `ttl_s` seconds in place of what was there; not at all if `ttl_s` is not above 0.

        Raises:
            ValueError: `ttl_s` is NaN.
        """
        if math.isnan(ttl_s):
            raise ValueError("a lifetime cannot be NaN")
        now = self._clock()
        ends_at = now + ttl_s
        with self._lock:
            self._bury(now, at_most=BATCH)
            self._entries.pop(key, None)
            if ends_at <= now:
                return
            self._number += 1
            self._entries[key] = _Entry(value, ends_at, self._number)
            heapq.heappush(self._ends, (ends_at, self._number, key))
            self._make_room(at_most=2)

    def pop(self, key: K) -> V | None:
        """Remove the entry and return its value; None if there was none or it had died."""
        now = self._clock()
        with self._lock:
            entry = self._entries.pop(key, None)
        return None if entry is None or now >= entry.ends_at else entry.value

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
        now = self._clock()
        with self._lock:
            return self._bury(now)

    def __len__(self) -> int:
        """Entries alive."""
        now = self._clock()
        with self._lock:
            self._bury(now)
            return len(self._entries)

    def __contains__(self, key: K) -> bool:
        """Whether the key is there and alive; does not count as a use."""
        now = self._clock()
        with self._lock:
            entry = self._entries.get(key)
        return entry is not None and now < entry.ends_at

    # What follows is called with _lock held.

    def _bury(self, now: float, *, at_most: float = math.inf) -> int:
        """Remove so many of the dead, and return how many that were."""
        buried = 0
        while self._ends and self._ends[0][0] <= now and buried < at_most:
            _ends_at, number, key = heapq.heappop(self._ends)
            entry = self._entries.get(key)
            if entry is not None and entry.number == number:
                del self._entries[key]
                buried += 1
        if len(self._ends) > 2 * len(self._entries) + _SPARE_ENDS:
            self._ends = [(entry.ends_at, entry.number, key) for key, entry in self._entries.items()]
            heapq.heapify(self._ends)
        return buried

    def _make_room(self, *, at_most: int) -> bool:
        """Let so many go that are too many; whether there are no more of these."""
        for _ in range(at_most):
            if len(self._entries) <= self._capacity:
                return True
            self._entries.popitem(last=False)
        return len(self._entries) <= self._capacity


def _checked(capacity: int) -> int:
    if capacity < 1:
        raise ValueError("a table needs room for at least one entry")
    return capacity
