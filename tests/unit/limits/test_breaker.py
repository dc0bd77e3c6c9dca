import dataclasses
import math
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from director_wsgi.limits.breaker import (
    FLAPPING_TRIPS,
    FLAPPING_WITHIN_S,
    SLOW,
    Breaker,
    BreakerSettings,
    Pass,
    State,
)
from tests.fakes import FakeClock

LONG_S = 30.0
FAST_S = 0.01
SETTINGS = BreakerSettings(
    window_s=10.0,
    minimum_volume=4,
    failure_rate=0.5,
    slow_rate=0.5,
    slow_s=1.0,
    first_backoff_s=0.5,
    backoff_cap_s=5.0,
    jitter=0.2,
)


@pytest.fixture
def breaker(clock: FakeClock) -> Breaker:
    return Breaker(SETTINGS, clock, random.Random(1))


def admitted(breaker: Breaker) -> Pass:
    pass_ = breaker.admit()
    assert pass_ is not None
    return pass_


def succeed(breaker: Breaker, times: int = 1, duration_s: float = FAST_S) -> None:
    for _ in range(times):
        breaker.succeeded(admitted(breaker), duration_s)


def fail(breaker: Breaker, times: int = 1, reason: str = "timed out") -> None:
    for _ in range(times):
        breaker.failed(admitted(breaker), reason, FAST_S)


def trip(breaker: Breaker, reason: str = "timed out") -> None:
    fail(breaker, SETTINGS.minimum_volume, reason)
    assert breaker.snapshot().state is State.OPEN


def wait_for_probe(clock: FakeClock) -> None:
    """Long enough for any back-off, and for the window to forget."""
    clock.advance(SETTINGS.window_s)


def half_open(breaker: Breaker, clock: FakeClock) -> Pass:
    """Trip it and take the probe out."""
    trip(breaker)
    wait_for_probe(clock)
    return admitted(breaker)


# Closed


def test_a_new_breaker_lets_calls_through(breaker):
    pass_ = admitted(breaker)
    assert not pass_.is_probe
    assert breaker.snapshot().state is State.CLOSED


def test_calls_that_succeed_never_trip(breaker):
    succeed(breaker, 1000)
    assert breaker.snapshot().state is State.CLOSED


def test_too_few_calls_never_trip(breaker):
    fail(breaker, SETTINGS.minimum_volume - 1)
    assert breaker.snapshot().state is State.CLOSED


def test_the_failure_rate_trips(breaker):
    succeed(breaker, 5)
    fail(breaker, 4)
    before = breaker.snapshot().state
    fail(breaker)
    assert (before, breaker.snapshot().state) == (State.CLOSED, State.OPEN)


def test_a_good_call_that_makes_the_volume_full_trips_if_the_others_failed(breaker):
    fail(breaker, 3)
    succeed(breaker)
    assert breaker.snapshot().state is State.OPEN


def test_slow_answers_trip_by_the_slow_rate(breaker):
    succeed(breaker, 2)
    succeed(breaker, 2, duration_s=1.0)
    snapshot = breaker.snapshot()
    assert (snapshot.state, snapshot.reason) == (State.OPEN, SLOW)


def test_a_slow_failure_is_slow_too(breaker):
    """Three in eight failed and one in eight was slow: only together are they half of all."""
    settings = BreakerSettings(minimum_volume=8, slow_s=1.0)
    breaker = Breaker(settings)
    succeed(breaker, 4)
    for _ in range(3):
        breaker.failed(admitted(breaker), "timed out", 2.0)
    succeed(breaker, duration_s=1.5)
    assert breaker.snapshot().reason == SLOW


def test_no_answer_is_slow_if_none_can_be():
    breaker = Breaker(BreakerSettings(minimum_volume=1, slow_s=math.inf))
    succeed(breaker, 10, duration_s=1e9)
    assert breaker.snapshot().state is State.CLOSED


