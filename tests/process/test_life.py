"""The life of the process: what the master of a director tells systemd, and what it keeps when something breaks.

systemd itself does not run here. What it would send and receive does: a notification socket, a watchdog's variables,
and a listening socket that `systemd-socket-activate` hands over.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from director_wsgi.runtime.last_good import NAME
from tests.e2e.programs import program
from tests.process.census import end
from tests.process.child import (
    GUNICORN,
    REPOSITORY,
    SETTINGS,
    STAND_IN,
    Child,
    exchange,
    free_port,
    get,
    hup,
    kill_worker,
    parse,
    run,
    wait_for_others,
    wait_until,
)
from tests.process.conftest import ENVIRON

pytestmark = pytest.mark.process

DIRECTOR = "director_wsgi.wsgi:application"
WITH_SETTINGS = ("-c", str(SETTINGS), "-b", "127.0.0.1:0")


class Systemd:
    """A notification socket, and what was sent to it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)

    def next(self, within_s: float = 15.0) -> str:
        """The next message; a TimeoutError if there is none in time."""
        self._socket.settimeout(within_s)
        return self._socket.recv(4096).decode()

    def wait_for(self, start: str, within_s: float = 15.0) -> str:
        """The next message that starts like this; those before it are forgotten."""
        end_at = time.monotonic() + within_s
        while not (message := self.next(max(0.01, end_at - time.monotonic()))).startswith(start):
            pass
        return message

    def is_silent(self, for_s: float) -> bool:
        try:
            self.next(for_s)
        except TimeoutError:
            return True
        return False

    def drain(self) -> None:
        """Forget what has been sent until now."""
        while not self.is_silent(0.0001):
            pass

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def abstract_systemd(tmp_path: Path) -> Iterator[Systemd]:
    """As systemd is reached from some containers: its address is no file."""
    with contextlib.closing(Systemd(f"@{tmp_path.name}-{os.getpid()}")) as systemd:
        yield systemd


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    with contextlib.closing(Systemd(str(tmp_path / "notify"))) as systemd:
        yield systemd


def notifying(systemd: Systemd, **more: str) -> Mapping[str, str]:
    return ENVIRON | {"NOTIFY_SOCKET": systemd.address, **more}


# -- what systemd is told


def test_systemd_follows_a_life(tmp_path: Path, abstract_systemd: Systemd) -> None:
    with run(tmp_path, *WITH_SETTINGS, STAND_IN, environ=notifying(abstract_systemd)) as child:
        assert abstract_systemd.next() == "READY=1\nSTATUS=Serving"
        assert "Worker ready" in child.output

        before = time.monotonic()
        child.signal(signal.SIGHUP)
        began = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", abstract_systemd.next())
        assert began
        assert before <= int(began[1]) / 1e6 <= time.monotonic()
        assert abstract_systemd.next() == "READY=1\nSTATUS=Serving"
        assert child.output.count("Worker ready") == 2

        assert child.ask(get("/")).status == 200
        child.signal(signal.SIGTERM)
        assert abstract_systemd.next() == "STOPPING=1"
        assert child.wait_for_end() == 0
        assert abstract_systemd.is_silent(0.1)


def test_reloads_that_follow_each_other_closely_all_end(tmp_path: Path, systemd: Systemd) -> None:
    with run(tmp_path, *WITH_SETTINGS, STAND_IN, environ=notifying(systemd)) as child:
        systemd.wait_for("READY=1")
        for _ in range(2):
            # The master has only just told it, and is asked for the next one.
            child.signal(signal.SIGHUP)
            systemd.wait_for("RELOADING=1")
            systemd.wait_for("READY=1")
        for _ in range(3):
            child.signal(signal.SIGHUP)
            systemd.wait_for("RELOADING=1")
        assert systemd.wait_for("READY=1")
        assert child.output.count("Worker ready") == 6
        assert systemd.is_silent(0.5)


def test_it_is_not_ready_while_no_worker_serves(tmp_path: Path, systemd: Systemd) -> None:
    (tmp_path / "slow.py").write_text(
        "import pathlib, time\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.02)\n"
        f"from {STAND_IN.partition(':')[0]} import application\n"
    )
    with run(tmp_path, *WITH_SETTINGS, "slow:application", environ=notifying(systemd)) as child:
        child.wait_for_output("Booting worker")
        assert systemd.is_silent(0.5)
        (tmp_path / "go").touch()
        assert systemd.next().startswith("READY=1")


