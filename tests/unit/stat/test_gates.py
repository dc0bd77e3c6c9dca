"""The other gates: memory that ends, the right to wait, how much is enough, threads, and what can be seen of them."""

import pytest

from director_wsgi.limits.breaker import State
from director_wsgi.limits.deadline import Deadline
from director_wsgi.stat import asking, roster
from director_wsgi.stat.engine import Patience
from director_wsgi.stat.evidence import Evidence, Reason
from director_wsgi.stat.roster import INITIAL_SLOTS, LEAST_SLOTS
from director_wsgi.stat.server import IDLE_S
from tests.unit.stat.fakes import (
    ABSENT,
    LONG_S,
    eventually,
    present,
    server_ad,
)
from tests.unit.stat.world import DUE_S, LEFT, OVER_S, POLICY, REFUSED, TOUCHY, A, B, C, at_once, found

# -- memory that is about to end


def test_what_is_about_to_be_forgotten_is_asked_again_once_and_nobody_waits_for_it(world):
    world.servers.answers["a"] = present()
    world.ask(A)
    del world.servers.answers["a"]
    world.clock.advance(DUE_S)
    assert [world.ask(A) for _ in range(3)] == [(found(),)] * 3
    [call] = world.servers.wait_for(2)[1:]
    call.answer(present(8))
    world.until(in_flight=0, refreshed=1, asked=2)
    world.clock.advance(60 - DUE_S + 1)
    assert world.ask(A) == (found(8),)
    assert len(world.servers.calls) == 2


def test_who_asks_while_it_is_asked_again_and_memory_has_ended_joins(world):
    world.servers.answers["a"] = present()
    world.ask(A)
    del world.servers.answers["a"]
    world.clock.advance(DUE_S)
    world.ask(A)
    world.clock.advance(OVER_S - DUE_S)
    asking = world.begin(A)
    world.until(joined=1)
    world.servers.wait_for(2)[1].answer(present(8))
    assert asking.result(LONG_S) == (found(8),)


def test_nothing_is_asked_again_early_where_no_slot_is_free(world):
    world.servers.answers["a"] = present()
    world.ask(A)
    del world.servers.answers["a"]
    for number in range(POLICY.slots):
        world.ask(A, path=f"/fill/{number}", deadline=at_once())
    world.clock.advance(DUE_S)
    assert world.ask(A) == (found(),)
    assert (world.slots(A).waiting, world.engine.statistics().refreshed) == (0, 0)


def test_nothing_is_asked_again_early_of_a_server_that_is_not_asked(make_world):
    world = make_world(TOUCHY)
    world.servers.answers["a"] = present()
    world.ask(A)
    world.clock.advance(DUE_S)
    world.trip(A)
    asked = len(world.servers.calls)
    assert world.ask(A) == (found(),)
    assert (len(world.servers.calls), world.engine.statistics().refreshed) == (asked, 0)


def test_asking_again_in_vain_leaves_what_is_remembered(world):
    world.servers.answers["a"] = present()
    world.ask(A)
    world.clock.advance(DUE_S)
    world.servers.answers["a"] = REFUSED
    world.ask(A)
    world.until(in_flight=0, refreshed=1)
    assert world.ask(A) == (found(),)


# -- the right to wait


def test_without_a_permit_an_asker_does_not_wait_and_its_head_becomes_evidence(make_world):
    world = make_world(lanes=1)
    with world.engine.lanes.take_nowait():
        assert world.ask(A, namespace="/calm") == (LEFT,)
    world.servers.wait_for(1)[0].answer(present())
    world.until(in_flight=0, left=1)
    assert world.ask(A) == (found(),)
    assert len(world.servers.calls) == 1


def test_without_a_permit_memory_answers_all_the_same(make_world):
    world = make_world(lanes=1)
    world.servers.answers["a"] = present()
    world.ask(A)
    with world.engine.lanes.take_nowait():
        assert world.ask(A, B) == (found(), LEFT)


def test_who_waits_holds_one_permit_in_the_name_of_its_namespace(world):
    asking, calls = world.asked(A, B, namespace="/ns")
    assert eventually(lambda: world.engine.lanes.long.in_use("/ns") == 1)
    for call in calls:
        call.answer(ABSENT)
    asking.result(LONG_S)
    assert world.engine.lanes.long.in_use("/ns") == 0


# -- how much is enough


def test_for_who_wants_the_first_one_presence_is_enough_and_the_other_heads_go_on(world):
    asking, calls = world.asked(A, B, patience=Patience.FIRST)
    by_host = {call.host: call for call in calls}
    by_host["b"].answer(present())
    assert asking.result(LONG_S) == (LEFT, found())
    by_host["a"].answer(present(1))
    world.until(in_flight=0)
    assert world.ask(A) == (found(1),)


def test_for_who_wants_the_first_a_presence_that_is_remembered_asks_nobody(world):
    world.servers.answers["a"] = present()
    world.ask(A)
    assert world.ask(A, B, patience=Patience.FIRST) == (found(), Evidence.unknown(Reason.NOT_ASKED))
    assert len(world.servers.calls) == 1


