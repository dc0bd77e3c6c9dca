"""Generations: one configuration after the other, while requests go on.

A generation is what was made for one configuration, and the leases it holds. A new one is made whole beside the old,
takes its place by one assignment, and only then does the old one let go: what both need is never given up in between.
If the new one cannot be made, it lets go of all that it had acquired, and nothing else has changed. The order, and that
only who has acquired something can give it back, is what Caddy's pull request 7826 was about.

A request works with the generation in which it began; an old generation lets go when its last request ends.
"""

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime.leases import Build, Close, Lease, Leases

T = TypeVar("T")
R = TypeVar("R")


class Busy(Exception):
    """Another reload was still under way at the deadline."""


class Holdings:
    """The leases of one generation. For the thread that makes it, until it is made; then for whoever ends it.

    Several may do that at once: a request that came in the very moment of a replacement, and whoever replaced.

    Args:
        leases: Where they come from.
        deadline: By which a resource must be had if another thread is building it.
    """

    def __init__(self, leases: Leases, deadline: Deadline) -> None:
        self._leases = leases
        self._deadline = deadline
        self._held: list[Lease[object]] = []

    def acquire(self, key: Hashable, build: Build[R], close: Close[R]) -> R:
        """Hold a resource for as long as the generation lasts; see `Leases.acquire`."""
        lease = self._leases.acquire(key, build, close, deadline=self._deadline)
        self._held.append(lease)  # type: ignore[arg-type]  # a lease is read only
        return lease.value

    def release(self) -> None:
        """Let go of everything. May be called again; waits for nothing."""
        while True:
            try:
                lease = self._held.pop()
            except IndexError:  # not asked for beforehand: another thread may take the last in between
                return
            lease.release()

    def __len__(self) -> int:
        """Leases held."""
        return len(self._held)


class Generation(Generic[T]):
    """What was made for one configuration.

    Attributes:
        number: 1 for the first, and so on.
        value: What was made; not to be changed.
    """

    # _lock guards _users and _is_retired.

    def __init__(self, number: int, value: T, holdings: Holdings) -> None:
        self.number = number
        self.value = value
        self._holdings = holdings
        self._lock = threading.Lock()
        self._users = 0
        self._is_retired = False

    def leave(self) -> None:
        """A request that had entered has ended."""
        with self._lock:
            self._users -= 1
            is_over = self._is_retired and not self._users
        if is_over:
            self._holdings.release()

    def _enter(self) -> None:
        with self._lock:
            self._users += 1

    def _retire(self) -> None:
        """Let go, now or when the last request has left."""
        with self._lock:
            self._is_retired = True
            is_over = not self._users
        if is_over:
            self._holdings.release()

    @property
    def is_over(self) -> bool:
        """Whether it has been replaced and nobody uses it any more."""
        with self._lock:
            return self._is_retired and not self._users

    def __repr__(self) -> str:
        return f"<Generation {self.number}>"


class Generations(Generic[T]):
    """The generation in force, and those that still have requests.

    Any number of threads may enter; reloads come one after the other.

    Args:
        leases: Owner of what generations hold. Whoever made it closes it, and that ends what the last one holds too;
            after that, a generation that needs anything cannot be made.
        first: Makes the value of the first generation; what it raises is raised.
        deadline: For the first.
    """

    def __init__(self, leases: Leases, first: Callable[[Holdings], T], *, deadline: Deadline) -> None:
        self._leases = leases
        self._turn = threading.Lock()  # of whoever reloads; no request ever waits for it
        self._current = self._made(1, first, deadline)
        self._old: list[Generation[T]] = []  # touched by whoever has the turn

    @property
    def current(self) -> Generation[T]:
        """The one in force."""
        return self._current

    def enter(self) -> Generation[T]:
        """The one in force, for one request, which calls its `leave` at its end."""
        while True:
            generation = self._current
            generation._enter()  # noqa: SLF001, one class in two parts
            if generation is self._current:
                return generation
            generation.leave()  # it was replaced in this very moment, and may hold nothing any more

    def replace(self, make: Callable[[Holdings], T], *, adopt: Callable[[T], object], deadline: Deadline) -> T:
        """Put a new generation in force.

        On the calling thread, which is no request's. What cannot be made leaves no trace.

        Args:
            make: Makes its value, acquiring what it needs.
            adopt: Told the value when all is made, to change in place what outlives generations; must not raise, wait
                or do I/O. If it raises all the same, it is told the old value again, and nothing is replaced.
            deadline: How long to wait for another reload.

        Raises:
            Busy: Another reload was still under way at the deadline.
            BaseException: Whatever `make` raised.
        """
        if not self._turn.acquire(timeout=deadline.remaining_s()):
            raise Busy
        try:
            old = self._current
            new = self._made(old.number + 1, make, deadline)
            try:
                adopt(new.value)
            except BaseException:
                try:
                    adopt(old.value)
                finally:  # nobody uses it any more
                    new._retire()  # noqa: SLF001
                raise
            self._current = new
            old._retire()  # noqa: SLF001
            self._old = [one for one in (*self._old, old) if not one.is_over]
            return new.value
        finally:
            self._turn.release()

    def _made(self, number: int, make: Callable[[Holdings], T], deadline: Deadline) -> Generation[T]:
        holdings = Holdings(self._leases, deadline)
        try:
            return Generation(number, make(holdings), holdings)
        except BaseException:
            holdings.release()
            raise

    @property
    def lingering(self) -> int:
        """How many have been replaced and still have requests."""
        return sum(1 for one in tuple(self._old) if not one.is_over)
