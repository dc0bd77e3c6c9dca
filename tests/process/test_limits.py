"""What may be asked of a server is limited for the director as a whole, whatever becomes of its workers."""

import contextlib
import os
import re
import selectors
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from director_wsgi.demo.openloop import Load, Order
from director_wsgi.demo.scene import Arrival
from tests.process.census import end
from tests.process.child import wait_until
from tests.process.fleet import ORIGIN_ENDPOINT, Fleet, Line

pytestmark = [pytest.mark.process, pytest.mark.slow]

LIMIT = 6
WORKERS = 2
SHARES = {2: 3, 4: 2}
"""Of `LIMIT`, rounded up, by how many workers there are."""

STAT_THREADS = 100
STAT_TIMEOUT_S = 3.0
PREFIX = "/of-two"
RATE_PER_S = 40.0


class Hung:
    """A port that takes connections and says nothing, not even in the TLS handshake: each is a HEAD under way."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self.open = self.peak = 0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hung-server", daemon=True)
        self._thread.start()

    def forget_peak(self) -> None:
        self.peak = self.open

    def close(self) -> None:
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            stack.enter_context(self._listener)
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._ends.is_set():
                found = [key.fileobj for key, _ in selector.select(0.05)]
                # Those that end first: what takes the place of another does not count beside it.
                for one in found:
                    if one is not self._listener and isinstance(one, socket.socket) and has_ended(one):
                        selector.unregister(one)
                        one.close()
                        self.open -= 1
                if self._listener in found:
                    accepted = stack.enter_context(self._listener.accept()[0])
                    accepted.setblocking(False)
                    selector.register(accepted, selectors.EVENT_READ)
                    self.open += 1
                    self.peak = max(self.peak, self.open)


def has_ended(connection: socket.socket) -> bool:
    try:
        return not connection.recv(65536)
    except OSError:
        return True


@pytest.fixture
def hung() -> Iterator[tuple[Hung, Hung]]:
    both = Hung(), Hung()
    yield both
    for one in both:
        one.close()


@pytest.fixture
def fleet(tmp_path: Path, hung: tuple[Hung, Hung]) -> Iterator[Fleet]:
    """Two workers that know two origins of one namespace, so that they have to ask both, and both hang."""
    with contextlib.ExitStack() as stack:
        made = Fleet(
            tmp_path,
            stack,
            WORKERS,
            environ={
                "PELICAN_DIRECTOR_STATCONCURRENCYLIMIT": str(LIMIT),
                "PELICAN_DIRECTOR_STATTHREADS": str(STAT_THREADS),
                "PELICAN_DIRECTOR_ADAPTIVECONCURRENCY": "false",
                "PELICAN_DIRECTOR_STATTIMEOUT": f"{STAT_TIMEOUT_S:.0f}s",
            },
        )
        servers = [made.server(url=f"https://localhost:{one.port}", prefix=PREFIX) for one in hung]
        with contextlib.closing(Line(made.child.port)) as line:
            for server in servers:
                wait_until(lambda: server.advertise(line).status == 200, "it is taken")  # noqa: B023, called at once
            # Who started first was the only one for a moment.
            wait_until(lambda: threads_of_all(line) == STAT_THREADS, "each worker knows its share")
        yield made


def threads_of_all(line: Line) -> float:
    """How many threads the workers together believe that they may have."""
    found = re.search(rb'^director_wsgi_stat_threads\{kind="limit"\} (\S+)$', line.get("/metrics").body, re.MULTILINE)
    assert found is not None
    return float(found[1])


@contextlib.contextmanager
def load(fleet: Fleet, seconds: float) -> Iterator[Load]:
    """Ask for ever new objects, far more than can be asked about."""
    targets = [f"{ORIGIN_ENDPOINT}{PREFIX}/object-{n}" for n in range(int(RATE_PER_S * seconds))]
    arrivals = [Arrival(n / RATE_PER_S, target) for n, target in enumerate(targets)]
    order = Order(port=fleet.child.port, starts_at=time.monotonic() + 0.5, timeout_s=10.0, arrivals=arrivals)
    with Load(order) as begun:
        yield begun


def fill(hung: tuple[Hung, Hung]) -> None:
    """Wait until each worker has as many HEADs under way as it may."""
    wait_until(lambda: all(one.open == WORKERS * SHARES[WORKERS] for one in hung), "all slots are taken")


def test_a_worker_that_is_killed_and_the_one_in_its_place_have_no_more_than_the_limit(
    fleet: Fleet, hung: tuple[Hung, Hung]
) -> None:
    with load(fleet, 6) as asking:
        fill(hung)
        killed = fleet.child.workers()[0]
        os.kill(killed, signal.SIGKILL)
        fleet.wait_for_workers(WORKERS, others_than=[killed])
        asking.outcomes()
    assert [one.peak for one in hung] == [LIMIT, LIMIT]
    end(fleet.child)


def test_two_generations_of_workers_have_what_was_under_way_and_their_shares_and_then_the_limit(
    fleet: Fleet, hung: tuple[Hung, Hung]
) -> None:
    with load(fleet, 9) as asking:
        fill(hung)
        fleet.hup()
        during = [one.peak for one in hung]
        wait_until(lambda: all(one.open <= LIMIT for one in hung), "what was under way ends")
        for one in hung:
            one.forget_peak()
        outcomes = asking.outcomes()
    assert {outcome.status for outcome in outcomes} == {307}, "no client has noticed"
    assert all(one <= LIMIT + WORKERS * SHARES[2 * WORKERS] for one in during)
    assert [one.peak for one in hung] == [LIMIT, LIMIT]
    end(fleet.child)
