import gc
import random
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from queue import SimpleQueue
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from director_wsgi.limits.coalesce import LOST, Coalescer, Flight, Lost, Seat

LONG_S = 30.0

AnyFlight = Flight[str, str]
AnySeat = Seat[str]


class Launcher:
    """Launches flights by keeping them, and notes whose last seat was left, and how."""

    def __init__(self) -> None:
        self.flights: list[AnyFlight] = []
        self.abandoned: list[bool] = []

    def __call__(self, flight: AnyFlight) -> None:
        flight.on_abandoned = self.abandoned.append
        self.flights.append(flight)

    @property
    def flight(self) -> AnyFlight:
        return self.flights[-1]


class Told(list[str | Lost]):
    """What an asker was told."""


@pytest.fixture
def coalescer() -> Coalescer[str, str]:
    return Coalescer(100)


@pytest.fixture
def launcher() -> Launcher:
    return Launcher()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def hasty_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def never_launch(flight: AnyFlight) -> None:
    raise AssertionError("there was a flight")


# Sharing


def test_ten_thousand_who_ask_for_one_key_launch_once_and_all_are_told(coalescer, launcher, told):
    for _ in range(10_000):
        coalescer.join("a", told.append, launcher)
    assert len(launcher.flights) == 1
    launcher.flight.settle("here")
    assert told == ["here"] * 10_000


@pytest.mark.usefixtures("hasty_switches")
def test_threads_that_ask_for_one_key_at_once_launch_once(coalescer, launcher, told):
    start = threading.Barrier(20)

    def ask() -> None:
        start.wait(LONG_S)
        for _ in range(500):
            coalescer.join("a", told.append, launcher)

    run_all([ask] * 20)
    assert (len(launcher.flights), launcher.flight.seats) == (1, 10_000)
    launcher.flight.settle("here")
    assert told == ["here"] * 10_000


def test_other_keys_have_flights_of_their_own(coalescer, launcher):
    seats = [coalescer.join(key, print, launcher) for key in "aabba"]
    assert [flight.key for flight in launcher.flights] == ["a", "b"]
    assert [seat.is_leader for seat in seats] == [True, False, True, False, False]


def test_askers_are_told_in_the_order_in_which_they_came(coalescer, launcher, told):
    for name in "abc":
        coalescer.join("key", lambda _answer, name=name: told.append(name), launcher)
    launcher.flight.settle("here")
    assert told == ["a", "b", "c"]


def test_a_failure_is_shared_and_nobody_launches_anew_because_of_it(coalescer, launcher, told):
    """No convoy: the followers of a flight that failed have their answer, all at the same time."""
    for _ in range(5):
        coalescer.join("a", told.append, launcher)
    launcher.flight.settle("failed")
    assert told == ["failed"] * 5
    assert (len(launcher.flights), len(coalescer)) == (1, 0)


def test_whoever_asks_after_the_answer_launches_a_new_flight(coalescer, launcher, told):
    coalescer.join("a", told.append, launcher)
    launcher.flight.settle("first")
    coalescer.join("a", told.append, launcher)
    launcher.flight.settle("second")
    assert told == ["first", "second"]


def test_whoever_asks_again_when_he_is_told_launches_a_new_flight(coalescer, launcher, told):
    coalescer.join("a", lambda _answer: coalescer.join("a", told.append, launcher), launcher)
    launcher.flight.settle("first")
    assert (len(launcher.flights), told) == (2, [])


def test_the_answer_comes_once(coalescer, launcher, told):
    coalescer.join("a", told.append, launcher)
    assert [launcher.flight.settle("first"), launcher.flight.settle("second")] == [True, False]
    assert told == ["first"]


def test_an_answer_given_while_it_is_launched_is_told_before_the_seat_is_there(coalescer, told):
    seat = coalescer.join("a", told.append, lambda flight: flight.settle("known"))
    assert (told, len(coalescer), seat.leave()) == (["known"], 0, False)


def test_somebody_who_raises_does_not_keep_the_others_from_being_told(coalescer, launcher, told):
    def trip(_answer: object) -> None:
        raise KeyError("mine")

    for tell in (told.append, trip, told.append, trip, told.append):
        coalescer.join("a", tell, launcher)
    with pytest.raises(KeyError, match="mine"):
        launcher.flight.settle("here")
    assert told == ["here"] * 3


# Leaving


