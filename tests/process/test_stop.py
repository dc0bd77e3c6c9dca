"""How the process ends."""

import concurrent.futures
import contextlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.census import end
from tests.process.child import SETTINGS, STAND_IN, Child, exchange, get, parse, run, wait_until
from tests.process.conftest import ENVIRON

pytestmark = pytest.mark.process

ARGUMENTS = ("-c", str(SETTINGS), "-b", "127.0.0.1:0", STAND_IN)


def assert_nothing_is_left(child: Child) -> None:
    wait_until(lambda: child.members() == [], "the end of every process of the group")


def test_term_closes_the_director_and_leaves_no_process(tmp_path: Path) -> None:
    with run(tmp_path, *ARGUMENTS, environ=ENVIRON) as child:
        child.wait_until_ready().signal(signal.SIGTERM)

        assert child.wait_for_end() == 0
        assert "director closed" in child.output
        assert "Traceback" not in child.output
        assert_nothing_is_left(child)


def test_term_lets_a_request_finish(tmp_path: Path) -> None:
    with (
        run(tmp_path, *ARGUMENTS, environ=ENVIRON) as child,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        child.wait_until_ready()
        answer = pool.submit(exchange, child.port, get("/wait?s=1"))
        child.wait_for_output("request waits")
        child.signal(signal.SIGTERM)

        assert parse(answer.result(15)).body == b"waited"
        assert child.wait_for_end() == 0
        assert child.output.index("Handling signal: term") < child.output.index("director closed")


@contextlib.contextmanager
def hanging(folder: Path, *ways: str) -> Iterator[dict[str, Child]]:
    """A director for each way to hang, all at once, since each takes its time to be left behind."""
    environ = ENVIRON | {"PELICAN_DIRECTOR_GRACEFULTIMEOUT": "1s"}
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(len(ways)))
        children = {}
        for way in ways:
            own = folder / way
            own.mkdir()
            children[way] = stack.enter_context(run(own, *ARGUMENTS, environ=environ))
        for way, child in children.items():
            child.wait_until_ready()
            if "request" in way:
                pool.submit(exchange, child.port, get("/wait?s=60"), timeout_s=70)
                child.wait_for_output("request waits")
            if "director" in way:
                child.ask(get("/stuck"))
        yield children
        for child in children.values():
            child.kill()


def test_what_hangs_is_left_behind_before_the_master_has_to_kill(tmp_path: Path) -> None:
    with hanging(tmp_path, "request", "request and director") as children:
        for child in children.values():
            child.signal(signal.SIGTERM)
        for way, child in children.items():
            assert child.wait_for_end() == 0
            assert "director closing" in child.output
            assert "SIGKILL" not in child.output
            assert ("not everything was given back" in child.output) is ("director" in way)
            assert_nothing_is_left(child)


def test_after_hup_what_hangs_keeps_no_old_worker(tmp_path: Path) -> None:
    with hanging(tmp_path, "request", "director") as children:
        old = {way: child.workers() for way, child in children.items()}
        for child in children.values():
            child.signal(signal.SIGHUP)
        for way, child in children.items():
            child.wait_for_output("Worker ready", 2)
            # The interpreter's own way out would wait for the thread, until the heartbeat ends it after 30 s.
            wait_until(lambda: not set(old[way]) & set(child.workers()), "the end of the old worker")  # noqa: B023, called at once
            assert child.ask(get("/")).status == 200


def test_at_hup_the_old_workers_end_when_the_new_ones_serve(tmp_path: Path) -> None:
    with run(tmp_path, *ARGUMENTS, "-w", "2", environ=ENVIRON) as child:
        child.wait_for_output("Worker ready", 2)
        child.signal(signal.SIGHUP)
        child.wait_for_output("director closed", 2)
        lines = re.findall(r"director started|director closing", child.output)
        assert lines == ["director started"] * 4 + ["director closing"] * 2
        end(child)


def test_interrupt_ends_at_once(tmp_path: Path) -> None:
    with (
        run(tmp_path, *ARGUMENTS, environ=ENVIRON | {"PELICAN_DIRECTOR_GRACEFULTIMEOUT": "60s"}) as child,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        child.wait_until_ready()
        pool.submit(exchange, child.port, get("/wait?s=60"))
        child.wait_for_output("request waits")
        child.signal(signal.SIGINT)
        child.wait_for_end()
        child.kill()

        assert "director closed" in child.output
        assert_nothing_is_left(child)


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with run(tmp_path, *ARGUMENTS, environ=ENVIRON) as child:
        (worker,) = child.wait_until_ready().workers()
        os.kill(worker, signal.SIGKILL)
        child.wait_for_output("Worker ready", 2)

        assert child.ask(get("/")).status == 200
