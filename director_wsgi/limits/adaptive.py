"""AdaptiveLimit: how many calls at once somebody else can bear, found out by trying.

Additive increase, multiplicative decrease: one more while all goes well, half as many when something got lost.
Among linear rules it is the one by which independent senders that share a bottleneck end up both efficient and fair,
wherever they start (D.-M. Chiu and R. Jain, "Analysis of the Increase and Decrease Algorithms for Congestion
Avoidance in Computer Networks", 1989). It is what TCP does, and two more rules are TCP's for the same reasons:

- A limit nobody reaches is not confirmed by calls that succeed below it, so it does not grow by them; it counts as
  reached when half of it is in flight (RFC 7661, 4.3).
- Calls under way at a decrease were sent under the old limit. What becomes of them says nothing about the new one,
  neither for nor against; so one burst of losses halves once (RFC 6582, 3.2, "recover").

This class only computes the number; `Slots.resize` makes it hold.
"""

import math
import threading
from typing import Final

from director_wsgi.limits.deadline import Clock, monotonic

DECREASE: Final = 0.5
SHORTEST_ROUND_TRIP_S: Final = 0.1
"""Decreases are at least this far apart, however soon calls are lost."""


class AdaptiveLimit:
    """A number between `least` and `most`, told how calls end; it is fixed if the two are equal.

    Any number of threads at once.

    Args:
        least: The limit never falls below, at least 1.
        initial: Where it starts; brought between the other two.
        most: The limit never rises above.
        clock: Monotonic seconds.

    Raises:
        ValueError: `least` is below 1 or above `most`.
    """

    # _lock guards the bounds, _limit, _good_calls (since the limit last changed) and _decreased_at; held for a few
    # instructions.

    def __init__(self, least: int = 1, initial: int = 16, most: int = 100, clock: Clock = monotonic) -> None:
        if not 1 <= least <= most:
            raise ValueError("a limit needs 1 <= least <= most")
        self._least = least
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._limit = min(max(initial, least), most)
        self._good_calls = 0
        self._decreased_at = -math.inf

    @property
    def limit(self) -> int:
        """How many may be in flight now."""
        return self._limit

    def succeeded(self, duration_s: float, in_flight: int) -> None:
        """A call got its answer: `limit` of them raise the limit by one, if it is used.

        Args:
            duration_s: Seconds the call took.
            in_flight: Calls in flight when it ended, itself included.
        """
        with self._lock:
            is_reached = 2 * in_flight >= self._limit
            if not is_reached or not self._is_of_now(duration_s, self._clock()):
                return
            self._good_calls += 1
            if self._good_calls >= self._limit:
                self._change(self._limit + 1)

    def dropped(self, duration_s: float = 0.0) -> None:
        """A call was lost to overload: it timed out, or was refused for lack of room. Halves the limit.

        At most once for all the calls that were in flight together, and at most once per `SHORTEST_ROUND_TRIP_S`.

        Args:
            duration_s: Seconds the call took. Left out, it counts as one of now, however long it was under way.
        """
        with self._lock:
            now = self._clock()
            if self._is_of_now(duration_s, now) and now - self._decreased_at >= SHORTEST_ROUND_TRIP_S:
                self._change(int(self._limit * DECREASE))
                self._decreased_at = now

    def rescale(self, least: int, most: int) -> None:
        """Give it other bounds, as where it is a share of something that is shared by more or by fewer from now on.

        It keeps its proportion to the most: what one sender has found out to be right, two find to be right for half
        of it each. So who is at the most stays there. A fraction is cut off on the way down and rounded up on the way
        up: there and back, again and again, it ends where it was or below, and does not drift.

        Args:
            least: The limit never falls below, at least 1.
            most: The limit never rises above.

        Raises:
            ValueError: `least` is below 1 or above `most`.
        """
        if not 1 <= least <= most:
            raise ValueError("a limit needs 1 <= least <= most")
        with self._lock:
            if (least, most) == (self._least, self._most):
                return
            scaled, before = self._limit * most, self._most
            self._least, self._most = least, most
            self._change(-(-scaled // before) if most > before else scaled // before)

    def bound(self, least: int, most: int) -> None:
        """Give it other bounds, where it is not shared by more or by fewer than before.

        What was found out to be right stays so, as far as it is within the bounds.

        Args:
            least: The limit never falls below, at least 1.
            most: The limit never rises above.

        Raises:
            ValueError: `least` is below 1 or above `most`.
        """
        if not 1 <= least <= most:
            raise ValueError("a limit needs 1 <= least <= most")
        with self._lock:
            self._least, self._most = least, most
            if not least <= self._limit <= most:
                self._change(self._limit)

    # What follows is called with _lock held.

    def _is_of_now(self, duration_s: float, now: float) -> bool:
        """Whether a call that ends now began since the last decrease."""
        return now - duration_s >= self._decreased_at

    def _change(self, limit: int) -> None:
        self._limit = min(max(limit, self._least), self._most)
        self._good_calls = 0
