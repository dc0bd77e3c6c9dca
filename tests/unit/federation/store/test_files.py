"""Where a store lies, who may read it, what becomes of a file that is none, and of one that changes under the hand."""

import logging
import os
import shutil
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from director_wsgi.federation.store import connection as connections
from director_wsgi.federation.store import files, schema
from director_wsgi.federation.store.errors import StoreBroken, StoreBusy, StoreError, StoreUnwritable
from director_wsgi.federation.store.files import BROKEN_KEPT, bus_path, opening
from director_wsgi.federation.store.schema import MIGRATIONS
from director_wsgi.limits.deadline import Deadline
from tests.fakes import FakeClock
from tests.unit.federation.store.conftest import Opened
from tests.unit.federation.store.puts import ROOM, keys, put


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def aside(path: Path) -> list[str]:
    """What stands in the names under which files were set aside."""
    return sorted(
        file.name.removeprefix(f"{path.name}.").rsplit("-", 1)[0]
        for file in path.parent.iterdir()
        if file.name.startswith(f"{path.name}.") and not file.name.endswith((".lock", "-wal", "-shm"))
    )


def make(path: Path, *statements: str) -> None:
    """A database that SQLite has nothing against."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_only_this_user_can_read_it(opened: Opened, path: Path) -> None:
    opened().put([put("a")], ROOM)
    assert mode(path.parent) == 0o700
    found = {file.name: mode(file) for file in path.parent.iterdir()}
    assert sorted(found) == ["store.sqlite", "store.sqlite-shm", "store.sqlite-wal", "store.sqlite.lock"]
    assert set(found.values()) == {0o600}


def test_a_file_that_others_could_read_is_closed_to_them(opened: Opened, path: Path) -> None:
    make(path)
    path.touch()
    path.chmod(0o644)
    opened().put([put("a")], ROOM)
    assert mode(path) == 0o600


def test_nothing_is_made_before_it_is_needed(opened: Opened, path: Path) -> None:
    opened()
    assert not path.parent.exists()


def test_an_empty_file_is_a_new_store(opened: Opened, path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    opened().put([put("a")], ROOM)
    assert aside(path) == []


@pytest.mark.parametrize("content", [b"hello", b"\x00" * 100_000, os.urandom(5000), b"SQLite format 3\x00" + b"x" * 84])
def test_what_is_no_database_is_set_aside_untouched(
    opened: Opened, path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    store = opened()
    store.put([put("a")], ROOM)
    assert keys(store.changes(0)) == ["a"]
    (name,) = aside(path)
    assert name in {"not-a-database", "broken"}
    (file,) = path.parent.glob(f"store.sqlite.{name}-20260101T000000Z")
    assert file.read_bytes() == content
    assert [(record.levelno, file.name in record.getMessage()) for record in caplog.records] == [(logging.ERROR, True)]


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE theirs (x)"],
        ["PRAGMA application_id = 7", "CREATE TABLE records (x)"],
        ["PRAGMA user_version = 1"],
    ],
)
def test_another_programs_database_is_set_aside(opened: Opened, path: Path, statements: list[str]) -> None:
    make(path, *statements)
    before = path.read_bytes()
    opened().put([put("a")], ROOM)
    assert aside(path) == ["foreign"]
    assert next(path.parent.glob("*.foreign-*")).read_bytes() == before


def test_a_store_of_a_newer_version_is_set_aside_with_all_it_holds(
    opened: Opened, path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = opened()
    first.put([put("a")], ROOM)
    first.close()
    make(path, f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    second = opened()
    assert second.changes(0).records == ()
    assert aside(path) == ["newer"]
    assert f"it is of version {len(MIGRATIONS) + 1}, and this program knows {len(MIGRATIONS)} at most" in caplog.text
    kept = shutil.copy(next(path.parent.glob("*.newer-*")), tmp_path / "kept.sqlite")
    make(kept, f"PRAGMA user_version = {len(MIGRATIONS)}")
    assert keys(opened(kept).changes(0)) == ["a"]


def test_a_store_of_an_older_version_is_brought_up_to_date(
    opened: Opened, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = opened()
    written = old.put([put("a")], ROOM)
    more = (*MIGRATIONS, ("ALTER TABLE records ADD COLUMN note TEXT", "CREATE TABLE more (x)"))
    monkeypatch.setattr(schema, "MIGRATIONS", more)
    new = opened()
    assert keys(new.changes(0)) == ["a"]
    assert new.revision() == written.revision
    with new._reader.use(ROOM) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(more),)
        assert connection.execute("SELECT note FROM records").fetchall() == [(None,)]
    # Its predecessor, which an upgrade overlaps with, goes on.
    old.put([put("b")], ROOM)
    assert keys(new.changes(0)) == ["a", "b"]
    assert aside(path) == []


def test_a_migration_that_fails_changes_nothing(opened: Opened, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened().put([put("a")], ROOM)
    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE more (x)", "CREATE TABLE more (x)")))
        with pytest.raises(StoreError):
            opened().revision()
    store = opened()
    assert keys(store.changes(0)) == ["a"]
    with store._reader.use(ROOM) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'more'").fetchone() == (0,)
    assert aside(path) == []


def test_all_processes_go_over_to_the_new_file_when_one_sets_the_old_one_aside(
    opened: Opened, path: Path, wall: FakeClock
) -> None:
    one, other = opened(), opened()
    one.put([put("a")], ROOM)
    seen = other.revision()
    wall.advance(0.001)
    with opening(path, ROOM):
        files.set_aside(path, "broken", "for a test", wall)
    one.put([put("b")], ROOM)
    assert other.revision() != seen
    found = other.changes(seen)
    assert (keys(found), found.is_whole) == (["b"], True)


def test_a_file_that_was_removed_is_made_anew(opened: Opened, path: Path) -> None:
    one, other = opened(), opened()
    one.put([put("a")], ROOM)
    assert keys(other.changes(0)) == ["a"]
    shutil.rmtree(path.parent)
    one.put([put("b")], ROOM)
    assert keys(other.changes(0)) == ["b"]


def test_damage_found_in_use_is_told_once_and_what_follows_begins_anew(
    opened: Opened, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = opened(), opened()
    one.put([put("a", b"x" * 100_000)], ROOM)
    assert keys(other.changes(0)) == ["a"]
    with one._writer.use(ROOM) as connection:
        connection.execute("DROP TABLE bodies")
        connection.execute("CREATE TABLE bodies (id INTEGER PRIMARY KEY, body BLOB, more BLOB NOT NULL)")
    with pytest.raises(StoreBroken):
        one.put([put("b")], ROOM)
    one.put([put("c")], ROOM)
    assert keys(other.changes(0)) == ["c"]
    assert aside(path) == ["broken"]
    assert len(caplog.records) == 1


def test_two_who_find_the_same_damage_set_one_file_aside(opened: Opened, path: Path, wall: FakeClock) -> None:
    one, other = opened(), opened()
    one.put([put("a")], ROOM)
    other.revision()
    damaged = other._reader._identity
    with opening(path, ROOM):
        files.set_aside(path, "broken", "for a test", wall)
    one.put([put("b")], ROOM)
    other._reader._identity = damaged
    other._reader._set_aside("found late", ROOM)
    assert aside(path) == ["broken"]
    assert keys(other.changes(0)) == ["b"]


def test_damaged_files_do_not_pile_up(opened: Opened, path: Path, wall: FakeClock) -> None:
    for number in range(BROKEN_KEPT + 3):
        wall.advance(1.0)
        opened().put([put(str(number))], ROOM)
        with opening(path, ROOM):
            files.set_aside(path, "broken", "for a test", wall)
    names = sorted(file.name.removeprefix("store.sqlite.broken-") for file in path.parent.glob("*.broken-*"))
    stamps = [f"20260101T00000{second}Z" for second in (4, 5, 6)]
    assert names == [f"{stamp}{part}" for stamp in stamps for part in ("", "-shm", "-wal")]
    newest = path.with_name(f"store.sqlite.broken-{stamps[-1]}")
    assert keys(opened(newest).changes(0)) == [str(BROKEN_KEPT + 2)]


def test_files_of_others_are_all_kept(opened: Opened, path: Path, wall: FakeClock) -> None:
    for _ in range(BROKEN_KEPT + 3):
        make(path, "CREATE TABLE theirs (x)")
        opened().put([put("a")], ROOM)
        path.unlink()
    assert len(aside(path)) == BROKEN_KEPT + 3


def test_while_another_process_opens_it_one_waits_until_the_deadline(opened: Opened, path: Path) -> None:
    with opening(path, ROOM), pytest.raises(StoreBusy, match="is being opened"):
        opened().put([put("a")], Deadline.after(0.02))
    opened().put([put("a")], ROOM)


def test_a_directory_in_its_place_cannot_be_written(opened: Opened, path: Path) -> None:
    path.mkdir(parents=True)
    store = opened()
    with pytest.raises(StoreUnwritable):
        store.put([put("a")], ROOM)
    path.rmdir()
    store.put([put("a")], ROOM)  # nothing but to try again


def test_a_directory_that_cannot_be_made_cannot_be_written(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnwritable):
        opened(tmp_path / "file" / "store.sqlite").revision()


def test_a_lock_file_that_leads_elsewhere_is_not_followed(opened: Opened, path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    path.with_name("store.sqlite.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreUnwritable):
        opened().revision()
    assert not (tmp_path / "elsewhere").exists()


def test_a_forked_process_does_not_touch_what_its_parent_opened(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened()
    store.put([put("a")], ROOM)
    monkeypatch.setattr(connections, "_inherited", inherited := [])
    parents, parent = store._writer._open, os.getpid()
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: parent + 1)
        store.put([put("b")], ROOM)
        assert inherited == [parents]
        assert inherited[0].execute("SELECT count(*) FROM records").fetchone() == (2,)  # open still
        store._writer._let_go()
    inherited[0].close()


def test_a_thread_that_waits_for_the_connection_gives_up_at_its_deadline(opened: Opened) -> None:
    store = opened()
    raised: list[Exception] = []

    def write() -> None:
        try:
            store.put([], Deadline.after(0.0))
        except StoreError as error:
            raised.append(error)

    with store._writer.use(ROOM):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert [type(error) for error in raised] == [StoreBusy]


class TestTheBus:
    def test_lies_in_a_directory_of_its_own_in_shared_memory(self, tmp_path: Path) -> None:
        memory, state = tmp_path / "shm", tmp_path / "state"
        memory.mkdir()
        path = bus_path(state, memory)
        assert path.parent.parent == memory
        assert str(os.geteuid()) in path.parent.name
        assert mode(path.parent) == 0o700
        assert bus_path(state, memory) == path

    def test_is_another_for_another_state(self, tmp_path: Path) -> None:
        assert bus_path(tmp_path / "a", tmp_path) != bus_path(tmp_path / "b", tmp_path)

    def test_is_the_same_by_whatever_name_the_state_is_called(self, tmp_path: Path) -> None:
        (tmp_path / "state").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "state")
        assert bus_path(tmp_path / "state", tmp_path) == bus_path(tmp_path / "link", tmp_path)

    @pytest.mark.parametrize("what", ["missing", "open to others", "a link", "a file", "read-only"])
    def test_lies_with_the_state_if_it_could_not_be_private_or_written(
        self, tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        memory, state = tmp_path / "shm", tmp_path / "state"
        memory.mkdir()
        directory = bus_path(state, memory).parent
        directory.rmdir()
        if what == "missing":
            memory.rmdir()
        elif what == "open to others":
            directory.mkdir()
            directory.chmod(0o777)
        elif what == "a link":
            (tmp_path / "theirs").mkdir(mode=0o700)
            directory.symlink_to(tmp_path / "theirs")
        elif what == "read-only":
            directory.mkdir(mode=0o500)
            may = os.access  # whom modes bind not, a read-only file system does
            monkeypatch.setattr(os, "access", lambda path, mode: path != directory and may(path, mode))
        else:
            directory.touch()
        assert bus_path(state, memory) == state / "bus.sqlite"
        assert len(caplog.records) == 1
