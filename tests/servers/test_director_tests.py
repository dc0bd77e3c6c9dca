"""Director tests against real servers under TLS: good ones, and those that hang, drip, lie and refuse."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt
import pytest

from director_wsgi.federation.models import ServerAd
from director_wsgi.health import cycle, tests
from director_wsgi.health.cycle import Bounds
from director_wsgi.health.status import HealthStatus, Result
from director_wsgi.health.tests import DirectorTests
from director_wsgi.health.tokens import Tokens
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Failure
from tests.make import cache, origin
from tests.servers.behaviours import ON_REQUEST, Seen, Visit
from tests.servers.conftest import MakeClient, MakeServer
from tests.servers.faults import FaultServer, black_hole
from tests.servers.federation import WAIT_S, eventually
from tests.unit.trust.forge import Key

FEDERATION, WEB = "https://federation.example.org", "https://director.example.org"
CONTENT = b"This object was created by the Pelican director-test functionality"
KEY = Key()
THREADS = 4


class Minter:
    """Signs what it is told."""

    def mint(self, *, issuer: str, subject: str, audience: Sequence[str], scope: str, lifetime_s: float) -> str:
        now = time.time()
        times = {"iat": now, "nbf": now, "exp": now + lifetime_s}
        return KEY.token(iss=issuer, sub=subject, aud=list(audience), scope=scope, **times)


def claims(seen: Seen) -> dict[str, Any]:
    """What a token says, its signature and times verified."""
    token = seen.headers["authorization"].removeprefix("Bearer ")
    options = {"verify_aud": False}
    decoded: dict[str, Any] = jwt.decode(token, KEY.public_pem, algorithms=["ES256"], options=options)
    return decoded


@dataclass
class Place:
    """Origins and caches, each a server for data and one for reports; and the director that tests them."""

    make: Callable[..., DirectorTests]
    fault_server: MakeServer
    advertised: dict[str, ServerAd] = field(default_factory=dict)
    data: dict[str, FaultServer] = field(default_factory=dict)
    web: dict[str, FaultServer] = field(default_factory=dict)
    results: list[tuple[str, Result]] = field(default_factory=list)
    stored: dict[tuple[str, str], bytes] = field(default_factory=dict)
    issuers: set[str] = field(default_factory=lambda: {FEDERATION})

    def add(self, make: Callable[..., ServerAd], name: str, **more: Any) -> FaultServer:
        """A new server, advertised; its data server."""
        self.data[name], self.web[name] = self.fault_server(tls=True), self.fault_server(tls=True)
        self.data[name].behave("object_store")
        self.web[name].behave("ok", body=b"{}")
        data_url = self.data[name].url
        ad = make(name, "/a", **({"data_url": data_url, "base_url": data_url, "web_url": self.web[name].url} | more))
        self.advertised = self.advertised | {ad.data_url: ad}
        return self.data[name]

    def ad(self, name: str) -> ServerAd:
        return next(ad for ad in self.advertised.values() if ad.name == name)

    def reports(self, name: str) -> list[Any]:
        return [json.loads(seen.body) for seen in self.web[name].requests if seen.path.endswith("/directorTest")]

    def result(self, name: str) -> Result:
        """The first result of a server."""
        assert eventually(lambda: any(tested == name for tested, _ in self.results))
        return next(result for tested, result in self.results if tested == name)

    def serve(self, visit: Visit) -> bool:
        """Keep objects, for those whose token permits it; and the director's own file, which a cache has fetched."""
        seen = visit.seen
        assert seen is not None
        key, code, body = (visit.server.url, seen.path), 200, b""
        if "authorization" in seen.headers and not self._permits(seen, visit.server.url):
            code = 403
        elif seen.method == "PUT":
            code, self.stored[key] = 201, seen.body
        elif seen.method == "DELETE":
            code = 204 if self.stored.pop(key, None) is not None else 404
        else:
            body = self.stored.get(key, CONTENT + b"\n")
        visit.send(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (code, len(body), body))
        return True

    def _permits(self, seen: Seen, url: str) -> bool:
        told = claims(seen)
        wanted = {"sub": WEB, "aud": [url, url], "scope": "storage.read:/ storage.modify:/"}
        return told["iss"] in self.issuers and wanted.items() <= told.items() and told["exp"] - told["iat"] == 60


