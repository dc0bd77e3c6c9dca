"""Which server first, as far as places and dice decide.

A ranking is a pure function: the same servers, the same place, the same generator, the same order. Orders that depend
on nothing but servers and place are remembered (`nearest`).

Source: Pelican `director/sort.go`, `sort_algorithms.go`.
"""

import random
from typing import TypeVar

from director_wsgi.federation.models import Coordinate
from director_wsgi.federation.snapshot import Group
from director_wsgi.redirect.nearest import Orders, Place

T = TypeVar("T")

CACHE_SORT_METHODS = ("distance", "distanceAndLoad", "random", "adaptive")
"""`distanceAndLoad` ranks as `distance` does, upstream as well: no load is known to a director without Prometheus.
`adaptive` begins as `distance` does; what it makes of evidence is in `redirect.adaptive`."""


def rank(
    group: Group[T],
    method: str,
    place_of: Place[T],
    client: Coordinate,
    generator: random.Random,
    *,
    orders: Orders,
    most: int | None = None,
) -> tuple[T, ...]:
    """The members of a group, best first.

    Args:
        group: Whom to order.
        method: One of `CACHE_SORT_METHODS`.
        place_of: Where each member is; the same function for every call with members of this kind.
        client: Where the client is; (0, 0) if nobody knows.
        generator: Randomness, for `random`.
        orders: Remembers what can be remembered.
        most: How many are wanted; None: all.
    """
    if len(group.members) < 2:
        return group.members
    if method == "random":
        shuffled = list(group.members)
        generator.shuffle(shuffled)
        return tuple(shuffled[:most])
    return orders.nearest(group, place_of, client, most)
