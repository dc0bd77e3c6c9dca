"""What requests share, and what they do not, in a whole director: questions, evidence, threads, patience."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from director_wsgi.limits.breaker import State
from tests.make import at
from tests.servers.authority import Authority
from tests.servers.behaviours import ON_REQUEST, Visit
from tests.servers.federation import WAIT_S, Census, Federation, Load, Told, eventually

LONG_S = 20.0
"""A deadline that no test reaches: who comes back before it was not waiting for it."""


class MakeFederation:
    """Makes federations, and ends them after the test."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self.made: list[Federation] = []

    def __call__(self, **settings: Any) -> Federation:
        usual = {"redirect_deadline_s": LONG_S, "stat_timeout_s": LONG_S, "probe_interval_s": 0.2}
        self.made.append(Federation(self._authority, **(usual | settings)).__enter__())
        return self.made[-1]


@pytest.fixture
def make_federation(test_ca: Authority) -> Iterator[MakeFederation]:
    make = MakeFederation(test_ca)
    yield make
    for federation in make.made:
        federation.__exit__()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64, thread_name_prefix="asker") as pool:
        yield pool


def at_once(number: int, ask: Callable[[int], Told]) -> list[Told]:
    """The answers to this many requests, all begun at the same moment, each on a thread of its own."""
    gate = threading.Barrier(number)

    def one(which: int) -> Told:
        gate.wait(WAIT_S)
        return ask(which)

    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(one, range(number)))


def until_open(federation: Federation, name: str, namespace: str) -> None:
    """Ask for fresh objects until the breaker of this server opens."""
    with Load(federation, namespace, threads=2, pause_s=0.01):
        assert eventually(
            lambda: (state := federation.state(name)) is not None and state.breaker.state is not State.CLOSED
        ), federation.state(name)


