"""The demo's server on a real socket, under clients that behave and that do not."""

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from director_wsgi.demo.certificates import Authority, trusting
from director_wsgi.demo.exchange import FilePart, Request, Response
from director_wsgi.demo.wire import HttpsServer


class Echo:
    """Answers with what it was asked, as far as a test needs it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.opened: list[FilePart] = []

    def answer(self, request: Request) -> Response:
        if request.path == "/defect":
            raise RuntimeError("defect")
        if request.path == "/ignore":
            return Response(status=200, body=b"ignored")
        if request.path == "/file":
            part = FilePart(self.file.open("rb"), 0, self.file.stat().st_size)
            self.opened.append(part)
            return Response(status=200, body=part)
        body = b""
        while piece := request.body.read(1000):
            body += piece
        return Response(status=200, body=f"{request.method} {request.path} {len(body)}".encode())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def echo(tmp_path: Path) -> Echo:
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 4096)
    return Echo(file)


@pytest.fixture
def server(authority: Authority, echo: Echo) -> Iterator[HttpsServer]:
    with HttpsServer(echo, name="ECHO", tls=authority.issue()) as server:
        yield server


@pytest.fixture
def connection(authority: Authority, server: HttpsServer) -> Iterator[http.client.HTTPSConnection]:
    port = urlsplit(server.url).port
    connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=trusting(authority.ca_file))
    yield connection
    connection.close()


def ask(connection: http.client.HTTPSConnection, method: str, path: str, **more: object) -> tuple[int, bytes]:
    connection.request(method, path, **more)  # type: ignore[arg-type]
    response = connection.getresponse()
    return response.status, response.read()


def threads_of(server: HttpsServer) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.endswith(f"-{server.name}")]


def is_cut(connection: ssl.SSLSocket) -> bool:
    try:
        return connection.recv(1) == b""
    except (ConnectionError, ssl.SSLEOFError):
        return True


def test_one_connection_serves_request_after_request(connection: http.client.HTTPSConnection) -> None:
    assert ask(connection, "GET", "/a%20b") == (200, b"GET /a b 0")
    first = connection.sock
    assert ask(connection, "PUT", "/x", body=b"-" * 5000) == (200, b"PUT /x 5000")
    assert ask(connection, "PROPFIND", "/x") == (200, b"PROPFIND /x 0")
    assert ask(connection, "HEAD", "/x") == (200, b"")
    assert connection.sock is first


def test_a_chunked_body_is_read(connection: http.client.HTTPSConnection) -> None:
    chunks = iter([b"a" * 10, b"b" * 2000])
    assert ask(connection, "PUT", "/x", body=chunks, encode_chunked=True) == (200, b"PUT /x 2010")


def test_a_body_that_nobody_reads_does_not_end_the_connection(connection: http.client.HTTPSConnection) -> None:
    assert ask(connection, "PUT", "/ignore", body=b"-" * 1_000_000) == (200, b"ignored")
    first = connection.sock
    assert ask(connection, "GET", "/x") == (200, b"GET /x 0")
    assert connection.sock is first


def test_a_client_that_asks_leave_to_send_is_given_it(connection: http.client.HTTPSConnection) -> None:
    connection.connect()
    connection.sock.sendall(b"PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert connection.sock.recv(1000).startswith(b"HTTP/1.1 100 ")
    connection.sock.sendall(b"abc")
    assert b"200 OK" in connection.sock.recv(1000)


def test_a_file_is_sent_whole_and_closed(connection: http.client.HTTPSConnection, echo: Echo) -> None:
    assert ask(connection, "GET", "/file") == (200, echo.file.read_bytes())
    assert ask(connection, "HEAD", "/file") == (200, b"")
    assert ask(connection, "GET", "/x")[0] == 200  # the one before has been closed by now
    assert [part.file.closed for part in echo.opened] == [True, True]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /%ff HTTP/1.1\r\n",
        b"GET * HTTP/1.1\r\n",
        b"PUT /x HTTP/1.1\r\nContent-Length: -1\r\n",
        b"PUT /x HTTP/1.1\r\nTransfer-Encoding: gzip\r\n",
        b"PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",  # and no chunk that makes sense
    ],
)
def test_what_is_not_http_is_400(connection: http.client.HTTPSConnection, head: bytes) -> None:
    connection.connect()
    connection.sock.sendall(head + b"Host: h\r\n\r\nnonsense\r\n\r\n")
    assert connection.sock.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_a_defect_is_500_and_the_next_request_is_served(
    connection: http.client.HTTPSConnection, caplog: pytest.LogCaptureFixture
) -> None:
    assert ask(connection, "GET", "/defect") == (500, b"internal error\n")
    assert "RuntimeError: defect" in caplog.text
    assert ask(connection, "GET", "/x")[0] == 200


def test_requests_are_counted_by_method_and_decoded_path(
    server: HttpsServer, connection: http.client.HTTPSConnection
) -> None:
    for method in ("GET", "GET", "HEAD"):
        ask(connection, method, "/%C3%BC")
    assert (server.requests.of("GET", "/ü"), server.requests.of("HEAD", "/ü")) == (2, 1)
    assert (server.requests.total(), server.requests.total("GET")) == (3, 2)
    server.requests.clear()
    assert server.requests.total() == 0


def test_who_does_not_shake_hands_holds_up_nobody(server: HttpsServer, connection: http.client.HTTPSConnection) -> None:
    silent = [socket.create_connection(("localhost", urlsplit(server.url).port), timeout=10) for _ in range(5)]
    try:
        assert ask(connection, "GET", "/x")[0] == 200
    finally:
        for one in silent:
            one.close()


def test_closing_cuts_every_connection_and_leaves_no_thread(authority: Authority, echo: Echo) -> None:
    server = HttpsServer(echo, name="CLOSING", tls=authority.issue())
    port = urlsplit(server.url).port
    context = trusting(authority.ca_file)
    plain = socket.create_connection(("localhost", port), timeout=10)
    idle = http.client.HTTPSConnection("localhost", port, timeout=10, context=context)
    half = context.wrap_socket(socket.create_connection(("localhost", port), timeout=10), server_hostname="localhost")
    try:
        ask(idle, "GET", "/x")
        half.sendall(b"PUT /x HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc")
        server.close()
        assert threads_of(server) == []
        assert is_cut(half)
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("localhost", port), timeout=10)
    finally:
        for one in (plain, idle, half):
            one.close()


def test_a_port_that_is_taken_is_an_error(authority: Authority, server: HttpsServer, echo: Echo) -> None:
    with pytest.raises(OSError, match="in use"):
        HttpsServer(echo, name="SECOND", tls=authority.issue(), port=urlsplit(server.url).port or 0)