def test_it_says_that_it_ends_while_a_request_is_still_answered(tmp_path: Path, systemd: Systemd) -> None:
    with run(tmp_path, *WITH_SETTINGS, STAND_IN, environ=notifying(systemd)) as child:
        systemd.wait_for("READY=1")
        with socket.create_connection(("127.0.0.1", child.port), timeout=10) as client:
            client.sendall(get("/wait?s=1"))
            child.wait_for_output("request waits")
            child.signal(signal.SIGTERM)
            assert systemd.next() == "STOPPING=1"
            assert child.workers()
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
        assert child.wait_for_end() == 0


def test_a_director_that_cannot_start_says_nothing_and_ends(tmp_path: Path, systemd: Systemd) -> None:
    with run(tmp_path, *WITH_SETTINGS, STAND_IN, environ=notifying(systemd, PELICAN_DIRECTOR_THREADS="many")) as child:
        assert child.wait_for_end() == 1
        assert systemd.is_silent(0.05)


def test_the_watchdog_is_fed_while_workers_breathe_and_not_when_the_master_hangs(
    tmp_path: Path, systemd: Systemd
) -> None:
    with run(tmp_path, *WITH_SETTINGS, STAND_IN, environ=notifying(systemd, WATCHDOG_USEC="500000")) as child:
        systemd.wait_for("READY=1")
        for _ in range(4):
            assert systemd.next() == "WATCHDOG=1"
        master = int(re.findall(r"Listening at: .* \((\d+)\)", child.output)[0])
        os.kill(master, signal.SIGSTOP)
        systemd.drain()
        assert systemd.is_silent(0.75)
        os.kill(master, signal.SIGCONT)
        assert systemd.next() == "WATCHDOG=1"


def test_the_watchdog_starves_when_no_worker_breathes(tmp_path: Path, systemd: Systemd) -> None:
    arguments = (*WITH_SETTINGS, "--timeout", "2", STAND_IN)
    with run(tmp_path, *arguments, environ=notifying(systemd, WATCHDOG_USEC="400000")) as child:
        systemd.wait_for("READY=1")
        (worker,) = child.workers()
        os.kill(worker, signal.SIGSTOP)
        # Until gunicorn replaces it, 2 to 4 s later, there is nobody that breathes for a while.
        wait_until(lambda: systemd.is_silent(0.4), "a silence for which systemd would end the service")
        child.wait_for_output("Worker ready", 2)
        assert systemd.next() == "WATCHDOG=1"


def test_the_watchdog_is_fed_while_a_reload_waits_for_an_old_worker(tmp_path: Path, systemd: Systemd) -> None:
    with run(tmp_path, *WITH_SETTINGS, STAND_IN, environ=notifying(systemd, WATCHDOG_USEC="400000")) as child:
        systemd.wait_for("READY=1")
        with socket.create_connection(("127.0.0.1", child.port), timeout=10) as client:
            client.sendall(get("/wait?s=2"))
            child.wait_for_output("request waits")
            child.signal(signal.SIGHUP)
            systemd.wait_for("READY=1")
            for _ in range(3):
                assert systemd.next() == "WATCHDOG=1"
            assert client.recv(4096).startswith(b"HTTP/1.1 200")


def test_when_another_master_takes_over_the_service_follows_it(tmp_path: Path, systemd: Systemd) -> None:
    with run(tmp_path, *WITH_SETTINGS, STAND_IN, environ=notifying(systemd, WATCHDOG_USEC="60000000")) as child:
        systemd.wait_for("READY=1")
        child.signal(signal.SIGUSR2)
        child.wait_for_output("Worker ready", 2)
        systemd.wait_for("READY=1")
        successor = int(re.findall(r"Listening at: .* \((\d+)\)", child.output)[1])
        systemd.drain()
        child.signal(signal.SIGTERM)
        assert systemd.next() == f"MAINPID={successor}"
        assert child.wait_for_end() == 0
        assert child.ask(get("/")).status == 200

        systemd.drain()
        wait_until(lambda: "Master has been promoted" in child.output, "the new master is the only one")
        os.kill(successor, signal.SIGHUP)
        assert systemd.wait_for("RELOADING=1")
        assert systemd.wait_for("READY=1")
        os.kill(successor, signal.SIGTERM)
        assert systemd.wait_for("STOPPING=1")
        wait_until(lambda: child.members() == [], "the end of every process of the group")


