"""Laws of the threads that talk to the registry. Threads, but no sockets and no sleep."""

import threading

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.trust.pool import THREADS, Errand, Pool
from tests.unit.trust.registries import HandPool

WAIT_S = 10.0


class Log:
    """Takes down what was run and what was dropped, in order."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.dropped: list[str] = []

    def errand(self, name: str) -> Errand:
        return Errand(run=lambda: self.ran.append(name), drop=lambda: self.dropped.append(name))


@pytest.fixture
def log() -> Log:
    return Log()


def registry_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("director-registry")]


def test_before_it_is_started_whoever_submits_runs_it(log: Log) -> None:
    pool = Pool()
    assert pool.submit("a", log.errand("a"), is_urgent=False)
    assert log.ran == ["a"]
    assert not registry_threads()
    assert pool.stop(Deadline.after(WAIT_S))


def test_the_oldest_goes_first_and_urgent_ones_before_all(log: Log) -> None:
    pool = HandPool()
    pool.start()
    for name in "abc":
        assert pool.submit(name, log.errand(name), is_urgent=False)
    for name in "xyz":
        assert pool.submit(name, log.errand(name), is_urgent=True)
    assert pool.waiting == 6
    assert pool.run() == 6
    assert log.ran == list("xyzabc")


def test_what_is_hurried_goes_with_the_urgent_ones(log: Log) -> None:
    pool = HandPool()
    pool.start()
    for name in "abc":
        pool.submit(name, log.errand(name), is_urgent=False)
    pool.submit("x", log.errand("x"), is_urgent=True)
    pool.hurry("c")
    pool.hurry("x")
    pool.hurry("not there")
    pool.run()
    assert log.ran == list("xcab")


@pytest.mark.parametrize("is_urgent", [False, True])
def test_what_stands_in_line_is_not_taken_twice(log: Log, is_urgent: bool) -> None:
    pool = HandPool()
    pool.start()
    assert pool.submit("a", log.errand("a"), is_urgent=is_urgent)
    assert not pool.submit("a", log.errand("again"), is_urgent=False)
    assert not pool.submit("a", log.errand("again"), is_urgent=True)
    pool.run()
    assert pool.submit("a", log.errand("later"), is_urgent=True)
    pool.run()
    assert log.ran == ["a", "later"]


def test_the_lines_are_bounded_and_urgent_ones_have_their_own(log: Log) -> None:
    pool = Pool(threads=0, capacity=3)
    pool.start()
    taken = [pool.submit(number, log.errand(""), is_urgent=False) for number in range(5)]
    assert taken == [True] * 3 + [False] * 2
    taken = [pool.submit(number, log.errand(""), is_urgent=True) for number in range(10, 15)]
    assert taken == [True] * 3 + [False] * 2
    pool.hurry(0)
    assert pool.waiting == 6


def test_at_the_end_what_waits_is_dropped_and_nothing_is_taken_any_more(log: Log) -> None:
    pool = HandPool()
    pool.start()
    pool.submit("a", log.errand("a"), is_urgent=False)
    pool.submit("x", log.errand("x"), is_urgent=True)
    assert pool.stop(Deadline.after(WAIT_S))
    assert (log.ran, log.dropped) == ([], ["x", "a"])
    assert not pool.submit("b", log.errand("b"), is_urgent=True)
    assert pool.stop(Deadline.after(WAIT_S))
    assert (log.ran, log.dropped) == ([], ["x", "a"])


def test_errands_are_run_by_two_threads_of_its_own_that_end_with_it() -> None:
    pool = Pool()
    pool.start()
    assert sorted(registry_threads()) == ["director-registry-0", "director-registry-1"]
    arrived = threading.Semaphore(0)
    go_on = threading.Event()
    runners: set[str] = set()
    inside: list[int] = []
    lock = threading.Lock()
    most = 0

    def run() -> None:
        nonlocal most
        with lock:
            inside.append(1)
            most = max(most, len(inside))
            runners.add(threading.current_thread().name)
        arrived.release()
        assert go_on.wait(WAIT_S)
        with lock:
            inside.pop()

    dropped: list[int] = []
    for number in range(6):
        assert pool.submit(number, Errand(run, lambda number=number: dropped.append(number)), is_urgent=number % 2 == 0)
    for _ in range(THREADS):
        assert arrived.acquire(timeout=WAIT_S)
    assert not pool.stop(Deadline.after(0))  # two are being run
    assert len(dropped) == 6 - THREADS
    go_on.set()
    assert pool.stop(Deadline.after(WAIT_S))
    assert most == THREADS == 2
    assert runners == {"director-registry-0", "director-registry-1"}
    assert not registry_threads()
