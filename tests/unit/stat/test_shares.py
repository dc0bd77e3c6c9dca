"""Limits that are meant for all workers of a director: each has its share, however their number changes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime.leases import Leases
from director_wsgi.stat.engine import StatEngine, StatPolicy
from director_wsgi.stat.evidence import Evidence, Reason
from director_wsgi.stat.policy import share_of
from director_wsgi.stat.roster import INITIAL_SLOTS, LEAST_SLOTS
from tests.unit.stat.fakes import LONG_S, Servers, eventually, present
from tests.unit.stat.world import REFUSED, A, B, World, found


@given(st.integers(1, 10_000), st.integers(1, 200))
def test_shares_come_to_the_whole_and_less_than_one_for_each_worker_more(whole, workers):
    share = share_of(whole, workers)
    assert share >= 1
    assert whole <= share * workers < whole + workers


def ask_once(world: World, server=A) -> None:
    world.servers.answers[server.name] = present()
    assert world.ask(server) == (found(),)
    world.until(in_flight=0)
    del world.servers.answers[server.name]


@pytest.mark.parametrize("adapts", [True, False])
def test_a_server_already_met_gets_this_workers_share_and_all_of_it_again(make_world, adapts):
    world = make_world(slots=9, adapts=adapts)
    ask_once(world)
    limits = []
    for workers in (1, 2, 4, 9, 20, 2, 1):
        world.engine.share(workers)
        limits.append(world.slots(A).limit)
        assert world.state(A).slot_limit == limits[-1]
    assert limits == [9, 5, 3, 1, 1, 5, 9]


def test_a_server_met_later_gets_this_workers_share(make_world):
    world = make_world(slots=9, adapts=False)
    world.engine.share(4)
    ask_once(world)
    assert world.slots(A).limit == 3


@pytest.mark.parametrize(
    ("workers", "slots"), [(1, INITIAL_SLOTS), (2, INITIAL_SLOTS // 2), (100, 1), (8, LEAST_SLOTS)]
)
def test_what_a_server_is_given_that_was_never_asked_is_shared_too(make_world, workers, slots):
    world = make_world(slots=100, adapts=True)
    world.engine.share(workers)
    ask_once(world)
    assert world.slots(A).limit == slots


def test_what_was_found_out_of_a_server_holds_in_proportion(make_world):
    """Eight at once are as many as it bears, not the hundred that it may get: two workers give it four each."""
    world = make_world(slots=100, adapts=True)
    world.servers.answers["a"] = REFUSED
    world.ask(A)
    world.until(in_flight=0)
    limits = [world.slots(A).limit]
    for workers in (2, 1):
        world.engine.share(workers)
        limits.append(world.slots(A).limit)
    assert limits == [8, 4, 8]


def test_fewer_workers_let_those_in_who_wait_at_once(make_world):
    world = make_world(slots=2, adapts=False)
    world.engine.share(2)
    first, [call] = world.asked(A, path="/1")
    second = world.begin(A, path="/2")
    assert eventually(lambda: world.state(A).waiting)
    world.engine.share(1)
    later = world.servers.wait_for(2)[1]
    for one in (call, later):
        one.answer(present())
    assert [asking.result(LONG_S) for asking in (first, second)] == [(found(),)] * 2


def test_more_workers_cut_nothing_short_and_let_nobody_in_until_this_one_is_within_its_share(make_world):
    world = make_world(slots=2, adapts=False)
    running = [world.asked(A, path=f"/{number}") for number in range(2)]
    world.engine.share(2)
    waiting = world.begin(A, path="/waits")
    assert eventually(lambda: world.state(A).waiting)
    (first, [first_call]), (second, [second_call]) = running
    first_call.answer(present())
    assert first.result(LONG_S) == (found(),)
    world.until(in_flight=1)
    assert (len(world.servers.calls), world.state(A).waiting) == (2, 1)
    second_call.answer(present())
    assert second.result(LONG_S) == (found(),)
    world.servers.wait_for(3)[2].answer(present())
    assert waiting.result(LONG_S) == (found(),)


def test_threads_are_shared_too(make_world):
    world = make_world(threads=2)
    assert world.engine.statistics().thread_limit == 2
    world.engine.share(2)
    assert world.engine.statistics().thread_limit == 1
    asking, [call] = world.asked(A)
    assert world.ask(B) == (Evidence.unknown(Reason.NO_THREAD),)
    world.engine.share(1)
    other, [other_call] = world.asked(B, path="/again")
    for one in (call, other_call):
        one.answer(present())
    assert [each.result(LONG_S) for each in (asking, other)] == [(found(),)] * 2


def test_a_handler_threads_right_to_wait_is_each_workers_own(make_world):
    world = make_world(lanes=8)
    world.engine.share(4)
    assert world.engine.lanes.all.statistics().permits == 8


@pytest.mark.parametrize("workers", [0, -1])
def test_there_is_at_least_one_worker(world, workers):
    with pytest.raises(ValueError, match="at least one"):
        world.engine.share(workers)
    ask_once(world)
    assert world.slots(A).limit == 2


def test_a_share_that_changes_while_a_server_is_being_met_is_what_it_gets(make_world):
    """One thread 1. has built what belongs to the server, 2. the share changes, 3. the thread lets it be found."""
    world = make_world(slots=8, adapts=False)
    roster = world.engine._roster
    build = roster._introduce

    def build_and_dawdle(bulkhead):
        known = build(bulkhead)
        world.engine.share(4)
        return known

    roster._introduce = build_and_dawdle
    ask_once(world)
    assert world.slots(A).limit == 2


def test_slots_that_are_out_of_date_when_they_are_set_are_set_again(make_world):
    """One thread 1. has read the limit, 2. the share changes, 3. the thread gives as many slots as it has read."""
    world = make_world(slots=100, adapts=True)
    ask_once(world)
    known, slots = world.engine._roster.get(A.data_url), world.slots(A)
    resize = slots.resize

    def dawdle(value: int) -> None:
        slots.resize = resize
        world.engine.share(2)
        assert slots.limit == 4
        resize(value)

    slots.resize = dawdle
    known.health.limit.dropped()
    known.heed_limit()
    assert slots.limit == known.health.limit.limit == 4


class Workers:
    """Engines of several workers, and how many HEADs each has at one server; without threads."""

    def __init__(self, count: int, limit: int, *, adapts: bool) -> None:
        self.limit = limit
        self.leases = [Leases() for _ in range(count)]
        self.engines = [
            StatEngine(policy=StatPolicy(slots=limit, adapts=adapts), build_client=Servers().client, leases=leases)
            for leases in self.leases
        ]
        self.known = [engine._roster.meet(A, Deadline.after(LONG_S)) for engine in self.engines]
        self.alive: set[int] = set()
        self.in_flight = [0] * count

    def change(self, alive: set[int]) -> None:
        """Who is alive from now on; who is not has ended all that it had."""
        for number in self.alive - alive:
            for _ in range(self.in_flight[number]):
                self.known[number].bulkhead.slots.release()
            self.in_flight[number] = 0
        self.alive = alive
        for number in alive:
            self.engines[number].share(len(alive))

    def begin(self, number: int) -> None:
        if number in self.alive:
            slots = self.known[number].bulkhead.slots
            is_free = self.in_flight[number] < slots.limit
            assert slots.acquire(blocking=False) is is_free
            self.in_flight[number] += is_free

    def end(self, number: int, *, well: bool) -> None:
        if self.in_flight[number]:
            limit = self.known[number].health.limit
            limit.succeeded(0.0, self.in_flight[number]) if well else limit.dropped()
            self.known[number].heed_limit()
            self.known[number].bulkhead.slots.release()
            self.in_flight[number] -= 1

    @property
    def may(self) -> int:
        return sum(self.known[number].bulkhead.slots.limit for number in self.alive)

    def close(self) -> None:
        for engine in self.engines:
            engine.close()
        for leases in self.leases:
            leases.close(Deadline.after(LONG_S))


WORKER = st.integers(0, 3)


@settings(max_examples=150, deadline=None)
@given(
    limit=st.integers(1, 30),
    adapts=st.booleans(),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("alive"), st.sets(WORKER, min_size=1)),
            st.tuples(st.just("begin"), WORKER),
            st.tuples(st.just("fill"), WORKER),
            st.tuples(st.just("well"), WORKER),
            st.tuples(st.just("lost"), WORKER),
        ),
        max_size=60,
    ),
)
def test_whoever_comes_and_goes_all_workers_together_never_begin_more_than_the_limit_and_one_each(limit, adapts, steps):
    """HEADs from before a worker came may still be under way beyond that; they end, and none takes their place."""
    workers = Workers(4, limit, adapts=adapts)
    try:
        workers.change({0})
        for what, about in steps:
            if what == "alive":
                workers.change(about)
            elif what == "begin":
                workers.begin(about)
            elif what == "fill":
                for _ in range(limit):
                    workers.begin(about)
            else:
                workers.end(about, well=what == "well")
            assert workers.may < limit + len(workers.alive)
            assert adapts or workers.may >= limit
            over = sum(
                max(0, workers.in_flight[number] - workers.known[number].bulkhead.slots.limit)
                for number in workers.alive
            )
            assert sum(workers.in_flight) - over < limit + len(workers.alive)
    finally:
        workers.close()
