"""What servers and namespaces advertise, written as Pelican's web interface reads it.

Everything is written once: a server for each of its advertisements, the namespaces for each snapshot. Caches repeat the
namespaces of the whole federation, so those that serve the same share their text and are merged as one.

Source: Pelican `director/director_ui.go:listServers`, `listNamespaceResponses`;
`server_structs/director.go:NamespaceAdResponse`.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass

from director_wsgi.federation.models import Capabilities, NamespaceAd, ServerAd, ServerKind
from director_wsgi.federation.snapshot import Snapshot
from director_wsgi.web.responses import to_json


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """One server as far as its advertisement tells it.

    Attributes:
        head: The object's beginning, without its closing brace.
        prefixes: The JSON array of its prefixes. Servers that serve the same share one.
        serves: The same for those that advertise the same namespaces in the same way.
    """

    ad: ServerAd
    head: str
    prefixes: str
    serves: tuple[int, ...]


class Pages:
    """The pages of a snapshot, those of unchanged servers being kept from the one before.

    Safe between threads; one of them writes while the others wait for it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._written: tuple[Snapshot | None, tuple[Page, ...]] = (None, ())

    def of(self, snapshot: Snapshot) -> tuple[Page, ...]:
        """In the order of names."""
        with self._lock:  # no I/O: text is put together
            if self._written[0] is not snapshot:
                self._written = (snapshot, self._write(snapshot))
            return self._written[1]

    def _write(self, snapshot: Snapshot) -> tuple[Page, ...]:
        before = {page.ad.data_url: page for page in self._written[1]}
        shared = {page.serves: page for page in before.values()}
        pages = []
        for ad in snapshot.in_order():
            page = before.get(ad.data_url)
            if page is None or page.ad is not ad:
                page = _page(ad, shared)
            pages.append(page)
        return tuple(pages)


def _page(ad: ServerAd, shared: dict[tuple[int, ...], Page]) -> Page:
    # Equal namespaces are one object (`federation.ads`), and the page holds its own alive: so ids tell them apart.
    serves = tuple(map(id, ad.namespaces))
    like = shared.get(serves)
    page = Page(
        ad=ad,
        head=to_json(_advertised(ad))[:-1],
        prefixes=like.prefixes if like else to_json([namespace.path for namespace in ad.namespaces]),
        serves=like.serves if like else serves,
    )
    shared.setdefault(serves, page)
    return page


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


def namespace_text(namespace: NamespaceAd) -> str:
    """One namespace, as text; lists are never null here, which Go takes as well."""
    return to_json(
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
    )


class _Entry:
    """One path, and the names of those who serve it, in groups of JSON text that many entries share."""

    __slots__ = ("caches", "head", "origins")

    def __init__(self, namespace: NamespaceAd) -> None:
        self.head = namespace_text(namespace)[:-1]
        self.origins: list[str] = []
        self.caches: list[str] = []

    def __str__(self) -> str:
        return f'{self.head},"origins":[{",".join(self.origins)}],"caches":[{",".join(self.caches)}]}}'


class Merged:
    """The namespaces of a snapshot, merged by path, in the order of paths: what origins say of one comes first.

    Put together once for each snapshot. Caches that serve the same are taken as one, so that a thousand caches of
    thousands of namespaces are no millions of steps. Safe between threads; one writes while the others wait for it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._merged: tuple[Snapshot | None, tuple[_Entry, ...]] = (None, ())

    def of(self, snapshot: Snapshot, pages: tuple[Page, ...]) -> Iterator[str]:
        """Each as text; the entries are safe from what comes later."""
        with self._lock:
            if self._merged[0] is not snapshot:
                self._merged = (snapshot, _merge(pages))
            entries = self._merged[1]
        return map(str, entries)


def _merge(pages: tuple[Page, ...]) -> tuple[_Entry, ...]:
    entries: dict[str, _Entry] = {}
    for kind in (ServerKind.ORIGIN, ServerKind.CACHE):
        groups: dict[tuple[int, ...], list[ServerAd]] = {}
        for page in pages:
            if page.ad.kind is kind:
                groups.setdefault(page.serves, []).append(page.ad)
        for ads in groups.values():
            names = ",".join(to_json(ad.name) for ad in ads)
            for namespace in ads[0].namespaces:
                entry = entries.get(namespace.path)
                if entry is None:
                    entry = entries[namespace.path] = _Entry(namespace)
                (entry.origins if kind is ServerKind.ORIGIN else entry.caches).append(names)
    return tuple(entries[path] for path in sorted(entries))
