"""Director tests as origins and caches see them: the calls, in their order, and what they have to find in them.

Numbers are those of the worked examples; C-numbers those of the checklist of clients.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from werkzeug.test import Client, EnvironBuilder

from director_wsgi import __version__
from director_wsgi.app import Director, create_app
from director_wsgi.federation.models import ServerAd
from director_wsgi.health.status import HealthStatus
from director_wsgi.limits.breaker import State
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, Failure, OutboundError
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.outgoing import USER_AGENT
from tests.fakes import FakeClock
from tests.make import cache, origin
from tests.unit.health.world import eventually
from tests.unit.trust.forge import Key

WEB, FEDERATION = "https://director.example.org", "https://federation.example.org"
AT = 1769257019.0
TIME = "2026-01-24T12:16:59Z"
ORIGIN_FILE = f"https://o1.example.org:8443/pelican/monitoring/directorTest/director-test-{TIME}.txt"
CACHE_FILE = f"/pelican/monitoring/directorTest/director.example.org/2026-01-24/director-test-{TIME}.txt"
SENTENCE = b"This object was created by the Pelican director-test functionality"
EVICT = "https://c1.example.org:8444/api/v1.0/cache/evictTestFile"

O1 = origin(
    "ORIGIN_1",
    "/demo",
    data_url="https://o1.example.org:8443",
    base_url="https://o1.example.org:8443",
    web_url="https://o1.example.org:8447",
)
C1 = cache(
    "CACHE_CHI",
    "/demo",
    data_url="https://c1.example.org:8443",
    base_url="https://c1.example.org:8443",
    web_url="https://c1.example.org:8444",
)


class Federation:
    """A director with a key, and servers that behave as Pelican's do; everything sent to them is kept."""

    def __init__(self, config: Config, clock: FakeClock, wall: FakeClock) -> None:
        self.sent: list[tuple[str, str, Mapping[str, str], bytes]] = []
        self.refused: dict[tuple[str, str], int | Failure] = {}
        self._objects: dict[str, bytes] = {}
        app = create_app(config, clock=clock, wall=wall, make_client=lambda _connections: self)  # type: ignore[arg-type,return-value]
        self.director: Director = app.extensions["director"]
        self.client = Client(app)

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None, **_: Any
    ) -> Answer:
        self.sent.append((method, url, dict(headers or {}), body or b""))
        issuer = self.claims(headers).get("iss", "")
        told = self.refused.get((method, issuer), self.refused.get((method, "")))
        if isinstance(told, Failure):
            raise OutboundError(told, f"o1.example.org:8443: {told.value}")
        return Answer(status=told, headers={}, body=b"") if told else self._obey(method, url, body or b"")

    def _obey(self, method: str, url: str, body: bytes) -> Answer:
        if method == "PUT":
            self._objects[url] = body
        if method == "DELETE":
            del self._objects[url]
        if method == "GET":
            body = self._objects[url] if url in self._objects else self.fetch(urlsplit(url).path)
            return Answer(status=200, headers={}, body=body)
        return Answer(status=200, headers={}, body=b"")

    def fetch(self, path: str) -> bytes:
        """What a cache does to get a file that it does not have: ask the director where it is, and go there."""
        redirect = self.ask("GET", f"/api/v1.0/director/origin{path}")
        assert redirect.status_code == 307
        location = redirect.headers["Location"]
        assert location.startswith(f"{WEB}/api/v1.0/director/healthTest/")
        assert self.ask("HEAD", urlsplit(location).path).headers["Content-Length"] == "67"
        return self.ask("GET", urlsplit(location).path).data

    def ask(self, method: str, target: str) -> Any:
        environ = {"RAW_URI": target, "REMOTE_ADDR": "192.0.2.10"}
        agent = {"User-Agent": "pelican-cache/7.20.0"}
        return self.client.open(EnvironBuilder(path="/", method=method, headers=agent, environ_overrides=environ))

    def close(self) -> None:
        """As a client is."""

    def claims(self, headers: Mapping[str, str] | None) -> dict[str, Any]:
        """What a token says, checked with the key that this director publishes; nothing if there is none."""
        authorization = (headers or {}).get("Authorization")
        if authorization is None:
            return {}
        token = authorization.removeprefix("Bearer ")
        published = json.loads(self.ask("GET", "/.well-known/issuer.jwks").data)
        key = jwt.PyJWKSet.from_dict(published)[jwt.get_unverified_header(token)["kid"]]
        options = {"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
        claims: dict[str, Any] = jwt.decode(token, key.key, algorithms=["ES256"], options=options)  # type: ignore[arg-type]
        return claims

    def test(self, ad: ServerAd) -> list[tuple[str, str]]:
        """Let the tests that are due be made; what was sent, as method and URL."""
        before = len(self.sent)
        self.director.directory.record(ad, 600)
        self.director.tests.tick()
        assert eventually(lambda: not self.director.tests.statistics().running)
        return [(method, url) for method, url, _, _ in self.sent[before:]]

    def report(self) -> Any:
        """The body of what was sent last."""
        return json.loads(self.sent[-1][3])


@pytest.fixture
def make(clock: FakeClock, tmp_path: Any) -> Iterator[Callable[..., Federation]]:
    made: list[Federation] = []
    keys = tmp_path / "issuer-keys"
    keys.mkdir()
    pem = Key().private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (keys / "one.pem").write_bytes(pem)

    def federation(**settings: Any) -> Federation:
        usual: dict[str, Any] = {
            "registry_url": "https://registry.example.org",
            "web_url": WEB,
            "discovery_url": FEDERATION,
            "hostname": "director.example.org",
            "issuer_keys_directory": keys,
        }
        made.append(Federation(Config(**(usual | settings)), clock, FakeClock(AT)))
        return made[-1]

    yield federation
    for one in made:
        one.director.close()


@pytest.fixture
def federation(make: Callable[..., Federation]) -> Federation:
    return make()


def test_an_origins_test_is_put_get_delete_and_a_report(federation: Federation) -> None:
    assert federation.test(O1) == [
        ("PUT", ORIGIN_FILE),
        ("GET", ORIGIN_FILE),
        ("DELETE", ORIGIN_FILE),
        ("POST", "https://o1.example.org:8447/api/v1.0/origin/directorTest"),
    ]
    assert federation.sent[0][3] == SENTENCE
    assert len(SENTENCE) == 66


def test_each_step_at_an_origin_carries_a_token_of_the_federation_for_it(federation: Federation) -> None:
    assert len(federation.test(O1)) == 4
    for _, _, headers, _ in federation.sent[:3]:
        claims = federation.claims(headers)
        assert claims["iss"] == FEDERATION
        assert claims["sub"] == WEB
        assert claims["aud"] == [O1.data_url, O1.data_url]
        assert claims["scope"] == "storage.read:/ storage.modify:/"
        assert claims["exp"] - claims["iat"] == 60
        assert claims["wlcg.ver"] == "1.0"


def test_a_step_that_is_refused_is_tried_with_a_token_of_the_director(federation: Federation) -> None:
    federation.refused["PUT", FEDERATION] = 403
    assert [method for method, _ in federation.test(O1)] == ["PUT", "PUT", "GET", "DELETE", "POST"]
    assert federation.claims(federation.sent[1][2])["iss"] == WEB
    assert federation.report()["status"] == "ok"


def test_the_report_is_a_sentence_and_a_time_with_a_token_for_reports(federation: Federation) -> None:
    federation.test(O1)
    assert federation.report() == {
        "status": "ok",
        "message": f"Director test cycle succeeded at {TIME}",
        "timestamp": int(AT),
    }
    claims = federation.claims(federation.sent[-1][2])
    assert (claims["iss"], claims["sub"]) == (FEDERATION, "director")
    assert (claims["aud"], claims["scope"]) == ([O1.web_url], "pelican.director_test_report")
    assert claims["exp"] - claims["iat"] == 60


def test_an_origin_that_refuses_the_upload_reads_why_in_upstreams_words(federation: Federation) -> None:
    federation.refused["PUT", ""] = 500
    federation.test(O1)
    assert federation.report()["status"] == "error"
    assert federation.report()["message"] == (
        "Director file transfer test cycle failed for server: https://o1.example.org:8443 test file transfer failed "
        "during upload: error response 500 from test file upload: 500 Internal Server Error"
    )


def test_e42_e43_c60_c61_a_cache_fetches_the_file_through_this_director(federation: Federation) -> None:
    assert federation.test(C1) == [
        ("GET", f"https://c1.example.org:8443{CACHE_FILE}"),
        ("POST", "https://c1.example.org:8444/api/v1.0/cache/directorTest"),
    ]
    assert "Authorization" not in federation.sent[0][2]
    assert federation.fetch(CACHE_FILE) == SENTENCE + b"\n"
    assert federation.director.tests.status_of(C1) is HealthStatus.OK


def test_the_next_test_of_a_cache_evicts_the_last_good_file_before_its_report(
    federation: Federation, clock: FakeClock
) -> None:
    federation.test(C1)
    clock.advance(15)
    assert [url for method, url in federation.test(C1) if method == "POST"] == [
        "https://c1.example.org:8444/api/v1.0/cache/directorTest"
    ], "the clock on the wall stands still here: the file has the same name"
    federation.director.tests._trade.wall.advance(1)  # type: ignore[attr-defined]
    clock.advance(15)
    posts = [url for method, url in federation.test(C1) if method == "POST"]
    assert posts == [EVICT, "https://c1.example.org:8444/api/v1.0/cache/directorTest"]
    assert json.loads(federation.sent[-2][3]) == {"path": CACHE_FILE}


def test_results_feed_the_status_weight_and_the_breaker(federation: Federation, clock: FakeClock) -> None:
    federation.test(O1)
    assert federation.director.directory.status_weight(O1.data_url) == 1.0
    federation.director.engine.ask((O1,), "/demo/x", bearer=None, authority="public", deadline=Deadline.after(5.0))
    health = federation.director.engine.health_of(O1.data_url)
    assert health is not None
    federation.refused["PUT", ""] = Failure.TIMED_OUT
    for _ in range(2):
        clock.advance(15)
        federation.test(O1)
    weight = federation.director.directory.status_weight(O1.data_url)
    assert weight is not None
    assert weight < 1.0
    assert health.breaker.snapshot().failures == 2
    for _ in range(8):
        health.breaker.hint_sick("seen elsewhere")
    assert health.breaker.snapshot().state is State.OPEN
    assert health.breaker.snapshot().next_probe_in_s > 0
    del federation.refused["PUT", ""]
    clock.advance(15)
    federation.test(O1)
    assert health.breaker.snapshot().next_probe_in_s == 0, "a test that passed lets a probe through at once"


def test_an_origin_without_a_place_for_tests_is_not_shunned(federation: Federation, clock: FakeClock) -> None:
    """Storage type posixv2: 404 to each upload."""
    federation.refused["PUT", ""] = 404
    federation.director.engine.ask((O1,), "/demo/x", bearer=None, authority="public", deadline=Deadline.after(5.0))
    for _ in range(10):
        federation.test(O1)
        clock.advance(15)
    health = federation.director.engine.health_of(O1.data_url)
    assert health is not None
    assert health.breaker.snapshot().failures == 0
    assert federation.director.tests.status_of(O1) is HealthStatus.ERROR


def test_servers_are_told_who_tests_them() -> None:
    """The slash is missing upstream; clients take either."""
    assert f"pelican-director/{__version__}" == USER_AGENT
