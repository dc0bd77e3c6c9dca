"""Whom the main thread waits for, how long, and who has to go; with connections that are none."""

import math
import socket
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.workers import gthread

from director_wsgi.runtime import slow_clients
from director_wsgi.runtime.arrival import Arrival
from director_wsgi.runtime.slow_clients import LINGER_S, SILENCE_S, GatheredUnreader, SlowClientsWorker, Waiting
from tests.fakes import FakeClock

SPARE = 5


class Socket:
    unseen = b""

    def setblocking(self, flag: bool) -> None:
        pass

    def recv(self, size: int) -> bytes:
        raise NotImplementedError(size)


def peek(sock: Socket, size: int, flags: int) -> bytes:
    assert flags == socket.MSG_PEEK
    if not sock.unseen:
        raise BlockingIOError
    return sock.unseen[:size]


class Connection:
    def __init__(self, come: bytes = b"") -> None:
        self.sock = Socket()
        self.is_closed = False
        self.timeout = self.arrives_by = math.inf
        self.arrival: Arrival | None = None
        self.held_bytes, self.is_late = 0, False
        if come:
            self.arrival = Arrival()
            self.arrival.feed(come)

    def close(self) -> None:
        self.is_closed = True


class Worker(SlowClientsWorker):
    """With nothing of gunicorn's beneath it."""

    def __init__(self) -> None:
        self.alive, self.nr_conns = True, 0
        self.keepalived_conns: deque[Any] = deque()
        self.pending_conns: deque[Any] = deque()
        self._arriving, self._leaving = Waiting(), Waiting()
        self.worker_connections = SPARE
        self.watched: dict[Any, Callable[[Any], object]] = {}
        self.poller = SimpleNamespace(
            register=lambda sock, _events, then: self.watched.__setitem__(sock, then), unregister=self.watched.pop
        )
        self.for_threads: list[Any] = []

    def enqueue_req(self, conn: Any) -> None:
        self.for_threads.append(conn)

    def back_from_a_thread(self, conn: Connection, result: object = slow_clients._MORE) -> Connection:
        done: Future[object] = Future()
        done.set_result(result)
        self.nr_conns += 1
        self.finish_request(conn, done)
        return conn

    def is_waiting_for(self, conn: Connection) -> bool:
        return conn.sock in self.watched


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(slow_clients.time, "monotonic", clock)
    monkeypatch.setattr(slow_clients, "tally", slow_clients.Tally())
    monkeypatch.setattr(
        slow_clients, "socket", SimpleNamespace(socket=SimpleNamespace(recv=peek), MSG_PEEK=socket.MSG_PEEK)
    )
    return clock


def test_who_sends_nothing_is_waited_for_a_while_and_has_to_go(now: FakeClock) -> None:
    worker = Worker()
    conn = worker.back_from_a_thread(Connection())
    now.advance(SILENCE_S * 0.9)
    worker.murder_pending()
    assert worker.is_waiting_for(conn)
    now.advance(SILENCE_S * 0.2)
    worker.murder_pending()
    assert (conn.is_closed, worker.watched, worker.nr_conns) == (True, {}, 0)
    assert slow_clients.tally.silent == 1


