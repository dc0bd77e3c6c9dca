"""Who is there: directors, namespaces, prefixes; and whether the process answers.

Source: Pelican `director/director_advertise.go:listDirectors`, `director/director.go:listNamespacesV2`,
`listNamespacesV1Deprecated`, `getPrefixByPath`; `web_ui/ui.go:registerCommonEndpoints`.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from flask import Blueprint, Response, request

from director_wsgi import __version__
from director_wsgi.federation.directors import Directors
from director_wsgi.federation.models import NamespaceAd, ServerKind
from director_wsgi.federation.snapshot import Snapshot
from director_wsgi.limits.deadline import WallClock
from director_wsgi.web.entrance import TARGET
from director_wsgi.web.rendered import Once, Rendered, Same, answer
from director_wsgi.web.responses import json_response, simple
from director_wsgi.web.ui_pages import Servers, in_order

MONITORING_ENTRY: Final = (
    '{"Caps":{"PublicRead":true,"Read":true,"Write":false,"Listing":false,"FallBackRead":false,"Copies":false},'
    '"path":"/pelican/monitoring","token-generation":null,"token-issuer":null,"from-topology":false}'
)
"""The namespace of the director's own test files; caches must serve it."""

_DEPRECATED: Final = (
    "the GET /api/v1.0/director/listNamespaces endpoint is deprecated and no longer returns data; "
    "use GET /api/v2.0/director/listNamespaces"
)
_PREFIX_ROUTE: Final = "/api/v1.0/director/namespaces/prefix"


def blueprint(*, snapshot: Callable[[], Snapshot], directors: Directors, wall: WallClock) -> Blueprint:
    """The routes of this module.

    Args:
        snapshot: The federation now.
        directors: What `directors` lists.
        wall: For the time shown by `health`.
    """
    routes = Blueprint("listings", __name__)
    get = partial(routes.get, strict_slashes=False)  # Pelican's sends who adds a slash to the path without one
    all_directors: Same[list[dict[str, object]]] = Same(Rendered.json)
    namespaces = Once(lambda: snapshot().servers, _namespaces)
    deprecated = Rendered.json({"status": "error", "msg": _DEPRECATED})
    us = Rendered.json({"servers": ["director"], "standaloneOrigin": False})
    told_version = Rendered.json({"version": __version__, "buildDate": "", "buildCommit": "", "builtBy": ""})

    @get("/api/v1.0/director/directors")
    def list_directors() -> Response:
        return answer(request, all_directors.of(directors.listing()))

    @get("/api/v2.0/director/listNamespaces")
    def list_namespaces() -> Response:
        return answer(request, namespaces.get().listing)

    @get("/api/v1.0/director/listNamespaces")
    def list_namespaces_v1() -> Response:
        warning = '299 - "Deprecated API: use GET /api/v2.0/director/listNamespaces"'
        return answer(request, deprecated, status=299, headers=(("Warning", warning),))

    @get(_PREFIX_ROUTE)
    @routes.get(f"{_PREFIX_ROUTE}/<anything:path>")
    def prefix_of(path: str = "") -> Response:  # noqa: ARG001, the clean path is in the target
        asked = request.environ[TARGET].path.removeprefix(_PREFIX_ROUTE)
        if asked in {"", "/"}:
            return simple(400, "Bad request. Path is empty or '/' ")
        entry = snapshot().match(asked)
        if entry is None:
            return simple(404, f"No server is currently advertising the path {asked}")
        if entry.prefix == "/":
            return simple(404, f"Namespace prefix not found for {asked}")
        return json_response({"prefix": entry.prefix})

    @get("/api/v1.0/health")
    def health() -> Response:
        now = dt.datetime.fromtimestamp(wall(), dt.UTC).astimezone()
        return json_response({"message": f"Web Engine Running. Time: {now.isoformat()}"})

    @get("/api/v1.0/version")
    def version() -> Response:
        return answer(request, told_version)

    @get("/api/v1.0/servers")
    def servers() -> Response:
        return answer(request, us)

    return routes


@dataclass(frozen=True, slots=True, eq=False)
class _Namespaces:
    """What origins serve, and the list of it."""

    served: list[tuple[NamespaceAd, ...]]
    listing: Rendered


def _namespaces(servers: Servers, before: _Namespaces | None) -> _Namespaces:
    """It is megabytes in a large federation, and every cache asks for it every minute: most changes do not touch it."""
    served = [ad.namespaces for ad in in_order(servers) if ad.kind is ServerKind.ORIGIN]
    if before is not None and served == before.served:
        return before
    wires = [namespace.wire for namespaces in served for namespace in namespaces]
    return _Namespaces(served, Rendered.array(wire.encode("utf-8", "replace") for wire in (*wires, MONITORING_ENTRY)))
