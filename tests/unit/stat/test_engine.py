import threading

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Failure, OutboundError
from director_wsgi.stat.evidence import Evidence, Reason
from tests.unit.stat.fakes import (
    ABSENT,
    LONG_S,
    eventually,
    present,
    server_ad,
)
from tests.unit.stat.world import GONE, LEFT, POLICY, TIMEOUT_S, A, B, C, World, at_once, found


def test_each_answer_stands_at_its_servers_place_in_whatever_order_they_come(world):
    asking = world.begin(A, B, C)
    calls = {call.host: call for call in world.servers.wait_for(3)}
    for number, host in enumerate("cab"):
        calls[host].answer(present(number))
    assert asking.result(LONG_S) == (found(1), found(2), found(0))


def test_with_nobody_to_ask_nothing_is_known(world):
    assert world.ask() == ()


def test_every_server_is_asked_before_any_is_waited_for(world):
    """The first has no slot free; the third is asked all the same."""
    busy = [world.begin(A, path=f"/{number}") for number in range(POLICY.slots)]
    world.servers.wait_for(POLICY.slots)
    asking = world.begin(A, B, C)
    calls = world.servers.wait_for(POLICY.slots + 2)
    assert {call.host for call in calls[POLICY.slots :]} == {"b", "c"}
    world.servers.answers["a"] = present()
    for call in calls:
        call.answer(present())
    assert asking.result(LONG_S) == (found(), found(), found())
    assert all(one.result(LONG_S) == (found(),) for one in busy)


def test_no_more_heads_are_under_way_at_a_server_than_it_has_slots(world):
    asking = [world.begin(A, path=f"/{number}") for number in range(POLICY.slots + 3)]
    world.servers.wait_for(POLICY.slots)
    assert eventually(lambda: world.slots(A).waiting == 3)
    assert len(world.servers.calls) == POLICY.slots
    for number in range(POLICY.slots + 3):
        world.servers.wait_for(min(number + POLICY.slots, POLICY.slots + 3))[number].answer(present())
    assert [one.result(LONG_S) for one in asking] == [(found(),)] * 5


def test_a_busy_server_is_unknown_for_want_of_a_slot_and_the_others_answer(world):
    for number in range(POLICY.slots):
        world.begin(A, path=f"/{number}", deadline=at_once()).result(LONG_S)
    world.servers.answers["b"] = present()
    world.ask(B)
    assert world.ask(A, B, deadline=at_once()) == (Evidence.unknown(Reason.NO_SLOT), found())


def test_an_asker_leaves_at_its_deadline_with_what_has_come(world):
    world.servers.answers["b"] = present()
    world.ask(B)
    assert world.ask(A, B, C, deadline=at_once()) == (LEFT, found(), LEFT)


def test_a_head_has_an_end_of_its_own_whatever_its_askers_deadline(world):
    world.ask(A, deadline=at_once())
    [call] = world.servers.wait_for(1)
    assert call.deadline.at == world.clock() + TIMEOUT_S


def test_an_answer_that_comes_after_its_asker_has_left_is_evidence_for_the_next(world):
    assert world.ask(A, deadline=at_once()) == (LEFT,)
    [call] = world.servers.wait_for(1)
    call.answer(present())
    assert eventually(lambda: world.engine.statistics().in_flight == 0)
    assert world.ask(A) == (found(),)
    assert len(world.servers.calls) == 1


def test_after_the_deadline_nobody_is_asked_but_memory_answers(world):
    world.servers.answers["a"] = present()
    world.ask(A)
    assert world.ask(A, B, deadline=Deadline.after(-1)) == (found(), Evidence.unknown(Reason.NOT_ASKED))
    assert [call.host for call in world.servers.calls] == ["a"]


@pytest.mark.parametrize(("answer", "evidence"), [(present(), found()), (ABSENT, GONE)])
def test_what_is_remembered_is_not_asked_again(world, answer, evidence):
    world.servers.answers["a"] = answer
    assert [world.ask(A) for _ in range(3)] == [(evidence,)] * 3
    assert len(world.servers.calls) == 1


def test_a_failure_is_remembered_for_a_moment_only(world):
    world.servers.answers["a"] = OutboundError(Failure.REFUSED)
    assert [world.ask(A) for _ in range(2)] == [(Evidence.unknown(Reason.REFUSED),)] * 2
    assert len(world.servers.calls) == 1
    world.clock.advance(1.001)
    world.servers.answers["a"] = present()
    assert world.ask(A) == (found(),)


@pytest.mark.parametrize("asks_as", [("token-b", "b"), ("public", None)])
def test_what_one_token_found_is_told_to_nobody_else(world, asks_as):
    authority, bearer = asks_as
    world.servers.answers["a"] = present()
    world.ask(A, bearer="a", authority="token-a")
    world.servers.answers["a"] = ABSENT
    assert world.ask(A, bearer=bearer, authority=authority) == (GONE,)
    assert world.ask(A, bearer="a", authority="token-a") == (found(),)
    sent = [call.headers.get("Authorization") for call in world.servers.calls]
    assert sent == ["Bearer a", f"Bearer {bearer}" if bearer else None]


def test_a_server_behind_a_broker_is_never_asked(world):
    hidden = server_ad("hidden", broker_url="https://broker.test")
    assert world.ask(hidden) == (Evidence.unknown(Reason.NOT_ASKED),)
    assert world.servers.clients == []


