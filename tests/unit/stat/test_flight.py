"""The moments in which two things happen to one flight at once."""

import random

import pytest

from director_wsgi.limits.adaptive import AdaptiveLimit
from director_wsgi.limits.breaker import BreakerSettings, State
from director_wsgi.limits.coalesce import Coalescer
from director_wsgi.limits.deadline import Deadline
from director_wsgi.limits.slots import Slots
from director_wsgi.stat.evidence import Evidence, EvidenceTable, Lifetimes, Presence, Reason
from director_wsgi.stat.flight import HeadFlight, Known, Question, Shared
from director_wsgi.stat.health import ServerHealth
from director_wsgi.stat.server import Bulkhead
from tests.fakes import FakeClock
from tests.unit.stat.fakes import LONG_S, CountedBreaker, Servers, eventually, present, server_ad

SERVER = server_ad("a")
FOUND = Evidence(presence=Presence.PRESENT, status=200, length_bytes=7)
KEY = (SERVER.data_url, "/x", "public", None)


class World:
    """One server with one slot, and the flights to it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.servers = Servers()
        self.bulkhead = Bulkhead("a.test:1", slots=1, client=self.servers.client(1), clock=self.clock)
        self.breaker = CountedBreaker(BreakerSettings(), self.clock, random.Random(1))
        self.limit = AdaptiveLimit(initial=1, most=1, clock=self.clock)
        self.evidence = EvidenceTable(capacity=10, lifetimes=Lifetimes(), clock=self.clock)
        self.known = Known(self.bulkhead, ServerHealth(self.breaker, self.limit), self.evidence)
        self.flights: Coalescer = Coalescer(10)
        self.told: list[Evidence] = []
        self.begun = 0

    def head(self) -> HeadFlight:
        def count() -> None:
            self.begun += 1

        question = Question(path="/x", bearer=None, authority="public")
        return HeadFlight(
            self.known, SERVER, question, self.breaker.admit(), timeout_s=2.0, clock=self.clock, count=count
        )

    def join(self, head: HeadFlight):
        return self.flights.join(KEY, self.told.append, head.launch)

    @property
    def slots(self) -> Slots:
        return self.bulkhead.slots

    @property
    def passes(self) -> list[list[str]]:
        return list(self.breaker.settled.values())

    def is_balanced(self) -> bool:
        return all(len(told) == 1 for told in self.passes) and (
            self.slots.in_use,
            self.slots.waiting,
            self.bulkhead.in_flight,
            len(self.flights),
        ) == (0, 0, 0, 0)


@pytest.fixture
def world():
    world = World()
    yield world
    assert world.bulkhead.close(Deadline.after(LONG_S))
    assert eventually(world.is_balanced)


def test_one_that_waits_for_a_slot_is_dropped_at_the_door_when_nobody_wants_it(world):
    assert world.slots.acquire(blocking=False)
    head = world.head()
    seat = world.join(head)
    assert head.is_waiting
    seat.leave()
    assert not head.is_waiting
    assert (world.slots.waiting, len(world.flights)) == (0, 0)
    world.slots.release()
    assert (world.begun, world.passes, world.told) == (0, [["undecided"]], [])


def test_a_slot_granted_to_one_that_is_being_dropped_goes_on_to_the_next(world):
    """The flight 1. is dropped, 2. is granted a slot, 3. leaves the queue."""
    assert world.slots.acquire(blocking=False)
    leave = world.slots.leave

    def leave_late(place):
        world.slots.release()
        return leave(place)

    world.slots.leave = leave_late
    world.join(world.head()).leave()
    assert world.slots.in_use == 0
    assert (world.begun, world.passes) == (0, [["undecided"]])


class Shaky(Shared):
    """A flight on which something happens at the moment in which it is to be dropped."""

    __slots__ = ("before_drop",)

    def drop(self) -> bool:
        self.before_drop()
        return super().drop()


def shaky(world: World, *, is_detached: bool = False) -> Shaky:
    flight = Shaky(world.flights, KEY, is_detached=is_detached)
    world.flights._flights[KEY] = flight
    return flight


def test_one_granted_a_slot_before_it_is_dropped_goes_on_and_becomes_evidence(world):
    """The last asker 1. finds it waiting, it 2. is granted a slot, the asker 3. drops it."""
    assert world.slots.acquire(blocking=False)
    flight, head = shaky(world), world.head()
    head.launch(flight)
    flight.before_drop = world.slots.release
    flight.on_abandoned(False)
    [call] = world.servers.wait_for(1)
    assert world.slots.in_use == 1
    call.answer(present())
    assert eventually(lambda: world.slots.in_use == 0)
    assert eventually(lambda: world.evidence.recall("/x", "public") is not None)
    assert world.passes == [["succeeded"]]


def test_one_that_somebody_joins_while_the_last_one_leaves_stays_in_the_queue(world):
    """The last asker 1. leaves, another one 2. joins, the first one 3. drops it."""
    assert world.slots.acquire(blocking=False)
    flight, head = shaky(world), world.head()
    head.launch(flight)
    flight.before_drop = lambda: world.flights.join(KEY, world.told.append, head.launch)
    flight.on_abandoned(True)
    assert (head.is_waiting, world.slots.waiting) == (True, 1)
    world.slots.release()
    world.servers.wait_for(1)[0].answer(present())
    assert eventually(lambda: world.told == [FOUND])


def test_one_under_way_goes_on_when_askers_leave_at_their_deadline(world):
    seat = world.join(world.head())
    [call] = world.servers.wait_for(1)
    seat.leave()
    assert not call.is_aborted
    call.answer(present())
    assert eventually(lambda: world.evidence.recall("/x", "public") is not None)
    assert (world.passes, world.told) == ([["succeeded"]], [])


def test_one_under_way_is_cut_off_when_all_clients_have_gone_and_marks_nothing(world):
    seat = world.join(world.head())
    [call] = world.servers.wait_for(1)
    seat.leave(gone=True)
    assert call.is_aborted
    assert len(world.flights) == 0
    assert eventually(lambda: world.passes == [["undecided"]])
    assert (world.evidence.recall("/x", "public"), world.breaker.snapshot().volume) == (None, 0)


def test_one_whose_clients_go_while_it_begins_is_cut_off_all_the_same(world):
    """It 1. is granted a slot, its clients 2. go, 3. it gets its thread, and by that its switch."""
    assert world.slots.acquire(blocking=False)
    seat = world.join(world.head())
    start = world.bulkhead.start

    def start_late(job, tell):
        seat.leave(gone=True)
        return start(job, tell)

    world.bulkhead.start = start_late
    world.slots.release()
    assert eventually(lambda: world.passes == [["undecided"]])
    assert all(call.is_aborted for call in world.servers.calls)


def test_one_whose_clients_go_while_it_lands_is_evidence_all_the_same(world):
    """The answer 1. comes, the last client 2. goes, the flight 3. is settled."""
    seat = world.join(world.head())
    remember = world.evidence.remember

    def remember_late(*about, **more):
        remember(*about, **more)
        seat.leave(gone=True)

    object.__setattr__(world.known, "evidence", type("Late", (), {"remember": staticmethod(remember_late)})())
    world.servers.wait_for(1)[0].answer(present())
    assert eventually(lambda: world.evidence.recall("/x", "public") is not None)
    assert eventually(world.is_balanced)
    assert world.told == []


def test_one_that_will_not_wait_is_none_without_a_free_slot(world):
    assert world.slots.acquire(blocking=False)
    assert world.flights.launch_detached(KEY, world.head().launch_nowait)
    assert (len(world.flights), world.slots.waiting, world.passes) == (0, 0, [["undecided"]])
    world.slots.release()
    assert world.begun == 0


def test_one_that_will_not_wait_waits_for_whoever_has_joined_it_already(world):
    """It 1. is in the table, somebody 2. joins it, it 3. finds no slot free; dropped, it would be joined for ever."""
    assert world.slots.acquire(blocking=False)
    head = world.head()

    def launch(flight):
        world.flights.join(KEY, world.told.append, head.launch)
        head.launch_nowait(flight)

    world.flights.launch_detached(KEY, launch)
    assert world.slots.waiting == 1
    world.slots.release()
    world.servers.wait_for(1)[0].answer(present())
    assert eventually(lambda: world.told == [FOUND])


def test_whatever_goes_wrong_with_our_books_who_waits_is_told(world, caplog):
    def broken(*_about, **_more):
        raise MemoryError

    evidence = type("Broken", (), {"remember": staticmethod(broken), "lifetimes": Lifetimes()})()
    object.__setattr__(world.known, "evidence", evidence)
    world.join(world.head())
    world.servers.wait_for(1)[0].answer(present())
    assert eventually(lambda: world.told == [FOUND])
    assert eventually(lambda: "MemoryError" in caplog.text)


def test_one_that_gets_no_thread_is_told_and_marks_nothing(world, monkeypatch):
    def no_thread(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr("threading.Thread.start", no_thread)
        world.join(world.head())
    assert world.told == [Evidence.unknown(Reason.NO_THREAD)]
    assert (world.passes, world.breaker.snapshot().state) == ([["undecided"]], State.CLOSED)


def test_a_token_shows_in_no_representation(world):
    question = Question(path="/x", bearer="s3cret", authority="digest", after=object())
    assert repr(question) == "Question(path='/x')"
    head = HeadFlight(
        world.known, SERVER, question, world.breaker.admit(), timeout_s=1, clock=world.clock, count=lambda: None
    )
    assert "s3cret" not in repr(head)
    head.give_up()
