"""What one worker of a host does for all, and what the others make of it, in a director as it is put together."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from director_wsgi import assembly
from director_wsgi.director import Director
from director_wsgi.federation.alone import Alone
from director_wsgi.federation.models import ServerAd
from director_wsgi.federation.replica import HOST, Follower
from director_wsgi.federation.state import State
from director_wsgi.federation.store.records import Record
from director_wsgi.health import io_load, sharing
from director_wsgi.health.sharing import News
from director_wsgi.health.status import HealthStatus, Result
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, Failure, OutboundError
from director_wsgi.runtime.config import Config
from tests.fakes import FakeClock
from tests.make import cache, origin
from tests.unit.conformance.conftest import WEB

UNANSWERED = Result(status=HealthStatus.ERROR, message="timed out", at=1.0, failure=Failure.TIMED_OUT)
PASSED = Result(status=HealthStatus.OK, message="", at=2.0)


class OneOfMany(Alone):
    """A worker of several, which holds the lease only when told so."""

    def __init__(self) -> None:
        self.is_holder = False
        self.followers: dict[str, Follower] = {}
        self.published: list[tuple[str, str, bytes]] = []

    def holds(self, name: str) -> bool:
        assert name == HOST
        return self.is_holder

    def follow(self, kind: str, follower: Follower) -> None:
        self.followers[kind] = follower

    def publish(self, kind: str, key: str, encode: Callable[[], bytes], *, lifetime_s: float, token: object) -> None:
        assert lifetime_s > 0
        assert token is None
        self.published.append((kind, key, encode()))


class Calls:
    """Every server, and Prometheus: none answers; remembers who was called."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    def send(self, _method: str, url: str, *, deadline: Deadline, **_options: Any) -> Answer:
        assert not deadline.has_passed()
        self.urls.append(url)
        raise OutboundError(Failure.REFUSED)

    def close(self) -> None:
        pass


@pytest.fixture
def worker() -> OneOfMany:
    return OneOfMany()


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def director(worker: OneOfMany, calls: Calls, clock: FakeClock, wall: FakeClock) -> Iterator[Director]:
    director = assembly.build(
        Config(
            registry_url="https://registry.example.org", web_url=WEB, prometheus_url="http://prometheus.example.org"
        ),
        clock=clock,
        wall=wall,
        started_at=None,
        make_client=lambda _connections: calls,  # type: ignore[arg-type, return-value]
        state=State(worker),
    )
    yield director
    director.close()


def tell(worker: OneOfMany, kind: str, key: str, body: bytes, wall: FakeClock) -> None:
    """Another worker has published it."""
    worker.followers[kind].took(
        Record(kind=kind, key=key, body=body, expires_at=wall() + 60, granted_s=60.0, revision=1)
    )


def tell_result(worker: OneOfMany, server: ServerAd, result: Result, director: Director, wall: FakeClock) -> None:
    tell(worker, sharing.KIND, server.data_url, News(began_at=wall(), result=result).encode(), wall)
    director.tests.tick()


def ask_prometheus(director: Director) -> None:
    (job,) = (one for one in director.jobs if repr(one) == "<PeriodicJob director-load>")
    job._function()


def test_only_who_holds_the_lease_asks_how_busy_servers_are(
    director: Director, worker: OneOfMany, calls: Calls
) -> None:
    ask_prometheus(director)
    assert calls.urls == []
    worker.is_holder = True
    ask_prometheus(director)
    assert len(calls.urls) == 1


def test_only_who_holds_the_lease_begins_tests(director: Director, worker: OneOfMany, clock: FakeClock) -> None:
    director.directory.record(origin("O", "/a", web_url="https://o-web.example.org"), 600.0)
    for _ in range(8):
        director.tests.tick()
        clock.advance(10)
    assert (director.tests.statistics().running, director.tests.statistics().waiting) == (0, 0)
    worker.is_holder = True
    director.tests.tick()
    assert director.tests._numbers == 1


def test_every_worker_knows_how_busy_servers_are(director: Director, worker: OneOfMany, wall: FakeClock) -> None:
    server = cache("C", "/a")
    tell(worker, io_load.KIND, "", b'{"%s": 2.5}' % server.data_url.encode(), wall)
    assert director.loads.of(server.data_url) == 2.5


def test_what_another_worker_finds_changes_how_this_one_ranks_a_server(
    director: Director, worker: OneOfMany, clock: FakeClock, wall: FakeClock
) -> None:
    server = origin("O", "/a")
    director.directory.record(server, 600.0)
    clock.advance(30)
    tell_result(worker, server, UNANSWERED, director, wall)
    weight = director.directory.status_weight(server.data_url)
    assert weight is not None
    assert weight < 1
    assert director.tests.status_of(server) is HealthStatus.ERROR
    assert director.tests.last_of(server.data_url) == UNANSWERED


def test_what_another_worker_finds_makes_this_one_look_again_at_a_server(
    director: Director, worker: OneOfMany, clock: FakeClock, wall: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(director.engine, "heard_from", lambda url: told.append(("well", url)))
    monkeypatch.setattr(director.engine, "failed_test", lambda url, _failure: told.append(("sick", url)))
    server = origin("O", "/a")
    director.directory.record(server, 600.0)
    tell_result(worker, server, UNANSWERED, director, wall)
    clock.advance(1)
    tell_result(worker, server, PASSED, director, wall)
    assert told == [("sick", server.data_url), ("well", server.data_url)]
