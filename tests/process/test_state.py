"""What a director has learned outlives its workers, its master, and trouble with its files."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from director_wsgi.federation.state import BACKUP_NAME
from director_wsgi.federation.store.codec import encode_ad
from director_wsgi.federation.store.files import bus_path
from director_wsgi.federation.store.records import Put
from director_wsgi.federation.store.sqlite import SqliteStore
from director_wsgi.limits.deadline import Deadline
from tests.make import origin
from tests.process import census
from tests.process.child import forget_bus, hup, kill_worker, wait_until
from tests.process.fleet import ORIGIN_ENDPOINT, Fleet, Line, Server

pytestmark = pytest.mark.process

SERVERS = 5


@pytest.fixture(scope="module")
def shared_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with contextlib.ExitStack() as stack:
        yield Fleet(tmp_path_factory.mktemp("fleet"), stack, 1)


@pytest.fixture
def fleet(shared_fleet: Fleet) -> Iterator[Fleet]:
    """One for all tests: each has servers of its own in it, and may leave it ended."""
    yield shared_fleet.serving()
    shared_fleet.child.look_over()


def advertised_in(file: Path) -> set[str]:
    """The data URLs of the advertisements that a store holds."""
    with contextlib.closing(SqliteStore(file)) as store:
        return {record.key for record in store.changes(0).records if record.kind == "ad"}


def wait_until_shared(fleet: Fleet, servers: list[Server]) -> None:
    bus = bus_path(fleet.child.state)
    wait_until(lambda: advertised_in(bus) >= {server.url for server in servers}, "all is shared")


def wait_until_copied(fleet: Fleet, servers: list[Server]) -> None:
    backup = fleet.child.state / BACKUP_NAME
    wait_until(lambda: advertised_in(backup) >= {server.url for server in servers}, "all is copied")


def first_answers_are_right(fleet: Fleet, servers: list[Server]) -> bool:
    """Whether the first requests that a director answers name every server."""
    line = Line(fleet.child.wait_until_ready().port)
    with contextlib.closing(line):
        return all(server.is_named_by(line.get(server.target)) for server in servers)


def test_a_reload_forgets_nobody(fleet: Fleet) -> None:
    servers = fleet.servers(SERVERS)
    hup(fleet.child)
    assert first_answers_are_right(fleet, servers)
    census.end(fleet.child)


def statuses(fleet: Fleet) -> set[int]:
    line = Line(fleet.child.port)
    with contextlib.closing(line):
        return {line.get(f"{ORIGIN_ENDPOINT}/nobody/has/this").status}


def test_a_worker_that_knows_all_has_no_startup_window_of_its_own(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        fleet = Fleet(tmp_path, stack, 1, environ={"PELICAN_DIRECTOR_STARTUPWINDOW": "2s"})
        servers = fleet.servers(1)
        wait_until(lambda: statuses(fleet) == {404}, "the end of the start-up window")
        hup(fleet.child)
        assert statuses(fleet) == {404}
        assert first_answers_are_right(fleet, servers)


def test_a_director_that_starts_again_knows_all(fleet: Fleet) -> None:
    servers = fleet.servers(SERVERS)
    census.end(fleet.child)
    fleet.start()
    assert first_answers_are_right(fleet, servers)


def test_it_does_so_after_a_reboot(fleet: Fleet) -> None:
    """What is in shared memory is lost; what was learned in the last moment has been copied by then."""
    wait_until_copied(fleet, fleet.servers(1))  # if another was killed while it copied, this one has taken its place
    servers = fleet.servers(SERVERS)
    census.end(fleet.child)
    forget_bus(fleet.child.state)
    fleet.start()
    assert first_answers_are_right(fleet, servers)


def test_what_is_restored_lives_as_long_as_it_would_have(fleet: Fleet) -> None:
    """An advertisement that has ended while nobody was there stays ended, and another ends when it would have."""
    census.end(fleet.child)
    forget_bus(fleet.child.state)
    ended, short, long = (
        origin(name, f"/{name}", data_url=f"https://{name}.example.org:8443") for name in ("ended", "short", "long")
    )
    now = time.time()
    short_ends_at = now + 4.0
    with contextlib.closing(SqliteStore(fleet.child.state / BACKUP_NAME)) as backup:
        puts = [
            Put(kind="ad", key=ad.data_url, body=b"h" + encode_ad(ad), expires_at=ends_at, granted_s=900.0)
            for ad, ends_at in ((ended, now - 1.0), (short, short_ends_at), (long, now + 600.0))
        ]
        backup.put(puts, Deadline.after(5.0))
    fleet.start()
    line = Line(fleet.child.wait_until_ready().port)
    with contextlib.closing(line):

        def answer(name: str) -> int:
            return line.get(f"{ORIGIN_ENDPOINT}/{name}/object").status

        said = answer("short")
        assert said == 307 or time.time() >= short_ends_at, "a start may take that long where much else is done"
        assert (answer("long"), answer("ended")) == (307, 429)
        wait_until(lambda: answer("short") != 307, "the end of the short one")
        assert time.time() >= short_ends_at
        assert answer("long") == 307


@pytest.mark.parametrize("content", [b"SQLite format 3\0 and then nothing of the kind" * 100, b"no database" * 1000])
def test_a_copy_that_makes_no_sense_is_set_aside(fleet: Fleet, content: bytes) -> None:
    servers = fleet.servers(SERVERS)
    census.end(fleet.child)
    forget_bus(fleet.child.state)
    before = set(fleet.child.state.iterdir())
    (fleet.child.state / BACKUP_NAME).write_bytes(content)
    fleet.start()
    fleet.child.wait_until_ready()
    fleet.child.wait_for_output("starting without it")
    others = fleet.servers(1)
    wait_until_copied(fleet, others)
    assert not first_answers_are_right(fleet, servers)
    assert first_answers_are_right(fleet, others)
    assert [
        file
        for file in set(fleet.child.state.iterdir()) - before
        if f"{BACKUP_NAME}.not-a-database-" in file.name or f"{BACKUP_NAME}.broken-" in file.name
    ]


def test_a_director_that_starts_again_after_a_power_cut_knows_all(fleet: Fleet) -> None:
    servers = fleet.servers(SERVERS)
    wait_until_copied(fleet, servers)
    fleet.child.kill()
    forget_bus(fleet.child.state)
    fleet.start()
    assert first_answers_are_right(fleet, servers)


def test_a_shared_memory_that_is_lost_while_it_runs_is_filled_again(fleet: Fleet) -> None:
    servers = fleet.servers(SERVERS)
    wait_until_copied(fleet, servers)
    forget_bus(fleet.child.state)
    wait_until_shared(fleet, servers)
    kill_worker(fleet.child, fleet.child.workers()[0])
    assert first_answers_are_right(fleet, servers)


def test_the_successor_of_a_worker_that_was_killed_knows_all(fleet: Fleet) -> None:
    servers = fleet.servers(SERVERS)
    wait_until_shared(fleet, servers)
    kill_worker(fleet.child, fleet.child.workers()[0])
    assert first_answers_are_right(fleet, servers)


def test_a_director_that_starts_again_after_everything_was_killed_knows_all(fleet: Fleet) -> None:
    servers = fleet.servers(SERVERS)
    wait_until_shared(fleet, servers)
    fleet.child.kill()
    fleet.start()
    assert first_answers_are_right(fleet, servers)


def test_a_worker_starts_where_no_state_can_be_kept_and_its_successor_knows_all_the_same(tmp_path: Path) -> None:
    nowhere = tmp_path / "file"
    nowhere.write_text("not a directory")
    with contextlib.ExitStack() as stack:
        fleet = Fleet(tmp_path, stack, 1, environ={"PELICAN_DIRECTOR_STATELOCATION": str(nowhere)})
        fleet.child.wait_for_output("the state on disk is not kept up to date")
        servers = fleet.servers(SERVERS)
        hup(fleet.child)
        assert first_answers_are_right(fleet, servers)
        census.end(fleet.child)


def test_a_director_that_shall_keep_nothing_keeps_nothing(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        fleet = Fleet(tmp_path, stack, 1, environ={"PELICAN_DIRECTOR_STATELOCATION": ":memory:"})
        servers = fleet.servers(SERVERS)
        hup(fleet.child)
        assert not first_answers_are_right(fleet, servers)
        assert not (tmp_path / "director").exists()
        census.end(fleet.child)


def test_its_files_are_nobody_elses(fleet: Fleet) -> None:
    for file in (fleet.child.state, bus_path(fleet.child.state).parent):
        assert not file.stat().st_mode & 0o077
        assert not any(one.stat().st_mode & 0o077 for one in file.iterdir())
