"""Whatever servers do, an ask ends by its deadline with what is known, and a sick server takes nothing from the others."""

import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from director_wsgi.federation.models import ServerAd, ServerKind
from director_wsgi.limits.breaker import BreakerSettings, State
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, HttpClient
from director_wsgi.runtime.clients import ClientWatch, Watchable
from director_wsgi.runtime.leases import Leases
from director_wsgi.stat.engine import StatEngine, StatPolicy
from director_wsgi.stat.evidence import Evidence, Lifetimes, Presence, Reason
from director_wsgi.stat.health import Sickness
from tests.descriptors import open_files
from tests.servers.conftest import MakeClient
from tests.servers.faults import FaultServer
from tests.servers.federation import eventually

LONG_S = 30.0
TIMEOUT_S = 0.25
"""Life of a HEAD here: long for a server that is well, short for a test."""

SLOTS = 3
FOUND = Evidence(presence=Presence.PRESENT, status=200, length_bytes=1234)
LEFT = Evidence.unknown(Reason.TIMED_OUT)
ABSENT = Evidence(presence=Presence.ABSENT, status=404)


class Client:
    """An HttpClient that counts how many sends are under way at once."""

    def __init__(self, client: HttpClient) -> None:
        self.peak = 0
        self._now = 0
        self._lock = threading.Lock()
        self._client = client

    def send(self, *args: Any, **options: Any) -> Answer:
        with self._lock:
            self._now += 1
            self.peak = max(self.peak, self._now)
        try:
            return self._client.send(*args, **options)
        finally:
            with self._lock:
                self._now -= 1

    def keep(self, connections: int) -> None:
        self._client.keep(connections)

    def trim(self) -> None:
        self._client.trim()

    def close(self) -> None:
        self._client.close()


class World:
    def __init__(self, make_client: MakeClient, **policy: Any) -> None:
        self.leases = Leases()
        self.clients: list[Client] = []
        self._make_client = make_client
        usual = {"timeout_s": TIMEOUT_S, "slots": SLOTS, "adapts": False, "lifetimes": Lifetimes(failure_s=0.0)}
        self.engine = StatEngine(
            policy=StatPolicy(**(usual | policy)), build_client=self._build_client, leases=self.leases
        )
        self.pool = ThreadPoolExecutor(16, thread_name_prefix="asker")

    def _build_client(self, connections: int) -> Client:
        self.clients.append(Client(self._make_client(connections=connections)))
        return self.clients[-1]

    def ask(
        self,
        *servers: FaultServer,
        path: str = "/x",
        within_s: float = LONG_S,
        token: str | None = None,
        client: Watchable | None = None,
    ) -> tuple[Evidence, ...]:
        ads = tuple(
            ServerAd(kind=ServerKind.ORIGIN, name=server.url, data_url=server.url, base_url=server.url)
            for server in servers
        )
        return self.engine.ask(
            ads,
            path,
            bearer=token,
            authority=token or "public",
            deadline=Deadline.after(within_s),
            client=client,
        )

    def begin(self, *servers: FaultServer, **about: Any) -> "Future[tuple[Evidence, ...]]":
        return self.pool.submit(self.ask, *servers, **about)

    def in_flight(self) -> int:
        return self.engine.statistics().in_flight

    def close(self, within_s: float = LONG_S) -> bool:
        self.engine.close()
        has_ended = self.leases.close(Deadline.after(within_s))
        self.pool.shutdown()
        return has_ended


@pytest.fixture
def world(make_client: MakeClient) -> Iterator[World]:
    world = World(make_client)
    yield world
    assert world.close()


def stat_threads(server: FaultServer) -> list[str]:
    return [thread.name for thread in threading.enumerate() if f"director-stat-127.0.0.1:{server.port}_" in thread.name]


