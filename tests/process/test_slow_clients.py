"""However many clients are slow, and however they are: no thread waits for them."""

import contextlib
import re
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.process.child import SETTINGS, Child, exchange, get, parse, read_to_the_end, run, wait_for_others, wait_until
from tests.process.conftest import ENVIRON, Pair, make_pair
from tests.process.slow import dripping

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]

THREADS = 8
ARGUMENTS = ("-c", str(SETTINGS), "-b", "127.0.0.1:0", "--threads", str(THREADS))
SLOW_CLIENTS = 3 * THREADS

HONEST = get("/.well-known/pelican-configuration")
POST = b"POST /api/v1.0/director/registerOrigin HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n"
BODY = POST + b"Connection: close\r\nContent-Length: 50000\r\n\r\n{"

WAYS = {
    "silent": b"",
    "head": b"GET /x HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "second line": b"\r\nGET /x HTTP/1.1\r\nHost: x\r\n",
    "body": BODY,
    "chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n1000\r\n{\r\n0\r\n\r\n",
    "size of a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;",
    "fields behind chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX: ",
    "told to go on": POST + b"Expect: 100-continue\r\nContent-Length: 50000\r\n\r\n",
    "upload": b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n",
    "long head": b"GET /x HTTP/1.1\r\n" + (b"X: " + b"x" * 7000 + b"\r\n") * 12,
    "length with noughts": POST + b"Content-Length: 0000000050000\r\n\r\n{",
    "length of a question": b"GET /x HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
    "long fields behind chunks": POST
    + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
    + (b"X: " + b"x" * 7000 + b"\r\n") * 12,
    "many chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n{\r\n" * 50_000,
    "chunks of an upload": b"PUT /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n",
    "kept": b"GET /version HTTP/1.1\r\nHost: x\r\n\r\nGET /version",
}


class Site(NamedTuple):
    """A director that speaks TLS or not."""

    child: Child
    trust: ssl.SSLContext | None

    def connect(self) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.child.port), timeout=10.0)
        return self.trust.wrap_socket(plain, server_hostname="localhost") if self.trust else plain

    def ask(self) -> int:
        return parse(exchange(self.child.port, HONEST, self.trust, timeout_s=5.0)).status


@contextlib.contextmanager
def site(directory: Path, *more: str, tls: bool, **environ: str) -> Iterator[Site]:
    pair: Pair = make_pair(directory)
    with run(directory, *ARGUMENTS, *more, environ=(pair.environ() if tls else ENVIRON) | environ) as child:
        yield Site(child.wait_until_ready(), pair.trusting() if tls else None)


@pytest.fixture(scope="module", params=[False, True], ids=["http", "https"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("slow"), tls=request.param) as served:
        yield served


def hold_up_nobody(served: Site, connect: Callable[[], socket.socket], begin: bytes, drop: bytes) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect()) for _ in range(SLOW_CLIENTS)]
        for client in clients:
            client.sendall(begin)
        with dripping(clients, drop) if drop else contextlib.nullcontext():
            assert {served.ask() for _ in range(2 * THREADS)} == {200}


@pytest.mark.parametrize("way", WAYS)
def test_more_slow_clients_than_threads_hold_up_nobody(served: Site, way: str) -> None:
    hold_up_nobody(served, served.connect, WAYS[way], b"" if way == "silent" else b"x")


@pytest.mark.parametrize("begin", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
def test_neither_do_those_that_are_slow_in_tls(served: Site, begin: bytes) -> None:
    hold_up_nobody(served, served._replace(trust=None).connect, begin, b"\x01" if begin else b"")


def test_what_comes_in_pieces_is_a_request(served: Site) -> None:
    with served.connect() as client:
        for _ in range(2):
            for byte in HONEST.replace(b"Connection: close\r\n", b""):
                client.sendall(bytes([byte]))
            assert b" 200 OK\r\n" in client.recv(65536)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (HONEST.replace(b"close", b"keep-alive"), 200),
        (POST + b"Content-Length: 2\r\n\r\n{}", 400),
        (BODY, 400),  # under TLS an end without its goodbye leaves no way to answer
        (HONEST[:9], 0),
    ],
    ids=["question", "advertisement", "half an advertisement", "half a question"],
)
def test_who_says_that_nothing_more_comes_is_answered(served: Site, request_: bytes, status: int) -> None:
    with served.connect() as client:
        client.sendall(request_)
        socket.socket.shutdown(client, socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ssl.SSLError):  # the end comes without TLS's own goodbye, on either side
            while piece := client.recv(65536):
                received += piece
    is_cut_off = served.trust is not None and request_ is BODY
    assert (parse(received).status if received else 0) == (0 if is_cut_off else status)


