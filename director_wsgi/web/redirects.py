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
from typing import TYPE_CHECKING, Final, NamedTuple

from flask import Blueprint, Response, request

from director_wsgi.errors import DirectorError, NothingKnown
from director_wsgi.federation.versions import parse_user_agent
from director_wsgi.limits.deadline import Clock
from director_wsgi.redirect.paths import parse_query
from director_wsgi.redirect.policy import Case
from director_wsgi.redirect.request import Endpoint, ObjectRequest, Redirection
from director_wsgi.redirect.resolver import Resolver
from director_wsgi.runtime.redirect_counters import NOBODY, Caller, RedirectCounters, network_of
from director_wsgi.stat.engine import StatEngine
from director_wsgi.web.entrance import JOB_ID, TARGET, Target
from director_wsgi.web.requests import Environ, Query, RequestReader, Steering
from director_wsgi.web.responses import CORS, Written, bare_response, error_response, simple, written

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

METHODS: Final = ("GET", "HEAD", "PUT", "DELETE", "COPY", "PROPFIND", "OPTIONS", "POST", "PATCH", "MKCOL", "MOVE")
ALLOW: Final = "HEAD,GET,PUT,PROPFIND,COPY,OPTIONS,POST"  # xrdcl-pelican compares the pieces without trimming them

API: Final = "/api/v1.0/director"
_OBJECT: Final = f"{API}/object"
_ORIGIN: Final = f"{API}/origin"
OBJECT_PATHS: Final = (_OBJECT + "/", _ORIGIN + "/")
_RESERVED: Final = ("/.well-known/", "/api/v1.0/", "/api/v2.0/director/")

ENDPOINT: Final = "redirects.answer"
"""Flask's name for the route."""

_READS: Final = frozenset({"GET", "HEAD"})
_CHANGES: Final = frozenset({"PUT", "DELETE", "COPY"})


class Begun(NamedTuple):
    """A request, as far as it could be answered without waiting."""

    case: Case
    began_at: float


