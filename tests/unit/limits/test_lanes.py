import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from director_wsgi.limits.lanes import Lanes, Permit

KEYS = "abcde"
PERMITS = st.integers(1, 40)
ALPHAS = st.floats(0.01, 100.0)


def take_all(lanes: Lanes, key: str) -> list[Permit]:
    """All that `key` gets if it takes and takes."""
    taken = []
    while (permit := lanes.take_nowait(key)) is not None:
        taken.append(permit)
    return taken


def test_a_key_that_is_alone_ends_at_two_thirds_by_default():
    assert len(take_all(Lanes(30), "a")) == 20


def test_two_busy_keys_end_at_two_fifths_each():
    lanes = Lanes(50)
    while any([lanes.take_nowait("a"), lanes.take_nowait("b")]):
        pass
    assert (lanes.in_use("a"), lanes.in_use("b")) == (20, 20)


@given(st.integers(2, 60), ALPHAS)
def test_one_key_alone_never_takes_all(permits: int, alpha: float):
    assert len(take_all(Lanes(permits, alpha), "a")) < permits


@given(st.integers(2, 60), ALPHAS)
def test_a_newcomer_finds_one_while_the_first_key_has_its_share(permits: int, alpha: float):
    lanes = Lanes(permits, alpha)
    take_all(lanes, "a")
    assert lanes.take_nowait("b") is not None


def test_a_key_gets_one_even_if_there_is_only_one():
    lanes = Lanes(1)
    assert lanes.take_nowait("a") is not None
    assert lanes.take_nowait("b") is None


def test_what_a_key_gives_back_another_one_can_take():
    lanes = Lanes(3)
    first = take_all(lanes, "a")
    second = take_all(lanes, "b")
    assert (len(first), len(second), lanes.take_nowait("c")) == (2, 1, None)
    first[0].release()
    assert lanes.take_nowait("c") is not None


def test_a_busy_key_gives_way_as_others_come():
    """What it has above its share, which is smaller now, it keeps; what it gives back is for others."""
    lanes = Lanes(30)
    held = take_all(lanes, "a")
    for key in "bcd":
        take_all(lanes, key)
    held.pop().release()
    assert lanes.take_nowait("a") is None
    assert lanes.take_nowait("newcomer") is not None


def test_giving_back_twice_gives_back_one():
    lanes = Lanes(2)
    permit = lanes.take_nowait("a")
    other = lanes.take_nowait("b")
    assert permit is not None
    assert other is not None
    permit.release()
    permit.release()
    assert lanes.statistics().in_use == 1
    assert lanes.in_use("b") == 1


def test_a_permit_ends_with_its_block_also_if_that_raises():
    lanes = Lanes(2)
    permit = lanes.take_nowait("a")
    assert permit is not None
    with pytest.raises(KeyError), permit:
        raise KeyError
    assert lanes.statistics().in_use == 0


def test_a_key_that_has_none_is_forgotten():
    lanes = Lanes(8)
    for number in range(1000):
        permit = lanes.take_nowait(f"/namespace/{number}")
        assert permit is not None
        permit.release()
    assert lanes.statistics().keys == 0
    assert not lanes._in_use


def test_the_key_is_not_shown():
    permit = Lanes(1).take_nowait("secret")
    assert "secret" not in repr(permit)


@pytest.mark.parametrize(("permits", "alpha"), [(0, 2.0), (-1, 2.0), (4, 0.0), (4, -1.0), (4, float("nan"))])
def test_senseless_numbers_are_refused(permits: int, alpha: float):
    with pytest.raises(ValueError, match=r"must be|at least"):
        Lanes(permits, alpha)


def test_more_permits_can_be_taken_at_once():
    lanes = Lanes(1)
    lanes.take_nowait("a")
    lanes.resize(2)
    assert lanes.take_nowait("b") is not None
    assert lanes.take_nowait("c") is None
    assert lanes.statistics().permits == 2


