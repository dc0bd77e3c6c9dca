"""The operators' door: whatever clients do, and whatever becomes of workers and masters, somebody answers there."""

import contextlib
import itertools
import json
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.child import SETTINGS, Answer, Child, exchange, free_port, get, hup, kill_worker, parse, run
from tests.process.child import wait_until as wait
from tests.process.conftest import ENVIRON
from tests.process.slow import dripping
from tests.process.wedged import FILE_VARIABLE

pytestmark = pytest.mark.process

ARGUMENTS = ("-c", str(SETTINGS), "-b", "127.0.0.1:0")
THREADS = 4
CONNECTIONS = THREADS + 32
FEW = {"PELICAN_DIRECTOR_THREADS": str(THREADS), "PELICAN_DIRECTOR_RESERVEDTHREADS": "1"}
LIVE, READY, LISTED = get("/livez"), get("/readyz?verbose"), get("/api/v1.0/director/directors")


class Door:
    """The one of a director in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "admin.sock"
        self.environ = ENVIRON | {"PELICAN_DIRECTOR_ADMINBIND": f"unix:{self.file}"}

    def ask(self, request: bytes = LIVE, timeout_s: float = 15.0) -> Answer:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(timeout_s)
            client.connect(str(self.file))
            client.sendall(request)
            received = b""
            while chunk := client.recv(65_536):
                received += chunk
            return parse(received)

    def status(self, request: bytes) -> int:
        return self.ask(request).status


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


@contextlib.contextmanager
def asking_all_the_time(door: Door) -> Iterator[list[int]]:
    """Ask at the door, whether it lives and is ready in turns, and collect the statuses; 0 for no answer."""
    statuses: list[int] = []
    has_ended = threading.Event()

    def ask() -> None:
        requests = itertools.cycle((LIVE, READY))
        while not has_ended.wait(0.005):
            try:
                statuses.append(door.status(next(requests)))
            except (OSError, IndexError):
                statuses.append(0)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield statuses
    finally:
        has_ended.set()
        asking.join()


def test_it_answers_what_operators_ask(door: Door, tmp_path: Path) -> None:
    with run(tmp_path, *ARGUMENTS, environ=door.environ) as child:
        child.wait_until_ready()

        assert json.loads(door.ask().body) == {"status": "ok"}
        assert door.status(READY) == 200
        assert set(json.loads(door.ask(READY).body)["checks"]) >= {"stored", "waiting", "decisions", "store"}
        assert door.status(get("/metrics")) == 403
        assert door.status(get("/x")) == 404
        assert child.ask(LIVE).body == door.ask().body
        assert child.ask(READY).body == door.ask(READY).body
        assert stat.S_ISSOCK(door.file.stat().st_mode)


def test_it_may_be_a_port(tmp_path: Path) -> None:
    port = free_port()
    environ = ENVIRON | {"PELICAN_DIRECTOR_ADMINBIND": f"127.0.0.1:{port}"}
    environ["PELICAN_MONITORING_METRICAUTHORIZATION"] = "false"
    with run(tmp_path, *ARGUMENTS, environ=environ) as child:
        child.wait_until_ready()

        assert parse(exchange(port, LIVE)).status == 200
        answer = parse(exchange(port, get("/metrics")))
        assert answer.status == 200
        assert b"\ndirector_wsgi_ready 1.0\n" in answer.body
        assert b'\ndirector_wsgi_threads{owner="admin"} 2.0\n' in answer.body  # the second makes what takes a while


def test_a_flood_of_connections_at_the_clients_door_is_not_noticed(door: Door, tmp_path: Path) -> None:
    with run(tmp_path, *ARGUMENTS, environ=door.environ | FEW) as child, contextlib.ExitStack() as stack:
        where = ("127.0.0.1", child.wait_until_ready().port)
        clients = [stack.enter_context(socket.create_connection(where, 10)) for _ in range(2 * CONNECTIONS)]
        stack.enter_context(dripping(clients, b"G", 0.5))
        assert child.ask(LIVE).status == 200
        for _ in range(20):
            assert door.ask(LIVE).status == 200
            assert door.ask(READY).status == 200


def test_a_flood_at_this_door_is_not_noticed_either(door: Door, tmp_path: Path) -> None:
    with run(tmp_path, *ARGUMENTS, environ=door.environ) as child, contextlib.ExitStack() as stack:
        child.wait_until_ready()
        for number in range(200):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(10)
            client.connect(str(door.file))
            if number % 2:
                client.sendall(b"GET /li")

        assert door.ask().status == 200
        assert child.ask(LIVE).status == 200


def test_neither_reloads_nor_killed_workers_lose_a_question(door: Door, tmp_path: Path) -> None:
    with run(tmp_path, *ARGUMENTS, environ=door.environ) as child:
        child.wait_until_ready()
        file = door.file.stat().st_ino
        with asking_all_the_time(door) as statuses:
            for _ in range(3):
                hup(child)

        assert statuses
        assert set(statuses) == {200}
        kill_worker(child, *child.workers())
        assert door.status(LIVE) == 200  # it may have been asked while there was no worker at all
        assert door.file.stat().st_ino == file


def test_a_second_master_takes_it_over(door: Door, tmp_path: Path) -> None:
    with run(tmp_path, *ARGUMENTS, environ=door.environ) as child:
        child.wait_until_ready()
        first = set(child.members())
        file = door.file.stat().st_ino
        with asking_all_the_time(door) as statuses:
            child.signal(signal.SIGUSR2)
            child.wait_for_output("Worker ready", 2)
            second_master = min(set(child.members()) - first)
            child.signal(signal.SIGTERM)
            assert child.wait_for_end() == 0

        assert set(statuses) == {200}
        assert door.file.stat().st_ino == file
        assert door.status(LIVE) == 200
        os.kill(second_master, signal.SIGTERM)
        wait(lambda: not child.members(), "the end of the second master")
        assert not door.file.exists()


def test_a_second_master_that_is_ended_leaves_it_to_the_first(door: Door, tmp_path: Path) -> None:
    with run(tmp_path, *ARGUMENTS, environ=door.environ) as child:
        child.wait_until_ready()
        first = set(child.members())
        child.signal(signal.SIGUSR2)
        child.wait_for_output("Worker ready", 2)
        second_master = min(set(child.members()) - first)
        os.kill(second_master, signal.SIGTERM)
        wait(lambda: set(child.members()) == first, "the end of the second master")

        assert door.status(LIVE) == 200
        child.signal(signal.SIGTERM)
        assert child.wait_for_end() == 0
        assert not door.file.exists()


def test_a_director_that_was_killed_can_be_started_again(door: Door, tmp_path: Path) -> None:
    for _ in range(2):
        with run(tmp_path, *ARGUMENTS, environ=door.environ) as child:
            child.wait_until_ready()
            assert door.status(LIVE) == 200
        assert door.file.exists()


def test_a_place_that_is_taken_refuses_the_start(door: Door, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(door.file))
        other.listen()
        with run(tmp_path, *ARGUMENTS, environ=door.environ) as child:
            assert child.wait_for_end() == 1
            assert f"Director.AdminBind = unix:{door.file}: cannot listen there" in child.output
            assert "Traceback" not in child.output


@pytest.mark.slow
def test_a_director_that_does_not_decide_any_more_says_so_and_when_it_does_again(door: Door, tmp_path: Path) -> None:
    wedge = tmp_path / "wedge"
    environ = door.environ | {FILE_VARIABLE: str(wedge)}

    def listed(child: Child) -> str:
        (entry,) = json.loads(child.ask(LISTED).body)
        return str(entry["health"]["status"])

    with run(tmp_path, *ARGUMENTS, "tests.process.wedged:application", environ=environ) as child:
        child.wait_until_ready()
        wait(lambda: listed(child) == "ok", "a director that is well")
        wedge.touch()
        wait(lambda: door.status(READY) == 503, "a director that is not ready")

        assert door.status(LIVE) == 200
        assert json.loads(door.ask(READY).body)["checks"]["decisions"]["status"] == "failed"
        assert child.ask(READY).status == 503
        wait(lambda: listed(child) == "critical", "news of that in the list")
        wedge.unlink()
        wait(lambda: door.status(READY) == 200, "a director that is ready again")
        wait(lambda: listed(child) == "ok", "news of that in the list")


def test_every_worker_says_the_same_of_the_director(door: Door, tmp_path: Path) -> None:
    def said(child: Child) -> set[str]:
        """By ten connections at each door; chance decides which worker takes them."""
        listed = {child.ask(LISTED).body for _ in range(10)}
        return {body.decode() for body in listed | {door.ask(READY).body for _ in range(10)}}

    with run(tmp_path, *ARGUMENTS, "-w", "2", environ=door.environ | FEW) as child:
        child.wait_for_output("Worker ready", 2)
        lanes = f'"lanes":{{"inUse":0,"limit":{2 * (THREADS - 1)}}}'
        wait(lambda: lanes in child.ask(LISTED).body.decode(), "an entry that counts all workers")
        wait(lambda: len(said(child)) == 2, "one entry and one verdict")
        assert door.status(READY) == 200


def test_a_broken_configuration_is_a_warning_and_the_service_goes_on(door: Door, tmp_path: Path) -> None:
    file = tmp_path / "pelican.yaml"
    file.write_text("Director: {Threads: 8}\n")
    with run(tmp_path, *ARGUMENTS, environ=door.environ) as child:
        child.wait_until_ready()
        file.write_text("Director: {Threads: many}\n")
        hup(child)
        wait(lambda: b"configuration" in door.ask(get("/readyz")).body, "a warning")
        answer = door.ask(get("/readyz"))

        assert answer.status == 200
        assert json.loads(answer.body)["checks"]["configuration"]["status"] == "warning"
        assert b"many" not in answer.body
        file.write_text("Director: {Threads: 8}\n")
        hup(child)
        wait(lambda: door.ask(get("/readyz")).body == b'{"status":"ready"}', "no warning")
