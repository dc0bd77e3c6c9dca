"""Connections to servers, counted by the servers: a question costs a new one only where none that is idle will do."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from director_wsgi.federation.models import ServerAd, ServerKind
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import IDLE_S, HttpClient
from director_wsgi.runtime.clients import ClientWatch, Watchable
from director_wsgi.runtime.leases import Leases
from director_wsgi.stat.engine import StatEngine, StatPolicy
from director_wsgi.stat.evidence import Evidence, Lifetimes, Presence
from director_wsgi.stat.roster import INITIAL_SLOTS
from tests.fakes import FakeClock
from tests.servers.conftest import MakeClient, MakeServer
from tests.servers.faults import FaultServer
from tests.servers.federation import eventually

LONG_S = 30.0
SLOTS = 4
BOTH = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


class World:
    """An engine with real clients, whose connections grow old by a clock of the test's."""

    def __init__(self, make_client: MakeClient, **policy: Any) -> None:
        usual = {
            "timeout_s": LONG_S,
            "slots": SLOTS,
            "adapts": False,
            "lanes": 100,
            "lifetimes": Lifetimes(failure_s=0.0),
        }
        self.clock = FakeClock()
        self.leases = Leases()
        self.client: HttpClient | None = None
        self._make_client = make_client
        self.policy = StatPolicy(**(usual | policy))
        self.engine = StatEngine(policy=self.policy, build_client=self._build_client, leases=self.leases)
        self.pool = ThreadPoolExecutor(2 * INITIAL_SLOTS, thread_name_prefix="asker")
        self._number = 0

    def _build_client(self, connections: int) -> HttpClient:
        self.client = self._make_client(connections=connections, clock=self.clock)
        return self.client

    def ask(
        self, server: FaultServer, path: str = "", *, within_s: float = LONG_S, client: Watchable | None = None
    ) -> Evidence:
        """Ask for an object that nobody has asked for, unless it is named."""
        self._number += 1
        ad = ServerAd(kind=ServerKind.ORIGIN, name=server.url, data_url=server.url, base_url=server.url)
        [evidence] = self.engine.ask(
            (ad,),
            path or f"/number/{self._number}",
            bearer=None,
            authority="public",
            deadline=Deadline.after(within_s),
            client=client,
        )
        return evidence

    def ask_at_once(self, server: FaultServer, number: int) -> set[Presence]:
        """So many questions, none of which is answered before the server has all of them, or as many as it may have."""
        assert server.wait_until(lambda: server.in_hand == 0)
        server.behave("held", until=(answering := threading.Event()))
        before, at_once = server.count(), min(number, self.slots_of(server))
        asking = [self.begin(server, f"/at-once/{before}/{one}") for one in range(number)]
        assert server.wait_until(lambda: server.in_hand == at_once)
        answering.set()
        presences = {one.result(LONG_S).presence for one in asking}
        server.behave("ok")
        return presences

    def slots_of(self, server: FaultServer) -> int:
        states = [state for state in self.engine.servers() if state.data_url == server.url]
        return states[0].slot_limit if states else SLOTS

    def begin(self, server: FaultServer, path: str, **about: Any) -> "Future[Evidence]":
        return self.pool.submit(self.ask, server, path, **about)

    @property
    def idle(self) -> int:
        assert self.client is not None
        return self.client.idle_connections

    def close(self) -> bool:
        self.engine.close()
        has_ended = self.leases.close(Deadline.after(LONG_S))
        self.pool.shutdown()
        return has_ended


@pytest.fixture
def world(make_client: MakeClient) -> Iterator[World]:
    world = World(make_client)
    yield world
    assert world.close()


@BOTH
def test_one_question_after_the_other_takes_one_connection(world: World, fault_server: MakeServer, tls: bool) -> None:
    server = fault_server(tls=tls)
    for _ in range(30):
        assert world.ask(server).presence is Presence.PRESENT
    assert (server.count("HEAD"), server.connections, world.idle) == (30, 1, 1)


@BOTH
def test_many_askers_take_no_more_connections_than_there_are_slots(
    world: World, fault_server: MakeServer, tls: bool
) -> None:
    server = fault_server(tls=tls)
    for _ in range(5):
        assert world.ask_at_once(server, 4 * SLOTS) == {Presence.PRESENT}
    assert (server.count("HEAD"), server.connections, server.peak) == (5 * 4 * SLOTS, SLOTS, SLOTS)


