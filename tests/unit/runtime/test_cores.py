"""Which worker sits on which core."""

from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.runtime.cores import Seats


def first(cores: object) -> int:
    assert isinstance(cores, list)
    return int(cores[0])


def test_each_worker_has_a_core_for_itself() -> None:
    seats = Seats()
    assert sorted(seats.take(worker, {3, 5, 7}, 3) or -1 for worker in (1, 2, 3)) == [3, 5, 7]


def test_a_replacement_takes_the_core_that_has_become_free() -> None:
    seats = Seats(first)
    for worker in (1, 2, 3):
        seats.take(worker, {0, 1, 2}, 3)
    seats.leave(2)

    assert seats.take(4, {0, 1, 2}, 3) == 1


def test_during_a_reload_the_new_worker_sits_beside_the_old_one_only_if_it_must() -> None:
    seats = Seats(first)
    assert seats.take(1, {0, 1}, 1) == 0
    assert seats.take(2, {0, 1}, 1) == 1
    assert seats.take(3, {0, 1}, 1) == 0


def test_more_workers_than_cores_wander() -> None:
    seats = Seats()
    assert seats.take(1, {0, 1}, 3) is None
    assert seats.core_of(1) is None


def test_leaving_twice_or_without_a_seat_is_no_error() -> None:
    seats = Seats()
    seats.leave(1)
    seats.take(1, {0}, 1)
    seats.leave(1)
    seats.leave(1)
    assert seats.core_of(1) is None


@given(st.lists(st.integers(0, 5), max_size=60))
def test_workers_are_spread_evenly_whatever_comes_and_goes(events: list[int]) -> None:
    seats = Seats()
    cores = {0, 1, 2}
    alive: list[int] = []
    for age, event in enumerate(events):
        if event == 0 and alive:
            seats.leave(alive.pop(0))
        else:
            load_before = [sum(seats.core_of(worker) == core for worker in alive) for core in cores]
            seats.take(age, cores, 3)
            core = seats.core_of(age)
            assert core is not None
            assert load_before[core] == min(load_before)
            alive.append(age)
