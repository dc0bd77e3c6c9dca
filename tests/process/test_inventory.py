"""The look that `run` takes at every director at the end sees what it is there to see."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.child import forget_bus, wait_until
from tests.process.inventory import NAMES, unexplained

pytestmark = pytest.mark.process

BEGINNING = """
import sys, threading

def thread(name=None):
    threading.Thread(target=threading.Event().wait, name=name, daemon=True).start()

"""
END = """
print("there", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def process(folder: Path, does: str) -> Iterator[int]:
    """One that does this and waits; its process id."""
    with (
        (folder / "output").open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-c", BEGINNING + does + END],
            env={"PYTHONPATH": str(NAMES)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=folder,
        ) as began,
    ):
        assert began.stdout is not None
        assert began.stdout.readline() == b"there\n", (folder / "output").read_text()
        yield began.pid
        assert began.stdin is not None
        began.stdin.close()


@pytest.mark.parametrize(
    ("does", "found"),
    [
        ("", []),
        ("thread('director-store'); thread('director-stat-[::1]:8443_0'); thread('handler_3')", []),
        ("thread('director-store'); thread('director-store')", ["2 threads 'store', at most 1"]),
        ("thread('drain')", ["1 threads 'drain', at most 0"]),
        ("thread()", ["1 threads 'Thread-1 (wait)', at most 0"]),
        ("held = open('/etc/hostname')", ["1 descriptors of /etc/hostname, at most 0"]),
    ],
)
def test_it_names_what_no_part_of_a_director_needs(tmp_path: Path, does: str, found: list[str]) -> None:
    with process(tmp_path, does) as pid:
        # A thread names itself after it has begun.
        with contextlib.suppress(AssertionError):
            wait_until(lambda: unexplained(pid, tmp_path / "output", tmp_path / "state") == found, "names", within_s=5)
        assert unexplained(pid, tmp_path / "output", tmp_path / "state") == found
    forget_bus(tmp_path / "state")


def test_of_a_process_that_has_ended_it_says_nothing(tmp_path: Path) -> None:
    with process(tmp_path, "") as pid:
        pass
    assert unexplained(pid, tmp_path / "output", tmp_path / "state") == []
