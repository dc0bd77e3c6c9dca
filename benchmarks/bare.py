"""What the redirects are compared with: a Flask route and a bare WSGI callable that return a constant 307.

The least that a Flask application and the least that any application can do for a redirect. Each is served by the same
gunicorn with the same settings as the director beside it.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LOCATION = "https://cache-0000.example.org:8443/lab-0000/set-0000/run-0000/file-000000.dat"

application = Flask(__name__)


@application.get("/<path:_path>")
def redirect(_path: str) -> Response:
    return Response(status=307, headers={"Location": LOCATION})


def wsgi_callable(_environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    start_response("307 TEMPORARY REDIRECT", [("Location", LOCATION), ("Content-Length", "0")])
    return ()
