"""Whether another director would serve better: what a load balancer wants to know.

Three things say so, and nothing else: what this director has stored is not read yet; its threads are taken, and stay
so; it does not decide in time any more. What is wrong without that (the store cannot be written, a new configuration
was refused) is told beside it. A broken file that is pushed to all hosts must not take all of them out of service, and
a director that nobody has advertised to yet is as good as another one.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from director_wsgi.health.checks import STORED, Check, Verdict
from director_wsgi.health.reports import Report, Told, together
from director_wsgi.health.trial import Trial
from director_wsgi.limits.deadline import Clock
from director_wsgi.limits.lanes import LanesStatistics

SAMPLE_S: Final = 1.0
"""How often it is looked whether threads are left."""

EXHAUSTED_AFTER_S: Final = 10.0
"""So long none may be left: bursts are answered from what is known, and pass."""

RECOVERED_AFTER_S: Final = 5.0
"""So long some must have been left, without a break, before this director takes part again."""

Warnings = Mapping[str, Callable[[], str]]
"""By what they are about: tells what is wrong, for operators, or an empty text. Must not wait."""


class Exhaustion:
    """Whether lanes are exhausted and stay so. Told by one thread, asked by any.

    They are exhausted at a sample if no permit is left, or if one was refused for that since the last sample.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._refused = 0
        self._changing_since: float | None = None  # since when samples have contradicted `holds`
        self.holds = False

    def sample(self, lanes: LanesStatistics) -> None:
        """Take down how the lanes are now."""
        is_full = lanes.in_use >= lanes.permits or lanes.refused_full > self._refused
        self._refused = lanes.refused_full
        if is_full == self.holds:
            self._changing_since = None
            return
        now = self._clock()
        if self._changing_since is None:
            self._changing_since = now
        if now - self._changing_since >= (EXHAUSTED_AFTER_S if is_full else RECOVERED_AFTER_S):
            self.holds = is_full
            self._changing_since = None


class Readiness:
    """What readiness follows from. Any number of threads may ask; one looks, every `SAMPLE_S`.

    Args:
        has_read: Whether what was stored before this worker started is read.
        lanes: How many threads wait now.
        trial: Whether decisions are made in time.
        warnings: What else may be wrong.
        notes: What to say of these, to whoever wants to know everything, while nothing is wrong. Must not wait.
        others: What the other workers say of themselves.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        has_read: Callable[[], bool],
        lanes: Callable[[], LanesStatistics],
        trial: Trial,
        warnings: Warnings,
        notes: Warnings = MappingProxyType({}),
        others: Told = tuple,
        clock: Clock,
    ) -> None:
        self._has_read = has_read
        self._lanes = lanes
        self._trial = trial
        self._warnings = warnings
        self._notes = notes
        self._others = others
        self._exhaustion = Exhaustion(clock)

    def sample(self) -> None:
        """Look at what must be looked at again and again."""
        self._exhaustion.sample(self._lanes())

    def checks(self) -> tuple[Check, ...]:
        """Everything, as it is now, for all workers; those that decide come first."""
        return together(self.report(), self._others())

    def report(self) -> Report:
        """How this worker is now."""
        stored = "" if self._has_read() else "What was advertised before the start is not read yet"
        waiting = "All threads that may wait for servers are taken, and stay so" if self._exhaustion.holds else ""
        decisive = {STORED: stored, "waiting": waiting, "decisions": self._trial.trouble()}
        lanes = self._lanes()
        return Report(
            checks=(
                *(_check(name, message, Verdict.FAILED) for name, message in decisive.items()),
                *(self._warned(name, tell()) for name, tell in self._warnings.items()),
            ),
            in_use=lanes.in_use,
            limit=lanes.permits,
        )

    def _warned(self, name: str, message: str) -> Check:
        if not message and name in self._notes:
            return Check(name, message=self._notes[name]())
        return _check(name, message, Verdict.WARNING)

    def waiting(self) -> tuple[int, int]:
        """Threads of all workers that wait for servers, and how many may."""
        reports = (self.report(), *self._others())
        return sum(report.in_use for report in reports), sum(report.limit for report in reports)

    @property
    def trial_s(self) -> float:
        """How long the last decision on trial took."""
        return self._trial.took_s


def _check(name: str, message: str, if_wrong: Verdict) -> Check:
    return Check(name, if_wrong if message else Verdict.OK, message)
