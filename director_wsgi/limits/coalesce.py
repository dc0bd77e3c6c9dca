"""Coalescing: those who want the same thing at the same time ask for it once.

The question on its way is a *flight*; everybody who waits for its answer has a *seat* in it. The first to ask for a
key, the leader, launches the flight; whoever asks while it is on its way, a follower, takes a seat in the same. Nobody
waits in here: a seat comes with a function that is told the answer, so that each asker waits in his own place, with
his own deadline, and leaves when he likes. A flight does not belong to its leader: it goes on when he leaves.

A failure is an answer, and shared like one. Were the followers of a failed flight to try one after the other, each
would wait for all the failures before its own.
"""

# ruff: noqa: SLF001, seat, flight and coalescer are one class in three parts

import enum
import threading
from collections.abc import Callable, Hashable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lost(enum.Enum):
    """The type of `LOST`."""

    LOST = "lost"


LOST: Final = Lost.LOST
"""What followers are told if the flight could not be launched."""

Tell = Callable[[V | Lost], object]
"""Told the answer, once, by whichever thread settles the flight. It must not block."""


class Seat(Generic[V]):
    """One asker's place in a flight, made by `Coalescer.join`. Any thread may use it."""

    __slots__ = ("_flight", "_tell", "is_leader")

    def __init__(self, flight: "Flight[K, V]", tell: Tell[V], *, is_leader: bool) -> None:
        self._flight = flight
        self._tell = tell
        self.is_leader = is_leader

    def leave(self, gone: bool = False) -> bool:
        """Wait no more. Harmless if done before, or after the answer came.

        The last one who leaves calls the flight's `on_abandoned`.

        Args:
            gone: Whether nobody wants the answer any more, not even late; as opposed to an asker whose time is up.

        Returns:
            Whether this call gave the seat up: then it is never told. If not, it had been left already, or it has been
            told or is being told at this moment.
        """
        return self._flight._leave(self, gone=gone)

    def __repr__(self) -> str:
        return f"<Seat {'of the leader' if self.is_leader else 'of a follower'}>"


class Flight(Generic[K, V]):
    """A question on its way, made by a `Coalescer`. Any thread may use it.

    Whoever launched it ends it: by `settle`, or by `drop` if nobody wants the answer.

    Attributes:
        key: What is asked for.
        on_abandoned: Called when the last seat has been left, by the thread that left it, with whether every seat
            this flight ever had was left with `gone=True`. To be set by `launch`. A newcomer may have taken a seat
            by the time it runs, or the answer may have come: `drop` tells. It may be called again if newcomers leave,
            too, and is never called for a flight launched by `launch_detached`, or once the flight is over.
    """

    __slots__ = ("_all_gone", "_coalescer", "_is_detached", "_is_over", "_seats", "key", "on_abandoned")

    # All that begins with an underscore is guarded by the coalescer's lock.

    def __init__(self, coalescer: "Coalescer[K, V]", key: K, *, is_detached: bool) -> None:
        self.key = key
        self.on_abandoned: Callable[[bool], object] | None = None
        self._coalescer = coalescer
        self._is_detached = is_detached
        self._is_over = False
        self._all_gone = True  # of those who have left
        self._seats: dict[Seat[V], None] = {}  # in the order of arrival

    @property
    def seats(self) -> int:
        """How many wait for the answer; 0 once the flight is over."""
        with self._coalescer._lock:
            return len(self._seats)

    @property
    def is_over(self) -> bool:
        """Whether it has been settled, dropped or lost."""
        with self._coalescer._lock:
            return self._is_over

    def settle(self, value: V) -> bool:
        """Tell everybody the answer. Whoever asks for the key from now on launches a flight of his own.

        Everybody is told even if somebody's `tell` raises; the last such error is raised here afterwards.

        Returns:
            Whether this call ended the flight. If not, it was over, and nobody is told.
        """
        return self._end(value)

    def drop(self) -> bool:
        """End the flight without an answer, if nobody waits for it.

        Returns:
            Whether this call ended the flight. If not, somebody has a seat in it, who came after `on_abandoned` was
            called and has to be served; or it was over.
        """
        with self._coalescer._lock:
            if self._is_over or self._seats:
                return False
            self._close()
        return True

    def _end(self, value: V | Lost) -> bool:
        with self._coalescer._lock:
            if self._is_over:
                return False
            seats = self._close()
        if len(seats) == 1:  # as mostly
            seats[0]._tell(value)
            return True
        with ExitStack() as everybody:  # calls them all, whatever one of them raises; the last one added first
            for seat in reversed(seats):
                everybody.callback(seat._tell, value)
        return True

    def _lose(self, leader: Seat[V] | None) -> None:
        """End the flight for everybody but its leader, who gets the error instead."""
        with self._coalescer._lock:
            if leader is not None:
                self._seats.pop(leader, None)
        self._end(LOST)

    def _leave(self, seat: Seat[V], *, gone: bool) -> bool:
        with self._coalescer._lock:
            if seat not in self._seats:
                return False
            del self._seats[seat]
            self._all_gone = all_gone = self._all_gone and gone
            if self._seats or self._is_detached:
                return True
            self._coalescer._abandoned += 1
            on_abandoned = self.on_abandoned
        if on_abandoned is not None:
            on_abandoned(all_gone)
        return True

    def _close(self) -> list[Seat[V]]:
        """Take it out of the table, and everybody out of it. The lock is held."""
        self._is_over = True
        self.on_abandoned = None  # it often refers to the flight: no cycle is left behind
        seats, self._seats = list(self._seats), {}
        if self._coalescer._flights.get(self.key) is self:
            del self._coalescer._flights[self.key]
        return seats

    def __repr__(self) -> str:
        return f"<Flight with {self.seats} seats{', over' if self.is_over else ''}>"