def test_who_has_sent_something_is_left_to_a_thread_that_waits_for_no_more(now: FakeClock) -> None:
    worker = Worker()
    conn = worker.back_from_a_thread(Connection(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n{"))
    now.advance(SILENCE_S)
    worker.murder_pending()
    assert (worker.for_threads, worker.watched, worker.nr_conns) == ([conn], {}, 1)
    assert conn.arrival
    assert conn.arrival.is_whole
    assert worker._arriving.held_bytes == 0


def test_what_came_but_was_too_little_to_be_looked_at_is_looked_at_in_the_end(now: FakeClock) -> None:
    worker = Worker()
    conn = worker.back_from_a_thread(Connection(b"POST / HTTP/1.1\r\nContent-Length: 90000\r\n\r\n"))
    conn.sock.unseen = b"x"
    now.advance(SILENCE_S)
    worker.murder_pending()
    assert worker.for_threads == [conn]
    assert conn.arrival
    assert not conn.arrival.is_whole
    assert slow_clients.tally.silent == 0


def test_who_sends_is_waited_for_anew(now: FakeClock) -> None:
    worker = Worker()
    silent, sending = worker.back_from_a_thread(Connection()), worker.back_from_a_thread(Connection())
    now.advance(SILENCE_S * 0.9)
    worker.watched[sending.sock](sending.sock)
    assert worker.for_threads == [sending]
    assert not worker.is_waiting_for(sending)
    worker.back_from_a_thread(sending)
    now.advance(SILENCE_S * 0.9)
    worker.murder_pending()
    assert (silent.is_closed, sending.is_closed) == (True, False)


def test_of_too_many_the_one_that_was_silent_for_longest_goes(now: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "MOST_WAITING", 3)
    worker = Worker()
    conns = [worker.back_from_a_thread(Connection()) for _ in range(5)]
    worker.murder_pending()
    assert [conn.is_closed for conn in conns] == [True, True, False, False, False]
    assert (slow_clients.tally.crowded_out, slow_clients.tally.arriving, worker.nr_conns) == (2, 3, 3)


def test_those_it_waits_for_are_beyond_the_connections_it_may_have(now: FakeClock) -> None:
    worker = Worker()
    arriving, _leaving = (
        worker.back_from_a_thread(Connection()),
        worker.back_from_a_thread(Connection(), slow_clients._LEAVES),
    )
    assert worker.worker_connections == SPARE + 2
    worker.watched[arriving.sock](arriving.sock)
    assert worker.worker_connections == SPARE + 1


def test_what_is_held_of_requests_is_bounded(now: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n"
    monkeypatch.setattr(slow_clients, "MOST_HELD_BYTES", 4 * len(begun))
    worker = Worker()
    first = worker.back_from_a_thread(Connection(begun))
    longest = worker.back_from_a_thread(Connection(begun + begun))
    last = worker.back_from_a_thread(Connection(begun))
    worker.murder_pending()
    assert worker.for_threads == []
    worker.back_from_a_thread(Connection(begun))
    worker.murder_pending()
    assert worker.for_threads == [longest]
    assert longest.arrival
    assert longest.arrival.is_whole
    assert worker._arriving.held_bytes == 3 * len(begun)
    assert worker.is_waiting_for(first)
    assert worker.is_waiting_for(last)


def test_a_worker_that_ends_waits_for_what_is_on_its_way_and_hardly_for_what_has_not_begun(now: FakeClock) -> None:
    worker = Worker()
    begun, silent = worker.back_from_a_thread(Connection(b"GET / HTTP")), worker.back_from_a_thread(Connection())
    worker.alive = False
    worker._cap_keepalive(now() + gthread.STOP_KEEPALIVE_LINGER)
    late = worker.back_from_a_thread(Connection())
    now.advance(gthread.STOP_KEEPALIVE_LINGER)
    worker.murder_pending()
    assert (begun.is_closed, silent.is_closed, late.is_closed) == (False, True, True)


def test_who_may_still_be_sending_has_a_moment_to_read_the_answer(now: FakeClock) -> None:
    worker = Worker()
    conn, other = (worker.back_from_a_thread(Connection(), slow_clients._LEAVES) for _ in range(2))
    conn.sock.recv = lambda _size: b"more"  # type: ignore[method-assign]
    worker.watched[conn.sock](conn.sock)
    assert not conn.is_closed
    conn.sock.recv = lambda _size: b""  # type: ignore[method-assign]
    worker.watched[conn.sock](conn.sock)
    assert (conn.is_closed, other.is_closed, worker.nr_conns) == (True, False, 1)
    now.advance(LINGER_S)
    worker.murder_pending()
    assert (other.is_closed, worker.nr_conns) == (True, 0)


def test_a_long_body_may_take_longer_if_it_comes() -> None:
    body, head = Arrival(), Arrival()
    body.feed(b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100_000)
    head.feed(b"GET / HTTP/1.1\r\nX: " + b"x" * 50_000)
    assert slow_clients._gained_s(body) == pytest.approx(2, rel=0.01)
    assert slow_clients._gained_s(head) == 0


def test_a_connection_that_cannot_be_waited_for_is_ended(now: FakeClock) -> None:
    worker = Worker()

    def refuse(*_: object) -> None:
        raise OSError

    worker.poller.register = refuse
    conn = worker.back_from_a_thread(Connection())
    assert (conn.is_closed, worker.nr_conns, len(worker._arriving)) == (True, 0, 0)


def test_what_was_gathered_is_handed_out_in_pieces_and_then_nobody_is_asked() -> None:
    unreader = GatheredUnreader(SimpleNamespace(recv=pytest.fail))
    unreader.give(bytearray(b"a" * 8192 + b"bc"))
    unreader.unread(b"before")
    assert unreader.read() == b"before"
    assert unreader.read() == b"a" * 8192
    unreader.unread(b"back")
    assert unreader.take_all() == b"backbc"
    with pytest.raises(TimeoutError):
        unreader.read()


def test_a_body_is_taken_as_a_whole_and_what_follows_stays() -> None:
    unreader = GatheredUnreader(SimpleNamespace(recv=pytest.fail))
    unreader.give(bytearray(b"head" + b"b" * 20_000 + b"next"))
    assert unreader.read(4) == b"head"
    assert unreader.take(20_000) == b"b" * 20_000
    assert unreader.take_all() == b"next"
    assert unreader.take_all() == b""
    unreader.give(bytearray(b"head" + b"bb" + b"next"))
    assert unreader.read(4) == b"head"
    assert unreader.take(2) == b"bb"
    assert unreader.take(10) == b"next"


def test_a_long_piece_is_handed_out_to_who_wants_it() -> None:
    unreader = GatheredUnreader(SimpleNamespace(recv=pytest.fail))
    unreader.give(bytearray(100_000))
    assert len(unreader.read(None, read_ahead=90_000)) == slow_clients.PIECE_BYTES
    assert len(unreader.read(30_000)) == 30_000


def test_gunicorn_still_has_what_is_overridden_here() -> None:
    for name in (
        "_cap_keepalive",
        "finish_request",
        "murder_pending",
        "wait_for_and_dispatch_events",
        "accept",
        "handle",
    ):
        assert callable(getattr(gthread.ThreadWorker, name))
