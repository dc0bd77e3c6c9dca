import logging
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

import director_wsgi.runtime.clients
from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime.clients import THREAD_NAME, ClientWatch
from tests.descriptors import open_files
from tests.servers.authority import Authority

LONG_S = 30.0

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def clients() -> Iterator[ClientWatch]:
    watch = ClientWatch()
    watch.start()
    yield watch
    assert watch.stop(Deadline.after(LONG_S))


@pytest.fixture
def connect() -> Iterator[Callable[[], Pair]]:
    """Makes connections over TCP: the server's side, and the client's."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def make() -> Pair:
            client = stack.enter_context(socket.create_connection(listener.getsockname(), LONG_S))
            server = stack.enter_context(listener.accept()[0])
            return server, client

        yield make


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def settle(clients: ClientWatch, connect: Callable[[], Pair]) -> None:
    """Come back when the watching thread has dealt with all that happened before."""
    server, client = connect()
    dealt_with = threading.Event()
    with clients.of(server).watching(dealt_with.set):
        client.close()
        assert dealt_with.wait(LONG_S)


def note_looks(clients: ClientWatch) -> list[int]:
    """The descriptors whose events arrive from now on."""
    looks: list[int] = []
    look = clients._tell_if_gone
    clients._tell_if_gone = lambda fd: (looks.append(fd), look(fd))
    return looks


def watching_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


@pytest.mark.parametrize(
    "go",
    [socket.socket.close, reset, lambda client: client.shutdown(socket.SHUT_WR)],
    ids=["closes", "resets", "shuts down what it sends"],
)
def test_a_client_that_goes_is_told(clients, connect, go):
    server, client = connect()
    told = threading.Event()
    with clients.of(server).watching(told.set):
        go(client)
        assert told.wait(LONG_S)
    assert clients.gone == 1


def test_whoever_begins_to_wait_for_a_client_that_has_gone_is_told(clients, connect):
    server, client = connect()
    client.close()
    told = threading.Event()
    with clients.of(server).watching(told.set):
        assert told.wait(LONG_S)


def test_a_client_that_goes_behind_a_request_that_was_not_read_yet_is_told(clients, connect):
    server, client = connect()
    told = threading.Event()
    with clients.of(server).watching(told.set):
        client.sendall(b"GET /next HTTP/1.1\r\n\r\n")
        client.close()
        assert told.wait(LONG_S)
    assert server.recv(100) == b"GET /next HTTP/1.1\r\n\r\n"


def test_a_client_that_waits_or_sends_its_next_request_is_not_told(clients, connect):
    waiting, _client = connect()
    sending, sender = connect()
    told: list[str] = []
    with (
        clients.of(waiting).watching(lambda: told.append("waiting")),
        clients.of(sending).watching(lambda: told.append("sending")),
    ):
        sender.sendall(b"GET /next HTTP/1.1\r\n\r\n")
        settle(clients, connect)
    assert told == []


def test_works_on_a_socket_pair(clients):
    server, client = socket.socketpair()
    told = threading.Event()
    with server, clients.of(server).watching(told.set):
        client.close()
        assert told.wait(LONG_S)


@pytest.mark.parametrize("says_so", [True, False], ids=["with close_notify", "without"])
def test_a_client_that_goes_is_told_under_tls(clients, connect, test_ca: Authority, says_so: bool):
    plain_server, plain_client = connect()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(test_ca.cert_file, test_ca.key_file)
    client_context = ssl.create_default_context(cafile=str(test_ca.ca_file))
    accepted: list[ssl.SSLSocket] = []
    handshake = threading.Thread(
        target=lambda: accepted.append(server_context.wrap_socket(plain_server, server_side=True))
    )
    handshake.start()
    client = client_context.wrap_socket(plain_client, server_hostname="127.0.0.1")
    handshake.join(LONG_S)
    told = threading.Event()
    with accepted[0] as server, client, clients.of(server).watching(told.set):
        client.sendall(b"GET /next HTTP/1.1\r\n\r\n")
        settle(clients, connect)
        assert not told.is_set()
        if says_so:
            client.setblocking(False)
            with pytest.raises(ssl.SSLWantReadError):  # the server does not say goodbye in return
                client.unwrap()
        client.close()
        assert told.wait(LONG_S)


def test_a_client_is_told_once_though_it_stays_gone(clients, connect):
    server, client = connect()
    told: list[str] = []
    with clients.of(server).watching(lambda: told.append("gone")):
        client.shutdown(socket.SHUT_WR)
        settle(clients, connect)
        client.close()
        settle(clients, connect)
    assert told == ["gone"]


def test_a_client_that_goes_after_the_wait_is_not_told(clients, connect):
    server, client = connect()
    told: list[str] = []
    looks = note_looks(clients)
    with clients.of(server).watching(lambda: told.append("gone")):
        pass
    client.close()
    settle(clients, connect)
    assert (told, clients.watched) == ([], 0)
    assert server.fileno() not in looks  # the kernel has forgotten it as well


def test_only_those_whose_request_waits_are_watched(clients, connect):
    pairs = [connect() for _ in range(3)]
    watchables = [clients.of(server) for server, _client in pairs]
    assert clients.watched == 0
    with watchables[0].watching(print), watchables[1].watching(print):
        assert clients.watched == 2
    assert clients.watched == 0


def test_the_wait_ends_with_its_block_also_if_that_raises(clients, connect):
    server, _client = connect()
    with pytest.raises(KeyError), clients.of(server).watching(print):
        raise KeyError
    assert clients.watched == 0


def test_a_request_may_wait_again(clients, connect):
    server, client = connect()
    watchable = clients.of(server)
    with watchable.watching(print):
        pass
    client.close()
    for _ in range(2):
        told = threading.Event()
        with watchable.watching(told.set):
            assert told.wait(LONG_S)


def test_two_waits_for_one_client_are_both_told(clients, connect):
    server, client = connect()
    first, second, third = (threading.Event() for _ in range(3))
    watchable = clients.of(server)
    with watchable.watching(first.set):
        with watchable.watching(second.set):
            pass
        with watchable.watching(second.set):
            client.close()
            assert first.wait(LONG_S)
            assert second.wait(LONG_S)
            with watchable.watching(third.set):  # the one registration has been used up by now
                assert third.wait(LONG_S)
    settle(clients, connect)
    assert clients.gone == 4  # three of them, each once, and the one of `settle`
    assert clients.watched == 0


# Descriptors: their numbers are used again


def reuse(server: socket.socket, connect: Callable[[], Pair]) -> Pair:
    """Close `server`, and make another connection whose descriptor has the same number."""
    number = server.fileno()
    new, client = connect()
    server.close()
    os.dup2(new.fileno(), number)
    reused = socket.socket(fileno=number)
    new.close()
    return reused, client


def test_a_client_whose_descriptor_was_anothers_is_told_only_when_it_goes_itself(clients, connect):
    old, old_client = connect()
    told: list[str] = []
    with clients.of(old).watching(lambda: told.append("old")):
        pass
    new, new_client = reuse(old, connect)
    gone = threading.Event()
    with new, clients.of(new).watching(gone.set):
        old_client.close()
        settle(clients, connect)
        assert not gone.is_set()
        new_client.close()
        assert gone.wait(LONG_S)
    assert told == []


def test_an_event_that_arrives_late_does_not_tell_the_next_client_of_that_descriptor(clients, connect):
    """The old client goes; its wait ends and its number is used again before the event is looked at."""
    old, old_client = connect()
    inside, go_on = threading.Event(), threading.Event()
    blocker, blocking_client = connect()

    def hold_the_thread() -> None:
        inside.set()
        assert go_on.wait(LONG_S)

    told: list[str] = []
    with clients.of(blocker).watching(hold_the_thread):
        blocking_client.close()
        assert inside.wait(LONG_S)
        with clients.of(old).watching(lambda: told.append("old")):
            old_client.close()
        new, _new_client = reuse(old, connect)
        with new, clients.of(new).watching(lambda: told.append("new")):
            clients._tell_if_gone(new.fileno())  # the event of the old one, as the thread may have it in its hands
            go_on.set()
            settle(clients, connect)
            assert told == []
            assert clients.watched == 2


def test_a_wait_that_ends_while_its_client_is_looked_at_is_not_told(clients, connect, monkeypatch):
    server, client = connect()
    told: list[str] = []
    looked, waited = threading.Event(), threading.Event()
    really = director_wsgi.runtime.clients._has_gone

    def look_slowly(fd: int) -> bool:
        answer = really(fd)
        looked.set()
        assert waited.wait(LONG_S)
        return answer

    monkeypatch.setattr(director_wsgi.runtime.clients, "_has_gone", look_slowly)
    with clients.of(server).watching(lambda: told.append("gone")):
        client.close()
        assert looked.wait(LONG_S)
    waited.set()
    settle(clients, connect)
    assert told == []


def test_a_connection_closed_on_this_side_during_the_wait_is_survived(clients, connect):
    server, client = connect()
    told: list[str] = []
    with clients.of(server).watching(lambda: told.append("gone")):
        server.close()
        client.close()
        settle(clients, connect)
    assert (told, clients.watched) == ([], 0)


def test_a_closed_connection_whose_number_is_used_again_does_not_get_the_news_of_the_next(clients, connect):
    old, _old_client = connect()
    told: list[str] = []
    gone = threading.Event()
    with clients.of(old).watching(lambda: told.append("old")):
        new, new_client = reuse(old, connect)
        with new, clients.of(new).watching(gone.set):
            new_client.close()
            assert gone.wait(LONG_S)
    assert (told, clients.watched) == ([], 0)


def test_the_end_of_a_stale_wait_does_not_end_the_next_one_of_that_descriptor(clients, connect):
    old, _old_client = connect()
    gone = threading.Event()
    stale = clients.of(old).watching(print)
    stale.__enter__()
    new, new_client = reuse(old, connect)
    with new, clients.of(new).watching(gone.set):
        stale.__exit__()
        new_client.close()
        assert gone.wait(LONG_S)


def test_a_connection_that_is_closed_already_is_not_watched(clients, connect):
    server, _client = connect()
    server.close()
    with clients.of(server).watching(print):
        assert clients.watched == 0


def test_what_cannot_be_watched_is_a_wait_like_any_other(clients, tmp_path):
    with (tmp_path / "file").open("wb") as file, clients.of(file).watching(print):
        assert clients.watched == 0


def test_somebody_who_raises_when_told_leaves_the_others_watched(clients, connect, caplog):
    server, client = connect()
    with caplog.at_level(logging.ERROR), clients.of(server).watching(lambda: 1 / 0):
        client.close()
        settle(clients, connect)
    assert "client has gone failed" in caplog.text


# From the start to the end


def test_one_thread_with_its_name_watches_all(clients, connect):
    pairs = [connect() for _ in range(20)]
    told = threading.Semaphore(0)
    with ExitStack() as stack:
        for server, _client in pairs:
            stack.enter_context(clients.of(server).watching(told.release))
        for _server, client in pairs:
            client.close()
        for _ in pairs:
            assert told.acquire(timeout=LONG_S)
        assert len(watching_threads()) == 1


def test_a_thread_that_watches_somebody_who_has_gone_does_not_spin(clients, connect):
    """It would fill its processor as long as the request goes on."""
    server, client = connect()
    looks = note_looks(clients)
    with clients.of(server).watching(print):
        client.close()
        for _ in range(20):
            settle(clients, connect)
    assert looks.count(server.fileno()) == 1


def test_whoever_waits_is_not_held_up_by_a_watch_that_was_not_started(connect):
    clients = ClientWatch()
    server, client = connect()
    with clients.of(server).watching(print):
        client.close()
        assert clients.watched == 0
    assert clients.stop(Deadline.after(0.0))


def test_the_end_gives_back_thread_and_descriptors(connect):
    server, _client = connect()
    descriptors = open_files()
    for _ in range(5):
        clients = ClientWatch()
        clients.start()
        with clients.of(server).watching(print):
            assert open_files() <= descriptors + 3  # epoll, and the two ends of the pipe that wakes it
            assert clients.stop(Deadline.after(LONG_S))
        assert clients.stop(Deadline.after(0.0))
    assert open_files() <= descriptors
    assert watching_threads() == []


def test_after_the_end_nobody_is_watched(connect):
    clients = ClientWatch()
    clients.start()
    clients.stop(Deadline.after(LONG_S))
    server, _client = connect()
    with clients.of(server).watching(print):
        assert clients.watched == 0
    with pytest.raises(RuntimeError, match="once"):
        clients.start()


def test_a_second_start_is_refused_and_costs_nothing(clients):
    descriptors = open_files()
    with pytest.raises(RuntimeError, match="once"):
        clients.start()
    assert open_files() <= descriptors
    assert len(watching_threads()) == 1


def test_a_start_without_a_thread_leaves_nothing_open(monkeypatch):
    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    descriptors = open_files()
    clients = ClientWatch()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="new thread"):
            clients.start()
    assert open_files() <= descriptors
    clients.start()
    assert clients.stop(Deadline.after(LONG_S))


def test_the_end_does_not_wait_longer_than_its_deadline_for_somebody_who_is_being_told(connect):
    clients = ClientWatch()
    clients.start()
    server, client = connect()
    inside, go_on = threading.Event(), threading.Event()

    def linger() -> None:
        inside.set()
        assert go_on.wait(LONG_S)

    with clients.of(server).watching(linger):
        client.close()
        assert inside.wait(LONG_S)
        assert not clients.stop(Deadline.after(0.0))
        go_on.set()
        assert clients.stop(Deadline.after(LONG_S))


def test_a_child_that_has_the_same_descriptors_does_not_keep_it_from_ending():
    clients = ClientWatch()
    clients.start()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(clients._wake_fd,))
    try:
        assert clients.stop(Deadline.after(LONG_S))
    finally:
        child.communicate(b"\n", LONG_S)


@pytest.fixture
def hasty_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_switches")
def test_connections_that_come_and_go_on_the_same_few_descriptors_never_get_each_others_news(clients):
    """Every other client goes; whoever did not must not be told, though all share a handful of numbers."""
    mistakes: list[str] = []
    missed: list[str] = []

    def work(parity: int) -> None:
        for turn in range(200):
            server, client = socket.socketpair()
            told = threading.Event()
            goes = (turn + parity) % 2 == 0
            with server, client:
                with clients.of(server).watching(told.set):
                    if goes:
                        client.close()
                        if turn % 3 and not told.wait(LONG_S):
                            missed.append("not told")
                if told.is_set() and not goes:
                    mistakes.append("told another's news")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
        assert not thread.is_alive()
    assert (mistakes, missed, clients.watched) == ([], [], 0)
