"""How servers are, by their own word and by the director's tests, smoothed over time.

Pelican's director smooths what servers say of themselves. Here the outcome of its tests counts beside that, and the
worse of the two is what is observed: a server may not know that it is ill.

Source: Pelican `director/cache_ads.go:populateEWMAStatusWeight`.
"""

import enum
import math
from dataclasses import dataclass, replace

from director_wsgi.federation.models import ServerAd

_WEIGHTS = {"shutting down": 0.01, "critical": 0.01, "degraded": 0.01, "warning": 0.5}
"""What a status weighs; every other one, and none, weighs 1."""


class TestVerdict(enum.Enum):
    """How a director test of a server ended; the value is what it weighs, on the scale of what a status weighs."""

    __test__ = False  # pytest takes every class called so for one of its own

    PASSED = 1.0
    FAILED = 0.5
    """The server answered, but not as it should: like `warning`."""

    UNANSWERED = 0.01
    """Like `critical`."""


@dataclass(frozen=True, slots=True)
class StatusWeight:
    """A moving average, in (0, 1]; immutable.

    Attributes:
        value: The average.
        at: When it was last brought up to date, on the monotonic clock.
        status: What the server said last.
        verdict: How its last test ended; `PASSED` until there was one.
    """

    value: float
    at: float
    status: str
    verdict: TestVerdict = TestVerdict.PASSED

    @classmethod
    def first(cls, ad: ServerAd, now: float) -> "StatusWeight":
        """That of a server that has not been heard of before."""
        return cls(_WEIGHTS.get(ad.status, 1.0), now, ad.status)

    def told(self, ad: ServerAd, now: float, time_constant_s: float) -> "StatusWeight":
        """After another advertisement; if it wants no tests any more, the last one says nothing."""
        verdict = TestVerdict.PASSED if ad.director_test_disabled else self.verdict
        return _observed(replace(self, status=ad.status, verdict=verdict), now, time_constant_s)

    def tested(self, verdict: TestVerdict, now: float, time_constant_s: float) -> "StatusWeight":
        """After another test."""
        return _observed(replace(self, verdict=verdict), now, time_constant_s)


def _observed(weight: StatusWeight, now: float, time_constant_s: float) -> StatusWeight:
    """The average with what is known now; only whole seconds count, as upstream, and fractions are left for later."""
    seconds = math.floor(max(0.0, now - weight.at))
    if seconds == 0:
        return weight
    observed = min(_WEIGHTS.get(weight.status, 1.0), weight.verdict.value)
    alpha = 1 - math.exp(-seconds / time_constant_s)
    value = weight.value + alpha * (observed - weight.value)
    return replace(weight, value=value if 0 < value <= 1 else 1.0, at=weight.at + seconds)
