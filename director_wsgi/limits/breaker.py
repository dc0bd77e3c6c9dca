"""Breaker: do not ask again and again what does not answer.

A caller that waits for something broken wastes its own time and keeps the broken thing busy. The breaker stands in
front of calls and watches how they end; when too many of the last ones failed, or were slow, it *trips*: calls are
refused at once, at the price of a look-up. After a back-off one call is let through, the *probe*, and its fate
decides. (Michael Nygard, "Release It!", the chapter on stability patterns: closed, open and half-open are his words.)

    CLOSED ── too many failed, or were slow ──▶ OPEN ◀── the probe failed ──┐
       ▲                                         └── back-off over: probe ──▶ HALF_OPEN
       └──────────────────────── the probe succeeded ────────────────────────┘

The breaker makes no call, holds no thread and sets no timer. Whoever is about to make a call asks for a `Pass`
(`admit`) and says afterwards how it went, once, whatever happened:

    pass_ = breaker.admit()
    if pass_ is None:
        return refused
    try:
        ...  # the call, then breaker.succeeded(pass_, duration_s) or breaker.failed(pass_, reason, duration_s)
    finally:
        breaker.undecided(pass_)  # counts only if neither of the two was said

A pass is good for the state it was given in. What becomes of a call that was under way when the breaker tripped says
nothing about now: it neither closes an open breaker, nor decides for the probe, nor counts after the closing.
"""

import enum
import random
import threading
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from director_wsgi.limits.deadline import Clock, monotonic
from director_wsgi.limits.window import OutcomeWindow

SLOW: Final = "slow"
"""The reason of a trip because calls were slow rather than failing."""

FLAPPING_TRIPS: Final = 3
FLAPPING_WITHIN_S: Final = 60.0


class State(enum.Enum):
    """What a breaker does with calls."""

    CLOSED = "closed"
    """Lets them through."""
    OPEN = "open"
    """Refuses them; if its back-off is over, the next one becomes the probe."""
    HALF_OPEN = "half-open"
    """Refuses them while one probe is out."""


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a breaker trips, and for how long.

    Raises:
        ValueError: A value is out of its range.
    """

    window_s: float = 10.0
    """Calls that ended longer ago count no more; they may cease to count up to a tenth earlier. Above 0."""
    minimum_volume: int = 8
    """Fewer calls in the window never trip. Also the number of good calls after which a closed breaker's past is
    forgotten. At least 1."""
    failure_rate: float = 0.5
    """Share of failed calls in the window that trips, above 0, at most 1."""
    slow_rate: float = 0.5
    """Share of slow calls in the window that trips, above 0, at most 1."""
    failures_in_a_row: int = 0
    """So many failed calls without a good one between them trip, whatever the rest of the window says; 0: any number.

    A rate alone is slow where it matters most: the good calls of the last seconds outvote the first failures of a thing
    that has stopped answering, and one that times out ends few calls."""
    slow_s: float = 1.0
    """A call that took this long or longer was slow, however it ended. Above 0; infinite: none is."""
    first_backoff_s: float = 0.5
    """Back-off after the first trip; doubles with every failed probe. Above 0."""
    backoff_cap_s: float = 5.0
    """No back-off is longer. At least `first_backoff_s`."""
    jitter: float = 0.2
    """Share of a back-off that chance may take off, from 0 to below 1; so that many breakers do not probe as one."""

    def __post_init__(self) -> None:
        in_range = {
            "window_s": self.window_s > 0,
            "minimum_volume": self.minimum_volume >= 1,
            "failure_rate": 0 < self.failure_rate <= 1,
            "slow_rate": 0 < self.slow_rate <= 1,
            "failures_in_a_row": self.failures_in_a_row >= 0,
            "slow_s": self.slow_s > 0,
            "first_backoff_s": self.first_backoff_s > 0,
            "backoff_cap_s": self.first_backoff_s <= self.backoff_cap_s,
            "jitter": 0 <= self.jitter < 1,
        }
        wrong = [name for name, is_in_range in in_range.items() if not is_in_range]
        if wrong:
            raise ValueError(f"out of range: {', '.join(wrong)}")


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """A breaker at one moment."""

    state: State
    reason: Hashable | None
    """While not closed: the reason most failures had that made it trip, `SLOW`, or that of the last failed probe."""
    since: float
    """Clock instant of the trip, or, if closed, of the closing (of the making, if it never tripped)."""
    next_probe_in_s: float
    """While open: seconds until a probe may be let through. Otherwise 0.0."""
    trips: int
    """Times it tripped since it was made; failed probes do not count."""
    failures: int
    """Failed calls in the window."""
    slow: int
    """Slow calls in the window, failed or not."""
    volume: int
    """Calls in the window."""
    is_flapping: bool
    """Whether it tripped `FLAPPING_TRIPS` times within the last `FLAPPING_WITHIN_S` seconds."""


class Pass:
    """Leave for one call, made by `Breaker.admit`; to be given back, once, to the same breaker."""

    __slots__ = ("era", "is_probe")

    def __init__(self, era: object, *, is_probe: bool) -> None:
        self.era: object | None = era
        """The breaker's own: what it is good for; None once settled."""
        self.is_probe = is_probe
        """Whether this is the one call whose fate decides if the breaker closes."""


