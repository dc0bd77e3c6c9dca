"""A system that gives a worker no more of something: descriptors, threads. It goes on with what it has."""

import contextlib
import os
import resource
import signal
import socket
import time
from pathlib import Path

from tests.process.breathless import FILE_VARIABLE
from tests.process.child import SETTINGS, get, run
from tests.process.conftest import ENVIRON

VERSION = get("/api/v1.0/version")
SERVED = ("-c", str(SETTINGS), "-b", "127.0.0.1:0")
LOWEST = 3
"""A limit on the number of the next descriptor: standard input, output and error hold all below it."""

BREATHLESS = "tests.process.breathless:application"


def spent_s(pid: int) -> float:
    """Processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_worker_may_have_as_many_descriptors_as_it_can_be_given(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with run(tmp_path, *SERVED, environ=ENVIRON) as child:
        (worker,) = child.wait_until_ready().workers()

        assert resource.prlimit(worker, resource.RLIMIT_NOFILE)[0] >= min(hard, 65_536)


def test_a_worker_without_descriptors_lets_clients_wait_and_lives(tmp_path: Path) -> None:
    with run(tmp_path, *SERVED, environ=ENVIRON) as child, contextlib.ExitStack() as stack:
        (worker,) = child.wait_until_ready().workers()
        assert child.ask(VERSION).status == 200
        limit = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (LOWEST, limit[1]))
        waiting = stack.enter_context(socket.create_connection(("127.0.0.1", child.port), timeout=15))
        waiting.sendall(VERSION)
        child.wait_for_output("Clients have to wait: cannot take a connection: Too many open files")
        spent_before = spent_s(worker)
        time.sleep(0.5)
        is_busy = spent_s(worker) - spent_before > 0.25
        resource.prlimit(worker, resource.RLIMIT_NOFILE, limit)

        assert waiting.recv(12) == b"HTTP/1.1 200"
        assert child.workers() == [worker]
        assert not is_busy
        assert "Traceback" not in child.output


def test_who_was_taken_with_the_last_descriptor_is_served(tmp_path: Path) -> None:
    with run(tmp_path, *SERVED, environ=ENVIRON) as child, contextlib.ExitStack() as stack:
        (worker,) = child.wait_until_ready().workers()
        assert child.ask(VERSION).status == 200
        limit = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        highest = max(int(entry.name) for entry in Path(f"/proc/{worker}/fd").iterdir())
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (highest + 4, limit[1]))
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", child.port), timeout=15)) for _ in range(30)
        ]
        child.wait_for_output("Clients have to wait: cannot take a connection: Too many open files")
        for client in clients:
            client.sendall(VERSION)

        assert [client.recv(12) for client in clients] == [b"HTTP/1.1 200"] * len(clients)
        assert "Traceback" not in child.output


def test_a_master_without_descriptors_keeps_its_workers_and_replaces_them_when_it_has_some_again(
    tmp_path: Path,
) -> None:
    with run(tmp_path, *SERVED, "-w", "2", environ=ENVIRON) as child:
        child.wait_for_output("Worker ready", 2)
        killed, kept = child.workers()
        limit = resource.prlimit(child.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (LOWEST, limit[1]))
        os.kill(killed, signal.SIGKILL)
        child.wait_for_output("Cannot start a worker, and go on with the 1 there are: [Errno 24] Too many open files")
        assert child.ask(VERSION).status == 200
        assert child.workers() == [kept]
        resource.prlimit(child.pid, resource.RLIMIT_NOFILE, limit)
        child.wait_for_output("Worker ready", 3)

        assert child.ask(VERSION).status == 200
        assert "Traceback" not in child.output


def test_replacements_that_cannot_start_follow_each_other_until_one_can(tmp_path: Path) -> None:
    lack = tmp_path / "lack"
    with run(tmp_path, *SERVED, BREATHLESS, environ=ENVIRON | {FILE_VARIABLE: str(lack)}) as child:
        (worker,) = child.wait_until_ready().workers()
        lack.touch()
        os.kill(worker, signal.SIGKILL)
        child.wait_for_output("The worker could not start; another one will try", 2)
        lack.unlink()
        child.wait_for_output("Worker ready", 2)

        assert child.ask(VERSION).status == 200


def test_a_first_worker_that_cannot_start_ends_the_service(tmp_path: Path) -> None:
    lack = tmp_path / "lack"
    lack.touch()
    with run(tmp_path, *SERVED, BREATHLESS, environ=ENVIRON | {FILE_VARIABLE: str(lack)}) as child:
        assert child.wait_for_end() != 0
