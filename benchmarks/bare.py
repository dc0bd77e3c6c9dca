"""What the redirects are compared with: a Flask route that returns a constant 307.

The least that a Flask application can do for a redirect. It is served by the same gunicorn with the same settings as
the director beside it.
"""

from flask import Flask, Response

LOCATION = "https://cache-0000.example.org:8443/lab-0000/set-0000/run-0000/file-000000.dat"

application = Flask(__name__)


@application.get("/<path:_path>")
def redirect(_path: str) -> Response:
    return Response(status=307, headers={"Location": LOCATION})