def test_a_seat_that_was_left_is_not_told(coalescer, launcher, told):
    left, other = Told(), told
    seat = coalescer.join("a", left.append, launcher)
    coalescer.join("a", other.append, launcher)
    assert seat.leave()
    launcher.flight.settle("here")
    assert (left, other) == ([], ["here"])


def test_leaving_twice_leaves_once(coalescer, launcher):
    seat = coalescer.join("a", print, launcher)
    coalescer.join("a", print, launcher)
    assert [seat.leave(), seat.leave()] == [True, False]
    assert (launcher.flight.seats, launcher.abandoned) == (1, [])


def test_leaving_after_the_answer_says_so_and_abandons_nothing(coalescer, launcher, told):
    seat = coalescer.join("a", told.append, launcher)
    launcher.flight.settle("here")
    assert (seat.leave(gone=True), launcher.abandoned) == (False, [])


def test_a_flight_survives_its_leader(coalescer, launcher, told):
    leader = coalescer.join("a", print, launcher)
    coalescer.join("a", told.append, launcher)
    leader.leave(gone=True)
    coalescer.join("a", told.append, never_launch)
    launcher.flight.settle("here")
    assert (told, launcher.abandoned) == (["here", "here"], [])


# Abandonment


@pytest.mark.parametrize(
    ("leavers", "all_gone"),
    [([True], True), ([False], False), ([True, True], True), ([False, True], False), ([True, False], False)],
)
def test_the_last_one_who_leaves_abandons_the_flight(coalescer, launcher, leavers, all_gone):
    seats = [coalescer.join("a", print, launcher) for _ in leavers]
    for seat, gone in zip(seats, leavers, strict=True):
        assert launcher.abandoned == []
        seat.leave(gone=gone)
    assert launcher.abandoned == [all_gone]


def test_an_abandoned_flight_goes_on_and_can_be_joined(coalescer, launcher, told):
    coalescer.join("a", print, launcher).leave()
    coalescer.join("a", told.append, never_launch)
    launcher.flight.settle("here")
    assert (told, launcher.abandoned) == (["here"], [False])


def test_a_flight_may_be_abandoned_again_by_newcomers(coalescer, launcher):
    coalescer.join("a", print, launcher).leave(gone=True)
    coalescer.join("a", print, never_launch).leave(gone=True)
    coalescer.join("a", print, never_launch).leave(gone=False)
    coalescer.join("a", print, never_launch).leave(gone=True)
    assert launcher.abandoned == [True, True, False, False]  # somebody wanted the answer, even late


def test_a_dropped_flight_is_not_joined_any_more_and_its_answer_is_for_nobody(coalescer, launcher, told):
    coalescer.join("a", print, launcher).leave()
    dropped = launcher.flight
    assert dropped.drop()
    coalescer.join("a", told.append, launcher)
    assert launcher.flight is not dropped
    assert not dropped.settle("late")
    assert (told, coalescer.statistics().in_flight) == ([], 1)


def test_a_flight_is_not_dropped_under_somebody_who_came_in_between(coalescer, told):
    """The last one leaves, and before the flight is dropped because of it, a newcomer takes a seat."""
    dropped = []
    flights: list[AnyFlight] = []

    def launch(flight: AnyFlight) -> None:
        def abandoned(_gone: bool) -> None:
            coalescer.join("a", told.append, never_launch)
            dropped.append(flight.drop())

        flight.on_abandoned = abandoned
        flights.append(flight)

    coalescer.join("a", print, launch).leave(gone=True)
    assert dropped == [False]
    flights[0].settle("here")
    assert told == ["here"]


def test_a_flight_that_is_over_is_not_dropped(coalescer, launcher):
    coalescer.join("a", print, launcher)
    launcher.flight.settle("here")
    assert not launcher.flight.drop()


def test_a_flight_is_dropped_once(coalescer, launcher):
    coalescer.join("a", print, launcher).leave()
    assert [launcher.flight.drop(), launcher.flight.drop()] == [True, False]


def test_a_flight_may_be_abandoned_without_anybody_being_called(coalescer):
    flights: list[AnyFlight] = []
    coalescer.join("a", print, flights.append).leave()
    assert (flights[0].is_over, coalescer.statistics().abandoned) == (False, 1)


# Launches that fail


def test_the_leader_gets_the_error_of_a_launch_and_followers_are_told_that_it_is_lost(coalescer, told):
    mine = Told()

    def launch(_flight: AnyFlight) -> None:
        coalescer.join("a", told.append, never_launch)
        raise OSError("no thread left")

    with pytest.raises(OSError, match="no thread left"):
        coalescer.join("a", mine.append, launch)
    assert (mine, told, len(coalescer)) == ([], [LOST], 0)