BEGUN: Final = "director_wsgi.begun"
"""Where it is kept in the environment for whoever may wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirects:
    """Answers requests for objects, at two doors: the front, where nobody waits, and the route behind it."""

    resolver: Resolver
    reader: RequestReader
    engine: StatEngine
    steering: Steering
    default: Endpoint
    counters: RedirectCounters
    clock: Clock

    def answer(self, environ: Environ) -> Response:
        """Answer one request for an object. May wait for servers, until the request's deadline."""
        begun: Begun | Written | Response | None = environ.get(BEGUN)
        if begun is None:
            wanted = self._wanted(environ, environ[TARGET])
            begun = wanted if isinstance(wanted, Response) else self._begin(environ, *wanted)
        answer = self._go_on(environ, begun) if isinstance(begun, Begun) else begun
        return answer.response() if isinstance(answer, Written) else answer

    def answer_at_once(self, environ: "WSGIEnvironment", target: Target) -> Written | Response | None:
        """Answer the same, header by header, if nothing has to be waited for.

        Returns:
            The answer, counted. None if somebody has to be asked: then `answer` goes on with what has been begun, which
            is left in the environment. None as well if this is no request for an object.
        """
        wanted = self._wanted(environ, target)
        if isinstance(wanted, Response):
            return None
        begun = self._begin(environ, *wanted)
        if not isinstance(begun, Begun):
            return begun
        try:
            told = self.resolver.recall(begun.case)
            if told is not None:
                return self._redirected(begun.case.request, self.resolver.conclude(begun.case, told), begun.began_at)
        except DirectorError as error:
            return self._refused(environ, error, begun.began_at)
        environ[BEGUN] = begun
        return None

    # -- what is asked of whom

    def _wanted(self, environ: Environ, target: Target) -> tuple[Endpoint, str, Query] | Response:
        """Whom the client wants to be sent to, and for which object; or the answer, if that is none."""
        method: str = environ["REQUEST_METHOD"]
        path = target.path
        if method == "OPTIONS":
            return _options(path)
        try:
            query = parse_query(target.query)
        except DirectorError as error:
            return error_response(error, job_id=environ[JOB_ID], cors=True)
        if path.startswith(_RESERVED):
            return _wanted_of_api(path, method, query)
        endpoint = self._endpoint(environ, method, query)
        if endpoint is None:
            return simple(404, f"There is nothing to be had with {method} {path} here", CORS)
        return endpoint, path, query

    def _endpoint(self, environ: Environ, method: str, query: Query) -> Endpoint | None:
        if method in _CHANGES:
            return Endpoint.ORIGIN
        steered = self.steering.endpoint_for(environ)
        if steered is not None:
            return steered
        if method == "PROPFIND":
            return Endpoint.ORIGIN
        if query and any(name == "directread" for name, _value in query):
            return Endpoint.ORIGIN
        return self.default if method in _READS else None

    # -- the redirect

    def _begin(self, environ: Environ, endpoint: Endpoint, path: str, query: Query) -> Begun | Written | Response:
        """What can be done without knowing anything of the object: sometimes all."""
        began_at = self.clock()
        try:
            asked = self.reader.read(environ, endpoint, path, query, environ[JOB_ID])
            case = self.resolver.begin(asked)
        except DirectorError as error:
            return self._refused(environ, error, began_at)
        return self._redirected(asked, case, began_at) if isinstance(case, Redirection) else Begun(case, began_at)

    def _go_on(self, environ: Environ, begun: Begun) -> Written | Response:
        """The answer, once whoever has to be asked has been asked."""
        try:
            redirection = self.resolver.conclude(begun.case, self.resolver.learn(begun.case))
        except DirectorError as error:
            return self._refused(environ, error, begun.began_at)
        return self._redirected(begun.case.request, redirection, begun.began_at)

    def _redirected(self, asked: ObjectRequest, redirection: Redirection, began_at: float) -> Written:
        if asked.method in _CHANGES:
            self.engine.forget_absence(asked.path)
        answer = written(asked, redirection)
        self.counters.redirected(
            answer.status,
            redirection.destination,
            self.clock() - began_at,
            with_evidence=redirection.with_evidence,
            caller=_caller(asked.user_agent),
            network=network_of(asked.address),
        )
        return answer

    def _refused(self, environ: Environ, error: DirectorError, began_at: float) -> Response:
        self.counters.refused(
            type(error).__name__,
            self.clock() - began_at,
            with_evidence=not isinstance(error, NothingKnown),
            caller=_caller(environ.get("HTTP_USER_AGENT", "")),
        )
        return error_response(error, job_id=environ[JOB_ID], cors=True)


def _wanted_of_api(whole: str, method: str, query: Query) -> tuple[Endpoint, str, Query] | Response:
    if not whole.startswith(API + "/"):
        return simple(404, f"There is no {method} {whole} here")
    for prefix, endpoint, methods in (
        (_OBJECT, Endpoint.OBJECT, _READS),
        (_ORIGIN, Endpoint.ORIGIN, _READS | _CHANGES | {"PROPFIND"}),
    ):
        path = whole.removeprefix(prefix)
        if len(path) == len(whole) or path[:1] not in {"", "/"}:
            continue
        if method in methods:
            return endpoint, path or "/", query
        return simple(405, f"{method} is not possible at {prefix}", CORS)
    return simple(405, f"There is no {method} {whole} here", CORS)


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
    routes = Blueprint("redirects", __name__)  # with the view: `ENDPOINT`

    def answer(path: str = "") -> Response:  # noqa: ARG001, werkzeug insists on naming it
        return redirects.answer(request.environ)

    for rule in ("/", "/<anything:path>"):
        routes.add_url_rule(rule, view_func=answer, methods=list(METHODS), provide_automatic_options=False)
    return routes
