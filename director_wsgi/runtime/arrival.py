"""Has a request arrived? Fed with pieces as they come, without parsing more than that takes.

The parser decides what a request means, and refuses what is none. All that is told here is when it has something to
decide about: the whole request, or so much of it that it will be refused. Pure.

Source: RFC 9112 2.1 (a head ends with an empty line), 6 (the length of a body), 7.1 (chunks); for the line before the
first request of a connection, HAProxy's `proxy-protocol.txt` 2.1 and 2.2.
"""

import re
from typing import Final

READ_METHODS: Final = frozenset({"POST"})
"""Requests whose bodies the director reads: advertisements."""

UPLOADS: Final = frozenset({"PUT"})
"""Requests that are redirected before their bodies, which go elsewhere."""

MOST_BODY_BYTES: Final = 1 << 24
"""A longer body of `READ_METHODS` is not waited for. The most that `Director.MaxAdvertisementSize` may be."""

SMALL_BODY_BYTES: Final = 1 << 16
"""Nor is a longer one of other requests. Nobody reads those, but they are in the way of the next request."""

MOST_HEAD_BYTES: Final = 1 << 20
"""More than any head, or fields behind chunks, that gunicorn does not refuse."""

MOST_LINE_BYTES: Final = 8192
"""More than any request line that it does not refuse, without its end."""

MOST_SIZE_LINE_BYTES: Final = 1 << 14
"""More than any line before a chunk that it does not refuse."""

_LINE_END: Final = b"\r\n"
_HEAD_END: Final = b"\r\n\r\n"
_CHUNK_SIZE: Final = re.compile(rb"0*[0-9a-fA-F]{1,8}")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*0*([0-9]{1,12})[ \t]*\r\n")
_HELD_BACK: Final = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n")
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")

_PROXY_V1: Final = b"PROXY "
_MOST_PROXY_V1_BYTES: Final = 107
_PROXY_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
_PROXY_V2_HEAD_BYTES: Final = 16