FAULTS = (
    ("ok", {}, FOUND),
    ("ok", {"headers": {"Age": "17"}}, Evidence(presence=Presence.PRESENT, status=200, length_bytes=1234, age_s=17)),
    ("status", {"code": 404}, ABSENT),
    ("status", {"code": 401}, Evidence(presence=Presence.DENIED, status=401)),
    ("status", {"code": 403}, Evidence(presence=Presence.DENIED, status=403)),
    ("status", {"code": 500}, Evidence.unknown(Reason.FAILED, 500)),
    ("redirect_loop", {}, Evidence.unknown(Reason.REDIRECTED, 307)),
    ("omit_length", {}, Evidence.unknown(Reason.NO_LENGTH, 200)),
    ("chunked", {}, Evidence.unknown(Reason.NO_LENGTH, 200)),
    ("hang_after_accept", {}, LEFT),
    ("hang_after_request", {}, LEFT),
    ("drip", {"interval_s": 0.01}, LEFT),
    ("endless_continue", {}, LEFT),
    ("slow", {"seconds": 5.0}, LEFT),
    ("cut_off", {}, Evidence.unknown(Reason.CUT_OFF)),
    ("reset", {}, Evidence.unknown(Reason.CUT_OFF)),
    ("close_after_accept", {}, Evidence.unknown(Reason.CUT_OFF)),
    ("refuse", {}, Evidence.unknown(Reason.REFUSED)),
    ("huge_header", {}, Evidence.unknown(Reason.FAILED)),
)


@pytest.mark.parametrize(("fault", "arguments", "evidence"), FAULTS, ids=lambda value: str(value)[:30])
def test_what_one_server_does_is_told_of_it_and_the_other_answers(world, fault_server, fault, arguments, evidence):
    sick, well = fault_server(), fault_server()
    sick.behave(fault, **arguments)
    told_of_sick, told_of_well = world.ask(sick, well)
    assert told_of_sick in (evidence, LEFT)
    assert told_of_well == FOUND
    assert world.ask(sick, path="/alone") == (evidence,)
    assert eventually(lambda: world.in_flight() == 0)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("stall_in_tls", Reason.TIMED_OUT), ("drip_in_tls", Reason.TIMED_OUT), ("plain_in_tls", Reason.TLS)],
)
def test_what_a_server_does_under_tls_is_told_of_it(world, fault_server, fault, reason):
    sick, well = fault_server(tls=True), fault_server(tls=True)
    sick.behave(fault)
    assert world.ask(sick, well) == (Evidence.unknown(reason), FOUND)


def test_one_head_is_one_request_on_the_wire(world, fault_server):
    server = fault_server()
    world.ask(server, path="/a b/ü", token="s3cret")
    [seen] = server.requests
    assert (seen.method, seen.path) == ("HEAD", "/a%20b/%C3%BC")
    assert seen.headers["authorization"] == "Bearer s3cret"
    assert "want-digest" not in seen.headers


def test_a_failure_is_not_tried_a_second_time(world, fault_server):
    server = fault_server()
    server.behave("status", code=500)
    world.ask(server)
    assert server.count() == 1


def test_a_hung_server_holds_its_slots_and_nothing_else(make_client, fault_server):
    world = World(make_client, timeout_s=LONG_S)
    hung, well = fault_server(), fault_server()
    hung.behave("hang_after_request")
    holding = [world.begin(hung, path=f"/{number}") for number in range(SLOTS)]
    assert hung.wait_until(lambda: hung.in_hand == SLOTS)
    told = [world.ask(hung, well, path=f"/other/{number}", within_s=0.25) for number in range(3)]
    assert told == [(Evidence.unknown(Reason.NO_SLOT), FOUND)] * 3
    assert hung.count() == SLOTS
    assert world.close()
    assert [one.result(LONG_S) for one in holding] == [(Evidence.unknown(Reason.CLOSED),)] * SLOTS


def test_slots_held_by_a_hung_server_come_back_after_the_life_of_a_head(world, fault_server):
    hung = fault_server()
    hung.behave("hang_after_request")
    leaving = [world.begin(hung, path=f"/{number}", within_s=0.1) for number in range(SLOTS)]
    assert [one.result(LONG_S) for one in leaving] == [(LEFT,)] * SLOTS
    assert world.engine.statistics().left == SLOTS
    hung.behave("ok")
    assert world.ask(hung) == (FOUND,)
    assert eventually(lambda: world.in_flight() == 0)


