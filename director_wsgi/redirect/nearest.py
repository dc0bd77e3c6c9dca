"""Who of many is nearest to a place.

Distances are compared as cosines of the angle between unit vectors: they fall as the angle grows, and need no
trigonometry for each member. Three things are remembered, each for one group: the members' vectors; for each field of
a grid over the globe, who can be among the nearest of any place within it; the order for an exact place.
"""

import math
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Any, Final, TypeVar

from director_wsgi.federation.models import Coordinate
from director_wsgi.federation.snapshot import Group
from director_wsgi.redirect.geo import is_known
from director_wsgi.redirect.weights import distance_weights

T = TypeVar("T")

Place = Callable[[T], Coordinate | None]
"""Where a member of a group is; None if nobody knows."""

REMEMBERED: Final = 16_384
"""Orders that are remembered. Each takes some 300 bytes, if it is that of few."""

LONGEST: Final = 64
"""A longer order is not remembered, so that memory does not depend on how many servers serve one prefix."""

FIELDS: Final = 4_096
"""Fields of the globe that are remembered, those of all groups together. Each takes up to 16 bytes per member."""

FIELD_DEGREES: Final = 2.5
"""Height and width of a field: some 240 cover the contiguous United States."""

CROWD: Final = 4
"""A group this many times as large as what is wanted of it is worth the look at a field."""

_ROUNDING_RAD: Final = 1e-6
"""More than an angle can be wrong by; a few yards."""

LatLong = tuple[float, float]
"""In degrees; (0, 0) is nowhere."""

Field = tuple[int, int]
"""Of the grid: its southern and its western edge, in units of `FIELD_DEGREES`."""

Vector = tuple[float, float, float]

Located = tuple[tuple[T, ...], tuple[Vector, ...]]
"""Members, and where each of them is."""


class Orders:
    """Nearest first, remembered for each group and exact place; the least recently used is forgotten.

    Holds on to groups: to be dropped together with the snapshot that they belong to. Any number of threads at once; two
    that ask for the same at once may both work it out.
    """

    def __init__(self, capacity: int = REMEMBERED) -> None:
        self._work_out = partial(_nearest, lru_cache(FIELDS)(around))
        self._remembered = lru_cache(capacity)(self._work_out)

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
        work = self._work_out if few > LONGEST else self._remembered
        ordered: tuple[T, ...] = work(group, place_of, (client.latitude, client.longitude), most)
        return ordered

    def __len__(self) -> int:
        """How many are remembered."""
        return self._remembered.cache_info().currsize


def _nearest(
    near: Callable[..., Located[Any]], group: Group[Any], place_of: Place[Any], where: LatLong, most: int | None
) -> tuple[Any, ...]:
    members, vectors = group.members, _vectors(group, place_of)
    if vectors and where != (0, 0):
        if most is not None and len(members) >= CROWD * most:
            members, vectors = near(group, place_of, most, _field(where))
        nearness = _nearness(_vector(where), vectors)
    else:  # somebody's place is not known: such a one stands in the middle
        client = Coordinate(latitude=where[0], longitude=where[1])
        nearness = distance_weights([place_of(member) for member in members], client)
    order = sorted(range(len(members)), key=nearness.__getitem__, reverse=True)
    return tuple([members[index] for index in order[:most]])


def around(group: Group[T], place_of: Place[T], most: int, field: Field) -> Located[T]:
    """Those who can be among the `most` nearest of a place within a field, in the order of the group.

    If `most` of them are within a distance of the middle, then they are within that and half a diagonal of any place
    of the field; and whoever is as near to that place is within that and a whole diagonal of the middle.
    """
    vectors = _vectors(group, place_of)
    south, west = (index * FIELD_DEGREES for index in field)
    middle = _vector((south + FIELD_DEGREES / 2, west + FIELD_DEGREES / 2))
    corners = [_vector((latitude, west)) for latitude in (south, south + FIELD_DEGREES)]
    diagonal = 2 * _angle(min(_nearness(middle, corners)))
    nearness = _nearness(middle, vectors)
    reach = _angle(sorted(nearness, reverse=True)[most - 1]) + diagonal + _ROUNDING_RAD
    least = math.cos(min(reach, math.pi))
    near = [index for index, cosine in enumerate(nearness) if cosine >= least]
    return tuple([group.members[index] for index in near]), tuple([vectors[index] for index in near])


def _field(where: LatLong) -> Field:
    latitude, longitude = where
    return math.floor(latitude / FIELD_DEGREES), math.floor(longitude / FIELD_DEGREES)


def _vectors(group: Group[T], place_of: Place[T]) -> tuple[Vector, ...]:
    """Where the members are on the unit sphere; empty unless all places are known."""

    def located(members: tuple[T, ...]) -> tuple[Vector, ...]:
        places = [place_of(member) for member in members]
        if not all(is_known(place) for place in places):
            return ()
        return tuple([_vector((place.latitude, place.longitude)) for place in places if place])

    vectors: tuple[Vector, ...] = group.derive(("vectors", place_of), located)
    return vectors


def _vector(where: LatLong) -> Vector:
    phi, theta = map(math.radians, where)
    breadth = math.cos(phi)
    return breadth * math.cos(theta), breadth * math.sin(theta), math.sin(phi)


def _nearness(here: Vector, there: Iterable[Vector]) -> list[float]:
    """The cosines of the angles between one and each of the others."""
    x, y, z = here
    return [x * u + y * v + z * w for u, v, w in there]


def _angle(cosine: float) -> float:
    """In radians, in spite of rounding."""
    return math.acos(max(-1.0, min(1.0, cosine)))
