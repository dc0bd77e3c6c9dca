"""A master that cannot start one more worker."""

import errno
import gc
import logging
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from director_wsgi.runtime.cores import seats
from director_wsgi.runtime.spawning import LOGGED_S, Heartbeat, outlive_shortage

OURSELVES = SimpleNamespace(uid=os.geteuid(), gid=os.getegid())
SHORT = OSError(errno.EAGAIN, "Resource temporarily unavailable")


class Master:
    """What of gunicorn's is used."""

    def __init__(self) -> None:
        self.WORKERS: dict[int, object] = {1: object()}
        self.worker_age = 0
        self.lacks: Exception | None = None

    def spawn_worker(self) -> int:
        self.worker_age += 1
        seats.take(self.worker_age, [0], 1)
        if self.lacks is not None:
            raise self.lacks
        return 100 + self.worker_age


def test_a_fork_that_fails_leaves_what_there_is(caplog: pytest.LogCaptureFixture) -> None:
    master = Master()
    outlive_shortage(master)
    assert master.spawn_worker() == 101
    master.lacks = SHORT

    assert master.spawn_worker() is None
    assert seats.seat_of(2) is None
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "go on with the 1 there are: [Errno 11]" in caplog.text
    seats.leave(1)


def test_it_says_so_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 1000.0
    master = Master()
    outlive_shortage(master, clock=lambda: now)
    master.spawn_worker()
    master.lacks = SHORT
    for _ in range(5):
        master.spawn_worker()
    assert len(caplog.records) == 1
    now += LOGGED_S
    master.spawn_worker()

    assert len(caplog.records) == 2
    seats.leave(1)


def test_the_first_worker_that_cannot_be_started_ends_the_service() -> None:
    master = Master()
    outlive_shortage(master)
    master.lacks = SHORT
    with pytest.raises(BlockingIOError):
        master.spawn_worker()
    seats.leave(1)


def test_a_defect_is_not_taken_for_a_shortage() -> None:
    master = Master()
    outlive_shortage(master)
    master.spawn_worker()
    master.lacks = ValueError("a defect")
    with pytest.raises(ValueError, match="a defect"):
        master.spawn_worker()
    for age in (1, 2):
        seats.leave(age)


def test_a_worker_is_not_kept_in_the_masters_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails after the fork fails in another process."""
    master = Master()
    outlive_shortage(master)
    master.spawn_worker()
    master.lacks = SHORT
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(BlockingIOError):
        master.spawn_worker()
    for age in (1, 2):
        seats.leave(age)


def test_a_heartbeat_needs_no_directory_and_tells_when_it_was() -> None:
    heartbeat = Heartbeat(OURSELVES)
    assert Path(f"/proc/self/fd/{heartbeat.fileno()}").readlink().name.startswith("memfd:")
    before = heartbeat.last_update()
    heartbeat.notify()

    assert heartbeat.last_update() != before
    heartbeat.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_heartbeat_is_the_workers_own() -> None:
    heartbeat = Heartbeat(SimpleNamespace(uid=65_534, gid=65_534))
    found = os.fstat(heartbeat.fileno())
    assert (found.st_uid, stat.S_IMODE(found.st_mode) & 0o200) == (65_534, 0o200)
    heartbeat.close()
    gc.collect()  # nothing is left open
