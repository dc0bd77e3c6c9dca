"""What the worker's main thread answers by itself, and when it stops, with connections that are none."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn import http
from gunicorn.config import Config

from director_wsgi.runtime import at_once
from director_wsgi.runtime.at_once import TURN_S, UNREAD_S, AtOnceWorker
from director_wsgi.runtime.response import DirectorResponse
from director_wsgi.runtime.slow_clients import Waiting
from tests.fakes import FakeClock

REQUEST = b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Socket:
    """Has received one request, and takes so many bytes at once."""

    def __init__(self, received: bytes, room: int) -> None:
        self.received = received
        self.room = room
        self.sent = b""

    def recv(self, size: int) -> bytes:
        data, self.received = self.received[:size], self.received[size:]
        return data

    def send(self, data: bytes) -> int:
        taken = data[: self.room]
        self.sent += taken
        return len(taken)


class Connection:
    def __init__(self, cfg: Config, received: bytes, room: int) -> None:
        self.sock = Socket(received, room)
        self.client, self.server = ("127.0.0.1", 1), ("127.0.0.1", 2)
        self.parser = http.get_parser(cfg, self.sock, self.client)
        self.was_at_once = True
        self.is_closed = False
        self.timeout = 0.0

    def set_timeout(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


class Body:
    """Fails in its middle, and knows whether it was closed."""

    is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        raise TimeoutError

    def close(self) -> None:
        self.is_closed = True


class Worker(AtOnceWorker):
    """With nothing of gunicorn's beneath it but what reads and writes HTTP."""

    def __init__(self, *, parts: bool = False) -> None:
        self.cfg = Config()
        self.alive, self.nr, self.max_requests, self.max_keepalived, self.nr_conns = True, 0, 1000, 1000, 0
        self.keepalived_conns: deque[Connection] = deque()
        self.pending_conns: deque[Connection] = deque()
        self._unread = deque()
        self._arriving, self._leaving = Waiting(), Waiting()
        self.poller = SimpleNamespace(unregister=self._forget, modify=self._watch, select=lambda _timeout: [])
        self.log = SimpleNamespace(access=lambda *_: None)
        self.body: Iterable[bytes] = (b"body",)
        self.parts = parts
        self._answer_at_once = lambda _environ: self._say
        self.for_threads: list[Connection] = []
        self.watched: dict[Any, Callable[[Any], object]] = {}

    def _say(self, _environ: object, start_response: Any) -> Iterable[bytes]:
        start_response("307 TEMPORARY REDIRECT", [("Location", "https://a.example.org/"), ("Content-Length", "4")])
        return self.body

    def _forget(self, sock: Any) -> None:
        self.watched.pop(sock, None)

    def _watch(self, sock: Any, _events: int, then: Any) -> None:
        self.watched[sock] = then

    def enqueue_req(self, conn: Connection) -> None:
        self.for_threads.append(conn)

    def parts_nowait(self) -> bool:
        return self.parts

    def keep(self, received: bytes = REQUEST, room: int = 10_000) -> Connection:
        conn = Connection(self.cfg, received, room)
        self.keepalived_conns.append(conn)
        self.nr_conns += 1
        return conn


@pytest.fixture(autouse=True)
def responses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_once.wsgi, "Response", DirectorResponse)


@pytest.fixture(autouse=True)
def now(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    monkeypatch.setattr(at_once, "time", SimpleNamespace(monotonic=clock))
    return clock


def test_a_turn_has_an_end_and_what_is_left_is_left_as_it_came(now: FakeClock) -> None:
    worker = Worker()
    worker.body = SlowBody(now)
    conns = [worker.keep() for _ in range(5)]
    for conn in conns:
        worker.on_client_socket_readable(conn, conn.sock)
    assert [bool(conn.sock.sent) for conn in conns] == [True, True, False, False, False]
    assert [conn.sock.received for conn in conns[2:]] == [REQUEST] * 3
    assert worker.for_threads == []

    worker.wait_for_and_dispatch_events(0.0)  # another turn
    for conn in conns[2:]:
        worker.on_client_socket_readable(conn, conn.sock)
    assert [bool(conn.sock.sent) for conn in conns] == [True, True, True, True, False]


class SlowBody:
    """Takes half a turn, and a little."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def __iter__(self) -> Iterator[bytes]:
        self._clock.advance(TURN_S * 0.6)
        yield b"body"


def test_who_is_one_too_many_is_parted_with_by_the_main_thread() -> None:
    worker = Worker(parts=True)
    conn = worker.keep()
    worker.on_client_socket_readable(conn, conn.sock)
    assert b"\r\nConnection: close\r\n" in conn.sock.sent
    assert conn.is_closed
    assert (worker.nr_conns, len(worker.keepalived_conns)) == (0, 0)


def test_a_body_that_fails_is_closed_and_the_request_goes_to_a_thread_as_it_came() -> None:
    worker = Worker()
    worker.body = body = Body()
    conn = worker.keep()
    worker.on_client_socket_readable(conn, conn.sock)
    assert body.is_closed
    assert conn.sock.sent == b""
    assert worker.for_threads == [conn]
    assert next(conn.parser).path == "/a"
    assert not conn.was_at_once


def test_the_rest_of_an_answer_is_sent_as_the_client_reads_and_not_for_ever(now: FakeClock) -> None:
    worker = Worker()
    reader, idler = worker.keep(room=10), worker.keep(room=10)
    for conn in (reader, idler):
        worker.on_client_socket_readable(conn, conn.sock)
    assert not worker.keepalived_conns

    for _ in range(3):
        now.advance(UNREAD_S * 0.9)
        worker.watched[reader.sock](reader.sock)
        worker.murder_pending()
    assert len(reader.sock.sent) == 40
    assert (reader.is_closed, idler.is_closed) == (False, True)

    reader.sock.room = 10_000
    worker.watched[reader.sock](reader.sock)
    assert reader.sock.sent.endswith(b"\r\n\r\nbody")
    assert list(worker.keepalived_conns) == [reader]
    assert worker.nr_conns == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pre_request", lambda _worker, _req: None),
        ("post_request", lambda _worker, _req, _environ, _resp: None),
        ("proxy_protocol", "v1"),
        ("strip_header_spaces", True),
        ("certfile", "a.pem"),
        (None, None),
    ],
)
def test_nothing_is_answered_at_once_where_that_would_hide_something(
    name: str | None, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker()
    monkeypatch.setattr(
        worker, "app", SimpleNamespace(wsgi=lambda: SimpleNamespace(extensions={at_once.AT_ONCE: print})), raising=False
    )
    if name is not None:
        worker.cfg.set(name, value)
    worker.load_wsgi()
    assert worker.may_answer_at_once() is (name is None)
