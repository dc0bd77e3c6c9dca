"""WebDAV's answer to PROPFIND (RFC 4918, 14.16).

XRootD's client compares element names as text, so the prefix is `D:` throughout.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import quote
from xml.sax.saxutils import escape

from director_wsgi.demo.exchange import Response

CONTENT_TYPE = "application/xml; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """An object or a collection.

    Attributes:
        path: Decoded and absolute; the slash at a collection's end is added here.
        modified_at: Unix seconds.
    """

    path: str
    is_collection: bool
    length_bytes: int
    modified_at: float
    etag: str


def multistatus(resources: Iterable[Resource]) -> Response:
    """207 with the properties of every resource; names that XML cannot hold are percent-encoded like all others."""
    responses = "".join(_response(resource) for resource in resources)
    body = f'<?xml version="1.0" encoding="utf-8"?>\n<D:multistatus xmlns:D="DAV:">\n{responses}</D:multistatus>\n'
    return Response(status=207, headers=(("Content-Type", CONTENT_TYPE),), body=body.encode())


def _response(resource: Resource) -> str:
    href = quote(resource.path if resource.path.endswith("/") or not resource.is_collection else f"{resource.path}/")
    kind = "<D:resourcetype><D:collection/></D:resourcetype>" if resource.is_collection else "<D:resourcetype/>"
    return (
        f"<D:response><D:href>{escape(href)}</D:href><D:propstat><D:prop>{kind}"
        f"<D:iscollection>{int(resource.is_collection)}</D:iscollection>"
        f"<D:getcontentlength>{resource.length_bytes}</D:getcontentlength>"
        f"<D:getlastmodified>{formatdate(resource.modified_at, usegmt=True)}</D:getlastmodified>"
        f"<D:getetag>{escape(resource.etag)}</D:getetag>"
        "</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>\n"
    )