def test_failures_in_a_row_trip_however_good_the_calls_before_them_were(clock):
    breaker = Breaker(BreakerSettings(minimum_volume=5, failures_in_a_row=5), clock)
    succeed(breaker, 1000)
    fail(breaker, 4)
    assert breaker.snapshot().state is State.CLOSED
    fail(breaker)
    assert breaker.snapshot().state is State.OPEN


def test_a_good_call_ends_a_row_of_failures(clock):
    breaker = Breaker(BreakerSettings(minimum_volume=5, failures_in_a_row=5), clock)
    succeed(breaker, 1000)
    for _ in range(10):
        fail(breaker, 4)
        succeed(breaker)
    assert breaker.snapshot().state is State.CLOSED


def test_failures_longer_ago_than_the_window_are_in_no_row(clock):
    breaker = Breaker(BreakerSettings(minimum_volume=5, failures_in_a_row=5, window_s=10), clock)
    for _ in range(10):
        fail(breaker, 4)
        clock.advance(10)
    assert breaker.snapshot().state is State.CLOSED


def test_after_closing_a_row_begins_anew(clock):
    breaker = Breaker(BreakerSettings(minimum_volume=50, failures_in_a_row=5, jitter=0), clock)
    fail(breaker, 5)
    clock.advance(0.5)
    breaker.succeeded(admitted(breaker), 0.1)
    fail(breaker, 4)
    assert breaker.snapshot().state is State.CLOSED


def test_the_window_forgets(breaker, clock):
    fail(breaker, 3)
    clock.advance(SETTINGS.window_s)
    fail(breaker, 3)
    snapshot = breaker.snapshot()
    assert (snapshot.state, snapshot.volume, snapshot.failures) == (State.CLOSED, 3, 3)


def test_a_call_given_up_counts_for_nothing(breaker):
    for _ in range(100):
        breaker.undecided(admitted(breaker))
    snapshot = breaker.snapshot()
    assert (snapshot.state, snapshot.volume) == (State.CLOSED, 0)


def test_a_pass_counts_once(breaker):
    pass_ = admitted(breaker)
    breaker.failed(pass_, "timed out", FAST_S)
    breaker.failed(pass_, "timed out", FAST_S)
    breaker.succeeded(pass_, FAST_S)
    breaker.undecided(pass_)
    snapshot = breaker.snapshot()
    assert (snapshot.volume, snapshot.failures) == (1, 1)


def test_a_pass_of_another_breaker_counts_for_nothing(breaker, clock):
    breaker.failed(admitted(Breaker(SETTINGS, clock)), "timed out", FAST_S)
    assert breaker.snapshot().volume == 0


# Open


def test_an_open_breaker_refuses_without_a_call(breaker):
    trip(breaker)
    assert [breaker.admit() for _ in range(100)] == [None] * 100


def test_the_reason_is_the_one_most_failures_had(clock):
    breaker = Breaker(BreakerSettings(minimum_volume=5), clock)
    for reason in ["refused", "timed out", "timed out", "name", "timed out"]:
        fail(breaker, reason=reason)
    assert breaker.snapshot().reason == "timed out"


def test_failures_name_the_reason_even_if_they_were_slow(breaker):
    for _ in range(4):
        breaker.failed(admitted(breaker), "timed out", 2.0)
    assert breaker.snapshot().reason == "timed out"


def test_the_first_back_off_is_jittered_downwards(clock):
    waits = set()
    for seed in range(50):
        breaker = Breaker(SETTINGS, clock, random.Random(seed))
        trip(breaker)
        waits.add(breaker.snapshot().next_probe_in_s)
    assert len(waits) == 50
    assert all(0.8 * 0.5 <= wait <= 0.5 for wait in waits)


def test_the_same_generator_gives_the_same_back_off(clock):
    waits = []
    for _ in range(2):
        breaker = Breaker(SETTINGS, clock, random.Random(7))
        trip(breaker)
        waits.append(breaker.snapshot().next_probe_in_s)
    assert waits[0] == waits[1]


