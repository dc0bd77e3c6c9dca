"""What is given to which part: where that is a number which changes while a director lives."""

import contextlib
from collections.abc import Iterator

import pytest

from director_wsgi import assembly
from director_wsgi.director import Director
from director_wsgi.federation.alone import Alone
from director_wsgi.federation.state import State
from director_wsgi.federation.store.errors import StoreError
from director_wsgi.health.checks import Verdict, verdict_of
from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime.config import Config
from tests.fakes import FakeClock
from tests.unit.conformance.conftest import WEB, FakeNetwork


class Crowd(Alone):
    """One of several workers."""

    def __init__(self) -> None:
        self.workers = 1


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


def share(director: Director) -> int:
    """Do once what is done every second, and see what has come of it."""
    (job,) = (one for one in director.jobs if repr(one) == "<PeriodicJob director-shares>")
    job._function()
    return director.engine.statistics().thread_limit


def test_limits_are_shared_with_as_many_workers_as_there_are_now(director: Director, crowd: Crowd) -> None:
    limits = []
    for crowd.workers in (1, 4, 2, 1):
        limits.append(share(director))
    assert limits == [100, 25, 50, 100]


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
