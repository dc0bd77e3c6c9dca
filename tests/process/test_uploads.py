"""A PUT is redirected before its body: the redirect must reach a client that is still sending."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.child import SETTINGS, Answer, Child, parse, run
from tests.process.conftest import Pair, make_pair

pytestmark = pytest.mark.process

SIZE = 32 << 20  # more than the kernel's buffers on both sides take
HEAD = "PUT /nowhere/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n{more}\r\n"


class Uploads:
    """A director over TLS, and who uploads to it."""

    def __init__(self, child: Child, pair: Pair) -> None:
        self._child = child
        self._trust = pair.trusting()

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self._child.port), timeout=15.0)
        return self._trust.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=True)


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Uploads]:
    directory: Path = tmp_path_factory.mktemp("uploads")
    pair = make_pair(directory)
    environ = pair.environ() | {"PELICAN_DIRECTOR_STARTUPWINDOW": "0s"}
    with run(directory, "-c", str(SETTINGS), "-b", "127.0.0.1:0", environ=environ) as child:
        yield Uploads(child.wait_until_ready(), pair)


def answer_of(connection: ssl.SSLSocket) -> Answer:
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return parse(received)


def test_who_sends_everything_before_reading_gets_the_answer(uploads: Uploads) -> None:
    with uploads.connect() as connection:
        connection.sendall(HEAD.format(size=SIZE, more="").encode())
        block = bytes(1 << 20)
        for _ in range(SIZE // len(block)):
            connection.sendall(block)
        assert answer_of(connection).status == 404


def test_who_asks_first_is_not_told_to_send(uploads: Uploads) -> None:
    """With `Expect: 100-continue` the answer itself comes at once, and nothing is sent in vain."""
    with uploads.connect() as connection:
        connection.sendall(HEAD.format(size=SIZE, more="Expect: 100-continue\r\n").encode())
        answer = answer_of(connection)
    assert answer.status == 404
    assert answer.all("Connection") == ["close"]


@pytest.mark.parametrize(("size", "connection"), [(1000, "keep-alive"), (SIZE, "close")])
def test_who_sends_more_than_is_read_is_told_that_the_connection_ends(
    uploads: Uploads, size: int, connection: str
) -> None:
    """It is closed in either case (RFC 9112 9.6): who is not told would send the next request into the void."""
    with uploads.connect() as client:
        client.sendall(HEAD.format(size=size, more="").encode())
        client.sendall(bytes(size))
        head = client.recv(65536)
    assert f"\r\nConnection: {connection}\r\n".encode() in head
