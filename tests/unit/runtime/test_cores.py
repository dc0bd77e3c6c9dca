"""Which worker sits on which processor."""

import os
import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.runtime.cores import Seats, is_bound, move

pytestmark = pytest.mark.unit


def first(processors: Sequence[int]) -> int:
    return processors[0]


def last(processors: Sequence[int]) -> int:
    return processors[-1]


def each_its_own(processors: Collection[int]) -> Mapping[int, int]:
    return {processor: processor for processor in processors}


def halves(processors: Collection[int]) -> Mapping[int, int]:
    """Processors 0 and 4, 1 and 5 … are hyperthreads of one core."""
    return {processor: processor % 4 for processor in processors}


def seats() -> Seats:
    return Seats(first, each_its_own)


@pytest.mark.parametrize(
    ("pinning", "workers", "bound"),
    [("auto", 1, True), ("auto", 2, True), ("auto", 3, False), ("on", 3, True), ("on", 1, True), ("off", 1, False)],
)
def test_workers_are_bound_while_there_are_processors_enough(pinning: str, workers: int, bound: bool) -> None:
    assert is_bound(pinning, workers, 2) is bound


def test_each_worker_has_a_processor_for_itself() -> None:
    one = seats()
    assert sorted(one.take(worker, {3, 5, 7}, 3) for worker in (1, 2, 3)) == [3, 5, 7]


def test_the_first_seat_is_drawn() -> None:
    assert {Seats(cores=each_its_own).take(1, {3, 5}, 1) for _ in range(64)} == {3, 5}


def test_cores_come_before_hyperthreads() -> None:
    one = Seats(last, halves)
    assert {one.take(worker, set(range(8)), 8) % 4 for worker in range(1, 5)} == {0, 1, 2, 3}
    assert sorted(one.take(worker, set(range(8)), 8) for worker in range(5, 9)) == [0, 1, 2, 3]


@pytest.mark.parametrize("choose", [first, last])
@pytest.mark.parametrize("victim", [1, 2, 3])
def test_a_worker_takes_the_seat_of_the_one_it_replaces(choose: type, victim: int) -> None:
    one = Seats(choose, each_its_own)
    for worker in (1, 2, 3):
        one.take(worker, set(range(8)), 3)
    seat = one.seat_of(victim)
    one.leave(victim)

    assert one.take(4, set(range(8)), 3) == seat


def test_during_a_reload_a_new_worker_sits_beside_an_old_one_only_if_it_must() -> None:
    one = seats()
    assert one.take(1, {0, 1}, 1) == 0
    assert one.take(2, {0, 1}, 1) == 1
    assert one.take(3, {0, 1}, 1) == 0


@pytest.mark.parametrize("choose", [first, last])
def test_after_a_reload_no_two_share_a_processor_although_all_were_taken_by_the_old_ones(choose: type) -> None:
    one = Seats(choose, each_its_own)
    for worker in (1, 2):
        one.take(worker, {0, 1, 2}, 2)
    for worker in (3, 4):
        one.take(worker, {0, 1, 2}, 2)

    assert one.seat_of(3) != one.seat_of(4)


def test_processors_that_may_not_be_used_any_more_do_not_count() -> None:
    one = seats()
    one.take(1, {0, 1}, 2)
    one.take(2, {0, 1}, 2)

    assert one.take(3, {7}, 3) == 7


def test_leaving_twice_or_without_a_seat_is_no_error() -> None:
    one = seats()
    one.leave(1)
    one.take(1, {0}, 1)
    one.leave(1)
    one.leave(1)
    assert one.seat_of(1) is None


@given(st.lists(st.integers(0, 4), max_size=60), st.randoms())
def test_the_youngest_are_spread_evenly_whatever_comes_and_goes(events: list[int], randomness: object) -> None:
    one = Seats(randomness.choice, halves)  # type: ignore[attr-defined]
    processors = {0, 1, 4, 5}
    alive: list[int] = []
    for age, event in enumerate(events):
        if event == 0 and alive:
            one.leave(alive.pop(0))  # as at a reload, or when there are to be fewer
        else:
            one.take(age, processors, 4)
            alive.append(age)
        load = Counter(one.seat_of(worker) for worker in alive[-4:])
        assert max(load.values(), default=1) == 1
        cores = Counter(seat % 4 for worker in alive[-2:] if (seat := one.seat_of(worker)) is not None)
        assert max(cores.values(), default=1) <= 2


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_all_threads_of_a_process_move() -> None:
    everywhere = os.sched_getaffinity(0)
    one = {min(everywhere)}
    end = threading.Event()
    thread = threading.Thread(target=end.wait, args=(30,))
    thread.start()
    try:
        move(os.getpid(), one)
        assert os.sched_getaffinity(0) == os.sched_getaffinity(thread.native_id or 0) == one
    finally:
        move(os.getpid(), everywhere)
        end.set()
        thread.join()
    assert os.sched_getaffinity(0) == everywhere


def test_a_process_that_has_ended_needs_not_move() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    move(pid, {0})