def test_five_hundred_equal_requests_for_a_cold_object_are_one_head_at_each_origin(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation()
    names = ["a", "b", "c"]
    for name in names:
        federation.origin(name, "/n").behave("slow", seconds=0.5)
    told = at_once(500, lambda _: federation.ask("/n/object"))
    assert {one.status for one in told} == {307}
    assert {name: federation.heads(name) for name in names} == dict.fromkeys(names, 1)
    assert {name: federation.servers[name].count("HEAD") for name in names} == dict.fromkeys(names, 1)


def test_a_failure_is_shared_and_not_tried_again_by_each_who_waited(make_federation: MakeFederation) -> None:
    federation = make_federation()
    for name in ("a", "b"):
        federation.origin(name, "/n").behave("slow", seconds=0.5, code=500)
    told = at_once(100, lambda _: federation.ask("/n/object"))
    assert {(one.status, frozenset(one.servers)) for one in told} == {(307, frozenset("ab"))}
    assert [federation.heads(name) for name in "ab"] == [1, 1]


def test_one_of_many_who_wait_for_the_same_leaves_at_its_own_deadline_and_the_others_get_the_answer(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation()
    for name in ("a", "b"):
        federation.origin(name, "/n").behave("hang_after_request")
    with ThreadPoolExecutor(8) as threads:
        patient = [threads.submit(federation.ask, "/n/object") for _ in range(4)]
        assert eventually(lambda: all(server.in_hand == 1 for server in federation.servers.values()))
        for _ in range(3):  # the leader is among the patient ones; a follower that leaves takes nothing with it
            assert federation.ask("/n/object", headers={"X-Pelican-Timeout": "100ms"}).status == 307
        assert not any(one.done() for one in patient)
        assert [federation.heads(name) for name in "ab"] == [1, 1]
        for server in federation.servers.values():
            server.drop_connections()
        assert {one.result(WAIT_S).status for one in patient} == {307}


def test_a_question_that_everybody_stopped_waiting_for_at_the_door_is_never_sent(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation(stat_concurrency_limit=2)
    for name in ("a", "b"):
        federation.origin(name, "/n").behave("hang_after_request")
    told = at_once(6, lambda which: federation.ask(f"/n/{which}", headers={"X-Pelican-Timeout": "200ms"}))
    assert {one.status for one in told} == {307}
    for server in federation.servers.values():
        server.behave("ok")
        server.drop_connections()  # and so the two slots are free again, for whoever should still stand at the door
    assert eventually(lambda: federation.director.engine.statistics().in_flight == 0)
    assert federation.ask("/n/last").first in {"a", "b"}
    assert [federation.heads(name) for name in "ab"] == [3, 3]


def test_a_client_that_leaves_ends_the_heads_it_shares_with_nobody_and_says_nothing_of_the_servers(
    make_federation: MakeFederation, pool: ThreadPoolExecutor
) -> None:
    federation = make_federation()
    for name in ("a", "b"):
        federation.origin(name, "/n").behave("hang_after_request")
    for _ in range(10):
        here, there = socket.socketpair()
        with here, there:
            waiting = pool.submit(federation.ask, federation.fresh("/n"), connection=here)
            assert eventually(lambda: all(server.in_hand == 1 for server in federation.servers.values()))
            there.close()
            assert waiting.result(WAIT_S).status == 307  # nobody reads it
        assert eventually(lambda: all(server.in_hand == 0 for server in federation.servers.values()))
    assert {state.breaker.volume for state in federation.states("ab").values()} == {0}
    assert federation.director.engine.statistics().gone == 10


def test_a_leader_that_leaves_takes_nothing_from_those_who_wait_for_the_same(
    make_federation: MakeFederation, pool: ThreadPoolExecutor
) -> None:
    federation = make_federation()
    for name in ("a", "b"):
        federation.origin(name, "/n").behave("slow", seconds=0.5)
    here, there = socket.socketpair()
    with here, there:
        leader = pool.submit(federation.ask, "/n/object", connection=here)
        assert eventually(lambda: all(server.in_hand == 1 for server in federation.servers.values()))
        followers = [pool.submit(federation.ask, "/n/object") for _ in range(4)]
        assert eventually(lambda: federation.director.engine.statistics().joined == 8)
        there.close()
        leader.result(WAIT_S)
        assert {one.result(WAIT_S).first for one in followers} == {"a"}
    assert [federation.heads(name) for name in "ab"] == [1, 1]


def test_a_namespace_whose_origins_hang_leaves_all_others_their_answers(make_federation: MakeFederation) -> None:
    federation = make_federation(redirect_deadline_s=0.5, stat_timeout_s=1.0, stat_concurrency_limit=64)
    for name in ("hung-1", "hung-2"):
        federation.origin(name, "/busy").behave("hang_after_request")
    federation.origin("holder", "/calm")
    federation.origin("lacking", "/calm").behave("status", code=404)
    with Load(federation, "/busy", threads=64, pause_s=0.001) as busy, Load(federation, "/calm", threads=4) as calm:
        assert eventually(lambda: len(calm.told) >= 100 and len(busy.told) >= 100)
    assert {(one.status, one.first) for one in calm.told} == {(307, "holder")}
    assert {one.status for one in busy.told} == {307}
    lanes = federation.director.engine.lanes
    assert lanes.all.statistics().in_use == lanes.long.statistics().in_use == 0
    assert lanes.long.statistics().most_in_use < lanes.long.statistics().permits


def test_servers_that_hang_leave_threads_for_asking_the_others(make_federation: MakeFederation) -> None:
    federation = make_federation(stat_threads=12, redirect_deadline_s=0.5)
    hung = [federation.origin(f"hung-{number}", "/busy") for number in range(3)]
    for server in hung:
        server.behave("hang_after_request")
    federation.origin("a-lacking", "/calm").behave("status", code=404)
    federation.origin("holder", "/calm")
    with Load(federation, "/busy", threads=16, pause_s=0.005):
        assert eventually(lambda: all(server.in_hand >= 2 for server in hung))
        told = [federation.ask(federation.fresh("/calm")) for _ in range(50)]
        assert all(server.in_hand >= 2 for server in hung), "they are to hang all the while"
    assert {(one.status, one.first) for one in told} == {(307, "holder")}
    assert federation.director.engine.statistics().in_flight <= 12


def test_one_hung_origin_of_three_is_not_waited_for_to_the_end(make_federation: MakeFederation) -> None:
    federation = make_federation()
    hung = federation.origin("hung", "/n")
    hung.behave("hang_after_request")
    federation.origin("holder", "/n")
    federation.origin("lacking", "/n").behave("status", code=404)
    for _ in range(4):
        assert federation.ask(federation.fresh("/n")).servers == ("holder", "hung")
    assert hung.in_hand == 4  # all four are still waiting there, with most of their time left


@pytest.fixture
def allowing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A behaviour that has the object for the holders of one token only."""

    def allow(visit: Visit, *, token: str) -> bool:
        assert visit.seen is not None
        is_allowed = visit.seen.headers.get("authorization") == f"Bearer {token}"
        return ON_REQUEST["slow"](visit, seconds=0.05, code=200 if is_allowed else 403)

    monkeypatch.setitem(ON_REQUEST, "allow", allow)


@pytest.mark.usefixtures("allowing")
def test_what_a_token_found_is_told_to_its_holders_only_however_many_ask_at_once(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation()
    tokens = ["red", "green", "blue"]
    for token in tokens:
        federation.origin(token, "/n").behave("allow", token=token)

    def ask(which: int) -> Told:
        return federation.ask("/n/object", headers={"Authorization": f"Bearer {tokens[which % 3]}"})

    for _ in range(2):  # the second time from what is remembered
        told = at_once(12, ask)
        assert [one.first for one in told] == tokens * 4
    assert [federation.heads(token) for token in tokens] == [3, 3, 3]  # one for each authority, at each server


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_write_through_us_makes_absence_unknown_for_everybody(make_federation: MakeFederation, method: str) -> None:
    federation = make_federation()
    for name in ("a", "b"):
        federation.origin(name, "/n").behave("status", code=404)
    readers: list[dict[str, str]] = [{}, {"Authorization": "Bearer other"}]
    for _ in range(2):
        assert [federation.ask("/n/new", headers=headers).status for headers in readers] == [404, 404]
    assert [federation.heads(name) for name in "ab"] == [2, 2]
    assert federation.ask("/n/new", method).status == 307
    federation.servers["b"].behave("ok")
    assert [federation.ask("/n/new", headers=headers).servers for headers in readers] == [("b",), ("b",)]


def test_an_object_that_was_there_is_still_sent_to_while_its_server_cannot_be_asked(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation(presence_ttl_s=0.2, absence_ttl_s=0.2, stat_timeout_s=0.3, probe_interval_s=5.0)
    holder = federation.origin("far-holder", "/n", coordinate=at(10, 10))
    near = federation.origin("near", "/n")
    near.behave("status", code=404)
    assert federation.ask("/n/old").servers == ("far-holder",)
    for server in (holder, near):
        server.behave("hang_after_request")
    until_open(federation, "far-holder", "/n")
    until_open(federation, "near", "/n")
    heads = federation.heads("far-holder")
    assert federation.ask("/n/never-seen").servers == ("near", "far-holder")
    assert federation.ask("/n/old").servers[0] == "far-holder"
    assert federation.heads("far-holder") == heads


def test_what_nobody_knows_is_tried_again_later_if_the_operator_says_so(make_federation: MakeFederation) -> None:
    federation = make_federation(when_unknown="retry", stat_timeout_s=0.2, probe_interval_s=5.0)
    for name in ("a", "b"):
        federation.origin(name, "/n").behave("hang_after_request")
    until_open(federation, "a", "/n")
    until_open(federation, "b", "/n")
    told = federation.ask(federation.fresh("/n"))
    assert told.status == 429
    assert 1 <= int(dict(told.headers)["Retry-After"]) <= 5


def test_a_server_that_left_ends_what_asked_it_and_comes_back_without_its_past(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation()
    hung = federation.origin("hung", "/n")
    hung.behave("hang_after_request")
    federation.origin("other", "/n").behave("status", code=500)
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(federation.ask, "/n/object") for _ in range(8)]
        assert hung.wait_until(lambda: hung.in_hand == 1)
        federation.retire("hung")
        assert {one.result(WAIT_S).status for one in waiting} == {307}
    assert hung.wait_until(lambda: hung.open_connections == 0)
    hung.behave("ok")
    federation.advertise("hung")
    assert federation.ask("/n/object").first == "hung"


def test_its_end_ends_every_wait(make_federation: MakeFederation, pool: ThreadPoolExecutor) -> None:
    federation = make_federation()
    for name in ("a", "b"):
        federation.origin(name, "/n").behave("hang_after_request")
    before = Census().files
    waiting = [pool.submit(federation.ask, federation.fresh("/n")) for _ in range(20)]
    assert eventually(lambda: all(server.in_hand > 5 for server in federation.servers.values()))
    federation.close()
    assert {one.result(WAIT_S).status for one in waiting} == {307}
    assert Census().threads == frozenset()
    assert eventually(lambda: Census().files <= before)
