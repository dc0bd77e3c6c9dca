"""The span of a request: begun in front of every route, ended when the answer is there.

A request of a probe or a scraper is not traced: there are many, and they say nothing.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from director_wsgi.federation.versions import MINIMUM, parse_user_agent
from director_wsgi.runtime.tracing import attributes as say
from director_wsgi.runtime.tracing import context
from director_wsgi.runtime.tracing.span import Span, Trace
from director_wsgi.runtime.tracing.tracer import Tracer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

TRACE: Final = "director_wsgi.trace"
"""Where the `Trace` of a request is kept in its environment."""

ROUTE: Final = "director_wsgi.route"
"""Where the template of the route that answered is kept."""

UNTRACED: Final = frozenset({"/livez", "/readyz", "/metrics", "/api/v1.0/health", "/api/v1.0/metrics/health"})
"""Paths that are asked for all day."""

OBJECT_ROUTES: Final = ("/api/v1.0/director/object/{path}", "/api/v1.0/director/origin/{path}", "/{path}")
"""Requests for objects are one route to Flask, and three to whoever looks at them; the last takes all others."""

_METHODS: Final = frozenset(
    {"GET", "HEAD", "PUT", "DELETE", "COPY", "PROPFIND", "OPTIONS", "POST", "PATCH", "MKCOL", "MOVE"}
)
_VARIABLE: Final = re.compile(r"<(?:[^<>:]*:)?([^<>:]*)>")


def is_untraced(environ: "WSGIEnvironment") -> bool:
    """Whether nobody wants to know of this request."""
    target: str = environ.get("RAW_URI") or environ.get("PATH_INFO", "")
    return target.partition("?")[0] in UNTRACED


def begin(tracer: Tracer, environ: "WSGIEnvironment", job_id: str) -> Trace:
    """Begin the trace of a request, or go on with the client's.

    A client that traces nothing may still have a job: then that is what the trace is called, so that whoever knows the
    one finds the other.
    """
    told = environ.get("HTTP_TRACEPARENT")
    parent = context.parse(told, environ.get("HTTP_TRACESTATE", "")) if told else None
    return tracer.begin("HTTP", trace_id=int(job_id.replace("-", ""), 16), parent=parent)


def end(trace: Trace, tracer: Tracer, environ: "WSGIEnvironment", job_id: str, status: int) -> None:
    """End it, when the answer is there.

    Args:
        trace: From `begin`.
        tracer: Its own.
        environ: Of the request, answered by routes behind `noting_route`.
        job_id: Of the request.
        status: Of the answer; 0 if there is none.
    """
    if isinstance(trace, Span):
        method, route = _method(environ), environ.get(ROUTE, "")
        wanted = tracer.routes.get(route)
        shown = method if method in _METHODS else "HTTP"
        trace.name = wanted.named(shown) if wanted else f"{shown} {route}".strip()
        trace.own = wanted.said(shown) if wanted else ()
        trace.set(say.METHOD, method)
        trace.set(say.JOB_ID, job_id)
        if route:
            trace.set(say.ROUTE, route)
        if status:
            trace.set(say.STATUS, status)
        if status >= 500 or not status:
            trace.fail(str(status or "exception"))
        client = _client(environ.get("HTTP_USER_AGENT", ""))
        if client:
            trace.set(say.CLIENT, client)
    trace.end()


def noting_route(app: "WSGIApplication") -> "WSGIApplication":
    """`app`, Flask's own; the route that answers is kept in the environment, before Flask forgets it."""

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        trace = environ.get(TRACE)
        if trace is None or not trace.is_recorded:
            return app(environ, start_response)

        def start(line: str, headers: list[tuple[str, str]], *error: Any) -> Callable[[bytes], object]:
            environ[ROUTE] = _route_of(environ)
            return start_response(line, headers, *error)

        return app(environ, start)

    return answer


def _route_of(environ: "WSGIEnvironment") -> str:
    """The template of the route that answers, never the path; empty if none does."""
    request: Any = environ.get("werkzeug.request")
    rule = getattr(request, "url_rule", None)
    if rule is None:
        return ""
    return object_route(environ["PATH_INFO"]) if rule.endpoint.startswith("redirects.") else _template(rule.rule)


def object_route(path: str) -> str:
    """The template of the route of a request for an object."""
    return next(one for one in OBJECT_ROUTES if (path + "/").startswith(one.removesuffix("{path}")))


def _method(environ: "WSGIEnvironment") -> str:
    method: str = environ["REQUEST_METHOD"]
    return method if method in _METHODS else "_OTHER"


@lru_cache(maxsize=256)
def _template(rule: str) -> str:
    """As OpenTelemetry writes it: `/a/{name}`."""
    return _VARIABLE.sub(r"{\1}", rule)


@lru_cache(maxsize=1024)
def _client(user_agent: str) -> str:
    """Program and version of a client that is known; whatever else it calls itself is not passed on."""
    parsed = parse_user_agent(user_agent)
    if parsed is None or parsed[0] not in MINIMUM:
        return ""
    return f"pelican-{parsed[0]}/{'.'.join(map(str, parsed[1]))}"