def test_after_a_failed_launch_the_next_one_launches_anew(coalescer, launcher, told):
    with pytest.raises(ZeroDivisionError):
        coalescer.join("a", print, lambda _flight: 1 / 0)
    coalescer.join("a", told.append, launcher)
    launcher.flight.settle("here")
    assert told == ["here"]


def test_an_answer_that_comes_after_a_failed_launch_is_for_nobody(coalescer, launcher, told):
    def launch(flight: AnyFlight) -> None:
        launcher(flight)
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011, raised above
        coalescer.join("a", told.append, launch)
    assert not launcher.flight.settle("late")
    assert (told, launcher.abandoned) == ([], [])


def test_a_detached_launch_that_fails_leaves_nothing(coalescer, told):
    def launch(_flight: AnyFlight) -> None:
        coalescer.join("a", told.append, never_launch)
        raise OSError("no thread left")

    with pytest.raises(OSError, match="no thread left"):
        coalescer.launch_detached("a", launch)
    assert (told, len(coalescer)) == ([LOST], 0)


# Detached flights


def test_a_detached_flight_can_be_joined(coalescer, launcher, told):
    assert coalescer.launch_detached("a", launcher)
    seat = coalescer.join("a", told.append, never_launch)
    launcher.flight.settle("here")
    assert (told, seat.is_leader) == (["here"], False)


def test_a_detached_flight_is_not_launched_beside_another(coalescer, launcher):
    coalescer.join("a", print, launcher)
    assert not coalescer.launch_detached("a", never_launch)


def test_a_detached_flight_is_not_abandoned(coalescer, launcher, told):
    coalescer.launch_detached("a", launcher)
    coalescer.join("a", print, never_launch).leave(gone=True)
    assert launcher.abandoned == []
    coalescer.join("a", told.append, never_launch)
    assert (launcher.flight.settle("here"), told) == (True, ["here"])


# Bounds


def test_beyond_the_capacity_askers_are_served_but_not_shared(launcher, told):
    coalescer = Coalescer[str, str](2)
    for key in "abcc":
        coalescer.join(key, told.append, launcher)
    assert [flight.key for flight in launcher.flights] == ["a", "b", "c", "c"]
    assert len(coalescer) == 2
    for flight in launcher.flights:
        flight.settle(flight.key)
    assert told == ["a", "b", "c", "c"]
    statistics = coalescer.statistics()
    assert (statistics.launches, statistics.unshared, statistics.in_flight) == (4, 2, 0)


def test_a_flight_that_is_not_shared_can_be_abandoned_and_dropped(launcher):
    coalescer = Coalescer[str, str](1)
    coalescer.join("a", print, launcher)
    coalescer.join("b", print, launcher).leave(gone=True)
    assert (launcher.abandoned, launcher.flight.drop(), len(coalescer)) == ([True], True, 1)


def test_a_flight_that_is_not_shared_does_not_end_the_one_that_came_after_it(launcher, told):
    coalescer = Coalescer[str, str](1)
    coalescer.join("full", print, launcher)
    coalescer.join("a", print, launcher)
    full, unshared = launcher.flights
    full.settle("gone")
    coalescer.join("a", told.append, launcher)
    unshared.settle("old")
    coalescer.join("a", told.append, never_launch)
    launcher.flight.settle("new")
    assert told == ["new", "new"]


def test_beyond_the_capacity_nothing_is_launched_for_nobody(launcher):
    coalescer = Coalescer[str, str](1)
    coalescer.join("a", print, launcher)
    assert not coalescer.launch_detached("b", never_launch)


def test_no_room_at_all_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        Coalescer(0)


def test_a_flight_that_is_over_is_freed_without_the_garbage_collector(coalescer, told):
    class Callback:
        def __init__(self, flight: AnyFlight) -> None:
            self.flight = flight

        def __call__(self, _gone: bool) -> None: ...

    def launch(flight: AnyFlight) -> None:
        callback = flight.on_abandoned = Callback(flight)
        freed.append(weakref.ref(callback))
        flight.settle("here")

    freed: list[weakref.ref[Callback]] = []
    gc.disable()
    try:
        coalescer.join("a", told.append, launch)
        assert freed[0]() is None
    finally:
        gc.enable()


def test_neither_key_nor_answer_is_shown(launcher):
    coalescer = Coalescer[str, str](1)
    seat = coalescer.join("secret", print, launcher)
    assert "secret" not in repr(seat) + repr(launcher.flight)


