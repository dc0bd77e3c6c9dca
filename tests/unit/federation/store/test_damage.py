"""Whatever became of the files of a store, it opens: with what could be saved, or empty, and never with an error."""

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from director_wsgi.federation.store.errors import StoreError
from director_wsgi.federation.store.sqlite import SqliteStore
from tests.fakes import FakeClock
from tests.unit.federation.store.puts import NOW, ROOM, drop, put

PARTS = ("store.sqlite", "store.sqlite-wal")
BODIES = {f"k{number}": bytes([number]) * (300 * number) for number in range(40)}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as `kill -9` leaves it: most of it in the file, the rest in the log beside it."""
    live, kept = tmp_path_factory.mktemp("live"), tmp_path_factory.mktemp("kept")
    store = SqliteStore(live / PARTS[0], clock=FakeClock(), wall=FakeClock(NOW))
    names = list(BODIES)
    store.put([put("dropped"), *(put(name, BODIES[name]) for name in names[:30])], ROOM)
    with store._writer.use(ROOM) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.put([drop("dropped")], ROOM)
    for name in names[30:]:
        store.put([put(name, BODIES[name]), put(names[0], None)], ROOM)
    store.take_lease("job", "me", 5.0)
    for part in PARTS:
        shutil.copy(live / part, kept / part)
    store.close()
    return kept


def opens(directory: Path) -> int:
    """Use every method; how many of the records that were put are there."""
    store = SqliteStore(directory / PARTS[0], clock=FakeClock(), wall=FakeClock(NOW + 1))
    try:
        try:
            found = store.changes(0)
        except StoreError:  # damage that only reading shows; it has been set aside
            found = store.changes(0)
        for record in found.records:
            assert (type(record.key), type(record.body), type(record.expires_at)) == (str, bytes, float)
        for _ in range(2):
            try:
                before = store.revision()
                store.changes(max(1, before - 5))
                store.holder("job")
                store.take_lease("job", "you", 5.0)
                store.put([put("k3", None), drop("k5"), put("new")], ROOM)
                assert store.revision() > before
                assert store.get("ad", "new") is not None
                break
            except StoreError:
                continue
        else:
            pytest.fail("it did not begin anew")
        return sum(BODIES.get(record.key) == record.body for record in found.records)
    finally:
        store.close()


def damaged(sound: Path, into: Path, part: str, at: int, noise: bytes | None) -> Path:
    """A copy in which `noise` begins at `at`, or nothing is left from there on."""
    shutil.rmtree(into, ignore_errors=True)
    shutil.copytree(sound, into)
    content = (into / part).read_bytes()
    rest = b"" if noise is None else noise + content[at + len(noise) :]
    (into / part).write_bytes(content[:at] + rest)
    return into


def test_without_damage_all_is_there(sound: Path, tmp_path: Path) -> None:
    assert opens(damaged(sound, tmp_path / "copy", PARTS[0], 0, b"")) == len(BODIES)


@pytest.mark.parametrize("part", PARTS)
def test_cut_off_anywhere_it_opens(sound: Path, tmp_path: Path, part: str) -> None:
    size = (sound / part).stat().st_size
    chance = random.Random(1)
    for at in [0, 1, 16, 100, 4095, 4096, size - 1, *(chance.randrange(size) for _ in range(25))]:
        found = opens(damaged(sound, tmp_path / "copy", part, at, None))
        if part == PARTS[1]:
            assert found >= 30, at  # what lay in the file before the log began


@pytest.mark.parametrize("part", PARTS)
def test_overwritten_anywhere_it_opens(sound: Path, tmp_path: Path, part: str) -> None:
    size = (sound / part).stat().st_size
    chance = random.Random(2)
    for number in range(60):
        at, length = chance.randrange(min(size, 200) if number % 4 == 0 else size), chance.choice([1, 4, 100, 5000])
        noise = chance.choice([bytes(length), chance.randbytes(length), b"\xff" * length])
        opens(damaged(sound, tmp_path / "copy", part, at, noise))


def test_without_its_log_it_opens_with_what_the_file_holds(sound: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(sound, tmp_path / "copy")
    (copy / PARTS[1]).unlink()
    assert opens(copy) == 30


def test_with_the_log_of_another_file_it_opens(sound: Path, tmp_path: Path) -> None:
    other = SqliteStore(tmp_path / "other" / PARTS[0], clock=FakeClock(), wall=FakeClock(NOW))
    other.put([put(f"other{number}", b"o" * 3000) for number in range(20)], ROOM)
    copy = shutil.copytree(sound, tmp_path / "copy")
    shutil.copy(tmp_path / "other" / PARTS[1], copy / PARTS[1])
    other.close()
    opens(copy)


def test_damage_that_reading_would_not_meet_is_found_when_it_is_opened(sound: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(sound, tmp_path / "copy")
    connection = sqlite3.connect(copy / PARTS[0])
    connection.execute("PRAGMA journal_mode = DELETE")
    ((page,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'records_by_end'").fetchall()
    connection.close()
    with (copy / PARTS[0]).open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(bytes(4096))
    store = SqliteStore(copy / PARTS[0], clock=FakeClock(), wall=FakeClock(NOW))
    assert store.changes(0).records == ()
    assert [file.name for file in copy.glob("*.broken-*Z")] == ["store.sqlite.broken-20260101T000000Z"]
    store.close()


def test_damage_under_an_open_store_is_an_error_of_the_store_and_nothing_else(sound: Path, tmp_path: Path) -> None:
    chance = random.Random(3)
    told = sum(survives_damage(shutil.copytree(sound, tmp_path / str(number)), chance) for number in range(30))
    assert told > 5


def survives_damage(directory: Path, chance: random.Random) -> int:
    """Damage a store in use, and use it; how many errors it told."""
    path = directory / PARTS[0]
    store = SqliteStore(path, clock=FakeClock(), wall=FakeClock(NOW))
    store.changes(0)
    store.put([], ROOM)
    for side in (store._reader, store._writer):
        with side.use(ROOM) as connection:
            connection.execute("PRAGMA shrink_memory")  # what it has read, it does not read again
    with path.open("r+b") as file:
        file.seek(chance.randrange(path.stat().st_size))
        file.write(chance.randbytes(4000))
    told = 0
    for call in (
        lambda: store.put([put(name, body + b"!") for name, body in BODIES.items()], ROOM),
        lambda: store.changes(0),
        lambda: store.take_lease("job", "you", 5.0),
        lambda: store.put([drop(name) for name in BODIES], ROOM),
    ):
        try:
            call()
        except StoreError:
            told += 1
    store.close()
    return told
