"""Requests for objects.

One view takes every path that no other route has, since which server a request goes to depends on its method, its path,
its query and its host together. The rules, the first that holds wins:

1. `OPTIONS`: what is allowed.
2. Below `/api/v1.0/director/object` (GET, HEAD): caches. Below `/api/v1.0/director/origin`: origins.
3. Any other path below `/api/` that Pelican reserves, and `/.well-known/`: no object.
4. `PUT`, `DELETE`, `COPY`: origins.
5. A host name that the operator steers.
6. `PROPFIND`, or a query with `directread`: origins.
7. `GET` and `HEAD`: `Director.DefaultResponse`.

Source: Pelican `director/director.go:ShortcutMiddleware`, `RegisterDirectorAPI`.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from flask import Blueprint, Response, request

from director_wsgi.errors import DirectorError, NothingKnown
from director_wsgi.federation.versions import parse_user_agent
from director_wsgi.limits.deadline import Clock
from director_wsgi.redirect.paths import parse_query
from director_wsgi.redirect.request import Endpoint
from director_wsgi.redirect.resolver import Resolver
from director_wsgi.runtime.redirect_counters import NOBODY, Caller, RedirectCounters, network_of
from director_wsgi.stat.engine import StatEngine
from director_wsgi.web.entrance import JOB_ID, TARGET, Target
from director_wsgi.web.requests import Environ, Query, RequestReader, Steering
from director_wsgi.web.responses import CORS, bare_response, error_response, redirection_response, simple

METHODS: Final = ("GET", "HEAD", "PUT", "DELETE", "COPY", "PROPFIND", "OPTIONS", "POST", "PATCH", "MKCOL", "MOVE")
ALLOW: Final = "HEAD,GET,PUT,PROPFIND,COPY,OPTIONS,POST"  # xrdcl-pelican compares the pieces without trimming them

API: Final = "/api/v1.0/director"
_OBJECT: Final = f"{API}/object"
_ORIGIN: Final = f"{API}/origin"
_RESERVED: Final = ("/.well-known/", "/api/v1.0/", "/api/v2.0/director/")

_READS: Final = frozenset({"GET", "HEAD"})
_CHANGES: Final = frozenset({"PUT", "DELETE", "COPY"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirects:
    """What the routes for objects need."""

    resolver: Resolver
    reader: RequestReader
    engine: StatEngine
    steering: Steering
    default: Endpoint
    counters: RedirectCounters
    clock: Clock

    def answer(self, environ: Environ) -> Response:
        """Answer one request for an object."""
        target: Target = environ[TARGET]
        method: str = environ["REQUEST_METHOD"]
        path = target.path
        if method == "OPTIONS":
            return _options(path)
        try:
            query = parse_query(target.query)
        except DirectorError as error:
            return error_response(error, job_id=environ[JOB_ID], cors=True)
        if path.startswith(API + "/"):
            return self._answer_api(environ, path, method, query)
        if path.startswith(_RESERVED):
            return simple(404, f"There is no {method} {path} here")
        endpoint = self._endpoint(environ, method, query)
        if endpoint is None:
            return simple(404, f"There is nothing to be had with {method} {path} here", CORS)
        return self._redirect(environ, endpoint, path, query)

    def _answer_api(self, environ: Environ, whole: str, method: str, query: Query) -> Response:
        for prefix, endpoint, methods in (
            (_OBJECT, Endpoint.OBJECT, _READS),
            (_ORIGIN, Endpoint.ORIGIN, _READS | _CHANGES | {"PROPFIND"}),
        ):
            path = whole.removeprefix(prefix)
            if len(path) == len(whole) or path[:1] not in {"", "/"}:
                continue
            if method in methods:
                return self._redirect(environ, endpoint, path or "/", query)
            return simple(405, f"{method} is not possible at {prefix}", CORS)
        return simple(405, f"There is no {method} {whole} here", CORS)

    def _endpoint(self, environ: Environ, method: str, query: Query) -> Endpoint | None:
        if method in _CHANGES:
            return Endpoint.ORIGIN
        steered = self.steering.endpoint_for(environ)
        if steered is not None:
            return steered
        if method == "PROPFIND":
            return Endpoint.ORIGIN
        if any(name == "directread" for name, _value in query):
            return Endpoint.ORIGIN
        return self.default if method in _READS else None

    def _redirect(self, environ: Environ, endpoint: Endpoint, path: str, query: Query) -> Response:
        job_id: str = environ[JOB_ID]
        began_at = self.clock()
        caller = _caller(environ.get("HTTP_USER_AGENT", ""))
        try:
            asked = self.reader.read(environ, endpoint, path, query, job_id)
            redirection = self.resolver.resolve(asked)
        except DirectorError as error:
            is_known = not isinstance(error, NothingKnown)
            self.counters.refused(type(error).__name__, self.clock() - began_at, with_evidence=is_known, caller=caller)
            return error_response(error, job_id=job_id, cors=True)
        if asked.method in _CHANGES:
            self.engine.forget_absence(asked.path)
        response = redirection_response(asked, redirection)
        self.counters.redirected(
            response.status_code,
            redirection.destination,
            self.clock() - began_at,
            with_evidence=redirection.with_evidence,
            caller=caller,
            network=network_of(asked.address),
        )
        return response


@lru_cache(maxsize=1024)
def _caller(user_agent: str) -> Caller:
    """Which Pelican program this is."""
    parsed = parse_user_agent(user_agent)
    return (parsed[0], ".".join(map(str, parsed[1]))) if parsed else NOBODY


def _options(path: str) -> Response:
    if path.startswith(API + "/"):
        return Response(b"", status=200, headers=[*CORS, ("Content-Type", "text/plain; charset=utf-8")])
    return bare_response(200, [*CORS, ("Allow", ALLOW)])


def blueprint(redirects: Redirects) -> Blueprint:
    """The route for everything that no other route takes; register it last."""
    routes = Blueprint("redirects", __name__)

    def answer(path: str = "") -> Response:  # noqa: ARG001, werkzeug insists on naming it
        return redirects.answer(request.environ)

    for rule in ("/", "/<anything:path>"):
        routes.add_url_rule(rule, view_func=answer, methods=list(METHODS), provide_automatic_options=False)
    return routes