def test_with_fewer_permits_nobody_loses_one_and_none_is_given_until_enough_came_back():
    lanes = Lanes(4)
    permits = [lanes.take_nowait(key) for key in "abcd"]
    lanes.resize(2)
    seen = []
    for permit in permits:
        seen.append((lanes.excess, lanes.take_nowait("e")))
        assert permit is not None
        permit.release()
    assert seen == [(2, None), (1, None), (0, None), (0, seen[3][1])]
    assert seen[3][1] is not None


@pytest.mark.parametrize("permits", [0, -1])
def test_there_is_always_at_least_one_permit(permits: int):
    lanes = Lanes(3)
    with pytest.raises(ValueError, match="at least"):
        lanes.resize(permits)
    assert lanes.statistics().permits == 3


STEPS = st.one_of(st.tuples(st.sampled_from(KEYS), st.booleans()), PERMITS)
"""A key takes or gives back; or the number of permits becomes another."""


@settings(max_examples=200, deadline=None)
@given(PERMITS, ALPHAS, st.lists(STEPS, max_size=120))
def test_the_rule_holds_whatever_comes(permits: int, alpha: float, steps: list[tuple[str, bool] | int]):
    lanes = Lanes(permits, alpha)
    most_permits = permits
    held: dict[str, list[Permit]] = {key: [] for key in KEYS}
    results: Counter[str] = Counter()
    for step in steps:
        if isinstance(step, int):
            permits = step
            most_permits = max(most_permits, permits)
            lanes.resize(permits)
            assert lanes.excess == max(0, sum(map(len, held.values())) - permits)
            continue
        key, takes = step
        if not takes:
            if held[key]:
                held[key].pop().release()
            continue
        have, free = len(held[key]), permits - sum(map(len, held.values()))
        permit = lanes.take_nowait(key)
        if permit is None:
            results["full" if free < 1 else "share"] += 1
            assert free < 1 or (have and (free == 1 or have >= alpha * free))
        else:
            results["taken"] += 1
            held[key].append(permit)
            assert free > 0
            assert not have or (free > 1 and have < alpha * free)
        assert lanes.in_use(key) == len(held[key])
    statistics = lanes.statistics()
    assert (statistics.taken, statistics.refused_full, statistics.refused_share) == (
        results["taken"],
        results["full"],
        results["share"],
    )
    assert statistics.in_use == sum(map(len, held.values()))
    assert statistics.keys == sum(map(bool, held.values()))
    assert statistics.in_use <= statistics.most_in_use <= most_permits
    assert statistics.permits == permits


@pytest.fixture
def hasty_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_switches")
def test_threads_that_take_and_give_back_never_have_more_than_there_are():
    lanes = Lanes(4)
    lock = threading.Lock()
    out = most = 0

    def work(key: str) -> None:
        nonlocal out, most
        for _ in range(300):
            permit = lanes.take_nowait(key)
            if permit is None:
                continue
            with lock:
                out += 1
                most = max(most, out)
            with lock:
                out -= 1
            permit.release()
            permit.release()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, "aaaabbcd"))
    statistics = lanes.statistics()
    assert most <= 4
    assert statistics.most_in_use <= 4
    assert (statistics.in_use, statistics.keys) == (0, 0)


def test_a_permit_given_back_by_two_threads_at_once_is_given_back_once():
    """One thread 1. is about to give it back, another one 2. does so, the first 3. goes on."""
    lanes = Lanes(8)
    _kept, permit = lanes.take_nowait("a"), lanes.take_nowait("a")
    assert permit is not None
    lock = lanes._lock

    class OtherThreadFirst:
        def __enter__(self) -> None:
            lanes._lock = lock
            permit.release()
            lock.acquire()

        def __exit__(self, *_: object) -> None:
            lock.release()

    lanes._lock = OtherThreadFirst()
    permit.release()
    assert lanes.statistics().in_use == 1
