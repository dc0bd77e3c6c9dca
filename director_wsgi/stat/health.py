"""How well one server answers: its breaker, how many questions it is given at once, and how fast it has been lately.

Belongs to the server, not to its connections: it outlives a change of these.
"""

import enum
import threading

from director_wsgi.limits.adaptive import AdaptiveLimit
from director_wsgi.limits.breaker import Breaker, Pass
from director_wsgi.stat.evidence import Evidence, Presence, Reason


class Sickness(enum.Enum):
    """What is wrong with a server, in an operator's words. That it is slow is the breaker's own finding."""

    STALLING = "stalling"  # takes the question and does not answer in time
    REFUSING = "refusing"
    DNS = "DNS"
    TLS = "TLS"
    CUTTING_OFF = "cutting off"
    ERRORING = "erroring"  # 5xx, or an answer that makes no sense
    FORBIDDEN = "forbidden address"


_SICKNESS_OF = {
    Reason.TIMED_OUT: Sickness.STALLING,
    Reason.REFUSED: Sickness.REFUSING,
    Reason.NAME: Sickness.DNS,
    Reason.TLS: Sickness.TLS,
    Reason.CUT_OFF: Sickness.CUTTING_OFF,
    Reason.FORBIDDEN_ADDRESS: Sickness.FORBIDDEN,
}

_SAYS_NOTHING = frozenset({Reason.NOT_ASKED, Reason.NO_SLOT, Reason.NO_THREAD, Reason.CIRCUIT_OPEN, Reason.CLOSED})

LATENCY_WEIGHT = 0.2
"""Of the newest answer in the moving average of latencies."""


def sickness(evidence: Evidence) -> Sickness | None:
    """What an answer says of the server's health; None if it is well.

    Any answer below 500 is one of a server that is well, whatever it says of the object.
    """
    if evidence.presence is not Presence.UNKNOWN:
        return None
    if evidence.status is not None:
        return Sickness.ERRORING if evidence.status >= 500 else None
    return _SICKNESS_OF.get(evidence.reason, Sickness.ERRORING) if evidence.reason else None


def says_nothing(evidence: Evidence) -> bool:
    """Whether this is our own doing and tells nothing of the server."""
    return evidence.reason in _SAYS_NOTHING


class ServerHealth:
    """One server's. Any number of threads at once.

    Args:
        breaker: When not to ask it.
        limit: How many questions may be in flight.
    """

    def __init__(self, breaker: Breaker, limit: AdaptiveLimit) -> None:
        self.breaker = breaker
        self.limit = limit
        self._lock = threading.Lock()
        self._latency_s: float | None = None

    @property
    def latency_s(self) -> float | None:
        """Moving average of the time its answers took, in seconds; None if it has not answered yet."""
        return self._latency_s

    def learned(self, pass_: Pass, evidence: Evidence, *, took_s: float, in_flight: int) -> None:
        """Take down how one HEAD ended.

        Args:
            pass_: By which it was admitted.
            evidence: Its outcome.
            took_s: Seconds from the start of the HEAD.
            in_flight: HEADs under way at the server when it ended, this one included.
        """
        if says_nothing(evidence):
            self.breaker.undecided(pass_)
            return
        what = sickness(evidence)
        if what is not None:
            self.breaker.failed(pass_, what, took_s)
            self.limit.dropped(took_s)
            return
        self.breaker.succeeded(pass_, took_s)
        self.limit.succeeded(took_s, in_flight)
        with self._lock:
            old = self._latency_s
            self._latency_s = took_s if old is None else old + LATENCY_WEIGHT * (took_s - old)
