"""The two threads that talk to the registry, and what they have still to do.

Errands for which somebody waits go before those that nobody waits for, and in each of the two lines the oldest goes
first. An errand that stands in line already is not taken twice.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from director_wsgi.limits.deadline import Deadline

THREADS: Final = 2
"""So many questions are under way at once, whoever wants to know: the registry is never asked more by one director."""

CAPACITY: Final = 2048
"""Errands in each of the two lines."""


@dataclass(frozen=True, slots=True)
class Errand:
    """Something to be done; one of the two is called, once.

    Attributes:
        run: Does it. It raises nothing, and comes back within a bound of its own.
        drop: Called instead if the pool ends before; it neither blocks nor raises.
    """

    run: Callable[[], object]
    drop: Callable[[], object]


class Pool:
    """Runs errands on threads of its own between `start` and `stop`. Any number of threads may use it.

    Before `start` an errand is run by whoever submits it, at once: a director that was built but not started has no
    threads, and needs none to answer.
    """

    # _changed guards everything below. No errand is run or dropped with it held.

    def __init__(self, *, threads: int = THREADS, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._changed = threading.Condition()
        self._urgent: OrderedDict[Hashable, Errand] = OrderedDict()
        self._behind: OrderedDict[Hashable, Errand] = OrderedDict()
        self._threads = tuple(
            threading.Thread(target=self._work, name=f"director-registry-{number}", daemon=True)
            for number in range(threads)
        )
        self._is_started = False
        self._is_stopping = False

    def start(self) -> None:
        """Start the threads.

        Raises:
            RuntimeError: It has been started before.
        """
        with self._changed:
            self._is_started = True
        for thread in self._threads:
            thread.start()

    def stop(self, deadline: Deadline) -> bool:
        """Take no errand any more, drop those that stand in line, and wait for those being run. May be called again.

        Returns:
            Whether every thread had ended by the deadline; one that had not ends with its errand.
        """
        with self._changed:
            self._is_stopping = True
            dropped = (*self._urgent.values(), *self._behind.values())
            self._urgent.clear()
            self._behind.clear()
            self._changed.notify_all()
        for errand in dropped:
            errand.drop()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(deadline.remaining_s())
        return not any(thread.is_alive() for thread in self._threads)

    def submit(self, key: Hashable, errand: Errand, *, is_urgent: bool) -> bool:
        """Have an errand run.

        Args:
            key: Says which errands are the same one.
            errand: What to do.
            is_urgent: Whether somebody waits for it.

        Returns:
            Whether it will be run or dropped. If not, there is no room, or the pool has ended: nothing is called.
        """
        with self._changed:
            if self._is_stopping:
                return False
            if self._is_started:
                return self._line_up(key, errand, is_urgent=is_urgent)
        errand.run()
        return True

    def hurry(self, key: Hashable) -> None:
        """Somebody waits for this errand now; nothing happens if it does not stand in line."""
        with self._changed:
            errand = self._behind.get(key)
            if errand is not None and len(self._urgent) < self._capacity:
                del self._behind[key]
                self._urgent[key] = errand

    @property
    def waiting(self) -> int:
        """Errands that stand in line."""
        with self._changed:
            return len(self._urgent) + len(self._behind)

    def _line_up(self, key: Hashable, errand: Errand, *, is_urgent: bool) -> bool:
        line = self._urgent if is_urgent else self._behind
        if key in self._urgent or key in self._behind or len(line) >= self._capacity:
            return False
        line[key] = errand
        self._changed.notify()
        return True

    def _work(self) -> None:
        while (errand := self._next()) is not None:
            errand.run()
            del errand  # a thread that waits holds nothing of its last errand

    def _next(self) -> Errand | None:
        """The next errand; waits for one. None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopping or self._urgent or self._behind)
            if self._is_stopping:
                return None
            return (self._urgent or self._behind).popitem(last=False)[1]
