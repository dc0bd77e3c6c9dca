"""Who is there: directors, namespaces, prefixes; and whether the process answers.

Source: Pelican `director/director_advertise.go:listDirectors`, `director/director.go:listNamespacesV2`,
`listNamespacesV1Deprecated`, `getPrefixByPath`; `web_ui/ui.go:registerCommonEndpoints`.
"""

import datetime as dt
from collections.abc import Callable
from typing import Final

from flask import Blueprint, Response, request

from director_wsgi import __version__
from director_wsgi.federation.directors import Directors
from director_wsgi.federation.directory import Snapshot
from director_wsgi.limits.deadline import WallClock
from director_wsgi.web.entrance import TARGET
from director_wsgi.web.responses import JSON, json_response, simple

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
    # The namespaces of a large federation are megabytes; every cache asks for them every minute. One entry, replaced.
    rendered: dict[int, tuple[Snapshot, bytes]] = {}

    @routes.get("/api/v1.0/director/directors")
    def list_directors() -> Response:
        return json_response(directors.listing())

    @routes.get("/api/v2.0/director/listNamespaces")
    def list_namespaces() -> Response:
        now = snapshot()
        known = rendered.get(0)
        if known is None or known[0] is not now:
            known = rendered[0] = (now, _namespaces(now))
        return Response(known[1], headers=[("Content-Type", JSON)])

    @routes.get("/api/v1.0/director/listNamespaces")
    def list_namespaces_v1() -> Response:
        warning = '299 - "Deprecated API: use GET /api/v2.0/director/listNamespaces"'
        response = simple(299, _DEPRECATED, (("Warning", warning),))
        response.set_data(response.get_data().replace(b'"success"', b'"error"'))
        return response

    @routes.get(_PREFIX_ROUTE, strict_slashes=False)
    @routes.get(f"{_PREFIX_ROUTE}/<path:path>")
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

    @routes.get("/api/v1.0/health")
    def health() -> Response:
        now = dt.datetime.fromtimestamp(wall(), dt.UTC).astimezone()
        return json_response({"message": f"Web Engine Running. Time: {now.isoformat()}"})

    @routes.get("/api/v1.0/version")
    def version() -> Response:
        return json_response({"version": __version__, "buildDate": "", "buildCommit": "", "builtBy": ""})

    @routes.get("/api/v1.0/servers")
    def servers() -> Response:
        return json_response({"servers": ["director"], "standaloneOrigin": False})

    return routes


def _namespaces(now: Snapshot) -> bytes:
    wires = [namespace.wire for server in now.origins() for namespace in server.namespaces]
    return f"[{','.join([*wires, MONITORING_ENTRY])}]".encode("utf-8", "replace")
