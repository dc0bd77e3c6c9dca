"""Connections that are kept are spread over the workers, whoever wakes first, comes late or ends."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from director_wsgi.runtime.balance import TOO_MANY
from tests.process.census import end
from tests.process.child import SETTINGS, STAND_IN, Child, exchange, get, hup, run, wait_until
from tests.process.conftest import ENVIRON
from tests.process.kept import Kept, accepted

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

CLIENTS = 24


@pytest.fixture(params=[2, 4], ids=lambda number: f"{number} workers")
def child(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Child]:
    number = request.param
    with run(tmp_path, "-c", str(SETTINGS), "-b", "127.0.0.1:0", "-w", str(number), STAND_IN, environ=ENVIRON) as child:
        child.wait_for_output("Worker ready", number)
        yield child
        end(child)


def spread(child: Child, clients: Kept) -> list[int]:
    """Let them ask until no worker has one too many; connections of each worker."""
    most = CLIENTS / len(child.workers()) + TOO_MANY

    def is_even() -> bool:
        clients.ask(0.2)
        now = clients.spread(child.workers())[0]
        return sum(now) == CLIENTS and now[-1] < most

    try:
        wait_until(is_even, "connections are spread")
    except AssertionError as error:
        raise AssertionError(f"{error}: {clients.spread(child.workers())}") from None
    return clients.spread(child.workers())[0]


def test_who_comes_next_is_taken_by_the_worker_that_has_the_fewest(child: Child) -> None:
    """Of as many that come one after the other as there are workers, each has one."""
    workers = child.workers()
    number = len(workers)
    rounds = 30 // number
    uneven: list[int] = []

    def are_even() -> bool:
        with Kept(child.port, 0) as clients:
            came = [clients.come() for _ in range(rounds * number)]
            held_by = clients.held_by(workers)
        takers = [held_by.get(client) for client in came]
        uneven.append(sum(len(set(takers[n : n + number])) < number for n in range(0, len(takers), number)))
        wait_until(lambda: not accepted(child.port), "the end of these")
        return uneven.count(0) == 3

    # A worker that the machine halts for longer than a millisecond loses its turn; by chance it is never so thrice.
    try:
        wait_until(are_even, "one for each")
    except AssertionError as error:
        raise AssertionError(f"{error}; uneven rounds of {rounds}: {uneven}") from None


def test_connections_are_spread_and_stay_so_whoever_comes_and_ends(child: Child) -> None:
    number = len(child.workers())
    with Kept(child.port, CLIENTS) as clients:
        assert spread(child, clients)[0] > 0
        assert clients.lost == 0
        _, answers = clients.spread(child.workers())
        assert answers[0] > 0

        # The clients of one that dies come back while there is only the rest.
        ready = child.output.count("Worker ready")
        os.kill(child.workers()[0], signal.SIGKILL)
        clients.ask(0.3)
        lost = clients.lost
        assert 0 < lost <= CLIENTS / number + TOO_MANY
        child.wait_for_output("Worker ready", ready + 1)
        assert spread(child, clients)[0] > 0

        # Those of all workers, at a reload, are told.
        ready, old = child.output.count("Worker ready"), child.workers()
        child.signal(signal.SIGHUP)

        def are_new() -> bool:
            clients.ask(0.1)
            now = child.workers()
            return len(now) == number and not set(old) & set(now) and child.output.count("Worker ready") > ready

        wait_until(are_new, "new workers")
        assert spread(child, clients)[0] > 0
        assert clients.lost == lost, "a reload loses none"
        assert clients.parted > 0


def test_a_worker_that_hangs_is_waited_for_by_nobody(child: Child) -> None:
    """It has fewer connections than all others, and takes none."""
    hung = child.workers()[0]
    with Kept(child.port, CLIENTS) as clients:
        spread(child, clients)
        os.kill(hung, signal.SIGSTOP)
        try:
            answered = [exchange(child.port, get("/"), timeout_s=5) for _ in range(60)]
        finally:
            os.kill(hung, signal.SIGCONT)
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answered)


def test_a_reload_of_idle_connections_loses_no_request(child: Child) -> None:
    with Kept(child.port, CLIENTS) as clients:
        spread(child, clients)
        hup(child)
        clients.ask(0.2)  # what was idle has been closed; each comes again
        assert spread(child, clients)[0] > 0