def test_the_counts_are_those_of_what_happened(coalescer, launcher):
    for key in "aaab":
        coalescer.join(key, print, launcher)
    coalescer.launch_detached("c", launcher)
    coalescer.join("d", print, launcher).leave()
    launcher.flights[0].settle("here")
    statistics = coalescer.statistics()
    assert (statistics.launches, statistics.followers, statistics.abandoned) == (4, 2, 1)
    assert (statistics.in_flight, statistics.unshared) == (3, 0)


# Whatever comes

STEPS = st.lists(
    st.tuples(st.sampled_from(["join", "join", "leave", "gone", "settle", "drop", "detach"]), st.integers(0, 11)),
    max_size=80,
)


class Asker:
    """What must hold for one seat, kept beside it."""

    def __init__(self, seat: AnySeat, flight: AnyFlight, told: list[str | Lost]) -> None:
        self.seat = seat
        self.flight = flight
        self.told = told
        self.has_left = False


class Model:
    """A coalescer, and beside it what it should have done."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.coalescer = Coalescer[str, str](capacity)
        self.open: dict[str, AnyFlight] = {}
        self.flights: list[AnyFlight] = []
        self.over: list[AnyFlight] = []
        self.detached: list[AnyFlight] = []
        self.askers: list[Asker] = []
        self.abandoned: list[tuple[AnyFlight, bool]] = []
        self.expected: list[tuple[AnyFlight, bool]] = []
        self.stayed: set[int] = set()  # flights that somebody left because his time was up

    def launch(self, flight: AnyFlight) -> None:
        flight.on_abandoned = lambda gone: self.abandoned.append((flight, gone))
        self.flights.append(flight)
        if len(self.open) < self.capacity:
            self.open[flight.key] = flight

    def join(self, key: str) -> None:
        told: list[str | Lost] = []
        flight = self.open.get(key)
        seat = self.coalescer.join(key, told.append, self.launch if flight is None else never_launch)
        self.askers.append(Asker(seat, flight or self.flights[-1], told))

    def detach(self, key: str) -> None:
        is_free = key not in self.open and len(self.open) < self.capacity
        assert self.coalescer.launch_detached(key, self.launch) == is_free
        if is_free:
            self.detached.append(self.flights[-1])

    def leave(self, asker: Asker, *, gone: bool) -> None:
        leaves = not asker.has_left and asker.flight not in self.over
        assert asker.seat.leave(gone=gone) == leaves
        if not leaves:
            return
        asker.has_left = True
        if not gone:
            self.stayed.add(id(asker.flight))
        if not self.waiting(asker.flight) and asker.flight not in self.detached:
            self.expected.append((asker.flight, id(asker.flight) not in self.stayed))

    def settle(self, flight: AnyFlight) -> None:
        assert flight.settle(flight.key) == self.ends(flight)

    def drop(self, flight: AnyFlight) -> None:
        is_wanted = flight not in self.over and bool(self.waiting(flight))
        assert flight.drop() == (not is_wanted and self.ends(flight))

    def ends(self, flight: AnyFlight) -> bool:
        if flight in self.over:
            return False
        self.over.append(flight)
        if self.open.get(flight.key) is flight:
            del self.open[flight.key]
        return True

    def waiting(self, flight: AnyFlight) -> list[Asker]:
        return [asker for asker in self.askers if asker.flight is flight and not asker.has_left]


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_every_seat_is_told_once_or_was_left(steps: list[tuple[str, int]]):
    model = Model(capacity=2)
    for step, number in steps:
        if step == "join":
            model.join("abc"[number % 3])
        elif step == "detach":
            model.detach("abc"[number % 3])
        elif step in ("leave", "gone") and model.askers:
            model.leave(model.askers[number % len(model.askers)], gone=step == "gone")
        elif step == "settle" and model.flights:
            model.settle(model.flights[number % len(model.flights)])
        elif step == "drop" and model.flights:
            model.drop(model.flights[number % len(model.flights)])
        assert len(model.coalescer) == len(model.open)
        assert [flight.seats for flight in model.flights] == [
            0 if flight in model.over else len(model.waiting(flight)) for flight in model.flights
        ]
    for flight in model.flights:
        model.settle(flight)
    assert len(model.coalescer) == 0
    assert model.abandoned == model.expected
    for asker in model.askers:
        assert asker.told == ([] if asker.has_left else [asker.flight.key])


# Threads


def run_all(functions: list[Any]) -> None:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
        assert not thread.is_alive()


class Guarded(dict[Any, Any]):
    """A table that may be touched only by whoever has the lock."""

    lock: threading.Lock

    def get(self, *key: Any) -> Any:
        assert self.lock.locked()
        return super().get(*key)

    def __contains__(self, key: object) -> bool:
        assert self.lock.locked()
        return super().__contains__(key)

    def __len__(self) -> int:
        assert self.lock.locked()
        return super().__len__()

    def __setitem__(self, key: Any, value: Any) -> None:
        assert self.lock.locked()
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        assert self.lock.locked()
        super().__delitem__(key)


def test_everything_is_decided_under_the_lock_and_nobody_called_under_it(coalescer, told):
    coalescer._flights = Guarded()
    coalescer._flights.lock = coalescer._lock
    calls: list[str] = []

    def called(name: str) -> None:
        assert not coalescer._lock.locked()
        calls.append(name)

    def launch(flight: AnyFlight) -> None:
        called("launch")
        flight._seats = Guarded(flight._seats)
        flight._seats.lock = coalescer._lock
        flight.on_abandoned = lambda _gone: called("abandoned")
        flights.append(flight)

    def fail(flight: AnyFlight) -> None:
        launch(flight)
        raise OSError

    flights: list[AnyFlight] = []
    coalescer.join("a", lambda _answer: called("told"), launch)
    coalescer.join("a", lambda _answer: called("left"), launch).leave()
    flights[0].settle("here")
    coalescer.join("a", print, launch).leave()
    flights[1].drop()
    coalescer.launch_detached("a", launch)
    flights[2].settle("here")
    with pytest.raises(OSError):  # noqa: PT011, raised above
        coalescer.join("a", print, fail)
    assert (len(coalescer), coalescer.statistics().in_flight, flights[0].seats) == (0, 0, 0)
    assert calls == ["launch", "told", "launch", "abandoned", "launch", "launch"]


@pytest.mark.usefixtures("hasty_switches")
def test_settling_while_others_join_and_leave_tells_each_seat_once_or_never():
    """Each flight is settled, or dropped when it is abandoned; whoever could not leave is told exactly once."""
    coalescer = Coalescer[str, str](4)
    handed_out = SimpleQueue[AnyFlight | None]()
    ends = Counter[bool]()
    ends_lock = threading.Lock()

    def end(how: Callable[[], bool]) -> None:
        ended = how()
        with ends_lock:
            ends[ended] += 1

    def launch(flight: AnyFlight) -> None:
        flight.on_abandoned = lambda _gone: end(flight.drop)
        handed_out.put(flight)

    def settle() -> None:
        while (flight := handed_out.get()) is not None:
            end(partial(flight.settle, flight.key))

    def ask(seed: int, seen: list[tuple[list[str | Lost], bool]]) -> None:
        generator = random.Random(seed)
        for _ in range(1500):
            told: list[str | Lost] = []
            seat = coalescer.join(generator.choice("abc"), told.append, launch)
            seen.append((told, generator.random() < 0.6 and seat.leave(gone=generator.random() < 0.5)))

    seen: list[list[tuple[list[str | Lost], bool]]] = [[] for _ in range(6)]
    settlers = [threading.Thread(target=settle) for _ in range(2)]
    for settler in settlers:
        settler.start()
    run_all([partial(ask, seed, mine) for seed, mine in enumerate(seen)])
    for _ in settlers:
        handed_out.put(None)
    for settler in settlers:
        settler.join(LONG_S)
        assert not settler.is_alive()

    outcomes = Counter((len(told), left) for mine in seen for told, left in mine)
    assert set(outcomes) == {(1, False), (0, True)}
    statistics = coalescer.statistics()
    assert (statistics.launches + statistics.followers, statistics.in_flight) == (9000, 0)
    assert ends[True] == statistics.launches  # each flight ended once


@pytest.mark.usefixtures("hasty_switches")
def test_seats_left_by_many_threads_at_once_abandon_the_flight_once(coalescer, launcher):
    for _ in range(50):
        start = threading.Barrier(4)

        def leave(seat: AnySeat, start: threading.Barrier = start) -> None:
            start.wait(LONG_S)
            seat.leave(gone=True)
            seat.leave(gone=True)

        run_all([partial(leave, coalescer.join("a", print, launcher)) for _ in range(4)])
        assert launcher.abandoned == [True]
        launcher.abandoned.clear()
        assert launcher.flight.drop()
