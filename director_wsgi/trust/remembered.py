"""A table of answers that outlive their freshness, each fetched by one thread at a time.

An old answer is worth having while there is no new one. So an entry turns stale instead of dying, and only a new
answer, the least recently used entry's turn to make room, or `forget` takes it away.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from cachetools import LRUCache

from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.trust.registry import NoAnswer, RegistryError

V = TypeVar("V")


class Entry(Generic[V]):
    """An answer.

    Attributes:
        value: What was answered.
        fresh_until: Instant from which on it should be asked for again.
        asked_at: Instant of the last try to do so.
    """

    __slots__ = ("asked_at", "fresh_until", "value")

    def __init__(self, value: V, fresh_until: float, asked_at: float) -> None:
        self.value = value
        self.fresh_until = fresh_until
        self.asked_at = asked_at


class _Flight(Generic[V]):
    """A question under way."""

    __slots__ = ("done", "error", "value")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.value: V | None = None
        self.error: RegistryError | None = None


class Remembered(Generic[V]):
    """Bounded memory of the answers to one kind of question. Safe between threads."""

    def __init__(
        self,
        ask: Callable[[str, Deadline], V],
        *,
        lifetime_s: Callable[[V], float],
        capacity: int,
        clock: Clock = monotonic,
    ) -> None:
        """Make an empty table.

        Args:
            ask: Fetches one answer; raises `RegistryError` only. Called without a lock held.
            lifetime_s: How long an answer is fresh; 0 for one that is to be asked for again the next time.
            capacity: Most answers kept.
            clock: Monotonic seconds.
        """
        self._ask = ask
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: LRUCache[str, Entry[V]] = LRUCache(capacity)
        self._flights: dict[str, _Flight[V]] = {}

    def known(self, key: str) -> Entry[V] | None:
        """The answer, fresh or stale; None if there never was one. Does not wait."""
        with self._lock:
            return self._entries.get(key)

    def is_fresh(self, entry: Entry[V]) -> bool:
        """Whether it need not be asked for again yet."""
        return self._clock() < entry.fresh_until

    def age_of_last_try_s(self, entry: Entry[V]) -> float:
        """Seconds since it was last asked for, answered or not."""
        return self._clock() - entry.asked_at

    def forget(self, key: str) -> None:
        """Drop an answer; nothing happens if there is none."""
        with self._lock:
            self._entries.pop(key, None)

    def ask(self, key: str, deadline: Deadline) -> V:
        """Fetch the answer, or wait for whoever is fetching it already.

        Raises:
            RegistryError: As the question ended, for everybody who waited for it.
            NoAnswer: Also if somebody else's question has not ended by the deadline.
        """
        with self._lock:
            flight = self._flights.get(key)
            leads = flight is None
            if flight is None:
                flight = self._flights[key] = _Flight()
            entry = self._entries.get(key)
            if entry is not None:
                entry.asked_at = self._clock()
        if leads:
            self._fly(key, flight, deadline)
        elif not flight.done.wait(deadline.remaining_s()):
            raise NoAnswer("the registry could not be asked: timed out")
        if flight.error is not None:
            raise flight.error
        return flight.value  # type: ignore[return-value]  # set, since there is no error

    def _fly(self, key: str, flight: _Flight[V], deadline: Deadline) -> None:
        flight.error = NoAnswer("the registry could not be asked")  # what followers see if `ask` raises anything else
        try:
            value = self._ask(key, deadline)
            now = self._clock()
            flight.value, flight.error = value, None
        except RegistryError as error:
            flight.error = error
        finally:
            with self._lock:
                del self._flights[key]
                if flight.error is None:
                    self._entries[key] = Entry(value, now + self._lifetime_s(value), now)
            flight.done.set()
