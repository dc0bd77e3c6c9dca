"""What Prometheus says of loads: what is believed, for how long, and what is not."""

import json
import logging
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.federation.store.records import Record
from director_wsgi.health.io_load import FORGOTTEN_S, KIND, MAX_ANSWER_BYTES, QUERY, IoLoads
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, Failure, OutboundError
from tests.fakes import FakeClock

C1, C2 = "https://c1.example.org:8443", "https://c2.example.org:8443"


def sample(url: object, value: object) -> dict[str, object]:
    return {"metric": {"server_url": url, "job": "origin_cache_servers"}, "value": [1767225600.781, value]}


def vector(*samples: object) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": samples}}).encode()


class FakePrometheus:
    """Answers as told, and remembers what it was asked."""

    def __init__(self, body: bytes = b"", status: int = 200) -> None:
        self.body = body
        self.status = status
        self.failure: Failure | None = None
        self.asked: list[str] = []
        self.max_bytes = 0
        self.is_closed = False

    def send(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = 0,
    ) -> Answer:
        self.asked.append(f"{method} {url}")
        self.max_bytes = max_bytes
        if self.failure:
            raise OutboundError(self.failure, "as told")
        return Answer(self.status, {}, self.body)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def prometheus() -> FakePrometheus:
    return FakePrometheus()


@pytest.fixture
def loads(prometheus: FakePrometheus, clock: FakeClock) -> IoLoads:
    return IoLoads(prometheus, "http://127.0.0.1:9090", clock=clock)


def refresh(loads: IoLoads) -> bool:
    return loads.refresh(Deadline.after(10))


def test_the_question_is_upstreams(loads: IoLoads, prometheus: FakePrometheus) -> None:
    prometheus.body = vector()
    assert refresh(loads)
    method, url = prometheus.asked[0].split(" ", maxsplit=1)
    parts = urlsplit(url)
    assert (method, parts.scheme, parts.netloc, parts.path) == ("GET", "http", "127.0.0.1:9090", "/api/v1/query")
    assert parse_qs(parts.query) == {"query": [QUERY]}
    assert all(32 < ord(character) < 127 and character not in '"{}' for character in url)
    assert prometheus.max_bytes == MAX_ANSWER_BYTES


def test_a_path_before_the_api_is_kept(prometheus: FakePrometheus) -> None:
    refresh(IoLoads(prometheus, "https://monitoring.example.org/prometheus/"))
    assert prometheus.asked[0].startswith("GET https://monitoring.example.org/prometheus/api/v1/query?query=rate")


def test_a_server_is_known_by_its_data_url(loads: IoLoads, prometheus: FakePrometheus) -> None:
    prometheus.body = vector(sample(C1, "12.5"), sample(C2 + "/", "0"))
    assert refresh(loads)
    assert loads.of(C1) == 12.5
    assert loads.of(C1 + "/") == 12.5
    assert loads.of(C2) == 0
    assert loads.of("https://c3.example.org:8443") is None


@pytest.mark.parametrize(
    "one",
    [
        sample(C1, "NaN"),
        sample(C1, "+Inf"),
        sample(C1, "-1"),
        sample(C1, ""),
        sample(C1, "busy"),
        sample(C1, 12),
        sample(C1, None),
        sample(C1, ["1"]),
        sample(None, "1"),
        {"metric": {}, "value": [0, "1"]},
        {"metric": {"server_url": C1}, "value": "1"},
        {"metric": {"server_url": C1}, "value": ["1"]},
        {"metric": {"server_url": C1}, "values": [[0, "1"]]},
        {"metric": [], "value": [0, "1"]},
        [],
        None,
        7,
    ],
)
def test_an_element_that_tells_no_load_is_left_out_and_the_others_count(
    loads: IoLoads, prometheus: FakePrometheus, one: object
) -> None:
    prometheus.body = vector(one, sample(C2, "3"))
    assert refresh(loads)
    assert (loads.of(C1), loads.of(C2)) == (None, 3)


def test_of_several_loads_of_one_server_the_highest_counts(loads: IoLoads, prometheus: FakePrometheus) -> None:
    prometheus.body = vector(sample(C1, "5"), sample(C1, "70"), sample(C1, "NaN"), sample(C1, "6"))
    refresh(loads)
    assert loads.of(C1) == 70


def test_a_load_is_forgotten_when_it_is_old(loads: IoLoads, prometheus: FakePrometheus, clock: FakeClock) -> None:
    prometheus.body = vector(sample(C1, "5"))
    refresh(loads)
    prometheus.failure = Failure.REFUSED
    clock.advance(FORGOTTEN_S)
    assert not refresh(loads)
    assert loads.of(C1) == 5
    clock.advance(0.1)
    assert loads.of(C1) is None
    prometheus.failure = None
    assert refresh(loads)
    assert loads.of(C1) == 5


