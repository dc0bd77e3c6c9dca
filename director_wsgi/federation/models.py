"""The nouns of a federation: frozen values, as servers advertise them.

Source: Pelican `server_structs/director.go`. The flags are named after Pelican's prose (`Reads`), not after its wire
(`Read`, and `FallBackRead` for direct reads).
"""

import enum
from dataclasses import dataclass, field

from director_wsgi.federation.downtimes import Downtime


class ServerKind(enum.Enum):
    """What a server is; the value is Pelican's word for it in messages and listings."""

    ORIGIN = "Origin"
    CACHE = "Cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a server, or a namespace at a server, allows. Something is allowed only if both do."""

    public_reads: bool = False
    reads: bool = False
    writes: bool = False
    listings: bool = False
    direct_reads: bool = False
    copies: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinate:
    """A place on earth, in degrees.

    Attributes:
        latitude: -90 to 90, north is positive.
        longitude: -180 to 180, east is positive.
        accuracy_radius_km: 0 where nobody said.
        source: `declared`, `override`, `maxmind` or `random`, as shown in debug answers.
        remembered: It was given to a client earlier, by chance, and is given again.
    """

    latitude: float
    longitude: float
    accuracy_radius_km: int = 0
    source: str = "declared"
    remembered: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenGeneration:
    """How a client gets a token for a namespace."""

    strategy: str = ""
    vault_server: str = ""
    max_scope_depth: int = 0
    issuer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenIssuer:
    """Whose tokens a namespace accepts."""

    issuer: str = ""
    base_paths: tuple[str, ...] = ()
    restricted_paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class NamespaceAd:
    """One namespace as one server advertises it.

    Attributes:
        path: The prefix; absolute, without a slash at its end, `/` for the root.
        wire: The JSON object as received, compact. It is given back verbatim in listings: caches decode its issuers as
            Go `url.URL` objects and stop advertising if they meet anything else.
    """

    path: str
    capabilities: Capabilities = Capabilities()
    token_generations: tuple[TokenGeneration, ...] = ()
    token_issuers: tuple[TokenIssuer, ...] = ()
    wire: str = field(default="{}", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAd:
    """What an origin or a cache says of itself. When it expires is the directory's to know.

    Attributes:
        name: Its registered name; servers are ordered by it. May be empty.
        data_url: Base URL for objects, as sent; identifies the server. An http or https URL with a host.
        base_url: The same, always https, without a slash at its end: what redirects are built on.
        web_url: Base of its own API, or empty.
        broker_url: Non-empty if it can only be reached through a connection broker; such a server is never asked.
        registry_prefix: `/origins/…` or `/caches/…`.
        version: Pelican's version there: `7.20.0`, anything else it called itself, or `unknown`.
        status: `ok`, `warning`, `degraded`, `critical`, `shutting down`, `unknown`, or empty.
        storage_type: `posix` and so on.
        director_test_disabled: It wants no director tests, or its storage cannot bear them.
        namespaces: What it serves, no path twice; may be empty.
        required_features: What every cache in front of this origin must be able to do.
        downtimes: When it is not to be used, by its own word; empty unless its name is the registered one.
        start_time, instance_id, generation_id: Which advertisement of which process this is; 0 and empty if not said.
    """

    kind: ServerKind
    name: str
    data_url: str
    base_url: str
    web_url: str = ""
    broker_url: str = ""
    registry_prefix: str = ""
    server_id: str = ""
    version: str = "unknown"
    status: str = ""
    storage_type: str = "posix"
    director_test_disabled: bool = False
    coordinate: Coordinate | None = None
    capabilities: Capabilities = Capabilities()
    namespaces: tuple[NamespaceAd, ...] = field(default=(), repr=False)
    required_features: tuple[str, ...] = ()
    downtimes: tuple[Downtime, ...] = field(default=(), repr=False)
    start_time: int = field(default=0, compare=False)
    instance_id: str = field(default="", compare=False)
    generation_id: int = field(default=0, compare=False)

    def __hash__(self) -> int:
        # The generated one would walk every namespace.
        return hash((self.kind, self.data_url))
