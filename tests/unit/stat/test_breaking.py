"""Servers that are not asked since they do not answer."""

from dataclasses import replace

import pytest

from director_wsgi.limits.breaker import State
from director_wsgi.stat.engine import Patience
from director_wsgi.stat.health import Sickness
from tests.unit.stat.fakes import (
    ABSENT,
    LONG_S,
    eventually,
    present,
    timed_out,
)
from tests.unit.stat.world import CIRCUIT_OPEN, GONE, OVER_S, TOUCHY, TRIPS, A, B, found

# -- the breaker


def test_who_stands_in_the_queue_when_the_breaker_opens_is_not_asked_for(make_world):
    """Else each in turn would wait for a server that has just been found to hang."""
    world = make_world(replace(TOUCHY, slots=1))
    first, calls = world.asked(A, path="/first")
    queued = world.begin(A, path="/queued")
    assert eventually(lambda: world.state(A).waiting == 1)
    for _ in range(TRIPS):
        world.engine.health_of(A.data_url).breaker.hint_sick("seen elsewhere")
    calls[0].answer(present())
    assert first.result(LONG_S) == (found(),)
    assert queued.result(LONG_S) == (CIRCUIT_OPEN,)
    assert len(world.servers.calls) == 1


def test_who_keeps_failing_is_not_asked_any_more(make_world):
    world = make_world(TOUCHY)
    world.trip(A)
    assert world.ask(A) == (CIRCUIT_OPEN,)
    assert len(world.servers.calls) == TRIPS
    assert world.breaker(A).reason is Sickness.REFUSING
    assert world.engine.statistics().circuit_open == 1


def test_an_open_breaker_is_no_wait_and_needs_no_permit(make_world):
    world = make_world(TOUCHY)
    world.trip(A)
    taken = world.engine.lanes.all.statistics().taken
    assert world.ask(A) == (CIRCUIT_OPEN,)
    assert world.engine.lanes.all.statistics().taken == taken


def test_while_a_server_cannot_be_asked_what_it_had_stands_in_for_the_answer(make_world):
    world = make_world(TOUCHY)
    world.servers.answers["a"] = present()
    world.ask(A)
    world.clock.advance(OVER_S)
    world.trip(A)
    assert world.ask(A) == (replace(found(), stale_s=OVER_S),)
    assert world.ask(A, path="/other") == (CIRCUIT_OPEN,)
    assert world.ask(A, bearer="t", authority="t") == (CIRCUIT_OPEN,)
    assert (world.engine.statistics().circuit_open, world.engine.statistics().stale) == (3, 1)


@pytest.mark.parametrize("patience", Patience)
def test_what_stands_in_is_not_enough_to_stop_asking_the_others(make_world, patience):
    world = make_world(TOUCHY)
    world.servers.answers["a"] = present()
    world.ask(A)
    world.clock.advance(OVER_S)
    world.trip(A)
    waiting = world.begin(A, B, patience=patience)
    assert eventually(lambda: world.servers.of("b"))
    world.servers.of("b")[0].answer(ABSENT)
    assert waiting.result(LONG_S) == (replace(found(), stale_s=OVER_S), GONE)


def test_a_breaker_that_is_open_still_lets_fresh_memory_answer(make_world):
    world = make_world(TOUCHY)
    world.servers.answers["a"] = present()
    world.ask(A)
    world.trip(A)
    assert world.ask(A) == (found(),)


def test_after_the_back_off_one_probe_goes_out_that_nobody_waits_for(make_world):
    world = make_world(TOUCHY)
    world.trip(A)
    del world.servers.answers["a"]
    world.clock.advance(1)
    assert [world.ask(A) for _ in range(3)] == [(CIRCUIT_OPEN,)] * 3
    [call] = world.servers.wait_for(TRIPS + 1)[TRIPS:]
    assert (call.path, world.breaker(A).state) == ("/x", State.HALF_OPEN)
    assert world.engine.statistics().probed == 1
    call.answer(ABSENT)
    assert eventually(lambda: world.breaker(A).state is State.CLOSED)
    assert world.ask(A) == (GONE,)
    assert len(world.servers.calls) == TRIPS + 1