def test_who_chooses_does_not_wait_for_a_straggler_beyond_the_grace(world, monkeypatch):
    monkeypatch.setattr(asking, "LEAST_GRACE_S", 0.001)
    monkeypatch.setattr(asking, "MOST_GRACE_S", 0.001)
    waiting, calls = world.asked(A, B)
    next(call for call in calls if call.host == "b").answer(present())
    assert waiting.result(LONG_S) == (LEFT, found())
    assert not any(call.is_aborted for call in calls)


# -- threads, slots that adapt


def test_where_the_worker_has_no_thread_left_nothing_is_asked(make_world):
    world = make_world(threads=1)
    world.ask(A, deadline=at_once())
    assert world.ask(B) == (Evidence.unknown(Reason.NO_THREAD),)
    assert world.breaker(B).volume == 0
    world.servers.wait_for(1)[0].answer(present())
    world.until(in_flight=0)
    world.servers.answers["b"] = present()
    assert world.ask(B) == (found(),)


def test_a_server_that_fails_is_never_given_less_than_shows_a_relapse_soon(make_world):
    world = make_world(slots=16, adapts=True)
    world.servers.answers["a"] = REFUSED
    for number in range(5):
        world.ask(A, path=f"/{number}")
        world.clock.advance(1)
    assert world.slots(A).limit == LEAST_SLOTS


def test_a_server_that_fails_is_asked_less_at_once_and_more_again_when_it_answers(make_world, monkeypatch):
    monkeypatch.setattr(roster, "LEAST_SLOTS", 1)
    world = make_world(slots=8, adapts=True)
    world.servers.answers["a"] = REFUSED
    limits = []
    for number in range(3):
        world.ask(A, path=f"/{number}")
        world.clock.advance(1)
        limits.append(world.slots(A).limit)
    assert limits == [4, 2, 1]
    world.servers.answers["a"] = present()
    world.ask(A, path="/well")
    assert world.slots(A).limit == world.state(A).slot_limit == 2


def test_a_server_never_gets_more_at_once_than_it_may(make_world):
    world = make_world(slots=1, adapts=True)
    world.servers.answers["a"] = present()
    for number in range(5):
        world.ask(A, path=f"/{number}")
    assert world.slots(A).limit == 1


@pytest.mark.parametrize(("adapts", "limit"), [(True, INITIAL_SLOTS), (False, 100)])
def test_a_server_that_adapts_begins_with_few_slots(make_world, adapts, limit):
    world = make_world(slots=100, adapts=adapts)
    world.servers.answers["a"] = present()
    world.ask(A)
    assert world.slots(A).limit == world.state(A).slot_limit == limit


def test_threads_of_a_server_that_is_not_asked_for_a_while_are_given_back(world):
    world.servers.answers.update(a=present(), b=present())
    world.ask(A, B)
    world.until(in_flight=0)
    world.clock.advance(IDLE_S)
    world.ask(B, path="/y")
    world.until(in_flight=0)
    world.engine.retain([A.data_url, B.data_url])
    assert [world.state(server).threads for server in (A, B)] == [0, 1]
    assert world.ask(A, path="/y") == (found(),)


# -- what can be seen


def test_the_counts_tell_which_gate_answered(world):
    world.servers.answers["a"] = present()
    hidden = server_ad("hidden", broker_url="https://broker.test")
    world.ask(A)
    world.ask(A, hidden)
    for number in range(POLICY.slots):
        world.ask(B, path=f"/{number}", deadline=at_once())
    world.ask(B, path="/0", deadline=at_once())
    world.ask(B, deadline=at_once())
    world.ask(C, deadline=Deadline.after(-1))
    told = world.engine.statistics()
    assert (told.remembered, told.asked, told.joined, told.not_asked, told.no_slot, told.left) == (1, 3, 1, 2, 1, 3)
    assert (told.in_flight, told.servers) == (2, 2)


def test_the_state_of_a_server_tells_how_it_is_doing(world):
    asking, [call] = world.asked(A)
    world.clock.advance(0.5)
    call.answer(present())
    asking.result(LONG_S)
    fill_calls = [world.ask(A, path=f"/{number}", deadline=at_once()) for number in range(POLICY.slots)]
    waiting = world.begin(A, path="/waiting")
    assert eventually(lambda: world.slots(A).waiting == 1)
    [state] = world.engine.servers()
    assert state.breaker == world.breaker(A)
    assert (state.data_url, state.host) == (A.data_url, "a.test:8443")
    assert (state.slots_in_use, state.slot_limit, state.waiting, state.threads) == (2, 2, 1, 2)
    assert (state.latency_s, state.breaker.state, state.breaker.volume) == (0.5, State.CLOSED, 1)
    assert fill_calls == [(LEFT,)] * 2
    world.engine.retain([])
    waiting.result(LONG_S)


def test_who_was_never_asked_has_no_state(world):
    world.ask(server_ad("hidden", broker_url="https://broker.test"))
    assert world.engine.servers() == ()
    assert world.engine.health_of(A.data_url) is None
