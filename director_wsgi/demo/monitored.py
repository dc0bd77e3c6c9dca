"""What is between a server and the director that tests it, in front of the service that clients use.

An origin keeps the director's test files; a cache fetches them like any object, and drops them when told to; both take
reports. All of it but the reading at caches is for the holder of a token of the federation.

Source: Pelican `server_utils/monitor.go:HandleDirectorTestResponse`, `cache_monitor.go:evictCacheTestFile`,
`xrootd/authorization.go:GenerateDirectorMonitoringIssuer`.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Final, Protocol

from director_wsgi.demo.ads import Kind
from director_wsgi.demo.exchange import Request, Response, Service, json_response, text_response
from director_wsgi.demo.reports import Reports

MONITORING: Final = "/pelican/monitoring"
REPORT_SCOPE: Final = "pelican.director_test_report"
FILE_SCOPES: Final = {
    "GET": "storage.read:/",
    "HEAD": "storage.read:/",
    "PUT": "storage.modify:/",
    "DELETE": "storage.modify:/",
}
"""What a test file may be asked for with, and the word that a token needs for it: its paths begin at `MONITORING`."""

_TEST_FILE: Final = re.compile(rf"{MONITORING}/directorTest/[^/.][^/]*/\d{{4}}-\d\d-\d\d/director-test-[^/]+")
_BODY_BYTES: Final = 64 * 1024


class Federation(Protocol):
    """`federation_keys.FederationKeys`, as far as it is needed here."""

    def permits(self, token: str, *, audience: str, scope: str) -> bool:
        """See `federation_keys.FederationKeys.permits`."""
        ...


class Monitored:
    """A server as clients and the director see it; nothing is the director's until `connect`.

    Attributes:
        reports: What the director told.
    """

    def __init__(self, service: Service, *, kind: Kind, reports: Reports | None = None) -> None:
        self.reports = reports or Reports()
        self._service = service
        self._calls: dict[str, Callable[[Any], Response]] = {
            f"/api/v1.0/{kind.value}/directorTest": self._take_report,
        }
        self._url = ""
        self._federation: Federation | None = None

    def connect(self, url: str, federation: Federation) -> None:
        """Believe the federation's tokens from now on.

        Args:
            url: This server's own, for which tokens must be made.
            federation: Judges them.
        """
        self._url = url
        self._federation = federation

    def answer(self, request: Request) -> Response:
        """See `exchange.Service`."""
        handle = self._calls.get(request.path)
        if handle is None:
            return self._service.answer(request)
        if request.method != "POST":
            return _told(405, "method not allowed")
        if not self.permits(request, REPORT_SCOPE):
            return _told(403, "a token of the federation is needed")
        try:
            return handle(json.loads(request.body.read(_BODY_BYTES)))
        except (ValueError, TypeError, LookupError, RecursionError):
            return _told(400, "that is not understood")

    def permits(self, request: Request, scope: str) -> bool:
        """Whether the federation permits this to the holder of the request's token."""
        if request.bearer is None or self._federation is None:
            return False
        return self._federation.permits(request.bearer, audience=self._url, scope=scope)

    def _take_report(self, told: Any) -> Response:
        self.reports.take(told["status"])
        return _told(200, "Success")


class MonitoredOrigin(Monitored):
    """An origin that keeps test files."""

    def __init__(self, service: Service, files: Service, *, reports: Reports | None = None) -> None:
        """Put it together.

        Args:
            service: For clients.
            files: Keeps what is written below `MONITORING`; asked only by those who may.
            reports: New ones if None.
        """
        super().__init__(service, kind=Kind.ORIGIN, reports=reports)
        self._files = files

    def answer(self, request: Request) -> Response:
        """See `exchange.Service`."""
        if not request.path.startswith(f"{MONITORING}/"):
            return super().answer(request)
        scope = FILE_SCOPES.get(request.method)
        if scope is None:
            return text_response(405, "the method is not supported", ("Allow", ",".join(FILE_SCOPES)))
        if not self.permits(request, scope):
            return text_response(403, "only the federation's director may do that")
        return self._files.answer(request)


class MonitoredCache(Monitored):
    """A cache that drops test files when told to."""

    def __init__(self, service: Service, forget: Callable[[str], None], *, reports: Reports | None = None) -> None:
        """Put it together.

        Args:
            service: For clients, and for the director when it reads.
            forget: Drops the copy of an object that anybody may read.
            reports: New ones if None.
        """
        super().__init__(service, kind=Kind.CACHE, reports=reports)
        self._forget = forget
        self._calls["/api/v1.0/cache/evictTestFile"] = self._evict

    def _evict(self, told: Any) -> Response:
        if not _TEST_FILE.fullmatch(told["path"]):
            return _told(400, "that is no test file of a director")
        self._forget(told["path"])
        return _told(200, "Success")


def _told(status: int, message: str) -> Response:
    """As Pelican's servers answer: `server_structs.SimpleApiResp`."""
    return json_response(status, {"status": "success" if status == 200 else "error", "msg": message})
