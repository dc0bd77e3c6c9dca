"""`director-wsgi demo` as a person runs it: what it prints works, and nothing of it is left afterwards."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import urllib3

from director_wsgi.demo.certificates import trusting
from tests.process.child import wait_until

LIMIT_S = 60.0
READY = "Ctrl-C ends everything"


class Demo:
    """A demo that runs, in a session of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.output = folder / "output"
        temporary = folder / "tmp"
        temporary.mkdir()
        self.temporary = temporary
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("director-wsgi"), "demo", "--port", "0", *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                # What a person may have set for a director of their own must not matter.
                env={**os.environ, "TMPDIR": str(temporary), "PELICAN_DIRECTOR_STATTIMEOUT": "nonsense"},
                start_new_session=True,
            )

    def said(self) -> str:
        return self.output.read_text()

    def wait_for(self, words: str) -> None:
        end = time.monotonic() + LIMIT_S
        while words not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.05)

    def director_pid(self) -> int:
        found = re.search(r"pid (\d+)", self.said())
        assert found
        return int(found[1])

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(LIMIT_S)


@contextmanager
def demo(folder: Path, *options: str) -> Iterator[Demo]:
    running = Demo(folder, *options)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()
            found = re.search(r"pid (\d+)", running.said())
            with suppress(ProcessLookupError):
                os.killpg(int(found[1]) if found else running.process.pid, signal.SIGKILL)


def group_exists(group: int) -> bool:
    """Whether a process of the group runs; one that is dead and waits for its parent to notice does not count."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, its_group = stat.read_text().rpartition(") ")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False


def test_the_first_line_brings_bytes_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        running.wait_for(READY)
        director = running.director_pid()
        words = shlex.split(next(line for line in running.said().splitlines() if line.startswith("curl ")))
        ca = Path(words[words.index("--cacert") + 1])
        with urllib3.PoolManager(ssl_context=trusting(ca), timeout=10) as client:
            assert client.request("GET", words[-1]).data.startswith(b"Hello!")
        assert group_exists(director)
        assert running.end(signal.SIGINT) == 0
        assert running.said().endswith("Ended; nothing is left.\n")
        assert not group_exists(director)
        assert list(running.temporary.iterdir()) == []


def test_every_server_passes_the_directors_tests_and_what_is_to_be_kept_is_kept(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with demo(tmp_path, "--keep", str(kept)) as running:
        running.wait_for(READY)
        lines = [shlex.split(line) for line in running.said().splitlines() if line.startswith("curl ")]
        (line,) = [words for words in lines if words[-1].endswith("/director_ui/servers")]
        with urllib3.PoolManager(ssl_context=trusting(Path(line[line.index("--cacert") + 1])), timeout=10) as client:

            def statuses() -> list[str]:
                return [server["healthStatus"] for server in client.request("GET", line[-1]).json()]

            wait_until(lambda: statuses() == ["OK"] * 5, "every server to be well")
        assert running.end(signal.SIGINT) == 0
        assert list(running.temporary.iterdir()) == []
    assert "Worker ready" in (kept / "director.log").read_text()
    assert (kept / "ORIGIN-MADISON" / "objects" / "public" / "hello.txt").is_file()


def test_a_signal_before_it_is_ready_ends_it_just_as_well(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        running.wait_for("pid ")
        assert running.end(signal.SIGTERM) == 0
        assert not group_exists(running.director_pid())
        assert list(running.temporary.iterdir()) == []


def test_the_death_of_the_director_ends_it_with_the_directors_last_words(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        running.wait_for(READY)
        director = running.director_pid()
        os.kill(director, signal.SIGKILL)
        assert running.process.wait(LIMIT_S) == 1
        assert "the director ended by itself. The last lines of its log:" in running.said()
        assert "Worker ready" in running.said()
        assert not group_exists(director)
        assert list(running.temporary.iterdir()) == []


@pytest.mark.parametrize("case", ["port", "folder"])
def test_what_cannot_be_had_is_one_clear_line(tmp_path: Path, case: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = ["--port", str(taken.getsockname()[1])] if case == "port" else ["--keep", str(tmp_path)]
        with demo(tmp_path, *options) as running:
            assert running.process.wait(LIMIT_S) == 1
    (line,) = running.said().splitlines()
    assert line.startswith("director-wsgi demo: ")
    assert ("in use" in line) if case == "port" else ("expected a directory that is empty" in line)
