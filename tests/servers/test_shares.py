"""Several workers in front of one server: together they ask it no more than the operator allows."""

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from director_wsgi import assembly
from director_wsgi.director import Director
from director_wsgi.federation.models import ServerAd, ServerKind
from director_wsgi.federation.replica import Replica
from director_wsgi.federation.state import State
from director_wsgi.federation.store.sqlite import SqliteStore
from director_wsgi.limits.breaker import BreakerSettings
from director_wsgi.limits.deadline import Deadline, monotonic, wall
from director_wsgi.outbound.client import Answer, HttpClient
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.leases import Leases
from director_wsgi.stat.engine import StatEngine, StatPolicy
from director_wsgi.stat.evidence import Evidence, Lifetimes, Reason
from tests.servers.conftest import MakeClient
from tests.servers.faults import FaultServer
from tests.servers.federation import eventually

LONG_S = 30.0
LIMIT = 5
SHARE = 3
"""Of two workers: half the limit, rounded up."""

WORKERS = 2
NEVER_OPENS = BreakerSettings(minimum_volume=10_000, failures_in_a_row=10_000)
NO_SLOT = Evidence.unknown(Reason.NO_SLOT)


class Sends:
    """How many HEADs all workers together have under way: each is a connection of its own."""

    def __init__(self) -> None:
        self.now = self.peak = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.peak = max(self.peak, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1

    def forget_peak(self) -> None:
        with self._lock:
            self.peak = self.now


class Client:
    """An HttpClient that takes down what it sends."""

    def __init__(self, client: HttpClient, sends: Sends) -> None:
        self._client = client
        self._sends = sends

    def send(self, *args: Any, **options: Any) -> Answer:
        with self._sends:
            return self._client.send(*args, **options)

    def keep(self, connections: int) -> None:
        self._client.keep(connections)

    def trim(self) -> None:
        self._client.trim()

    def close(self) -> None:
        self._client.close()


class Worker:
    """An engine as one worker has it, and threads that ask."""

    def __init__(self, build_client: Callable[[int], Client], **policy: Any) -> None:
        usual = {
            "slots": LIMIT,
            "adapts": False,
            "lanes": 64,
            "lifetimes": Lifetimes(failure_s=0),
            "breaker": NEVER_OPENS,
        }
        self.leases = Leases()
        self.engine = StatEngine(policy=StatPolicy(**(usual | policy)), build_client=build_client, leases=self.leases)
        self.pool = ThreadPoolExecutor(16, thread_name_prefix="asker")

    def begin(self, server: FaultServer, count: int, *, within_s: float = LONG_S) -> list["Future[Evidence]"]:
        """As many asks, each for another object."""
        return [
            self.pool.submit(ask, self.engine, server, f"/{within_s}/{number}", within_s) for number in range(count)
        ]

    def waiting(self) -> int:
        return sum(state.waiting for state in self.engine.servers())

    def close(self) -> None:
        self.engine.close()
        assert self.leases.close(Deadline.after(LONG_S))
        self.pool.shutdown()


def ask(engine: StatEngine, server: FaultServer, path: str, within_s: float = LONG_S) -> Evidence:
    ad = ServerAd(kind=ServerKind.ORIGIN, name="o", data_url=server.url, base_url=server.url)
    [evidence] = engine.ask(
        (ad,), path, bearer=None, authority="public", deadline=Deadline.after(within_s), namespace=path
    )
    return evidence


MakeWorker = Callable[..., Worker]


@pytest.fixture
def sends() -> Sends:
    return Sends()


@pytest.fixture
def make_worker(make_client: MakeClient, sends: Sends) -> Iterator[MakeWorker]:
    with ExitStack() as stack:

        def make(**policy: Any) -> Worker:
            worker = Worker(lambda connections: Client(make_client(connections=connections), sends), **policy)
            stack.callback(worker.close)
            return worker

        yield make


def all_done(asking: "list[Future[Evidence]]") -> list[Evidence]:
    return [one.result(LONG_S) for one in asking]


def test_a_server_that_hangs_holds_as_many_as_it_may_and_one_more_for_each_worker_at_most(
    make_worker, fault_server, sends
):
    hung = fault_server()
    hung.behave("hang_after_request")
    workers = [make_worker(timeout_s=LONG_S) for _ in range(WORKERS)]
    for worker in workers:
        worker.engine.share(WORKERS)
    holding = [worker.begin(hung, SHARE) for worker in workers]
    assert hung.wait_until(lambda: hung.in_hand == WORKERS * SHARE)
    refused = [one for worker in workers for one in worker.begin(hung, 8, within_s=0.2)]
    assert set(all_done(refused)) == {NO_SLOT}
    assert hung.peak == hung.connections == sends.peak == WORKERS * SHARE < LIMIT + WORKERS
    for worker in workers:
        worker.close()
    assert {evidence for asking in holding for evidence in all_done(asking)} == {Evidence.unknown(Reason.CLOSED)}


def test_a_worker_that_comes_gets_its_share_as_the_others_heads_end_and_who_stays_gets_it_back(
    make_worker, fault_server, sends
):
    hung = fault_server()
    hung.behave("hang_after_request")
    old = make_worker(timeout_s=0.3)
    asking = old.begin(hung, 12)  # more than the limit: as soon as one ends the next begins
    assert hung.wait_until(lambda: hung.in_hand == LIMIT)
    new = make_worker(timeout_s=0.3)
    for worker in (old, new):
        worker.engine.share(WORKERS)
    asking += new.begin(hung, 12)
    assert eventually(lambda: 0 < old.engine.statistics().in_flight <= SHARE)
    sends.forget_peak()
    assert sends.now <= WORKERS * SHARE
    assert set(all_done(asking)) == {Evidence.unknown(Reason.TIMED_OUT)}
    assert sends.peak <= WORKERS * SHARE
    new.close()
    sends.forget_peak()
    asking = old.begin(hung, 8)
    assert eventually(lambda: old.waiting() == 8 - SHARE)
    old.engine.share(1)
    assert eventually(lambda: sends.now == LIMIT)
    assert set(all_done(asking)) == {Evidence.unknown(Reason.TIMED_OUT)}
    assert sends.peak == LIMIT


@pytest.mark.parametrize("adapts", [False, True])
def test_in_a_storm_two_workers_never_ask_a_server_that_hangs_more_than_it_may(
    make_worker, fault_server, sends, adapts
):
    hung = fault_server()
    hung.behave("hang_after_request")
    workers = [make_worker(timeout_s=0.05, adapts=adapts) for _ in range(WORKERS)]
    for worker in workers:
        worker.engine.share(WORKERS)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        all_done([one for worker in workers for one in worker.begin(hung, 100, within_s=0.2)])
    finally:
        sys.setswitchinterval(interval)
    assert SHARE < sends.peak <= WORKERS * SHARE
    assert eventually(lambda: sends.now == 0)


def test_workers_together_have_no_more_threads_that_ask_than_one_had(make_worker, fault_server, sends):
    """Ten servers hang, each of which might have more."""
    threads = 8
    hung = [fault_server() for _ in range(10)]
    for server in hung:
        server.behave("hang_after_request")
    workers = [make_worker(timeout_s=LONG_S, threads=threads) for _ in range(WORKERS)]
    for worker in workers:
        worker.engine.share(WORKERS)
    asking = [one for worker in workers for server in hung for one in worker.begin(server, 2, within_s=0.2)]
    told = all_done(asking)
    assert sends.peak == sends.now == threads
    assert set(told) == {Evidence.unknown(Reason.TIMED_OUT), Evidence.unknown(Reason.NO_THREAD)}


@pytest.fixture
def make_director(tmp_path: Path) -> Iterator[Callable[[str], Director]]:
    """Makes directors that share what they have as the workers of one host do, and starts them."""
    config = Config(
        registry_url="http://127.0.0.1:1",
        web_url="https://director.example.org",
        stat_concurrency_limit=LIMIT,
        stat_timeout_s=LONG_S,
        adaptive_concurrency=False,
    )
    with ExitStack() as stack:

        def make(holder: str) -> Director:
            director = assembly.build(
                config,
                clock=monotonic,
                wall=wall,
                started_at=None,
                make_client=None,
                state=State(Replica(SqliteStore(tmp_path / "bus.sqlite"), holder=holder)),
            )
            stack.callback(director.close)
            director.start()
            return director

        yield make


def test_the_share_follows_as_workers_come_and_go(make_director, fault_server):
    hung = fault_server()
    hung.behave("hang_after_request")

    def limits(*directors: Director) -> list[int]:
        return [director.engine.statistics().thread_limit for director in directors]

    one = make_director("one")
    assert limits(one) == [256]
    other = make_director("other")
    assert eventually(lambda: limits(one, other) == [128, 128])
    with ThreadPoolExecutor(20, thread_name_prefix="asker") as pool:
        asking = [
            pool.submit(ask, director.engine, hung, f"/{number}") for director in (one, other) for number in range(8)
        ]
        assert hung.wait_until(lambda: hung.in_hand == WORKERS * SHARE)
        other.close()
        assert eventually(lambda: limits(one) == [256])
        assert hung.wait_until(lambda: hung.in_hand == LIMIT)
        assert hung.peak == WORKERS * SHARE
        one.close()
        assert {Evidence.unknown(Reason.CLOSED), NO_SLOT} >= set(all_done(asking))
