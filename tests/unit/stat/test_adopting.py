"""Another policy takes hold in place: at once, for all that is learned and begun from then on, and of nothing else."""

import threading
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from director_wsgi.limits.breaker import State
from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime.leases import Leases
from director_wsgi.stat.engine import StatEngine, StatPolicy
from director_wsgi.stat.evidence import Evidence, Lifetimes, Reason
from director_wsgi.stat.roster import INITIAL_SLOTS
from tests.unit.stat.fakes import ABSENT, LONG_S, Servers, eventually, present
from tests.unit.stat.world import CIRCUIT_OPEN, GONE, POLICY, REFUSED, TIMEOUT_S, TOUCHY, A, B, World, found

ABSENCE_S = POLICY.lifetimes.absence_s


def lifetimes(**changes: float) -> StatPolicy:
    return replace(POLICY, lifetimes=replace(POLICY.lifetimes, **changes))


def ask_once(world: World, server=A, path="/x", told=None) -> None:
    world.servers.answers[server.name] = told or present()
    world.ask(server, path=path)
    world.until(in_flight=0)
    del world.servers.answers[server.name]


def hold(world: World, count: int) -> list:
    """So many HEADs at A that wait for their answers."""
    first = len(world.servers.calls)
    for number in range(count):
        world.begin(A, path=f"/held/{first + number}")
    return world.servers.wait_for(first + count)[first:]


# -- the same again


def test_the_same_policy_again_touches_nothing(make_world):
    world = make_world(TOUCHY)
    ask_once(world)
    world.trip(B)
    before, known = world.engine.servers(), world.engine._roster.get(A.data_url)
    executor, terms = known.bulkhead._executor, world.engine._roster._terms
    world.engine.adopt(replace(TOUCHY, lifetimes=replace(TOUCHY.lifetimes), breaker=replace(TOUCHY.breaker)))
    assert world.engine.servers() == before
    assert (known.bulkhead._executor, world.engine._roster._terms) == (executor, terms)


def test_whatever_changes_no_server_is_met_anew(make_world):
    """Its slots, its threads and its connections are its own, whatever the policy."""
    world = make_world(slots=4)
    ask_once(world)
    for slots in (2, 9, 4):
        world.engine.adopt(replace(POLICY, slots=slots, timeout_s=slots))
        ask_once(world, path=f"/{slots}")
    assert (world.leases.statistics().builds, len(world.servers.clients)) == (1, 1)


def test_lanes_are_for_good(world):
    world.engine.adopt(replace(POLICY, lanes=1))
    assert world.engine.lanes.all.statistics().permits == POLICY.lanes


# -- how long a HEAD may take


def test_the_next_head_has_the_new_timeout_and_one_under_way_its_own(world):
    [first] = hold(world, 1)
    world.engine.adopt(replace(POLICY, timeout_s=7.0))
    [second] = hold(world, 1)
    world.clock.advance(0.5)
    assert (first.deadline.remaining_s(), second.deadline.remaining_s()) == (TIMEOUT_S - 0.5, 6.5)
    for call in (first, second):
        call.answer(present())


# -- what is remembered


def test_what_is_learned_from_now_on_lives_so_long_and_what_was_known_as_long_as_before(world):
    ask_once(world, path="/before")
    world.engine.adopt(lifetimes(presence_s=10.0))
    ask_once(world, path="/after")
    world.clock.advance(10.0)
    world.servers.answers["a"] = ABSENT
    assert world.ask(A, path="/before") == (found(),)
    assert world.ask(A, path="/after") == (GONE,)


def test_a_longer_life_raises_nobody_from_the_dead(world):
    ask_once(world, told=ABSENT)
    world.engine.adopt(lifetimes(absence_s=1000.0))
    world.clock.advance(ABSENCE_S)
    world.servers.answers["a"] = present()
    assert world.ask(A) == (found(),)


