"""Ads and requests for tests, with as little said as the test is about."""

from director_wsgi.federation.models import Capabilities, Coordinate, NamespaceAd, ServerAd, ServerKind
from director_wsgi.limits.deadline import Deadline
from director_wsgi.redirect.request import Endpoint, ObjectRequest
from tests.fakes import FakeClock

ALL = Capabilities(public_reads=True, reads=True, writes=True, listings=True, direct_reads=True, copies=True)
READS = Capabilities(reads=True)


def at(latitude: float, longitude: float) -> Coordinate:
    return Coordinate(latitude=latitude, longitude=longitude)


def namespace(path: str, capabilities: Capabilities = ALL, **more: object) -> NamespaceAd:
    return NamespaceAd(path=path, capabilities=capabilities, **more)  # type: ignore[arg-type]


def origin(name: str, *paths: str | NamespaceAd, capabilities: Capabilities = ALL, **more: object) -> ServerAd:
    return server(ServerKind.ORIGIN, name, *paths, capabilities=capabilities, **more)


def cache(name: str, *paths: str | NamespaceAd, **more: object) -> ServerAd:
    return server(ServerKind.CACHE, name, *paths, capabilities=Capabilities(), **more)


def server(
    kind: ServerKind, name: str, *paths: str | NamespaceAd, capabilities: Capabilities = ALL, **more: object
) -> ServerAd:
    url = f"https://{name.lower().replace('_', '-')}.example.org:8443"
    values: dict[str, object] = {"data_url": url, "base_url": url, "version": "7.20.0", "status": "ok", **more}
    namespaces = tuple(
        path if isinstance(path, NamespaceAd) else namespace(path, capabilities if kind is ServerKind.ORIGIN else ALL)
        for path in paths
    )
    return ServerAd(kind=kind, name=name, capabilities=capabilities, namespaces=namespaces, **values)  # type: ignore[arg-type]


def asks(path: str, method: str = "GET", endpoint: Endpoint = Endpoint.OBJECT, **more: object) -> ObjectRequest:
    values: dict[str, object] = {
        "deadline": Deadline.after(1.0, FakeClock()),
        "job_id": "JID",
        "coordinate": at(43.07, -89.40),
        **more,
    }
    return ObjectRequest(method=method, endpoint=endpoint, path=path, **values)  # type: ignore[arg-type]
