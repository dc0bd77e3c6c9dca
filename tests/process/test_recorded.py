"""A real origin's and a real cache's conversation with this director, replayed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from director_wsgi.demo.certificates import Authority, TlsFiles, trusting
from director_wsgi.demo.director import DirectorProcess, listen
from director_wsgi.demo.registry import Registration, Registry
from director_wsgi.demo.wire import HttpsServer
from director_wsgi.limits.deadline import Deadline
from tests.process.recorded import GO, TEST_TEXT, RecordedCache, RecordedOrigin, Wire, bearer, wait_for

TEST_FILE = r"/pelican/monitoring/directorTest/director-test-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\.txt"
CACHE_TEST_FILE = (
    r"/pelican/monitoring/directorTest/localhost/\d{4}-\d\d-\d\d/director-test-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\.txt"
)


class Place:
    """A registry and a director, and whoever joins them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        authority = Authority(folder)
        self.tls: TlsFiles = authority.issue("server")
        self.registry = Registry()
        registry = HttpsServer(self.registry, name="REGISTRY", tls=self.tls)
        stack.callback(registry.close)
        listener = stack.enter_context(listen(0))
        self._stack = stack
        self.director = stack.enter_context(
            DirectorProcess(
                folder,
                listener=listener,
                registry_url=registry.url,
                tls=authority.issue("director"),
                extra={"PELICAN_DIRECTOR_ORIGINCACHEHEALTHTESTINTERVAL": "1s"},
            )
        )
        self.director.wait_until_ready(Deadline.after(20.0))

    def origin(self) -> RecordedOrigin:
        origin = RecordedOrigin(self.director.url, self.tls)
        self._stack.callback(origin.close)
        keys = (origin.key.jwk,)
        self.registry.register(Registration(prefix=f"/origins/{origin.host}", name="ORIGIN1", keys=keys))
        self.registry.register(Registration(prefix="/public", keys=keys))
        return origin

    def cache(self) -> RecordedCache:
        cache = RecordedCache(self.director.url, self.tls)
        self._stack.callback(cache.close)
        self.registry.register(Registration(prefix="/caches/CACHE1", name="CACHE1", keys=(cache.key.jwk,)))
        return cache

    def client(self) -> Wire:
        wire = Wire(self.director.url, trusting(self.tls.ca))
        self._stack.callback(wire.close)
        return wire


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path, stack)


def test_a_recorded_origin_lives_with_this_director(place: Place) -> None:
    origin = place.origin()
    [director] = origin.directors()
    assert director["advertise_url"] == place.director.url
    assert origin.advertise().status == 200

    put, get, delete = (origin.next_call() for _ in range(3))
    assert [call.method for call in (put, get, delete)] == ["PUT", "GET", "DELETE"]
    assert re.fullmatch(TEST_FILE, put.path)
    assert put.path == get.path == delete.path
    assert put.body == TEST_TEXT
    claims = origin.claims(bearer(put))
    assert claims["iss"] == place.director.url
    assert claims["aud"] == [origin.url, origin.url]
    assert claims["scope"] == "storage.read:/ storage.modify:/"

    report = wait_for(origin, "/api/v1.0/origin/directorTest")
    told = json.loads(report.body)
    assert told["status"] == "ok"
    assert re.fullmatch(r"Director test cycle succeeded at .+Z", told["message"])
    assert abs(told["timestamp"] - time.time()) < 60
    claims = origin.claims(bearer(report))
    assert claims["sub"] == "director"
    assert claims["aud"] == [origin.url]
    assert claims["scope"] == "pelican.director_test_report"
    assert claims["exp"] - claims["iat"] == 60


def test_an_origins_last_words_end_its_redirects(place: Place) -> None:
    origin = place.origin()
    client = place.client()
    assert origin.advertise().status == 200
    assert client.send("GET", "/public/x?directread", "pelican-client/7.20.0").status == 307
    assert origin.advertise("shutting down").status == 200
    assert client.send("GET", "/public/x?directread", "pelican-client/7.20.0").status == 404
    assert [item["path"] for item in client.send("GET", "/api/v2.0/director/listNamespaces", GO).json()] == [
        "/public",
        "/pelican/monitoring",
    ]
    assert origin.advertise("ok").status == 200
    assert client.send("GET", "/public/x?directread", "pelican-client/7.20.0").status == 307


def test_a_recorded_cache_lives_with_this_director(place: Place) -> None:
    origin, cache = place.origin(), place.cache()
    assert origin.advertise().status == 200
    cache.directors()
    assert {item["path"] for item in cache.namespaces()} == {"/public", "/pelican/monitoring"}
    claims = cache.claims(cache.fetch_federation_token())
    assert claims["sub"] == "CACHE1"
    assert claims["aud"] == ["https://wlcg.cern.ch/jwt/v1/any"]
    assert claims["scope"] == "storage.read:/"
    assert claims["exp"] - claims["iat"] == 900
    assert cache.advertise().status == 200

    test = cache.next_call()
    assert (test.method, test.headers.get("Authorization")) == ("GET", None)
    assert re.fullmatch(CACHE_TEST_FILE, test.path)
    redirect, depth, whole, head = cache.fetches[0]
    assert redirect.status == 307
    assert "require-token=false" in redirect.headers["X-Pelican-Namespace"]
    assert depth.status == 207
    assert b"<lp1:getcontentlength>67</lp1:getcontentlength>" in depth.body
    assert (whole.status, whole.body) == (200, TEST_TEXT + b"\n")
    assert (head.status, head.headers["Content-Length"]) == (200, "67")

    report = wait_for(cache, "/api/v1.0/cache/directorTest")
    assert json.loads(report.body)["status"] == "ok"
    assert cache.claims(bearer(report))["scope"] == "pelican.director_test_report"

    evict = wait_for(cache, "/api/v1.0/cache/evictTestFile")
    assert evict.method == "POST"
    assert json.loads(evict.body) == {"path": test.path}
    assert cache.next_call().path == "/api/v1.0/cache/directorTest"  # eviction comes before the report


def test_a_cache_that_calls_itself_critical_is_left_out_until_it_does_not(place: Place) -> None:
    origin, cache = place.origin(), place.cache()
    client = place.client()
    assert origin.advertise().status == 200

    def location() -> str:
        return str(client.send("GET", "/public/x", "pelican-client/7.20.0").headers["Location"])

    assert cache.advertise("critical").status == 200
    assert location().startswith(origin.url)
    assert cache.advertise("ok").status == 200
    assert location().startswith(cache.url)
