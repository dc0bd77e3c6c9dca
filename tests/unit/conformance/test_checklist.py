"""What real clients were seen to need (C-01 to C-54), where no worked example says it already."""

import ipaddress
import json
from collections.abc import Callable

import pytest

from director_wsgi.federation.models import TokenGeneration
from director_wsgi.runtime.config import GeoIPOverride
from tests.make import at, cache, namespace, origin
from tests.unit.conformance.conftest import JID, World

C1 = "https://c1.example.org:8443"
O1 = "https://o1.example.org:8443"


def test_c01_to_c04_discovery_document(make_world: Callable[..., World]) -> None:
    world = make_world(web_url="https://d.example.org:9999", director_urls=("https://d2.example.org",))
    document = json.loads(world.call("GET", "/.well-known/pelican-configuration").data)

    assert document["director_endpoint"] == "https://d.example.org:9999"
    for name in ("discovery_endpoint", "namespace_registration_endpoint", "jwks_uri"):
        assert document[name]
    assert document["director_advertise_endpoints"] == ["https://d2.example.org"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PROPFIND", "COPY"])
def test_c07_c35_a_refusal_is_json_without_link_or_location(world: World, method: str) -> None:
    response = world.call(method, "/nope")

    assert response.status_code == 404
    assert response.headers["Content-Type"].startswith("application/json")
    assert world.message(response)
    assert "Link" not in response.headers
    assert "Location" not in response.headers
    assert "page not found" not in response.text.lower()  # C-36


def test_c09_head_of_an_error_has_no_body(world: World) -> None:
    response = world.call("HEAD", "/nope")
    assert (response.status_code, response.data) == (404, b"")


def test_c18_root_namespace_is_told_as_upstream_tells_it(make_world: Callable[..., World]) -> None:
    world = make_world(ads={"O": origin("O", "/")})
    response = world.call("GET", "/a/b?directread")
    assert response.headers["X-Pelican-Namespace"].startswith("namespace=, require-token=false")
    assert response.headers["Link"].endswith("depth=0")


def test_c19_collections_url_is_verbatim_and_needs_listings_on_both_sides(make_world: Callable[..., World]) -> None:
    world = make_world(
        ads={"O": origin("O", "/x", data_url="http://o.example.org:80/base/", base_url="https://o.example.org:80/base")}
    )
    response = world.call("GET", "/x/f?directread")
    assert "collections-url=http://o.example.org:80/base/" in response.headers["X-Pelican-Namespace"]
    assert response.headers["Location"] == "https://o.example.org:80/base/x/f?directread="


def test_c21_half_a_token_generation_is_none(make_world: Callable[..., World]) -> None:
    for generation in (
        TokenGeneration(),
        TokenGeneration(strategy="OAuth2"),
        TokenGeneration(max_scope_depth=3, issuer="https://i.example.org"),
        TokenGeneration(strategy="Carrier pigeon", max_scope_depth=3),
        TokenGeneration(strategy="OAuth2, max-scope-depth=99", max_scope_depth=3),
    ):
        world = make_world(ads={"O": origin("O", namespace("/x", token_generations=(generation,)))})
        assert "X-Pelican-Token-Generation" not in world.call("GET", "/x/f?directread").headers


@pytest.mark.parametrize(
    ("told", "echoed"),
    [
        (JID, JID),
        (JID.upper(), JID),
        (JID.replace("-", ""), JID),
        ("nonsense", None),
        ("", None),
    ],
)
def test_c22_a_job_id_is_echoed_or_made(world: World, told: str, echoed: str | None) -> None:
    response = world.call("GET", "/demo/f", X_Pelican_JobId=told)
    got = response.headers["X-Pelican-JobId"]
    assert len(got) == 36
    assert echoed is None or got == echoed


@pytest.mark.parametrize(
    ("query", "headers", "location"),
    [
        ("?authz=T", {}, "?authz=T"),
        ("?authz=Bearer%20T", {}, "?authz=T"),
        ("", {"Authorization": "Bearer T"}, "?authz=T"),
        ("?authz=Q", {"Authorization": "Bearer H"}, "?authz=Q"),
        ("?authz=", {"Authorization": "Bearer H"}, "?authz="),
        ("", {"Authorization": "Basic dTpw"}, "?authz=Basic+dTpw"),
        ("?pelican.timeout=3s", {"X-Pelican-Timeout": "5s"}, "?pelican.timeout=3s"),
        ("", {"X-Pelican-Timeout": "5s"}, "?pelican.timeout=5s"),
        ("?b=2&a=1&b=1&e", {}, "?a=1&b=2&b=1&e="),
        ("?x=%C3%A9%26", {}, "?x=%C3%A9%26"),
    ],
)
def test_c23_to_c25_the_query_and_the_token_reach_the_server(
    world: World, query: str, headers: dict[str, str], location: str
) -> None:
    response = world.call("GET", "/demo/f" + query, **headers)
    assert response.headers["Location"] == f"{C1}/demo/f{location}"
    assert "?" not in response.headers["Link"]  # C-16


@pytest.mark.parametrize(
    "target",
    [
        "//demo//f",
        "/demo/./f",
        "/demo/x/../f",
        "/demo/f/",
        "/x/../demo/f",
        "/api/v1.0/director/object//demo/f",
        "/api/v1.0//director/./object/demo/f/",
        "/%64emo/f",
    ],
)
def test_c28_paths_are_cleaned_in_the_same_step(world: World, target: str) -> None:
    response = world.call("GET", target)
    assert (response.status_code, response.headers.get("Location")) == (307, f"{C1}/demo/f")


@pytest.mark.parametrize(
    ("target", "quoted"),
    [
        ("/demo/a%20b", "/demo/a%20b"),
        ("/demo/100%25", "/demo/100%25"),
        ("/demo/a%23b", "/demo/a%23b"),
        ("/demo/a%3Fb", "/demo/a%3Fb"),
        ("/demo/%C3%A4%E6%97%A5", "/demo/%C3%A4%E6%97%A5"),
        ("/demo/a%2Fb", "/demo/a/b"),
        ("/demo/a;b,c", "/demo/a;b,c"),
        ("/demo/a%2520b", "/demo/a%2520b"),
        ("/demo/a#b", "/demo/a%23b"),
    ],
)
def test_c29_names_are_decoded_once_and_encoded_once(world: World, target: str, quoted: str) -> None:
    response = world.call("GET", target)
    assert response.headers["Location"] == C1 + quoted
    first = response.headers["Link"].split(">")[0].removeprefix("<")
    assert first == C1 + quoted.replace(",", "%2C").replace(";", "%3B")


@pytest.mark.parametrize("target", ["/demo/%", "/demo/%zz", "/demo/%ff", "/demo/a%00b", "/demo/%C3"])
def test_bad_paths_are_400_and_json(world: World, target: str) -> None:
    response = world.call("GET", target)
    assert response.status_code == 400
    assert world.message(response)


@pytest.mark.parametrize("target", ["/demo", "/demo/", "/api/v1.0/director/object/demo"])
def test_c31_a_collection_is_redirected_like_an_object(world: World, target: str) -> None:
    response = world.call("GET", target)
    assert (response.status_code, response.headers["Location"]) == (307, f"{C1}/demo")


def test_c33_a_propfind_with_a_body_goes_to_the_origin(world: World) -> None:
    response = world.call("PROPFIND", "/demo/", body=b"<?xml version='1.0'?><propfind/>", Depth="1")
    assert (response.status_code, response.headers["Location"]) == (307, f"{O1}/demo")


def test_c34_the_origin_of_an_object_that_is_not_there_yet(world: World) -> None:
    response = world.call("GET", "/api/v1.0/director/origin/demo/not-yet")
    assert (response.status_code, response.headers["Location"]) == (307, f"{O1}/demo/not-yet")


def test_c39_c43_c44_odd_headers_have_no_effect(world: World) -> None:
    response = world.call(
        "GET",
        "/demo/f",
        X_Pelican_Coordinate="somewhere",
        Range="bytes=0-0",
        Want_Digest="crc32c",
        Accept="application/metalink4+xml",
    )
    assert response.status_code == 307
    assert "X-Pelican-Namespace" in response.headers["Access-Control-Expose-Headers"]


def test_c40_seven_kilobytes_of_token(world: World) -> None:
    token = "x" * 7000
    assert world.call("GET", "/demo/f", Authorization=f"Bearer {token}").headers["Location"].endswith(f"authz={token}")
    assert world.call("GET", f"/demo/f?authz={token}").headers["Location"].endswith(f"authz={token}")


def test_default_response_origin_sends_reads_to_origins(make_world: Callable[..., World]) -> None:
    world = make_world(default_response="origin")
    assert world.call("GET", "/demo/f").headers["Location"] == f"{O1}/demo/f"
    assert world.call("GET", "/api/v1.0/director/object/demo/f").headers["Location"] == f"{C1}/demo/f"


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        ({"X-Forwarded-Host": "origins.example.org"}, O1),
        ({"Host": "origins.example.org"}, O1),
        ({"X-Forwarded-Host": "caches.example.org", "Host": "origins.example.org"}, C1),
        ({"Host": "other.example.org"}, C1),
    ],
)
def test_hosts_steer(make_world: Callable[..., World], headers: dict[str, str], base: str) -> None:
    world = make_world(
        origin_response_hostnames=("origins.example.org",), cache_response_hostnames=("caches.example.org",)
    )
    assert world.call("GET", "/demo/f", **headers).headers["Location"] == f"{base}/demo/f"


