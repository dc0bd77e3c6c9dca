"""What the master does about seats when workers come, go, or are to be more or fewer."""

import logging
import os
from types import SimpleNamespace
from typing import Any

import pytest

from director_wsgi.runtime import balance, cores, seating

pytestmark = pytest.mark.unit

PROCESSORS = {0, 1}


class Master:
    """What of gunicorn's is used, and which processors its workers may use; worker 1 has the process id 101."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_workers = 0
        self.WORKERS: dict[int, Any] = {}
        self.may: dict[int, set[int]] = {}
        self.age = 0
        self.seats = cores.Seats(lambda best: best[0], lambda processors: {one: one for one in processors})
        self.register = balance.Register()
        monkeypatch.setattr(seating, "seats", self.seats)
        monkeypatch.setattr(seating, "register", self.register)
        monkeypatch.setattr(seating, "_here", seating._Here())
        monkeypatch.setattr(seating, "move", self.move)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: PROCESSORS)

    def move(self, pid: int, processors: set[int]) -> None:
        self.may[pid] = processors

    def start(self, pinning: str = "auto") -> None:
        self.age += 1
        seating.prepare(self, SimpleNamespace(age=self.age), pinning)
        self.WORKERS[100 + self.age] = SimpleNamespace(age=self.age)
        seat = self.seats.seat_of(self.age)
        self.may[100 + self.age] = PROCESSORS if seat is None else {seat}

    def end(self, age: int) -> None:
        del self.WORKERS[100 + age], self.may[100 + age]
        seating.forget(age)

    def set(self, workers: int, pinning: str = "auto") -> None:
        self.num_workers = workers
        seating.rearrange(self, workers, pinning)
        while len(self.WORKERS) < workers:
            self.start(pinning)
        while len(self.WORKERS) > workers:
            self.end(min(worker.age for worker in self.WORKERS.values()))


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> Master:
    return Master(monkeypatch)


def test_workers_stand_up_when_there_are_too_many_and_sit_down_when_there_are_not(master: Master) -> None:
    master.set(2)
    assert master.may == {101: {0}, 102: {1}}
    master.set(3)
    assert master.may == {101: PROCESSORS, 102: PROCESSORS, 103: PROCESSORS}
    master.set(2)
    assert sorted(map(sorted, master.may.values())) == [[0], [1]]
    assert set(master.may) == {102, 103}
    master.end(3)
    master.start()
    assert sorted(map(sorted, master.may.values())) == [[0], [1]]


def test_whoever_sits_well_is_not_moved(master: Master) -> None:
    master.set(1)
    before = dict(master.may)
    master.set(2)
    assert master.may[101] == before[101]
    assert len(master.may[102] | master.may[101]) == 2


def test_workers_that_are_bound_in_any_case_share_cores_evenly(master: Master) -> None:
    master.set(4, "on")
    assert sorted(map(sorted, master.may.values())) == [[0], [0], [1], [1]]


def test_workers_that_are_not_to_be_bound_are_not(master: Master) -> None:
    master.set(2, "off")
    assert list(master.may.values()) == [PROCESSORS, PROCESSORS]


def test_a_worker_that_cannot_be_moved_is_told_of(
    master: Master, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(pid: int, processors: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    master.set(2)
    monkeypatch.setattr(seating, "move", fail)
    master.set(3)
    assert "Worker 101 cannot be moved to core 0,1" in caplog.text


def test_a_worker_that_cannot_be_bound_serves_and_says_so(
    master: Master, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(pid: int, processors: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    master.set(1)
    monkeypatch.setattr(os, "sched_setaffinity", fail)
    seating.sit_down(SimpleNamespace(age=1), "auto")
    assert seating.trouble() == "The worker cannot be bound to core 0: Operation not permitted"
    assert seating.trouble() in caplog.text


def test_a_worker_that_sits_says_where(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[object] = []
    master.set(1)
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, processors: bound.append(processors))
    seating.sit_down(SimpleNamespace(age=1), "auto")
    assert bound == [{0}]
    assert seating.trouble() == ""
    assert seating.note() == "This worker runs on core 0,1 (Director.PinWorkers: auto)"
    master.register.own.tell(3)
    assert len(master.register.told(balance.monotonic())) == 1


@pytest.mark.parametrize(
    ("workers", "quota", "said"),
    [
        (2, float("inf"), ""),
        (3, float("inf"), "3 workers on 2 cores"),
        (2, 1.5, ""),
        (2, 1.0, "2 workers, but the control group allows the time of 1 cores"),
        (1, 0.5, ""),
    ],
)
def test_more_workers_than_can_be_served_at_once_are_told_of(
    master: Master,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    workers: int,
    quota: float,
    said: str,
) -> None:
    monkeypatch.setattr(seating, "quota", lambda: quota)
    with caplog.at_level(logging.WARNING):
        seating.warn_of_too_many(workers)
    assert (said in caplog.text) if said else not caplog.text