def test_nobody_below_the_master_can_speak_for_it(tmp_path: Path, systemd: Systemd) -> None:
    with run(tmp_path, *WITH_SETTINGS, STAND_IN, environ=notifying(systemd)) as child:
        systemd.wait_for("READY=1")
        (worker,) = child.workers()
        held = [str(one.readlink()) for one in Path(f"/proc/{worker}/fd").iterdir()]
        # A datagram socket of the master's would be one more than the listener.
        assert sum(one.startswith("socket:") for one in held) == 1
        # To the workers TERM is gunicorn's alone.
        os.kill(worker, signal.SIGTERM)
        child.wait_for_output("Worker ready", 2)
        assert systemd.is_silent(0.2)


# -- a reload leaves no gap


def test_while_a_new_worker_loads_the_old_one_answers(tmp_path: Path) -> None:
    with run(tmp_path, *WITH_SETTINGS, "tests.process.unhurried:application", environ=ENVIRON) as child:
        child.wait_until_ready()
        (old,) = child.workers()
        wait = tmp_path / "wait"
        wait.touch()
        child.signal(signal.SIGHUP)
        child.wait_for_output("Booting worker", 2)
        for _ in range(20):  # a second in all: gunicorn alone would have ended it long ago
            assert shown(child)["pid"] == old
            time.sleep(0.05)
        wait.unlink()
        wait_for_others(child, [old])
        (new,) = child.workers()
        assert shown(child)["pid"] == new
        end(child)


def test_a_new_worker_that_dies_is_not_waited_for(tmp_path: Path) -> None:
    with run(tmp_path, *WITH_SETTINGS, "tests.process.unhurried:application", environ=ENVIRON) as child:
        child.wait_until_ready()
        (old,) = child.workers()
        wait = tmp_path / "wait"
        wait.touch()
        child.signal(signal.SIGHUP)
        child.wait_for_output("Booting worker", 2)
        (young,) = set(child.workers()) - {old}
        os.kill(young, signal.SIGKILL)
        wait.unlink()
        child.wait_for_output("Worker ready", 2)
        wait_for_others(child, [old, young])
        end(child)


def test_a_worker_that_ends_still_answers_on_a_connection_that_is_kept_and_then_closes_it(tmp_path: Path) -> None:
    with run(tmp_path, *WITH_SETTINGS, STAND_IN, environ=ENVIRON) as child:
        child.wait_until_ready()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", child.port, timeout=10)) as kept:
            kept.request("GET", "/")
            kept.getresponse().read()
            (worker,) = child.workers()
            os.kill(worker, signal.SIGTERM)
            kept.auto_open = 0
            kept.request("GET", "/")
            answer = kept.getresponse()
            assert (answer.status, answer.getheader("Connection")) == (200, "close")
        wait_for_others(child, [worker])
        end(child)


# -- sockets of systemd's


@pytest.fixture
def activate() -> str:
    return program("systemd-socket-activate", package="systemd")


def test_systemd_may_do_the_listening(tmp_path: Path, activate: str) -> None:
    port = free_port()
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "HOME": str(tmp_path)}
    environ |= ENVIRON | {"PELICAN_CONFIGBASE": str(tmp_path)}
    passed_on = [word for name in environ for word in ("-E", name)]
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [activate, "-l", f"127.0.0.1:{port}", *passed_on, GUNICORN, "-c", SETTINGS, "--pid", "pid", STAND_IN],
            cwd=tmp_path,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until(lambda: "Listening" in log.read_text(), "systemd listens")
        assert "Booting worker" not in log.read_text()
        # The first client starts it, and is served.
        seen = json.loads(parse(exchange(port, get("/"), timeout_s=20)).body)
        assert seen["started"] is True
        assert f"Listening at: http://127.0.0.1:{port}" in log.read_text()
        # It is the director's own way of listening: who falls silent is let go.
        with socket.create_connection(("127.0.0.1", port), timeout=20) as silent:
            silent.sendall(b"GET / HTTP/1.1\r\nHost")
            os.kill(process.pid, signal.SIGHUP)
            wait_until(lambda: log.read_text().count("Worker ready") == 2, "the reload")
            assert parse(exchange(port, get("/"))).status == 200
            while silent.recv(100):
                pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert "Traceback" not in log.read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def test_while_it_restarts_clients_wait_at_systemds_socket_and_none_is_refused(tmp_path: Path) -> None:
    """The socket outlives the director, as with a socket unit; this process holds it in systemd's place."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen(64)
        port = int(held.getsockname()[1])
        first = activated(tmp_path, held)
        try:
            assert parse(exchange(port, get("/"))).status == 200
            first.send_signal(signal.SIGTERM)
            assert first.wait(20) == 0
            # Nobody serves now.
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                client.sendall(get("/"))
                second = activated(tmp_path, held)
                try:
                    assert client.recv(4096).startswith(b"HTTP/1.1 200")
                finally:
                    os.killpg(second.pid, signal.SIGKILL)
                    second.wait(10)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(first.pid, signal.SIGKILL)
            first.wait(10)


HAND_OVER = (
    "import os, sys\n"
    "os.dup2(int(sys.argv[1]), 3)\n"
    "os.environ['LISTEN_PID'] = str(os.getpid())\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)
"""Becomes the program that is named after the number of the descriptor, as systemd's child becomes a service."""