def test_no_probe_before_the_back_off_is_over_and_one_after(breaker, clock):
    trip(breaker)
    clock.advance(breaker.snapshot().next_probe_in_s - 0.001)
    early = breaker.admit()
    clock.advance(0.002)
    assert early is None
    assert admitted(breaker).is_probe


def test_the_back_off_doubles_with_every_failed_probe_and_never_exceeds_the_cap(breaker, clock):
    trip(breaker)
    bases = []
    for base in [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]:
        wait = breaker.snapshot().next_probe_in_s
        bases.append(base * 0.8 <= wait <= base)
        clock.advance(wait + 0.001)
        fail(breaker)
    assert bases == [True] * 7


def test_thousands_of_failed_probes_neither_overflow_nor_exceed_the_cap(breaker, clock):
    trip(breaker)
    for _ in range(3000):
        wait_for_probe(clock)
        fail(breaker)
        assert breaker.snapshot().next_probe_in_s <= SETTINGS.backoff_cap_s


def test_breakers_long_open_do_not_probe_as_one(clock):
    """Chance that only added would be cut off at the cap, where all would meet."""
    waits = set()
    for seed in range(50):
        breaker = Breaker(SETTINGS, clock, random.Random(seed))
        trip(breaker)
        for _ in range(6):
            wait_for_probe(clock)
            fail(breaker)
        waits.add(breaker.snapshot().next_probe_in_s)
    assert len(waits) == 50


def test_a_late_answer_of_a_pass_given_before_the_trip_does_not_close(breaker):
    late = admitted(breaker)
    trip(breaker)
    breaker.succeeded(late, FAST_S)
    assert breaker.snapshot().state is State.OPEN
    assert breaker.admit() is None


def test_late_failures_of_passes_given_before_the_trip_do_not_lengthen_the_back_off(breaker):
    late = [admitted(breaker) for _ in range(20)]
    trip(breaker)
    before = breaker.snapshot()
    for pass_ in late:
        breaker.failed(pass_, "timed out", FAST_S)
    assert breaker.snapshot() == before


# Half-open


def test_at_most_one_probe_is_out(breaker, clock):
    assert half_open(breaker, clock).is_probe
    wait_for_probe(clock)
    assert [breaker.admit() for _ in range(100)] == [None] * 100
    assert breaker.snapshot().state is State.HALF_OPEN


@pytest.mark.parametrize("duration_s", [FAST_S, 100.0])
def test_a_probe_that_gets_any_answer_closes(breaker, clock, duration_s):
    probe = half_open(breaker, clock)
    breaker.succeeded(probe, duration_s)
    snapshot = breaker.snapshot()
    assert (snapshot.state, snapshot.reason, snapshot.volume) == (State.CLOSED, None, 0)


def test_closing_clears_the_window(clock):
    """The failures that tripped it would else trip it again."""
    breaker = Breaker(SETTINGS, clock, random.Random(1))
    trip(breaker)
    clock.advance(0.6)
    succeed(breaker)
    fail(breaker, SETTINGS.minimum_volume - 1)
    assert breaker.snapshot().state is State.CLOSED


def test_a_probe_that_fails_opens_again_and_gives_its_reason(breaker, clock):
    probe = half_open(breaker, clock)
    breaker.failed(probe, "refused", FAST_S)
    snapshot = breaker.snapshot()
    assert (snapshot.state, snapshot.reason) == (State.OPEN, "refused")
    assert breaker.admit() is None


def test_a_failed_probe_is_no_new_trip_and_does_not_change_since_when(breaker, clock):
    trip(breaker)
    before = breaker.snapshot()
    wait_for_probe(clock)
    fail(breaker)
    after = breaker.snapshot()
    assert (after.trips, after.since) == (before.trips, before.since)


def test_an_undecided_probe_gives_its_right_back(breaker, clock):
    breaker.undecided(half_open(breaker, clock))
    assert breaker.snapshot().state is State.OPEN
    assert admitted(breaker).is_probe
    assert breaker.admit() is None


