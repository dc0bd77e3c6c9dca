"""What servers have said of their state lately, as a weight.

A server says in each advertisement how it is. One that was critical a minute ago and says `ok` now is believed
gradually: its weight is an exponentially weighted moving average.

Source: Pelican `director/cache_ads.go:populateEWMAStatusWeight`.
"""

import math
from dataclasses import dataclass

from director_wsgi.federation.models import ServerAd
from director_wsgi.limits.deadline import Clock, monotonic
from director_wsgi.limits.ttl import TTLTable

TIME_CONSTANT_S = 300.0
"""After this time, about two thirds of what was before are forgotten."""

FORGOTTEN_AFTER_S = 900.0
"""A server that has not advertised for so long is met as a new one."""

_WEIGHT_OF = {"warning": 0.5, "degraded": 0.01, "critical": 0.01, "shutting down": 0.01}


@dataclass(frozen=True, slots=True)
class _Average:
    weight: float
    updated_at: float


class StatusWeights:
    """The average of each server. Any number of threads at once.

    Args:
        capacity: Most servers remembered.
        clock: Monotonic seconds.
        time_constant_s: How slowly a server is believed.
    """

    def __init__(self, capacity: int, *, clock: Clock = monotonic, time_constant_s: float = TIME_CONSTANT_S) -> None:
        self._clock = clock
        self._time_constant_s = time_constant_s
        self._averages: TTLTable[str, _Average] = TTLTable(capacity, clock)

    def advertised(self, ad: ServerAd) -> None:
        """Take what this advertisement says into account; once for each, in the order of their arrival."""
        said, now = _WEIGHT_OF.get(ad.status, 1.0), self._clock()
        before = self._averages.get(ad.data_url)
        weight = said if before is None else self._moved(before, said, now)
        self._averages.put(ad.data_url, _Average(weight, now), FORGOTTEN_AFTER_S)

    def _moved(self, before: _Average, said: float, now: float) -> float:
        share = 1 - math.exp(-(now - before.updated_at) / self._time_constant_s)
        return before.weight + share * (said - before.weight)

    def of(self, server: ServerAd) -> float:
        """The weight, in (0, 1]; that of its present state if no advertisement of it has been taken into account."""
        average = self._averages.get(server.data_url)
        return _WEIGHT_OF.get(server.status, 1.0) if average is None else average.weight
