"""From a `Redirection` or a `DirectorError` to status, headers and body.

Source: Pelican `director/director.go:generateRedirectResponse`, `corsHeadersMiddleware`;
`server_structs/api_resp.go:SimpleApiResp`. Bodies of redirections: Go `net/http.Redirect`.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from flask import Response
from werkzeug.datastructures import Headers
from werkzeug.http import HTTP_STATUS_CODES

from director_wsgi import errors
from director_wsgi.federation.directory import DirectoryFull
from director_wsgi.redirect.request import ObjectRequest, Redirection

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

STATUS_OF: dict[type[errors.DirectorError], int] = {
    errors.BadRequest: 400,
    errors.TokenExpired: 401,
    errors.NoNamespace: 404,
    errors.Starting: 429,
    errors.NoCapableServer: 405,
    errors.ObjectNotFound: 404,
    errors.NothingKnown: 429,  # Go clients come again after 429, not after 503
    errors.NoUsableServer: 404,
    errors.StillWriting: 503,
    errors.FedTokenRefused: 403,
    errors.FedTokenFailed: 500,  # upstream's choice, also for a token that does not verify
    errors.InvalidAd: 400,
    errors.AdForbidden: 403,
    errors.NotApproved: 403,
    errors.IncompatibleVersion: 500,  # upstream's choice; senders print the body and wait for their next turn
    errors.RegistryUnavailable: 503,
    errors.TooManyAds: 503,
    DirectoryFull: 503,
}

JSON = "application/json; charset=utf-8"

CORS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "GET, PUT, OPTIONS, PROPFIND"),
    ("Access-Control-Allow-Headers", "Content-Type, Authorization, Depth"),
    (
        "Access-Control-Expose-Headers",
        (
            "Content-Type, Authorization, X-Pelican-User, X-Pelican-Timeout, X-Pelican-Token-Generation, "
            "X-Pelican-Authorization, X-Pelican-Namespace"
        ),
    ),
)

_COME_AGAIN = errors.RegistryUnavailable | errors.NothingKnown | errors.StillWriting | errors.TooManyAds | DirectoryFull

_GO_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def to_json(value: object) -> str:
    """JSON as Go writes it: compact, and harmless inside HTML."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).translate(_GO_ESCAPES)


def json_response(value: object, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """A JSON answer. What no UTF-8 can tell is replaced."""
    body = to_json(value).encode("utf-8", "replace")
    return Response(body, status=status, headers=[("Content-Type", JSON), *headers])


def simple(status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """Pelican's simple answer: `status` and `msg`."""
    outcome = "success" if status < 300 else "error"
    body = {"status": outcome, "msg": message} if message else {"status": outcome}
    return json_response(body, status, headers)


def error_response(error: errors.DirectorError, *, job_id: str = "", cors: bool = False) -> Response:
    """What the client is told when its request ends in an error.

    Args:
        error: Any of the tree; a class without a row of its own has its base's.
        job_id: Told as `X-Pelican-JobId` when given.
        cors: Whether a page in a browser may read it.
    """
    status = next(STATUS_OF[base] for base in type(error).__mro__ if base in STATUS_OF)
    headers: list[tuple[str, str]] = list(CORS) if cors else []
    if job_id:
        headers.append(("X-Pelican-JobId", job_id))
    if isinstance(error, errors.TokenExpired):
        headers.append(("WWW-Authenticate", 'Bearer error="invalid_token", error_description="token has expired"'))
    if isinstance(error, _COME_AGAIN):
        headers.append(("Retry-After", str(error.retry_after_s)))
    if isinstance(error, errors.NotApproved):
        return json_response({"approval_error": True, "error": str(error)}, status, tuple(headers))
    return simple(status, str(error), tuple(headers))


class _Verbatim(Response):
    """An answer whose headers go out as they are. Werkzeug would quote Location once more, at a third of its cost."""

    def get_wsgi_headers(self, environ: "WSGIEnvironment") -> Headers:  # noqa: ARG002, its signature is werkzeug's
        """The headers."""
        return self.headers


@dataclass(slots=True)
class Written:
    """A redirection in HTTP's words; a WSGI application that says it. Not to be changed.

    Attributes:
        status: 307, or 200 where the client wants no redirect.
        headers: All of them, as WSGI wants them.
        body: Empty if there is none.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Say it; to a HEAD without the body."""
        start_response(_STATUS_LINES[self.status], self.headers)
        return (self.body,) if self.body and environ["REQUEST_METHOD"] != "HEAD" else ()

    def response(self) -> Response:
        """The same as Flask's."""
        response = _Verbatim(self.body, status=self.status, headers=self.headers)
        if not self.body:
            del response.headers["Content-Type"]  # werkzeug's own
        return response


_STATUS_LINES = {status: f"{status} {HTTP_STATUS_CODES[status].upper()}" for status in (200, 307)}


def written(request: ObjectRequest, redirection: Redirection) -> Written:
    """A redirection, written: 307, the debug body, or 200 where the client wants no redirect."""
    headers = [*CORS, *[header if header[1].isascii() else _in_latin1(header) for header in redirection.headers]]
    status, text = 307, ""
    if redirection.debug is not None:
        headers += [_in_latin1(("Location", redirection.location)), ("Content-Type", "application/json")]
        text = to_json(redirection.debug)
    elif not request.wants_redirect:
        status = 200
    else:
        headers.append(_in_latin1(("Location", redirection.location)))
        if request.method in _SHOWN:
            headers.append(("Content-Type", "text/html; charset=utf-8"))
            text = f'<a href="{escape(redirection.location)}">Temporary Redirect</a>.\n\n'
    body = text.encode("utf-8", "replace")
    headers.append(("Content-Length", str(len(body))))
    return Written(status, headers, body)


_SHOWN = frozenset({"GET", "HEAD"})
"""Methods whose redirections have a body, for people to see."""


def bare_response(status: int, headers: list[tuple[str, str]]) -> Response:
    """An answer with neither body nor type."""
    response = Response(b"", status=status, headers=headers)
    del response.headers["Content-Type"]
    return response


def _in_latin1(header: tuple[str, str]) -> tuple[str, str]:
    """A header as WSGI wants it: UTF-8 bytes, each as one character (PEP 3333)."""
    name, value = header
    return header if value.isascii() else (name, value.encode("utf-8", "replace").decode("latin-1"))
