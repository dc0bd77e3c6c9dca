"""A disk for the state that is full, or cannot be written any more, while the director runs.

It is a small file system of memory, which only the director sees.
"""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process import census
from tests.process.child import get, wait_until
from tests.process.fleet import Fleet

pytestmark = pytest.mark.process


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Of two workers; the test is skipped where nothing can be mounted."""
    state = tmp_path / "director"
    state.mkdir()
    apart = ("unshare", "--mount", "--", "sh", "-c", f'mount -t tmpfs -o size=1m tmpfs {state} && exec "$0" "$@"')
    if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this user may not mount a file system")
    with contextlib.ExitStack() as stack:
        yield Fleet(tmp_path, stack, 2, under=apart)


def fill(fleet: Fleet) -> Path:
    """Leave no room; the file to be removed to make some again."""
    ballast = Path(f"/proc/{fleet.child.pid}/root{fleet.child.state}") / "ballast"
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 512)
    return ballast


def forbid(fleet: Fleet) -> None:
    """Let nothing be made there any more, nor written by whoever opens it from now on."""
    state = fleet.child.state
    command = f"mount --bind {state} {state} && mount -o remount,bind,ro {state}"
    subprocess.run(["nsenter", "-t", str(fleet.child.pid), "-m", "sh", "-c", command], check=True)


def warns(fleet: Fleet) -> bool:
    answer = fleet.child.ask(get("/readyz?verbose"))
    assert answer.status == 200
    return '"disk":{"status":"warning"' in answer.body.decode()


def test_a_full_disk_is_a_warning_and_workers_share_as_before(fleet: Fleet) -> None:
    servers = fleet.servers(2)
    ballast = fill(fleet)
    others = fleet.servers(10)
    wait_until(lambda: warns(fleet), "a warning")
    assert 'director_wsgi_state_trouble{where="disk"} 1.0' in fleet.child.ask(get("/metrics")).body.decode()
    wait_until(lambda: fleet.all_know([*servers, *others]), "all know all")
    fleet.hup()
    assert fleet.all_know([*servers, *others])
    ballast.unlink()
    wait_until(lambda: not warns(fleet), "the end of the warning")

    assert "Traceback" not in fleet.child.output
    census.end(fleet.child)


def test_a_disk_that_cannot_be_written_any_more_is_a_warning_and_workers_share_as_before(fleet: Fleet) -> None:
    servers = fleet.servers(2)
    wait_until(lambda: fleet.all_know(servers), "all know all")
    forbid(fleet)
    fleet.hup()
    others = fleet.servers(2)
    wait_until(lambda: fleet.all_know([*servers, *others]), "all know all")
    wait_until(lambda: warns(fleet), "a warning")

    assert "Traceback" not in fleet.child.output
    census.end(fleet.child)
