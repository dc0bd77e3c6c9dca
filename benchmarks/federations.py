"""Federations of three sizes, as their servers would advertise them, and what clients ask of them.

Everything is made from a seed: the same size is the same federation in every process and on every machine. Each
namespace has one origin and every cache carries every namespace, as in a federation whose caches are open to all.
"""

import enum
import heapq
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

SEED = 20_26
AD_LIFETIME = timedelta(hours=12)
PLACES = 100
"""How many places the calls of `lookups` come from."""

MANY_PLACES = 10_000

SERIAL = b"#########"
"""Stands in an exchange for a number that is new with every request; as many digits as there are signs."""

CLEAR_RAD = 5e-4
"""By so much the nearest cache of a place is nearer than the next one; it stays the nearest if the place moves by less
than half of that."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a federation is."""

    name: str
    origins: int
    caches: int
    namespaces: int

    def __str__(self) -> str:
        return f"{self.name} ({self.origins:,} + {self.caches:,}, {self.namespaces:,})"


SMALL = Size(name="small", origins=2, caches=2, namespaces=4)
MEDIUM = Size(name="medium", origins=100, caches=40, namespaces=300)
LARGE = Size(name="large", origins=1000, caches=100, namespaces=3000)
SIZES = {size.name: size for size in (SMALL, MEDIUM, LARGE)}


class Clients(enum.StrEnum):
    """Where the clients say they are (`X-Pelican-Coordinate`)."""

    ONE_PLACE = "clients from one place"
    MANY_PLACES = "clients from 10,000 places"
    NEW_PLACES = "each client from a place never seen"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, and what must occur in its answer; `SERIAL` stands for a number in both.

    Attributes:
        request: The bytes to send.
        location: What the Location line must contain, byte for byte.
    """

    request: bytes
    location: bytes

    def numbered(self, number: int) -> "Exchange":
        """The one with this number: its object has been asked for by nobody else."""
        digits = b"%0*d" % (len(SERIAL), number)
        return Exchange(self.request.replace(SERIAL, digits), self.location.replace(SERIAL, digits))


def prefix_of(namespace: int) -> str:
    """The path of the namespace with this number."""
    return f"/lab-{namespace // 10:04}/set-{namespace:04}"


def base_url(kind: str, number: int) -> str:
    """The data URL of a server; `kind` is `origin` or `cache`."""
    return f"https://{kind}-{number:04}.example.org:8443"


def origin_ads(size: Size) -> Iterator[Json]:
    """The body of every origin's advertisement."""
    for number in range(size.origins):
        own = range(number, size.namespaces, size.origins)
        yield _ad("origin", number, [_namespace(n, n % size.origins) for n in own])


def cache_ad(size: Size, number: int) -> Json:
    """The body of one cache's advertisement; numbers beyond the size's caches are new caches."""
    return _ad("cache", number, [_namespace(n, n % size.origins) for n in range(size.namespaces)])


def new_origin_ad(size: Size, number: int) -> Json:
    """The body of an origin's advertisement that is not of this federation, with namespaces of its own."""
    origin = size.origins + number
    first = size.namespaces + 3 * number
    return _ad("origin", origin, [_namespace(n, origin) for n in range(first, first + 3)])


def encode(ad: Json | list[Json]) -> bytes:
    """The bytes to post."""
    return json.dumps(ad, separators=(",", ":")).encode()


def exchanges(size: Size, *, count: int, clients: Clients) -> list[Exchange]:
    """Reads in random namespaces.

    Args:
        size: The federation that is asked.
        count: How many.
        clients: Where they come from, in turn. The nearest cache is known beforehand, and must be the answer.
    """
    rng = random.Random(SEED)
    places = _places(size, rng, 1 if clients is Clients.ONE_PLACE else min(count, MANY_PLACES))
    serial = SERIAL.decode()
    further = serial if clients is Clients.NEW_PLACES else ""  # digits of a latitude: a kilometre at most
    made = []
    for number in range(count):
        (latitude, longitude), cache = places[number % len(places)]
        path = f"{prefix_of(rng.randrange(size.namespaces))}/run-{rng.randrange(10**4):04}/file-{serial}.dat"
        request = (
            f"GET {path} HTTP/1.1\r\nHost: director.example.org\r\nUser-Agent: pelican-client/7.20.0\r\n"
            f"X-Pelican-Coordinate: lat={latitude:.2f}{further},long={longitude:.2f}\r\nAccept-Encoding: gzip\r\n\r\n"
        )
        made.append(Exchange(request.encode(), f" {base_url('cache', cache)}{path}\r\n".encode()))
    return made


