"""The ranking `adaptive`: the nearest few servers, drawn by lot, the better ones with the better chances.

1. The nearest `Director.AdaptiveSortTruncateConstant` servers are the working set; nobody else is looked at.
2. Each is weighed: by distance, by what it says of its state, by whether it has the object, by whether its breaker lets
   questions through, by how fast it has answered lately.
3. The order is a weighted draw without replacement. The same order for everybody would send every client of a place to
   the same server, until it is the worst one.

Source: Pelican `director/sort_algorithms.go`. There the dice may put an origin that could not be asked before one that
has the object; here they decide only between origins of which the same is known.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from director_wsgi.federation.models import Coordinate, ServerAd
from director_wsgi.redirect.asking import Told
from director_wsgi.redirect.candidates import Candidate, cache_availability
from director_wsgi.redirect.weights import HealthOf, Weights, weigh


@dataclass(frozen=True, slots=True)
class Weighed:
    """A server of the working set, and what spoke for it."""

    server: ServerAd
    weights: Weights


def draw_origins(
    working_set: Sequence[Candidate], client: Coordinate, health_of: HealthOf, generator: random.Random
) -> tuple[tuple[Candidate, ...], tuple[Weighed, ...]]:
    """The order of these origins, surest first and drawn between equally sure ones; and their weights in that order."""
    servers = [candidate.source.server for candidate in working_set]
    available = [candidate.is_available for candidate in working_set]
    weights = weigh(servers, client, available, [health_of(server) for server in servers])
    drawn = draw([one.product for one in weights], generator)
    order = sorted(drawn, key=lambda index: working_set[index].rank)
    return tuple(working_set[index] for index in order), tuple(Weighed(servers[i], weights[i]) for i in order)


def draw_caches(
    working_set: Sequence[ServerAd], told: Told, client: Coordinate, health_of: HealthOf, generator: random.Random
) -> tuple[Weighed, ...]:
    """The order of these caches."""
    available = cache_availability(working_set, told)
    weights = weigh(working_set, client, available, [health_of(cache) for cache in working_set])
    return tuple(Weighed(working_set[i], weights[i]) for i in draw([one.product for one in weights], generator))


def draw(weights: Sequence[float], generator: random.Random) -> list[int]:
    """Indexes in a random order: at each position, each of those left has a chance in proportion to its weight.

    Everybody arrives after a time that is exponentially distributed, with the weight as its rate; the order of arrival
    is such a draw.

    Args:
        weights: All positive.
        generator: Asked once for each weight, in their order.
    """
    arrivals = [generator.expovariate(weight) for weight in weights]
    return sorted(range(len(weights)), key=arrivals.__getitem__)
