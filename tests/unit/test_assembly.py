"""What is given to which part: where that is a number which changes while a director lives."""

import contextlib
from collections.abc import Iterator
from typing import NoReturn

import pytest

from director_wsgi import assembly
from director_wsgi.director import Director
from director_wsgi.federation.alone import Alone
from director_wsgi.federation.replica import HOST
from director_wsgi.federation.state import State
from director_wsgi.federation.store.errors import StoreError
from director_wsgi.health.checks import Verdict, verdict_of
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Failure, OutboundError
from director_wsgi.runtime.config import Config
from tests.fakes import FakeClock
from tests.unit.conformance.conftest import WEB, FakeNetwork


class Crowd(Alone):
    """One of several workers."""

    def __init__(self) -> None:
        self.workers = 1
        self.has_lease = True

    def holds(self, name: str) -> bool:
        return self.has_lease and name == HOST


@pytest.fixture
def crowd() -> Crowd:
    return Crowd()


@pytest.fixture
def director(crowd: Crowd, clock: FakeClock, wall: FakeClock) -> Iterator[Director]:
    network = FakeNetwork()
    director = assembly.build(
        Config(registry_url="https://registry.example.org", web_url=WEB, stat_threads=100),
        clock=clock,
        wall=wall,
        started_at=None,
        make_client=lambda _connections: network,
        state=State(crowd),
    )
    yield director
    director.close()


def do(director: Director, job_name: str) -> None:
    """Do once what is done again and again."""
    (job,) = (one for one in director.jobs if repr(one) == f"<PeriodicJob {job_name}>")
    job._function()


def share(director: Director) -> int:
    """Do once what is done every second, and see what has come of it."""
    do(director, "director-shares")
    return director.engine.statistics().thread_limit


def test_limits_are_shared_with_as_many_workers_as_there_are_now(director: Director, crowd: Crowd) -> None:
    limits = []
    for crowd.workers in (1, 4, 2, 1):
        limits.append(share(director))
    assert limits == [100, 25, 50, 100]


def test_a_worker_has_its_share_before_it_serves(director: Director, crowd: Crowd) -> None:
    crowd.workers = 4
    director.catch_up()
    assert director.engine.statistics().thread_limit == 25


def test_while_the_store_cannot_be_used_each_worker_keeps_its_share(director: Director, crowd: Crowd) -> None:
    """It hears of no other worker then; if each took all, servers would be asked more than they may."""
    crowd.workers = 4
    limits = [share(director)]
    for crowd.workers, crowd.trouble in ((1, StoreError("full")), (2, None)):
        limits.append(share(director))
    assert limits == [25, 25, 50]


class Copy:
    """A backup that is never begun."""

    trouble: StoreError | None = None
    age_s = None

    def stop(self, _deadline: Deadline) -> bool:
        return True


def test_a_disk_that_cannot_be_written_is_a_warning_and_no_reason_to_go_elsewhere(
    clock: FakeClock, wall: FakeClock
) -> None:
    copy, network = Copy(), FakeNetwork()
    director = assembly.build(
        Config(registry_url="https://registry.example.org", web_url=WEB),
        clock=clock,
        wall=wall,
        started_at=None,
        make_client=lambda _connections: network,
        state=State(Crowd(), backup=copy),  # type: ignore[arg-type]
    )
    with contextlib.closing(director):
        before = {check.name: check.verdict for check in director.readiness.checks()}
        copy.trouble = StoreError("no room")
        after = {check.name: check.verdict for check in director.readiness.checks()}

    assert after == before | {"disk": Verdict.WARNING}
    assert verdict_of(director.readiness.checks()) is Verdict.WARNING


class Asked(FakeNetwork):
    """Answers nothing, and counts who asks."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def send(self, *_: object, **__: object) -> NoReturn:
        self.times += 1
        raise OutboundError(Failure.REFUSED, "there is nobody")


@pytest.mark.parametrize("job", ["director-prefixes", "director-downtimes", "director-federation", "director-load"])
def test_what_one_worker_asks_for_all_the_others_do_not_ask_for(
    job: str, crowd: Crowd, clock: FakeClock, wall: FakeClock
) -> None:
    network = Asked()
    director = assembly.build(
        Config(
            registry_url="https://registry.example.org",
            web_url=WEB,
            jwk_url="https://federation.example.org/jwks",
            prometheus_url="https://prometheus.example.org",
        ),
        clock=clock,
        wall=wall,
        started_at=None,
        make_client=lambda _connections: network,
        state=State(crowd),
    )
    with contextlib.closing(director):
        asked = []
        for crowd.has_lease in (False, True, False):
            clock.advance(3600)
            do(director, job)
            asked.append(network.times)
    assert asked == [0, 1, 1]