def test_an_ask_ends_at_its_deadline_while_its_head_goes_on_and_becomes_evidence(make_client, fault_server):
    world = World(make_client, timeout_s=LONG_S)
    server = fault_server()
    server.behave("slow", seconds=0.5)
    assert world.ask(server, within_s=0.1) == (LEFT,)
    assert world.in_flight() == 1
    assert eventually(lambda: world.in_flight() == 0)
    assert world.ask(server) == (Evidence(presence=Presence.PRESENT, status=200, length_bytes=10),)
    assert server.count() == 1
    assert world.close()


def test_a_server_that_is_well_again_is_used_again_at_once(world, fault_server):
    server = fault_server()
    for fault in ("refuse", "hang_after_request", "reset"):
        server.behave(fault)
        assert world.ask(server)[0].presence is Presence.UNKNOWN
        server.behave("ok")
        assert world.ask(server, path=f"/after-{fault}") == (FOUND,)


def test_what_one_token_found_is_asked_again_for_another(world, fault_server):
    server = fault_server()
    assert world.ask(server, token="a") == (FOUND,)
    server.behave("status", code=403)
    assert world.ask(server, token="b") == (Evidence(presence=Presence.DENIED, status=403),)
    assert world.ask(server) == (Evidence(presence=Presence.DENIED, status=403),)
    assert world.ask(server, token="a") == (FOUND,)
    assert [seen.headers.get("authorization") for seen in server.requests] == ["Bearer a", "Bearer b", None]


def test_an_object_that_was_written_is_found_though_it_was_absent_a_moment_ago(world, fault_server):
    server = fault_server()
    server.behave("status", code=404)
    assert [world.ask(server) for _ in range(2)] == [(ABSENT,)] * 2
    assert server.count() == 1
    world.engine.forget_absence("/x")
    server.behave("ok")
    assert world.ask(server) == (FOUND,)


def test_connections_are_kept_for_the_next_head(world, fault_server):
    server = fault_server()
    for number in range(10):
        world.ask(server, path=f"/{number}")
    assert (server.count(), server.connections) == (10, 1)


@pytest.mark.parametrize("fault", ["hang_after_request", "hang_after_accept", "drip", "endless_continue"])
def test_its_end_ends_heads_under_way_and_leaves_no_thread_and_no_socket(make_client, fault_server, fault):
    sick, well = fault_server(), fault_server()
    sick.behave(fault)
    well.behave("status", code=404)  # whoever had the object would end the wait
    threads, files = threading.active_count(), open_files()
    world = World(make_client, timeout_s=LONG_S)
    asking = [world.begin(sick, well, path=f"/{number}") for number in range(SLOTS + 2)]
    assert sick.wait_until(lambda: sick.connections == SLOTS)
    assert eventually(lambda: well.count() == SLOTS + 2)
    assert len(stat_threads(sick)) == SLOTS
    assert world.close(within_s=5.0)
    assert {one.result(LONG_S)[0] for one in asking} == {Evidence.unknown(Reason.CLOSED)}
    assert stat_threads(sick) == stat_threads(well) == []
    assert sick.wait_until(lambda: sick.open_connections == well.open_connections == 0)
    assert eventually(lambda: threading.active_count() <= threads)
    assert eventually(lambda: open_files() <= files)


def test_a_server_gone_gives_back_its_threads_and_sockets_though_it_hangs(make_client, fault_server):
    world = World(make_client, timeout_s=LONG_S)
    gone, kept = fault_server(), fault_server()
    gone.behave("hang_after_request")
    kept.behave("status", code=404)
    asking = world.begin(gone, kept)
    assert gone.wait_until(lambda: gone.in_hand == 1)
    world.engine.retain([kept.url])
    assert asking.result(LONG_S) == (Evidence.unknown(Reason.CLOSED), ABSENT)
    assert eventually(lambda: not stat_threads(gone))
    assert gone.wait_until(lambda: gone.open_connections == 0)
    kept.behave("ok")
    assert world.ask(kept, path="/again") == (FOUND,)
    assert world.close()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("hang_after_request", Sickness.STALLING),
        ("refuse", Sickness.REFUSING),
        ("reset", Sickness.CUTTING_OFF),
        ("huge_header", Sickness.ERRORING),
    ],
)
def test_a_sick_server_is_left_alone_until_it_is_well_again(make_client, fault_server, fault, reason):
    breaker = BreakerSettings(minimum_volume=SLOTS, first_backoff_s=0.1, backoff_cap_s=0.1)
    world = World(make_client, timeout_s=0.1, breaker=breaker)
    server = fault_server()
    server.behave(fault)
    for number in range(SLOTS):
        world.ask(server, path=f"/{number}")
    known = world.engine.health_of(server.url)
    assert known.breaker.snapshot().reason is reason
    assert eventually(lambda: known.breaker.snapshot().state is State.OPEN)
    before = world.engine.statistics()
    told = [world.ask(server, path=f"/open/{number}") for number in range(20)]
    assert set(told) == {(Evidence.unknown(Reason.CIRCUIT_OPEN),)}
    after = world.engine.statistics()
    assert after.asked - before.asked == after.probed - before.probed
    server.behave("ok")
    assert eventually(lambda: world.ask(server, path="/well") == (FOUND,))
    assert known.breaker.snapshot().state is State.CLOSED
    assert world.close()


