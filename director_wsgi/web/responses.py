"""From a `Redirection` or a `DirectorError` to status, headers and body.

Source: Pelican `director/director.go:generateRedirectResponse`, `corsHeadersMiddleware`;
`server_structs/api_resp.go:SimpleApiResp`. Bodies of redirections: Go `net/http.Redirect`.
"""

import json
from html import escape
from typing import TYPE_CHECKING

from flask import Response
from werkzeug.datastructures import Headers

from director_wsgi import errors
from director_wsgi.federation.directory import DirectoryFull
from director_wsgi.redirect.request import ObjectRequest, Redirection

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

STATUS_OF: dict[type[errors.DirectorError], int] = {
    errors.BadRequest: 400,
    errors.TokenExpired: 401,
    errors.NoNamespace: 404,
    errors.Starting: 429,
    errors.NoCapableServer: 405,
    errors.ObjectNotFound: 404,
    errors.NothingKnown: 429,  # Go clients come again after 429, not after 503
    errors.NoUsableServer: 404,
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
    if isinstance(error, errors.RegistryUnavailable | errors.NothingKnown | errors.TooManyAds | DirectoryFull):
        headers.append(("Retry-After", str(error.retry_after_s)))
    if isinstance(error, errors.NotApproved):
        return json_response({"approval_error": True, "error": str(error)}, status, tuple(headers))
    return simple(status, str(error), tuple(headers))


class _Verbatim(Response):
    """An answer whose headers go out as they are. Werkzeug would quote Location once more, at a third of its cost."""

    def get_wsgi_headers(self, environ: "WSGIEnvironment") -> Headers:  # noqa: ARG002, its signature is werkzeug's
        """The headers."""
        return self.headers


def redirection_response(request: ObjectRequest, redirection: Redirection) -> Response:
    """A redirection, written: 307, the debug body, or 200 where the client wants no redirect."""
    headers = [*CORS, *((name, _latin1(value)) for name, value in redirection.headers)]
    if redirection.debug is not None:
        headers += [("Location", redirection.location), ("Content-Type", "application/json")]
        return _verbatim(307, headers, to_json(redirection.debug))
    if not request.wants_redirect:
        return _verbatim(200, headers)
    headers.append(("Location", redirection.location))
    if request.method not in {"GET", "HEAD"}:
        return _verbatim(307, headers)
    headers.append(("Content-Type", "text/html; charset=utf-8"))
    return _verbatim(307, headers, f'<a href="{escape(redirection.location)}">Temporary Redirect</a>.\n\n')


def _verbatim(status: int, headers: list[tuple[str, str]], text: str = "") -> Response:
    body = text.encode("utf-8", "replace")
    response = _Verbatim(body, status=status, headers=[*headers, ("Content-Length", str(len(body)))])
    if not body:
        del response.headers["Content-Type"]  # werkzeug's own
    return response


def bare_response(status: int, headers: list[tuple[str, str]]) -> Response:
    """An answer with neither body nor type."""
    response = Response(b"", status=status, headers=headers)
    del response.headers["Content-Type"]
    return response


def _latin1(value: str) -> str:
    """A header value as WSGI wants it: UTF-8 bytes, each as one character (PEP 3333)."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode("latin-1")