def test_a_write_makes_an_absence_unbelievable_for_every_authority_and_server(world):
    world.servers.answers.update(a=ABSENT, b=ABSENT)
    world.ask(A, B)
    world.ask(A, bearer="t", authority="t")
    world.engine.forget_absence("/x")
    world.servers.answers.update(a=present(), b=present())
    assert world.ask(A, B) == (found(), found())
    assert world.ask(A, bearer="t", authority="t") == (found(),)


def test_a_write_leaves_presences_and_other_paths_alone(world):
    world.servers.answers.update(a=present(), b=ABSENT)
    world.ask(A)
    world.ask(B, path="/other")
    world.engine.forget_absence("/x")
    assert world.ask(A) == (found(),)
    assert world.ask(B, path="/other") == (GONE,)
    assert len(world.servers.calls) == 2


def test_an_absence_found_before_a_write_and_told_after_it_is_not_believed(world):
    """The HEAD 1. begins, the write 2. is let through, the server 3. answers what was true before."""
    asking = world.begin(A)
    [call] = world.servers.wait_for(1)
    world.engine.forget_absence("/x")
    world.clock.advance(TIMEOUT_S)
    call.answer(ABSENT)
    assert asking.result(LONG_S) == (GONE,)
    world.servers.answers["a"] = present()
    world.clock.advance(POLICY.lifetimes.absence_s - 0.001)
    assert world.ask(A) == (found(),)


def test_long_after_a_write_an_absence_is_remembered_again(world):
    world.servers.answers["a"] = ABSENT
    world.engine.forget_absence("/x")
    world.clock.advance(POLICY.lifetimes.absence_s + TIMEOUT_S + 0.001)
    assert [world.ask(A) for _ in range(2)] == [(GONE,)] * 2
    assert len(world.servers.calls) == 1


def test_a_server_has_one_client_with_as_many_connections_as_slots(world):
    world.servers.answers["a"] = present()
    for number in range(3):
        world.ask(A, path=f"/{number}")
    assert [client.connections for client in world.servers.clients] == [POLICY.slots]


def test_askers_that_meet_at_a_new_server_share_its_slots(world):
    barrier = threading.Barrier(4)

    def ask(number: int):
        barrier.wait(LONG_S)
        return world.ask(A, path=f"/{number}")

    world.servers.answers["a"] = present()
    asking = [world.pool.submit(ask, number) for number in range(4)]
    assert [one.result(LONG_S) for one in asking] == [(found(),)] * 4
    assert len(world.servers.clients) == 1
    assert world.leases.statistics().live == 1


def test_what_belongs_to_servers_gone_is_given_back_and_the_rest_kept(world):
    world.servers.answers.update(a=present(), b=present())
    world.ask(A, B)
    a, b = sorted(world.servers.clients, key=lambda client: client is not world.servers.clients[0])
    world.engine.retain([B.data_url])
    assert eventually(lambda: [client.is_closed for client in (a, b)] == [True, False])
    assert (world.engine.statistics().servers, world.leases.statistics().live) == (1, 1)
    assert world.ask(B) == (found(),)
    assert len(world.servers.of("b")) == 1


def test_a_server_that_comes_back_is_asked_afresh(world):
    world.servers.answers["a"] = present()
    world.ask(A)
    world.engine.retain([])
    world.servers.answers["a"] = ABSENT
    assert world.ask(A) == (GONE,)


def test_a_head_at_a_server_gone_ends_and_its_asker_is_told(world):
    asking = world.begin(A)
    world.servers.wait_for(1)
    world.engine.retain([])
    assert asking.result(LONG_S) == (Evidence.unknown(Reason.CLOSED),)


def test_whoever_waits_for_a_slot_of_a_server_gone_is_told(world):
    asking = [world.begin(A, path=f"/{number}") for number in range(POLICY.slots + 1)]
    world.servers.wait_for(POLICY.slots)
    assert eventually(lambda: world.slots(A).waiting == 1)
    world.engine.retain([])
    assert [one.result(LONG_S) for one in asking] == [(Evidence.unknown(Reason.CLOSED),)] * 3


def test_after_its_end_an_engine_asks_nobody_and_holds_nothing():
    world = World()
    world.servers.answers["a"] = present()
    world.ask(A)
    world.close()
    world.close()
    assert world.ask(A, B) == (Evidence.unknown(Reason.CLOSED),) * 2
    assert len(world.servers.calls) == 1
    assert not [thread.name for thread in threading.enumerate() if "a.test" in thread.name]


def test_an_engine_that_ends_while_it_is_asked_keeps_nothing():
    """An asker 1. builds what a server needs, the engine 2. ends, the asker 3. wants to keep it."""
    world = World()
    build = world.servers.client

    def build_and_end(connections: int):
        world.engine.close()
        return build(connections)

    world.engine._roster._build_client = build_and_end
    assert world.ask(A) == (Evidence.unknown(Reason.CLOSED),)
    assert world.leases.statistics().live == 0
    world.close()


def test_a_token_shows_in_no_representation(world):
    world.begin(A, bearer="s3cret", authority="digest")
    world.servers.wait_for(1)
    shown = (
        repr(world.engine) + repr(world.engine._roster) + repr(world.engine.servers()) + repr(world.engine.statistics())
    )
    assert "s3cret" not in shown
    assert "digest" not in shown
