"""What needs no waiting is answered on a kept connection although no thread is free; all else is as it ever was."""

import contextlib
import json
import os
import re
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.process.child import SETTINGS, Child, parse, run, wait_until
from tests.process.conftest import ENVIRON, Pair
from tests.process.held import PREFIX
from tests.process.kept import accepted
from tests.process.soaked import ONE_OF_EACH, SERVERS_VARIABLE

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]

THREADS = 8
LITTLE = 4096
"""Of the buffer of a client that does not read: it is soon full."""

REDIRECT = b"GET /a/object HTTP/1.1\r\nHost: localhost\r\n\r\n"
FLASKS = b"GET /.well-known/pelican-configuration HTTP/1.1\r\nHost: localhost\r\n\r\n"
VARYING = re.compile(rb"(?m)^Date: .*\r\n|[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}")
APPLICATION = "tests.process.held:application"
ARGUMENTS = ("-c", str(SETTINGS), "--threads", str(THREADS), "--access-logfile", "-")


def environ(rows: object = ONE_OF_EACH) -> dict[str, str]:
    return ENVIRON | {SERVERS_VARIABLE: json.dumps(rows), "PELICAN_DIRECTOR_STARTUPWINDOW": "0s"}


@contextlib.contextmanager
def director(
    directory: Path,
    *more: str,
    application: str = APPLICATION,
    rows: object = ONE_OF_EACH,
    bind: str = "127.0.0.1:0",
    **set_: str,
) -> Iterator[Child]:
    with run(directory, *ARGUMENTS, "-b", bind, *more, application, environ=environ(rows) | set_) as child:
        yield child.wait_until_ready()


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    with director(tmp_path_factory.mktemp("at_once")) as child:
        yield child


class Client:
    """One connection, and what comes on it, answer by answer."""

    def __init__(self, where: int | str, *, receive_buffer: int = 0, timeout_s: float = 10.0) -> None:
        self.socket = socket.socket(socket.AF_INET if isinstance(where, int) else socket.AF_UNIX)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout_s)
        self.socket.connect(("127.0.0.1", where) if isinstance(where, int) else where)
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.socket.close()

    def ask(self, request: bytes = REDIRECT, *, has_body: bool = True) -> bytes:
        self.socket.sendall(request)
        return self.take(has_body=has_body)

    def take(self, *, has_body: bool = True) -> bytes:
        """One whole answer, as it came."""
        while b"\r\n\r\n" not in self._received:
            self._more()
        head, _, _ = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        size = len(head) + 4 + (int(length[1]) if length and has_body else 0)
        while len(self._received) < size:
            self._more()
        answer, self._received = self._received[:size], self._received[size:]
        return answer

    def _more(self) -> None:
        more = self.socket.recv(1 << 16)
        assert more, f"closed after {self._received!r}"
        self._received += more

    def has_ended(self) -> bool:
        """Whether the other side has closed; an AssertionError if more came."""
        try:
            more = self.socket.recv(1 << 16)
        except ConnectionResetError:
            return True
        assert not more, more
        return True


def known(where: int | str, *, receive_buffer: int = 0) -> Client:
    """A client that has been answered at once before."""
    client = Client(where, receive_buffer=receive_buffer)
    assert status(client.ask()) == 307
    return client


def status(answer: bytes) -> int:
    return parse(answer).status


def plain(answer: bytes) -> bytes:
    """Without what differs from answer to answer."""
    return VARYING.sub(b"", answer)


@contextlib.contextmanager
def no_thread_free(where: int | str) -> Iterator[None]:
    """All handler threads are at work."""
    with contextlib.ExitStack() as stack:
        file = Path(stack.enter_context(tempfile.NamedTemporaryFile()).name)
        for _ in range(THREADS):
            stack.enter_context(Client(where)).socket.sendall(f"GET {PREFIX}{file} HTTP/1.0\r\n\r\n".encode())
        probe = stack.enter_context(Client(where, timeout_s=0.3))
        with pytest.raises(TimeoutError):
            probe.ask()
        yield
        probe.socket.setblocking(False)
        with pytest.raises(BlockingIOError):  # nor has one been free meanwhile
            probe.socket.recv(1)


REDIRECTS = [
    REDIRECT,
    b"HEAD /a/object HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /a/caf\xc3\xa9?x=%20&x=2 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: pelican-client/7.20.0\r\n\r\n",
    b"GET /api/v1.0/director/object/a/o HTTP/1.1\r\nHost: localhost\r\nX-Pelican-Debug: true\r\n\r\n",
    b"GET /a/object?redirect=false HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /none/object HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /a/" + b"x" * 7000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /a/object?" + b"&".join(b"p%d=1" % n for n in range(100)) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /a/object HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n",
]