def test_a_server_that_is_not_told_any_more_is_unknown_at_once(loads: IoLoads, prometheus: FakePrometheus) -> None:
    prometheus.body = vector(sample(C1, "5"), sample(C2, "6"))
    refresh(loads)
    prometheus.body = vector(sample(C2, "7"))
    refresh(loads)
    assert (loads.of(C1), loads.of(C2)) == (None, 7)


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (503, b"", "it answered 503"),
        (302, b"", "it answered 302"),
        (200, b"", "something else than a Prometheus does"),
        (200, b"<html>", "something else than a Prometheus does"),
        (200, b"\xff\xfe", "something else than a Prometheus does"),
        (200, b"[" * 100_000, "something else than a Prometheus does"),
        (200, b"9" * 5000, "something else than a Prometheus does"),
        (200, b"[]", "something else than a Prometheus does"),
        (200, b"null", "something else than a Prometheus does"),
        (200, b'{"data":null}', "something else than a Prometheus does"),
        (200, b'{"data":[]}', "something else than a Prometheus does"),
        (200, b'{"status":"error"}', "something else than a Prometheus does"),
        (200, b'{"data":{"resultType":"matrix","result":[]}}', "something else than a vector"),
        (200, b'{"data":{"resultType":"vector","result":{}}}', "something else than a vector"),
    ],
)
def test_anything_else_changes_nothing_and_is_said_once(
    loads: IoLoads,
    prometheus: FakePrometheus,
    caplog: pytest.LogCaptureFixture,
    status: int,
    body: bytes,
    why: str,
) -> None:
    caplog.set_level(logging.INFO)
    prometheus.body = vector(sample(C1, "5"))
    refresh(loads)

    prometheus.status, prometheus.body = status, body
    assert not refresh(loads)
    assert not refresh(loads)

    assert loads.of(C1) == 5
    (line,) = caplog.messages
    assert line.startswith("how busy servers are is unknown (Monitoring.PrometheusUrl): it answered")
    assert why in line
    prometheus.status, prometheus.body = 200, vector()
    assert refresh(loads)
    assert refresh(loads)
    assert caplog.messages[1:] == ["Prometheus tells again how busy servers are"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda each: (
            st.lists(each)
            | st.dictionaries(
                st.sampled_from(["data", "resultType", "result", "metric", "value", "server_url"]) | st.text(), each
            )
        ),
    )
)
def test_no_json_raises(value: object) -> None:
    for body in (json.dumps(value).encode(), vector(value)):
        refresh(IoLoads(FakePrometheus(body), "http://127.0.0.1:9090"))


def test_it_closes_its_client(loads: IoLoads, prometheus: FakePrometheus) -> None:
    loads.close()
    assert prometheus.is_closed


# -- several workers


class Sharing:
    """What one worker publishes, as records for another."""

    def __init__(self, wall: FakeClock) -> None:
        self._wall = wall
        self.records: list[Record] = []

    def publish(self, kind: str, key: str, encode: Callable[[], bytes], *, lifetime_s: float, token: object) -> None:
        assert token is None, "equal loads are told anew, since their age counts"
        self.add(encode(), lifetime_s=lifetime_s, kind=kind, key=key)

    def add(self, body: bytes, *, lifetime_s: float = FORGOTTEN_S, kind: str = KIND, key: str = "") -> Record:
        ends = self._wall() + lifetime_s
        record = Record(kind=kind, key=key, body=body, expires_at=ends, granted_s=lifetime_s, revision=1)
        self.records.append(record)
        return record


@pytest.fixture
def wall() -> FakeClock:
    return FakeClock(1_769_257_019.5)


@pytest.fixture
def sharing(wall: FakeClock) -> Sharing:
    return Sharing(wall)


@pytest.fixture
def other(prometheus: FakePrometheus, clock: FakeClock, wall: FakeClock) -> IoLoads:
    """Of a worker that does not ask."""
    return IoLoads(prometheus, "http://127.0.0.1:9090", clock=clock, wall=wall)


def test_what_one_worker_was_told_the_others_know(
    prometheus: FakePrometheus, other: IoLoads, sharing: Sharing, clock: FakeClock
) -> None:
    one = IoLoads(prometheus, "http://127.0.0.1:9090", publish=sharing.publish, clock=clock)
    prometheus.body = vector(sample(C1, "3.5"), sample(C2, "0"))
    assert refresh(one)
    [record] = sharing.records
    assert (record.kind, record.key) == (KIND, "")
    other.took(record)
    assert (other.of(C1), other.of(C2)) == (3.5, 0.0)
    assert len(prometheus.asked) == 1


def test_of_what_nobody_told_nothing_is_published(
    prometheus: FakePrometheus, sharing: Sharing, clock: FakeClock
) -> None:
    one = IoLoads(prometheus, "http://127.0.0.1:9090", publish=sharing.publish, clock=clock)
    prometheus.failure = Failure.TIMED_OUT
    assert not refresh(one)
    assert sharing.records == []


def test_what_others_told_is_forgotten_when_they_forget_it(
    other: IoLoads, sharing: Sharing, clock: FakeClock, wall: FakeClock
) -> None:
    record = sharing.add(json.dumps({C1: 1.0}).encode())
    wall.advance(40)
    other.took(record)
    assert other.of(C1) == 1.0
    clock.advance(FORGOTTEN_S - 40 + 1)
    assert other.of(C1) is None


def test_what_had_ended_when_it_came_is_not_believed(other: IoLoads, sharing: Sharing, wall: FakeClock) -> None:
    record = sharing.add(json.dumps({C1: 1.0}).encode())
    wall.advance(FORGOTTEN_S + 1)
    other.took(record)
    assert other.of(C1) is None


def test_older_loads_do_not_push_out_newer_ones(
    prometheus: FakePrometheus, other: IoLoads, sharing: Sharing, clock: FakeClock, wall: FakeClock
) -> None:
    record = sharing.add(json.dumps({C1: 1.0}).encode())
    clock.advance(10)
    wall.advance(10)
    prometheus.body = vector(sample(C1, "2"))
    assert refresh(other)
    other.took(record)
    assert other.of(C1) == 2.0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"1",
        b'{"a": "1"}',
        b'{"a": true}',
        b'{"a": -1.0}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b"[" * 100_000,
    ],
)
def test_what_no_worker_writes_changes_nothing(other: IoLoads, sharing: Sharing, body: bytes) -> None:
    other.took(sharing.add(json.dumps({C1: 1.0}).encode()))
    other.took(sharing.add(body))
    assert other.of(C1) == 1.0
