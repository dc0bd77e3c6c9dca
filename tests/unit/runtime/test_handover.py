"""Old workers end when the new ones serve: a master that is faked, children that are real where their end matters."""

import os
from types import SimpleNamespace
from typing import Any

import pytest

from director_wsgi.runtime import handover
from tests.fakes import FakeClock

CALENDAR = 1_700_000_000.0  # how a heartbeat's file is stamped when it is made


class Beat:
    def __init__(self, at: float) -> None:
        self.at = at

    def last_update(self) -> float:
        return self.at


class Closed:
    def last_update(self) -> float:
        raise ValueError("I/O operation on closed file")


class Master:
    """gunicorn's arbiter as far as it is used; `ended` tells when the surplus was ended, by the clock."""

    def __init__(self, clock: FakeClock, number: int, *beats: Any) -> None:
        self.clock = clock
        self.num_workers = number
        self.WORKERS = {-n: SimpleNamespace(age=n, tmp=beat) for n, beat in enumerate(beats, 1)}
        self.worker_age = len(beats)
        self.ended: list[float] = []
        self.pauses = 0

    def manage_workers(self) -> None:
        self.ended.append(self.clock())

    def pause(self, seconds: float) -> None:
        self.pauses += 1
        self.clock.advance(seconds)
        if self.pauses == 10:
            self.WORKERS[-self.worker_age].tmp.at = self.clock()


@pytest.fixture(autouse=True)
def _all_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_has_ended", lambda _pid: False)


def managed(master: Master) -> float:
    """How long it took until the surplus was ended."""
    before = master.clock()
    master.manage_workers()
    return master.ended[-1] - before


def test_the_old_ones_end_when_the_new_one_serves(clock: FakeClock) -> None:
    master = Master(clock, 1, Beat(clock()), Beat(CALENDAR))
    handover.hand_over(master, clock=clock, pause=master.pause)

    assert managed(master) == pytest.approx(10 * handover.LOOK_S)


def test_one_that_hangs_is_waited_for_once_and_not_for_ever(clock: FakeClock) -> None:
    master = Master(clock, 2, Beat(clock()), Beat(clock()), Beat(CALENDAR), Beat(CALENDAR))
    handover.hand_over(master, clock=clock, pause=master.pause)

    assert managed(master) == pytest.approx(handover.READY_S, abs=2 * handover.LOOK_S)
    assert managed(master) == 0.0


def test_nobody_is_waited_for_where_nobody_is_to_end(clock: FakeClock) -> None:
    master = Master(clock, 2, Beat(clock()), Beat(CALENDAR))
    handover.hand_over(master, clock=clock, pause=master.pause)

    assert managed(master) == 0.0


def test_when_all_are_to_end_nobody_is_waited_for(clock: FakeClock) -> None:
    """So it is after WINCH."""
    master = Master(clock, 0, Beat(clock()), Beat(CALENDAR))
    handover.hand_over(master, clock=clock, pause=master.pause)

    assert managed(master) == 0.0


def test_one_whose_heartbeat_cannot_be_read_is_not_waited_for(clock: FakeClock) -> None:
    master = Master(clock, 1, Beat(clock()), Closed())
    handover.hand_over(master, clock=clock, pause=master.pause)

    assert managed(master) == 0.0


def test_one_that_has_ended_is_not_waited_for_and_gunicorn_still_learns_how_it_ended(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    pid = os.posix_spawn("/bin/false", ["false"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    master = Master(clock, 1, Beat(clock()), Beat(CALENDAR))
    master.WORKERS[pid] = master.WORKERS.pop(-2)
    handover.hand_over(master, clock=clock, pause=master.pause)

    assert managed(master) == 0.0
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
