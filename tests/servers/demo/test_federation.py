"""The demo's servers among themselves, around a stand-in for the director."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import urllib3

from director_wsgi.demo.certificates import Authority, trusting
from director_wsgi.demo.exchange import text_response
from director_wsgi.demo.fed_token import FederationToken
from director_wsgi.demo.federation import Federation, NotReadyError
from director_wsgi.demo.monitored import MONITORING, REPORT_SCOPE
from director_wsgi.demo.samples import AWKWARD_NAME, ORIGINS, RANDOM_BYTES
from director_wsgi.demo.tokens import SigningKey
from director_wsgi.demo.wire import HttpsServer
from director_wsgi.limits.deadline import Deadline
from tests.servers.demo.stand_in import StandIn


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn()


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    with Federation(tmp_path) as federation:
        yield federation


@pytest.fixture
def director(federation: Federation, stand_in: StandIn) -> Iterator[HttpsServer]:
    with HttpsServer(stand_in, name="STAND-IN", tls=federation.authority.issue("stand-in")) as server:
        yield server


@pytest.fixture
def joined(federation: Federation, director: HttpsServer, stand_in: StandIn) -> Federation:
    stand_in.origin_url = federation.origins[0].url
    federation.join(director.url)
    federation.wait_until_ready(Deadline.after(20))
    return federation


@pytest.fixture
def client(federation: Federation) -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(ssl_context=trusting(federation.authority.ca_file), retries=False, timeout=10) as pool:
        yield pool


def test_every_origin_is_told_of_and_every_cache_with_all_namespaces(joined: Federation, stand_in: StandIn) -> None:
    latest = {ad["name"]: (endpoint, ad) for endpoint, ad, _ in stand_in.ads}
    assert {name: endpoint for name, (endpoint, _) in latest.items()} == {
        "ORIGIN-MADISON": "registerOrigin",
        "ORIGIN-SAN-DIEGO": "registerOrigin",
        "CACHE-CHICAGO": "registerCache",
        "CACHE-NEW-YORK": "registerCache",
        "CACHE-LOS-ANGELES": "registerCache",
    }
    for cache in joined.caches:
        served = {one["path"] for one in latest[cache.advertised.name][1]["namespaces"]}
        assert served == {"/public", "/scratch", "/protected"}
    assert set(stand_in.listing_bodies) == {b"null"}


def test_every_server_and_namespace_is_registered_with_the_key_that_signs(
    joined: Federation, stand_in: StandIn, client: urllib3.PoolManager
) -> None:
    for _, ad, claims in stand_in.ads:
        assert claims["iss"] == ad["data-url"]
    for origin in joined.origins:
        said = origin.advertised
        for prefix in (said.registry_prefix, *(export.prefix for export in said.exports)):
            url = f"{joined.registry_url}/api/v1.0/registry{prefix}/.well-known/issuer.jwks"
            assert said.key.key_id in [key["kid"] for key in client.request("GET", url).json()["keys"]]


def test_a_cache_brings_the_bytes_of_the_origin_and_then_its_own(
    joined: Federation, client: urllib3.PoolManager
) -> None:
    origin, cache = joined.origins[0], joined.caches[0]
    first = client.request("GET", f"{cache.url}/public/random.bin")
    second = client.request("GET", f"{cache.url}/public/random.bin")
    assert first.data == second.data == RANDOM_BYTES
    assert second.headers["Age"].isdecimal()
    assert origin.requests.of("GET", "/public/random.bin") == 1


def test_an_awkward_name_goes_through_director_and_origin(joined: Federation, client: urllib3.PoolManager) -> None:
    url = joined.caches[1].url + quote(f"/public/names/{AWKWARD_NAME}")
    assert client.request("GET", url).data == ORIGINS[0].objects[f"/public/names/{AWKWARD_NAME}"]
    assert client.request("HEAD", url).headers["Age"].isdecimal()
    listing = client.request("PROPFIND", url, headers={"Depth": "0"})
    assert (listing.status, listing.data.count(b"<D:response>")) == (207, 1)


def test_what_is_protected_is_for_those_with_a_token_in_a_cache_too(
    joined: Federation, stand_in: StandIn, client: urllib3.PoolManager
) -> None:
    origin, cache = joined.origins[1], joined.caches[0]
    stand_in.origin_url = origin.url
    for server in (origin, cache):
        url = f"{server.url}/protected/secret.txt"
        with_token = client.request("GET", f"{url}?authz={origin.token()}")
        assert with_token.data == ORIGINS[1].objects["/protected/secret.txt"]
        assert client.request("GET", url).status == 401
        assert client.request("GET", url, headers={"Authorization": "Bearer wrong"}).status == 403


def test_what_the_origin_does_not_have_is_404_at_the_cache(joined: Federation, client: urllib3.PoolManager) -> None:
    for method in ("GET", "HEAD", "PROPFIND"):
        assert client.request(method, f"{joined.caches[0].url}/public/none").status == 404


def test_an_object_written_at_the_origin_can_be_read(joined: Federation, client: urllib3.PoolManager) -> None:
    data = os.urandom(3 << 20)
    url = f"{joined.origins[0].url}/scratch/new/deep%20one"
    assert client.request("PUT", url, body=data).status == 201
    assert client.request("GET", url).data == data
    assert client.request("DELETE", url).status == 204
    assert client.request("HEAD", url).status == 404


def test_the_director_and_nobody_else_keeps_test_files_at_origins(
    joined: Federation, director: HttpsServer, stand_in: StandIn, client: urllib3.PoolManager
) -> None:
    origin, other = joined.origins
    url = f"{origin.url}{MONITORING}/directorTest/director-test-2026-01-01T00:00:00Z.txt"
    scope = "storage.read:/ storage.modify:/"

    def ask(method: str, token: str, body: bytes | None = None) -> urllib3.BaseHTTPResponse:
        return client.request(method, url, headers={"Authorization": f"Bearer {token}"}, body=body)

    token = stand_in.token(director.url, audience=origin.url, scope=scope)
    for refused in (
        origin.token(),
        stand_in.token(director.url, audience=other.url, scope=scope),
        stand_in.token(other.url, audience=origin.url, scope=scope),
        SigningKey().sign(issuer=director.url, subject="d", audience=[origin.url], scope=scope, lifetime_s=60.0),
    ):
        assert ask("PUT", refused, b"x").status == 403
    assert ask("GET", token).status == 404
    assert ask("PUT", token, b"test").status == 201
    assert ask("GET", token).data == b"test"
    assert ask("DELETE", token).status == 204
    assert list(origin.storage.members(f"{MONITORING}/directorTest")) == []


def test_what_the_director_reports_is_in_the_next_advertisement(
    joined: Federation, director: HttpsServer, stand_in: StandIn, client: urllib3.PoolManager
) -> None:
    for server, told, said in zip(
        joined.servers, ["ok", "error", "ok", "error", "ok"], ["ok", "critical"] * 2 + ["ok"], strict=True
    ):
        name = server.advertised.name
        assert {ad["status"] for _, ad, _ in stand_in.ads if ad["name"] == name} == {"warning"}
        token = stand_in.token(director.url, audience=server.url, scope=REPORT_SCOPE)
        reply = client.request(
            "POST",
            f"{server.url}/api/v1.0/{server.advertised.kind.value}/directorTest",
            headers={"Authorization": f"Bearer {token}"},
            body=json.dumps({"status": told, "message": "", "timestamp": 1}).encode(),
        )
        assert reply.status == 200
        number = server.advertiser.advertise_now()
        assert server.advertiser.wait_for(number, Deadline.after(20))
        assert [ad["status"] for _, ad, _ in stand_in.ads if ad["name"] == name][-1] == said


def test_every_cache_gets_a_federation_token_for_its_registered_name(joined: Federation, stand_in: StandIn) -> None:
    for cache in joined.caches:
        assert cache.federation_token is not None
        assert cache.federation_token.wait(Deadline.after(20))
    asked = sorted(stand_in.asked_for_tokens, key=lambda query: query["host"])
    assert asked == [
        {"host": name, "sType": "Cache"} for name in ("CACHE-CHICAGO", "CACHE-LOS-ANGELES", "CACHE-NEW-YORK")
    ]


def test_a_federation_token_that_was_refused_is_asked_for_again(
    federation: Federation, director: HttpsServer, stand_in: StandIn
) -> None:
    stand_in.has_tokens = False
    token = FederationToken(
        federation.caches[0].advertised, director_url=director.url, trust=trusting(federation.authority.ca_file)
    )
    token.start()
    try:
        assert not token.wait(Deadline.after(0.3))
        stand_in.has_tokens = True
        assert token.wait(Deadline.after(20))
        assert token.value
    finally:
        token.stop()
        assert token.join(Deadline.after(20))


def test_a_refused_advertisement_is_sent_again(
    federation: Federation, director: HttpsServer, stand_in: StandIn
) -> None:
    stand_in.refusals = [text_response(503, "later", ("Retry-After", "1")), text_response(403, "no")]
    federation.join(director.url)
    federation.wait_until_ready(Deadline.after(20))
    assert len({ad["name"] for _, ad, _ in stand_in.ads}) == 5


def test_who_is_not_known_in_time_is_named_with_the_reason(
    federation: Federation, director: HttpsServer, stand_in: StandIn
) -> None:
    stand_in.refusals = [text_response(403, "not approved")] * 1000
    federation.join(director.url)
    with pytest.raises(NotReadyError, match=r"ORIGIN-MADISON: it answered 403: not approved; ORIGIN-SAN-DIEGO: "):
        federation.wait_until_ready(Deadline.after(0.5))


def test_a_director_under_another_authority_is_believed_if_told(
    federation: Federation, stand_in: StandIn, tmp_path: Path
) -> None:
    (tmp_path / "foreign").mkdir()
    foreign = Authority(tmp_path / "foreign")
    with HttpsServer(stand_in, name="FOREIGN", tls=foreign.issue()) as director:
        federation.join(director.url, foreign.ca_file)
        federation.wait_until_ready(Deadline.after(20))
        federation.leave(goodbye=False)


def test_the_end_is_told_to_the_director_and_leaves_no_thread_and_no_port(tmp_path: Path, stand_in: StandIn) -> None:
    before = set(threading.enumerate())
    federation = Federation(tmp_path)
    with HttpsServer(stand_in, name="LAST", tls=federation.authority.issue("last")) as director:
        federation.join(director.url)
        federation.wait_until_ready(Deadline.after(20))
        federation.close()
    last = {ad["name"]: ad["status"] for _, ad, _ in stand_in.ads}
    assert set(last.values()) == {"shutting down"}
    assert set(threading.enumerate()) <= before
    for server in federation.servers:
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", urlsplit(server.url).port), timeout=10)
