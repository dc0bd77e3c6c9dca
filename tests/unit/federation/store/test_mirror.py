"""Laws of the bus and its backup."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from director_wsgi.federation.store.errors import StoreBusy, StoreFull, StoreUnwritable
from director_wsgi.federation.store.mirror import KIND, LEASE_S, Mirror
from director_wsgi.federation.store.records import Changes, Store
from director_wsgi.federation.store.sqlite import SqliteStore
from director_wsgi.limits.deadline import Deadline
from tests.fakes import FakeClock
from tests.unit.federation.store.conftest import Opened
from tests.unit.federation.store.puts import ENDS_AT, ROOM, drop, put


@pytest.fixture
def bus(opened: Opened, tmp_path: Path) -> SqliteStore:
    return opened(tmp_path / "bus.sqlite")


@pytest.fixture
def backup(opened: Opened, tmp_path: Path) -> SqliteStore:
    return opened(tmp_path / "disk" / "backup.sqlite")


@pytest.fixture
def mirror(bus: SqliteStore, backup: SqliteStore, wall: FakeClock) -> Mirror:
    return Mirror(bus, backup, holder="one", wall=wall)


@pytest.fixture
def reboot(opened: Opened, tmp_path: Path, wall: FakeClock, clock: FakeClock) -> Callable[[], Mirror]:
    """A new bus, the same backup."""
    number = 0

    def make() -> Mirror:
        nonlocal number
        number += 1
        clock.now = 10.0
        wall.advance(1.0)
        backup = opened(tmp_path / "disk" / "backup.sqlite")
        return Mirror(opened(tmp_path / f"bus{number}.sqlite"), backup, holder=f"rebooted{number}", wall=wall)

    return make


def held(store: Store) -> dict[str, tuple[bytes, float]]:
    return {record.key: (record.body, record.expires_at) for record in store.changes(0).records if record.kind != KIND}


class Faulty:
    """A store that fails while it is told to."""

    def __init__(self, store: Store) -> None:
        self.error: Exception | None = None
        self._store = store

    def __getattr__(self, name: str) -> object:
        if self.error is not None:
            raise self.error
        return getattr(self._store, name)


def test_what_was_copied_is_there_after_a_reboot(
    bus: SqliteStore, mirror: Mirror, reboot: Callable[[], Mirror]
) -> None:
    assert mirror.restore(ROOM)
    bus.put([put("a"), put("b"), put("c")], ROOM)
    assert mirror.copy(ROOM)
    bus.put([put("a", None, expires_at=ENDS_AT + 60), drop("b"), put("c", b"new")], ROOM)
    assert mirror.copy(ROOM)
    later = reboot()
    assert later.restore(ROOM)
    assert held(later._bus) == {"a": (b"body", ENDS_AT + 60), "c": (b"new", ENDS_AT)}


def test_what_has_ended_is_not_restored(
    bus: SqliteStore, mirror: Mirror, reboot: Callable[[], Mirror], wall: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    bus.put([put("a"), put("b", expires_at=ENDS_AT + 60)], ROOM)
    mirror.copy(ROOM)
    wall.now = ENDS_AT
    later = reboot()
    with caplog.at_level(logging.INFO):
        assert later.restore(ROOM)
    assert list(held(later._bus)) == ["b"]
    assert "1 of 3 stored records" in caplog.text


def test_a_bus_is_filled_once_whoever_asks(
    bus: SqliteStore, backup: SqliteStore, mirror: Mirror, wall: FakeClock
) -> None:
    backup.put([put("a")], ROOM)
    other = Mirror(bus, backup, holder="other", wall=wall)
    assert mirror.restore(ROOM)
    bus.put([drop("a")], ROOM)
    backup.put([put("b")], ROOM)
    assert other.restore(ROOM)
    assert mirror.restore(ROOM)
    assert held(bus) == {}


def test_what_the_bus_knows_already_is_newer(bus: SqliteStore, backup: SqliteStore, mirror: Mirror) -> None:
    backup.put([put("a", b"old"), put("b", b"old"), put("c", b"old")], ROOM)
    bus.put([put("a", b"new"), put("b", b"new")], ROOM)
    bus.put([drop("b")], ROOM)
    assert mirror.restore(ROOM)
    assert {key: body for key, (body, _) in held(bus).items()} == {"a": b"new", "c": b"old"}


def test_whoever_comes_while_another_restores_waits_until_its_deadline(
    bus: SqliteStore, mirror: Mirror, clock: FakeClock
) -> None:
    bus.take_lease("restore", "another process", LEASE_S)
    assert not mirror.restore(Deadline.after(0.05))
    clock.advance(LEASE_S)  # it died
    assert mirror.restore(ROOM)


def test_one_process_copies_until_it_leaves_or_dies(
    bus: SqliteStore, backup: SqliteStore, mirror: Mirror, wall: FakeClock, clock: FakeClock
) -> None:
    other = Mirror(bus, backup, holder="other", wall=wall)
    assert mirror.copy(ROOM)
    assert not other.copy(ROOM)
    mirror.leave()
    assert other.copy(ROOM)
    assert not mirror.copy(ROOM)
    clock.advance(LEASE_S)
    assert mirror.copy(ROOM)


def test_whoever_copies_next_goes_on_where_the_one_before_ended(
    bus: SqliteStore, backup: SqliteStore, mirror: Mirror, wall: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus.put([put("a")], ROOM)
    mirror.copy(ROOM)
    mirror.leave()
    bus.put([put("b")], ROOM)
    asked: list[int] = []
    changes = bus.changes

    def watched(since: int) -> Changes:
        found = changes(since)
        asked.append(len(found.records))
        return found

    monkeypatch.setattr(bus, "changes", watched)
    assert Mirror(bus, backup, holder="other", wall=wall).copy(ROOM)
    assert asked == [1]
    assert list(held(backup)) == ["a", "b"]


def test_nothing_new_is_nothing_written(bus: SqliteStore, backup: SqliteStore, mirror: Mirror) -> None:
    bus.put([put("a")], ROOM)
    mirror.copy(ROOM)
    before = backup.revision()
    assert mirror.copy(ROOM)
    assert backup.revision() == before


@pytest.mark.parametrize("error", [StoreFull("no room"), StoreUnwritable("read-only"), StoreBusy("somebody")])
def test_trouble_with_the_disk_is_told_once_disturbs_nothing_and_is_made_good(
    bus: SqliteStore, backup: SqliteStore, wall: FakeClock, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    faulty = Faulty(backup)
    mirror = Mirror(bus, faulty, holder="one", wall=wall)  # type: ignore[arg-type]
    faulty.error = error
    for number in range(3):
        bus.put([put(f"k{number}")], ROOM)
        assert not mirror.copy(ROOM)
    assert mirror.trouble is error
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    faulty.error = None
    assert mirror.copy(ROOM)
    assert mirror.trouble is None
    assert list(held(backup)) == ["k0", "k1", "k2"]


def test_trouble_is_that_of_the_process_that_copies_now(
    bus: SqliteStore, backup: SqliteStore, wall: FakeClock, clock: FakeClock
) -> None:
    faulty = Faulty(backup)
    one, other = Mirror(bus, faulty, holder="one", wall=wall), Mirror(bus, backup, holder="other", wall=wall)  # type: ignore[arg-type]
    faulty.error = StoreFull("no room")
    bus.put([put("a")], ROOM)
    one.copy(ROOM)
    assert one.trouble is not None
    clock.advance(LEASE_S + 1)
    assert other.copy(ROOM)
    assert not one.copy(ROOM)
    assert (one.trouble, other.trouble) == (None, None)


def test_a_backup_that_cannot_be_read_counts_as_an_empty_one(
    bus: SqliteStore, backup: SqliteStore, wall: FakeClock
) -> None:
    faulty = Faulty(backup)
    faulty.error = error = StoreUnwritable("read-only")
    mirror = Mirror(bus, faulty, holder="one", wall=wall)  # type: ignore[arg-type]
    assert mirror.restore(ROOM)
    assert mirror.trouble is error


def test_a_backup_that_is_busy_is_asked_again(bus: SqliteStore, backup: SqliteStore, wall: FakeClock) -> None:
    backup.put([put("a")], ROOM)
    faulty = Faulty(backup)
    mirror = Mirror(bus, faulty, holder="one", wall=wall)  # type: ignore[arg-type]
    faulty.error = StoreBusy("somebody")
    assert not mirror.restore(ROOM)
    faulty.error = None
    assert mirror.restore(ROOM)
    assert list(held(bus)) == ["a"]


@pytest.mark.parametrize("what", ["removed", "overwritten"])
def test_a_backup_that_was_lost_is_written_anew_as_a_whole(
    bus: SqliteStore, backup: SqliteStore, mirror: Mirror, what: str
) -> None:
    bus.put([put(f"k{number}") for number in range(50)], ROOM)
    assert mirror.copy(ROOM)
    if what == "removed":
        shutil.rmtree(backup.path.parent)
    else:
        backup.close()
        backup.path.write_bytes(b"\xff" * backup.path.stat().st_size)
        mirror._backup = backup = SqliteStore(backup.path, wall=FakeClock())
    bus.put([put("k0", None)], ROOM)
    while not mirror.copy(ROOM):
        pass
    assert len(held(backup)) == 50
    backup.close()


def test_a_backup_that_lacks_what_is_renewed_is_completed(
    bus: SqliteStore, backup: SqliteStore, mirror: Mirror
) -> None:
    bus.put([put("a"), put("b")], ROOM)
    mirror.copy(ROOM)
    backup.put([drop("a"), drop("b")], ROOM)
    bus.put([put("a", None)], ROOM)
    assert not mirror.copy(ROOM)
    assert mirror.copy(ROOM)
    assert list(held(backup)) == ["b", "a"]


def test_a_bus_that_was_lost_takes_nothing_from_the_backup(
    bus: SqliteStore, backup: SqliteStore, mirror: Mirror, wall: FakeClock
) -> None:
    mirror.restore(ROOM)
    bus.put([put("a"), put("b")], ROOM)
    mirror.copy(ROOM)
    wall.advance(1.0)
    for part in bus.path.parent.glob("bus.sqlite*"):
        part.unlink()
    bus.put([put("c")], ROOM)
    assert mirror.copy(ROOM)
    assert list(held(backup)) == ["a", "b", "c"]
    assert mirror.restore(ROOM)  # the new bus was not filled yet
    assert sorted(held(bus)) == ["a", "b", "c"]
