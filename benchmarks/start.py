"""From the start of gunicorn's process until the first answer: everything imported, made and started."""

import os
import socket
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.figures import Figure, figure
from benchmarks.load import process_cpu_s
from benchmarks.server import LOG, START_TIMEOUT_S, ServerFailedError, started, workers_of

AIM_S = 1.0
_REQUEST = b"GET /api/v1.0/health HTTP/1.1\r\nHost: director.example.org\r\nConnection: close\r\n\r\n"
_TRY_EVERY_S = 0.002


def measure(folder: Path, say: Callable[[str], None], *, rounds: int = 9) -> list[Figure]:
    """Take the figures.

    Args:
        folder: For the servers' files.
        say: Told what is going on.
        rounds: How often a director is started for the first time, and how often again.

    Raises:
        ServerFailedError: It did not come up.
    """
    own = folder / "start"
    own.mkdir()
    say(f"start: {rounds} directors, each started twice")
    made: dict[str, list[tuple[float, float]]] = {"a new director": [], "one that has run before": []}
    for number in range(rounds):
        place = own / str(number)
        place.mkdir()
        for starts in made.values():
            starts.append(_start(place))
    return [
        figure(
            f"from the start of the process to the first answer, {name}",
            "s",
            [took_s for took_s, _ in starts],
            at_most=AIM_S,
            details={"s of CPU, master and worker": statistics.median(used_s for _, used_s in starts)},
        )
        for name, starts in made.items()
    ]


def _start(folder: Path) -> tuple[float, float]:
    """Seconds until the first answer, and of CPU of master and worker until then."""
    port = _free_port()
    began_at = time.monotonic()
    with started("director_wsgi.wsgi:application", folder, port=port, processors=os.sched_getaffinity(0)) as master:
        while not _answers(port):
            if master.poll() is not None or time.monotonic() > began_at + START_TIMEOUT_S:
                raise ServerFailedError(f"no answer; the log ends with\n{(folder / LOG).read_text()[-3000:]}")
            time.sleep(_TRY_EVERY_S)
        took_s = time.monotonic() - began_at
        return took_s, _cpu_s(master)


def _cpu_s(master: "subprocess.Popen[bytes]") -> float:
    return sum(map(process_cpu_s, (master.pid, *workers_of(master))))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    """Whether a request is answered; waits for the answer once somebody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=START_TIMEOUT_S) as connection:
            connection.sendall(_REQUEST)
            return connection.recv(16).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