def test_a_presence_serves_a_sick_server_for_as_long_as_it_was_to_when_it_was_learned(make_world):
    world = make_world(TOUCHY)
    ask_once(world, path="/before")
    world.engine.adopt(replace(TOUCHY, lifetimes=replace(TOUCHY.lifetimes, stale_s=0.0)))
    ask_once(world, path="/after")
    world.clock.advance(TOUCHY.lifetimes.presence_s)
    world.trip(A)
    [before], [after] = world.ask(A, path="/before"), world.ask(A, path="/after")
    assert before.stale_s == TOUCHY.lifetimes.presence_s
    assert after == CIRCUIT_OPEN


def test_with_less_room_what_was_asked_for_longest_ago_goes(world):
    for number in range(5):
        ask_once(world, path=f"/{number}")
    world.engine.adopt(replace(POLICY, capacity=2))
    assert world.state(A).evidence == 2
    heads = len(world.servers.calls)
    assert [world.ask(A, path=f"/{number}") for number in (3, 4)] == [(found(),)] * 2
    assert len(world.servers.calls) == heads


def test_with_more_room_more_is_kept(make_world):
    world = make_world(capacity=1)
    world.engine.adopt(replace(POLICY, capacity=3))
    for number in range(3):
        ask_once(world, path=f"/{number}")
    assert world.state(A).evidence == 3


# -- writes: what was found before one is not believed after it, also if it may be remembered longer or less long now


@pytest.mark.parametrize("policy", [lifetimes(absence_s=1.0), replace(lifetimes(absence_s=1.0), timeout_s=0.1)])
def test_a_write_after_absences_became_shorter_outlives_those_that_are_longer(world, policy):
    ask_once(world, told=ABSENT)
    world.engine.adopt(policy)
    world.engine.forget_absence("/x")
    world.clock.advance(ABSENCE_S * 0.85)
    world.servers.answers["a"] = present()
    assert world.ask(A) == (found(),)


def test_a_write_after_absences_became_shorter_outlives_one_that_is_on_its_way(world):
    [call] = hold(world, 1)
    world.engine.adopt(replace(lifetimes(absence_s=5.0), timeout_s=0.1))
    world.engine.forget_absence(call.path)
    world.clock.advance(TIMEOUT_S)
    call.answer(ABSENT)
    world.until(in_flight=0)
    world.clock.advance(4.4)
    world.servers.answers["a"] = present()
    assert world.ask(A, path=call.path) == (found(),)


def test_a_write_before_absences_became_longer_outlives_one_that_is_on_its_way(world):
    [call] = hold(world, 1)
    world.engine.forget_absence(call.path)
    world.engine.adopt(lifetimes(absence_s=1000.0))
    world.clock.advance(TIMEOUT_S)
    call.answer(ABSENT)
    world.until(in_flight=0)
    world.clock.advance(ABSENCE_S + 0.001)  # the write is forgotten, and so must be what was found before it
    world.servers.answers["a"] = present()
    assert world.ask(A, path=call.path) == (found(),)


def test_when_what_was_remembered_longer_is_gone_writes_are_forgotten_as_soon_as_may_be(world):
    world.engine.adopt(lifetimes(absence_s=1.0))
    world.clock.advance(ABSENCE_S + TIMEOUT_S)
    world.engine.forget_absence("/x")
    world.clock.advance(1.0 + TIMEOUT_S + 0.001)
    world.servers.answers["a"] = ABSENT
    heads = len(world.servers.calls)
    assert [world.ask(A) for _ in range(2)] == [(GONE,)] * 2
    assert len(world.servers.calls) == heads + 1


# -- breakers


def test_an_open_breaker_stays_open_and_is_probed_when_it_was_to_be(make_world):
    world = make_world(TOUCHY)
    world.trip(A)
    before = world.breaker(A)
    world.engine.adopt(replace(TOUCHY, breaker=replace(TOUCHY.breaker, backoff_cap_s=60.0)))
    assert world.breaker(A) == before
    assert world.ask(A) == (CIRCUIT_OPEN,)


def test_the_next_pause_goes_by_the_new_cap(make_world):
    world = make_world(TOUCHY)
    world.trip(A)
    world.engine.adopt(replace(TOUCHY, breaker=replace(TOUCHY.breaker, backoff_cap_s=1.25)))
    world.clock.advance(1.0)
    world.ask(A)
    world.until(probed=1, in_flight=0)
    assert eventually(lambda: world.breaker(A).state is State.OPEN)
    assert world.breaker(A).next_probe_in_s == 1.25


