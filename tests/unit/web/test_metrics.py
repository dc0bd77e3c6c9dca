"""`/metrics`: who may see it, and that it tells the truth of the rooms, and nothing that is nobody's business."""

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from director_wsgi import __version__
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.filters import Filters
from director_wsgi.limits.breaker import BreakerSnapshot, State
from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime.leases import Leases
from director_wsgi.runtime.metrics import Collect, Metrics
from director_wsgi.stat.asking import WaitingLanes
from director_wsgi.stat.health import Sickness
from director_wsgi.stat.report import ServerState, StatStatistics
from director_wsgi.trust.keyring import KeyRing
from director_wsgi.trust.self_issued import SCRAPE, Guard, Issuer
from director_wsgi.web import families, metrics
from tests.fakes import FakeClock
from tests.make import cache, origin
from tests.unit.trust.rings import ring_of, signed

WEB = "https://director.example.org"
O1, C1 = "https://o1.example.org:8443", "https://c1.example.org:8443"
NO_TOKEN = "Authentication is required but no token is present."


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    return ring_of(tmp_path_factory.mktemp("key"), wall=FakeClock())


@pytest.fixture
def token(ring: KeyRing, wall: FakeClock) -> Callable[..., str]:
    """Makes tokens that open `/metrics`, but for what is changed."""
    (one,) = ring.outlook()
    return lambda **changed: signed(one.key, wall(), **changed)


@pytest.fixture
def make_client(ring: KeyRing, wall: FakeClock) -> Callable[..., FlaskClient]:
    def make(*, is_guarded: bool = True) -> FlaskClient:
        shown = Metrics()
        shown.add(families.build)
        app = Flask(__name__)
        guard = Guard([Issuer(WEB, ring.key_set)], scope=SCRAPE, wall_clock=wall) if is_guarded else None
        app.register_blueprint(metrics.blueprint(shown, guard=guard))
        return app.test_client()

    return make


class TestRoute:
    def test_a_token_opens(self, make_client: Callable[..., FlaskClient], token: Callable[..., str]) -> None:
        with_cookie = make_client()
        with_cookie.set_cookie("login", token())
        for client, header in (
            (make_client(), f"Bearer {token()}"),
            (make_client(), f"bearer {token()}"),
            (with_cookie, ""),
        ):
            answer = client.get("/metrics", headers={"Authorization": header})
            assert answer.status_code == 200
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert f'director_wsgi_build_info{{version="{__version__}"}} 1.0' in answer.text

    @pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic eDp5", "token"])
    def test_without_one_it_is_403_and_says_so(
        self, make_client: Callable[..., FlaskClient], header: str | None
    ) -> None:
        answer = make_client().get("/metrics", headers={} if header is None else {"Authorization": header})
        assert (answer.status_code, json.loads(answer.data)) == (403, {"status": "error", "msg": NO_TOKEN})

    def test_a_wrong_one_is_403_and_is_not_told_again(
        self, make_client: Callable[..., FlaskClient], token: Callable[..., str]
    ) -> None:
        expired, other = token(exp=1), token(scope="storage.read:/")
        foreign = jwt.encode({"iss": WEB}, "x" * 32, algorithm="HS256")
        for wrong in (expired, other, foreign, "nonsense", "caf\xe9"):
            with_cookie = make_client()
            with_cookie.set_cookie("login", wrong)
            for client, header in ((make_client(), f"Bearer {wrong}"), (with_cookie, "")):
                answer = client.get("/metrics", headers={"Authorization": header})
                assert answer.status_code == 403
                message = json.loads(answer.data)["msg"]
                assert message.startswith("Cannot verify token: ")
                assert wrong not in message

    def test_the_header_wins_over_the_cookie(
        self, make_client: Callable[..., FlaskClient], token: Callable[..., str]
    ) -> None:
        client = make_client()
        client.set_cookie("login", token())
        assert client.get("/metrics").status_code == 200
        assert client.get("/metrics", headers={"Authorization": "Bearer nonsense"}).status_code == 403

    def test_the_operator_may_open_it_to_all(self, make_client: Callable[..., FlaskClient]) -> None:
        assert make_client(is_guarded=False).get("/metrics").status_code == 200