class Breaker:
    """Watches calls, and refuses them while they would fail.

    Any number of threads at once; no method blocks longer than a few additions.

    Args:
        settings: When to trip, and for how long; None: the defaults.
        clock: Monotonic seconds.
        generator: Draws the jitter; None: one of its own. It is used under this breaker's lock only.
    """

    # _lock guards everything below it. It is held for a few instructions, across no call of somebody else's code
    # but the clock and the generator.

    def __init__(
        self,
        settings: BreakerSettings | None = None,
        clock: Clock = monotonic,
        generator: random.Random | None = None,
    ) -> None:
        self._settings = settings if settings is not None else BreakerSettings()
        self._clock = clock
        self._generator = generator if generator is not None else random.Random()
        self._lock = threading.Lock()
        self._window = OutcomeWindow(self._settings.window_s)
        self._state = State.CLOSED
        self._era = object()  # replaced at every change of state; a pass of another era is void
        self._since = clock()
        self._reason: Hashable | None = None
        self._backoff_s = 0.0  # the last one, before chance took from it; 0: the past is forgotten
        self._good_calls = 0  # since the closing
        self._run = 0  # failed calls since the last good one
        self._run_at = 0.0  # the last of them
        self._probe_at = 0.0
        self._may_probe_now = False
        self._trips = 0
        self._last_trips: deque[float] = deque(maxlen=FLAPPING_TRIPS)

    def admit(self) -> Pass | None:
        """Ask for leave to make one call.

        Returns:
            The pass, which its taker must settle, once, by `succeeded`, `failed` or `undecided`, whatever happens: a
            probe never settled keeps the breaker half-open for ever. None: do not call.
        """
        with self._lock:
            if self._state is State.CLOSED:
                return Pass(self._era, is_probe=False)
            if self._state is State.OPEN and (self._may_probe_now or self._clock() >= self._probe_at):
                self._may_probe_now = False
                self._enter(State.HALF_OPEN)
                return Pass(self._era, is_probe=True)
            return None

    def succeeded(self, pass_: Pass, duration_s: float) -> None:
        """The call got an answer. A probe's closes the breaker, however long it took.

        Args:
            pass_: As `admit` gave it. Nothing happens if it was settled before or has become void.
            duration_s: Seconds the call took.
        """
        with self._lock:
            if not self._redeem(pass_):
                return
            if pass_.is_probe:
                self._close()
                return
            is_slow = duration_s >= self._settings.slow_s
            self._window.succeeded(self._clock(), is_slow=is_slow)
            self._good_calls += not is_slow
            self._run = 0
            if self._good_calls >= self._settings.minimum_volume:
                self._backoff_s = 0.0
            self._judge()

    def failed(self, pass_: Pass, reason: Hashable, duration_s: float) -> None:
        """The call got no answer, or one that counts as none. A probe's opens the breaker anew.

        Args:
            pass_: As `admit` gave it. Nothing happens if it was settled before or has become void.
            reason: Why, one of a small set: failures are counted by reason.
            duration_s: Seconds the call took.
        """
        with self._lock:
            if not self._redeem(pass_):
                return
            if pass_.is_probe:
                self._open(reason)
                return
            now = self._clock()
            self._run = self._run + 1 if now - self._run_at < self._settings.window_s else 1
            self._run_at = now
            self._window.failed(now, reason, is_slow=duration_s >= self._settings.slow_s)
            self._judge()

    def undecided(self, pass_: Pass) -> None:
        """The call was given up, or never made: it counts neither way, and the next `admit` may probe in its place."""
        with self._lock:
            if self._redeem(pass_) and pass_.is_probe:
                self._may_probe_now = True
                self._enter(State.OPEN)

    def hint_alive(self) -> None:
        """Something else than a call says that calls would succeed now.

        If the breaker is open, the next `admit` may probe at once; one only, however often this was said before.
        Nothing else changes: a hint closes nothing, and a probe that is out decides by itself.
        """
        with self._lock:
            self._may_probe_now = self._state is State.OPEN

    def hint_sick(self, reason: Hashable) -> None:
        """Something else than a call says that calls would fail now.

        Counts as one failed call if the breaker is closed. If it is open, a probe that `hint_alive` allowed before
        its time is off.
        """
        with self._lock:
            self._may_probe_now = False
            if self._state is State.CLOSED:
                self._window.failed(self._clock(), reason, is_slow=False)
                self._judge()

    def adopt(self, settings: BreakerSettings) -> None:
        """Go by other settings from now on.

        No call is judged anew: what was slow stays slow, and the breaker keeps its state, until a call ends. Only a
        pause under way that is longer than any may be now is shortened, so that who lowers the cap need not wait for
        the end of what he has just ruled out. The same settings again change nothing.
        """
        with self._lock:
            if settings == self._settings:
                return
            self._settings = settings
            self._window.resize(settings.window_s)
            now = self._clock()
            if self._state is State.OPEN and self._probe_at - now > settings.backoff_cap_s:
                self._probe_at = now + self._shortened(settings.backoff_cap_s)

    def snapshot(self) -> BreakerSnapshot:
        """State and counts at this moment, all of the same moment."""
        with self._lock:
            now = self._clock()
            self._window.forget(now)
            is_waiting = self._state is State.OPEN and not self._may_probe_now
            return BreakerSnapshot(
                state=self._state,
                reason=self._reason,
                since=self._since,
                next_probe_in_s=max(0.0, self._probe_at - now) if is_waiting else 0.0,
                trips=self._trips,
                failures=self._window.failures,
                slow=self._window.slow,
                volume=self._window.volume,
                is_flapping=self._is_flapping(now),
            )

    @property
    def is_flapping(self) -> bool:
        """Whether it tripped `FLAPPING_TRIPS` times within the last `FLAPPING_WITHIN_S` seconds."""
        with self._lock:
            return self._is_flapping(self._clock())

    # What follows is called with _lock held.

    def _is_flapping(self, now: float) -> bool:
        return len(self._last_trips) == FLAPPING_TRIPS and now - self._last_trips[0] <= FLAPPING_WITHIN_S

    def _redeem(self, pass_: Pass) -> bool:
        """Use the pass up; whether it was still good."""
        is_good = pass_.era is self._era
        pass_.era = None
        return is_good

    def _judge(self) -> None:
        """Trip if the calls in the window ask for it."""
        window, settings = self._window, self._settings
        if 0 < settings.failures_in_a_row <= self._run:
            self._trip(window.main_reason())
            return
        if window.volume < settings.minimum_volume:
            return
        if window.failures >= settings.failure_rate * window.volume:
            self._trip(window.main_reason())
        elif window.slow >= settings.slow_rate * window.volume:
            self._trip(SLOW)

    def _trip(self, reason: Hashable) -> None:
        self._since = self._clock()
        self._trips += 1
        self._last_trips.append(self._since)
        self._open(reason)

    def _open(self, reason: Hashable) -> None:
        settings = self._settings
        self._reason = reason
        self._backoff_s = min(max(settings.first_backoff_s, 2 * self._backoff_s), settings.backoff_cap_s)
        self._probe_at = self._clock() + self._shortened(self._backoff_s)
        self._enter(State.OPEN)

    def _shortened(self, backoff_s: float) -> float:
        """Chance only takes off: what it added would be cut off at the cap, where breakers end up together."""
        return backoff_s * (1 - self._settings.jitter * self._generator.random())

    def _close(self) -> None:
        self._since = self._clock()
        self._reason = None
        self._good_calls = 0
        self._run = 0
        self._window.clear()
        self._enter(State.CLOSED)

    def _enter(self, state: State) -> None:
        self._state = state
        self._era = object()
