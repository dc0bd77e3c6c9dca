"""In front of every route: what the client asked for is decoded and cleaned once, here, and its job gets an id.

A WSGI server offers a path that is decoded already, and werkzeug merges slashes by a redirect of its own. Both lose
names. So the target is read as it was sent, and what routes see (`PATH_INFO`) is made from the same clean path as what
redirects are made from.
"""

import contextlib
import random
import re
import uuid
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from urllib.parse import quote

from werkzeug.routing import BaseConverter, Rule

from director_wsgi.errors import BadRequest
from director_wsgi.redirect.paths import clean, split_target
from director_wsgi.runtime import at_once, log
from director_wsgi.runtime.tracing.tracer import Tracer
from director_wsgi.web import tracing
from director_wsgi.web.responses import error_response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

TARGET = "director_wsgi.target"
"""Where the `Target` of a request is kept in its environment."""

_ASCII = bytes(range(128))
_CANONICAL_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

JOB_ID = "director_wsgi.job_id"
"""Where the id that ties the logs of client, director and server together is kept."""


def job_id_of(environ: "WSGIEnvironment") -> str:
    """The client's `X-Pelican-JobId` if it is a UUID, in canonical form; a random one else."""
    told = environ.get("HTTP_X_PELICAN_JOBID")
    if told:
        if _CANONICAL_ID.fullmatch(told):
            return str(told)
        with contextlib.suppress(ValueError):
            return str(uuid.UUID(told))
    return _random_id()


def _random_id() -> str:
    """As `uuid.uuid4`, at half the price: no secret hangs on it, so it need not come from the kernel."""
    digits = f"{random.getrandbits(128):032x}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


class Target(NamedTuple):
    """What was asked for.

    Attributes:
        path: Decoded and clean.
        query: As sent.
    """

    path: str
    query: str


class MatchedRule(Rule):
    """A rule that is matched only.

    werkzeug writes and compiles two functions for each rule that would make URLs of it, and that is most of what a
    reload costs; nothing here asks for URLs. Where werkzeug calls the method by another name, it does so again.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:  # noqa: ARG002
        return _no_url


def _no_url(rule: Rule, *_: object, **_values: object) -> NoReturn:
    raise RuntimeError(f"{rule} makes no URL")


class AnythingConverter(BaseConverter):
    """The rest of a path, newlines included, which werkzeug's own `path` stops at."""

    regex = r"[^/](?s:.*)"
    weight = 300
    part_isolating = False


class Entrance:
    """WSGI middleware with two doors behind it; runs on a handler thread.

    Args:
        app: Answers whatever the front does not.
        tracer: Told what becomes of requests; None: nobody is.
        front: Says who answers a request at once, without waiting; None if nobody does.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        tracer: Tracer | None = None,
        front: "Callable[[WSGIEnvironment, Target], WSGIApplication | None] | None" = None,
    ) -> None:
        self._app = app
        self._tracer = tracer
        self._front = front

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request, or hand it on."""
        job_id = environ[JOB_ID] = job_id_of(environ)
        token = log.job_id.set(job_id)
        tracer = self._tracer
        try:
            if tracer is None or tracing.is_untraced(environ):
                return self._answer(environ, start_response, job_id)
            return self._answer_traced(tracer, environ, start_response, job_id)
        finally:
            log.job_id.reset(token)

    def answer_at_once(self, environ: "WSGIEnvironment") -> "WSGIApplication | None":
        """What says the answer if the front has one; None if the request is for `__call__`, which begins it anew.

        A request that may be traced is, since its trace begins there.
        """
        if self._front is None or self._tracer is not None:
            return None
        job_id = environ[JOB_ID] = job_id_of(environ)
        token = log.job_id.set(job_id)
        try:
            path, query = split_target(_raw_target(environ))
            return self._front(environ, Target(clean(path), query))
        except BadRequest:
            return None
        finally:
            log.job_id.reset(token)

    def _answer_traced(
        self, tracer: Tracer, environ: "WSGIEnvironment", start_response: "StartResponse", job_id: str
    ) -> Iterable[bytes]:
        trace = environ[tracing.TRACE] = tracing.begin(tracer, environ, job_id)
        if not trace.is_recorded:
            return self._answer(environ, start_response, job_id)
        status = 0

        def start(line: str, headers: list[tuple[str, str]], *error: Any) -> Callable[[bytes], object]:
            nonlocal status
            status = int(line[:3])
            return start_response(line, headers, *error)

        try:
            return self._answer(environ, start, job_id)
        finally:
            tracing.end(trace, tracer, environ, job_id, status)

    def _answer(self, environ: "WSGIEnvironment", start_response: "StartResponse", job_id: str) -> Iterable[bytes]:
        try:
            path, query = split_target(_raw_target(environ))
        except BadRequest as error:
            return error_response(error, job_id=job_id, cors=True)(environ, start_response)
        path = clean(path)
        target = environ[TARGET] = Target(path, query)
        answer = self._front(environ, target) if self._front else None
        if answer is not None:
            at_once.note()
            if self._tracer is not None:
                environ[tracing.ROUTE] = tracing.object_route(path)
            return answer(environ, start_response)
        environ["PATH_INFO"] = path if path.isascii() else path.encode("utf-8").decode("latin-1")
        environ["SCRIPT_NAME"] = ""
        # Werkzeug's reader of queries fails on raw bytes that are not UTF-8.
        environ["QUERY_STRING"] = (
            query if query.isascii() else quote(query, safe=_ASCII, encoding="latin-1", errors="replace")
        )
        return self._app(environ, start_response)


def _raw_target(environ: "WSGIEnvironment") -> str:
    """The target as sent; made anew from the decoded path under servers that do not tell it."""
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if raw:
        return str(raw)
    path = quote(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""), safe="/", encoding="latin-1")
    query = environ.get("QUERY_STRING")
    return f"{path}?{query}" if query else path
