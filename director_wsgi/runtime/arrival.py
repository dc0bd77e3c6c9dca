"""Has a request arrived? Fed with pieces as they come, without parsing more than that takes.

The parser decides what a request means, and refuses what is none. All that is told here is when it would have to wait
for more: where that is not certain, it is let go ahead. Pure.

Source: RFC 9112 2.1 (a head ends with an empty line), 6 (the length of a body), 7.1 (chunks).
"""

import re
from typing import Final

READ_METHODS: Final = frozenset({"POST"})
"""Requests whose bodies the director reads: advertisements. Other bodies are not waited for."""

MOST_HEAD_BYTES: Final = 1 << 16
"""A longer head is for the parser to refuse."""

MOST_BODY_BYTES: Final = 1 << 24
"""A longer body is not collected; `Director.MaxAdvertisementSize` has the same default."""

_LINE_END: Final = b"\r\n"
_HEAD_END: Final = b"\r\n\r\n"
_READ: Final = tuple(f"{method} ".lower().encode() for method in sorted(READ_METHODS))
_CHUNK_SIZE: Final = re.compile(rb"[0-9a-fA-F]{1,8}")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,12})[ \t]*\r\n")


class Arrival:
    """One request on its way. Used by one thread at a time.

    Attributes:
        data: All that has come, what follows the request included.
        is_whole: Whether nobody need wait for more: not the parser, nor who reads a body of `READ_METHODS`.
        has_head: Whether the head has ended.
        was_told_to_go_on: Whether the client has been told so before it sends the body (`Expect: 100-continue`).
    """

    __slots__ = (
        "_body_at",
        "_ends_at",
        "_is_chunked",
        "_is_held_back",
        "_looked_at",
        "data",
        "has_head",
        "is_whole",
        "was_told_to_go_on",
    )

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_whole = self.has_head = self._is_held_back = self.was_told_to_go_on = False
        self._looked_at = 0
        self._body_at = 0
        self._ends_at = 0
        self._is_chunked = False

    def feed(self, piece: bytes) -> None:
        """Take what comes next."""
        self.data += piece
        if not self.has_head:
            self._look_for_head()
        if self.has_head and not self.is_whole:
            self.is_whole = self.has_body or len(self.data) - self._body_at > MOST_BODY_BYTES

    @property
    def has_body(self) -> bool:
        """Whether the body is there as well, read or not, if there is one."""
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
        # RFC 9112 2.2 allows an empty line before the request.
        begin = len(_LINE_END) if self.data.startswith(_LINE_END) else 0
        end = self.data.find(_HEAD_END, max(begin, self._looked_at - len(_HEAD_END) + 1))
        self._looked_at = len(self.data)
        if end >= 0:
            self.has_head = True
            self._body_at = end + len(_HEAD_END)
            self._look_into(bytes(self.data[begin : end + len(_LINE_END)]).lower())
        else:
            self.is_whole = len(self.data) >= MOST_HEAD_BYTES

    def _look_into(self, head: bytes) -> None:
        lengths = _LENGTH.findall(head)
        self._is_chunked = b"\r\ntransfer-encoding:" in head
        self._ends_at = self._looked_at = self._body_at
        if len(lengths) == 1:
            self._ends_at += int(lengths[0])
        self._is_held_back = b"\r\nexpect:" in head and b" http/1.1\r\n" in head
        self.is_whole = not head.startswith(_READ) or self._ends_at - self._body_at > MOST_BODY_BYTES

    def _has_chunks(self) -> bool:
        while (end := self.data.find(_LINE_END, self._looked_at)) >= 0:
            size, extends, _ = bytes(self.data[self._looked_at : end]).partition(b";")
            size = size.rstrip(b" \t") if extends else size
            if not _CHUNK_SIZE.fullmatch(size):
                return True
            if int(size, 16) == 0:  # the fields that may follow end like a head
                return self.data.find(_HEAD_END, end) >= 0 or len(self.data) - end >= MOST_HEAD_BYTES
            after = end + len(_LINE_END) + int(size, 16) + len(_LINE_END)
            if len(self.data) < after:
                return False
            self._looked_at = after
        return len(self.data) - self._looked_at >= MOST_HEAD_BYTES
