"""The objects that director tests of caches read: files that exist because their name is right.

A cache is asked for `/pelican/monitoring/…/director-test-<time>.txt`, fetches it from the director, is redirected to
this room, and serves what it got.

Source: Pelican `director/director.go:getHealthTestFile`, `validateHealthTestRequest`.
"""

import contextlib
import datetime as dt
import re
from email.utils import format_datetime
from html import escape
from typing import Final

from flask import Blueprint, Response, request

from director_wsgi.federation.urls import quote_path
from director_wsgi.health.files import CONTENT, DIRECTOR_TEST, SELF_TEST
from director_wsgi.redirect.monitoring import MONITORING
from director_wsgi.web.entrance import TARGET
from director_wsgi.web.responses import simple

ROUTE: Final = "/api/v1.0/director/healthTest"
BODY: Final = CONTENT + b"\n"

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)")
_XML: Final = '<?xml version="1.0" encoding="utf-8"?>\n'


def blueprint() -> Blueprint:
    """The route of this module."""
    routes = Blueprint("health_test", __name__)

    @routes.route(f"{ROUTE}/<anything:path>", methods=["GET", "HEAD", "PROPFIND"], provide_automatic_options=False)
    def health_test(path: str) -> Response:  # noqa: ARG001, the clean path is in the target
        asked: str = request.environ[TARGET].path.removeprefix(ROUTE)
        try:
            when = _time_of(asked)
        except ValueError as error:
            return simple(400, str(error))
        if request.method == "PROPFIND":
            return Response(
                _multistatus(asked, when), status=207, headers=[("Content-Type", "text/plain; charset=utf-8")]
            )
        return Response(BODY, headers=[("Content-Type", "text/plain; charset=utf-8")])

    return routes


def _time_of(path: str) -> dt.datetime:
    """The time in the name of a test file; ValueError says what is wrong with it."""
    directory, _, name = path.rpartition("/")
    if not directory.startswith(MONITORING + "/"):
        raise ValueError(f"Path parameter is not a valid health test path: {path}")
    stem, dot, _ = name.partition(".")
    if not dot:
        raise ValueError(f"Test file name is missing file extension: {name}")
    for prefix in (DIRECTOR_TEST, SELF_TEST):
        if stem.startswith(prefix):
            told = stem.removeprefix(prefix)
            break
    else:
        raise ValueError(f"File name does not have a valid prefix: {name}")
    if _RFC3339.fullmatch(told):
        with contextlib.suppress(ValueError):  # such as a thirteenth month
            return dt.datetime.fromisoformat(told)
    raise ValueError(
        f"Invalid timestamp in file name: '{told}'. Should conform to 2006-01-02T15:04:05Z07:00 format (RFC 3339)"
    )


def _multistatus(path: str, when: dt.datetime) -> str:
    """A WebDAV answer for one file. xrdcl-pelican compares element names, prefixes included, letter by letter."""
    modified = format_datetime(when.astimezone(dt.UTC), usegmt=True)
    return (
        f'{_XML}<D:multistatus xmlns:D="DAV:" xmlns:ns1="http://apache.org/dav/props/" xmlns:ns0="DAV:">\n'
        '<D:response xmlns:lp1="DAV:" xmlns:lp2="http://apache.org/dav/props/" xmlns:lp3="LCGDM:">\n'
        f"<D:href>{escape(quote_path(path))}</D:href>\n"
        "<D:propstat>\n<D:prop>\n"
        f"<lp1:getcontentlength>{len(BODY)}</lp1:getcontentlength>\n"
        f"<lp1:getlastmodified>{modified}</lp1:getlastmodified>\n"
        "<lp1:iscollection>0</lp1:iscollection>\n"
        "<lp1:executable>F</lp1:executable>\n"
        "</D:prop>\n<D:status>HTTP/1.1 200 OK</D:status>\n</D:propstat>\n</D:response>\n</D:multistatus>\n"
    )
