"""Which server first, as far as places and dice decide.

A ranking is a pure function: the same servers, the same place, the same generator, the same order. Orders that depend
on nothing but servers and place are remembered in the servers' group, which dies as soon as anything about one of them
changes.

Source: Pelican `director/sort.go`, `sort_algorithms.go`.
"""

import random
from collections.abc import Callable
from typing import TypeVar

from director_wsgi.federation.models import Coordinate
from director_wsgi.federation.snapshot import Group
from director_wsgi.redirect.weights import distance_weights

T = TypeVar("T")

Place = Callable[[T], Coordinate | None]
"""Where a member of a group is; None if nobody knows."""

CACHE_SORT_METHODS = ("distance", "distanceAndLoad", "random", "adaptive")
"""`distanceAndLoad` ranks as `distance` does, upstream as well: no load is known to a director without Prometheus.
`adaptive` begins as `distance` does; what it makes of evidence is in `redirect.adaptive`."""


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