@pytest.mark.parametrize("request_", REDIRECTS)
def test_it_is_answered_by_the_same_bytes_although_no_thread_is_free(child: Child, request_: bytes) -> None:
    has_body = not request_.startswith(b"HEAD")
    with Client(child.port) as first:
        expected = first.ask(request_, has_body=has_body)
        with known(child.port) as client, no_thread_free(child.port):
            answers = [client.ask(request_, has_body=has_body) for _ in range(3)]

    assert {plain(answer) for answer in answers} == {plain(expected)}


BY_THREADS = [
    (FLASKS, 200),
    (b"GET /.well-known/none HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    (b"PUT /a/object HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", 307),
    (b"GET /a/object HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", 307),
    (b"GET /a/object HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 307),
    (b"POST /a/object HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", 404),
    (b"GET /a/object HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\n\r\n", 307),
    (b"GET /a/object HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 8000 + b"\r\nY: " + b"y" * 8000 + b"\r\n\r\n", 307),
    (b"\r\n" + REDIRECT, 307),
]


@pytest.mark.parametrize(("request_", "expected"), BY_THREADS)
def test_what_is_for_a_thread_goes_there_and_the_connection_goes_on(
    child: Child, request_: bytes, expected: int
) -> None:
    with Client(child.port) as first:
        alone = first.ask(request_)
    with known(child.port) as client:
        answer = client.ask(request_)
        after = [client.ask(), client.ask()]

    assert status(answer) == expected
    assert plain(answer) == plain(alone)
    assert [status(one) for one in after] == [307, 307]


LAST = [
    (b"GET /a/object HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 307),
    (b"GET /a/object HTTP/1.0\r\nHost: localhost\r\n\r\n", 307),
    (b"PUT /a/object HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", 307),
    (b"GET /a/object HTTP/9.9\r\nHost: localhost\r\n\r\n", 400),
    (b"GET /a/object HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
    (b"GET /a/object HTTP/1.1\r\nHost: localhost\r\nX: a\nContent-Length: 5\r\n\r\n", 400),
    (b"GET  \r\n\r\n", 400),
    (b"\x16\x03\x01\x00\xa5\x01\x00\r\n\r\n", 400),
]


@pytest.mark.parametrize(("request_", "expected"), LAST)
def test_the_last_request_of_a_connection_is_answered_as_if_it_were_the_first(
    child: Child, request_: bytes, expected: int
) -> None:
    with Client(child.port) as first:
        alone = first.ask(request_)
    with known(child.port) as client:
        answer = client.ask(request_)

        assert client.has_ended()
    assert status(answer) == expected
    assert parse(answer).all("Connection") == ["close"]
    assert plain(answer) == plain(alone)


def test_a_request_in_pieces_and_requests_in_one_piece_are_answered_in_their_order(child: Child) -> None:
    other = REDIRECT.replace(b"/object", b"/other")
    with known(child.port) as client:
        for at in (1, 3, 20, len(REDIRECT) - 1):
            client.socket.sendall(REDIRECT[:at])
            time.sleep(0.02)
            assert b"/a/object" in client.ask(REDIRECT[at:])
            assert b"/a/object" in client.ask()
        client.socket.sendall(REDIRECT + other + REDIRECT + other[:30])
        assert [b"/a/other" in client.take() for _ in range(3)] == [False, True, False]
        assert b"/a/other" in client.ask(other[30:])
        assert b"/a/object" in client.ask()


def test_each_answer_is_in_the_access_log(child: Child) -> None:
    with known(child.port) as client, no_thread_free(child.port):
        client.ask(REDIRECT.replace(b"/object", b"/logged-at-once"))
        child.wait_for_output("/a/logged-at-once")
    assert re.search(r'"GET /a/logged-at-once HTTP/1.1" 307 \d+', child.output)


def reset(client: Client) -> None:
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()


def test_clients_that_go_leave_nothing_even_if_no_thread_is_free(child: Child) -> None:
    wait_until(lambda: not accepted(child.port), "the end of earlier ones")
    for go in (reset, lambda client: client.socket.close(), lambda client: client.socket.shutdown(socket.SHUT_WR)):
        clients = [known(child.port) for _ in range(6)]
        with known(child.port) as lasting, no_thread_free(child.port):
            for number, client in enumerate(clients):
                if number % 2:
                    client.socket.sendall(REDIRECT)
                go(client)
            assert status(lasting.ask()) == 307
            wait_until(lambda: len(accepted(child.port)) <= THREADS + 2, "the end of those that went")
        for client in clients:
            client.socket.close()
    wait_until(lambda: not accepted(child.port), "the end of all")
    assert "Traceback" not in child.output


def test_who_does_not_read_gets_the_rest_later_and_holds_nobody_up(tmp_path: Path) -> None:
    """The answers are more than the kernel takes."""
    path = b"/a/" + b"x" * 7000
    request = b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with director(tmp_path, "--keep-alive", "2", application="tests.process.impatient:application") as child:

        def answered() -> int:
            return child.output.count("GET /a/xxx")

        def has_answered(number: int) -> bool:
            return answered() >= number

        def fill(client: Client) -> int:
            """Ask, one at a time, until there is no answer any more; how many there were."""
            before, number = answered(), 0
            with contextlib.suppress(AssertionError):
                while number < 1000:
                    client.socket.sendall(request)
                    number += 1
                    wait_until(partial(has_answered, before + number), "one more", 0.6, pause_s=0.001)
            assert number < 1000, "the kernel takes everything"
            return answered() - before

        with known(child.port, receive_buffer=LITTLE) as lazy:
            filled = fill(lazy)
            with known(child.port) as other, no_thread_free(child.port):
                answers = [lazy.take() for _ in range(filled)]
                assert status(other.ask()) == 307
            answers.append(lazy.take())  # what was asked meanwhile
            assert len({plain(answer) for answer in answers}) == 1
            assert path in answers[0]
            assert status(lazy.ask()) == 307

        with known(child.port, receive_buffer=LITTLE) as never:
            fill(never)
            port = never.socket.getsockname()[1]
            wait_until(lambda: port not in accepted(child.port), "the end of who reads nothing")
        wait_until(lambda: not accepted(child.port), "the end of all")
        assert "Traceback" not in child.output


def test_a_connection_that_idles_is_ended(tmp_path: Path) -> None:
    with director(tmp_path, "--keep-alive", "1") as child, known(child.port) as client, known(child.port) as busy:
        with no_thread_free(child.port):
            for _ in range(15):
                assert status(busy.ask()) == 307
                time.sleep(0.1)
            assert client.has_ended()
        assert status(busy.ask()) == 307


def test_a_question_that_has_to_be_asked_is_a_threads_and_the_next_is_not(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hung:
        url = f"https://127.0.0.1:{hung.getsockname()[1]}"
        rows = [
            *ONE_OF_EACH,
            *({"is_cache": False, "name": n, "url": url + n, "namespaces": ["/s"]} for n in ("/1", "/2")),
        ]
        asks = b"GET /s/object?directread HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with (
            director(tmp_path, rows=rows, PELICAN_DIRECTOR_STATTIMEOUT="500ms") as child,
            known(child.port) as client,
            known(child.port) as other,
        ):
            client.socket.sendall(asks)
            assert status(other.ask()) == 307
            client.take()
            assert status(client.ask()) == 307
            with no_thread_free(child.port):
                assert status(client.ask()) == 307


def test_a_worker_that_has_answered_enough_is_replaced_and_nobody_loses(tmp_path: Path) -> None:
    with director(tmp_path, "--max-requests", "20") as child:
        with known(child.port) as client:
            answers = [client.ask() for _ in range(19)]
            assert client.has_ended()
        assert [parse(one).all("Connection") for one in answers] == [["keep-alive"]] * 18 + [["close"]]
        child.wait_for_output("Worker ready", 2)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_a_worker_that_ends_answers_what_is_under_way_and_says_so(tmp_path: Path, ending: signal.Signals) -> None:
    with director(tmp_path) as child:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(known(child.port)) for _ in range(4)]
            [worker] = child.workers()
            os.kill(worker, signal.SIGSTOP)
            child.signal(ending)
            os.kill(worker, signal.SIGTERM)
            for client in clients:
                client.socket.sendall(REDIRECT)
            os.kill(worker, signal.SIGCONT)
            for client in clients:
                answer = client.take()
                assert status(answer) == 307
                # Another thread may have taken the signal, and not been on the processor since.
                while parse(answer).all("Connection") == ["keep-alive"]:
                    answer = client.ask()
                assert parse(answer).all("Connection") == ["close"]
                assert client.has_ended()
        if ending == signal.SIGTERM:
            assert child.wait_for_end() == 0
        else:
            child.wait_for_output("Worker ready", 2)


def test_an_operators_hook_sees_every_request(tmp_path: Path) -> None:
    settings = tmp_path / "own.conf.py"
    hook = "def pre_request(worker, req):\n    worker.log.info('seen %s', req.path)\n"
    settings.write_text(f"exec(open({str(SETTINGS)!r}).read())\n{hook}")
    with run(tmp_path, "-c", str(settings), "-b", "127.0.0.1:0", APPLICATION, environ=environ()) as child:
        child.wait_until_ready()
        with known(child.port) as client:
            client.ask()
            client.ask()
        child.wait_for_output("seen /a/object", 3)


def test_at_a_unix_socket_too(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with director(tmp_path, bind=f"unix:{path}"), Client(path) as first:
        expected = first.ask()
        with known(path) as client, no_thread_free(path):
            assert plain(client.ask()) == plain(expected)


def test_tls_goes_through_the_threads(tmp_path: Path, pair: Pair) -> None:
    with director(tmp_path, **pair.environ()) as child, Client(child.port) as client:
        client.socket = pair.trusting().wrap_socket(client.socket, server_hostname="localhost")
        assert [status(client.ask()) for _ in range(5)] == [307] * 5
