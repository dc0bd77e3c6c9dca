"""A cache: GET and HEAD from its own copies, fetched through the director when there is none.

As in Pelican's caches, a copy is never compared with the origin's again, an answer from a copy carries `Age`, a HEAD of
what is not there asks the origin and stores nothing, and PROPFIND is the origin's to answer. Unlike them it fetches
objects whole.
"""

import hashlib
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Protocol

import urllib3

from director_wsgi.demo.copies import Copies, Key
from director_wsgi.demo.exchange import CHUNK_BYTES, Request, Response, text_response
from director_wsgi.demo.multistatus import Resource
from director_wsgi.demo.ranges import serve
from director_wsgi.demo.upstream import UpstreamError
from director_wsgi.limits.deadline import Clock, Deadline, monotonic

FETCH_S = 60.0
"""How long one fetch may take, and how long anybody waits for it."""

LISTING_BYTES = 16 * 1024 * 1024
ALLOW = "OPTIONS,GET,HEAD,PROPFIND"

_RELAYED = frozenset({400, 401, 403, 404, 405, 409})
_logger = logging.getLogger(__name__)


class Asks(Protocol):
    """`upstream.Upstream`, as far as a cache needs it."""

    def ask(
        self, method: str, path: str, *, token: str | None, headers: Mapping[str, str], deadline: Deadline
    ) -> AbstractContextManager[urllib3.BaseHTTPResponse]:
        """See `upstream.Upstream.ask`."""
        ...


def _given_up() -> Response:
    return text_response(502, "the object could not be fetched")


@dataclass
class _Fetch:
    """A fetch that is under way. `refusal` counts once `done` is set; None: there is a copy now."""

    done: threading.Event = field(default_factory=threading.Event)
    refusal: Response | None = field(default_factory=_given_up)


class Cache:
    """Serves whatever the director knows an origin for. Equal fetches at one time are one."""

    def __init__(self, copies: Copies, *, clock: Clock = monotonic) -> None:
        """Make the service; it answers 503 until `connect`."""
        self._copies = copies
        self._clock = clock
        self._upstream: Asks | None = None
        self._lock = threading.Lock()
        self._fetches: dict[Key, _Fetch] = {}

    def connect(self, upstream: Asks) -> None:
        """Say where what is not there can be had."""
        self._upstream = upstream

    def forget(self, path: str) -> None:
        """Drop the copy that anybody may read, if there is one."""
        self._copies.forget(_key(path, None))

    def answer(self, request: Request) -> Response:
        """See `exchange.Service`."""
        if request.method == "OPTIONS":
            return Response(status=200, headers=(("Allow", ALLOW), ("DAV", "1")))
        if request.method not in ("GET", "HEAD", "PROPFIND"):
            return text_response(405, "a cache is read only", ("Allow", ALLOW))
        upstream = self._upstream
        if upstream is None:
            return text_response(503, "the cache has no director yet", ("Retry-After", "1"))
        deadline = Deadline.after(FETCH_S, self._clock)
        try:
            if request.method == "PROPFIND":
                return _list(upstream, request, deadline)
            return self._object(upstream, request, deadline)
        except UpstreamError as error:
            _logger.info("%s %s: %s", request.method, request.path, error)
            return text_response(504 if error.is_late else 502, "the origin could not be asked")

    def _object(self, upstream: Asks, request: Request, deadline: Deadline) -> Response:
        key = _key(request.path, request.bearer)
        for _ in range(2):
            found = self._copies.open(key)
            if found:
                copy, age_s = found
                return serve(request, copy, ("Age", str(age_s)))
            if request.method == "HEAD":
                return _describe(upstream, request, deadline)
            refusal = self._fetch(upstream, request, key, deadline)
            if refusal:
                return refusal
        return text_response(503, "the copy was evicted at once", ("Retry-After", "1"))

    def _fetch(self, upstream: Asks, request: Request, key: Key, deadline: Deadline) -> Response | None:
        """Fetch, or wait for the one who is fetching already; None if there is a copy now."""
        with self._lock:
            fetch = self._fetches.get(key)
            leads = fetch is None
            if fetch is None:
                fetch = self._fetches[key] = _Fetch()
        if not leads:
            return fetch.refusal if fetch.done.wait(deadline.remaining_s()) else text_response(504, "not here in time")
        try:
            # Another fetch may have ended between the look and this one.
            fetch.refusal = None if key in self._copies else self._download(upstream, request, key, deadline)
        finally:
            with self._lock:
                del self._fetches[key]
            fetch.done.set()
        return fetch.refusal

    def _download(self, upstream: Asks, request: Request, key: Key, deadline: Deadline) -> Response | None:
        with upstream.ask("GET", request.path, token=request.bearer, headers={}, deadline=deadline) as reply:
            if reply.status != 200:
                return _refusal(reply)
            resource = _resource(request.path, reply)
            if resource is None:
                return text_response(502, "the origin did not say how long the object is")
            try:
                self._copies.store(key, resource, _chunks(reply, deadline))
            except OSError as error:
                _logger.warning("GET %s: %s", request.path, error)
                return _given_up()
        return None


def _key(path: str, token: str | None) -> Key:
    return path, hashlib.sha256((token or "").encode()).hexdigest()


def _describe(upstream: Asks, request: Request, deadline: Deadline) -> Response:
    with upstream.ask("HEAD", request.path, token=request.bearer, headers={}, deadline=deadline) as reply:
        resource = _resource(request.path, reply) if reply.status == 200 else None
        if resource is None:
            return _refusal(reply)
        names = ("Content-Type", "Accept-Ranges", "ETag", "Last-Modified")
        kept = tuple((name, reply.headers[name]) for name in names if name in reply.headers)
        return Response(status=200, headers=kept, described_bytes=resource.length_bytes)


def _list(upstream: Asks, request: Request, deadline: Deadline) -> Response:
    depth = request.headers.get("Depth")
    headers = {} if depth is None else {"Depth": depth}
    with upstream.ask("PROPFIND", request.path, token=request.bearer, headers=headers, deadline=deadline) as reply:
        if reply.status != 207:
            return _refusal(reply)
        body = b""
        for chunk in _chunks(reply, deadline):
            body += chunk
            if len(body) > LISTING_BYTES:
                return text_response(502, "the listing is too long")
        content_type = reply.headers.get("Content-Type", "application/xml")
        return Response(status=207, headers=(("Content-Type", content_type),), body=body)


def _chunks(reply: urllib3.BaseHTTPResponse, deadline: Deadline) -> Iterator[bytes]:
    for chunk in reply.stream(CHUNK_BYTES):
        if deadline.has_passed():
            raise UpstreamError("the body took too long", is_late=True)
        yield chunk


def _refusal(reply: urllib3.BaseHTTPResponse) -> Response:
    status = reply.status if reply.status in _RELAYED else 502
    return text_response(status, f"the origin, or the director, answered {reply.status}")


def _resource(path: str, reply: urllib3.BaseHTTPResponse) -> Resource | None:
    """The object as the origin describes it; None without a length."""
    length = reply.headers.get("Content-Length", "")
    if not (length.isascii() and length.isdecimal()):
        return None
    try:
        modified_at = parsedate_to_datetime(reply.headers.get("Last-Modified", "")).timestamp()
    except ValueError:
        modified_at = 0.0
    etag = reply.headers.get("ETag", "")
    return Resource(path=path, is_collection=False, length_bytes=int(length), modified_at=modified_at, etag=etag)
