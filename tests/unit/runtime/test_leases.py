import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime.leases import MAX_REAPERS, LeaseError, Leases

LONG_S = 30.0


class Thing:
    """Has an end, which may be held up."""

    def __init__(self, log: list[str], name: str = "thing") -> None:
        self.name = name
        self.may_end = threading.Event()
        self.may_end.set()
        self.ending = threading.Event()
        self.ended = threading.Event()
        self.ended_by = ""
        self._log = log

    def close(self, deadline: Deadline) -> None:
        self.ending.set()
        assert self.may_end.wait(LONG_S)
        self._log.append(self.name)
        self.ended_by = threading.current_thread().name
        self.ended.set()


class Factory:
    """Counts what it built."""

    def __init__(self) -> None:
        self.built: list[Thing] = []
        self.ended: list[str] = []

    def __call__(self) -> Thing:
        self.built.append(Thing(self.ended, f"thing {len(self.built)}"))
        return self.built[-1]


@pytest.fixture
def factory():
    return Factory()


@pytest.fixture
def leases():
    leases = Leases()
    yield leases
    assert leases.close(Deadline.after(LONG_S))
    for thread in threading.enumerate():
        if thread.name == "director-reaper":
            thread.join(LONG_S)
            assert not thread.is_alive()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def later() -> Deadline:
    return Deadline.after(LONG_S)


def counts(leases: Leases) -> tuple[int, int, int]:
    told = leases.statistics()
    return told.live, told.builds, told.retiring


def test_one_create_and_five_reuses_build_once(leases, factory):
    held = [leases.acquire("key", factory, Thing.close) for _ in range(6)]
    assert {id(lease.value) for lease in held} == {id(factory.built[0])}
    assert counts(leases) == (1, 1, 0)


def test_another_key_is_another_resource(leases, factory):
    a, b = (leases.acquire(key, factory, Thing.close) for key in "ab")
    assert a.value is not b.value
    assert counts(leases) == (2, 2, 0)


def test_a_resource_lives_until_its_last_holder_lets_go(leases, factory):
    first, second = (leases.acquire("key", factory, Thing.close) for _ in range(2))
    first.release()
    assert not factory.built[0].ending.is_set()
    second.release()
    assert factory.built[0].ended.wait(LONG_S)
    assert leases.statistics().live == 0


def test_letting_go_twice_takes_nothing_from_the_others(leases, factory):
    """A count of users would have fallen to zero under the feet of the second holder."""
    first, second = (leases.acquire("key", factory, Thing.close) for _ in range(2))
    for _ in range(3):
        first.release()
    assert leases.statistics().live == 1
    assert leases.acquire("key", factory, Thing.close).value is second.value


def test_what_is_ending_is_handed_to_nobody(leases, factory):
    lease = leases.acquire("key", factory, Thing.close)
    lease.value.may_end.clear()
    lease.release()
    assert lease.value.ending.wait(LONG_S)
    assert leases.acquire("key", factory, Thing.close).value is factory.built[1]
    assert counts(leases) == (1, 2, 1)
    lease.value.may_end.set()


def test_a_late_second_release_does_not_touch_the_successor(leases, factory):
    old = leases.acquire("key", factory, Thing.close)
    old.release()
    leases.acquire("key", factory, Thing.close)
    old.release()
    assert counts(leases)[0] == 1
    assert not factory.built[1].ending.is_set()


def test_the_end_comes_on_a_reaper_thread_and_nobody_who_lets_go_waits_for_it(leases, factory):
    lease = leases.acquire("key", factory, Thing.close)
    lease.value.may_end.clear()
    lease.release()  # returns, though the end is held up
    lease.value.may_end.set()
    assert lease.value.ended.wait(LONG_S)
    assert lease.value.ended_by == "director-reaper"


def test_an_end_is_given_a_deadline(leases):
    given = []
    leases.acquire("key", lambda: "thing", lambda _thing, deadline: given.append(deadline.remaining_s())).release()
    assert leases.close(later())
    assert 0 < given[0] <= 5.0


