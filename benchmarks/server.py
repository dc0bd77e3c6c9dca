"""gunicorn in a child process, with the settings that production has."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from director_wsgi.federation.store.files import bus_path

ROOT = Path(__file__).resolve().parent.parent
LOG = "log"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0

_ARGUMENTS = [
    *("-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py"), "--pythonpath", str(ROOT)),
    *("--log-level", "info"),
]


class ServerFailedError(Exception):
    """The server did not start; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers.

    Attributes:
        port: On 127.0.0.1.
        pid: Of its one worker, or of the first of several.
        others: Of the others.
    """

    port: int
    pid: int
    others: tuple[int, ...] = ()

    def memory_mb(self, what: str = "VmRSS") -> float:
        """Memory of the workers, summed, in 10^6 bytes.

        Args:
            what: A field of proc_pid_status(5): `VmRSS`, what is resident now, or `VmHWM`, the most that ever was.

        Raises:
            ServerFailedError: One has ended.
        """
        return sum(_memory_kib(pid, what) for pid in (self.pid, *self.others)) * 1024 / 1e6


def _memory_kib(pid: int, what: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == what:
            return int(value.split()[0])
    raise ServerFailedError(f"process {pid} has ended")


def cores() -> tuple[set[int], set[int]]:
    """The one processor that servers run on, and those left for everything else; the same if there is only one.

    A worker is pinned in production as well, to a processor drawn by lot. Here all have the same one, since they are
    compared with each other, and never that of the load generator.
    """
    allowed = sorted(os.sched_getaffinity(0))
    return {allowed[0]}, set(allowed[1:] or allowed)


@contextmanager
def confined(processors: set[int]) -> Iterator[None]:
    """Processes started within the block, by this thread, keep to these processors."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def serving(
    application: str, folder: Path, extra: dict[str, str] | None = None, *, workers: int = 1
) -> Iterator[Server]:
    """Serve `module:variable` until the block ends.

    Args:
        application: What gunicorn is to import.
        folder: An existing folder of this server's own: it runs there and leaves its log there.
        extra: More of the environment.
        workers: How many. One keeps to the first processor; several may have all.

    Raises:
        ServerFailedError: It ended, or does not answer in time.
    """
    processors = cores()[0] if workers == 1 else os.sched_getaffinity(0)
    with started(application, folder, extra, workers=workers, processors=processors) as master:
        yield _wait(master, folder / LOG, workers)


@contextmanager
def started(
    application: str,
    folder: Path,
    extra: dict[str, str] | None = None,
    *,
    workers: int = 1,
    port: int = 0,
    processors: set[int],
) -> Iterator["subprocess.Popen[bytes]"]:
    """The master, as soon as its process has been made, until the block ends.

    Args:
        application: What gunicorn is to import.
        folder: See `serving`.
        extra: More of the environment.
        workers: How many.
        port: To listen on, on 127.0.0.1; 0 for any.
        processors: That all processes keep to.
    """
    with (folder / LOG).open("wb") as output, confined(processors):
        master = subprocess.Popen(
            [sys.executable, *_ARGUMENTS, "--bind", f"127.0.0.1:{port}", "--workers", str(workers), application],
            cwd=folder,
            env=_environment(folder) | (extra or {}),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield master
    finally:
        master.terminate()
        try:
            master.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(master.pid, signal.SIGKILL)
            master.wait()
        shutil.rmtree(bus_path(folder / "director").parent, ignore_errors=True)  # it outlives processes


def _environment(folder: Path) -> dict[str, str]:
    """This process's environment without what would steer the director or gunicorn."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PELICAN_", "DIRECTOR_WSGI_", "GUNICORN_", "WEB_CONCURRENCY"))
    }
    return kept | {
        "HOME": str(folder),
        "PELICAN_CONFIGBASE": str(folder),
        "PELICAN_SERVER_EXTERNALWEBURL": "https://director.example.org",
        "PELICAN_FEDERATION_REGISTRYURL": "http://127.0.0.1:9",  # nobody listens there
    }


_LISTENING = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)")


def _wait(master: "subprocess.Popen[bytes]", log: Path, workers: int) -> Server:
    """The server, as soon as it answers and all workers are ready."""
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up_at and master.poll() is None:
        said = log.read_text(errors="replace")
        port = _LISTENING.search(said)
        if port is not None and said.count("Worker ready") >= workers and _answers(int(port[1])):
            children = workers_of(master)
            if len(children) == workers:
                first, *others = children
                return Server(int(port[1]), first, tuple(others))
        time.sleep(0.05)
    raise ServerFailedError(f"gunicorn did not come up; its log ends with\n{log.read_text(errors='replace')[-3000:]}")


def workers_of(master: "subprocess.Popen[bytes]") -> list[int]:
    """The process ids of its workers now."""
    return [int(pid) for pid in Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text().split()]


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /up HTTP/1.1\r\nHost: director.example.org\r\nConnection: close\r\n\r\n")
            return connection.recv(16).startswith(b"HTTP/1.1 ")
    except OSError:
        return False
