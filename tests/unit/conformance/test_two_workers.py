"""Two workers of one director: what one is told, the other answers by; and what a new one knows from the start."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, EnvironBuilder, TestResponse

from director_wsgi.app import create_app
from director_wsgi.director import Director
from director_wsgi.federation.replica import Replica
from director_wsgi.federation.state import State
from director_wsgi.federation.store.sqlite import SqliteStore
from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime.config import Config
from tests.fakes import FakeClock
from tests.unit.trust.forge import NOW, Key, origin_body
from tests.unit.trust.registries import FakeRegistry

KEY = Key()
DEMO = "/api/v1.0/director/origin/demo/x"
ELSEWHERE = "/api/v1.0/director/origin/elsewhere"
WINDOW_S = 300.0


class Asked(FakeRegistry):
    """The registry, as the client that reaches it."""

    def close(self) -> None: ...


class Worker:
    """An application, and its side of the store; takes its turns when told to."""

    def __init__(self, host: "Host", name: str) -> None:
        store = SqliteStore(host.bus, clock=host.clock, wall=host.wall)
        self.replica = Replica(store, holder=name, clock=host.clock, wall=host.wall)
        self.state = State(self.replica)
        app = create_app(
            Config(
                registry_url="https://registry.example.org",
                web_url="https://director.example.org",
                startup_window_s=WINDOW_S,
            ),
            clock=host.clock,
            wall=host.wall,
            first_started_at=host.first_started_at,
            make_client=lambda _connections: host.registry,  # type: ignore[arg-type,return-value]
            state=self.state,
        )
        self.director: Director = app.extensions["director"]
        self.client = Client(app)

    def call(self, method: str, target: str, body: bytes = b"", **headers: str) -> TestResponse:
        builder = EnvironBuilder(
            path="/",
            method=method,
            data=body or None,
            headers={"User-Agent": "pelican-origin/7.20.0", **headers},
            environ_overrides={"RAW_URI": target, "REMOTE_ADDR": "192.0.2.10"},
        )
        return self.client.open(builder)

    def advertise(self, **changes: Any) -> int:
        answer = self.call(
            "POST",
            "/api/v1.0/director/registerOrigin",
            origin_body(**{"director-test-disabled": True, **changes}),
            Authorization=f"Bearer {KEY.token()}",
        )
        return answer.status_code

    def catch_up(self) -> None:
        """Learn what is known when it starts, and end its thread again."""
        self.director.catch_up()
        assert self.state.stop(Deadline.after(5.0))


class Host:
    def __init__(self, folder: Path) -> None:
        self.bus = folder / "bus.sqlite"
        self.clock = FakeClock()
        self.wall = FakeClock(NOW)
        self.first_started_at = self.clock()
        self.registry = Asked(KEY)
        self.workers: list[Worker] = []

    def worker(self) -> Worker:
        self.workers.append(Worker(self, f"worker-{len(self.workers)}"))
        return self.workers[-1]

    def turns(self) -> None:
        for _ in range(3):
            for worker in self.workers:
                worker.replica.turn()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.wall.advance(seconds)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    for worker in host.workers:
        worker.director.close()


def test_what_is_advertised_to_one_both_redirect_to(host: Host) -> None:
    one, two = host.worker(), host.worker()
    assert two.call("GET", DEMO).status_code == 429
    assert one.advertise() == 200
    host.turns()
    for worker in (one, two):
        answer = worker.call("GET", DEMO)
        assert answer.status_code == 307
        assert answer.headers["Location"].startswith("https://o1.example.org:8443/demo/x")
    listed = [worker.call("GET", "/api/v1.0/director_ui/servers").json for worker in (one, two)]
    assert [server["name"] for server in listed[0]] == ["ORIGIN_1"]
    assert [server["name"] for server in listed[1]] == ["ORIGIN_1"]


def test_who_shuts_down_at_one_is_sent_nobody_by_the_other(host: Host) -> None:
    one, two = host.worker(), host.worker()
    host.registry.names["/origins/o1.example.org:8447"] = "ORIGIN_1"
    assert one.advertise() == 200
    host.turns()
    assert two.call("GET", DEMO).status_code == 307
    assert one.advertise(status="shutting down") == 200
    host.turns()
    assert two.call("GET", DEMO).status_code != 307
    assert two.advertise() == 200
    host.turns()
    assert one.call("GET", DEMO).status_code == 307


def test_a_later_worker_answers_the_first_request_as_one_that_was_there(host: Host) -> None:
    one = host.worker()
    assert one.advertise() == 200
    host.turns()
    host.advance(WINDOW_S + 1)
    assert one.call("GET", ELSEWHERE).status_code == 404
    late = host.worker()
    late.catch_up()
    assert late.call("GET", DEMO).status_code == 307
    assert late.call("GET", ELSEWHERE).status_code == 404, "nobody need be waited for"
    host.advance(600 - WINDOW_S)
    assert not late.director.directory.snapshot().servers, "it ends when it would have"


def test_a_later_worker_that_finds_nothing_waits_for_servers_to_come(host: Host) -> None:
    host.advance(WINDOW_S + 1)
    late = host.worker()
    late.catch_up()
    assert late.call("GET", ELSEWHERE).status_code == 429
    host.advance(WINDOW_S + 1)
    assert late.call("GET", ELSEWHERE).status_code == 404