def test_an_end_that_hangs_delays_no_other(leases, factory):
    hung, quick = (leases.acquire(key, factory, Thing.close) for key in "ab")
    hung.value.may_end.clear()
    hung.release()
    assert hung.value.ending.wait(LONG_S)
    quick.release()
    assert quick.value.ended.wait(LONG_S)
    hung.value.may_end.set()


def test_reapers_are_bounded(leases, factory):
    held = [leases.acquire(key, factory, Thing.close) for key in range(MAX_REAPERS + 3)]
    for lease in held:
        lease.value.may_end.clear()
        lease.release()
    for lease in held[:MAX_REAPERS]:
        assert lease.value.ending.wait(LONG_S)
    reapers = [thread for thread in threading.enumerate() if thread.name == "director-reaper"]
    assert len(reapers) == MAX_REAPERS
    assert counts(leases) == (0, MAX_REAPERS + 3, MAX_REAPERS + 3)
    for lease in held:
        lease.value.may_end.set()


@pytest.mark.parametrize("error", [OSError, SystemExit])
def test_an_end_that_raises_is_logged_and_the_others_still_come(leases, factory, caplog, error):
    def close(_thing: str, _deadline: Deadline) -> None:
        raise error

    with caplog.at_level(logging.ERROR):
        for _ in range(MAX_REAPERS + 1):  # as many as could take all reapers with them
            leases.acquire("a", lambda: "thing", close).release()
        lease = leases.acquire("b", factory, Thing.close)
        lease.release()
        assert lease.value.ended.wait(LONG_S)
        assert leases.close(later())
    assert [record.getMessage() for record in caplog.records] == ["str did not close"] * (MAX_REAPERS + 1)


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, SystemExit])
def test_a_failed_build_leaves_no_trace(leases, factory, error):
    def fail() -> Thing:
        raise error

    with pytest.raises(error):
        leases.acquire("key", fail, Thing.close)
    assert counts(leases) == (0, 0, 0)
    assert leases.acquire("key", factory, Thing.close).value is factory.built[0]