def test_overrides_place_clients_by_their_address(make_world: Callable[..., World]) -> None:
    world = make_world(
        geoip_overrides=(GeoIPOverride(network=ipaddress.ip_network("192.0.2.0/24"), latitude=34.0, longitude=-118.0),)
    )
    response = world.call("GET", "/demo/f", plain=True)
    assert response.headers["Location"] == "https://c3.example.org:8443/demo/f"


def test_the_brokers_url_of_the_first_server_that_has_one(make_world: Callable[..., World]) -> None:
    world = make_world(
        ads={
            "O": origin("O", "/x"),
            "C": cache("C", "/x", coordinate=at(41.88, -87.63)),
            "D": cache("D", "/x", coordinate=at(34.05, -118.24), broker_url="https://broker.example.org/reverse?x=1"),
        }
    )
    assert world.call("GET", "/x/f").headers["X-Pelican-Broker"] == "https://broker.example.org/reverse?x=1"


@pytest.mark.parametrize(
    "target",
    ["/api/v1.0/health", "/api/v2.0/director/listNamespaces", "/.well-known/pelican-configuration", "/demo/a%0Ab"],
)
def test_c32_options_is_answered_alike_on_every_route(world: World, target: str) -> None:
    response = world.call("OPTIONS", target)
    assert (response.status_code, response.data) == (200, b"")
    assert response.headers["Allow"] == "HEAD,GET,PUT,PROPFIND,COPY,OPTIONS,POST"
    assert response.headers["Access-Control-Allow-Origin"] == "*"


