"""The operators' door on real sockets: nobody there waits for anybody else, and nothing stays behind."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime import admin
from director_wsgi.runtime.admin import MAX_CONNECTIONS, MAX_REQUEST_BYTES, AdminServer, Answer, Asked, Later
from tests.fakes import FakeClock

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = b"x" * 4_000_000


def answer(asked: Asked) -> Answer:
    return Answer(status=200, body=LARGE if asked.path == "/large" else asked.path.encode())


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen(64)
        made.setblocking(False)
        yield made


class Door:
    """A server, and clients of it."""

    def __init__(self, listener: socket.socket, stack: ExitStack, **more: Callable[[], object]) -> None:
        self.listener = listener
        self._stack = stack
        self.server = AdminServer(listener, more.pop("answer", answer), **more)  # type: ignore[arg-type]

    def call(self, sent: bytes = b"") -> socket.socket:
        client = socket.create_connection(self.listener.getsockname(), timeout=10)
        self._stack.enter_context(closing(client))
        client.sendall(sent)
        return client

    def ask(self, sent: bytes = GET) -> bytes:
        return read(self.call(sent))


def read(client: socket.socket) -> bytes:
    """All that comes until the server closes."""
    received = b""
    while chunk := client.recv(65_536):
        received += chunk
    return received


def has_ended(client: socket.socket) -> bool:
    """Whether the server has closed the connection; waits for that."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.fixture
def make_door(listener: socket.socket) -> Iterator[Callable[..., Door]]:
    with ExitStack() as stack:

        def make(**more: Callable[[], object]) -> Door:
            door = Door(listener, stack, **more)
            door.server.start()
            stack.callback(lambda: door.server.stop(Deadline.after(5)))
            return door

        yield make


@pytest.fixture
def door(make_door: Callable[..., Door]) -> Door:
    return make_door()


def test_a_request_is_answered_and_the_connection_closed(door: Door) -> None:
    assert door.ask().endswith(b"\r\n\r\n/livez")


def test_a_request_may_come_byte_by_byte(door: Door) -> None:
    client = door.call()
    for byte in GET:
        client.sendall(bytes([byte]))
    assert read(client).endswith(b"/livez")


def test_silent_and_dripping_clients_hold_nobody_up(make_door: Callable[..., Door]) -> None:
    stopped = FakeClock()  # none of them is too late, ever
    door = make_door(clock=stopped)
    silent = [door.call() for _ in range(10)]
    dripping = [door.call(b"GET /li") for _ in range(10)]
    for _ in range(5):
        for client in dripping:
            client.sendall(b"v")
        assert door.ask().endswith(b"/livez")
    for client in (silent[0], dripping[0]):
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)


def test_of_too_many_the_oldest_makes_room_for_the_newest(make_door: Callable[..., Door]) -> None:
    door = make_door(clock=FakeClock())
    silent = [door.call() for _ in range(3 * MAX_CONNECTIONS)]
    assert door.ask().endswith(b"/livez")
    assert all(has_ended(client) for client in silent[: 2 * MAX_CONNECTIONS])
    silent[-1].sendall(GET)
    assert read(silent[-1]).endswith(b"/livez")


def test_what_takes_a_while_is_not_made_for_those_who_had_to_make_room(make_door: Callable[..., Door]) -> None:
    made: list[str] = []
    begun, goes_on = threading.Event(), threading.Event()

    def later(asked: Asked) -> Later:
        def make() -> Answer:
            begun.set()
            goes_on.wait(10)
            made.append(asked.path)
            return Answer(status=200, body=b"made")

        return make

    door = make_door(answer=later, clock=FakeClock())
    number = 3 * MAX_CONNECTIONS
    paths = [f"/{n}" for n in range(number)]
    first = door.call(f"GET {paths[0]} HTTP/1.1\r\n\r\n".encode())
    assert begun.wait(10)
    others = [door.call(f"GET {path} HTTP/1.1\r\n\r\n".encode()) for path in paths[1:]]
    assert all(has_ended(client) for client in (first, *others[: number - MAX_CONNECTIONS - 1]))
    goes_on.set()
    assert read(others[-1]).endswith(b"made")
    assert made == [paths[0], *paths[-MAX_CONNECTIONS:]]


def test_who_is_not_ready_in_time_is_closed_whatever_it_sends(make_door: Callable[..., Door]) -> None:
    clock = FakeClock()
    door = make_door(clock=clock)
    silent, dripping = door.call(), door.call(b"GET /")
    slow = socket.socket()
    with closing(slow):
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(10)
        slow.connect(door.listener.getsockname())
        slow.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        assert slow.recv(1)  # it is being answered, and takes its time
        assert door.ask().endswith(b"/livez")  # all of them have been taken
        clock.advance(admin.CONNECTION_S)
        assert has_ended(silent)
        assert has_ended(dripping)
        received = 0
        try:
            while chunk := slow.recv(65_536):
                received += len(chunk)
        except ConnectionResetError:
            pass
        assert received < len(LARGE)


def test_a_long_answer_arrives_whole_at_who_reads_it(door: Door) -> None:
    assert door.ask(b"GET /large HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")[2] == LARGE


def test_a_request_that_is_too_large_is_refused(door: Door) -> None:
    at_most = b"GET / HTTP/1.1\r\nX: ".ljust(MAX_REQUEST_BYTES, b"x")
    assert door.ask(at_most + b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    assert door.ask(at_most + b"xxxxx\r\n\r\n").startswith(b"HTTP/1.1 431 ")


def test_an_answer_is_not_lost_for_what_the_client_sends_after_its_request(door: Door) -> None:
    client = door.call(b"POST /livez HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)
    client.shutdown(socket.SHUT_WR)
    assert read(client).startswith(b"HTTP/1.1 405 ")


def test_a_client_that_goes_away_leaves_nothing(door: Door) -> None:
    for sent in (b"", b"GET", GET, b"GET /large HTTP/1.1\r\n\r\n"):
        client = door.call(sent)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()  # as a reset
    assert door.ask().endswith(b"/livez")
    end = time.monotonic() + 5
    while door.server._connections and time.monotonic() < end:
        time.sleep(0.01)
    assert not door.server._connections


def test_a_worker_that_ends_leaves_connections_to_others(
    make_door: Callable[..., Door], listener: socket.socket
) -> None:
    serving = threading.Event()
    serving.set()
    ending = make_door(is_serving=serving.is_set)
    assert ending.ask().endswith(b"/livez")
    under_way = ending.call(b"GET /li")
    assert ending.ask().endswith(b"/livez")  # so it has been taken
    serving.clear()
    time.sleep(2 * admin.TURN_S)
    waiting = ending.call(GET)
    under_way.sendall(b"vez HTTP/1.1\r\n\r\n")
    assert read(under_way).endswith(b"/livez")
    waiting.settimeout(2 * admin.TURN_S)
    with pytest.raises(TimeoutError):
        waiting.recv(1)
    make_door()  # another worker
    waiting.settimeout(10)
    assert read(waiting).endswith(b"/livez")


def test_it_ends_when_told_and_closes_what_is_open_but_not_the_listener(door: Door) -> None:
    client = door.call(b"GET /")
    assert door.ask().endswith(b"/livez")
    assert door.server.stop(Deadline.after(5))
    assert has_ended(client)
    assert door.listener.fileno() >= 0
    assert "director-admin" not in {thread.name for thread in threading.enumerate()}


def test_a_server_that_was_never_started_can_be_stopped(listener: socket.socket) -> None:
    assert AdminServer(listener, answer).stop(Deadline.after(0))