def test_a_failed_build_of_one_key_leaves_the_live_ones_alone(leases, factory):
    live = leases.acquire("live", factory, Thing.close)
    with pytest.raises(ZeroDivisionError):
        leases.acquire("new", lambda: 1 // 0, Thing.close)
    assert leases.acquire("live", factory, Thing.close).value is live.value
    assert not live.value.ending.is_set()


class SlowFactory(Factory):
    """Builds when told to; fails as often as told."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__()
        self.began = threading.Event()
        self.may_go_on = threading.Event()
        self._failures = failures

    def __call__(self) -> Thing:
        self.began.set()
        assert self.may_go_on.wait(LONG_S)
        if self._failures:
            self._failures -= 1
            raise OSError("not yet")
        return super().__call__()


def test_a_build_delays_only_those_who_want_the_same(leases, factory, pool):
    slow = SlowFactory()
    building = pool.submit(leases.acquire, "slow", slow, Thing.close)
    assert slow.began.wait(LONG_S)
    assert leases.acquire("other", factory, Thing.close).value is factory.built[0]
    with pytest.raises(LeaseError):
        leases.acquire("slow", factory, Thing.close, deadline=Deadline.after(-1))
    slow.may_go_on.set()
    assert building.result(LONG_S).value is slow.built[0]


def test_those_who_wait_for_a_build_share_it(leases, pool):
    slow = SlowFactory()
    holding = [pool.submit(leases.acquire, "key", slow, Thing.close, deadline=later()) for _ in range(5)]
    assert slow.began.wait(LONG_S)
    slow.may_go_on.set()
    assert {id(one.result(LONG_S).value) for one in holding} == {id(slow.built[0])}
    assert counts(leases) == (1, 1, 0)


def test_if_a_build_fails_one_of_those_who_wait_tries_again(leases, pool):
    slow = SlowFactory(failures=1)
    holding = [pool.submit(leases.acquire, "key", slow, Thing.close, deadline=later()) for _ in range(5)]
    assert slow.began.wait(LONG_S)
    slow.may_go_on.set()
    errors = [one for one in holding if one.exception(LONG_S) is not None]
    assert len(errors) == 1
    assert counts(leases) == (1, 1, 0)


def test_closing_ends_what_is_still_held_and_hands_out_nothing_more(factory):
    leases = Leases()
    lease = leases.acquire("key", factory, Thing.close)
    assert leases.close(later())
    assert factory.ended == ["thing 0"]
    with pytest.raises(LeaseError):
        leases.acquire("key", factory, Thing.close)
    lease.release()
    assert leases.close(later())
    assert factory.ended == ["thing 0"]


def test_one_that_hangs_delays_no_other_when_all_are_closed(factory):
    leases = Leases()
    hung, *others = (leases.acquire(key, factory, Thing.close) for key in range(MAX_REAPERS + 2))
    hung.value.may_end.clear()
    assert not leases.close(Deadline.after(-1))
    assert all(lease.value.ended.wait(LONG_S) for lease in others)
    hung.value.may_end.set()
    assert leases.close(later())


def test_closing_waits_no_longer_than_its_deadline(factory):
    leases = Leases()
    lease = leases.acquire("key", factory, Thing.close)
    lease.value.may_end.clear()
    assert not leases.close(Deadline.after(-1))
    lease.value.may_end.set()
    assert leases.close(later())


def test_what_was_being_built_when_the_leases_closed_is_ended(pool):
    leases, slow = Leases(), SlowFactory()
    building = pool.submit(leases.acquire, "key", slow, Thing.close)
    assert slow.began.wait(LONG_S)
    assert not leases.close(Deadline.after(-1))
    slow.may_go_on.set()
    assert isinstance(building.exception(LONG_S), LeaseError)
    assert leases.close(later())
    assert slow.ended == ["thing 0"]


def test_closing_does_not_wait_for_a_build_that_failed(pool):
    leases, slow = Leases(), SlowFactory(failures=1)
    building = pool.submit(leases.acquire, "key", slow, Thing.close)
    assert slow.began.wait(LONG_S)
    closing = pool.submit(leases.close, later())
    while not leases._idle._waiters:
        threading.Event().wait(0.001)
    slow.may_go_on.set()
    assert closing.result(LONG_S)
    assert isinstance(building.exception(LONG_S), OSError)


def test_without_a_reaper_thread_to_be_had_the_next_release_tries_again(leases, factory, monkeypatch, caplog):
    def no_thread(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    held = [leases.acquire(key, factory, Thing.close) for key in range(2 * MAX_REAPERS)]
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        for lease in held[1:]:
            lease.release()
    assert counts(leases) == (1, 2 * MAX_REAPERS, 2 * MAX_REAPERS - 1)
    held[0].release()
    assert all(lease.value.ended.wait(LONG_S) for lease in held)


def test_many_holders_at_once_never_see_a_resource_that_has_ended(pool):
    leases, wrong = Leases(), []

    class Fragile:
        def __init__(self) -> None:
            self.is_closed = False

        def close(self, _deadline: Deadline) -> None:
            self.is_closed = True

    def work() -> None:
        for _ in range(200):
            lease = leases.acquire("key", Fragile, Fragile.close, deadline=later())
            if lease.value.is_closed:
                wrong.append(lease)
            lease.release()

    for done in [pool.submit(work) for _ in range(8)]:
        done.result(LONG_S)
    assert leases.close(later())
    assert wrong == []
    assert counts(leases)[::2] == (0, 0)


def test_a_lease_says_what_it_holds(leases, factory):
    lease = leases.acquire("key", factory, Thing.close)
    assert repr(lease) == "<Lease Thing>"
    lease.release()
    assert repr(lease) == "<Lease Thing, released>"
