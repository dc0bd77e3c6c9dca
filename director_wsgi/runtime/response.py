"""How an answer leaves a worker: gunicorn's response, with head and body in one piece.

gunicorn sends the head, then the body: two system calls, and two packets, for what fits into one. Besides, it looks at
each header four ways; those of a redirect are few and always of the same names. A redirect has a dozen of them,
and all this was a tenth of its price.
"""

import re
import time
from typing import Final

from gunicorn import util
from gunicorn.http import wsgi

ONE_PIECE_BYTES: Final = 65_536
"""A longer body is sent by itself, rather than copied."""

_PLAIN: Final = frozenset(
    {
        "Access-Control-Allow-Headers",
        "Access-Control-Allow-Methods",
        "Access-Control-Allow-Origin",
        "Access-Control-Expose-Headers",
        "Content-Type",
        "Link",
        "Location",
        "X-Pelican-Authorization",
        "X-Pelican-Broker",
        "X-Pelican-JobId",
        "X-Pelican-Namespace",
        "X-Pelican-Token-Generation",
    }
)
"""Names that are valid, and mean nothing to the server."""

_VALUE: Final = re.compile(r"[\x21-\x7e\x80-\xff](?:[ \t\x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")
"""A value that is valid and has no blanks at its ends (RFC 9110 5.5)."""

_date = (0, "")  # the last second, and how HTTP writes it; replaced as a whole


class DirectorResponse(wsgi.Response):  # type: ignore[misc]
    """See the module. For the handler thread of one request."""

    headers_sent: bool

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        """Check and take the application's headers; whatever is not plain is gunicorn's to decide."""
        for header in headers:
            name, value = header
            if name in _PLAIN and type(value) is str and _VALUE.fullmatch(value):
                self.headers.append(header)
            else:
                super().process_headers((header,))

    def send_headers(self) -> None:
        """Send the head, if it has not been sent."""
        if not self.headers_sent:
            head = self._head()
            self.headers_sent = True
            util.write(self.sock, head)

    def write(self, data: bytes) -> None:
        """Send a part of the body; together with the head, if it is all there is."""
        if not self.headers_sent and type(data) is bytes and len(data) <= ONE_PIECE_BYTES and self._is_all(data):
            whole = self._head() + data
            self.headers_sent = True
            self.sent = len(data)
            util.write(self.sock, whole)
        else:
            super().write(data)

    def _is_all(self, data: bytes) -> bool:
        return self.response_length == len(data) and not self._omits_body

    def _head(self) -> bytes:
        lines = self.default_headers()
        lines += [f"{name}: {value}\r\n" for name, value in self.headers]
        return "".join([*lines, "\r\n"]).encode("latin-1")

    def default_headers(self) -> list[str]:
        """What is told of every answer, beginning with its status."""
        connection = "upgrade" if self.upgrade else "close" if self.should_close() else "keep-alive"
        major, minor = self.req.version
        lines = [
            f"HTTP/{major}.{minor} {self.status}\r\n",
            f"Server: {self.version}\r\n",
            f"Date: {_now()}\r\n",
            f"Connection: {connection}\r\n",
        ]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked\r\n")
        return lines


def _now() -> str:
    """The date as HTTP writes it; worked out once a second."""
    global _date  # noqa: PLW0603, two threads at once write the same
    second, written = _date
    now = int(time.time())  # noqa: TID251, the date of an answer is for others
    if now != second:
        written = util.http_date(now)
        _date = now, written
    return written


def install() -> None:
    """Let gunicorn answer so from now on, in this process."""
    wsgi.Response = DirectorResponse
