"""One HTTP request and its response, as values: what the services of the demo are written in terms of.

A service is a function of a `Request`; it may read the request's body and may take its time, but knows neither socket
nor thread. `wire.HttpsServer` puts it on a port.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol
from urllib.parse import parse_qsl, unquote_to_bytes

CHUNK_BYTES = 256 * 1024


class BadTargetError(ValueError):
    """The target of a request is no path this server can understand."""


class BodyReader(Protocol):
    """The body of a request; `read` returns at most `size` bytes, and none at its end.

    Raises:
        OSError: It was cut off, or is not framed as HTTP asks for.
    """

    def read(self, size: int, /) -> bytes:
        """The next bytes."""
        ...


class NoBody:
    """The body of a request that has none."""

    def read(self, size: int, /) -> bytes:  # noqa: ARG002, the protocol's
        """Nothing."""
        return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client asks.

    Attributes:
        path: Decoded; starts with a slash. `..` and empty components are still in it.
        query: Decoded names and values, in order. May hold a token, so it is not shown.
        headers: Case-insensitive.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: BodyReader = field(default_factory=NoBody, repr=False)

    @property
    def bearer(self) -> str | None:
        """The token sent along, as `authz` or `access_token` in the query or as a header; the query wins."""
        for name, value in self.query:
            if name in ("authz", "access_token"):
                return value.removeprefix("Bearer ")
        scheme, _, value = (self.headers.get("Authorization") or "").partition(" ")
        return value if scheme == "Bearer" and value not in ("", "None") else None


@dataclass(slots=True)
class FilePart:
    """A part of an open file, as a response's body. Whoever takes it must close it."""

    file: BinaryIO
    start: int
    length: int

    def __iter__(self) -> Iterator[bytes]:
        self.file.seek(self.start)
        left = self.length
        while left:
            chunk = self.file.read(min(left, CHUNK_BYTES))
            if not chunk:
                raise OSError("the file became shorter while it was being sent")
            left -= len(chunk)
            yield chunk

    def close(self) -> None:
        """Close the file."""
        self.file.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a client is answered.

    Attributes:
        headers: Without Content-Length, which follows from the body.
        body: All of it, or a part of a file.
        described_bytes: The length that an answer to HEAD speaks of; None: that of `body`.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | FilePart = b""
    described_bytes: int | None = None

    @property
    def length(self) -> int:
        """What Content-Length says."""
        if self.described_bytes is not None:
            return self.described_bytes
        return self.body.length if isinstance(self.body, FilePart) else len(self.body)

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case."""
        return next((value for own, value in self.headers if own.lower() == name.lower()), None)

    def close(self) -> None:
        """Give back what the body holds."""
        if isinstance(self.body, FilePart):
            self.body.close()


class Service(Protocol):
    """Answers requests; called from many threads at once."""

    def answer(self, request: Request) -> Response:
        """The response; whoever calls closes it. May raise `OSError` if the client's body cannot be read."""
        ...


def parse_target(target: bytes) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The decoded path and query of a request's target, in origin form or absolute.

    Raises:
        BadTargetError: It is no absolute path, holds a NUL, or does not decode to UTF-8.
    """
    raw, _, query = target.partition(b"?")
    for scheme in (b"https://", b"http://"):
        if raw.startswith(scheme):
            raw = b"/" + raw[len(scheme) :].partition(b"/")[2]
    try:
        path = unquote_to_bytes(raw).decode()
        pairs = tuple(parse_qsl(query.decode(), keep_blank_values=True, errors="strict", max_num_fields=100))
    except ValueError as error:
        raise BadTargetError("the target is not UTF-8, or has too many parameters") from error
    if not path.startswith("/") or "\0" in path:
        raise BadTargetError("the target is no absolute path")
    return path, pairs


def json_response(status: int, value: object) -> Response:
    """`value` as JSON."""
    return Response(
        status=status, headers=(("Content-Type", "application/json"),), body=json.dumps(value).encode() + b"\n"
    )


def text_response(status: int, sentence: str, *headers: tuple[str, str]) -> Response:
    """A sentence for whoever reads it."""
    return Response(
        status=status, headers=(("Content-Type", "text/plain; charset=utf-8"), *headers), body=f"{sentence}\n".encode()
    )