def test_an_undecided_probe_is_no_failed_one(breaker, clock):
    breaker.undecided(half_open(breaker, clock))
    fail(breaker)
    assert breaker.snapshot().next_probe_in_s <= 1.0


def test_giving_up_in_a_finally_after_saying_how_it_went_changes_nothing(breaker, clock):
    probe = half_open(breaker, clock)
    breaker.failed(probe, "timed out", FAST_S)
    breaker.undecided(probe)
    assert breaker.admit() is None


def test_a_late_failure_of_a_pass_given_before_the_trip_does_not_decide_for_the_probe(breaker, clock):
    late_bad, late_good = admitted(breaker), admitted(breaker)
    probe = half_open(breaker, clock)
    breaker.failed(late_bad, "timed out", FAST_S)
    breaker.succeeded(late_good, FAST_S)
    assert breaker.snapshot().state is State.HALF_OPEN
    breaker.succeeded(probe, FAST_S)
    assert breaker.snapshot().state is State.CLOSED


def test_late_results_of_passes_given_before_the_trip_do_not_count_after_the_closing(breaker, clock):
    late = [admitted(breaker) for _ in range(20)]
    breaker.succeeded(half_open(breaker, clock), FAST_S)
    for pass_ in late:
        breaker.failed(pass_, "timed out", FAST_S)
    snapshot = breaker.snapshot()
    assert (snapshot.state, snapshot.volume) == (State.CLOSED, 0)


# The past


def test_a_breaker_that_trips_again_soon_after_closing_goes_on_doubling(breaker, clock):
    breaker.succeeded(half_open(breaker, clock), FAST_S)
    trip(breaker)
    assert 0.8 <= breaker.snapshot().next_probe_in_s <= 1.0


def test_after_enough_good_calls_it_behaves_as_new(breaker, clock):
    trip(breaker)
    for _ in range(6):
        wait_for_probe(clock)
        fail(breaker)
    wait_for_probe(clock)
    succeed(breaker, 1 + SETTINGS.minimum_volume)  # the probe, and then those that count
    clock.advance(SETTINGS.window_s)
    trip(breaker)
    assert 0.8 * 0.5 <= breaker.snapshot().next_probe_in_s <= 0.5


def test_good_calls_before_the_trip_do_not_make_it_forgotten(breaker, clock):
    succeed(breaker, 100)
    clock.advance(SETTINGS.window_s)
    breaker.succeeded(half_open(breaker, clock), FAST_S)
    succeed(breaker, SETTINGS.minimum_volume - 1)
    clock.advance(SETTINGS.window_s)
    trip(breaker)
    assert 0.8 <= breaker.snapshot().next_probe_in_s <= 1.0


def test_slow_answers_are_no_good_calls(clock):
    """At a slow rate of one in one they do not trip, but neither do they make the past forgotten."""
    breaker = Breaker(BreakerSettings(minimum_volume=4, slow_rate=1.0), clock, random.Random(1))
    breaker.succeeded(half_open(breaker, clock), FAST_S)
    succeed(breaker)
    succeed(breaker, 20, duration_s=1.0)
    clock.advance(10.0)
    trip(breaker)
    assert 0.8 <= breaker.snapshot().next_probe_in_s <= 1.0


def test_it_flaps_if_it_trips_often_within_a_minute(breaker, clock):
    flapping = []
    for _ in range(FLAPPING_TRIPS):
        breaker.succeeded(half_open(breaker, clock), FAST_S)
        flapping.append(breaker.is_flapping)
    assert flapping == [False] * (FLAPPING_TRIPS - 1) + [True]
    assert breaker.snapshot().is_flapping


def test_it_flaps_no_more_when_the_trips_are_long_ago(breaker, clock):
    for _ in range(FLAPPING_TRIPS):
        breaker.succeeded(half_open(breaker, clock), FAST_S)
    clock.advance(FLAPPING_WITHIN_S)
    assert not breaker.is_flapping
    assert not breaker.snapshot().is_flapping


