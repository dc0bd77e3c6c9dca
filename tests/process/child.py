"""A gunicorn child process that is always ended, and raw HTTP to talk to it."""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from director_wsgi.federation.store.files import bus_path
from tests.process import inventory

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = REPOSITORY / "gunicorn.conf.py"
STAND_IN = "tests.process.stand_in:application"
# The program itself: `python -m gunicorn` cannot start itself anew on USR2.
GUNICORN = Path(sys.executable).with_name("gunicorn")
START_S = 20.0
REST_S = 5.0

# Of this machine's environment only what a program needs to run: nothing configures the director by accident.
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "COVERAGE_PROCESS_START")
_LISTENING = re.compile(r"Listening at: https?://127\.0\.0\.1:(\d+)")


def wait_until(true: Callable[[], bool], what: str, within_s: float = START_S, *, pause_s: float = 0.02) -> None:
    """Poll `true`; an AssertionError that names `what` if it does not become so."""
    end = time.monotonic() + within_s
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(pause_s)


class Answer(NamedTuple):
    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for field, value in self.fields if field.lower() == name.lower()]


def parse(raw: bytes) -> Answer:
    """The first response in `raw`, whose body reaches to the end."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return Answer(int(status_line.split()[1]), fields, body)


def exchange(port: int, request: bytes, tls: ssl.SSLContext | None = None, timeout_s: float = 15.0) -> bytes:
    """Send `request` and return everything until the server closes; a TimeoutError if it is silent for too long."""
    with contextlib.ExitStack() as stack:
        connection: socket.socket = stack.enter_context(
            socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        )
        if tls is not None:
            connection = stack.enter_context(tls.wrap_socket(connection, server_hostname="localhost"))
        connection.sendall(request)
        return read_to_the_end(connection)


def read_to_the_end(connection: socket.socket) -> bytes:
    """Everything until the server closes, or lets go of, a connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            received += chunk
    return received


def get(path: str, *fields: str) -> bytes:
    """A GET that asks for the connection to be closed."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *fields, "", ""]).encode(
        "latin-1"
    )


class Child:
    """One gunicorn and its workers, in a process group of their own; see `run`.

    Attributes:
        state: Where the director keeps its state.
        environ: Its environment.
    """

    def __init__(
        self, arguments: list[str], environ: Mapping[str, str], directory: Path, under: Sequence[str] = ()
    ) -> None:
        self._output = directory / f"output-{time.monotonic_ns()}"
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {
            "PYTHONPATH": f"{REPOSITORY}:{inventory.NAMES}",
            "PYTHONWARNINGS": "error",
            "HOME": str(directory),
            "PELICAN_CONFIGBASE": str(directory),  # its first key is made there
            **environ,
        }
        default = Path(environment["PELICAN_CONFIGBASE"]) / "director"
        self.state = directory / environment.get("PELICAN_DIRECTOR_STATELOCATION", default)
        self.environ = environment
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [*under, GUNICORN, *arguments],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the master."""
        return self._process.pid

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    @property
    def port(self) -> int:
        """Where it listens, as it says itself."""
        found = _LISTENING.search(self.output)
        assert found, self.output
        return int(found[1])

    def wait_until_ready(self) -> "Child":
        """Wait until a worker serves."""
        wait_until(lambda: "Worker ready" in self.output or self._process.poll() is not None, "a worker")
        assert self._process.poll() is None, self.output
        return self

    def wait_for_output(self, text: str, times: int = 1) -> None:
        try:
            wait_until(lambda: self._ended_or_wrote(text, times), f"{times} x {text!r}")
            assert self.output.count(text) >= times, f"it ended without {times} x {text!r}"
        except AssertionError as error:
            raise AssertionError(f"{error} in\n{self.output}") from None

    def _ended_or_wrote(self, text: str, times: int) -> bool:
        return self.output.count(text) >= times or self._process.poll() is not None

    def wait_for_end(self, within_s: float = START_S) -> int:
        """The exit status."""
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {within_s} s:\n{self.output}") from None

    def is_running(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def members(self) -> list[int]:
        """Every process of the group that still lives."""
        alive = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(group) == self._process.pid and state != "Z":
                    alive.append(int(entry.name))
        return alive

    def look_over(self) -> None:
        """Assert that its processes hold nothing unexplained and, if it has ended by itself, that it has left none.

        What has only just begun or ended has a moment to come to rest.
        """
        status = self._process.poll()
        if status is not None:
            # One that was killed leaves its workers to themselves, and one that was replaced its successor.
            if status >= 0 and "Handling signal: usr2" not in self.output:
                wait_until(lambda: self.members() == [], "the end of every process of the group", REST_S)
            return
        found: list[str] = []

        def is_explained() -> bool:
            found[:] = [
                f"{pid}: {what}"
                for pid in (self.pid, *self.workers())
                for what in (*inventory.unexplained(pid, self._output, self.state), *self._offspring(pid))
            ]
            return not found

        with contextlib.suppress(AssertionError):
            wait_until(is_explained, "all is explained", REST_S)
        assert not found, f"{found}\n{self.output}"

    def _offspring(self, pid: int) -> list[str]:
        """Child processes of a worker, which needs none."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return [f"child process {child}" for child in children if pid != self.pid]
        return []

    def ask(self, request: bytes, tls: ssl.SSLContext | None = None) -> Answer:
        return parse(exchange(self.port, request, tls))

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)


@contextlib.contextmanager
def run(directory: Path, *arguments: str, environ: Mapping[str, str], under: Sequence[str] = ()) -> Iterator[Child]:
    """Start gunicorn in `directory`, look over what its processes hold at the end, and kill its whole group.

    Args:
        directory: Where it starts.
        arguments: Gunicorn's.
        environ: More of its environment.
        under: A command that becomes the one that follows it, as `env` does.
    """
    child = Child(list(arguments), environ, directory, under)
    try:
        yield child
        child.look_over()
    finally:
        child.kill()
        forget_bus(child.state)


def forget_bus(state: Path) -> None:
    """Remove what the workers of a director shared: it outlives them, and would outlive the tests."""
    shutil.rmtree(bus_path(state).parent, ignore_errors=True)


def free_port() -> int:
    """A port that nobody has now, and that the system gives to nobody who asks for any port."""
    given_away_from = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(1024, given_away_from)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def hup(child: Child) -> None:
    """Send HUP and wait until the new worker serves and the old one has gone."""
    served_before = child.output.count("Worker ready")
    old = child.workers()
    child.signal(signal.SIGHUP)
    child.wait_for_output("Worker ready", served_before + 1)
    wait_for_others(child, old)


def kill_worker(child: Child, pid: int) -> None:
    """Kill a worker and wait until another serves."""
    served_before = child.output.count("Worker ready")
    os.kill(pid, signal.SIGKILL)
    child.wait_for_output("Worker ready", served_before + 1)
    wait_for_others(child, [pid])


def wait_for_others(child: Child, old: list[int]) -> None:
    wait_until(lambda: not set(old) & set(child.workers()), "the end of the old worker")
