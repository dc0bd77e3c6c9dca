"""Listings: written once for each change, sent as bytes, and not at all to those who have them.

A listing is kept in pieces, since those of a large federation are megabytes of which most is shared between its
servers. Its entity tag follows from its bytes alone: workers, hosts and later generations that say the same give it the
same tag. No listing may be taken for good without asking, so caches are told to ask each time (`no-cache`), which costs
nobody much as long as the tag holds.

Source: RFC 9110, sections 8.8.3 (`ETag`) and 15.4.5 (304); RFC 9111, section 5.2.2.4 (`no-cache`).
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Generic, TypeVar

from flask import Request, Response

from director_wsgi.errors import StillWriting
from director_wsgi.web.conditional import instead_of
from director_wsgi.web.responses import JSON, bare_response, simple, to_json

K = TypeVar("K")
V = TypeVar("V")

ASK_AGAIN: Final = "no-cache"
"""`Cache-Control` of what everybody may see."""

ASK_AGAIN_PRIVATELY: Final = "private, no-cache"
"""`Cache-Control` of what only the holder of a token may see."""

CHUNK_BYTES: Final = 65_536
"""About how much of a listing is handed to the server at once."""

PATIENCE_S: Final = 1.0
"""How long a thread waits for the one that writes. Writing takes milliseconds."""

_DIGEST_BYTES: Final = 16


def to_bytes(value: object) -> bytes:
    """JSON as Go writes it. What no UTF-8 can tell is replaced."""
    return to_json(value).encode("utf-8", "replace")


def digest(pieces: Iterable[bytes]) -> bytes:
    """Of these pieces, one after the other: 16 bytes that no others have."""
    found = sha256()
    for piece in pieces:
        found.update(piece)
    return found.digest()[:_DIGEST_BYTES]


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """A body, ready to be sent any number of times.

    Attributes:
        pieces: Its bytes; may be walked through by many threads at once.
        length: How many bytes they are.
        tag: Its strong entity tag, in quotes.
    """

    pieces: Iterable[bytes]
    length: int
    tag: str

    @classmethod
    def of(cls, pieces: Iterable[bytes], known: bytes | None = None) -> "Rendered":
        """What these pieces make.

        Args:
            pieces: As above.
            known: A digest that no other pieces have, if there is one already; None: all of them are read for it.
        """
        found, length = sha256(), 0
        for piece in pieces:
            length += len(piece)
            if known is None:
                found.update(piece)
        return cls(pieces, length, f'"{(known or found.digest()[:_DIGEST_BYTES]).hex()}"')

    @classmethod
    def json(cls, value: object) -> "Rendered":
        """A JSON value, in one piece."""
        return cls.of((to_bytes(value),))

    @classmethod
    def array(cls, elements: Iterable[bytes]) -> "Rendered":
        """A JSON array of these elements, in one piece."""
        return cls.of((b"[%s]" % b",".join(elements),))


def answer(
    request: Request,
    found: Rendered,
    *,
    status: int = 200,
    headers: tuple[tuple[str, str], ...] = (),
    cache_control: str = ASK_AGAIN,
) -> Response:
    """Send a listing; 304 to who has it already, 412 to who wants another.

    Args:
        request: GET or HEAD.
        found: The listing as it is now.
        status: 2xx.
        headers: Further ones, also of a 304.
        cache_control: Who may keep it.
    """
    all_headers = [("ETag", found.tag), ("Cache-Control", cache_control), *headers]
    match instead_of(request, found.tag):
        case 304:
            return bare_response(304, all_headers)
        case 412:
            return simple(412, "This is another one by now")
    all_headers += [("Content-Type", JSON), ("Content-Length", str(found.length))]
    return Response(_chunks(found.pieces), status=status, headers=all_headers)


class Once(Generic[K, V]):
    """What follows from something that is replaced as a whole when it changes, made once for each.

    Any number of threads may ask. One makes it while the others wait, for a while; then they take what was made last.

    Args:
        read: That something, as it is now; compared by identity. Must not wait.
        make: What follows from it, and from what followed from the one before, None at first. No I/O.
        patience_s: How long to wait for the thread that makes it.
    """

    __slots__ = ("_last", "_lock", "_make", "_patience_s", "_read")

    # _last is replaced under the lock, as a whole, and read without it. Within it everybody reads anew: so nobody puts
    # what follows from an older thing in place of what follows from a newer one.

    def __init__(
        self, read: Callable[[], K], make: Callable[[K, V | None], V], *, patience_s: float = PATIENCE_S
    ) -> None:
        self._read = read
        self._make = make
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._last: tuple[K, V] | None = None

    def get(self) -> V:
        """What follows from it now.

        Raises:
            StillWriting: It has never been made, and another thread is at it.
        """
        last, now = self._last, self._read()
        if last is not None and last[0] is now:
            return last[1]
        if not self._lock.acquire(timeout=self._patience_s):
            if self._last is None:
                raise StillWriting("This list is being put together; please retry shortly")
            return self._last[1]
        try:
            last, now = self._last, self._read()
            if last is None or last[0] is not now:
                last = self._last = (now, self._make(now, last[1] if last else None))
            return last[1]
        finally:
            self._lock.release()


class Same(Generic[V]):
    """What is written of something that is put together each time it is asked for, and is mostly equal to the last.

    Any number of threads.

    Args:
        write: Quick. Of two values that are equal it must write the same.
    """

    __slots__ = ("_last", "_write")

    def __init__(self, write: Callable[[V], Rendered]) -> None:
        self._write = write
        self._last: tuple[V, Rendered] | None = None

    def of(self, value: V) -> Rendered:
        """Written if it differs from the last one. It must not be changed afterwards."""
        last = self._last
        if last is None or last[0] != value:
            last = self._last = (value, self._write(value))
        return last[1]


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    parts: list[bytes] = []
    size = 0
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size >= CHUNK_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)
