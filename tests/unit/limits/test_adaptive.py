import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.limits.adaptive import SHORTEST_ROUND_TRIP_S, AdaptiveLimit
from tests.fakes import FakeClock

LONG_S = 30.0


def succeed(limit: AdaptiveLimit, times: int) -> None:
    """Calls that get answers while the limit is fully used."""
    for _ in range(times):
        limit.succeeded(0.01, in_flight=limit.limit)


def test_it_starts_where_it_is_told(clock):
    assert AdaptiveLimit(initial=16, clock=clock).limit == 16


@pytest.mark.parametrize(("least", "initial", "most", "expected"), [(4, 1, 8, 4), (4, 16, 8, 8), (3, 16, 3, 3)])
def test_it_starts_within_its_bounds(least, initial, most, expected, clock):
    assert AdaptiveLimit(least, initial, most, clock).limit == expected


@pytest.mark.parametrize(("least", "most"), [(0, 4), (-1, 4), (5, 4)])
def test_bounds_that_cannot_hold_are_refused(least, most):
    with pytest.raises(ValueError, match="least"):
        AdaptiveLimit(least=least, most=most)


@pytest.mark.parametrize("start", [1, 2, 7, 16, 99])
def test_as_many_good_calls_as_the_limit_raise_it_by_one(start, clock):
    limit = AdaptiveLimit(initial=start, clock=clock)
    succeed(limit, start - 1)
    before = limit.limit
    succeed(limit, 1)
    assert (before, limit.limit) == (start, start + 1)


def test_growth_is_additive(clock):
    """Four round trips, of as many calls as the limit allows each, add four: not a factor of two to the fourth."""
    limit = AdaptiveLimit(initial=10, clock=clock)
    for _ in range(4):
        succeed(limit, limit.limit)
    assert limit.limit == 14


def test_a_limit_that_is_not_used_does_not_grow(clock):
    limit = AdaptiveLimit(initial=16, clock=clock)
    for _ in range(1000):
        limit.succeeded(0.01, in_flight=7)
    assert limit.limit == 16


def test_a_limit_half_of_which_is_in_flight_is_used(clock):
    limit = AdaptiveLimit(initial=16, clock=clock)
    for _ in range(16):
        limit.succeeded(0.01, in_flight=8)
    assert limit.limit == 17


def test_a_lost_call_halves_it(clock):
    limit = AdaptiveLimit(initial=16, clock=clock)
    limit.dropped()
    assert limit.limit == 8


def test_growth_starts_anew_after_a_decrease(clock):
    limit = AdaptiveLimit(initial=16, clock=clock)
    succeed(limit, 15)
    limit.dropped()
    clock.advance(1.0)
    succeed(limit, 7)
    assert limit.limit == 8


def test_calls_that_were_in_flight_together_halve_it_once(clock):
    """Sixteen calls begin, one after another within a second, and each times out two seconds after it began."""
    limit = AdaptiveLimit(initial=16, clock=clock)
    clock.advance(2.0)
    for _ in range(16):
        limit.dropped(2.0)
        clock.advance(1.0 / 16)
    assert limit.limit == 8


def test_a_call_begun_after_the_decrease_halves_it_again(clock):
    limit = AdaptiveLimit(initial=16, clock=clock)
    limit.dropped(2.0)
    clock.advance(2.0)
    limit.dropped(1.5)
    assert limit.limit == 4


def test_losses_without_a_duration_halve_it_once_per_shortest_round_trip(clock):
    limit = AdaptiveLimit(initial=64, clock=clock)
    for _ in range(10):
        limit.dropped()
        clock.advance(SHORTEST_ROUND_TRIP_S / 16)
    before = limit.limit
    clock.advance(SHORTEST_ROUND_TRIP_S)
    limit.dropped()
    assert (before, limit.limit) == (32, 16)


def test_an_answer_to_a_call_begun_before_the_decrease_says_nothing_of_the_new_limit(clock):
    limit = AdaptiveLimit(initial=4, clock=clock)
    limit.dropped()
    clock.advance(1.0)
    for _ in range(100):
        limit.succeeded(1.5, in_flight=4)
    assert limit.limit == 2


def test_it_never_rises_above_the_most(clock):
    limit = AdaptiveLimit(initial=9, most=10, clock=clock)
    succeed(limit, 1000)
    assert limit.limit == 10


@pytest.mark.parametrize("least", [1, 3])
def test_it_never_falls_below_the_least(least, clock):
    limit = AdaptiveLimit(least=least, initial=16, clock=clock)
    for _ in range(20):
        limit.dropped()
        clock.advance(1.0)
    assert limit.limit == least


def test_it_recovers_from_the_least(clock):
    limit = AdaptiveLimit(initial=16, clock=clock)
    for _ in range(10):
        limit.dropped()
        clock.advance(1.0)
    succeed(limit, sum(range(1, 16)))
    assert limit.limit == 16


def test_two_senders_that_share_a_bottleneck_end_up_equal(clock):
    """Chiu and Jain's point. Both lose a call when together they exceed what the bottleneck bears."""
    big, small = AdaptiveLimit(initial=60, clock=clock), AdaptiveLimit(initial=2, clock=clock)
    for _ in range(400):
        clock.advance(1.0)
        if big.limit + small.limit > 64:
            big.dropped()
            small.dropped()
        else:
            succeed(big, big.limit)
            succeed(small, small.limit)
    assert abs(big.limit - small.limit) <= 2
    assert big.limit + small.limit >= 30


