"""What the operator decides about asking servers."""

from dataclasses import dataclass, field

from director_wsgi.limits.breaker import BreakerSettings
from director_wsgi.stat.evidence import Lifetimes


def share_of(whole: int, workers: int) -> int:
    """What each of several workers gets of a limit that is meant for all of them together, at least 1.

    Rounded up, since a worker that may ask nobody would be of no use: n workers exceed the limit by n - 1 at most.
    """
    return -(-whole // workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatPolicy:
    """What the operator decides about asking servers.

    `slots` and `threads` are meant for all workers of a director together, all else for each of them.

    Attributes:
        timeout_s: Longest life of one HEAD by the clock on the wall, from slot to answer.
        slots: Most HEADs in flight to one server.
        adapts: Whether a server that does not answer gets fewer at once.
        threads: Most HEADs in flight to all servers together.
        lanes: Handler threads that may wait for servers at one moment.
        lifetimes: How long evidence holds.
        capacity: Most pieces of evidence kept of one server.
        breaker: When a server is not asked.
    """

    timeout_s: float = 2.0
    slots: int = 100
    adapts: bool = True
    threads: int = 256
    lanes: int = 28
    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    capacity: int = 2000
    breaker: BreakerSettings = field(default_factory=BreakerSettings)

    @property
    def disbelief_s(self) -> float:
        """How long after a write absences are not believed: the longest that one from before it may be remembered."""
        return self.timeout_s + self.lifetimes.absence_s