def test_failed_probes_are_no_flapping(breaker, clock):
    trip(breaker)
    for _ in range(5):
        wait_for_probe(clock)
        fail(breaker)
    assert not breaker.is_flapping


# Hints


def test_a_hint_of_life_lets_the_next_call_probe_at_once(breaker):
    trip(breaker)
    breaker.hint_alive()
    assert breaker.snapshot().next_probe_in_s == 0.0
    assert admitted(breaker).is_probe


def test_a_hint_of_life_is_worth_one_probe(breaker):
    trip(breaker)
    for _ in range(100):
        breaker.hint_alive()
    fail(breaker)
    assert breaker.admit() is None


def test_a_hint_while_a_probe_is_out_allows_no_second_and_none_after_it_failed(breaker, clock):
    probe = half_open(breaker, clock)
    breaker.hint_alive()
    assert breaker.admit() is None
    breaker.failed(probe, "timed out", FAST_S)
    assert breaker.admit() is None


def test_a_hint_of_life_closes_nothing(breaker):
    trip(breaker)
    breaker.hint_alive()
    assert breaker.snapshot().state is State.OPEN


def test_a_hint_of_life_to_a_closed_breaker_is_not_saved_for_later(breaker):
    breaker.hint_alive()
    trip(breaker)
    assert breaker.admit() is None


def test_a_hinted_probe_that_fails_backs_off_like_any_other(breaker):
    trip(breaker)
    breaker.hint_alive()
    fail(breaker)
    assert 0.8 <= breaker.snapshot().next_probe_in_s <= 1.0


def test_an_undecided_hinted_probe_gives_its_right_back(breaker):
    trip(breaker)
    breaker.hint_alive()
    breaker.undecided(admitted(breaker))
    assert admitted(breaker).is_probe


def test_a_hint_of_sickness_counts_as_one_failed_call(breaker):
    fail(breaker, 3)
    breaker.hint_sick("test failed")
    snapshot = breaker.snapshot()
    assert (snapshot.state, snapshot.reason, snapshot.failures) == (State.OPEN, "timed out", 4)


def test_a_hint_of_sickness_alone_does_not_trip(breaker):
    breaker.hint_sick("test failed")
    assert breaker.snapshot().state is State.CLOSED


def test_the_latest_hint_holds(breaker):
    trip(breaker)
    breaker.hint_alive()
    breaker.hint_sick("test failed")
    assert breaker.admit() is None


def test_a_hint_of_sickness_takes_no_probe_away_whose_time_has_come(breaker, clock):
    trip(breaker)
    wait_for_probe(clock)
    breaker.hint_sick("test failed")
    assert admitted(breaker).is_probe


# Snapshot and settings


def test_a_snapshot_tells_all(breaker, clock):
    made_at = clock()
    succeed(breaker)
    fail(breaker)
    breaker.succeeded(admitted(breaker), 2.0)
    snapshot = breaker.snapshot()
    assert (snapshot.state, snapshot.reason, snapshot.since) == (State.CLOSED, None, made_at)
    assert (snapshot.volume, snapshot.failures, snapshot.slow) == (3, 1, 1)
    assert (snapshot.trips, snapshot.next_probe_in_s) == (0, 0.0)


def test_since_is_the_trip_and_then_the_closing(breaker, clock):
    clock.advance(3.0)
    tripped_at = clock()
    probe = half_open(breaker, clock)
    while_open = breaker.snapshot().since
    clock.advance(0.5)
    breaker.succeeded(probe, FAST_S)
    assert (while_open, breaker.snapshot().since) == (tripped_at, clock())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window_s", 0.0),
        ("window_s", math.nan),
        ("minimum_volume", 0),
        ("failure_rate", 0.0),
        ("failure_rate", 1.1),
        ("slow_rate", 0.0),
        ("slow_rate", 1.1),
        ("slow_s", 0.0),
        ("first_backoff_s", 0.0),
        ("backoff_cap_s", 0.4),
        ("jitter", -0.1),
        ("jitter", 1.0),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        BreakerSettings(**{name: value})