def test_a_name_with_a_newline_is_a_name(world: World) -> None:
    assert world.call("GET", "/demo/a%0Ab").headers["Location"] == f"{C1}/demo/a%0Ab"


def test_of_a_repeated_timeout_the_first_counts(world: World) -> None:
    response = world.call("GET", "/demo/f", X_Pelican_Timeout="1s,2s")
    assert response.headers["Location"] == f"{C1}/demo/f?pelican.timeout=1s"


def test_every_answer_to_an_object_request_is_readable_from_a_page(world: World) -> None:
    for method, target in (("GET", "/demo/%zz"), ("LOCK", "/demo/f"), ("GET", "/nope"), ("POST", "/demo/f")):
        assert world.call(method, target).headers["Access-Control-Allow-Origin"] == "*"


def test_health_and_version(world: World) -> None:
    assert "Web Engine Running" in json.loads(world.call("GET", "/api/v1.0/health").data)["message"]
    assert json.loads(world.call("GET", "/api/v1.0/version").data)["version"]
    assert json.loads(world.call("GET", "/api/v1.0/servers").data) == {
        "servers": ["director"],
        "standaloneOrigin": False,
    }


def test_message_bodies_are_harmless_inside_html(world: World) -> None:
    response = world.call("GET", "/nope/%3Cscript%3E&")
    assert b"<script>" not in response.data
    assert b"\\u003cscript\\u003e\\u0026" in response.data
