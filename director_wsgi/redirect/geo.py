"""Places and distances.

Source: Pelican `director/sort_utilities.go`; X-Pelican-Coordinate, `server_structs/director.go`.
"""

import ipaddress
import math
import random
from collections.abc import Sequence
from functools import lru_cache

from director_wsgi.federation.models import Coordinate

EARTH_RADIUS_MILES = 3960.0

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_known(place: Coordinate | None) -> bool:
    """Whether this is a place; exactly (0, 0) is what senders put where they do not know."""
    return place is not None and not (place.latitude == 0 and place.longitude == 0)


def distance_miles(here: Coordinate, there: Coordinate) -> float:
    """Great-circle distance.

    Rounding can take the argument of acos a hair beyond 1, where upstream gets NaN and loses the server; it is clamped.
    """
    if here.latitude == there.latitude and here.longitude == there.longitude:
        return 0.0
    phi1, phi2 = math.radians(90 - here.latitude), math.radians(90 - there.latitude)
    theta1, theta2 = math.radians(here.longitude), math.radians(there.longitude)
    cosine = math.sin(phi1) * math.sin(phi2) * math.cos(theta1 - theta2) + math.cos(phi1) * math.cos(phi2)
    return EARTH_RADIUS_MILES * math.acos(max(-1.0, min(1.0, cosine)))


def parse_coordinate(header: str) -> Coordinate | None:
    """The value of `X-Pelican-Coordinate`, such as `lat=43.07, long=-89.40`; None if it is malformed.

    Blanks do not matter, unknown keys are allowed, keys are lower-case.
    """
    return _usual_coordinate(header) if len(header) <= _USUAL_LENGTH else _coordinate(header)


_USUAL_LENGTH = 64


def _coordinate(header: str) -> Coordinate | None:
    values: dict[str, str] = {}
    for part in header.replace(" ", "").split(","):
        key, equals, value = part.partition("=")
        if not equals:
            return None
        values[key] = value
    try:
        latitude, longitude = float(values["lat"]), float(values["long"])
    except (KeyError, ValueError):
        return None
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):  # NaN fails this too
        return None
    return Coordinate(latitude=latitude, longitude=longitude)


_usual_coordinate = lru_cache(maxsize=4096)(_coordinate)  # a client says the same with each of its requests


def parse_address(address: str) -> Address | None:
    """An IP address, out of IPv6's clothes if it is one of IPv4; None if it is none."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed


class Overrides:
    """Places of networks that the operator knows better (`GeoIPOverrides`); the first that holds an address wins."""

    def __init__(self, rows: Sequence[tuple[Network, float, float]] = ()) -> None:
        self._rows = tuple(rows)

    def __bool__(self) -> bool:
        return bool(self._rows)

    def place_of(self, address: str) -> Coordinate | None:
        """The place of an IP address; None if no network holds it or it is no address."""
        if not self._rows:
            return None
        parsed = parse_address(address)
        if parsed is None:
            return None
        for network, latitude, longitude in self._rows:
            if parsed.version == network.version and parsed in network:
                return Coordinate(latitude=latitude, longitude=longitude, source="override")
        return None


def somewhere(generator: random.Random) -> Coordinate:
    """A random place within the contiguous United States, as upstream gives to clients it cannot place."""
    return Coordinate(latitude=generator.uniform(30, 50), longitude=generator.uniform(-125, -65), source="random")