# --- families ---------------------------------------------------------------------------------------------------------


def told(*collects: Collect) -> dict[str, list[tuple[dict[str, str], float]]]:
    """What Prometheus reads: labels and value of every sample, by name."""
    shown = Metrics()
    for collect in collects:
        shown.add(collect)
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(shown.text().decode()):
        assert family.documentation
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return samples


def by(label: str, rows: list[tuple[dict[str, str], float]]) -> dict[str, float]:
    return {labels[label]: value for labels, value in rows}


@pytest.fixture
def directory(clock: FakeClock) -> Directory:
    directory = Directory(clock=clock)
    directory.record(origin("O1", "/a", "/b"), 600)
    directory.record(cache("C1", "/a", status="critical"), 60)
    return directory


class TestFederation:
    def test_what_is_advertised_is_counted(self, directory: Directory) -> None:
        samples = told(families.federation(directory))
        assert samples["pelican_director_server_count"] == [
            ({"server_name": "O1", "server_type": "Origin", "from_topology": "false"}, 1),
            ({"server_name": "C1", "server_type": "Cache", "from_topology": "false"}, 1),
        ]
        assert by("server_url", samples["pelican_director_server_statusweight"]) == {O1: 1, C1: 0.01}
        assert samples["director_wsgi_prefixes"] == [({}, 2)]

    def test_two_servers_of_one_name_are_one_series(self, directory: Directory) -> None:
        url = "https://other.example.org"
        directory.record(origin("O1", "/c", data_url=url, base_url=url), 600)
        samples = told(families.federation(directory))
        assert by("server_name", samples["pelican_director_server_count"]) == {"O1": 2, "C1": 1}


CLOSED = BreakerSnapshot(
    state=State.CLOSED,
    reason=None,
    since=0.0,
    next_probe_in_s=0.0,
    trips=0,
    failures=0,
    slow=0,
    volume=0,
    is_flapping=False,
)


def state(data_url: str, breaker: BreakerSnapshot = CLOSED, **more: Any) -> ServerState:
    values = {"slots_in_use": 0, "slot_limit": 16, "waiting": 0, "threads": 0, "latency_s": None, **more}
    return ServerState(data_url=data_url, host="", breaker=breaker, **values)


class FakeEngine:
    def __init__(self, *states: ServerState, **statistics: int) -> None:
        self.lanes = WaitingLanes(28)
        self._states = states
        self._statistics = statistics

    def servers(self) -> tuple[ServerState, ...]:
        return self._states

    def statistics(self) -> StatStatistics:
        return StatStatistics(**self._statistics)


def test_tables_are_counted_under_pelicans_names(directory: Directory, clock: FakeClock) -> None:
    filters = Filters(permanent=["BAD", "WORSE"], wall=clock)
    tests: Any = SimpleNamespace(statistics=lambda: SimpleNamespace(servers=("one", "two", "three")))
    inquiries: Any = SimpleNamespace(key_sets=SimpleNamespace(answers=range(7)))
    engine: Any = FakeEngine(state(O1, evidence=4), state(C1, evidence=1))
    samples = told(families.tables(directory, filters, tests, engine, inquiries))
    assert samples["pelican_director_ttl_cache"] == [
        ({"name": "serverAds", "type": "total"}, 2),
        ({"name": "jwks", "type": "total"}, 7),
    ]
    assert by("name", samples["pelican_director_map_items_total"]) == {
        "filteredServers": 2,
        "healthTestUtils": 3,
        "serverStatUtils": 2,
        "serverStatEntries": 5,
    }


