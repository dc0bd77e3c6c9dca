"""What Pelican's servers say of themselves, to the letter.

Source: Pelican `server_structs/director.go`, `origin/advertise.go`, `cache/advertise.go`.
"""

import enum
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from director_wsgi.demo.origin import Export
from director_wsgi.demo.tokens import ADVERTISE, SigningKey
from director_wsgi.limits.deadline import WallClock, wall

VERSION = "7.20.0"
"""The version of Pelican that the servers of the demo say they are."""

AD_LIFETIME_S = 600.0
TOKEN_LIFETIME_S = 60.0


class Kind(enum.Enum):
    """What a server is; the value is the word for it in its User-Agent and in its registered prefix."""

    ORIGIN = "origin"
    CACHE = "cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertised:
    """What there is to say of a server.

    Attributes:
        url: Of its data and of its own API.
        registry_prefix: What it is registered as.
        exports: An origin's namespaces; a cache serves what the director lists.
        place: Latitude and longitude in degrees, or None if it does not say.
        takes_tests: Whether it understands a director's tests and reports; one that does not asks for none.
    """

    kind: Kind
    name: str
    url: str
    registry_prefix: str
    key: SigningKey
    exports: tuple[Export, ...] = ()
    place: tuple[float, float] | None = None
    takes_tests: bool = True


class AdBuilder:
    """Writes the advertisements of one server; each is the next generation. For one thread."""

    def __init__(self, server: Advertised, *, now: WallClock = wall) -> None:
        self.server = server
        self._now = now
        self._started_at = int(now())
        self._instance_id = str(uuid.uuid4())
        self._generation_id = 1  # Pelican's first advertisement is number 2

    def token(self, director_url: str) -> str:
        """A token for one advertisement at one director."""
        return self.server.key.sign(
            issuer=self.server.url,
            subject=self.server.url,
            audience=[director_url],
            scope=ADVERTISE,
            lifetime_s=TOKEN_LIFETIME_S,
            now=self._now,
        )

    def ad(self, listed: Sequence[Any] = (), *, status: str = "ok") -> dict[str, Any]:
        """The next advertisement, as a JSON object.

        Args:
            listed: For a cache: the namespaces that the director lists, as it wrote them.
            status: The server's health, in Pelican's words.
        """
        self._generation_id += 1
        now = self._now()
        common = {
            "name": self.server.name,
            "startTime": self._started_at,
            "instanceID": self._instance_id,
            "generationID": self._generation_id,
            "version": VERSION,
            "expiry": timestamp(now + AD_LIFETIME_S),
            "serverId": self.server.key.key_id[:7].lower(),
            "registry-prefix": self.server.registry_prefix,
            "data-url": self.server.url,
            "web-url": self.server.url,
            "downtimes": [],
            "directorTest": not self.server.takes_tests,  # inverted on the wire
            "now": timestamp(now),
            "status": status,
        }
        own = _of_origin(self.server) if self.server.kind is Kind.ORIGIN else _of_cache(listed)
        return {**common, **own, **_coordinate(self.server.place)}


def timestamp(at: float) -> str:
    """Unix seconds as Go writes a time: RFC 3339 with nine digits of a second."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}000Z"


def url_object(url: str) -> dict[str, object]:
    """A URL as Go writes a `url.URL`."""
    parts = urlsplit(url)
    return {
        "Scheme": parts.scheme,
        "Opaque": "",
        "User": None,
        "Host": parts.netloc,
        "Path": parts.path,
        "Fragment": "",
        "RawQuery": parts.query,
        "RawPath": "",
        "RawFragment": "",
        "ForceQuery": False,
        "OmitHost": False,
    }


def _of_origin(server: Advertised) -> dict[str, Any]:
    # Seen: an origin's own PublicRead is false, whatever its namespaces say.
    capabilities = [_capabilities(export) for export in server.exports]
    either = {name: any(own[name] for own in capabilities) for name in _capabilities(Export(prefix="/"))}
    return {
        "capabilities": {**either, "PublicRead": False},
        "namespaces": [_namespace(export, server.url) for export in server.exports],
        "token-issuer": [_issuer(export, server.url) for export in server.exports],
        "storageType": "posix",
        "requiredFeatures": [],
    }


def _of_cache(listed: Sequence[Any]) -> dict[str, Any]:
    return {
        "capabilities": dict.fromkeys(_capabilities(Export(prefix="/")), False),
        "namespaces": list(listed),
        "token-issuer": None,
        "storageType": "",
        "requiredFeatures": None,
    }


def _capabilities(export: Export) -> dict[str, bool]:
    return {
        "PublicRead": export.public_reads,
        "Read": True,
        "Write": export.writes,
        "Listing": export.listings,
        "FallBackRead": export.direct_reads,
        "Copies": False,
    }


def _namespace(export: Export, issuer_url: str) -> dict[str, Any]:
    generation = {
        "strategy": "OAuth2",
        "vault-server": "",
        "max-scope-depth": 3,
        "issuer": url_object(issuer_url),
    }
    return {
        "Caps": _capabilities(export),
        "path": export.prefix,
        "token-generation": [generation],
        "token-issuer": [_issuer(export, issuer_url)],
        "from-topology": False,
    }


def _issuer(export: Export, url: str) -> dict[str, Any]:
    return {"base-paths": [export.prefix], "restricted-paths": None, "issuer": url_object(url)}


def _coordinate(place: tuple[float, float] | None) -> dict[str, Any]:
    if place is None:
        return {}
    latitude, longitude = place
    return {
        "coordinate": {
            "Lat": latitude,
            "Long": longitude,
            "AccuracyRadius": 0,
            "Source": "declared",
            "FromTTLCache": False,
        }
    }
