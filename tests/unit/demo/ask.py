"""Requests to the demo's services, with as little said as the test is about."""

import io

from urllib3 import HTTPHeaderDict

from director_wsgi.demo.exchange import Request, Response


def asking(
    method: str, path: str, *, headers: dict[str, str] | None = None, body: bytes = b"", authz: str = ""
) -> Request:
    query = (("authz", authz),) if authz else ()
    return Request(method=method, path=path, query=query, headers=HTTPHeaderDict(headers or {}), body=io.BytesIO(body))


def content(response: Response) -> bytes:
    """All of the body; closes what it holds."""
    try:
        return response.body if isinstance(response.body, bytes) else b"".join(response.body)
    finally:
        response.close()