class TestStat:
    def stat(self, engine: Any, directory: Directory) -> dict[str, list[tuple[dict[str, str], float]]]:
        return told(families.stat(engine, directory))

    def test_every_gate_is_told(self, directory: Directory) -> None:
        samples = self.stat(
            FakeEngine(state(O1, threads=7), remembered=3, no_slot=2, in_flight=5, thread_limit=256), directory
        )
        gates = by("gate", samples["director_wsgi_stat_gate_total"])
        assert {gate: times for gate, times in gates.items() if times} == {"remembered": 3, "no_slot": 2}
        assert {"asked", "joined", "circuit_open"} <= gates.keys()
        assert by("kind", samples["director_wsgi_stat_threads"]) == {"limit": 256, "in_use": 5, "alive": 7}

    def test_a_server_is_told_by_pelicans_labels(self, directory: Directory) -> None:
        engine = FakeEngine(state(O1, slots_in_use=3, slot_limit=8, waiting=2, latency_s=0.25), state(C1))
        samples = self.stat(engine, directory)
        o1 = {"server_name": "O1", "server_url": O1, "server_type": "Origin"}
        assert (o1, 3) in samples["pelican_director_stat_active"]
        slots = [(labels, value) for labels, value in samples["director_wsgi_slots"] if labels["server_name"] == "O1"]
        assert slots == [({**o1, "kind": "limit"}, 8), ({**o1, "kind": "in_use"}, 3), ({**o1, "kind": "waiting"}, 2)]
        assert samples["director_wsgi_stat_latency_seconds"] == [(o1, 0.25)]

    def test_results_are_told_in_pelicans_words(self, directory: Directory) -> None:
        engine = FakeEngine(state(O1, results={("Succeeded", False): 3, ("Succeeded", True): 9, ("Timeout", False): 1}))
        told_ = self.stat(engine, directory)["pelican_director_stat_total"]
        o1 = {"server_name": "O1", "server_url": O1, "server_type": "Origin"}
        assert told_ == [
            ({**o1, "result": "Succeeded", "cached_result": "false"}, 3),
            ({**o1, "result": "Succeeded", "cached_result": "true"}, 9),
            ({**o1, "result": "Timeout", "cached_result": "false"}, 1),
        ]

    def test_a_breaker_says_its_state_and_why(self, directory: Directory) -> None:
        stalling = BreakerSnapshot(
            state=State.OPEN,
            reason=Sickness.STALLING,
            since=0.0,
            next_probe_in_s=1.0,
            trips=3,
            failures=9,
            slow=0,
            volume=9,
            is_flapping=True,
        )
        samples = self.stat(FakeEngine(state(O1, stalling), state(C1)), directory)
        assert by("server_name", samples["director_wsgi_breaker_state"]) == {"O1": 2, "C1": 0}
        assert by("server_name", samples["director_wsgi_breaker_trips_total"]) == {"O1": 3, "C1": 0}
        reasons = {(labels["server_name"], labels["reason"]) for labels, _ in samples["director_wsgi_breaker_reason"]}
        assert reasons == {("O1", "stalling"), ("O1", "flapping")}

    def test_who_is_not_advertised_any_more_leaves_no_series(self, directory: Directory, clock: FakeClock) -> None:
        engine = FakeEngine(state(O1), state(C1), state("https://never.example.org"))
        clock.advance(61)
        samples = self.stat(engine, directory)
        for name in (
            "pelican_director_stat_active",
            "director_wsgi_breaker_state",
            "director_wsgi_breaker_trips_total",
        ):
            assert [labels["server_name"] for labels, _ in samples[name]] == ["O1"], name

    def test_a_password_in_a_data_url_is_not_told(self, clock: FakeClock) -> None:
        directory = Directory(clock=clock)
        url = "https://user:secret@o1.example.org:8443"
        directory.record(origin("O1", "/a", data_url=url), 600)
        samples = self.stat(FakeEngine(state(url)), directory)
        assert [labels["server_url"] for labels, _ in samples["pelican_director_stat_active"]] == [O1]
        assert "secret" not in repr(samples)

    def test_names_that_are_no_text_do_not_end_the_scrape(self, clock: FakeClock) -> None:
        directory = Directory(clock=clock)
        directory.record(origin('caf\udce9 "\\\n', "/a", data_url=O1, base_url=O1), 600)
        samples = self.stat(FakeEngine(state(O1)), directory)
        assert [labels["server_name"] for labels, _ in samples["pelican_director_stat_active"]] == ['caf? "\\\n']

    def test_lanes_are_told(self, directory: Directory) -> None:
        engine = FakeEngine()
        permits = [engine.lanes.take_nowait() for _ in range(30)]
        long = [engine.lanes.take_long_nowait("/a") for _ in range(30)]
        waiting = sum(permit is not None for permit in long)
        assert sum(permit is not None for permit in permits) == 28
        samples = self.stat(engine, directory)
        assert by("kind", samples["director_wsgi_lanes"]) == {
            "limit": 28,
            "in_use": 28,
            "most": 28,
            "long": waiting,
            "long_limit": 21,
            "namespaces": 1,
        }
        assert by("outcome", samples["director_wsgi_lane_requests_total"]) == {
            "taken": 28,
            "full": 2,
            "long": waiting,
            "long_refused": 30 - waiting,
        }