# Threads


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Threads take turns every few instructions."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager_switching")
def test_no_call_is_lost_or_counted_twice_between_threads(clock):
    threads, each = 8, 200
    breaker = Breaker(BreakerSettings(minimum_volume=10**6), clock)

    def work(which: int) -> None:
        for turn in range(each):
            pass_ = admitted(breaker)
            if turn % 4 == 0:
                breaker.failed(pass_, which, FAST_S)
            elif turn % 4 == 1:
                breaker.undecided(pass_)
            else:
                breaker.succeeded(pass_, 1.0 if turn % 4 == 2 else FAST_S)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads), timeout=LONG_S))
    snapshot = breaker.snapshot()
    assert snapshot.volume == threads * each * 3 // 4
    assert snapshot.failures == snapshot.slow == threads * each // 4


@pytest.mark.usefixtures("eager_switching")
def test_of_many_threads_one_gets_the_probe(clock):
    threads, rounds = 8, 30
    breaker = Breaker(SETTINGS, clock, random.Random(1))
    trip(breaker)
    counts = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(rounds):
            breaker.hint_alive()
            asked = pool.map(lambda _which: [breaker.admit() for _ in range(10)], range(threads), timeout=LONG_S)
            probes = [pass_ for passes in asked for pass_ in passes if pass_ is not None]
            counts.append(len(probes))
            breaker.failed(probes[0], "timed out", FAST_S)
    assert counts == [1] * rounds


@pytest.mark.usefixtures("eager_switching")
def test_threads_that_settle_one_pass_at_once_settle_it_once(clock):
    threads, rounds = 8, 100
    breaker = Breaker(BreakerSettings(minimum_volume=10**6), clock)
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(rounds):
            pass_ = admitted(breaker)
            list(
                pool.map(lambda _which, p=pass_: breaker.failed(p, "timed out", FAST_S), range(threads), timeout=LONG_S)
            )
    assert breaker.snapshot().failures == rounds


# Any order of events


@dataclasses.dataclass
class Given:
    """A pass and what the model knows of it."""

    pass_: Pass
    era: int  # the model's, when it was given
    is_settled: bool = False


