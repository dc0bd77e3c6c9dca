"""The demo's servers and a real director, as they live with each other."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jwt
import pytest
import urllib3

from director_wsgi.demo.certificates import trusting
from director_wsgi.demo.director import DirectorProcess, listen
from director_wsgi.demo.federation import Federation
from director_wsgi.demo.monitored import MONITORING
from director_wsgi.demo.running import RunningOrigin
from director_wsgi.limits.deadline import Deadline
from tests.process.child import wait_until

ENVIRONMENT = {
    "PELICAN_DIRECTOR_ORIGINCACHEHEALTHTESTINTERVAL": "1s",
    "PELICAN_DIRECTOR_REGISTRYQUERYINTERVAL": "1s",
}
WELL = ("OK", "ok")


class Place:
    """A federation, its director, and a client."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.federation = stack.enter_context(Federation(folder, interval_s=1.0))
        authority = self.federation.authority
        listener = stack.enter_context(listen(0))
        self.director = stack.enter_context(
            DirectorProcess(
                folder,
                listener=listener,
                registry_url=self.federation.registry_url,
                tls=authority.issue("director"),
                extra=ENVIRONMENT,
            )
        )
        listener.close()
        stack.callback(self.federation.leave)
        self.client = stack.enter_context(
            urllib3.PoolManager(ssl_context=trusting(authority.ca_file), retries=False, timeout=10)
        )
        self.federation.join(self.director.url)
        self.director.wait_until_ready(Deadline.after(20.0))
        self.federation.wait_until_ready(Deadline.after(20.0))

    def shown(self) -> dict[str, dict[str, Any]]:
        """Every server as the director shows it, by its name."""
        reply = self.client.request("GET", f"{self.director.url}/api/v1.0/director_ui/servers")
        return {server["name"]: server for server in reply.json()}

    def is_shown(self, name: str, *statuses: str) -> bool:
        """Whether the director says this of a server's tests, and the server that of itself."""
        one = self.shown()[name]
        return (one["healthStatus"], one["serverStatus"]) == statuses

    def origin_next_to(self, origin: RunningOrigin) -> str:
        """Where a client in the same town is sent for what both origins have."""
        assert origin.advertised.place
        headers = {"X-Pelican-Coordinate": "lat={}, long={}".format(*origin.advertised.place)}
        url = f"{self.director.url}/public/hello.txt?directread"
        reply = self.client.request("GET", url, headers=headers, redirect=False)
        assert reply.status == 307, reply.data
        return reply.headers["Location"].partition("/public/")[0]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One for all tests: each leaves it as it was."""
    with ExitStack() as stack:
        yield Place(tmp_path_factory.mktemp("demo"), stack)


def test_every_server_passes_its_tests_is_told_and_says_so(place: Place) -> None:
    servers = place.federation.servers
    names = {server.advertised.name for server in servers}
    assert place.shown().keys() == names
    wait_until(lambda: all(place.is_shown(name, *WELL) for name in names), "every server to be well")
    wait_until(lambda: all(server.reports.taken >= 3 for server in servers), "three reports to each")
    assert {server.reports.status for server in servers} == {"ok"}


def test_test_files_do_not_pile_up(place: Place) -> None:
    federation = place.federation
    evict = "/api/v1.0/cache/evictTestFile"
    wait_until(lambda: all(origin.requests.total("PUT") >= 4 for origin in federation.origins), "files at origins")
    wait_until(lambda: all(cache.requests.of("POST", evict) >= 3 for cache in federation.caches), "files at caches")
    for origin in federation.origins:
        assert len(list(origin.storage.members(f"{MONITORING}/directorTest"))) <= 1  # of the test under way
    for cache in federation.caches:
        assert len(cache.copies) <= 2  # of the last one, and of the test under way


def test_a_server_that_fails_its_test_calls_itself_critical_until_it_passes(place: Place) -> None:
    name = place.federation.origins[0].advertised.name
    wait_until(lambda: place.is_shown(name, *WELL), "the origin to be well")
    collection = place.folder / name / "objects" / "pelican"
    aside = collection.rename(place.folder / "aside")
    collection.touch()  # an object in its place: there can be nothing below it
    try:
        wait_until(lambda: place.is_shown(name, "Error", "critical"), "the origin to be critical")
    finally:
        collection.unlink()
        aside.rename(collection)
    wait_until(lambda: place.is_shown(name, *WELL), "the origin to be well again")


def test_an_origin_in_downtime_gets_nobody_until_it_is_back(place: Place) -> None:
    registry, (down, other) = place.federation.registry, place.federation.origins
    name, prefix = down.advertised.name, down.advertised.registry_prefix
    assert place.origin_next_to(down) == down.url
    registry.take_down(prefix)
    try:
        wait_until(lambda: place.origin_next_to(down) == other.url, "the downtime to count")
        assert place.shown()[name]["filteredType"] == "Temporarily disabled via the admin website"
        tests, others = down.reports.taken, other.reports.taken
        wait_until(lambda: other.reports.taken >= others + 2, "tests of the other one")
        assert down.reports.taken <= tests + 1, "one may have been under way"
        assert place.origin_next_to(down) == other.url
    finally:
        registry.bring_back(prefix)
    wait_until(lambda: place.origin_next_to(down) == down.url, "the end of the downtime")
    wait_until(lambda: down.reports.taken > tests + 1, "it to be tested again")


def test_every_cache_has_a_token_of_the_federation(place: Place) -> None:
    for cache in place.federation.caches:
        token = cache.federation_token
        assert token is not None
        assert token.wait(Deadline.after(20.0))
        claims = jwt.decode(str(token.value), options={"verify_signature": False})
        assert claims["iss"] == place.director.url
        assert claims["sub"] == cache.advertised.name
        assert claims["scope"] == "storage.read:/"


@pytest.mark.parametrize("authorization", [None, "Bearer x.y.z", "own"])
def test_nobody_but_the_director_writes_test_files_or_reports(place: Place, authorization: str | None) -> None:
    origin, cache = place.federation.origins[0], place.federation.caches[0]
    headers = {}
    if authorization is not None:
        headers["Authorization"] = f"Bearer {origin.token()}" if authorization == "own" else authorization
    file = f"{MONITORING}/directorTest/director-test-2026-01-01T00:00:00Z.txt"
    for method in ("PUT", "GET", "HEAD", "DELETE"):
        assert place.client.request(method, origin.url + file, headers=headers).status == 403
    report = json.dumps({"status": "error", "message": "", "timestamp": 0}).encode()
    path = json.dumps({"path": file}).encode()
    for url, body in (
        (f"{origin.url}/api/v1.0/origin/directorTest", report),
        (f"{cache.url}/api/v1.0/cache/directorTest", report),
        (f"{cache.url}/api/v1.0/cache/evictTestFile", path),
    ):
        assert place.client.request("POST", url, headers=headers, body=body).status == 403
