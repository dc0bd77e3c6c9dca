"""Laws of the thread that keeps the copy on disk."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from director_wsgi.federation.backup import Backup
from director_wsgi.federation.store.errors import StoreError, StoreFull, StoreUnwritable
from director_wsgi.federation.store.mirror import Mirror
from director_wsgi.limits.deadline import Deadline
from tests.fakes import FakeClock
from tests.unit.federation.store.puts import ROOM, put
from tests.unit.federation.workers import Faulty

SOON_S = 5.0


@pytest.fixture
def disk(tmp_path: Path, clock: FakeClock, wall: FakeClock) -> Faulty:
    return Faulty(tmp_path / "disk.sqlite", clock=clock, wall=wall)


class Worker:
    def __init__(self, bus: Path, disk: Faulty, name: str, clock: FakeClock, wall: FakeClock) -> None:
        self.bus = Faulty(bus, clock=clock, wall=wall)
        self.mirror = Mirror(self.bus, disk, holder=name, wall=wall, passing={"passing"})
        self.backup = Backup(self.mirror, self.bus, disk, clock=clock)


@pytest.fixture
def worker(tmp_path: Path, disk: Faulty, clock: FakeClock, wall: FakeClock) -> Iterator[Worker]:
    worker = Worker(tmp_path / "bus.sqlite", disk, "one", clock, wall)
    yield worker
    assert worker.backup.stop(Deadline.after(SOON_S))


def keys(disk: Faulty, clock: FakeClock, wall: FakeClock) -> set[str]:
    store = Faulty(disk.store.path, clock=clock, wall=wall)
    found = {record.key for record in store.changes(0).records if record.kind != "mirror"}
    store.close()
    return found


def test_what_the_disk_holds_is_there_when_it_has_started(worker: Worker, disk: Faulty) -> None:
    disk.put([put("a")], ROOM)
    assert worker.backup.start(Deadline.after(SOON_S))
    assert worker.bus.get("ad", "a") is not None


def test_what_was_learned_last_is_copied_when_it_ends(
    worker: Worker, disk: Faulty, clock: FakeClock, wall: FakeClock
) -> None:
    assert worker.backup.start(Deadline.after(SOON_S))
    worker.bus.put([put("a")], ROOM)
    assert worker.backup.stop(Deadline.after(SOON_S))
    assert keys(disk, clock, wall) == {"a"}
    assert disk.is_closed
    assert worker.bus.is_closed
    assert worker.backup.age_s == 0.0


def test_another_copies_at_once_when_it_has_ended(
    worker: Worker, tmp_path: Path, disk: Faulty, clock: FakeClock, wall: FakeClock
) -> None:
    assert worker.backup.start(Deadline.after(SOON_S))
    assert worker.backup.stop(Deadline.after(SOON_S))
    other = Faulty(disk.store.path, clock=clock, wall=wall)
    successor = Worker(tmp_path / "bus.sqlite", other, "two", clock, wall)
    assert successor.mirror.copy(ROOM)
    successor.bus.close()
    other.close()


def test_a_disk_that_hangs_holds_up_no_start(worker: Worker, disk: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()
    changes = disk.store.changes

    def hang(since: int) -> object:
        assert goes_on.wait(SOON_S)
        return changes(since)

    monkeypatch.setattr(disk.store, "changes", hang)
    disk.put([put("a")], ROOM)
    assert not worker.backup.start(Deadline.after(0.0))
    assert worker.bus.get("ad", "a") is None
    goes_on.set()
    assert worker.backup.stop(Deadline.after(SOON_S))
    assert worker.backup.trouble is None


def test_a_disk_that_cannot_be_written_is_trouble_and_no_more(worker: Worker, disk: Faulty) -> None:
    disk.cannot_write = StoreFull("no room")
    assert worker.backup.start(Deadline.after(SOON_S))
    assert worker.backup.stop(Deadline.after(SOON_S))
    assert worker.backup.trouble is disk.cannot_write
    assert worker.backup.age_s is None


@pytest.mark.parametrize("trouble", [StoreUnwritable("gone"), RuntimeError("a mistake")])
def test_without_anything_to_share_it_goes_on_trying(worker: Worker, disk: Faulty, trouble: Exception) -> None:
    if isinstance(trouble, StoreError):
        worker.bus.cannot_read = worker.bus.cannot_write = trouble
    else:
        disk.cannot_write = trouble
    worker.backup.start(Deadline.after(SOON_S))
    assert worker.backup.stop(Deadline.after(SOON_S))


def test_one_that_was_never_started_ends_at_once(worker: Worker) -> None:
    assert worker.backup.stop(Deadline.after(0.0))


def test_what_nobody_would_miss_is_not_written(worker: Worker, disk: Faulty, clock: FakeClock, wall: FakeClock) -> None:
    """Else a disk would be written every second, for nothing."""
    worker.bus.put([put("a"), put("w", kind="passing")], ROOM)
    assert worker.mirror.restore(ROOM)
    assert worker.mirror.copy(ROOM)
    assert keys(disk, clock, wall) == {"a"}
    written = len(disk.puts)
    worker.bus.put([put("w", kind="passing")], ROOM)
    assert worker.mirror.copy(ROOM)
    assert len(disk.puts) == written
    worker.bus.put([put("b")], ROOM)
    assert worker.mirror.copy(ROOM)
    assert keys(disk, clock, wall) == {"a", "b"}
