"""What servers say of their own health, smoothed over time.

Source: Pelican `director/cache_ads.go:populateEWMAStatusWeight`.
"""

import math
from dataclasses import dataclass

_WEIGHTS = {"shutting down": 0.01, "critical": 0.01, "degraded": 0.01, "warning": 0.5}
"""What a status weighs; every other one, and none, weighs 1."""


@dataclass(frozen=True, slots=True)
class StatusWeight:
    """A moving average, in (0, 1]; immutable.

    Attributes:
        value: The average.
        at: When it was last brought up to date, on the monotonic clock.
    """

    value: float
    at: float

    @classmethod
    def first(cls, status: str, now: float) -> "StatusWeight":
        """That of a server that has not been heard of before."""
        return cls(_WEIGHTS.get(status, 1.0), now)

    def then(self, status: str, now: float, time_constant_s: float) -> "StatusWeight":
        """After another advertisement; only whole seconds count, as upstream, and fractions are left for the next."""
        seconds = math.floor(max(0.0, now - self.at))
        if seconds == 0:
            return self
        alpha = 1 - math.exp(-seconds / time_constant_s)
        value = self.value + alpha * (_WEIGHTS.get(status, 1.0) - self.value)
        return StatusWeight(value if 0 < value <= 1 else 1.0, now)
