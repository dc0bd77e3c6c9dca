"""HTTP as bytes: requests that no well-behaved client would send, and how they end."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from director_wsgi.demo.certificates import trusting
from tests.process.child import Answer

WAIT_S = 20.0
"""How long an answer is waited for."""


@contextmanager
def connected(url: str, ca: Path, *, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    """Connect to a server.

    Args:
        url: `http` or `https`, with a port.
        ca: Whom to believe.
        source: The address to come from; every address of 127.0.0.0/8 is this machine's.
    """
    parts = urlsplit(url)
    with ExitStack() as stack:
        connection: socket.socket = stack.enter_context(
            socket.create_connection(("127.0.0.1", parts.port or 0), WAIT_S, source_address=(source, 0))
        )
        if parts.scheme == "https":
            connection = stack.enter_context(trusting(ca).wrap_socket(connection, server_hostname="localhost"))
        yield connection


def head(method: str, target: str, host: str, *fields: str) -> bytes:
    """Return a request up to its body; the connection is to end with the answer."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *fields, "", ""]
    return "\r\n".join(lines).encode()


def answer_on(connection: socket.socket, method: str = "GET") -> Answer:
    """Read one answer; an interim `100 Continue` is passed over."""
    response = HTTPResponse(connection, method=method)
    response.begin()
    return Answer(response.status, response.getheaders(), response.read())
