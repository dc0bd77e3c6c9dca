"""As many connections for each worker as for the others.

All workers wait at one queue of the kernel's, so that none is lost with a worker that ends; with `SO_REUSEPORT` each
would have a queue of its own, which ends with it. But whoever wakes first takes what there is, and a connection that is
kept stays where it was taken: one worker of two may serve every client while the other idles, for as long as those
clients live. So it is after each death of a worker, whose clients come back before its successor is there.

Therefore the workers tell each other how many connections they have, in some bytes of memory that the master has made.
Whoever has more than another leaves the next one to it, for a millisecond at most. And whoever has more than its share
says `Connection: close` with an answer now and then, upon which that client comes again. A worker that has told nothing
for some seconds hangs, and is not counted.

Nothing here waits or locks: numbers that are being written may be read, and then are a moment old.
"""

import math
import mmap
import threading
from typing import Final

from director_wsgi.limits.deadline import Clock, monotonic

MOST_WORKERS: Final = 128
"""How many can take part, ending ones included; further ones take whatever comes, and are not seen."""

SILENT_S: Final = 2.5
"""A worker that has told nothing for so long does not count; one that idles tells once a second."""

HOLD_S: Final = 0.001
"""How long the next connection is left to others; `epoll` cannot wait shorter."""

IN_VAIN: Final = 16
"""So many times in a row was a connection left that nobody took: then the others are not able to."""

ALONE_S: Final = 0.5
"""How long none is left to them after that."""

LOOK_S: Final = 0.05
"""How often a worker looks whether it has too many. It parts with one each time: so long does a new connection last."""

TOO_MANY: Final = 2
"""So many more than its share are too many; one more may be left over, and the share is seldom a whole number."""

_FIELDS: Final = 2  # of a place: connections, and when that was told
_END: Final = _FIELDS * MOST_WORKERS  # where it stands up to which field places have ever been given


class Register:
    """How many connections each worker has, in memory that a master shares with the workers it forks.

    The master's main thread gives places and takes them back; the main thread of a worker writes at its own.

    Attributes:
        own: This process's part, if it is a worker; else one that tells nobody.
    """

    def __init__(self, *, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._numbers = memoryview(mmap.mmap(-1, (_END + 1) * 8)).cast("d")
        self._place_of: dict[int, int] = {}
        self.own = Share(self, None, clock=clock)

    def take(self, worker: int) -> None:
        """Master: have a place for a worker, called by its age, that is about to be forked. None may be left."""
        taken = set(self._place_of.values())
        free = (place for place in range(MOST_WORKERS) if place not in taken)
        if (place := next(free, None)) is not None:
            self._place_of[worker] = place
            self.silence(place)
            self._numbers[_END] = max(self._numbers[_END], _FIELDS * (place + 1))

    def leave(self, worker: int) -> None:
        """Master: a worker has ended, or could not be forked."""
        place = self._place_of.pop(worker, None)
        if place is not None:
            self.silence(place)

    def open(self, worker: int) -> None:
        """Worker: be the one of this age."""
        self.own = Share(self, self._place_of.get(worker), clock=self._clock)

    def tell(self, place: int, connections: int, now: float) -> None:
        """So many has the worker at a place."""
        self._numbers[_FIELDS * place] = connections
        self._numbers[_FIELDS * place + 1] = now

    def silence(self, place: int) -> None:
        """Whoever was at a place takes none any more."""
        self._numbers[_FIELDS * place + 1] = -math.inf

    def told(self, now: float) -> list[float]:
        """How many those have who have told lately."""
        numbers = self._numbers[: int(self._numbers[_END])].tolist()
        since = now - SILENT_S
        return [has for has, at in zip(numbers[::_FIELDS], numbers[1::_FIELDS], strict=True) if at > since]


class Share:
    """One worker's part. Belongs to its main thread, but for `parts_nowait`, which handler threads call.

    Args:
        register: Where the others' is.
        place: Its own there; None: it neither tells nor asks.
        clock: Monotonic seconds, the same in all processes.

    Attributes:
        connections: How many it has.
        left: How often the next one was left to others.
        parted: How many were one too many.
        has_too_many: Whether there is one too many now. A hint for handler threads, which may be a moment old.
    """

    def __init__(self, register: Register, place: int | None, *, clock: Clock = monotonic) -> None:
        self._register = register
        self._place = place
        self._clock = clock
        self._held_at: float | None = None  # since when the next one is left to others
        self._is_due = False  # it has been left; if it is still there, nobody wanted it
        self._in_vain = 0
        self._alone_until = -math.inf
        self._looks_at = -math.inf
        self._parting = threading.Lock()
        self.connections = 0
        self.left = 0
        self.parted = 0
        self.has_too_many = False

    def tell(self, connections: int) -> None:
        """It has so many. To be called at least once a second."""
        self.connections = connections
        if self._place is None:
            return
        now = self._clock()
        self._register.tell(self._place, connections, now)
        if now >= self._looks_at:
            self._looks_at = now + LOOK_S
            told = self._register.told(now)
            self.has_too_many = connections >= sum(told) / len(told) + TOO_MANY

    def withdraw(self) -> None:
        """It takes none any more."""
        self.stop_holding()
        self.has_too_many = False
        if self._place is not None:
            self._register.silence(self._place)

    def leaves_next_nowait(self, connections: int) -> bool:
        """Whether to leave the connection that waits to the others, until `is_holding` says that it is enough."""
        if self._place is None:
            return False
        if self._held_at is not None:
            return True
        now = self._clock()
        if self._is_due:
            self._is_due = False
            self._in_vain += 1
            if self._in_vain == IN_VAIN:
                self._in_vain = 0
                self._alone_until = now + ALONE_S
            return False
        if now < self._alone_until or not self._is_ahead(connections, now):
            return False
        self._held_at = now
        self.left += 1
        return True

    def is_holding(self, connections: int) -> bool:
        """Whether the next one is still to be left to the others."""
        if self._held_at is None:
            return False
        now = self._clock()
        if not self._is_ahead(connections, now):
            self._in_vain = 0
            self._held_at = None
        elif now >= self._held_at + HOLD_S:
            self._is_due = True
            self._held_at = None
        return self._held_at is not None

    def stop_holding(self) -> None:
        """It is not the others' any more."""
        self._held_at = None

    @property
    def patience_s(self) -> float:
        """How long it may be until `is_holding` is asked again."""
        return math.inf if self._held_at is None else HOLD_S

    def end_turn(self) -> None:
        """Whatever waited has been looked at: what is not there has been taken."""
        if self._is_due:
            self._is_due = False
            self._in_vain = 0

    def parts_nowait(self) -> bool:
        """Whether to part with the client that is being answered, since there is one too many."""
        with self._parting:
            parts, self.has_too_many = self.has_too_many, False
            self.parted += parts
        return parts

    def _is_ahead(self, connections: int, now: float) -> bool:
        return connections > min(self._register.told(now), default=connections)


register = Register()
"""That of this master, and of the workers it has forked. It stands here because the settings file is run again on every
HUP."""
