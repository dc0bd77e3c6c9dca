"""Workers on cores: whoever comes and goes, and what is told of it."""

import json
import os
import re
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.process.census import end
from tests.process.child import SETTINGS, STAND_IN, Child, hup, kill_worker, run, wait_until
from tests.process.conftest import ENVIRON
from tests.process.fleet import Fleet

ALLOWED = sorted(os.sched_getaffinity(0))
CORES = len(ALLOWED)

pytestmark = [pytest.mark.process, pytest.mark.skipif(CORES < 2, reason="needs two cores")]

ARGUMENTS = ("-c", str(SETTINGS), "-b", "127.0.0.1:0")


def threads_may(pid: int) -> set[tuple[int, ...]]:
    """On which cores the threads of a process may run."""
    return {tuple(sorted(os.sched_getaffinity(int(task.name)))) for task in Path(f"/proc/{pid}/task").iterdir()}


def seats(child: Child) -> list[int]:
    """The core of each worker, all of whose threads are bound to it."""
    found = []
    for pid in child.workers():
        (one,) = threads_may(pid)
        (core,) = one
        found.append(core)
    return sorted(found)


def set_workers(child: Child, number: int, by: signal.Signals) -> None:
    ready = child.output.count("Worker ready")
    grows = by is signal.SIGTTIN
    child.signal(by)
    child.wait_for_output("Worker ready", ready + grows)
    wait_until(lambda: len(child.workers()) == number, f"{number} workers")


def test_a_worker_takes_the_core_of_the_one_it_replaces(tmp_path: Path) -> None:
    with run(tmp_path, *ARGUMENTS, "-w", "1", STAND_IN, environ=ENVIRON) as child:
        child.wait_for_output("Worker ready")
        for _ in range(3):
            before = seats(child)
            kill_worker(child, child.workers()[0])
            assert seats(child) == before
        end(child)


def test_workers_stand_up_when_they_are_too_many_and_sit_down_when_they_are_not(tmp_path: Path) -> None:
    with run(tmp_path, *ARGUMENTS, "-w", str(CORES), STAND_IN, environ=ENVIRON) as child:
        child.wait_for_output("Worker ready", CORES)
        assert seats(child) == ALLOWED
        set_workers(child, CORES + 1, signal.SIGTTIN)
        assert {may for pid in child.workers() for may in threads_may(pid)} == {tuple(ALLOWED)}
        assert f"{CORES + 1} workers on {CORES} cores" in child.output
        set_workers(child, CORES, signal.SIGTTOU)
        assert seats(child) == ALLOWED
        hup(child)
        wait_until(lambda: len(child.workers()) == CORES, "as many as before")
        assert seats(child) == ALLOWED
        end(child)


def test_on_binds_more_workers_than_there_are_cores(tmp_path: Path) -> None:
    environ = ENVIRON | {"PELICAN_DIRECTOR_PINWORKERS": "on"}
    with run(tmp_path, *ARGUMENTS, "-w", str(2 * CORES), STAND_IN, environ=environ) as child:
        child.wait_for_output("Worker ready", 2 * CORES)
        assert seats(child) == sorted(2 * ALLOWED)
        end(child)


def test_off_and_a_reload_that_says_otherwise(tmp_path: Path) -> None:
    configuration = tmp_path / "pelican.yaml"
    configuration.write_text("Director: {PinWorkers: off}\n")
    with run(tmp_path, *ARGUMENTS, "-w", "1", STAND_IN, environ=ENVIRON) as child:
        child.wait_for_output("Worker ready")
        assert threads_may(child.workers()[0]) == {tuple(ALLOWED)}
        configuration.write_text("Director: {PinWorkers: auto}\n")
        hup(child)
        assert len(seats(child)) == 1
        end(child)


def test_where_workers_run_is_told_by_each_and_by_all(tmp_path: Path) -> None:
    with ExitStack() as stack:
        fleet = Fleet(tmp_path, stack, 2)
        with fleet.lines() as lines:
            told = [json.loads(line.get("/readyz?verbose").body)["checks"]["cores"] for line in lines]
            metrics = next(iter(lines)).get("/metrics").body.decode()
        assert {one["status"] for one in told} == {"ok"}
        named = [
            re.fullmatch(r"This worker runs on core (\d+) \(Director.PinWorkers: auto\)", one["message"])
            for one in told
        ]
        assert len({one[1] for one in named if one}) == 2
        by_worker = dict(re.findall(r'^director_wsgi_worker_core\{worker="(\d+)"\} (\d+)\.0$', metrics, re.MULTILINE))
        assert {int(pid) for pid in by_worker} == set(fleet.child.workers())
        assert len(set(by_worker.values())) == 2
        connections = re.findall(r"^director_wsgi_worker_connections\{\S+\} (\d+)\.0$", metrics, re.MULTILINE)
        assert len(connections) == 2
        assert int(max(connections)) >= 1
        assert seats(fleet.child) == sorted(map(int, by_worker.values()))
        end(fleet.child)