def activated(directory: Path, listener: socket.socket, log: Path | None = None) -> "subprocess.Popen[bytes]":
    """A director that is handed a socket as systemd hands it: descriptor 3, and its own number in the environment."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "HOME": str(directory), "LISTEN_FDS": "1"}
    environ |= ENVIRON | {"PELICAN_CONFIGBASE": str(directory)}
    words = [sys.executable, "-c", HAND_OVER, str(listener.fileno()), str(GUNICORN), "-c", str(SETTINGS), STAND_IN]
    with (log or directory / "log").open("ab") as output:
        return subprocess.Popen(
            words,
            cwd=directory,
            env=environ,
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def test_a_master_that_takes_over_has_systemds_socket_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen(64)
        port = int(held.getsockname()[1])
        first = activated(tmp_path, held, log)
        try:
            before = json.loads(parse(exchange(port, get("/"))).body)["pid"]
            first.send_signal(signal.SIGUSR2)
            wait_until(lambda: log.read_text().count("Worker ready") == 2, "the worker of the new master")
            first.send_signal(signal.SIGTERM)
            assert first.wait(20) == 0, log.read_text()
            assert json.loads(parse(exchange(port, get("/"))).body)["pid"] != before
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(first.pid, signal.SIGKILL)
            first.wait(10)


# -- a configuration that breaks


GOOD = "Director: {SupportContactEmail: good@example.org, Threads: 8}\nFederation: {RegistryUrl: https://127.0.0.1:1}\n"
BROKEN = "Director: {Threads: many}\n"


def state(directory: Path) -> Path:
    return directory / "director" / NAME


def shown(child: Child) -> dict[str, object]:
    seen: dict[str, object] = json.loads(child.ask(get("/")).body)
    return seen


def test_a_broken_file_changes_nothing_until_it_is_mended(tmp_path: Path, systemd: Systemd) -> None:
    file = tmp_path / "pelican.yaml"
    file.write_text(GOOD)
    environ = {"NOTIFY_SOCKET": systemd.address}
    with run(tmp_path, *WITH_SETTINGS, DIRECTOR, environ=environ) as child:
        systemd.wait_for("READY=1")
        assert json.loads(child.ask(get("/readyz")).body) == {"status": "ready"}
        file.write_text(BROKEN)
        hup(child)
        assert "the last good one is in force" in systemd.wait_for("READY=1")
        for _ in range(2):
            ready = child.ask(get("/readyz"))
            assert ready.status == 200
            assert json.loads(ready.body)["checks"]["configuration"]["status"] == "warning"
            assert "Director.Threads = 'many' (pelican.yaml:1)" in child.output
            assert "8 threads" in child.output.rpartition("Worker ready")[2]
            kill_worker(child, child.workers()[0])
        file.write_text(GOOD)
        hup(child)
        assert systemd.wait_for("READY=1") == "READY=1\nSTATUS=Serving"
        assert "Traceback" not in child.output
        end(child)


def test_the_replacement_of_a_worker_does_not_read_what_nobody_has_asked_for_yet(tmp_path: Path) -> None:
    file = tmp_path / "pelican.yaml"
    file.write_text(GOOD)
    with run(tmp_path, *WITH_SETTINGS, STAND_IN, environ={}) as child:
        child.wait_until_ready()
        file.write_text(GOOD.replace("good@", "later@"))
        kill_worker(child, child.workers()[0])
        assert shown(child)["contact"] == "good@example.org"
        hup(child)
        assert shown(child)["contact"] == "later@example.org"


def test_a_reload_reads_the_file_also_where_gunicorn_does_not_read_its_settings(tmp_path: Path) -> None:
    file = tmp_path / "pelican.yaml"
    file.write_text(GOOD)
    arguments = ("-c", "python:director_wsgi.runtime.process", "-b", "127.0.0.1:0", STAND_IN)
    with run(tmp_path, *arguments, environ={}) as child:
        child.wait_until_ready()
        file.write_text(GOOD.replace("good@", "later@"))
        hup(child)
        assert shown(child)["contact"] == "later@example.org"
        file.write_text(BROKEN)
        hup(child)
        assert shown(child)["contact"] == "later@example.org"


def test_the_next_master_serves_by_the_last_good_copy(tmp_path: Path) -> None:
    file = tmp_path / "pelican.yaml"
    file.write_text(GOOD)
    with run(tmp_path, *WITH_SETTINGS, STAND_IN, environ={}) as child:
        child.wait_until_ready()
        assert state(tmp_path).stat().st_mode & 0o777 == 0o600
        file.write_text(BROKEN)
        first = shown(child)["pid"]
        child.signal(signal.SIGUSR2)
        child.wait_for_output("Worker ready", 2)
        child.signal(signal.SIGTERM)
        assert child.wait_for_end() == 0

        seen = shown(child)
        assert seen["pid"] != first
        assert (seen["contact"], seen["threads"]) == ("good@example.org", 8)
        assert "The configuration is wrong; the last good one stays in force" in child.output


def test_a_cold_start_refuses_a_broken_file_whatever_lies_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "pelican.yaml"
    file.write_text(GOOD)
    with run(tmp_path, *WITH_SETTINGS, STAND_IN, environ={}) as child:
        child.wait_until_ready()
        end(child)
    assert state(tmp_path).exists()
    file.write_text(BROKEN)
    with run(tmp_path, *WITH_SETTINGS, STAND_IN, environ={"DIRECTOR_WSGI_LAST_GOOD": f"1:{state(tmp_path)}"}) as child:
        assert child.wait_for_end() == 1
        assert "Director.Threads = 'many'" in child.output
        assert "Booting worker" not in child.output


def test_the_copy_holds_nothing_of_the_environment_but_parameters_of_the_director(tmp_path: Path) -> None:
    environ = ENVIRON | {
        "PELICAN_DIRECTOR_SUPPORTCONTACTEMAIL": "help@example.org",
        "PELICAN_ORIGIN_S3SECRETKEYFILE": "canary-of-another-server",
        "AWS_SECRET_ACCESS_KEY": "canary-of-the-environment",
    }
    with run(tmp_path, *WITH_SETTINGS, STAND_IN, environ=environ) as child:
        child.wait_until_ready()
        kept = state(tmp_path).read_text()
    assert "help@example.org" in kept
    assert "canary" not in kept


def test_without_a_state_nothing_is_written(tmp_path: Path) -> None:
    environ = ENVIRON | {"PELICAN_DIRECTOR_STATELOCATION": ":memory:"}
    with run(tmp_path, *WITH_SETTINGS, STAND_IN, environ=environ) as child:
        child.wait_until_ready()
        hup(child)
        assert not (tmp_path / "director").exists()
        wait_for_others(child, [])


# -- the unit of the documentation


def test_the_units_of_the_documentation_are_ones_that_systemd_understands(tmp_path: Path) -> None:
    analyze = program("systemd-analyze", package="systemd")
    text = (REPOSITORY / "docs" / "deployment.md").read_text()
    units = dict(re.findall(r"```ini\n# /etc/systemd/system/(\S+)\n(.*?)```", text, re.DOTALL))
    assert set(units) == {"director.service", "director.socket"}
    for name, unit in units.items():
        # What is not on this machine: the program, its user.
        here = unit.replace("/opt/director/bin/director-wsgi", "/bin/true")
        (tmp_path / name).write_text(here)
    told = subprocess.run(
        [analyze, "verify", "--man=no", *(str(tmp_path / name) for name in units)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": os.environ["PATH"], "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    ours = [line for line in told.stderr.splitlines() if "director." in line]
    assert ours == []