def test_a_probe_that_fails_leaves_the_breaker_open_for_longer(make_world):
    world = make_world(TOUCHY)
    world.trip(A)
    del world.servers.answers["a"]
    world.clock.advance(1)
    world.ask(A)
    world.servers.wait_for(TRIPS + 1)[TRIPS].answer(timed_out())
    assert eventually(lambda: world.breaker(A).state is State.OPEN)
    assert (world.breaker(A).reason, world.breaker(A).next_probe_in_s) == (Sickness.STALLING, 2.0)


def test_a_probe_asks_for_what_the_server_had_and_nobody_needs_a_token_for(make_world):
    world = make_world(TOUCHY)
    world.servers.answers["a"] = present()
    world.ask(A, path="/public")
    world.ask(A, path="/secret", bearer="t", authority="t")
    world.trip(A)
    del world.servers.answers["a"]
    asked = len(world.servers.calls)
    world.clock.advance(100)
    world.ask(A, path="/other", bearer="t", authority="t")
    [call] = world.servers.wait_for(asked + 1)[asked:]
    assert (call.path, call.headers.get("Authorization")) == ("/public", None)


def test_a_probe_that_finds_its_question_being_asked_gives_its_pass_back(make_world):
    """A HEAD that was under way before the breaker opened says nothing of now; the next asker may probe."""
    world = make_world(TOUCHY)
    asking, [call] = world.asked(A)
    world.trip(A)
    world.clock.advance(1)
    assert world.ask(A) == (CIRCUIT_OPEN,)
    assert (world.breaker(A).state, world.engine.statistics().probed) == (State.OPEN, 0)
    call.answer(present())
    assert asking.result(LONG_S) == (found(),)
    world.servers.answers["a"] = ABSENT
    world.ask(A, path="/next")
    assert eventually(lambda: world.breaker(A).state is State.CLOSED)


def test_a_probe_that_cannot_be_launched_gives_its_pass_back(make_world, monkeypatch):
    world = make_world(TOUCHY)
    world.trip(A)
    world.clock.advance(1)

    def broken(_flight):
        raise MemoryError

    monkeypatch.setattr("director_wsgi.stat.flight.HeadFlight.launch", lambda _self, flight: broken(flight))
    with pytest.raises(MemoryError):
        world.ask(A)
    assert world.breaker(A).state is State.OPEN


def test_a_probe_at_a_server_that_is_given_back_decides_nothing(make_world, books):
    world = make_world(TOUCHY)
    world.trip(A)
    del world.servers.answers["a"]
    world.clock.advance(1)
    world.ask(A)
    world.servers.wait_for(TRIPS + 1)
    world.engine.retain([])
    assert eventually(lambda: books.of(0)[-1] == ["undecided"])


def test_a_server_that_advertises_itself_is_tried_at_once(make_world):
    world = make_world(TOUCHY)
    world.trip(A)
    world.engine.heard_from(A.data_url)
    world.engine.heard_from("https://nobody-asked.test")
    world.servers.answers["a"] = present()
    assert world.ask(A) == (CIRCUIT_OPEN,)
    assert eventually(lambda: world.breaker(A).state is State.CLOSED)
    assert world.ask(A) == (found(),)


def test_who_answers_slowly_is_not_asked_any_more_either(make_world):
    world = make_world(TOUCHY)
    for number in range(TRIPS):
        asking, [call] = world.asked(A, path=f"/{number}")
        world.clock.advance(1.5)
        call.answer(present())
        assert asking.result(LONG_S) == (found(),)
    assert (world.breaker(A).state, world.breaker(A).reason) == (State.OPEN, "slow")
