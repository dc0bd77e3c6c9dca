"""Which worker sits on which core.

The threads of one interpreter share a lock. Free to wander, they hand it over between cores, at half the throughput
or less; on one core they cost next to nothing while they wait. A worker uses no more than one core anyway, so each
gets one for itself, as long as there are enough. The master remembers who sits where, since a worker that replaces
another must not be put beside a third.
"""

import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence

Choose = Callable[[Sequence[int]], int]


class Seats:
    """The cores that workers sit on. Belongs to the master; used by its main thread only.

    A core is drawn among the least occupied ones rather than taken in order: two directors on one machine know
    nothing of each other and would both begin with the first.
    """

    def __init__(self, choose: Choose = random.choice) -> None:
        self._choose = choose
        self._core_of: dict[int, int] = {}

    def take(self, worker: int, cores: Collection[int], workers: int) -> int | None:
        """Give `worker` a core of `cores`; `None`, so that it wanders, if `workers` are more than there are cores."""
        if workers > len(cores):
            return None
        taken = Counter(self._core_of.values())
        fewest = min(taken[core] for core in cores)
        core = self._choose(sorted(core for core in cores if taken[core] == fewest))
        self._core_of[worker] = core
        return core

    def core_of(self, worker: int) -> int | None:
        """The core `worker` was given."""
        return self._core_of.get(worker)

    def leave(self, worker: int) -> None:
        """`worker` has ended; its core is free again."""
        self._core_of.pop(worker, None)


seats = Seats()
"""Those of this master. It stands here because the settings file is run again on every HUP."""