def test_a_body_in_many_chunks_is_read_in_no_time(served: Site) -> None:
    """Gunicorn copies what it has read ahead for each chunk: of a megabyte read ahead, for minutes."""
    with served.connect() as client:
        client.sendall(
            POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n[\r\n" * 150_000 + b"0\r\n\r\n"
        )
        assert parse(client.recv(65536)).status == 400


def test_an_upload_as_fast_as_it_can_be_is_not_collected(served: Site) -> None:
    with served.connect() as client:
        client.sendall(b"PUT /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(64):
            with contextlib.suppress(OSError):  # it has been answered, and read for a second
                client.sendall(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
    (worker,) = served.child.workers()
    status = Path(f"/proc/{worker}/status").read_text()
    peak_kib = int(re.findall(r"VmHWM:\s+(\d+)", status)[0])
    assert peak_kib < 150 * 1024


def test_on_a_connection_that_was_kept_who_asks_to_be_told_to_go_on_is_told_too(served: Site) -> None:
    with served.connect() as client:
        for _ in range(3):
            client.sendall(b"GET /a/b HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 429 ")
        client.sendall(POST + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("size", [1, 20_000, 3_000_000])
def test_an_advertisement_that_comes_in_pieces_is_read(served: Site, size: int) -> None:
    """It is none, which can be told only by who has read it."""
    body = b"[" * size
    with served.connect() as client:
        request = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % size + body
        step = max(1, len(request) // 40)
        for at in range(0, len(request), step):
            client.sendall(request[at : at + step])
            time.sleep(0.002)
        received = read_to_the_end(client)
    answer = parse(received)
    assert answer.status == 400
    assert b"could not be read" not in answer.body


def test_who_asks_to_be_told_to_go_on_is_told_once(served: Site) -> None:
    with served.connect() as client:
        client.sendall(POST + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"{}")
        received = read_to_the_end(client)
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"400"]


def test_what_is_on_its_way_when_a_worker_is_replaced_is_answered(tmp_path: Path) -> None:
    with site(tmp_path, tls=False) as served, served.connect() as ad, served.connect() as question:
        ad.sendall(BODY)
        question.sendall(HONEST[:20])
        wait_until(lambda: served.ask() == 200, "an answer")
        old = served.child.workers()
        served.child.signal(signal.SIGHUP)
        served.child.wait_for_output("Worker ready", 2)
        assert set(old) <= set(served.child.workers())
        question.sendall(HONEST[20:])
        assert b" 200 OK\r\n" in question.recv(65536)
        ad.sendall(b"x" * 49_999)
        assert parse(ad.recv(65536)).status == 400
        wait_for_others(served.child, old)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    application = "tests.process.crowded:application"
    metrics = {"PELICAN_MONITORING_METRICAUTHORIZATION": "false", "CROWDED": "yes"}
    with site(tmp_path_factory.mktemp("crowded"), application, tls=False, **metrics) as served:
        yield served


def told(served: Site, metric: str) -> float:
    lines = parse(exchange(served.child.port, get("/metrics"))).body.decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(metric))


def has_ended(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(65536) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    ("begin", "told_so"), [(WAYS["head"], b""), (BODY, b"could not be read")], ids=["head", "body"]
)
def test_who_is_never_silent_and_never_done_has_to_go(crowded: Site, begin: bytes, told_so: bytes) -> None:
    with crowded.connect() as client:
        client.sendall(begin)
        with dripping([client], b"x"):
            received = read_to_the_end(client)
    assert told_so in received
    assert bool(told_so) == bool(received)


def test_of_too_many_those_that_were_silent_for_longest_have_to_go(crowded: Site) -> None:
    before = told(crowded, 'director_wsgi_slow_clients_total{how="crowded_out"}')
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(crowded.connect()) for _ in range(100)]
        assert {crowded.ask() for _ in range(THREADS)} == {200}
        wait_until(lambda: has_ended(clients[0]), "the first of them has to go")
        assert not has_ended(clients[-1])
        assert told(crowded, 'director_wsgi_slow_clients_total{how="crowded_out"}') - before >= 100 - 2 * 16
        assert told(crowded, "director_wsgi_clients_arriving") <= 16 + 1


def test_of_more_than_may_be_held_the_longest_has_to_go(crowded: Site) -> None:
    with contextlib.ExitStack() as stack:
        short, longest, last = (stack.enter_context(crowded.connect()) for _ in range(3))
        short.sendall(BODY + b"x" * 30_000)
        longest.sendall(BODY + b"x" * 45_000)
        wait_until(lambda: told(crowded, "director_wsgi_clients_arriving") >= 2, "they are waited for")
        last.sendall(BODY + b"x" * 40_000)
        answer = parse(longest.recv(65536))
        assert (answer.status, b"could not be read" in answer.body) == (400, True)
        for client, come in ((short, 30_001), (last, 40_001)):
            client.sendall(b"x" * (50_000 - come))
            answer = parse(client.recv(65536))
            assert (answer.status, b"could not be read" in answer.body) == (400, False)
