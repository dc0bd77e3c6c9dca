"""What servers and namespaces advertise, written as Pelican's web interface reads it.

Everything is written once: a server for each of its advertisements, the namespaces for each change of the federation.
Caches repeat the namespaces of the whole federation, so those that serve the same share their text and are merged as
one.

Source: Pelican `director/director_ui.go:listServers`, `listNamespaceResponses`;
`server_structs/director.go:NamespaceAdResponse`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from director_wsgi.federation.models import Capabilities, NamespaceAd, ServerAd, ServerKind
from director_wsgi.federation.snapshot import Snapshot
from director_wsgi.web.rendered import Once, Rendered, digest, to_bytes

_ENTRIES_AT_ONCE: Final = 32

Servers = Mapping[str, ServerAd]
"""By data URL, as `Snapshot.servers` has them: another one whenever one of them is another."""


def in_order(servers: Servers) -> list[ServerAd]:
    """As `Snapshot.in_order`. What a listing keeps is made of this, and holds no snapshot alive."""
    return Snapshot(servers=servers).in_order()


class Served:
    """What servers that serve the same share. Any number of threads.

    Attributes:
        namespaces: In the order of the advertisement.
        prefixes: The JSON array of their paths.
    """

    __slots__ = ("_listing", "namespaces", "prefixes")

    def __init__(self, namespaces: tuple[NamespaceAd, ...]) -> None:
        self.namespaces = namespaces
        self.prefixes = to_bytes([namespace.path for namespace in namespaces])
        self._listing: Once[tuple[NamespaceAd, ...], Rendered] = Once(lambda: namespaces, _listing)

    def listing(self) -> Rendered:
        """The JSON array of the namespaces, in one piece; written when somebody asks for it for the first time."""
        return self._listing.get()


Shared = dict[tuple[int, str, str], list[Served]]
"""By what is quickly seen of the namespaces, see `_key`."""


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """One server as far as its advertisement tells it.

    Attributes:
        head: The object's beginning, without its closing brace.
        digest: Of the head and the prefixes.
    """

    ad: ServerAd
    head: bytes
    served: Served
    digest: bytes


class Pages:
    """The pages of all servers, those of unchanged servers being kept.

    Args:
        servers: As they are now.
    """

    def __init__(self, servers: Callable[[], Servers]) -> None:
        self._written: Once[Servers, dict[str, Page]] = Once(servers, _pages)
        self._by_name: Once[dict[str, Page], dict[str, Page]] = Once(self._written.get, _by_name)

    def get(self) -> dict[str, Page]:
        """By data URL, in the order of names. Not to be changed; another one whenever a page is another."""
        return self._written.get()

    def named(self, name: str) -> Page | None:
        """The first of this name."""
        return self._by_name.get().get(name)


def _pages(servers: Servers, before: dict[str, Page] | None) -> dict[str, Page]:
    before = before or {}
    shared: Shared = {}
    for served in {id(page.served): page.served for page in before.values()}.values():
        shared.setdefault(_key(served.namespaces), []).append(served)
    pages = {}
    for ad in in_order(servers):
        page = before.get(ad.data_url)
        pages[ad.data_url] = page if page is not None and page.ad is ad else _page(ad, shared)
    return pages


def _by_name(pages: dict[str, Page], _: object) -> dict[str, Page]:
    return {page.ad.name: page for page in reversed(pages.values())}


def _page(ad: ServerAd, shared: Shared) -> Page:
    like = shared.setdefault(_key(ad.namespaces), [])
    served = next((served for served in like if served.namespaces == ad.namespaces), None)
    if served is None:
        served = Served(ad.namespaces)
        like.append(served)
    head = to_bytes(_advertised(ad))[:-1]
    return Page(ad=ad, head=head, served=served, digest=digest((head, served.prefixes)))


def _key(namespaces: tuple[NamespaceAd, ...]) -> tuple[int, str, str]:
    """The same for equal ones, and made without looking at thousands of them."""
    return (len(namespaces), namespaces[0].path, namespaces[-1].path) if namespaces else (0, "", "")


def _listing(namespaces: tuple[NamespaceAd, ...], _: object) -> Rendered:
    return Rendered.array(namespace_head(namespace) + b"}" for namespace in namespaces)


def _advertised(ad: ServerAd) -> dict[str, object]:
    place = ad.coordinate
    latitude, longitude = (place.latitude, place.longitude) if place else (0, 0)
    return {
        "name": ad.name,
        "serverId": ad.server_id,
        "registryPrefix": ad.registry_prefix,
        "version": ad.version,
        "type": ad.kind.value,
        "storageType": ad.storage_type,
        "disableDirectorTest": ad.director_test_disabled,
        "authUrl": "",
        "brokerUrl": ad.broker_url,
        "url": ad.data_url,
        "webUrl": ad.web_url,
        "latitude": latitude,
        "longitude": longitude,
        "coordinate": {
            "Lat": latitude,
            "Long": longitude,
            "AccuracyRadius": place.accuracy_radius_km if place else 0,
            "Source": place.source if place else "",
            "FromTTLCache": False,
        },
        "capabilities": _capabilities(ad.capabilities),
        "downtimes": [downtime.wire() for downtime in ad.downtimes],
        "fromTopology": False,
        "serverStatus": ad.status,
    }


def _capabilities(capabilities: Capabilities) -> dict[str, bool]:
    return {
        "PublicRead": capabilities.public_reads,
        "Read": capabilities.reads,
        "Write": capabilities.writes,
        "Listing": capabilities.listings,
        "FallBackRead": capabilities.direct_reads,
        "Copies": capabilities.copies,
    }


def namespace_head(namespace: NamespaceAd) -> bytes:
    """One namespace, as text without its closing brace; lists are never null here, which Go takes as well."""
    return to_bytes(
        {
            "path": namespace.path,
            "capabilities": _capabilities(namespace.capabilities),
            "tokenGeneration": [
                {
                    "strategy": generation.strategy,
                    "vaultServer": generation.vault_server,
                    "maxScopeDepth": generation.max_scope_depth,
                    "issuer": generation.issuer,
                }
                for generation in namespace.token_generations
            ],
            "tokenIssuer": [
                {
                    "basePaths": list(issuer.base_paths),
                    "restrictedPaths": list(issuer.restricted_paths),
                    "issuer": issuer.issuer,
                }
                for issuer in namespace.token_issuers
            ],
            "fromTopology": False,
        }
    )[:-1]


class Entry:
    """One path, and the names of those who serve it, in groups of JSON text that many entries share.

    Attributes:
        namespace: What is told of the path.
        head: The same as text.
    """

    __slots__ = ("caches", "head", "namespace", "origins")

    def __init__(self, namespace: NamespaceAd, head: bytes) -> None:
        self.namespace = namespace
        self.head = head
        self.origins: list[bytes] = []
        self.caches: list[bytes] = []

    def __bytes__(self) -> bytes:
        return b'%s,"origins":[%s],"caches":[%s]}' % (self.head, b",".join(self.origins), b",".join(self.caches))


@dataclass(frozen=True, slots=True, eq=False)
class _Array:
    """The pieces of an array of entries, made each time they are sent: they are long, and seldom asked for."""

    entries: tuple[Entry, ...]

    def __iter__(self) -> Iterator[bytes]:
        separator = b"["
        for at in range(0, len(self.entries), _ENTRIES_AT_ONCE):
            yield separator
            yield b",".join(map(bytes, self.entries[at : at + _ENTRIES_AT_ONCE]))
            separator = b","
        yield b"]" if self.entries else b"[]"


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """The namespaces of all servers, merged by path.

    Attributes:
        said: What it is made of.
        entries: By path, in the order of paths.
        listing: The list of them.
    """

    said: list[tuple[ServerKind, str, Served]]
    entries: dict[str, Entry]
    listing: Rendered


def merged(pages: dict[str, Page], before: Merged | None) -> Merged:
    """Merge the namespaces of all servers by path: what origins say of one comes first.

    Servers that serve the same are taken as one, so that a thousand caches of thousands of namespaces are no millions
    of steps. What has not changed since `before` is not written again.
    """
    said = [(page.ad.kind, page.ad.name, page.served) for page in pages.values()]
    if before is not None and said == before.said:
        return before
    known = before.entries if before else {}
    entries: dict[str, Entry] = {}
    for kind in (ServerKind.ORIGIN, ServerKind.CACHE):
        groups: dict[Served, list[str]] = {}
        for of_kind, name, served in said:
            if of_kind is kind:
                groups.setdefault(served, []).append(name)
        for served, alike in groups.items():
            names = b",".join(map(to_bytes, alike))
            for namespace in served.namespaces:
                entry = entries.get(namespace.path)
                if entry is None:
                    entry = entries[namespace.path] = _entry(namespace, known.get(namespace.path))
                (entry.origins if kind is ServerKind.ORIGIN else entry.caches).append(names)
    entries = dict(sorted(entries.items()))
    return Merged(said, entries, Rendered.of(_Array(tuple(entries.values()))))


def _entry(namespace: NamespaceAd, before: Entry | None) -> Entry:
    if before is not None and before.namespace is namespace:
        return Entry(namespace, before.head)
    return Entry(namespace, namespace_head(namespace))