Point = tuple[float, float]


def _position(kind: str, number: int) -> Point:
    return _point(random.Random(f"{SEED} {kind} {number}"))


def _point(rng: random.Random) -> Point:
    return round(rng.uniform(25, 50), 2), round(rng.uniform(-125, -65), 2)


def _places(size: Size, rng: random.Random, number: int) -> list[tuple[Point, int]]:
    """Places of clients, each with the number of its nearest cache; none about halfway between two caches."""
    caches = [(number, _position("cache", number)) for number in range(size.caches)]
    places: list[tuple[Point, int]] = []
    while len(places) < number:
        here = _point(rng)
        (nearest, cache), (next_one, _) = heapq.nsmallest(2, ((_radians(here, there), n) for n, there in caches))
        if next_one - nearest > CLEAR_RAD:
            places.append((here, cache))
    return places


def _radians(a: Point, b: Point) -> float:
    """The angle between two points of a sphere (haversine; the director uses the law of cosines)."""
    (phi1, theta1), (phi2, theta2) = ((math.radians(x), math.radians(y)) for x, y in (a, b))
    h = math.sin((phi2 - phi1) / 2) ** 2 + math.cos(phi1) * math.cos(phi2) * math.sin((theta2 - theta1) / 2) ** 2
    return 2 * math.asin(math.sqrt(h))


def _ad(kind: str, number: int, namespaces: list[Json]) -> Json:
    is_origin = kind == "origin"
    latitude, longitude = _position(kind, number)
    now = datetime.now(UTC)
    return {
        "name": f"{kind}-{number:04}",
        "startTime": 1_790_000_000,
        "instanceID": f"00000000-0000-4000-8000-{number:012}",
        "generationID": 2,
        "version": "7.20.0",
        "expiry": (now + AD_LIFETIME).isoformat(),
        "now": now.isoformat(),
        "serverId": f"{kind[0]}{number:06}",
        "registry-prefix": f"/{kind}s/{kind}-{number:04}.example.org",
        "data-url": base_url(kind, number),
        "web-url": f"https://{kind}-{number:04}.example.org:8444",
        "coordinate": {
            "Lat": latitude,
            "Long": longitude,
            "AccuracyRadius": 0,
            "Source": "declared",
            "FromTTLCache": False,
        },
        "capabilities": _capabilities(allowed=is_origin, public=is_origin),
        "namespaces": namespaces,
        "storageType": "posix",
        "directorTest": True,  # which means that it wants none: nobody is there
        "status": "ok",
    }


def _capabilities(*, allowed: bool, public: bool) -> Json:
    return {
        "PublicRead": public,
        "Read": allowed,
        "Write": allowed,
        "Listing": allowed,
        "FallBackRead": allowed,
        "Copies": False,
    }


def _namespace(number: int, origin: int) -> Json:
    """One namespace; every fourth one wants a token."""
    path = prefix_of(number)
    public = number % 4 != 3
    issuer = _go_url("" if public else f"origin-{origin:04}.example.org:8444")
    return {
        "Caps": _capabilities(allowed=True, public=public),
        "path": path,
        "token-generation": [
            {
                "strategy": "" if public else "OAuth2",
                "vault-server": "",
                "max-scope-depth": 0 if public else 3,
                "issuer": issuer,
            }
        ],
        "token-issuer": None if public else [{"base-paths": [path], "restricted-paths": None, "issuer": issuer}],
        "from-topology": False,
    }


def _go_url(host: str) -> Json:
    """A Go `url.URL` as its JSON encoder writes it: that is what Pelican servers send for an issuer."""
    return {
        "Scheme": "https" if host else "",
        "Opaque": "",
        "User": None,
        "Host": host,
        "Path": "",
        "RawPath": "",
        "OmitHost": False,
        "ForceQuery": False,
        "RawQuery": "",
        "Fragment": "",
        "RawFragment": "",
    }