Launch = Callable[[Flight[K, V]], object]
"""Sets a flight going, without waiting for its answer: whoever finds it calls `Flight.settle`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoalescerStatistics:
    """The counts of one moment.

    Attributes:
        in_flight: Flights on their way that can be joined.
        launches: Flights ever launched, by a leader or detached.
        followers: Those who took a seat in a flight that was on its way.
        unshared: Of the launches, those that nobody could join because the table was full.
        abandoned: How often the last seat of a flight was left before its answer came.
    """

    in_flight: int
    launches: int
    followers: int
    unshared: int
    abandoned: int


class Coalescer(Generic[K, V]):
    """At most one flight per key, as long as there is room to remember it.

    Any number of threads at once; no method waits. Neither `launch`, `tell` nor `on_abandoned` is called under a lock.

    Args:
        capacity: Most flights that can be joined. Beyond it, askers launch flights that are not shared: nobody is
            refused, and the table does not grow.

    Raises:
        ValueError: `capacity` is below 1.
    """

    # _lock guards everything below and in every Flight. It is held for a few instructions.

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError("a table needs room for at least one flight")
        self._capacity = capacity
        self._lock = threading.Lock()
        self._flights: dict[K, Flight[K, V]] = {}
        self._launches = 0
        self._followers = 0
        self._unshared = 0
        self._abandoned = 0

    def join(self, key: K, tell: Tell[V], launch: Launch[K, V]) -> Seat[V]:
        """Take a seat in the flight of `key`; launch it first if there is none.

        Args:
            key: What is asked for.
            tell: Told the answer once, unless the seat is left before: possibly before this call returns. `LOST`
                instead of an answer if another thread's `launch` raised.
            launch: Called, by this thread, only if there was no flight.

        Raises:
            BaseException: What `launch` raised. The flight is gone then, and `tell` is not called by it.
        """
        with self._lock:
            flight = self._flights.get(key)
            is_leader = flight is None
            if flight is None:
                flight = self._new_flight(key, is_detached=False)
            else:
                self._followers += 1
            seat = Seat(flight, tell, is_leader=is_leader)
            flight._seats[seat] = None
        if is_leader:
            self._launch(flight, launch, seat)
        return seat

    def launch_detached(self, key: K, launch: Launch[K, V]) -> bool:
        """Launch a flight for which nobody waits, unless one of `key` is on its way or the table is full.

        It can be joined like any other, but is not abandoned by those who leave it: it was launched for its own sake.

        Returns:
            Whether it was launched. What nobody waits for can be done another time.

        Raises:
            BaseException: What `launch` raised. The flight is gone then.
        """
        with self._lock:
            if key in self._flights or len(self._flights) >= self._capacity:
                return False
            flight = self._new_flight(key, is_detached=True)
        self._launch(flight, launch, None)
        return True

    def statistics(self) -> CoalescerStatistics:
        """The counts of this moment."""
        with self._lock:
            return CoalescerStatistics(
                in_flight=len(self._flights),
                launches=self._launches,
                followers=self._followers,
                unshared=self._unshared,
                abandoned=self._abandoned,
            )

    def __len__(self) -> int:
        """Flights on their way that can be joined."""
        with self._lock:
            return len(self._flights)

    def _new_flight(self, key: K, *, is_detached: bool) -> Flight[K, V]:
        """The lock is held."""
        flight = Flight(self, key, is_detached=is_detached)
        self._launches += 1
        if len(self._flights) < self._capacity:
            self._flights[key] = flight
        else:
            self._unshared += 1
        return flight

    @staticmethod
    def _launch(flight: Flight[K, V], launch: Launch[K, V], leader: Seat[V] | None) -> None:
        try:
            launch(flight)
        except BaseException:
            flight._lose(leader)
            raise