@pytest.fixture
def place(make_client: MakeClient, fault_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Nobody is advertised yet, and the tests have not begun."""
    begun: list[DirectorTests] = []

    def make(*, threads: int = THREADS, interval_s: float = 0.3) -> DirectorTests:
        begun.append(
            DirectorTests(
                servers=lambda: made.advertised,
                filtered_names=frozenset,
                on_result=lambda ad, result: made.results.append((ad.name, result)),
                client=make_client(user_agent="pelican-director/test", connections=threads),
                tokens=Tokens(Minter(), federation_issuer=FEDERATION, web_url=WEB),
                hostname="director.example.org",
                interval_s=interval_s,
                threads=threads,
            )
        )
        begun[-1].start()
        return begun[-1]

    monkeypatch.setattr(tests, "TICK_S", 0.05)
    made = Place(make, fault_server)
    monkeypatch.setitem(ON_REQUEST, "object_store", made.serve)
    yield made
    assert all(one.stop(Deadline.after(WAIT_S)) for one in begun)
    assert eventually(lambda: not any(thread.name.startswith("director-test") for thread in threading.enumerate()))


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short bounds, for servers of which none is met."""
    monkeypatch.setattr(cycle, "USUAL", Bounds(cycle_s=0.9, test_s=0.5, eviction_s=0.1, report_s=0.4))
    monkeypatch.setattr(cycle, "OF_SUSPECTS", Bounds(cycle_s=0.9, test_s=0.5, eviction_s=0.1, report_s=0.4))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """All bounds a tenth of what they are."""
    monkeypatch.setattr(cycle, "USUAL", Bounds(cycle_s=1.5, test_s=1.0, eviction_s=0.2, report_s=0.5))
    monkeypatch.setattr(cycle, "OF_SUSPECTS", Bounds(cycle_s=0.75, test_s=0.5, eviction_s=0.1, report_s=0.25))
    monkeypatch.setattr(tests, "SILENCE_S", 0.15)


def test_an_origin_that_checks_tokens_is_tested_and_told(place: Place) -> None:
    server = place.add(origin, "O")
    director_tests = place.make()
    assert eventually(lambda: len(place.reports("O")) >= 3)
    assert [seen.method for seen in server.requests[:3]] == ["PUT", "GET", "DELETE"]
    assert len({seen.path for seen in server.requests[:3]}) == 1
    assert server.requests[0].body == CONTENT
    assert server.requests[0].headers["user-agent"] == "pelican-director/test"
    assert {report["status"] for report in place.reports("O")} == {"ok"}
    assert director_tests.status_of(place.ad("O")) is HealthStatus.OK
    told = claims(place.web["O"].requests[0])
    assert (told["iss"], told["sub"]) == (FEDERATION, "director")
    assert (told["aud"], told["scope"]) == ([place.web["O"].url], "pelican.director_test_report")


def test_an_origin_that_knows_only_the_director_is_tested_in_its_name(place: Place) -> None:
    place.issuers = {WEB}
    server = place.add(origin, "O")
    place.make()
    assert place.result("O").passed
    assert [seen.method for seen in server.requests[:4]] == ["PUT", "PUT", "GET", "DELETE"]


def test_a_cache_is_read_and_drops_the_file_before(place: Place) -> None:
    server = place.add(cache, "C")
    place.make(interval_s=1.2)  # the names of files change by the second
    assert eventually(lambda: len(place.reports("C")) >= 2)
    first, evict, second = place.web["C"].requests[:3]
    assert evict.path == "/api/v1.0/cache/evictTestFile"
    assert json.loads(evict.body) == {"path": server.requests[0].path}
    assert {first.path, second.path} == {"/api/v1.0/cache/directorTest"}
    assert "authorization" not in server.requests[0].headers


WITHOUT_AN_ANSWER = {
    "hang_after_accept": Failure.TIMED_OUT,
    "hang_after_request": Failure.TIMED_OUT,
    "hang_in_body": Failure.TIMED_OUT,
    "drip": Failure.TIMED_OUT,
    "drip_body": Failure.TIMED_OUT,
    "drip_in_tls": Failure.TIMED_OUT,
    "endless_continue": Failure.TIMED_OUT,
    "close_without_answer": Failure.CUT_OFF,
    "plain_in_tls": Failure.TLS,
    "refuse": Failure.REFUSED,
}


@pytest.mark.parametrize("make", [origin, cache])
@pytest.mark.usefixtures("hasty")
def test_whatever_a_server_does_instead_of_answering_it_is_told_so_in_time(
    place: Place, make: Callable[..., ServerAd]
) -> None:
    """A server for each way, all at once, since each takes the time it is given."""
    for behaviour in WITHOUT_AN_ANSWER:
        place.add(make, behaviour).behave(behaviour)
    director_tests = place.make(threads=len(WITHOUT_AN_ANSWER))
    results = {behaviour: place.result(behaviour) for behaviour in WITHOUT_AN_ANSWER}
    assert {behaviour: result.failure for behaviour, result in results.items()} == WITHOUT_AN_ANSWER
    assert {(result.status, result.is_unanswered) for result in results.values()} == {(HealthStatus.ERROR, True)}
    for behaviour, result in results.items():
        assert eventually(lambda: place.reports(behaviour))  # noqa: B023, called at once
        assert place.reports(behaviour)[0]["message"] == result.message
        assert director_tests.status_of(place.ad(behaviour)) is HealthStatus.ERROR


@pytest.mark.usefixtures("hasty")
def test_a_server_that_takes_no_connection_has_not_answered(place: Place) -> None:
    with black_hole() as port:
        place.add(origin, "S", data_url=f"https://127.0.0.1:{port}", base_url=f"https://127.0.0.1:{port}")
        place.make()
        assert place.result("S").failure is Failure.TIMED_OUT


@pytest.mark.parametrize(
    ("behaviour", "options"),
    [
        ("status", {"code": 404}),
        ("status", {"code": 500}),
        ("ok", {"length": 66}),
        ("redirect_loop", {}),
        ("ok", {"length": 10_000_000}),
        ("raw", {"data": b"SSH-2.0-OpenSSH_9.9\r\n"}),
    ],
)
@pytest.mark.parametrize("make", [origin, cache])
def test_an_answer_however_wrong_is_an_answer(
    place: Place, make: Callable[..., ServerAd], behaviour: str, options: dict[str, Any]
) -> None:
    place.add(make, "S").behave(behaviour, **options)
    place.make()
    result = place.result("S")
    assert (result.status, result.is_unanswered) == (HealthStatus.ERROR, False)


@pytest.mark.usefixtures("hasty")
def test_a_report_that_cannot_be_delivered_costs_its_time_and_nothing_else(place: Place) -> None:
    """A server for each reason, all at once."""
    deaf = ("hang_after_request", "refuse", "reset", "drip", "endless_headers")
    for behaviour in deaf:
        place.add(origin, behaviour)
        place.web[behaviour].behave(behaviour)
    place.add(origin, "W")
    director_tests = place.make(threads=len(place.data))
    assert eventually(lambda: len(place.reports("W")) >= 3)
    assert eventually(lambda: min(Counter(name for name, _ in place.results)[name] for name in deaf) >= 2)
    assert {name: director_tests.status_of(place.ad(name)) for name in deaf} == dict.fromkeys(deaf, HealthStatus.OK)


@pytest.mark.usefixtures("quick")
def test_more_servers_that_hang_than_threads_keep_no_report_from_the_others(place: Place) -> None:
    """Each in another way; the count of reports is the measure, not how long they took."""
    ways = ("hang_after_accept", "hang_after_request", "drip", "endless_continue", "hang_in_body", "stall_in_tls")
    for number in range(3 * THREADS):
        place.add((origin, cache)[number % 2], f"HUNG{number}").behave(ways[number % len(ways)])
    healthy = [f"WELL{number}" for number in range(THREADS)]
    for number, name in enumerate(healthy):
        place.add((origin, cache)[number % 2], name)
    director_tests = place.make(interval_s=1.0)
    assert eventually(lambda: min(len(place.reports(name)) for name in healthy) >= 4)
    assert {report["status"] for name in healthy for report in place.reports(name)} == {"ok"}
    told = director_tests.statistics()
    assert told.running <= THREADS
    assert told.running_suspects <= THREADS // 2
    most = max(len(place.reports(name)) for name in healthy)
    assert min(len(place.reports(name)) for name in healthy) >= most - 2, "nobody falls behind"


@pytest.mark.usefixtures("quick")
def test_a_server_that_is_well_again_is_found_to_be_so(place: Place) -> None:
    for number in range(2 * THREADS):
        place.add(origin, f"S{number}").behave("hang_after_request")
    director_tests = place.make()
    assert eventually(lambda: len({name for name, _ in place.results}) == 2 * THREADS)
    place.data["S3"].behave("object_store")
    assert eventually(lambda: director_tests.status_of(place.ad("S3")) is HealthStatus.OK)
    assert eventually(lambda: place.reports("S3")[-1]["status"] == "ok")


def test_the_end_comes_at_once_whatever_hangs(place: Place) -> None:
    for number in range(2 * THREADS):
        place.add(origin, f"S{number}").behave("hang_after_request")
    director_tests = place.make()
    assert eventually(lambda: director_tests.statistics().running == THREADS)
    assert director_tests.stop(Deadline.after(cycle.USUAL.test_s / 2))
    assert place.results == []
