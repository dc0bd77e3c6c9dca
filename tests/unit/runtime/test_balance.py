"""As many connections for each worker as for the others."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.runtime.balance import (
    ALONE_S,
    HOLD_S,
    IN_VAIN,
    LOOK_S,
    MOST_WORKERS,
    SILENT_S,
    TOO_MANY,
    Register,
    Share,
)
from tests.fakes import FakeClock

pytestmark = pytest.mark.unit


class Fleet:
    """Workers in one process; by age."""

    def __init__(self, clock: FakeClock, *ages: int) -> None:
        self.register = Register(clock=clock)
        self.shares: dict[int, Share] = {}
        for age in ages:
            self.join(age)

    def join(self, age: int) -> Share:
        self.register.take(age)
        self.register.open(age)
        self.shares[age] = self.register.own
        return self.shares[age]

    def tell(self, **connections: int) -> None:
        for name, number in connections.items():
            self.shares[int(name[1:])].tell(number)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


# The register.


def test_what_a_worker_tells_others_see_through_a_fork(clock: FakeClock) -> None:
    fleet = Fleet(clock, 1, 2)
    pid = os.fork()
    if pid == 0:
        fleet.tell(w1=7)
        os._exit(0)
    os.waitpid(pid, 0)
    assert fleet.register.told(clock()) == [7]


def test_who_has_told_nothing_for_long_does_not_count(clock: FakeClock) -> None:
    fleet = Fleet(clock, 1, 2)
    fleet.tell(w1=1, w2=2)
    clock.advance(SILENT_S - 0.1)
    fleet.tell(w2=3)
    assert fleet.register.told(clock()) == [1, 3]
    clock.advance(0.1)
    assert fleet.register.told(clock()) == [3]


def test_who_has_ended_or_ends_does_not_count(clock: FakeClock) -> None:
    fleet = Fleet(clock, 1, 2, 3)
    fleet.tell(w1=1, w2=2, w3=3)
    fleet.register.leave(1)
    fleet.register.leave(1)
    fleet.shares[3].withdraw()
    assert fleet.register.told(clock()) == [2]


def test_a_place_is_given_again_and_says_nothing_of_who_had_it(clock: FakeClock) -> None:
    fleet = Fleet(clock, 1, 2)
    fleet.tell(w1=9, w2=2)
    fleet.register.leave(1)
    third = fleet.join(3)
    assert fleet.register.told(clock()) == [2]
    third.tell(5)
    assert fleet.register.told(clock()) == [5, 2]


def test_who_finds_no_place_takes_what_comes_and_is_not_seen(clock: FakeClock) -> None:
    fleet = Fleet(clock, *range(MOST_WORKERS))
    late = fleet.join(MOST_WORKERS)
    late.tell(1000)
    fleet.tell(w0=0)
    assert fleet.register.told(clock()) == [0]
    assert not late.leaves_next_nowait(1000)
    assert not late.has_too_many
    late.withdraw()


def test_a_process_that_is_no_worker_has_a_part_that_does_nothing(clock: FakeClock) -> None:
    own = Register(clock=clock).own
    own.tell(3)
    assert (own.connections, own.leaves_next_nowait(3), own.has_too_many) == (3, False, False)


# The next one.


def test_who_is_alone_leaves_none(clock: FakeClock) -> None:
    fleet = Fleet(clock, 1)
    fleet.tell(w1=50)
    assert not fleet.shares[1].leaves_next_nowait(50)


def test_who_has_more_than_another_leaves_it_the_next_one(clock: FakeClock) -> None:
    fleet = Fleet(clock, 1, 2, 3)
    fleet.tell(w1=2, w2=1, w3=1)
    leaves = [fleet.shares[age].leaves_next_nowait(has) for age, has in ((1, 2), (2, 1), (3, 1))]
    assert leaves == [True, False, False]
    assert fleet.shares[1].left == 1


def test_it_is_left_until_the_others_have_as_many(clock: FakeClock) -> None:
    fleet = Fleet(clock, 1, 2)
    fleet.tell(w1=2, w2=1)
    one = fleet.shares[1]
    assert one.leaves_next_nowait(2)
    assert one.patience_s == HOLD_S
    assert one.is_holding(2)
    fleet.tell(w2=2)
    assert not one.is_holding(2)
    assert one.patience_s > 1000
    assert not one.leaves_next_nowait(2)


def test_or_until_it_has_fewer_itself(clock: FakeClock) -> None:
    fleet = Fleet(clock, 1, 2)
    fleet.tell(w1=2, w2=1)
    one = fleet.shares[1]
    assert one.leaves_next_nowait(2)
    assert not one.is_holding(1)


def test_what_nobody_wants_it_takes_a_millisecond_later(clock: FakeClock) -> None:
    fleet = Fleet(clock, 1, 2)
    fleet.tell(w1=2, w2=1)
    one = fleet.shares[1]
    assert one.leaves_next_nowait(2)
    clock.advance(HOLD_S)
    assert not one.is_holding(2)
    assert not one.leaves_next_nowait(2)
    one.end_turn()
    assert one.leaves_next_nowait(3), "the one after that is left again"


def test_what_another_has_taken_does_not_count_as_unwanted(clock: FakeClock) -> None:
    fleet = Fleet(clock, 1, 2)
    fleet.tell(w1=5, w2=1)
    one = fleet.shares[1]
    for _ in range(2 * IN_VAIN):
        assert one.leaves_next_nowait(5), "this is another one"
        clock.advance(HOLD_S)
        assert not one.is_holding(5)
        one.end_turn()  # it was gone


def test_if_the_others_take_none_it_waits_for_them_no_more_for_a_while(clock: FakeClock) -> None:
    fleet = Fleet(clock, 1, 2)
    fleet.tell(w1=5, w2=1)
    one = fleet.shares[1]
    for _ in range(IN_VAIN):
        assert one.leaves_next_nowait(5)
        clock.advance(HOLD_S)
        assert not one.is_holding(5)
        assert not one.leaves_next_nowait(5)
        one.end_turn()
    assert not one.leaves_next_nowait(5)
    clock.advance(ALONE_S)
    fleet.tell(w2=1)
    assert one.leaves_next_nowait(5)


def test_a_worker_that_ends_holds_nothing_back(clock: FakeClock) -> None:
    fleet = Fleet(clock, 1, 2)
    fleet.tell(w1=5, w2=1)
    one = fleet.shares[1]
    assert one.leaves_next_nowait(5)
    one.withdraw()
    assert one.patience_s > 1000
    assert not one.is_holding(5)


# One too many.


def test_who_has_more_than_its_share_parts_with_one_each_time_it_looks(clock: FakeClock) -> None:
    fleet = Fleet(clock, 1, 2)
    fleet.tell(w2=0)
    one = fleet.shares[1]
    one.tell(8)
    assert one.has_too_many
    assert [one.parts_nowait() for _ in range(3)] == [True, False, False]
    one.tell(8)
    assert not one.has_too_many, "it has looked just now"
    clock.advance(LOOK_S)
    one.tell(8)
    assert one.parts_nowait()
    assert one.parted == 2


@pytest.mark.parametrize(
    ("own", "other", "parts"), [(2, 0, False), (3, 1, False), (4, 0, True), (18, 14, True), (17, 15, False)]
)
def test_one_that_is_left_over_is_not_too_many(clock: FakeClock, own: int, other: int, parts: bool) -> None:
    fleet = Fleet(clock, 1, 2)
    fleet.tell(w2=other)
    fleet.tell(w1=own)
    assert fleet.shares[1].has_too_many is parts


def test_a_worker_that_ends_parts_with_none(clock: FakeClock) -> None:
    fleet = Fleet(clock, 1, 2)
    fleet.tell(w2=0)
    fleet.tell(w1=9)
    fleet.shares[1].withdraw()
    assert not fleet.shares[1].parts_nowait()


@given(st.lists(st.integers(0, 60), min_size=1, max_size=6))
def test_whoever_comes_again_finds_its_place_and_that_comes_to_an_end(connections: list[int]) -> None:
    clock = FakeClock()
    fleet = Fleet(clock, *range(len(connections)))
    now = list(connections)
    for _ in range(2 * sum(now) + 2):
        clock.advance(LOOK_S)
        for age, number in enumerate(now):
            fleet.shares[age].tell(number)
        clock.advance(LOOK_S)
        for age, number in enumerate(now):
            fleet.shares[age].tell(number)
        parted = [age for age in fleet.shares if fleet.shares[age].parts_nowait()]
        if not parted:
            break
        for age in parted:
            now[age] -= 1
            now[now.index(min(now))] += 1
    else:
        raise AssertionError(now)
    assert max(now) < sum(now) / len(now) + TOO_MANY


@given(st.integers(2, 5), st.lists(st.integers(0, 4), min_size=1, max_size=80))
def test_whoever_wakes_first_the_connections_are_spread(workers: int, wakes: list[int]) -> None:
    """Each wakes with probability and order of its own; one that may take the next does."""
    clock = FakeClock()
    fleet = Fleet(clock, *range(workers))
    now = [0] * workers
    for age in range(workers):
        fleet.shares[age].tell(0)
    for first in wakes:
        order = [*range(first % workers, workers), *range(first % workers)]
        for age in order:
            share = fleet.shares[age]
            share.is_holding(now[age])
            if not share.leaves_next_nowait(now[age]):
                now[age] += 1
                share.tell(now[age])
                break
        else:
            raise AssertionError("nobody takes it")
    assert max(now) - min(now) <= 1
