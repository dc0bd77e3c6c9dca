"""The body of a request, as RFC 9112 frames it."""

from io import BufferedIOBase

LINE_BYTES = 8192
"""The longest line of a chunked body."""

TRAILERS = 100
_PIECE_BYTES = 64 * 1024


class BadFramingError(OSError):
    """A body that is not framed as RFC 9112 asks for, or was cut off."""


class SizedBody:
    """A body of a length told in advance."""

    def __init__(self, stream: BufferedIOBase, length: int) -> None:
        self._stream = stream
        self._left = length

    def read(self, size: int, /) -> bytes:
        """The next `size` bytes, or what is left.

        Raises:
            BadFramingError: It was cut off.
        """
        wanted = min(size, self._left)
        data = self._stream.read(wanted)
        if len(data) < wanted:
            raise BadFramingError("the body was cut off")
        self._left -= wanted
        return data

    def drain(self, most: int) -> bool:
        """Read what is left, unless it is more than `most`; whether nothing is left."""
        if self._left <= most:
            while self.read(_PIECE_BYTES):
                pass
        return not self._left


class ChunkedBody:
    """A body in chunks (RFC 9112, 7.1). Extensions and trailers are read and forgotten."""

    def __init__(self, stream: BufferedIOBase) -> None:
        self._stream = stream
        self._left = 0
        self._ended = False

    def read(self, size: int, /) -> bytes:
        """The next bytes of the chunk under way, or of the next one.

        Raises:
            BadFramingError: It was cut off, or is not framed as it must be.
        """
        if not self._left and not self._ended:
            self._next_chunk()
        if self._ended or not size:
            return b""
        data = self._stream.read(min(size, self._left))
        if not data:
            raise BadFramingError("the body was cut off")
        self._left -= len(data)
        if not self._left and self._line():
            raise BadFramingError("a chunk is longer than it says")
        return data

    def drain(self, most: int) -> bool:
        """Read what is left, at most `most` bytes of it; whether nothing is left."""
        while most > 0 and (data := self.read(min(most, _PIECE_BYTES))):
            most -= len(data)
        return self._ended

    def _next_chunk(self) -> None:
        size = self._line().partition(b";")[0].strip()
        if not size or len(size) > 15 or size.strip(b"0123456789abcdefABCDEF"):
            raise BadFramingError("the size of a chunk is not understood")
        self._left = int(size, 16)
        if not self._left:
            self._skip_trailers()

    def _skip_trailers(self) -> None:
        for _ in range(TRAILERS):
            if not self._line():
                self._ended = True
                return
        raise BadFramingError("the chunked body has too many trailers")

    def _line(self) -> bytes:
        line = self._stream.readline(LINE_BYTES)
        if not line.endswith(b"\n"):
            raise BadFramingError("a line of the chunked body is too long, or was cut off")
        return line.strip()