@BOTH
@pytest.mark.parametrize(
    ("fault", "arguments"),
    [
        ("status", {"code": 404, "headers": {"Content-Length": "9"}}),
        ("status", {"code": 403}),
        ("status", {"code": 500}),
        ("redirect_loop", {}),
        ("omit_length", {}),
        ("chunked", {}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_whatever_is_a_whole_answer_leaves_the_connection_to_the_next(
    world: World, fault_server: MakeServer, tls: bool, fault: str, arguments: dict[str, Any]
) -> None:
    server = fault_server(tls=tls)
    server.behave(fault, **arguments)
    for _ in range(4):
        world.ask(server)
    assert (server.count("HEAD"), server.connections) == (4, 1)


@BOTH
def test_an_idle_connection_is_used_for_half_a_minute_and_then_replaced(
    world: World, fault_server: MakeServer, tls: bool
) -> None:
    server = fault_server(tls=tls)
    for idle_s, connections in ((0.0, 1), (IDLE_S, 1), (IDLE_S, 1), (IDLE_S + 0.001, 2), (IDLE_S, 2)):
        world.clock.advance(idle_s)
        assert world.ask(server).presence is Presence.PRESENT
        assert server.connections == connections
    assert server.wait_until(lambda: server.open_connections == 1)


@BOTH
def test_of_a_server_that_is_not_asked_any_more_no_connection_stays_open(
    world: World, fault_server: MakeServer, tls: bool
) -> None:
    server = fault_server(tls=tls)
    world.ask_at_once(server, SLOTS)
    world.engine.retain([server.url])
    assert (server.open_connections, world.idle) == (SLOTS, SLOTS)
    world.clock.advance(IDLE_S + 0.001)
    world.engine.retain([server.url])
    assert world.idle == 0
    assert server.wait_until(lambda: server.open_connections == 0)
    assert world.ask(server).presence is Presence.PRESENT


@BOTH
def test_connections_that_the_server_has_closed_meanwhile_are_replaced_and_say_nothing_of_it(
    world: World, fault_server: MakeServer, tls: bool
) -> None:
    server = fault_server(tls=tls)
    world.ask_at_once(server, SLOTS)
    server.drop_connections()
    assert server.wait_until(lambda: server.open_connections == 0)
    for _ in range(3):
        assert world.ask(server).presence is Presence.PRESENT
    health = world.engine.health_of(server.url)
    assert health is not None
    assert (server.connections, health.breaker.snapshot().failures) == (SLOTS + 1, 0)


@BOTH
def test_an_asker_who_leaves_at_his_deadline_leaves_the_connection_whole(
    world: World, fault_server: MakeServer, tls: bool
) -> None:
    server = fault_server(tls=tls)
    server.behave("held", until=(answering := threading.Event()))
    assert world.ask(server, within_s=0.05).presence is Presence.UNKNOWN
    answering.set()
    assert eventually(lambda: world.idle == 1)
    server.behave("ok")
    assert world.ask(server).presence is Presence.PRESENT
    assert server.connections == 1


@BOTH
def test_a_question_that_is_cancelled_takes_its_own_connection_along_and_no_other(
    world: World, fault_server: MakeServer, tls: bool, clients: ClientWatch
) -> None:
    server = fault_server(tls=tls)
    world.ask_at_once(server, SLOTS)
    server.behave("hang_after_request", path="/hangs")
    ours, theirs = socket.socketpair()
    with ours:
        asking = world.begin(server, "/hangs", client=clients.of(ours))
        assert server.wait_until(lambda: server.count(path="/hangs") == 1)
        theirs.close()
        assert asking.result(LONG_S).presence is Presence.UNKNOWN
    assert server.wait_until(lambda: server.open_connections == SLOTS - 1)
    for _ in range(4):
        assert world.ask(server).presence is Presence.PRESENT
    assert server.connections == SLOTS
    assert world.ask_at_once(server, SLOTS) == {Presence.PRESENT}
    assert server.connections == SLOTS + 1


@BOTH
def test_a_server_that_is_asked_less_for_a_while_keeps_its_connections(
    make_client: MakeClient, fault_server: MakeServer, tls: bool
) -> None:
    """Its slots were halved, since it lost a question; those that it gets back one by one cost no connection each."""
    world = World(make_client, adapts=True, slots=100)
    server = fault_server(tls=tls)
    assert world.ask(server).presence is Presence.PRESENT
    assert world.ask_at_once(server, INITIAL_SLOTS) == {Presence.PRESENT}
    slots = world.slots_of(server)
    assert server.connections == server.peak == INITIAL_SLOTS
    server.behave("hang_after_request", path="/hangs")
    world.engine.adopt(replace(world.policy, timeout_s=0.05))
    assert world.ask(server, "/hangs").presence is Presence.UNKNOWN
    assert eventually(lambda: world.slots_of(server) == slots // 2)
    world.engine.adopt(world.policy)
    before = server.connections
    while (fewer := world.slots_of(server)) < INITIAL_SLOTS - 1:
        assert world.ask_at_once(server, fewer) == {Presence.PRESENT}
    assert server.connections == before
    assert world.close()


@BOTH
def test_where_the_operator_allows_fewer_the_others_are_closed_and_where_more_they_are_kept(
    world: World, fault_server: MakeServer, tls: bool
) -> None:
    server = fault_server(tls=tls)
    world.ask_at_once(server, SLOTS)
    world.engine.adopt(replace(world.policy, slots=2))
    assert world.ask(server).presence is Presence.PRESENT
    assert server.wait_until(lambda: server.open_connections == 2)
    world.engine.adopt(replace(world.policy, slots=2 * SLOTS))
    for _ in range(3):
        assert world.ask_at_once(server, 2 * SLOTS) == {Presence.PRESENT}
    assert server.connections == SLOTS + 2 * SLOTS - 2


@BOTH
def test_a_connection_outlives_the_thread_that_made_it(world: World, fault_server: MakeServer, tls: bool) -> None:
    server = fault_server(tls=tls)
    for _ in range(3):
        assert world.ask(server).presence is Presence.PRESENT
        for held in world.engine._roster._held.values():
            held.known.bulkhead.give_threads_back()
    assert server.connections == 1


@pytest.fixture
def clients() -> Iterator[ClientWatch]:
    clients = ClientWatch()
    clients.start()
    yield clients
    assert clients.stop(Deadline.after(LONG_S))