def test_a_server_met_later_trips_by_the_new_settings(make_world):
    world = make_world(TOUCHY)
    world.engine.adopt(replace(TOUCHY, breaker=replace(TOUCHY.breaker, minimum_volume=1)))
    world.servers.answers["a"] = REFUSED
    world.ask(A)
    world.until(in_flight=0)
    assert world.breaker(A).state is State.OPEN


# -- slots and threads


def test_with_fewer_slots_no_head_is_cut_short_and_none_begins_until_enough_have_ended(make_world):
    world = make_world(slots=3)
    calls = hold(world, 3)
    world.engine.adopt(replace(POLICY, slots=1))
    waiting = world.begin(A, path="/late")
    assert eventually(lambda: world.state(A).waiting == 1)
    for held, call in ((2, calls[0]), (1, calls[1])):
        assert not call.is_aborted
        call.answer(present())
        assert eventually(lambda: world.state(A).slots_in_use == held)  # noqa: B023, it is awaited here
    assert (world.state(A).waiting, len(world.servers.calls)) == (1, 3)
    calls[2].answer(present())
    world.servers.wait_for(4)[3].answer(present())
    assert waiting.result(LONG_S) == (found(),)


def test_with_more_slots_who_waits_gets_one_at_once_and_a_thread_and_a_connection_with_it(make_world):
    """More than the server's executor could have threads before: it would let the job wait where nobody sees it."""
    world = make_world(slots=2)
    calls = hold(world, 2)
    waiting = [world.begin(A, path=f"/late/{number}") for number in range(3)]
    assert eventually(lambda: world.state(A).waiting == 3)
    world.engine.adopt(replace(POLICY, slots=5))
    late = world.servers.wait_for(5)[2:]
    assert world.state(A).slots_in_use == 5  # and each of them is with the server
    assert [client.connections for client in world.servers.clients] == [5]
    for call in (*calls, *late):
        call.answer(present())
    assert [one.result(LONG_S) for one in waiting] == [(found(),)] * 3


def test_with_less_connections_to_keep_the_client_is_told_so(make_world):
    world = make_world(slots=5)
    ask_once(world)
    world.engine.adopt(replace(POLICY, slots=2))
    assert [client.connections for client in world.servers.clients] == [2]


def test_a_server_met_later_has_as_many_slots_and_connections_as_the_new_policy_says(make_world):
    world = make_world(slots=2)
    world.engine.adopt(replace(POLICY, slots=7))
    ask_once(world)
    assert (world.slots(A).limit, world.servers.clients[0].connections) == (7, 7)


def test_a_server_that_is_met_while_the_policy_changes_has_the_new_one(make_world, monkeypatch):
    world = make_world(slots=2)
    build = world.engine._roster._build_client

    def late(connections: int):
        world.engine.adopt(replace(POLICY, slots=7, capacity=1))
        return build(connections)

    monkeypatch.setattr(world.engine._roster, "_build_client", late)
    ask_once(world)
    ask_once(world, path="/y")
    assert (world.slots(A).limit, world.servers.clients[0].connections, world.state(A).evidence) == (7, 7, 1)


def test_never_fewer_than_one_slot_for_each_worker(make_world):
    world = make_world(slots=8)
    ask_once(world)
    world.engine.share(4)
    world.engine.adopt(replace(POLICY, slots=1))
    ask_once(world, B)
    assert (world.slots(A).limit, world.slots(B).limit) == (1, 1)


def test_what_was_found_out_of_a_server_stays_while_it_is_within_the_bounds(make_world):
    policy = replace(POLICY, slots=100, adapts=True)
    world = make_world(policy)
    ask_once(world, told=REFUSED)
    learned = world.slots(A).limit
    assert learned == INITIAL_SLOTS // 2
    for slots in (50, 200, 100):
        world.engine.adopt(replace(policy, slots=slots))
        assert world.slots(A).limit == learned
    world.engine.adopt(replace(policy, slots=5))
    assert world.slots(A).limit == 5


