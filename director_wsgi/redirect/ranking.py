"""Which server first.

A ranking is a pure function: the same servers, the same place, the same generator, the same order. Orders that depend
on nothing but servers and place are remembered in the servers' group, which dies as soon as anything about one of them
changes.

Source: Pelican `director/sort.go`, `sort_algorithms.go`, `sort_utilities.go:computeWeights`.
"""

import random
import statistics
from collections.abc import Callable, Sequence
from typing import TypeVar

from director_wsgi.federation.directory import Group
from director_wsgi.federation.models import Coordinate
from director_wsgi.redirect.geo import distance_miles, is_known

T = TypeVar("T")

Place = Callable[[T], Coordinate | None]
"""Where a member of a group is; None if nobody knows."""

HALVING_MILES = 200.0
"""A server this much farther away weighs half as much."""

CACHE_SORT_METHODS = ("distance", "distanceAndLoad", "random")
"""`distanceAndLoad` ranks as `distance` does, upstream as well: no load is known to a director without Prometheus."""


def distance_weights(places: Sequence[Coordinate | None], client: Coordinate | None) -> list[float]:
    """One weight for each place, larger is nearer; places that cannot be weighed get the median of those that can.

    With no place to weigh, or an unknown client, all weigh 1.
    """
    known = client if is_known(client) else None
    weights = [
        2.0 ** (-distance_miles(known, place) / HALVING_MILES) if known and place and is_known(place) else None
        for place in places
    ]
    valid = [weight for weight in weights if weight is not None]
    middle = statistics.median(valid) if valid else 1.0
    return [middle if weight is None else weight for weight in weights]


def by_distance(members: tuple[T, ...], place_of: Place[T], client: Coordinate | None) -> tuple[T, ...]:
    """Nearest first; equals keep their order."""
    weights = distance_weights([place_of(member) for member in members], client)
    order = sorted(range(len(members)), key=lambda index: -weights[index])
    return tuple(members[index] for index in order)


def rank(
    group: Group[T], method: str, place_of: Place[T], client: Coordinate | None, generator: random.Random
) -> tuple[T, ...]:
    """Every member of a group, best first.

    Args:
        group: Whom to order.
        method: One of `CACHE_SORT_METHODS`.
        place_of: Where each member is; the same function for every call with members of this kind.
        client: Where the client is; None if nobody knows.
        generator: Randomness, for `random`.
    """
    if len(group) < 2:
        return group.members  # and nothing to remember
    if method == "random":
        shuffled = list(group.members)
        generator.shuffle(shuffled)
        return tuple(shuffled)
    ranked: tuple[T, ...] = group.derive(("distance", client), lambda members: by_distance(members, place_of, client))
    return ranked