class Arrival:
    """One request on its way. Used by one thread at a time.

    Args:
        is_proxied: Whether what the PROXY protocol puts before it may come first.

    Attributes:
        data: All that has come, what follows the request included.
        is_whole: Whether the parser, and who reads the body, have something to decide about.
        has_head: Whether the head has ended.
        was_told_to_go_on: Whether the client has been told so before it sends the body (`Expect: 100-continue`).
    """

    __slots__ = (
        "_body_at",
        "_ends_at",
        "_is_chunked",
        "_is_held_back",
        "_is_proxied",
        "_looked_at",
        "_most_body_bytes",
        "_needed_bytes",
        "data",
        "has_head",
        "is_whole",
        "was_told_to_go_on",
    )

    def __init__(self, *, is_proxied: bool = False) -> None:
        self.data = bytearray()
        self.is_whole = self.has_head = self.was_told_to_go_on = False
        self._is_proxied = is_proxied
        self._is_held_back = self._is_chunked = False
        self._most_body_bytes = self._needed_bytes = 0
        self._looked_at = self._body_at = self._ends_at = 0

    def feed(self, piece: bytes) -> None:
        """Take what comes next."""
        self.data += piece
        if not self.has_head:
            self._look_for_head()
        if self.has_head and not self.is_whole:
            self.is_whole = self.has_body or len(self.data) - self._body_at > self._most_body_bytes

    @property
    def has_body(self) -> bool:
        """Whether the body is there as well, if there is one; or is none that a parser would go on to read."""
        if not self.has_head or self._is_chunked:
            return self._is_chunked and self._has_chunks()
        return len(self.data) >= self._ends_at

    @property
    def missing_bytes(self) -> int:
        """How many it takes at least until the body is there."""
        return max(1, self._ends_at - len(self.data))

    def is_to_be_told_to_go_on(self) -> bool:
        """Whether the client waits for that; true once, and then it counts as told."""
        if self.is_whole or not self._is_held_back:
            return False
        self._is_held_back, self.was_told_to_go_on = False, True
        return True

    def _look_for_head(self) -> None:
        begin = self._begin()
        if begin is None:
            return
        looked_at, self._looked_at = max(begin, self._looked_at - len(_HEAD_END) + 1), len(self.data)
        end = self.data.find(_HEAD_END, looked_at)
        if end >= 0:
            self.has_head = True
            self._body_at = end + len(_HEAD_END)
            self._look_into(bytes(self.data[begin : end + len(_LINE_END)]))
        else:
            self.is_whole = (
                len(self.data) >= MOST_HEAD_BYTES
                or _BARE_LF.search(self.data, looked_at) is not None
                or (len(self.data) - begin > MOST_LINE_BYTES and self.data.find(_LINE_END, begin) < 0)
            )

    def _begin(self) -> int | None:
        """Where the request begins; None if that is not there yet."""
        at = 0
        if self._is_proxied:
            if self.data.startswith(_PROXY_V2):
                at = _PROXY_V2_HEAD_BYTES + int.from_bytes(self.data[_PROXY_V2_HEAD_BYTES - 2 : _PROXY_V2_HEAD_BYTES])
            elif self.data.startswith(_PROXY_V1):
                at = self.data.find(_LINE_END, 0, _MOST_PROXY_V1_BYTES) + len(_LINE_END)
                if at < len(_LINE_END) and len(self.data) >= _MOST_PROXY_V1_BYTES:
                    return 0  # it is none
            elif len(self.data) < len(_PROXY_V2):  # which the parser waits for
                return None
            if at and not len(_LINE_END) <= at <= len(self.data):
                return None
        # RFC 9112 2.2 allows an empty line before the request.
        return at + len(_LINE_END) if self.data.startswith(_LINE_END, at) else at

    def _look_into(self, head: bytes) -> None:
        method = head.partition(b" ")[0].decode("latin-1")
        head = head.lower()
        lengths = _LENGTH.findall(head)
        self._is_chunked = b"\r\ntransfer-encoding:" in head
        self._ends_at = self._looked_at = self._body_at
        if len(lengths) == 1:
            self._ends_at += int(lengths[0])
        expects = b"\r\nexpect:" in head and b" http/1.1\r\n" in head
        self._is_held_back = expects and _HELD_BACK.search(head) is not None
        is_refused = expects and not self._is_held_back
        if method not in UPLOADS and not is_refused:
            self._most_body_bytes = MOST_BODY_BYTES if method in READ_METHODS else SMALL_BODY_BYTES
        self.is_whole = self._most_body_bytes == 0 or self._ends_at - self._body_at > self._most_body_bytes

    def _has_chunks(self) -> bool:
        """Whether the last chunk is there; what has been looked at is not looked at again, however small the pieces."""
        if len(self.data) < self._needed_bytes:
            return False
        while (end := self.data.find(_LINE_END, self._looked_at)) >= 0:
            size, extends, _ = bytes(self.data[self._looked_at : end]).partition(b";")
            size = size.rstrip(b" \t") if extends else size
            if not _CHUNK_SIZE.fullmatch(size) or end - self._looked_at > MOST_SIZE_LINE_BYTES:
                return True
            if int(size, 16) == 0:
                return self._has_fields(end)
            self._needed_bytes = end + len(_LINE_END) + int(size, 16) + len(_LINE_END)
            if len(self.data) < self._needed_bytes:
                return False
            self._looked_at = self._needed_bytes
        return len(self.data) - self._looked_at > MOST_SIZE_LINE_BYTES

    def _has_fields(self, begin: int) -> bool:
        """Whether the fields behind the last chunk, of which there may be none, have ended; they do so like a head."""
        if self.data.find(_HEAD_END, max(begin, self._needed_bytes - len(_HEAD_END))) >= 0:
            return True
        self._needed_bytes = len(self.data) + 1
        return len(self.data) - begin >= MOST_HEAD_BYTES
