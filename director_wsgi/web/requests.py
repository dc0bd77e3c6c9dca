"""From a WSGI environment to an `ObjectRequest`: every flag is decided here, once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from director_wsgi.errors import BadRequest
from director_wsgi.federation.versions import refusal
from director_wsgi.limits.deadline import Clock, Deadline, WallClock
from director_wsgi.redirect.geo import parse_coordinate
from director_wsgi.redirect.request import Endpoint, ObjectRequest
from director_wsgi.runtime.clients import ClientWatch
from director_wsgi.runtime.durations import parse_duration
from director_wsgi.runtime.tracing.span import OFF
from director_wsgi.web.addresses import TrustedProxies
from director_wsgi.web.tokens import read_token
from director_wsgi.web.tracing import TRACE

Environ = Mapping[str, Any]

Query = tuple[tuple[str, str], ...]
"""Names and values, decoded, in order."""

_NO_NAMES: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReader:
    """Reads requests for objects. Any number of threads at once.

    Attributes:
        redirect_deadline_s: The longest a redirect may take.
        proxies: Whose word on client addresses is taken.
        clients: Notices who has gone.
    """

    redirect_deadline_s: float
    proxies: TrustedProxies
    clients: ClientWatch
    clock: Clock
    wall: WallClock

    def read(self, environ: Environ, endpoint: Endpoint, path: str, query: Query, job_id: str) -> ObjectRequest:
        """Read one request.

        Args:
            environ: For method and headers.
            endpoint: Whom the client wants to be sent to.
            path: Object path, clean.
            query: All of it.
            job_id: Its id.

        Raises:
            BadRequest: The client is too old, or its parameters contradict each other.
        """
        user_agent = environ.get("HTTP_USER_AGENT", "")
        why_not = refusal(user_agent)
        if why_not:
            raise BadRequest(_invalid(f"version compatibility check failed: {why_not}", job_id))
        names = dict(reversed(query)) if query else _NO_NAMES  # of several the first counts
        if "directread" in names and "prefercached" in names:
            raise BadRequest(
                _invalid(
                    "invalid query parameter combination: "
                    "cannot have both directread and prefercached query parameters",
                    job_id,
                )
            )
        # A server joins repeated headers by commas; the first counts.
        timeout = names.get("pelican.timeout") or environ.get("HTTP_X_PELICAN_TIMEOUT", "").partition(",")[0] or None
        connection = environ.get("gunicorn.socket")
        coordinate = environ.get("HTTP_X_PELICAN_COORDINATE")
        return ObjectRequest(
            method=environ["REQUEST_METHOD"],
            endpoint=endpoint,
            path=path,
            query=query,
            token=read_token(environ.get("HTTP_AUTHORIZATION"), query, self.wall),
            pelican_timeout=timeout,
            depth=environ.get("HTTP_DEPTH"),
            direct_read="directread" in names,
            skip_stat="skipstat" in names,
            prefer_cached="prefercached" in names,
            recursive="recursive" in names,
            wants_redirect=names.get("redirect") != "false",
            debug=environ.get("HTTP_X_PELICAN_DEBUG") == "true",
            address=self.proxies.client_address(environ),
            user_agent=user_agent,
            coordinate=parse_coordinate(coordinate) if coordinate else None,
            job_id=job_id,
            deadline=self._deadline(timeout),
            client=self.clients.of(connection) if connection is not None else None,
            trace=environ.get(TRACE, OFF),
        )

    def _deadline(self, timeout: str | None) -> Deadline:
        """The configured one, or the client's if that comes first; what is no positive duration is ignored."""
        deadline = Deadline.after(self.redirect_deadline_s, self.clock)
        if timeout:
            try:
                wanted_s = parse_duration(timeout)
            except ValueError:
                return deadline
            if wanted_s > 0:
                return deadline.at_most(wanted_s)
        return deadline


def _invalid(why: str, job_id: str) -> str:
    return f"Failed to validate incoming request: {why}: Request ID: {job_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Steering:
    """Host names that are answered with origins, or with caches, whatever the default is.

    Source: Pelican `director/director.go:checkHostnameRedirects`, as documented: `X-Forwarded-Host`, then `Host`.
    """

    origin_hostnames: frozenset[str] = frozenset()
    cache_hostnames: frozenset[str] = frozenset()

    def endpoint_for(self, environ: Environ) -> Endpoint | None:
        """Where requests to this host go; None if it is no special one."""
        if not (self.origin_hostnames or self.cache_hostnames):
            return None
        host = environ.get("HTTP_X_FORWARDED_HOST") or environ.get("HTTP_HOST") or ""
        if host in self.origin_hostnames:
            return Endpoint.ORIGIN
        return Endpoint.OBJECT if host in self.cache_hostnames else None
