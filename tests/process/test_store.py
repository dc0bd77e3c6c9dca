"""Several processes on one store: one order, no corruption whoever is killed when, and disks that fail."""

import contextlib
import logging
import multiprocessing
import os
import random
import resource
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from director_wsgi.federation.store.errors import StoreFull, StoreUnwritable
from director_wsgi.federation.store.mirror import KIND, Mirror
from director_wsgi.federation.store.records import Drop, Put
from director_wsgi.federation.store.sqlite import SqliteStore
from director_wsgi.limits.deadline import Deadline
from tests.process.child import wait_until

CLEAN = multiprocessing.get_context("forkserver")  # no child has anything of this process, and none has to import
CLEAN.set_forkserver_preload([__name__])
NOBODY = 65_534
PUTS = 200


def put(key: str, body: bytes | None = b"body", *, lifetime_s: float = 900.0) -> Put:
    return Put(kind="ad", key=key, body=body, expires_at=time.time() + lifetime_s, granted_s=lifetime_s)


def soon() -> Deadline:
    return Deadline.after(10.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def start() -> Iterator[Callable[..., BaseProcess]]:
    """Processes, which are ended with the test if they have not ended by themselves."""
    processes: list[BaseProcess] = []

    def started(target: Callable[..., None], *arguments: object) -> BaseProcess:
        processes.append(CLEAN.Process(target=target, args=arguments))
        processes[-1].start()
        return processes[-1]

    yield started
    for process in processes:
        process.kill()
        process.join()
        process.close()


def succeeded(*processes: BaseProcess) -> None:
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


# One order.


def put_and_read(path: Path, name: str, ready: Connection, seen: Connection) -> None:
    """Put and read in turns; report every change in the order in which it was seen."""
    store = SqliteStore(path)
    since = store.revision()
    ready.send(None)
    ready.recv()
    order: list[tuple[int, str, bytes]] = []
    for number in range(PUTS):
        store.put([put(f"{name}{number}", str(number).encode()), put("shared", f"{name}{number}".encode())], soon())
        found = store.changes(since)
        assert not found.is_whole
        assert since < found.revision
        order += [(record.revision, record.key, record.body) for record in found.records]
        since = found.revision
    ready.send(None)
    ready.recv()
    order += [(record.revision, record.key, record.body) for record in store.changes(since).records]
    seen.send(order)
    store.close()


def test_four_processes_that_put_and_read_see_one_order(path: Path, start: Callable[..., BaseProcess]) -> None:
    pipes = [(CLEAN.Pipe(), CLEAN.Pipe()) for _ in range(4)]
    processes = [
        start(put_and_read, path, name, ready[1], seen[1]) for name, (ready, seen) in zip("abcd", pipes, strict=True)
    ]
    for _ in range(2):  # all begin together, and none ends before all have put everything
        for ready, _seen in pipes:
            assert ready[0].poll(60)
            ready[0].recv()
        for ready, _seen in pipes:
            ready[0].send(None)
    orders = [seen[0].recv() for _ready, seen in pipes if seen[0].poll(60)]
    succeeded(*processes)
    assert len(orders) == 4
    what_is: dict[int, tuple[str, bytes]] = {}
    for order in orders:
        revisions = [revision for revision, _, _ in order]
        assert revisions == sorted(set(revisions))
        own = [key for _, key, _ in order if key != "shared"]
        assert len(own) == len(set(own)) == 4 * PUTS  # every change of every process, once
        for revision, key, body in order:
            assert what_is.setdefault(revision, (key, body)) == (key, body)
    assert len({order[-1] for order in orders}) == 1


def test_a_change_is_seen_by_a_process_that_polls(path: Path, start: Callable[..., BaseProcess]) -> None:
    store = SqliteStore(path)
    since = store.revision()
    start(put_one, path)
    wait_until(lambda: store.revision() != since, "the change was seen")
    assert [record.key for record in store.changes(since).records] == ["one"]
    store.close()


def put_one(path: Path) -> None:
    store = SqliteStore(path)
    store.put([put("one")], soon())
    store.close()


def take_all(path: Path, name: str, ready: Connection) -> None:
    store = SqliteStore(path)
    store.holder("none")
    ready.send(None)
    ready.recv()
    ready.send([number for number in range(PUTS) if store.take_lease(f"job {number}", name, 600.0)])
    store.close()


def test_of_all_who_reach_for_a_lease_one_gets_it(path: Path, start: Callable[..., BaseProcess]) -> None:
    pipes = [CLEAN.Pipe() for _ in range(4)]
    processes = [start(take_all, path, name, pipe[1]) for name, pipe in zip("abcd", pipes, strict=True)]
    for mine, _ in pipes:
        assert mine.poll(60)
        mine.recv()
    for mine, _ in pipes:
        mine.send(None)
    taken = [number for mine, _ in pipes if mine.poll(60) for number in mine.recv()]
    succeeded(*processes)
    assert sorted(taken) == list(range(PUTS))


# kill -9.


def put_for_ever(path: Path, name: str) -> None:
    store = SqliteStore(path)
    chance = random.Random(name)
    while True:
        keys = [f"{name}{chance.randrange(20)}" for _ in range(5)]
        # Each is put twice under different names: a transaction that was torn would show.
        body = chance.randbytes(chance.randrange(1, 50_000))
        store.put([change for key in keys for change in (put(f"{key}-left", body), put(f"{key}-right", body))], soon())
        store.put([Drop(kind="ad", key=f"{keys[0]}-{side}") for side in ("left", "right")], soon())
        store.take_lease(f"lease {chance.randrange(3)}", name, 0.05)


def test_kill_9_in_the_middle_of_puts_corrupts_nothing(
    path: Path, start: Callable[..., BaseProcess], caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(9)
    store = SqliteStore(path)
    before = store.revision()
    for number in range(12):
        writers = [start(put_for_ever, path, name) for name in (f"a{number}", f"b{number}")]
        wait_until(lambda: store.revision() > before + 40, "they put")  # noqa: B023, called at once
        threading.Event().wait(chance.uniform(0, 0.03))
        for writer in writers:
            writer.kill()
        for writer in writers:
            writer.join()
        after = store.revision()
        assert after > before
        before = store.put([put("alive", str(number).encode())], Deadline.after(1.0)).revision
        assert before == after + 1  # the lock died with its holder
        whole = SqliteStore(path)
        records = {record.key: record.body for record in whole.changes(0).records}
        whole.close()
        left = {key.removesuffix("-left"): body for key, body in records.items() if key.endswith("-left")}
        right = {key.removesuffix("-right"): body for key, body in records.items() if key.endswith("-right")}
        assert left == right
        assert left
    store.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# Set aside while others are at it.


def put_whatever_happens(path: Path, name: str, until: float) -> None:
    store = SqliteStore(path)
    number = 0
    while time.monotonic() < until:
        number += 1
        with contextlib.suppress(StoreUnwritable):  # its file was taken away while it was opened
            store.put([put(f"{name}{number % 10}", name.encode())], soon())
    store.put([put(f"{name} ended")], soon())
    store.close()


def test_when_the_file_is_taken_away_all_processes_meet_again_in_the_next(
    path: Path, start: Callable[..., BaseProcess]
) -> None:
    until = time.monotonic() + 1.5
    writers = [start(put_whatever_happens, path, name, until) for name in "abc"]
    wait_until(path.exists, "they put")
    while time.monotonic() < until - 0.5:
        threading.Event().wait(0.1)
        for part in ("", "-wal", "-shm"):
            path.with_name(f"{path.name}{part}").unlink(missing_ok=True)
    succeeded(*writers)
    store = SqliteStore(path)
    keys = {record.key for record in store.changes(0).records}
    store.close()
    assert {"a ended", "b ended", "c ended"} <= keys


def open_at_once(path: Path, number: int) -> None:
    store = SqliteStore(path)
    store.put([put(f"opened {number}")], soon())
    store.close()


@pytest.mark.parametrize("content", [b"", b"\xff" * 10_000])
def test_processes_that_start_together_on_a_new_or_a_damaged_file_share_the_one_that_is_made(
    path: Path, start: Callable[..., BaseProcess], content: bytes
) -> None:
    path.write_bytes(content)
    succeeded(*[start(open_at_once, path, number) for number in range(6)])
    store = SqliteStore(path)
    assert {record.key for record in store.changes(0).records} == {f"opened {number}" for number in range(6)}
    store.close()
    assert len(list(path.parent.glob("store.sqlite.not-a-database-*"))) == (1 if content else 0)


# The mirror.


def restore(bus: Path, backup: Path, holder: str) -> None:
    stores = SqliteStore(bus), SqliteStore(backup)
    assert Mirror(*stores, holder=holder).restore(soon())
    for number in range(500):
        assert stores[0].get("ad", str(number)) is not None
    for store in stores:
        store.close()


def test_processes_that_start_together_fill_the_bus_once(path: Path, start: Callable[..., BaseProcess]) -> None:
    backup, bus = SqliteStore(path.with_name("backup.sqlite")), SqliteStore(path)
    backup.put([put(str(number), b"x" * 1000) for number in range(500)], soon())
    before = bus.revision()
    succeeded(*[start(restore, path, backup.path, f"worker {number}") for number in range(4)])
    assert bus.revision() == before + 501  # each record, and the note that it was done
    backup.close()
    bus.close()


def copy_for_ever(bus: Path, backup: Path, holder: str) -> None:
    mirror = Mirror(SqliteStore(bus), SqliteStore(backup), holder=holder)
    while True:
        mirror.copy(soon())
        threading.Event().wait(0.005)


def test_whoever_copies_may_be_killed_at_any_moment(path: Path, start: Callable[..., BaseProcess]) -> None:
    bus, backup = SqliteStore(path), SqliteStore(path.with_name("backup.sqlite"))
    for number in range(6):
        copier = start(copy_for_ever, path, backup.path, f"copier {number}")
        wait_until(lambda: bus.holder("backup") == f"copier {number}", "it copies")  # noqa: B023, called at once
        for key in range(30):
            bus.put([put(f"{number}-{key}", random.randbytes(20_000)), put(f"{number}-0", None)], soon())
        copier.kill()
        copier.join()
        bus.leave("backup", f"copier {number}")  # else five seconds would pass
    mirror = Mirror(bus, backup, holder="last")
    while not mirror.copy(soon()):
        pass
    assert {(record.key, record.body, record.expires_at) for record in bus.changes(0).records} == {
        (record.key, record.body, record.expires_at) for record in backup.changes(0).records if record.kind != KIND
    }
    bus.close()
    backup.close()


# Disks.


def fill(path: Path, outcome: Connection, prepare: Callable[[Path], None]) -> None:
    """Put until it fails, and say how; then what is still there, and whether a smaller file would go on."""
    store = SqliteStore(path)
    store.put([put("first")], soon())
    prepare(path)
    stored = 1
    try:
        while stored < 2000:
            store.put([put(str(stored), random.randbytes(20_000))], soon())
            stored += 1
    except StoreFull as error:
        outcome.send(str(error))
    else:
        outcome.send("")
    outcome.send((stored, len(store.changes(0).records), store.revision() > 0))
    store.close()


def limit_file_size(_path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))


def test_a_file_that_may_not_grow_is_full_and_can_still_be_read(path: Path, start: Callable[..., BaseProcess]) -> None:
    mine, theirs = CLEAN.Pipe()
    process = start(fill, path, theirs, limit_file_size)
    assert mine.poll(60)
    assert str(path) in mine.recv()
    stored, found, _ = mine.recv()
    assert stored == found > 10
    succeeded(process)
    store = SqliteStore(path)  # without the limit it goes on
    store.put([put("more")], soon())
    assert len(store.changes(0).records) == stored + 1
    store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "disk"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(directory)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("this user may not mount a file system")
    yield directory
    subprocess.run(["umount", "-l", str(directory)], check=True)


def test_a_full_disk_is_full_loses_nothing_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 1_000_000)
    bus, backup = SqliteStore(small_disk.with_name("bus.sqlite")), SqliteStore(small_disk / "backup.sqlite")
    mirror = Mirror(bus, backup, holder="one")
    bus.put([put("first")], soon())
    assert mirror.copy(soon())
    for number in range(60):
        bus.put([put(str(number), random.randbytes(20_000))], soon())
    assert not mirror.copy(soon())
    assert isinstance(mirror.trouble, StoreFull)
    assert [record.key for record in backup.changes(0).records if record.kind != KIND] == ["first"]
    assert not mirror.copy(soon())
    ballast.unlink()
    bus.put([Drop(kind="ad", key=str(number)) for number in range(20, 60)], soon())
    assert mirror.copy(soon())
    assert mirror.trouble is None
    assert len(backup.changes(0).records) == 22
    bus.close()
    backup.close()


