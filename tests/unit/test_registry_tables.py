"""What is fetched by one worker of a host for all, in a director as it is put together."""

from collections.abc import Iterator
from typing import Any

import pytest

from director_wsgi import assembly
from director_wsgi.director import Director
from director_wsgi.federation.alone import Alone
from director_wsgi.federation.replica import HOST, Follower
from director_wsgi.federation.state import State
from director_wsgi.federation.store.records import Record
from director_wsgi.outbound.client import Answer, Failure, OutboundError
from director_wsgi.runtime.config import Config
from tests.fakes import FakeClock
from tests.make import origin
from tests.unit.conformance.conftest import WEB
from tests.unit.trust.forge import Key, jwks
from tests.unit.trust.registries import answer

REGISTRY = "https://registry.example.org"
KEYS = "https://federation.example.org/keys"
JOBS = {
    "director-prefixes": f"{REGISTRY}/api/v1.0/registry/caches/allowedPrefixes",
    "director-downtimes": f"{REGISTRY}/api/v1.0/downtime",
    "director-federation": KEYS,
}


class OneOfMany(Alone):
    """A worker of several, which holds the lease only when told so."""

    def __init__(self) -> None:
        self.is_holder = False
        self.followers: dict[str, Follower] = {}

    def holds(self, name: str) -> bool:
        assert name == HOST
        return self.is_holder

    def follow(self, kind: str, follower: Follower) -> None:
        self.followers[kind] = follower


class Places:
    """The registry, and where the federation's keys are."""

    def __init__(self) -> None:
        self.is_away = False
        self.urls: list[str] = []

    def send(self, _method: str, url: str, **_options: Any) -> Answer:
        self.urls.append(url)
        if self.is_away:
            raise OutboundError(Failure.REFUSED)
        if url == KEYS:
            return answer(body=jwks(Key()))
        return answer(200, [] if url.endswith("downtime") else {})

    def close(self) -> None:
        pass


@pytest.fixture
def worker() -> OneOfMany:
    return OneOfMany()


@pytest.fixture
def places() -> Places:
    return Places()


@pytest.fixture
def director(worker: OneOfMany, places: Places, clock: FakeClock, wall: FakeClock) -> Iterator[Director]:
    director = assembly.build(
        Config(registry_url=REGISTRY, web_url=WEB, jwk_url=KEYS),
        clock=clock,
        wall=wall,
        started_at=None,
        make_client=lambda _connections: places,  # type: ignore[arg-type, return-value]
        state=State(worker),
    )
    yield director
    director.close()


def run(director: Director, name: str) -> None:
    (job,) = (one for one in director.jobs if repr(one) == f"<PeriodicJob {name}>")
    job._function()


@pytest.mark.parametrize("name", JOBS)
def test_only_who_holds_the_lease_fetches(director: Director, worker: OneOfMany, places: Places, name: str) -> None:
    run(director, name)
    assert places.urls == []
    worker.is_holder = True
    run(director, name)
    assert places.urls == [JOBS[name]]


@pytest.mark.parametrize("name", JOBS)
def test_what_was_fetched_is_fetched_again_when_it_is_due_and_at_every_turn_until_it_is_there(
    director: Director, worker: OneOfMany, places: Places, clock: FakeClock, name: str
) -> None:
    worker.is_holder = True
    places.is_away = True
    for turns in (1, 2, 3):
        run(director, name)
        assert len(places.urls) == turns
    places.is_away = False
    run(director, name)
    places.urls.clear()
    run(director, name)
    assert places.urls == []
    clock.advance(900)
    run(director, name)
    assert places.urls == [JOBS[name]]


def test_a_downtime_that_another_worker_was_told_of_acts_here(
    director: Director, worker: OneOfMany, wall: FakeClock
) -> None:
    director.directory.record(origin("O", "/a"), 600.0)
    assert "/a" in director.directory.snapshot().prefixes
    body = b'[{"id": "d", "serverName": "O", "startTime": %d, "endTime": -1}]' % ((wall() - 60) * 1000)
    worker.followers[f"downtimes {REGISTRY}"].took(
        Record(kind=f"downtimes {REGISTRY}", key="", body=body, expires_at=wall() + 600, granted_s=600.0, revision=1)
    )
    assert director.filters.names() == {"O"}
    assert "/a" not in director.directory.snapshot().prefixes