@pytest.mark.parametrize(("most", "expected"), [(100, 100), (50, 50), (34, 34), (1, 1), (200, 200)])
def test_who_is_at_the_most_stays_there_when_the_bounds_change(most, expected, clock):
    limit = AdaptiveLimit(initial=100, most=100, clock=clock)
    limit.rescale(1, most)
    assert limit.limit == expected


@pytest.mark.parametrize(("most", "expected"), [(50, 20), (34, 13), (6, 4), (2, 2), (100, 40), (300, 120), (101, 41)])
def test_who_is_below_the_most_keeps_his_proportion_to_it(most, expected, clock):
    limit = AdaptiveLimit(initial=40, most=100, clock=clock)
    limit.rescale(min(4, most), most)
    assert limit.limit == expected


def test_bounds_that_meet_fix_it(clock):
    limit = AdaptiveLimit(least=9, initial=1, most=9, clock=clock)
    limit.rescale(3, 3)
    limit.dropped()
    clock.advance(1.0)
    succeed(limit, 100)
    assert limit.limit == 3


@pytest.mark.parametrize(("least", "most"), [(0, 4), (5, 4)])
def test_new_bounds_that_cannot_hold_are_refused_and_nothing_changes(least, most, clock):
    limit = AdaptiveLimit(initial=16, clock=clock)
    with pytest.raises(ValueError, match="least"):
        limit.rescale(least, most)
    succeed(limit, 16)
    assert limit.limit == 17


def test_good_calls_count_on_if_the_bounds_are_the_same_as_before(clock):
    limit = AdaptiveLimit(initial=2, most=8, clock=clock)
    succeed(limit, 1)
    limit.rescale(1, 8)
    succeed(limit, 1)
    assert limit.limit == 3


def test_it_rises_and_falls_within_the_new_bounds(clock):
    limit = AdaptiveLimit(initial=8, most=8, clock=clock)
    limit.rescale(2, 4)
    for _ in range(5):
        limit.dropped()
        clock.advance(1.0)
    lowest = limit.limit
    succeed(limit, 100)
    assert (lowest, limit.limit) == (2, 4)


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 500))
def test_there_and_back_it_does_not_rise_and_the_second_time_it_does_not_move(here, there, initial):
    limit = AdaptiveLimit(initial=initial, most=here, clock=FakeClock())
    seen = [limit.limit]
    for _ in range(3):
        limit.rescale(1, there)
        limit.rescale(1, here)
        seen.append(limit.limit)
    if there <= here:
        assert seen[1] <= max(seen[0], -(-here // there))
    else:
        assert seen[1] == seen[0]
    assert seen[1] == seen[2] == seen[3]


@given(
    least=st.integers(1, 5),
    initial=st.integers(-3, 40),
    more=st.integers(0, 30),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("succeeded"), st.floats(0, 3), st.integers(0, 60)),
            st.tuples(st.just("dropped"), st.floats(0, 3), st.just(0)),
            st.tuples(st.just("advance"), st.floats(0, 3), st.just(0)),
            st.tuples(st.just("rescale"), st.just(0.0), st.integers(1, 60)),
        ),
        max_size=60,
    ),
)
def test_whatever_happens_it_stays_in_its_bounds_and_moves_by_one_up_or_by_half_down(least, initial, more, steps):
    clock = FakeClock()
    most = least + more
    limit = AdaptiveLimit(least, initial, most, clock)
    for what, seconds, in_flight in steps:
        before = limit.limit
        if what == "succeeded":
            limit.succeeded(seconds, in_flight)
            assert limit.limit in {before, before + 1}
        elif what == "dropped":
            limit.dropped(seconds)
            assert limit.limit in {before, max(before // 2, least)}
        elif what == "rescale":
            least, most = min(least, in_flight), in_flight
            limit.rescale(least, most)
        else:
            clock.advance(seconds)
        assert least <= limit.limit <= most


def test_no_good_call_is_lost_between_threads(clock):
    """From 1 to 80 takes 1 + 2 + ... + 79 good calls, not one less."""
    limit = AdaptiveLimit(initial=1, most=1000, clock=clock)
    threads, each = 8, 395
    assert threads * each == sum(range(1, 80))

    def work() -> None:
        for _ in range(each):
            limit.succeeded(0.0, in_flight=1000)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(work) for _ in range(threads)]:
                done.result(LONG_S)
    finally:
        sys.setswitchinterval(interval)
    assert limit.limit == 80


@pytest.mark.parametrize(
    ("least", "most", "expected"), [(4, 100, 40), (4, 300, 40), (4, 41, 40), (4, 20, 20), (60, 90, 60), (7, 7, 7)]
)
def test_within_other_bounds_what_was_found_out_stays(least, most, expected, clock):
    limit = AdaptiveLimit(initial=40, most=100, clock=clock)
    limit.bound(least, most)
    assert limit.limit == expected
    for _ in range(8):
        limit.dropped()
        clock.advance(1.0)
    assert limit.limit == least
    succeed(limit, 50_000)
    assert limit.limit == most


def test_bounds_between_which_it_is_leave_its_good_calls_and_its_last_loss(clock):
    limit = AdaptiveLimit(initial=4, most=8, clock=clock)
    limit.dropped()
    limit.bound(1, 7)
    limit.dropped()
    clock.advance(1.0)
    succeed(limit, 1)
    limit.bound(1, 6)
    succeed(limit, 1)
    assert limit.limit == 3


@pytest.mark.parametrize(("least", "most"), [(0, 4), (5, 4)])
def test_bounds_that_cannot_hold_are_refused_and_nothing_changes(least, most, clock):
    limit = AdaptiveLimit(initial=16, clock=clock)
    with pytest.raises(ValueError, match="least"):
        limit.bound(least, most)
    succeed(limit, 16)
    assert limit.limit == 17
