"""A shared memory that is full, or cannot be written any more while the director runs.

The director runs where `/dev/shm` is another, small one that only it sees.
"""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process import census
from tests.process.child import get, kill_worker, wait_until
from tests.process.fleet import Fleet
from tests.process.test_state import wait_until_copied

pytestmark = pytest.mark.process

MOUNT = "mount -t tmpfs -o size=2m,nr_inodes=64,mode=1777 tmpfs /dev/shm"
APART = ("unshare", "--mount", "--", "sh", "-c", f'{MOUNT} && exec "$0" "$@"')


class Memory:
    """The `/dev/shm` that a director sees."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    @property
    def _folder(self) -> Path:
        return Path(f"/proc/{self._fleet.child.pid}/root/dev/shm")

    def fill(self) -> None:
        with (self._folder / "ballast").open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)

    def take_all_names(self) -> None:
        with contextlib.suppress(OSError):
            for number in range(64):
                (self._folder / f"name-{number}").touch()

    def forbid(self) -> None:
        """Make it read-only, for whoever opens something now."""
        command = "mount --bind /dev/shm /dev/shm && mount -o remount,bind,ro /dev/shm"
        subprocess.run(["nsenter", "-t", str(self._fleet.child.pid), "-m", "sh", "-c", command], check=True)

    def make_room(self) -> None:
        (self._folder / "ballast").unlink()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    if subprocess.run([*APART, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this user may not mount a file system")
    with contextlib.ExitStack() as stack:
        yield Fleet(tmp_path, stack, 2, under=APART)


@pytest.fixture
def memory(fleet: Fleet) -> Memory:
    return Memory(fleet)


def warns(fleet: Fleet, check: str = '"store":{"status":"warning"') -> bool:
    answer = fleet.child.ask(get("/readyz?verbose"))
    assert answer.status == 200
    return check in answer.body.decode()


def test_while_it_is_full_clients_notice_nothing_and_sharing_goes_on_when_there_is_room(
    fleet: Fleet, memory: Memory
) -> None:
    servers = fleet.servers(3)
    wait_until(lambda: fleet.all_know(servers), "all know all")
    memory.fill()
    with fleet.lines() as lines:
        one, _ = lines
        others = [fleet.server() for _ in range(3)]
        assert [server.advertise(one).status for server in others] == [200] * 3
        wait_until(lambda: warns(fleet), "a warning")
        assert all(server.is_named_by(one.get(server.target)) for server in [*servers, *others])
        assert 'director_wsgi_state_trouble{where="shared"} 1.0' in one.get("/metrics").body.decode()
        memory.make_room()
        wait_until(lambda: fleet.all_know([*servers, *others]), "what had to wait is shared")
    wait_until(lambda: not warns(fleet), "the end of the warning")

    assert "Traceback" not in fleet.child.output
    census.end(fleet.child)


def test_while_it_is_full_workers_may_be_killed_and_reloaded(fleet: Fleet, memory: Memory) -> None:
    servers = fleet.servers(3)
    wait_until(lambda: fleet.all_know(servers), "all know all")
    memory.fill()
    kill_worker(fleet.child, fleet.child.workers()[0])
    assert fleet.all_know(servers)
    fleet.hup()

    assert fleet.all_know(servers)
    assert "Traceback" not in fleet.child.output


def test_where_no_file_can_be_made_any_more_workers_are_replaced_all_the_same(fleet: Fleet, memory: Memory) -> None:
    servers = fleet.servers(3)
    wait_until(lambda: fleet.all_know(servers), "all know all")
    memory.take_all_names()
    kill_worker(fleet.child, fleet.child.workers()[0])
    assert fleet.all_know(servers)
    fleet.hup()

    assert fleet.all_know(servers)
    assert "Traceback" not in fleet.child.output


def test_where_it_cannot_be_written_any_more_successors_meet_beside_the_state_and_know_all(
    fleet: Fleet, memory: Memory
) -> None:
    servers = fleet.servers(3)
    wait_until_copied(fleet, servers)
    memory.forbid()
    fleet.hup()
    assert fleet.all_know(servers)
    others = fleet.servers(2)
    wait_until(lambda: fleet.all_know([*servers, *others]), "workers share what they learn")

    assert "it cannot be written" in fleet.child.output
    assert "Traceback" not in fleet.child.output
