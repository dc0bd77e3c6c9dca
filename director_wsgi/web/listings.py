"""Who is there: directors, namespaces, prefixes; and whether the process answers.

Source: Pelican `director/director_advertise.go:listDirectors`, `director/director.go:listNamespacesV2`,
`listNamespacesV1Deprecated`, `getPrefixByPath`; `web_ui/ui.go:registerCommonEndpoints`.
"""

import datetime as dt
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from flask import Blueprint, Response, request

from director_wsgi import __version__
from director_wsgi.federation.directors import Directors
from director_wsgi.federation.snapshot import Snapshot
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
    get = partial(routes.get, strict_slashes=False)  # Pelican's sends who adds a slash to the path without one
    namespaces = _Namespaces()

    @get("/api/v1.0/director/directors")
    def list_directors() -> Response:
        return json_response(directors.listing())

    @get("/api/v2.0/director/listNamespaces")
    def list_namespaces() -> Response:
        return Response(namespaces.of(snapshot()), headers=[("Content-Type", JSON)])

    @get("/api/v1.0/director/listNamespaces")
    def list_namespaces_v1() -> Response:
        warning = '299 - "Deprecated API: use GET /api/v2.0/director/listNamespaces"'
        return json_response({"status": "error", "msg": _DEPRECATED}, 299, (("Warning", warning),))

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
        return json_response({"version": __version__, "buildDate": "", "buildCommit": "", "builtBy": ""})

    @get("/api/v1.0/servers")
    def servers() -> Response:
        return json_response({"servers": ["director"], "standaloneOrigin": False})

    return routes


class _Namespaces:
    """The list of namespaces, written once for each snapshot.

    It is megabytes in a large federation, and every cache asks for it every minute. Safe between threads; one of them
    writes while the others wait for it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._written: tuple[Snapshot | None, bytes] = (None, b"")

    def of(self, snapshot: Snapshot) -> bytes:
        with self._lock:  # held for milliseconds: no I/O, only text put together
            if self._written[0] is not snapshot:
                wires = [namespace.wire for server in snapshot.origins() for namespace in server.namespaces]
                text = f"[{','.join([*wires, MONITORING_ENTRY])}]"
                self._written = (snapshot, text.encode("utf-8", "replace"))
            return self._written[1]
