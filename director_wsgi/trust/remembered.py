"""A table of answers that outlive their freshness.

An old answer is worth having while there is no new one. So an entry turns stale instead of dying, and only a new
answer, the least recently used entry's turn to make room, or `forget` takes it away.
"""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from cachetools import LRUCache

from director_wsgi.limits.deadline import Clock, monotonic

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Entry(Generic[V]):
    """An answer.

    Attributes:
        value: What was answered.
        answered_at: When.
        fresh_until: Instant from which on it should be asked for again.
        failed_at: Instant of the last try to do so that brought no answer.
    """

    value: V
    answered_at: float
    fresh_until: float
    failed_at: float = -math.inf


class Remembered(Generic[V]):
    """Bounded memory of the answers to one kind of question. Safe between threads; no method waits."""

    def __init__(self, *, lifetime_s: Callable[[V], float], capacity: int, clock: Clock = monotonic) -> None:
        """Make an empty table.

        Args:
            lifetime_s: How long an answer is fresh; 0 for one that is to be asked for again the next time.
            capacity: Most answers kept.
            clock: Monotonic seconds.
        """
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: LRUCache[str, Entry[V]] = LRUCache(capacity)

    def known(self, key: str) -> Entry[V] | None:
        """The answer, fresh or stale; None if there never was one."""
        with self._lock:
            return self._entries.get(key)

    def is_fresh(self, entry: Entry[V]) -> bool:
        """Whether it need not be asked for again yet."""
        return self._clock() < entry.fresh_until

    def age_s(self, entry: Entry[V]) -> float:
        """Seconds since it was answered."""
        return self._clock() - entry.answered_at

    def put(self, key: str, value: V) -> None:
        """Take down an answer that has just come."""
        now = self._clock()
        entry = Entry(value, now, now + self._lifetime_s(value))
        with self._lock:
            self._entries[key] = entry

    def learn(self, key: str, value: V, age_s: float) -> None:
        """Take down an answer that somebody else got so long ago, unless a newer one is known."""
        answered_at = self._clock() - age_s
        entry = Entry(value, answered_at, answered_at + self._lifetime_s(value))
        with self._lock:
            known = self._entries.get(key)
            if known is None or known.answered_at <= answered_at:
                self._entries[key] = entry

    def renew(self, key: str, age_s: float) -> bool:
        """Take down that somebody else got the same answer so long ago. Whether there is one."""
        with self._lock:
            known = self._entries.get(key)
        if known is None:
            return False
        self.learn(key, known.value, age_s)
        return True

    def failed(self, key: str) -> None:
        """Take down that no answer came; what was answered before stays."""
        now = self._clock()
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries[key] = replace(entry, failed_at=now)

    def forget(self, key: str) -> None:
        """Drop an answer; nothing happens if there is none."""
        with self._lock:
            self._entries.pop(key, None)

    def __len__(self) -> int:
        """Answers kept."""
        with self._lock:
            return len(self._entries)
