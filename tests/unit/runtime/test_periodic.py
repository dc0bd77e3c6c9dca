import logging
import threading

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime.periodic import SHORTEST_INTERVAL_S, PeriodicJob

LONG_S = 30.0


def later() -> Deadline:
    return Deadline.after(LONG_S)


class Work:
    """Counts its calls, and raises what it is told to."""

    def __init__(self, *errors: Exception | None) -> None:
        self.threads: list[str] = []
        self._errors = list(errors)
        self._changed = threading.Condition()

    def __call__(self) -> None:
        with self._changed:
            self.threads.append(threading.current_thread().name)
            self._changed.notify_all()
        if self._errors and (error := self._errors.pop(0)):
            raise error

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.threads) >= count, LONG_S)


@pytest.fixture
def run(monkeypatch):
    """Starts a job without the floor under its interval, and ends it."""
    monkeypatch.setattr("director_wsgi.runtime.periodic.SHORTEST_INTERVAL_S", 0.0)
    jobs = []

    def start(*args, **options) -> PeriodicJob:
        jobs.append(PeriodicJob("director-test", *args, **options))
        jobs[-1].start()
        return jobs[-1]

    yield start
    assert all(job.stop(later()) for job in jobs)


def test_it_calls_again_and_again_on_its_own_thread(run):
    work = Work()
    run(0.0, work)
    work.wait_for(3)
    assert set(work.threads) == {"director-test"}


def test_the_first_call_comes_at_once_unless_told_otherwise(run):
    at_once, later_on = Work(), Work()
    run(3600.0, at_once)
    run(3600.0, later_on, at_once=False)
    at_once.wait_for(1)
    assert later_on.threads == []


def test_after_it_was_stopped_nothing_is_called_and_its_thread_is_gone(run):
    work = Work()
    job = run(0.0, work)
    work.wait_for(1)
    assert job.stop(later())
    calls = len(work.threads)
    assert not [thread for thread in threading.enumerate() if thread.name == "director-test"]
    assert job.stop(later())
    assert len(work.threads) == calls


def test_stopping_does_not_wait_for_the_interval_to_pass(run):
    work = Work()
    job = run(3600.0, work)
    work.wait_for(1)
    assert job.stop(later())


def test_stopping_waits_no_longer_than_its_deadline_for_a_call_that_hangs(run):
    began, may_end = threading.Event(), threading.Event()
    job = run(0.0, lambda: (began.set(), may_end.wait(LONG_S)))
    assert began.wait(LONG_S)
    assert not job.stop(Deadline.after(-1))
    may_end.set()
    assert job.stop(later())


def test_a_job_that_was_never_started_can_be_stopped():
    assert PeriodicJob("director-test", 1.0, Work()).stop(later())


def test_a_call_may_stop_its_own_job(run):
    stopped = []
    jobs = []

    def stop() -> None:
        stopped.append(jobs[0].stop(later()))

    jobs.append(PeriodicJob("director-test", 0.0, stop))
    jobs[0].start()
    assert jobs[0].stop(later())
    assert stopped == [False]


def test_a_call_that_raises_does_not_end_the_job(run):
    work = Work(OSError("one"), ValueError("two"))
    run(0.0, work)
    work.wait_for(3)


def test_the_same_kind_of_error_is_logged_once_until_a_call_succeeds(run, caplog):
    work = Work(OSError("1"), OSError("2"), ValueError("3"), OSError("4"), None, OSError("5"), OSError("6"))
    with caplog.at_level(logging.ERROR):
        run(0.0, work)
        work.wait_for(8)
    logged = [str(record.exc_info[1]) for record in caplog.records]
    assert logged == ["1", "3", "5"]


def test_an_interval_may_be_asked_for_before_each_wait(run):
    asked = []
    work = Work()
    run(lambda: asked.append(len(work.threads)) or 0.0, work)
    work.wait_for(3)
    assert asked[:2] == [1, 2]


@pytest.mark.parametrize("interval_s", [0.0, -5.0, float("nan"), float("-inf")])
def test_no_interval_is_so_short_that_the_job_would_spin(interval_s):
    assert PeriodicJob("director-test", lambda: interval_s, Work())._next_s() == SHORTEST_INTERVAL_S


def test_an_endless_interval_is_waited_for_without_an_error():
    job = PeriodicJob("director-test", float("inf"), Work())
    assert job._next_s() == threading.TIMEOUT_MAX


def test_a_job_cannot_be_started_twice(run):
    job = run(3600.0, Work())
    with pytest.raises(RuntimeError):
        job.start()


def test_waking_it_makes_the_next_call_at_once(run):
    work = Work()
    job = run(3600.0, work)
    for calls in (2, 3):
        work.wait_for(calls - 1)
        job.wake()
        work.wait_for(calls)


def test_a_wake_during_a_call_is_not_lost(run):
    may_end, calls = threading.Event(), Work()

    def work() -> None:
        calls()
        assert may_end.wait(LONG_S)

    job = run(3600.0, work)
    calls.wait_for(1)
    job.wake()
    may_end.set()
    calls.wait_for(2)
