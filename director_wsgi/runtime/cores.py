"""Which worker sits on which processor.

The threads of one interpreter share a lock. Free to wander, they hand it over between cores, at half the throughput
or less; on one core they cost next to nothing while they wait. A worker uses no more than one core anyway, so each
gets one for itself, as long as there are enough. The master remembers who sits where, since a worker that replaces
another must not be put beside a third.
"""

import contextlib
import os
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from director_wsgi.runtime.processors import cores_of

Choose = Callable[[Sequence[int]], int]
CoresOf = Callable[[Collection[int]], Mapping[int, int]]


def is_bound(pinning: str, workers: int, processors: int) -> bool:
    """Whether workers are to be bound, each to a processor.

    Where there are more workers, some would share a processor while others have one for themselves, and all have as
    many clients: then `auto` leaves it to the kernel.
    """
    return pinning == "on" or (pinning == "auto" and workers <= processors)


class Seats:
    """The processors that workers sit on. Belongs to the master; used by its main thread only.

    Workers are called by their ages, a number that grows with each one that is started.

    A seat is drawn among the best ones rather than taken in order: two directors on one machine know nothing of each
    other and would both begin with the first.

    Args:
        choose: One of several processors that are as good.
        cores: The physical core of each of some processors.
    """

    def __init__(self, choose: Choose = random.choice, cores: CoresOf = cores_of) -> None:
        self._choose = choose
        self._cores = cores
        self._seat_of: dict[int, int] = {}
        self._left: dict[int, None] = {}  # seats that workers have left; the last one stands last

    def take(self, worker: int, processors: Collection[int], workers: int) -> int:
        """Give a worker that is about to start one of these processors.

        It is far from those that stay when the number is again `workers`, which is the youngest ones; then, if it can
        be, from those that end (at a reload both are there for a moment); then it is the one that was left last.

        Args:
            worker: Its age.
            processors: Those that may be used; at least one.
            workers: How many there are to be.
        """
        seated = {age: seat for age, seat in self._seat_of.items() if seat in processors}
        staying = sorted(seated)[max(0, len(seated) - workers + 1) :]
        cores = self._cores(processors)
        among_staying = _Load([seated[age] for age in staying], cores)
        among_all = _Load(seated.values(), cores)
        costs = {seat: (*among_staying.at(seat), *among_all.at(seat)) for seat in processors}
        best = sorted(seat for seat in processors if costs[seat] == min(costs.values()))
        left = [seat for seat in self._left if seat in best]
        seat = left[-1] if left else self._choose(best)
        self._left.pop(seat, None)
        self._seat_of[worker] = seat
        return seat

    def seat_of(self, worker: int) -> int | None:
        """The processor that a worker was given."""
        return self._seat_of.get(worker)

    def leave(self, worker: int) -> None:
        """A worker has ended, or wanders from now on."""
        seat = self._seat_of.pop(worker, None)
        if seat is not None:
            self._left.pop(seat, None)
            self._left[seat] = None


class _Load:
    """How many sit on a processor, and how many on its core."""

    def __init__(self, seats: Iterable[int], cores: Mapping[int, int]) -> None:
        self._seats = Counter(seats)
        self._cores = Counter(cores[seat] for seat in self._seats.elements())
        self._core_of = cores

    def at(self, seat: int) -> tuple[int, int]:
        """Those that would share this processor, and those that would share its core."""
        return self._seats[seat], self._cores[self._core_of[seat]]


def move(pid: int, processors: Collection[int]) -> None:
    """Let every thread of a process run on these processors only. One that has ended is no error.

    Raises:
        OSError: The kernel does not allow it.
    """
    for _ in range(2):  # a thread that was being started meanwhile has what its starter had
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(int(task.name), processors)


seats = Seats()
"""Those of this master. It stands here because the settings file is run again on every HUP."""
