"""What speaks for a server, as numbers: larger is better.

Every weight is neutral where nothing is known: a value nobody can tell is the median of those that can be told, or 1.

Source of the first four: Pelican `director/sort_utilities.go:computeWeights`. Breaker and latency are ours: upstream
goes on sending clients to a cache that has stopped answering.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from director_wsgi.federation.models import Coordinate, ServerAd
from director_wsgi.limits.breaker import State
from director_wsgi.redirect.geo import distance_miles, is_known

HALVING_MILES = 200.0
"""A server this much farther away weighs half as much."""

AVAILABLE, UNAVAILABLE = 2.0, 0.5
"""Weights of a server that has the object and of one that would have to fetch it."""

BREAKER_WEIGHT = {State.CLOSED: 1.0, State.HALF_OPEN: 0.1, State.OPEN: 0.01}
"""A server that is not asked at the moment is hardly ever first, but stays among those named."""

QUICK_S = 0.05
"""Answering a question within this time makes no difference."""

HALVING_LATENCY_S = 0.2
"""A server that takes this much longer weighs half as much."""

LEAST_LATENCY_WEIGHT = 0.1

FULL_LOAD, HALVING_LOAD = 100.0, 200.0
"""Storage operations per second that a server bears easily, and how many more halve its weight."""

LEAST_LOAD_WEIGHT = 2.0**-900
"""However many there are: a draw needs a product above 0, and distance alone may bring it down to 2 to the -63rd."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a server has been lately, as far as this director knows; None where it does not.

    Attributes:
        breaker: Whether it is asked at all.
        latency_s: Moving average of what its answers took, in seconds.
        next_probe_in_s: Until it will be asked again, while its breaker is open.
        status_weight: Moving average of what it says of itself, in (0, 1].
        io_load: Storage operations per second, averaged over five minutes; 0 or more.
    """

    breaker: State | None = None
    latency_s: float | None = None
    next_probe_in_s: float | None = None
    status_weight: float | None = None
    io_load: float | None = None


HealthOf = Callable[[ServerAd], Health]
"""Never waits; may be called from any thread."""

NOTHING_KNOWN = Health()


def nobody_knows(_server: ServerAd) -> Health:
    """The health of servers that nobody watches."""
    return NOTHING_KNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """One server's, all positive."""

    distance: float
    io_load: float
    status: float
    availability: float
    breaker: float
    latency: float

    @property
    def product(self) -> float:
        """The chance to be first, relative to the others'."""
        return self.distance * self.io_load * self.status * self.availability * self.breaker * self.latency


def weigh(
    servers: Sequence[ServerAd], client: Coordinate | None, available: Sequence[bool | None], healths: Sequence[Health]
) -> tuple[Weights, ...]:
    """Weigh servers against each other.

    Args:
        servers: Whom.
        client: Where the client is; None if nobody knows.
        available: For each server whether it has the object; None if it did not say.
        healths: For each server how it has been.
    """
    columns = zip(
        distance_weights([server.coordinate for server in servers], client),
        with_median([io_load_weight(health.io_load) for health in healths]),
        with_median([health.status_weight for health in healths]),
        with_median([_availability(one) for one in available]),
        healths,
        strict=True,
    )
    return tuple(
        Weights(
            distance=distance,
            io_load=io_load,
            status=status,
            availability=availability,
            breaker=1.0 if health.breaker is None else BREAKER_WEIGHT[health.breaker],
            latency=latency_weight(health.latency_s),
        )
        for distance, io_load, status, availability, health in columns
    )


def distance_weights(places: Sequence[Coordinate | None], client: Coordinate | None) -> list[float]:
    """One weight for each place, larger is nearer; with no place to weigh, or an unknown client, all weigh 1."""
    known = client if is_known(client) else None
    return with_median(
        [
            math.exp2(-distance_miles(known, place) / HALVING_MILES) if known and place and is_known(place) else None
            for place in places
        ]
    )


def io_load_weight(io_load: float | None) -> float | None:
    """1 for a server that can bear its load, then halving; None if the load is unknown."""
    if io_load is None or not io_load >= 0:  # NaN is unknown too
        return None
    return max(LEAST_LOAD_WEIGHT, math.exp2(-max(io_load - FULL_LOAD, 0.0) / HALVING_LOAD))


def latency_weight(latency_s: float | None) -> float:
    """1 for a server that is quick or has not been asked yet, then halving, down to a tenth."""
    if latency_s is None or latency_s <= QUICK_S:
        return 1.0
    return max(LEAST_LATENCY_WEIGHT, math.exp2(-(latency_s - QUICK_S) / HALVING_LATENCY_S))


def with_median(values: Sequence[float | None]) -> list[float]:
    """The values, with the median of the known ones in place of the unknown; 1 if none is known."""
    known = [value for value in values if value is not None]
    middle = statistics.median(known) if len(known) != len(values) and known else 1.0
    return [middle if value is None else value for value in values]


def _availability(available: bool | None) -> float | None:
    if available is None:
        return None
    return AVAILABLE if available else UNAVAILABLE
