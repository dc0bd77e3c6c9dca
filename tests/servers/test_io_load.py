"""Loads out of a Prometheus on a loopback socket that can be told to misbehave."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from director_wsgi.app import create_app
from director_wsgi.director import Director
from director_wsgi.health.io_load import MAX_ANSWER_BYTES, QUERY, IoLoads
from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime.config import Config
from tests.servers.conftest import MakeClient

C1 = "https://c1.example.org:8443"
LOAD_JOB = "<PeriodicJob director-load>"
WAIT_S = 20.0
"""Nothing here takes that long unless it is broken."""


def vector(**loads: str) -> bytes:
    result = [
        {"metric": {"server_url": f"https://{name}.example.org:8443"}, "value": [1767225600.781, load]}
        for name, load in loads.items()
    ]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


class LoopbackPrometheus(ThreadingHTTPServer):
    """Tells `body`, with `status`, once `gate` is open.

    Attributes:
        arrived: Released once for each question.
        queries: What was asked.
        endless: Sends its body again and again, until nobody listens.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Semaphore(0)
        self.queries: list[str] = []
        self.status = 200
        self.body = vector(c1="12.5")
        self.endless = False
        self.hung_up = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackPrometheus

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.server.queries.append(f"{parts.path} {parse_qs(parts.query)['query'][0]}")
        self.server.arrived.release()
        assert self.server.gate.wait(WAIT_S)
        self.send_response(self.server.status)
        if not self.server.endless:
            self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        try:
            self.wfile.write(self.server.body)
            while self.server.endless:
                self.wfile.write(self.server.body)
        except OSError:
            self.server.hung_up.set()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def prometheus() -> Iterator[LoopbackPrometheus]:
    server = LoopbackPrometheus()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="loopback-prometheus")
    thread.start()
    yield server
    server.gate.set()
    server.shutdown()
    thread.join(WAIT_S)
    server.server_close()


@pytest.fixture
def loads(make_client: MakeClient, prometheus: LoopbackPrometheus) -> IoLoads:
    return IoLoads(make_client(), prometheus.url)


def refresh(loads: IoLoads, seconds: float = WAIT_S) -> bool:
    return loads.refresh(Deadline.after(seconds))


def test_loads_come_from_its_query_api(loads: IoLoads, prometheus: LoopbackPrometheus) -> None:
    assert refresh(loads)
    assert loads.of(C1) == 12.5
    assert prometheus.queries == [f"/api/v1/query {QUERY}"]


def test_one_that_hangs_is_given_up_at_the_deadline_and_what_it_said_stays(
    loads: IoLoads, prometheus: LoopbackPrometheus
) -> None:
    assert refresh(loads)
    prometheus.gate.clear()
    assert not refresh(loads, 0.1)
    assert loads.of(C1) == 12.5
    prometheus.gate.set()
    prometheus.body = vector(c1="7")
    assert refresh(loads)
    assert loads.of(C1) == 7


def test_one_that_is_away_is_no_harm(make_client: MakeClient) -> None:
    loads = IoLoads(make_client(), "http://127.0.0.1:1")
    assert not refresh(loads)
    assert loads.of(C1) is None


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>a login page</html>"),
        (302, b""),
        (401, b"Unauthorized"),
        (422, b'{"status":"error","errorType":"execution","error":"expression was too large"}'),
        (200, b'{"status":"success","data":{"resultType":"matrix","result":[]}}'),
        (200, b'{"status":"success","data":{"resultType":"vector","result":"none"}}'),
    ],
    ids=["HTML", "elsewhere", "door", "error", "matrix", "text"],
)
def test_one_that_answers_something_else_is_no_harm(
    loads: IoLoads, prometheus: LoopbackPrometheus, status: int, body: bytes
) -> None:
    prometheus.status, prometheus.body = status, body
    assert not refresh(loads)
    assert loads.of(C1) is None


@pytest.mark.parametrize("endless", [False, True])
def test_an_answer_is_not_read_beyond_its_bound(loads: IoLoads, prometheus: LoopbackPrometheus, endless: bool) -> None:
    prometheus.body = b" " * (MAX_ANSWER_BYTES + 1)
    prometheus.endless = endless
    assert not refresh(loads)
    if endless:
        assert prometheus.hung_up.wait(WAIT_S)


def test_a_director_asks_it_from_its_start_to_its_end(prometheus: LoopbackPrometheus) -> None:
    config = Config(
        registry_url="http://127.0.0.1:1", web_url="https://director.example.org", prometheus_url=prometheus.url
    )
    director: Director = create_app(config).extensions["director"]
    assert LOAD_JOB in {repr(job) for job in director.jobs}
    assert prometheus.queries == []
    director.start()
    try:
        assert prometheus.arrived.acquire(timeout=WAIT_S)
        prometheus.gate.clear()
    finally:
        director.close()
    assert "director-load" not in {thread.name for thread in threading.enumerate()}


def test_without_one_nobody_is_asked() -> None:
    director: Director = create_app(
        Config(registry_url="http://127.0.0.1:1", web_url="https://director.example.org")
    ).extensions["director"]
    assert LOAD_JOB not in {repr(job) for job in director.jobs}
    assert director.loads.of(C1) is None
    director.close()
