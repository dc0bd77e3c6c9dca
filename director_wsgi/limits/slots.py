"""Slots: the right to have one of a limited number of things in flight.

`threading.BoundedSemaphore` does not hand over: a release wakes the oldest waiter, and whoever comes along before that
one is awake takes the slot from under its nose; the waiter goes to the back of the queue. Where threads that have just
released acquire again at once, as handler threads do, some of them are never served. Here a release gives the slot to
the oldest waiter, by name.

And a thread may wait at several doors at once. It takes a `Place` at each (`queue_up`), sleeps on something of its
own, and gives up the places it does not need any more (`leave`): a door that opens early is never missed because the
thread was waiting at another one.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable


class Place:
    """A place in the queue for one slot; holds the slot once `is_granted`.

    Made by `Slots.queue_up`, to be given to `Slots.leave` of the same slots.
    """

    __slots__ = ("is_granted", "tell")

    def __init__(self, tell: Callable[[], object]) -> None:
        self.is_granted = False
        self.tell = tell


class _Telling(threading.local):
    """Those whom this thread is telling that they have a slot; None if it tells nobody."""

    queue: deque[Place] | None = None


class Slots(threading.BoundedSemaphore):
    """A `BoundedSemaphore` that serves in the order of arrival.

    Everything a bounded semaphore promises holds: releasing more often than was acquired raises ValueError. Beyond
    that, a slot is free only if nobody is waiting, so nobody overtakes, and how many there are may change (`resize`).

    Any number of threads at once.
    """

    # _queue_lock guards _queue, every Place in it, _surplus and _initial_value. It is held for a few instructions,
    # across no callback, no I/O and no other lock but the semaphore's own, which is held as briefly.
    #
    # A slot is free only if nobody is waiting and there is no surplus: _value is 0 otherwise. `acquire` relies on it.

    _initial_value: int  # the semaphore's own: its bound

    def __init__(self, value: int = 1) -> None:
        super().__init__(value)
        self._queue_lock = threading.Lock()
        self._queue: OrderedDict[Place, None] = OrderedDict()
        self._telling = _Telling()
        self._surplus = 0  # slots in use beyond the bound, since it was lowered: they vanish when given back

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take a slot, waiting behind those who came first.

        Args:
            blocking: False: take one only if it is free now.
            timeout: Seconds to wait at most; None: as long as it takes. 0 or less does not wait.

        Returns:
            Whether the caller has a slot now, to be given back by `release`.

        Raises:
            ValueError: A timeout was given, but not to wait.
        """
        if not blocking and timeout is not None:
            raise ValueError("can't specify timeout for non-blocking acquire")
        if super().acquire(blocking=False):  # overtakes nobody: a slot is free only while the queue is empty
            return True
        if not blocking or (timeout is not None and timeout <= 0):
            return False
        woken = threading.Lock()
        woken.acquire()
        place = self.queue_up(woken.release)
        woken.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))
        return self.leave(place)

    __enter__ = acquire

    def release(self, n: int = 1) -> None:
        """Give back `n` slots: to those who wait, oldest first.

        Raises:
            ValueError: More were given back than had been taken, or `n` is below 1.
        """
        if n < 1:
            raise ValueError("n must be one or more")
        granted: list[Place] = []
        try:
            with self._queue_lock:
                for _ in range(n):
                    self._give_back_one(granted)
        finally:
            self._tell(granted)

    def resize(self, value: int) -> None:
        """Change how many slots there are, now.

        More: those who wait are served at once, oldest first. Fewer: nobody loses a slot; those that are in use
        beyond the new number vanish when they are given back, and until then nobody gets another.

        Args:
            value: How many, at least 1.

        Raises:
            ValueError: `value` is below 1.
        """
        if value < 1:
            raise ValueError("there must be at least one slot")
        granted: list[Place] = []
        with self._queue_lock:
            for _ in range(self._initial_value - value):
                if not super().acquire(blocking=False):
                    self._surplus += 1
            more = value - self._initial_value
            self._initial_value = value
            for _ in range(more):
                self._give_back_one(granted)
        self._tell(granted)

    def _tell(self, granted: list[Place]) -> None:
        """Tell them that they have a slot.

        Who is told may have no use for it and release it at once, to one who has no use for it either, and so on
        through a long queue: so those are told by the loop that runs already on this thread, not one inside the other.
        """
        if self._telling.queue is not None:
            self._telling.queue.extend(granted)
            return
        queue = self._telling.queue = deque(granted)
        try:
            while queue:
                queue.popleft().tell()
        finally:
            self._telling.queue = None

    def _give_back_one(self, granted: list[Place]) -> None:
        """Give a slot to whom it is due, who has to be told afterwards. Called with _queue_lock held."""
        if self._surplus:
            self._surplus -= 1
        elif self._queue:
            place, _none = self._queue.popitem(last=False)
            place.is_granted = True
            granted.append(place)
        else:
            super().release()

    def queue_up(self, tell: Callable[[], object]) -> Place:
        """Take a place in the queue without waiting.

        Args:
            tell: Called once when the place is granted: at once, by this call, if a slot is free; else by the thread
                that releases one. It must neither block nor raise.

        Returns:
            The place. Whoever took it must `leave` it, or use the slot and `release` it.
        """
        place = Place(tell)
        with self._queue_lock:
            is_open = place.is_granted = super().acquire(blocking=False)
            if not is_open:
                self._queue[place] = None
        if is_open:  # not `place.is_granted`, which a release may have set, and told, in between
            tell()
        return place

    def leave(self, place: Place) -> bool:
        """Wait no longer.

        Returns:
            Whether a slot was granted before; then it is the caller's, to use or to `release`.
        """
        with self._queue_lock:
            if not place.is_granted:
                self._queue.pop(place, None)
            return place.is_granted

    @property
    def waiting(self) -> int:
        """How many are in the queue."""
        with self._queue_lock:
            return len(self._queue)

    @property
    def limit(self) -> int:
        """How many slots there are."""
        return self._initial_value

    @property
    def in_use(self) -> int:
        """How many are taken, granted places included; more than `limit` for a while after it was lowered."""
        with self._queue_lock:
            return self._initial_value + self._surplus - self._value
