"""Deadline: one instant on the monotonic clock.

A timeout is a length and starts anew at every step that takes it; five steps with a timeout of one second may last
five. A deadline is an instant: it is born once, at the top, and every step below takes what remains of it. A step
may shorten what it was given (`at_most`), never lengthen it.
"""

import math
import time
from collections.abc import Callable
from typing import Self

Clock = Callable[[], float]
"""Seconds on a clock that never steps back: `time.monotonic`, or a fake one in tests."""

WallClock = Callable[[], float]
"""Seconds since the Unix epoch: `time.time`, or a fake one in tests. Only for what is dated by somebody else."""

monotonic: Clock = time.monotonic
wall: WallClock = time.time  # noqa: TID251, this is where it is injected from


class Deadline:
    """An instant after which nobody waits any more.

    Immutable, and safe to share between threads.
    """

    __slots__ = ("_at", "_clock")

    def __init__(self, at: float, clock: Clock = monotonic) -> None:
        if math.isnan(at):
            raise ValueError("a deadline cannot be NaN")
        self._at = at
        self._clock = clock

    @classmethod
    def after(cls, seconds: float, clock: Clock = monotonic) -> Self:
        """The instant `seconds` from now; one that has passed already if `seconds` is negative."""
        return cls(clock() + seconds, clock)

    @property
    def at(self) -> float:
        """The instant, in seconds of the clock it was made with."""
        return self._at

    def remaining_s(self) -> float:
        """Seconds left; 0.0 once it has passed, never negative."""
        return max(0.0, self._at - self._clock())

    def has_passed(self) -> bool:
        """Whether no time is left."""
        return self._clock() >= self._at

    def at_most(self, seconds: float) -> Self:
        """This deadline, or the instant `seconds` from now if that comes first."""
        return type(self)(min(self._at, self._clock() + seconds), self._clock)

    def __repr__(self) -> str:
        return f"<Deadline in {self._at - self._clock():.3f} s>"