@pytest.fixture
def clients() -> Iterator[ClientWatch]:
    clients = ClientWatch()
    clients.start()
    yield clients
    assert clients.stop(Deadline.after(LONG_S))


def test_when_all_clients_have_gone_the_socket_to_the_server_is_shut_and_nothing_is_learned(
    make_client, fault_server, clients
):
    world = World(make_client, timeout_s=LONG_S)
    server = fault_server()
    server.behave("hang_after_request")
    pairs = [socket.socketpair() for _ in range(2)]
    asking = [world.begin(server, client=clients.of(ours)) for ours, _ in pairs]
    assert server.wait_until(lambda: server.in_hand == 1)
    assert eventually(lambda: clients.watched == len(pairs))
    pairs[0][1].close()
    assert asking[0].result(LONG_S) == (LEFT,)
    assert server.open_connections == 1
    pairs[1][1].close()
    assert asking[1].result(LONG_S) == (LEFT,)
    assert server.wait_until(lambda: server.open_connections == 0)
    assert eventually(lambda: world.in_flight() == 0)
    assert world.engine.health_of(server.url).breaker.snapshot().volume == 0
    server.behave("ok")
    assert world.ask(server) == (FOUND,)
    for ours, _ in pairs:
        ours.close()
    assert world.close()


def test_one_head_serves_all_who_ask_the_same_at_once(world, fault_server):
    server = fault_server()
    server.behave("slow", seconds=0.1)
    asking = [world.begin(server) for _ in range(16)]
    told = {one.result(LONG_S) for one in asking}
    assert told == {(Evidence(presence=Presence.PRESENT, status=200, length_bytes=10),)}
    assert server.count() == 1


def test_in_a_storm_no_slot_is_exceeded_or_lost_and_nothing_is_called_absent(make_client, fault_server):
    """Hundreds of asks of servers of which some are sick, with threads switched as often as possible."""
    world = World(make_client, timeout_s=0.05)
    well, slow, hung, broken = (fault_server() for _ in range(4))
    slow.behave("slow", seconds=0.01)
    hung.behave("hang_after_request")
    broken.behave("reset")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        asking = [
            world.begin(well, slow, hung, broken, path=f"/{number}", within_s=0.02 + number % 4 * 0.02)
            for number in range(300)
        ]
        told = [one.result(LONG_S) for one in asking]
    finally:
        sys.setswitchinterval(interval)
    assert len(told) == 300
    assert not [evidence for answers in told for evidence in answers if evidence.presence is Presence.ABSENT]
    assert eventually(lambda: world.in_flight() == 0)
    assert max(client.peak for client in world.clients) <= SLOTS
    for held in world.engine._roster._held.values():
        assert eventually(lambda: held.known.bulkhead.slots.in_use == 0)  # noqa: B023
    assert len(world.engine._flights) == world.engine.lanes.all.statistics().in_use == 0
    alive = sum(state.threads for state in world.engine.servers())
    assert eventually(lambda: world.engine._roster._threads.statistics().in_use == alive)
    hung.behave("ok")
    assert eventually(lambda: world.ask(well, hung, path="/after") == (FOUND, FOUND))
    assert world.close()
