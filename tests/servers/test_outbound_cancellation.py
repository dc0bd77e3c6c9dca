"""A send can be ended from another thread at any moment, and that harms no other send."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, Cancellation, Failure, HttpClient, NameResolver, OutboundError
from director_wsgi.outbound.names import Found
from tests.servers.conftest import Allowing, MakeClient, MakeServer, head
from tests.servers.faults import black_hole

LONG_S = 60.0


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


def start(
    pool: ThreadPoolExecutor, client: HttpClient, url: str, cancellation: Cancellation | None, method: str = "HEAD"
) -> Future[Answer]:
    return pool.submit(client.send, method, url, deadline=Deadline.after(LONG_S), cancellation=cancellation)


def failure_of(future: Future[Answer]) -> Failure:
    error = future.exception(timeout=LONG_S / 4)  # well before the deadline of the send itself
    assert isinstance(error, OutboundError)
    return error.failure


STAGES = [
    (False, "hang_after_accept", {}),
    (False, "hang_after_request", {}),
    (False, "drip", {"start": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"}),
    (False, "hang_in_body", {}),
    (False, "drip_body", {}),
    (True, "hang_after_accept", {}),
    (True, "stall_in_tls", {}),
    (True, "drip_in_tls", {}),
    (True, "hang_after_request", {}),
    (True, "drip", {}),
    (True, "hang_in_body", {}),
]


@pytest.mark.parametrize("ending", ["cancel", "close"])
@pytest.mark.parametrize(("tls", "name", "arguments"), STAGES)
def test_a_send_ends_at_once_whatever_it_waits_for(
    ending: str,
    tls: bool,
    name: str,
    arguments: dict[str, Any],
    fault_server: MakeServer,
    make_client: MakeClient,
    pool: ThreadPoolExecutor,
) -> None:
    server, client, cancellation = fault_server(tls=tls), make_client(), Cancellation()
    server.behave(name, **arguments)
    sent = start(pool, client, f"{server.url}/object", cancellation, "GET")
    before_request = name in {"hang_after_accept", "stall_in_tls", "drip_in_tls"}
    assert server.wait_until(lambda: (server.connections if before_request else server.in_hand) == 1)

    if ending == "cancel":
        cancellation.cancel()
    else:
        client.close()

    assert failure_of(sent) is (Failure.CANCELLED if ending == "cancel" else Failure.CLOSED)
    assert client.idle_connections == 0
    assert server.wait_until(lambda: server.open_connections == 0)


def test_a_send_that_waits_for_a_connection_ends_at_once(make_client: MakeClient, pool: ThreadPoolExecutor) -> None:
    asked, cancellation = threading.Event(), Cancellation()

    def allow(_: str) -> bool:
        asked.set()
        return True

    client = make_client(rules=Allowing(allow))
    with black_hole() as port:
        sent = start(pool, client, f"http://127.0.0.1:{port}/", cancellation)
        assert asked.wait(LONG_S)
        cancellation.cancel()
        assert failure_of(sent) is Failure.CANCELLED


def test_a_send_that_waits_for_a_name_ends_at_once(make_client: MakeClient, pool: ThreadPoolExecutor) -> None:
    asked, back = threading.Event(), threading.Event()

    def hanging(_: str) -> Found:
        asked.set()
        back.wait()
        return ()

    resolver, cancellation = NameResolver(look_up=hanging), Cancellation()
    sent = start(pool, make_client(names=resolver), "http://dead.example/", cancellation)
    try:
        assert asked.wait(LONG_S)
        cancellation.cancel()
        assert failure_of(sent) is Failure.CANCELLED
    finally:
        back.set()
        resolver.close()


def test_a_send_cancelled_before_it_begins_opens_nothing(fault_server: MakeServer, make_client: MakeClient) -> None:
    server, cancellation = fault_server(), Cancellation()
    cancellation.cancel()
    with pytest.raises(OutboundError) as failed:
        make_client().send("HEAD", server.url, deadline=Deadline.after(LONG_S), cancellation=cancellation)
    assert failed.value.failure is Failure.CANCELLED
    assert cancellation.is_cancelled
    assert server.connections == 0


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_cancel_after_the_end_does_not_touch_the_connection(
    tls: bool, fault_server: MakeServer, make_client: MakeClient
) -> None:
    server, client = fault_server(tls=tls), make_client()
    for _ in range(5):
        cancellation = Cancellation()
        client.send("HEAD", server.url, deadline=Deadline.after(LONG_S), cancellation=cancellation)
        cancellation.cancel()
    assert server.connections == 1


def test_a_cancel_does_not_end_the_next_send_on_the_same_connection(
    fault_server: MakeServer, make_client: MakeClient, pool: ThreadPoolExecutor
) -> None:
    server, client, old = fault_server(), make_client(), Cancellation()
    client.send("HEAD", server.url, deadline=Deadline.after(LONG_S), cancellation=old)
    server.behave("slow", seconds=0.1)
    sent = start(pool, client, server.url, Cancellation())
    assert server.wait_until(lambda: server.in_hand == 1)
    old.cancel()
    assert sent.result(LONG_S).status == 200
    assert server.connections == 1


def test_one_switch_ends_several_sends(
    fault_server: MakeServer, make_client: MakeClient, pool: ThreadPoolExecutor
) -> None:
    server, client, cancellation = fault_server(), make_client(), Cancellation()
    server.behave("hang_after_request")
    sent = [start(pool, client, server.url, cancellation) for _ in range(4)]
    assert server.wait_until(lambda: server.in_hand == 4)
    cancellation.cancel()
    assert [failure_of(each) for each in sent] == [Failure.CANCELLED] * 4


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_cancel_at_any_moment_ends_its_own_send_and_no_other(
    tls: bool, fault_server: MakeServer, make_client: MakeClient, pool: ThreadPoolExecutor
) -> None:
    """Sends and cancels race; beside them sends that nobody cancels, over the same connections, must all succeed."""
    server, client, done = fault_server(tls=tls), make_client(connections=4), threading.Event()
    head(client, server)

    def undisturbed() -> list[int]:
        statuses = []
        while not done.is_set():
            statuses.append(head(client, server).status)
        return statuses

    others = [pool.submit(undisturbed) for _ in range(2)]
    outcomes: list[Failure | int] = []
    try:
        for number in range(150):
            cancellation = Cancellation()
            sent = start(pool, client, server.url, cancellation)
            threading.Event().wait(number % 15 * 0.0001)
            cancellation.cancel()
            error = sent.exception(LONG_S)
            outcomes.append(error.failure if isinstance(error, OutboundError) else sent.result().status)
    finally:
        done.set()
    assert set(outcomes) <= {Failure.CANCELLED, 200}
    for other in others:
        assert set(other.result(LONG_S)) == {200}


def test_after_close_nothing_is_sent_and_nothing_is_open(fault_server: MakeServer, make_client: MakeClient) -> None:
    server, client = fault_server(), make_client()
    head(client, server)
    client.close()
    assert server.wait_until(lambda: server.open_connections == 0)
    with pytest.raises(OutboundError) as failed:
        head(client, server)
    assert failed.value.failure is Failure.CLOSED
    assert server.connections == 1
    client.close()


def test_a_closed_resolver_fails_those_who_wait_and_those_who_come(
    make_client: MakeClient, pool: ThreadPoolExecutor
) -> None:
    asked, back = threading.Event(), threading.Event()

    def hanging(_: str) -> Found:
        asked.set()
        back.wait()
        return ()

    resolver = NameResolver(look_up=hanging)
    client = make_client(names=resolver)
    sent = start(pool, client, "http://dead.example/", None)
    assert asked.wait(LONG_S)
    resolver.close(timeout_s=0.0)
    assert failure_of(sent) is Failure.CLOSED
    with pytest.raises(OutboundError) as failed:
        client.send("HEAD", "http://other.example/", deadline=Deadline.after(LONG_S))
    assert failed.value.failure is Failure.CLOSED
    back.set()
