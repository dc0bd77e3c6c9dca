"""Which server first, as far as places and dice decide.

A ranking is a pure function: the same servers, the same place, the same generator, the same order. Orders that depend
on nothing but servers and place are remembered (`Orders`).

Source: Pelican `director/sort.go`, `sort_algorithms.go`.
"""

import math
import random
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, TypeVar

from director_wsgi.federation.models import Coordinate
from director_wsgi.federation.snapshot import Group
from director_wsgi.redirect.geo import is_known
from director_wsgi.redirect.weights import distance_weights

T = TypeVar("T")

Place = Callable[[T], Coordinate | None]
"""Where a member of a group is; None if nobody knows."""

CACHE_SORT_METHODS = ("distance", "distanceAndLoad", "random", "adaptive")
"""`distanceAndLoad` ranks as `distance` does, upstream as well: no load is known to a director without Prometheus.
`adaptive` begins as `distance` does; what it makes of evidence is in `redirect.adaptive`."""

REMEMBERED: Final = 16_384
"""Orders that are remembered. Each takes some 300 bytes, if it is that of few."""

LONGEST: Final = 64
"""A longer order is not remembered, so that memory does not depend on how many servers serve one prefix."""


class Orders:
    """Nearest first, remembered for each group and exact place; the least recently used is forgotten.

    Holds on to groups: to be dropped together with the snapshot that they belong to. Any number of threads at once; two
    that ask for the same at once may both work it out.
    """

    def __init__(self, capacity: int = REMEMBERED) -> None:
        self._remembered = lru_cache(capacity)(_nearest)

    def nearest(
        self, group: Group[T], place_of: Place[T], client: Coordinate, most: int | None = None
    ) -> tuple[T, ...]:
        """The members, nearest first; equals keep their order.

        Args:
            group: At least two.
            place_of: Where each member is; the same function for every call with members of this kind.
            client: Where the client is.
            most: How many are wanted; None: all.
        """
        few = most if most is not None else len(group)
        work = _nearest if few > LONGEST else self._remembered
        ordered: tuple[T, ...] = work(group, place_of, client.latitude, client.longitude, most)
        return ordered

    def __len__(self) -> int:
        """How many are remembered."""
        return self._remembered.cache_info().currsize


def _nearest(group: Group[Any], place_of: Place[Any], latitude: float, longitude: float, most: int | None) -> Any:
    members = group.members
    vectors = group.derive(("vectors", place_of), lambda members: _vectors(members, place_of))
    client = Coordinate(latitude=latitude, longitude=longitude)
    if vectors and is_known(client):
        x, y, z = _vector(client)
        cosines = [x * u + y * v + z * w for u, v, w in vectors]
        order = sorted(range(len(members)), key=cosines.__getitem__, reverse=True)
    else:  # somebody's place is not known: such a one stands in the middle
        weights = distance_weights([place_of(member) for member in members], client)
        order = sorted(range(len(members)), key=weights.__getitem__, reverse=True)
    return tuple([members[index] for index in order[:most]])


def _vectors(members: tuple[T, ...], place_of: Place[T]) -> tuple[tuple[float, float, float], ...]:
    """Where the members are on the unit sphere; empty unless all places are known.

    The cosine of the angle between two places falls as their distance grows, so that it orders as distance does, with
    no trigonometry for each of them.
    """
    places = [place_of(member) for member in members]
    return tuple(_vector(place) for place in places if place) if all(is_known(place) for place in places) else ()


def _vector(place: Coordinate) -> tuple[float, float, float]:
    phi, theta = math.radians(place.latitude), math.radians(place.longitude)
    return math.cos(phi) * math.cos(theta), math.cos(phi) * math.sin(theta), math.sin(phi)


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