def test_a_server_that_may_not_adapt_any_more_gets_all_of_them_and_may_lose_them_again(make_world):
    policy = replace(POLICY, slots=30, adapts=True)
    world = make_world(policy)
    ask_once(world)
    assert world.slots(A).limit == INITIAL_SLOTS
    world.engine.adopt(replace(policy, adapts=False))
    assert world.slots(A).limit == 30
    world.engine.adopt(policy)
    ask_once(world, path="/y", told=REFUSED)
    assert world.slots(A).limit == 15


def test_the_worker_has_its_share_of_the_new_threads(make_world):
    world = make_world(threads=8)
    world.engine.share(2)
    world.engine.adopt(replace(POLICY, threads=20))
    assert world.engine.statistics().thread_limit == 10
    world.engine.share(5)
    assert world.engine.statistics().thread_limit == 4


def test_with_fewer_threads_idle_ones_end_and_with_more_another_head_begins(make_world):
    world = make_world(slots=8, threads=4)
    [call] = hold(world, 1)
    world.servers.answers["b"] = present()
    world.ask(B)
    assert eventually(lambda: world.state(B).threads == 1 and not world.state(B).slots_in_use)
    world.engine.adopt(replace(POLICY, slots=8, threads=1))
    assert eventually(lambda: world.state(B).threads == 0)
    assert world.ask(B, path="/late") == (Evidence.unknown(Reason.NO_THREAD),)
    world.engine.adopt(replace(POLICY, slots=8, threads=4))
    assert world.ask(B, path="/later") == (found(),)
    call.answer(present())


# -- all at once


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("share"), st.integers(1, 9), st.booleans()),
            st.tuples(st.just("adopt"), st.integers(1, 60), st.booleans()),
            st.tuples(st.just("lost"), st.just(0), st.booleans()),
        ),
        max_size=30,
    )
)
def test_whatever_changes_in_whatever_order_a_server_has_what_it_may(steps):
    policy, workers, leases = StatPolicy(slots=20), 1, Leases()
    engine = StatEngine(policy=policy, build_client=Servers().client, leases=leases)
    try:
        known = engine._roster.meet(A, Deadline.after(LONG_S))
        for what, number, adapts in steps:
            if what == "share":
                workers = number
                engine.share(workers)
            elif what == "adopt":
                policy = replace(policy, slots=number, adapts=adapts, threads=number)
                engine.adopt(policy)
            else:
                known.health.limit.dropped()
                known.heed_limit()
            most = -(-policy.slots // workers)
            assert (1 if policy.adapts else most) <= known.bulkhead.slots.limit <= most
            assert known.bulkhead.slots.limit == known.health.limit.limit
            assert known.bulkhead.most == policy.slots
            assert engine.statistics().thread_limit == -(-policy.threads // workers)
    finally:
        engine.close()
        leases.close(Deadline.after(LONG_S))


def test_while_it_changes_again_and_again_every_asker_gets_an_answer(make_world):
    """The two threads that change things in a worker, and those that ask."""
    world = make_world(TOUCHY)
    world.servers.answers.update(a=present(), b=present())
    over = threading.Event()

    def ask(worker: int) -> int:
        count = 0
        while not over.is_set():
            answers = world.ask(A, B, path=f"/{worker}/{count}")
            assert answers == (found(), found())
            count += 1
        return count

    def share() -> None:
        number = 0
        while not over.is_set():
            number += 1
            world.engine.share(number % 3 + 1)

    asking = [world.pool.submit(ask, worker) for worker in range(4)]
    sharing = world.pool.submit(share)
    for number in range(300):
        world.engine.adopt(replace(TOUCHY, slots=number % 7 + 1, threads=number % 50 + 100, capacity=number % 11 + 1))
    world.engine.adopt(replace(TOUCHY, slots=6, lifetimes=Lifetimes(presence_s=1.0)))
    over.set()
    assert all(one.result(LONG_S) for one in asking)
    sharing.result(LONG_S)
    world.engine.share(1)
    assert [world.slots(server).limit for server in (A, B)] == [6, 6]