class BreakerMachine(RuleBasedStateMachine):
    """The breaker against a model that keeps every call and counts anew each time.

    The clock moves in whole seconds, as long as a bucket, so that buckets and single calls are forgotten alike. The
    model does not know the jitter: between the shortest and the longest back-off either answer is right.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.breaker = Breaker(SETTINGS, self.clock, random.Random(5))
        self.given: list[Given] = []
        self.state = State.CLOSED
        self.calls: list[tuple[float, bool, bool]] = []  # when, failed?, slow?
        self.eras = 0  # trips and closings: a pass of another era is void
        self.trips = 0
        self.backoff_s = 0.0
        self.backed_off_at = 0.0
        self.good_calls = 0
        self.is_hinted = False

    # What the breaker should do.

    def recent(self) -> list[tuple[float, bool, bool]]:
        return [call for call in self.calls if self.clock() - call[0] < SETTINGS.window_s]

    def judge(self) -> None:
        recent = self.recent()
        failed, slow = sum(call[1] for call in recent), sum(call[2] for call in recent)
        if len(recent) >= SETTINGS.minimum_volume and max(failed, slow) * 2 >= len(recent):
            self.trips += 1
            self.eras += 1
            self.back_off()

    def back_off(self) -> None:
        self.state = State.OPEN
        self.is_hinted = False
        self.backoff_s = min(2 * self.backoff_s or SETTINGS.first_backoff_s, SETTINGS.backoff_cap_s)
        self.backed_off_at = self.clock()

    def settle(self, data: st.DataObject) -> tuple[Pass, bool]:
        """Any pass ever given, and whether what is said of it counts."""
        given = data.draw(st.sampled_from(self.given))
        counts = not given.is_settled and given.era == self.eras
        given.is_settled = True
        return given.pass_, counts

    # What happens.

    @rule()
    def admit(self) -> None:
        waited_s = self.clock() - self.backed_off_at
        pass_ = self.breaker.admit()
        if self.state is State.CLOSED:
            assert pass_ is not None
            assert not pass_.is_probe
        elif self.state is State.HALF_OPEN or (not self.is_hinted and waited_s < self.backoff_s * 0.8):
            assert pass_ is None
        elif self.is_hinted or waited_s >= self.backoff_s:
            assert pass_ is not None
        if pass_ is not None:
            self.given.append(Given(pass_, self.eras))
            if self.state is State.OPEN:
                assert pass_.is_probe
                self.state = State.HALF_OPEN
                self.is_hinted = False

    @precondition(lambda self: self.given)
    @rule(data=st.data(), duration_s=st.sampled_from([0.0, 0.99, 1.0, 3.0]))
    def succeeded(self, data: st.DataObject, duration_s: float) -> None:
        pass_, counts = self.settle(data)
        self.breaker.succeeded(pass_, duration_s)
        if counts and pass_.is_probe:
            self.state = State.CLOSED
            self.eras += 1
            self.calls, self.good_calls = [], 0
        elif counts:
            self.calls.append((self.clock(), False, duration_s >= 1.0))
            self.good_calls += duration_s < 1.0
            if self.good_calls >= SETTINGS.minimum_volume:
                self.backoff_s = 0.0
            self.judge()

    @precondition(lambda self: self.given)
    @rule(data=st.data(), duration_s=st.sampled_from([0.0, 2.0]))
    def failed(self, data: st.DataObject, duration_s: float) -> None:
        pass_, counts = self.settle(data)
        self.breaker.failed(pass_, "timed out", duration_s)
        if counts and pass_.is_probe:
            self.back_off()
        elif counts:
            self.calls.append((self.clock(), True, duration_s >= 1.0))
            self.judge()

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def undecided(self, data: st.DataObject) -> None:
        pass_, counts = self.settle(data)
        self.breaker.undecided(pass_)
        if counts and pass_.is_probe:
            self.state = State.OPEN
            self.is_hinted = True

    @rule()
    def hint_alive(self) -> None:
        self.breaker.hint_alive()
        self.is_hinted = self.state is State.OPEN

    @rule()
    def hint_sick(self) -> None:
        self.breaker.hint_sick("test failed")
        self.is_hinted = False
        if self.state is State.CLOSED:
            self.calls.append((self.clock(), True, False))
            self.judge()

    @rule(seconds=st.integers(1, 12))
    def advance(self, seconds: int) -> None:
        self.clock.advance(seconds)

    # What holds at any time.

    @invariant()
    def agrees_with_the_model(self) -> None:
        snapshot, recent = self.breaker.snapshot(), self.recent()
        assert (snapshot.state, snapshot.trips) == (self.state, self.trips)
        assert snapshot.volume == len(recent)
        assert snapshot.failures == sum(call[1] for call in recent)
        assert snapshot.slow == sum(call[2] for call in recent)
        assert (snapshot.reason is None) == (self.state is State.CLOSED)

    @invariant()
    def never_waits_longer_than_the_cap(self) -> None:
        snapshot = self.breaker.snapshot()
        assert 0.0 <= snapshot.next_probe_in_s <= SETTINGS.backoff_cap_s
        assert self.state is State.OPEN or snapshot.next_probe_in_s == 0.0

    @invariant()
    def at_most_one_probe_is_out(self) -> None:
        out = [given for given in self.given if given.pass_.is_probe and not given.is_settled]
        assert len(out) == (self.state is State.HALF_OPEN)


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = hypothesis_settings(max_examples=60, stateful_step_count=60, deadline=None)


# Other settings


def other(**changes) -> BreakerSettings:
    return dataclasses.replace(SETTINGS, **changes)


def test_other_settings_judge_the_next_call_and_none_before(breaker):
    fail(breaker, 3)
    breaker.adopt(other(minimum_volume=2))
    assert (breaker.snapshot().state, breaker.snapshot().failures) == (State.CLOSED, 3)
    succeed(breaker)
    assert breaker.snapshot().state is State.OPEN


def test_with_other_settings_it_trips_later(breaker):
    fail(breaker, 3)
    breaker.adopt(other(minimum_volume=6))
    fail(breaker, 2)
    assert breaker.snapshot().state is State.CLOSED
    fail(breaker)
    assert breaker.snapshot().state is State.OPEN


def test_what_was_slow_stays_slow(breaker):
    succeed(breaker, 2, duration_s=1.5)
    breaker.adopt(other(slow_s=2.0))
    succeed(breaker, duration_s=1.5)
    assert breaker.snapshot().slow == 2
    breaker.adopt(other(slow_s=1.0))
    succeed(breaker, duration_s=1.5)
    assert (breaker.snapshot().state, breaker.snapshot().reason) == (State.OPEN, SLOW)


def test_an_open_breaker_stays_open_for_its_reason_and_its_time(breaker, clock):
    trip(breaker)
    before = breaker.snapshot()
    breaker.adopt(other(backoff_cap_s=60.0, first_backoff_s=2.0))
    assert breaker.snapshot() == before
    clock.advance(before.next_probe_in_s)
    breaker.failed(admitted(breaker), "refused", FAST_S)
    assert 1.6 <= breaker.snapshot().next_probe_in_s <= 2.0


def test_a_pause_longer_than_any_may_be_now_is_shortened_and_no_other_is(breaker, clock):
    trip(breaker)
    for _ in range(5):
        wait_for_probe(clock)
        breaker.failed(admitted(breaker), "refused", FAST_S)
    long = breaker.snapshot()
    assert long.next_probe_in_s > 2.0
    breaker.adopt(other(backoff_cap_s=2.0))
    short = breaker.snapshot()
    assert 1.6 <= short.next_probe_in_s <= 2.0
    assert (short.state, short.reason, short.since, short.trips) == (State.OPEN, long.reason, long.since, long.trips)
    clock.advance(1.0)
    breaker.adopt(other(backoff_cap_s=1.5))
    assert breaker.snapshot().next_probe_in_s == short.next_probe_in_s - 1.0


def test_a_probe_that_is_out_decides_as_before(breaker, clock):
    probe = half_open(breaker, clock)
    breaker.adopt(other(minimum_volume=1, backoff_cap_s=1.0))
    assert breaker.admit() is None
    breaker.succeeded(probe, FAST_S)
    assert breaker.snapshot().state is State.CLOSED


def test_passes_given_before_count_after(breaker):
    passes = [admitted(breaker) for _ in range(4)]
    breaker.adopt(other(minimum_volume=3))
    for pass_ in passes:
        breaker.failed(pass_, "refused", FAST_S)
    assert breaker.snapshot().state is State.OPEN


def test_a_call_counts_as_long_as_the_other_settings_say(breaker, clock):
    fail(breaker, 3)
    breaker.adopt(other(window_s=100.0))
    clock.advance(50.0)
    fail(breaker)
    assert breaker.snapshot().state is State.OPEN


def test_the_same_settings_again_draw_no_dice(clock):
    breakers = [Breaker(SETTINGS, clock, random.Random(1)) for _ in range(2)]
    for breaker in breakers:
        trip(breaker)
    for _ in range(5):
        breakers[0].adopt(other())
        assert breakers[0].snapshot() == breakers[1].snapshot()
        clock.advance(5.0)
        for breaker in breakers:
            breaker.failed(admitted(breaker), "refused", FAST_S)