def test_a_disk_without_any_room_at_the_start_is_full(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    store = SqliteStore(small_disk / "store.sqlite")
    with pytest.raises(StoreFull):
        store.put([put("a")], soon())
    ballast.unlink()
    store.put([put("a")], soon())
    store.close()
    assert not list(small_disk.glob("*.broken-*"))


def be_refused(path: Path, outcome: Connection) -> None:
    """As a user whom modes bind."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    store = SqliteStore(path)
    try:
        store.put([put("a")], soon())
    except StoreUnwritable as error:
        outcome.send(str(error))
    else:
        outcome.send("")


@pytest.mark.parametrize("what", ["directory", "file"])
def test_what_may_not_be_written_says_so_and_is_left_alone(start: Callable[..., BaseProcess], what: str) -> None:
    with tempfile.TemporaryDirectory() as name:  # one that every user can enter
        directory = Path(name)
        path = directory / "store.sqlite"
        if what == "file":
            SqliteStore(path).put([put("a")], soon())
            path.with_name("store.sqlite.lock").chmod(0o666)
            path.chmod(0o400)
            directory.chmod(0o777 if os.geteuid() == 0 else 0o700)
        else:
            directory.chmod(0o555)
        mine, theirs = CLEAN.Pipe()
        process = start(be_refused, path, theirs)
        assert mine.poll(60)
        assert str(path) in mine.recv()
        succeeded(process)
        directory.chmod(0o700)
        assert not list(directory.glob("*.broken-*"))


def test_a_forked_process_opens_its_own(path: Path) -> None:
    store = SqliteStore(path)
    store.put([put("parent")], soon())
    child = os.fork()
    if child == 0:
        try:
            store.put([put("child")], soon())
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    store.put([put("parent again")], soon())
    assert [record.key for record in store.changes(0).records] == ["parent", "child", "parent again"]
    store.close()