def test_advertisements_and_the_registry() -> None:
    admission: Any = SimpleNamespace(counts={"admitted": 4, "NotApproved": 1})
    counts = {("keys", "silent"): 3, ("approval", "answered"): 2}
    inquiries: Any = SimpleNamespace(permits_in_use=1, counts=counts, waiting=4, silent_s=2.5)
    never_loaded: Any = SimpleNamespace(loaded=False)
    samples = told(families.trust(admission, inquiries, never_loaded))
    assert by("outcome", samples["director_wsgi_advertisements_total"]) == {"admitted": 4, "NotApproved": 1}
    assert by("kind", samples["director_wsgi_registry_permits"]) == {"limit": 2, "in_use": 1}
    assert samples["director_wsgi_registry_questions_total"] == [
        ({"question": "approval", "outcome": "answered"}, 2),
        ({"question": "keys", "outcome": "silent"}, 3),
    ]
    assert samples["director_wsgi_registry_questions_waiting"] == [({}, 4)]
    assert samples["director_wsgi_registry_silent_seconds"] == [({}, 2.5)]
    assert "director_wsgi_prefix_table_age_seconds" not in samples
    loaded: Any = SimpleNamespace(loaded=True, age_s=12.5)
    samples = told(families.trust(admission, inquiries, loaded))
    assert samples["director_wsgi_prefix_table_age_seconds"] == [({}, 12.5)]


def test_tokens_and_the_keys_of_a_federation_that_another_host_publishes() -> None:
    tokens: Any = SimpleNamespace(counts={"issued": 3, "expired": 1})
    never_loaded: Any = SimpleNamespace(loaded=False)
    for absent in (None, never_loaded):
        samples = told(families.keys(tokens, absent))
        assert by("outcome", samples["director_wsgi_federation_tokens_total"]) == {"issued": 3, "expired": 1}
        assert "director_wsgi_federation_keys_age_seconds" not in samples
    loaded: Any = SimpleNamespace(loaded=True, age_s=12.5)
    samples = told(families.keys(tokens, loaded))
    assert samples["director_wsgi_federation_keys_age_seconds"] == [({}, 12.5)]


@pytest.fixture
def leases(clock: FakeClock) -> Iterator[Leases]:
    leases = Leases(clock=clock)
    yield leases
    leases.close(Deadline.after(5))


def test_clients_that_wait_and_those_that_have_gone() -> None:
    watch: Any = SimpleNamespace(watched=3, gone=14)
    samples = told(families.clients(watch))
    assert samples["director_wsgi_clients_waiting"] == [({}, 3)]
    assert samples["director_wsgi_clients_gone_total"] == [({}, 14)]


def test_leases(leases: Leases) -> None:
    held = [leases.acquire(name, object, lambda *_: None) for name in ("a", "b", "a")]
    held.pop(1).release()
    samples = told(families.leases(leases))
    assert by("state", samples["director_wsgi_leases"])["live"] == 1
    assert samples["director_wsgi_lease_builds_total"] == [({}, 2)]
