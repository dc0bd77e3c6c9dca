"""Federations of three sizes, as their servers would advertise them, and what clients ask of them.

Everything is made from a seed: the same size is the same federation in every process and on every machine. Each
namespace has one origin and every cache carries every namespace, as in a federation whose caches are open to all.
"""

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
"""How many places the clients that declare one come from."""

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


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request, and what must occur in its answer.

    Attributes:
        request: The bytes to send.
        location: What the Location line must contain, byte for byte.
    """

    request: bytes
    location: bytes


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


def encode(ad: Json) -> bytes:
    """The bytes to post."""
    return json.dumps(ad, separators=(",", ":")).encode()


def exchanges(size: Size, *, count: int, declared: bool) -> list[Exchange]:
    """Reads of random objects in random namespaces.

    Args:
        size: The federation that is asked.
        count: How many; no object twice but by chance.
        declared: Whether the clients say where they are. The nearest cache is then known beforehand, and must be the
            answer; otherwise any cache is right.
    """
    rng = random.Random(SEED)
    places = _places(size, rng) if declared else []
    made = []
    for _ in range(count):
        namespace = rng.randrange(size.namespaces)
        path = f"{prefix_of(namespace)}/run-{rng.randrange(10**4):04}/file-{rng.randrange(10**6):06}.dat"
        lines = [f"GET {path} HTTP/1.1", "Host: director.example.org", "User-Agent: pelican-client/7.20.0"]
        location = f".example.org:8443{path}\r\n"
        if declared:
            (latitude, longitude), cache = rng.choice(places)
            lines.append(f"X-Pelican-Coordinate: lat={latitude},long={longitude}")
            location = f" {base_url('cache', cache)}{path}\r\n"
        lines.append("Accept-Encoding: gzip")
        made.append(Exchange("\r\n".join([*lines, "", ""]).encode(), location.encode()))
    return made


Point = tuple[float, float]


def _position(kind: str, number: int) -> Point:
    return _point(random.Random(f"{SEED} {kind} {number}"))


def _point(rng: random.Random) -> Point:
    return round(rng.uniform(25, 50), 2), round(rng.uniform(-125, -65), 2)


def _places(size: Size, rng: random.Random) -> list[tuple[Point, int]]:
    """Places of clients, each with the number of its nearest cache; none about halfway between two caches."""
    caches = [(number, _position("cache", number)) for number in range(size.caches)]
    places: list[tuple[Point, int]] = []
    while len(places) < PLACES:
        here = _point(rng)
        nearest = sorted((_radians(here, there), number) for number, there in caches)
        if nearest[1][0] - nearest[0][0] > 1e-4:
            places.append((here, nearest[0][1]))
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
