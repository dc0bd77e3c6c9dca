"""Serving a file, whole or a range of it (RFC 9110, 14)."""

import re
from email.utils import formatdate

from director_wsgi.demo.exchange import FilePart, Request, Response, text_response
from director_wsgi.demo.storage import OpenObject

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


def serve(request: Request, found: OpenObject, *headers: tuple[str, str]) -> Response:
    """The answer to a GET or HEAD of an object; from now on the response owns the file.

    Several ranges at once are allowed to be ignored, and are.
    """
    length = found.resource.length_bytes
    common = (
        ("Content-Type", "application/octet-stream"),
        ("Accept-Ranges", "bytes"),
        ("ETag", found.resource.etag),
        ("Last-Modified", formatdate(found.resource.modified_at, usegmt=True)),
        *headers,
    )
    wanted = _RANGE.fullmatch((request.headers.get("Range") or "").strip())
    if request.method != "GET" or wanted is None or wanted[1] == wanted[2] == "" or _contradicts(wanted):
        return Response(status=200, headers=common, body=FilePart(found.file, 0, length))
    start, end = bounds(wanted[1], wanted[2], length)
    if start >= end:
        found.file.close()
        return text_response(416, "the range is not within the object", ("Content-Range", f"bytes */{length}"))
    part = ("Content-Range", f"bytes {start}-{end - 1}/{length}")
    return Response(status=206, headers=(*common, part), body=FilePart(found.file, start, end - start))


def _contradicts(wanted: "re.Match[str]") -> bool:
    return bool(wanted[1] and wanted[2]) and int(wanted[1]) > int(wanted[2])


def bounds(first: str, last: str, length: int) -> tuple[int, int]:
    """First byte and the one after the last, of a range as it is written; an empty one if it lies outside."""
    if not first:
        return max(0, length - int(last)), length
    return int(first), min(length, int(last) + 1) if last else length
