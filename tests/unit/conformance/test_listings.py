"""Who is listed where, field by field: E47, E49, E51, C-51 to C-54, and the listings of Pelican's web interface.

The advertisements come as origins and caches send them; what is listed is read as strictly as a Go program reads it.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from director_wsgi.federation.ads import parse_ad
from director_wsgi.federation.models import ServerAd, ServerKind
from tests.make import at, origin
from tests.unit.conformance import golike
from tests.unit.conformance.conftest import WEB, World
from tests.unit.trust.forge import cache_body, origin_body
from tests.unit.trust.rings import add, signed

MakeWorld = Callable[..., World]

UI = "/api/v1.0/director_ui"
TARGETS = "/api/v1.0/director/discoverServers"
HEALTH = "/api/v1.0/metrics/health"
DISCOVER = "pelican.director_service_discovery"
MONITORING = {
    "Caps": {
        "PublicRead": True,
        "Read": True,
        "Write": False,
        "Listing": False,
        "FallBackRead": False,
        "Copies": False,
    },
    "path": "/pelican/monitoring",
    "token-generation": None,
    "token-issuer": None,
    "from-topology": False,
}


U = {
    "Scheme": "https",
    "Opaque": "",
    "User": None,
    "Host": "o1.example.org:8447",
    "Path": "",
    "RawPath": "",
    "OmitHost": False,
    "ForceQuery": False,
    "RawQuery": "",
    "Fragment": "",
    "RawFragment": "",
}
DEMO = {
    "Caps": dict.fromkeys(golike.CAPABILITIES, True),
    "path": "/demo",
    "token-generation": [{"strategy": "OAuth2", "vault-server": "", "max-scope-depth": 3, "issuer": U}],
    "token-issuer": [{"base-paths": ["/demo"], "restricted-paths": None, "issuer": U}],
    "from-topology": False,
}
E45 = origin_body(
    serverId="a1b2c3d",
    coordinate={"Lat": 40.81, "Long": -96.7, "AccuracyRadius": 0, "Source": "declared", "FromTTLCache": False},
    capabilities=dict.fromkeys(golike.CAPABILITIES, True),
    namespaces=[DEMO],
    storageType="posix",
    directorTest=False,
    downtimes=[],
    requiredFeatures=[],
)


def advertised(body: bytes, kind: ServerKind) -> ServerAd:
    ad = parse_ad(body, kind).ad
    return replace(ad, version=ad.version or "7.20.0")


@pytest.fixture
def ads() -> dict[str, ServerAd]:
    """An origin and a cache as they advertise themselves; the cache lists one namespace twice, as real ones do."""
    return {
        "O": advertised(E45, ServerKind.ORIGIN),
        "C": advertised(cache_body(namespaces=[DEMO, DEMO, MONITORING]), ServerKind.CACHE),
    }


@pytest.fixture
def world(make_world: MakeWorld, ads: dict[str, ServerAd]) -> World:
    return make_world(ads=ads)


def get(world: World, target: str, **headers: str) -> Any:
    response = world.call("GET", target, plain=True, **headers)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    return json.loads(response.data)


def refused(response: TestResponse) -> tuple[int, dict[str, str]]:
    return response.status_code, json.loads(response.data)


# --- namespaces, prefixes, directors ----------------------------------------------------------------------------------


class TestNamespaces:
    def test_e47_c51_c53_what_an_origin_sent_is_given_back_with_issuers_as_objects(self, world: World) -> None:
        listed = get(world, "/api/v2.0/director/listNamespaces")
        assert listed == [DEMO, MONITORING]

    def test_c52_the_keys_of_capabilities(self, world: World) -> None:
        for namespace in get(world, "/api/v2.0/director/listNamespaces"):
            golike.decode(namespace["Caps"], golike.CAPABILITIES)

    def test_of_two_origins_with_one_namespace_each_is_listed(
        self, make_world: MakeWorld, ads: dict[str, ServerAd]
    ) -> None:
        other = replace(ads["O"], name="ORIGIN_2", data_url="https://o2.example.org", base_url="https://o2.example.org")
        listed = get(make_world(ads={**ads, "P": other}), "/api/v2.0/director/listNamespaces")
        assert [one["path"] for one in listed] == ["/demo", "/demo", "/pelican/monitoring"]

    def test_an_origin_in_downtime_is_still_listed(self, make_world: MakeWorld, ads: dict[str, ServerAd]) -> None:
        world = make_world(ads=ads, filtered_servers=(ads["O"].name,))
        assert world.call("GET", "/demo/f").status_code == 404
        assert [one["path"] for one in get(world, "/api/v2.0/director/listNamespaces")][:1] == ["/demo"]
        assert get(world, f"{UI}/namespaces")[0]["origins"] == [ads["O"].name]

    @pytest.mark.parametrize("path", ["/api/v2.0/director/listNamespaces", f"{UI}/namespaces", f"{UI}/servers"])
    def test_a_body_on_the_get_is_no_matter(self, world: World, path: str) -> None:
        answer = world.call("GET", path, body=b"null", Content_Type="application/json", User_Agent="Go-http-client/1.1")
        assert answer.status_code == 200
        assert isinstance(json.loads(answer.data), list)

    def test_a_head_is_answered_without_a_body(self, world: World) -> None:
        for path in ("/api/v2.0/director/listNamespaces", f"{UI}/namespaces", f"{UI}/servers"):
            answer = world.call("HEAD", path)
            assert (answer.status_code, answer.data) == (200, b"")


class TestPrefixes:
    def test_e49(self, world: World) -> None:
        route = "/api/v1.0/director/namespaces/prefix"
        assert get(world, f"{route}/demo/a/b") == {"prefix": "/demo"}
        status, body = refused(world.call("GET", f"{route}/nope"))
        assert status == 404
        assert body["msg"].startswith("No server is currently advertising the path")
        for empty in ("", "/"):
            status, body = refused(world.call("GET", route + empty))
            assert (status, body["msg"]) == (400, "Bad request. Path is empty or '/' ")

    def test_the_root_has_no_prefix(self, make_world: MakeWorld) -> None:
        world = make_world(ads={"O": origin("O", "/")})
        status, body = refused(world.call("GET", "/api/v1.0/director/namespaces/prefix/x"))
        assert (status, body["msg"]) == (404, "Namespace prefix not found for /x")

    def test_what_only_a_cache_has_is_advertised_by_nobody(
        self, make_world: MakeWorld, ads: dict[str, ServerAd]
    ) -> None:
        world = make_world(ads={"C": ads["C"]})
        status, _body = refused(world.call("GET", "/api/v1.0/director/namespaces/prefix/demo/x"))
        assert status == 404


def test_c54_directors(world: World) -> None:
    listed = get(world, "/api/v1.0/director/directors")
    golike.decode(listed, [golike.DIRECTOR])
    assert [one["advertise_url"] for one in listed] == [WEB]


def test_what_this_process_is(world: World) -> None:
    golike.decode(
        get(world, "/api/v1.0/version"),
        dict.fromkeys(("version", "buildDate", "buildCommit", "builtBy"), golike.TEXT),
    )
    assert get(world, "/api/v1.0/servers") == {"servers": ["director"], "standaloneOrigin": False}


# --- the web interface ------------------------------------------------------------------------------------------------


class TestServers:
    def test_every_field_is_of_the_type_that_go_reads(self, world: World) -> None:
        golike.decode(get(world, f"{UI}/servers"), [{**golike.SERVER, "namespacePrefixes": [golike.TEXT]}])
        for name in ("ORIGIN_1", "CACHE_CHI"):
            one = get(world, f"{UI}/servers/{name}")
            golike.decode(one, {**golike.SERVER, "namespaces": [golike.NAMESPACE]})
            golike.decode(get(world, f"{UI}/servers/{name}/namespaces"), [golike.NAMESPACE])

    def test_an_origin(self, world: World) -> None:
        (listed,) = get(world, f"{UI}/servers?server_type=origin")
        assert listed == {
            "name": "ORIGIN_1",
            "serverId": "a1b2c3d",
            "registryPrefix": "/origins/o1.example.org:8447",
            "version": "7.20.0",
            "type": "Origin",
            "storageType": "posix",
            "disableDirectorTest": False,
            "authUrl": "",
            "brokerUrl": "",
            "url": "https://o1.example.org:8443",
            "webUrl": "https://o1.example.org:8447",
            "latitude": 40.81,
            "longitude": -96.7,
            "coordinate": {
                "Lat": 40.81,
                "Long": -96.7,
                "AccuracyRadius": 0,
                "Source": "declared",
                "FromTTLCache": False,
            },
            "capabilities": dict.fromkeys(golike.CAPABILITIES, True),
            "filtered": False,
            "filteredType": "",
            "downtimes": [],
            "fromTopology": False,
            "healthStatus": "Unknown",  # nothing tests here: the director was not started
            "serverStatus": "ok",
            "ioLoad": -1,
            "statusWeight": 1.0,
            "statusWeightLastUpdate": int(world.wall()),
            "namespacePrefixes": ["/demo"],
        }

    def test_a_namespace_that_a_cache_sent_twice_is_one(self, world: World) -> None:
        (listed,) = get(world, f"{UI}/servers?server_type=cache")
        assert listed["namespacePrefixes"] == ["/demo", "/pelican/monitoring"]

    def test_one_that_is_never_chosen_says_why(self, make_world: MakeWorld, ads: dict[str, ServerAd]) -> None:
        world = make_world(ads=ads, filtered_servers=("ORIGIN_1",))
        one = get(world, f"{UI}/servers/ORIGIN_1")
        assert (one["filtered"], one["filteredType"]) == (
            True,
            "Permanently Disabled via the director configuration",
        )

    def test_one_that_wants_no_tests_says_so(self, make_world: MakeWorld, ads: dict[str, ServerAd]) -> None:
        world = make_world(ads={"O": replace(ads["O"], director_test_disabled=True)})
        one = get(world, f"{UI}/servers/ORIGIN_1")
        assert (one["disableDirectorTest"], one["healthStatus"]) == (True, "Health Test Disabled")

    def test_what_a_server_said_of_itself_is_averaged_and_dated(self, world: World) -> None:
        world.clock.advance(60)
        world.wall.advance(60)
        world.director.directory.record(replace(world.ads["O"], status="critical"), 600)
        world.clock.advance(5)
        world.wall.advance(5)
        one = get(world, f"{UI}/servers/ORIGIN_1")
        assert 0.01 < one["statusWeight"] < 1
        assert one["statusWeightLastUpdate"] == int(world.wall()) - 5

    def test_nobody(self, world: World) -> None:
        for path in ("/servers/NOBODY", "/servers/NOBODY/namespaces"):
            assert refused(world.call("GET", UI + path)) == (404, {"status": "error", "msg": "Server not found"})
        assert get(world, f"{UI}/servers/NOBODY/downtimes") == []
        assert get(world, f"{UI}/downtimes") == []


class TestUiNamespaces:
    def test_a_namespace_of_an_origin_and_a_cache(self, world: World) -> None:
        listed = get(world, f"{UI}/namespaces")
        golike.decode(listed, [{**golike.NAMESPACE, "origins": [golike.TEXT], "caches": [golike.TEXT]}])
        assert listed[0] == {
            "path": "/demo",
            "capabilities": dict.fromkeys(golike.CAPABILITIES, True),
            "tokenGeneration": [
                {
                    "strategy": "OAuth2",
                    "vaultServer": "",
                    "maxScopeDepth": 3,
                    "issuer": "https://o1.example.org:8447",
                }
            ],
            "tokenIssuer": [{"basePaths": ["/demo"], "restrictedPaths": [], "issuer": "https://o1.example.org:8447"}],
            "fromTopology": False,
            "origins": ["ORIGIN_1"],
            "caches": ["CACHE_CHI"],
        }
        assert [one["path"] for one in listed] == ["/demo", "/pelican/monitoring"]

    def test_contact(self, make_world: MakeWorld) -> None:
        world = make_world(support_contact_email="help@example.org", support_contact_url="https://help.example.org")
        assert get(world, f"{UI}/contact") == {"email": "help@example.org", "url": "https://help.example.org"}


@pytest.mark.parametrize("path", ["/servers/origins/stat/demo/f", "/federation/discrepancy"])
def test_what_needs_a_login_is_not_there(world: World, path: str) -> None:
    status, body = refused(world.call("GET", UI + path))
    assert (status, body["status"]) == (404, "error")


# --- service discovery ------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(make_world: MakeWorld, ads: dict[str, ServerAd], tmp_path: Path) -> World:
    add(tmp_path / "keys" / "key.pem")
    world = make_world(ads=ads, issuer_keys_directory=tmp_path / "keys")
    world.clock.advance(75)
    return world


def token(world: World, scope: str = DISCOVER, **changed: Any) -> str:
    key = world.director.ring.signing_key()
    assert key is not None
    return f"Bearer {signed(key, world.wall(), scope=scope, **changed)}"


class TestServiceDiscovery:
    def test_e51(self, guarded: World) -> None:
        assert refused(guarded.call("GET", TARGETS)) == (
            403,
            {"status": "error", "msg": "Authentication is required but no token is present."},
        )
        listed = get(guarded, TARGETS, Authorization=token(guarded))
        golike.decode(listed, [golike.TARGET])
        assert listed[1] == {
            "targets": ["o1.example.org:8447"],
            "labels": {
                "server_type": "Origin",
                "server_name": "ORIGIN_1",
                "server_auth_url": "https://o1.example.org:8443",
                "server_url": "https://o1.example.org:8443",
                "server_web_url": "https://o1.example.org:8447",
                "server_lat": "40.8100",
                "server_long": "-96.7000",
            },
        }

    def test_only_a_token_made_for_it_opens(self, guarded: World) -> None:
        for refused_token in (
            token(guarded, scope="monitoring.scrape"),
            token(guarded, iss="https://other.example.org"),
            token(guarded, exp=int(guarded.wall()) - 600),
            token(guarded).removeprefix("Bearer "),
        ):
            assert guarded.call("GET", TARGETS, Authorization=refused_token).status_code == 403
        assert guarded.call("GET", f"{TARGETS}?authz={token(guarded)[7:]}").status_code == 403

    @pytest.mark.parametrize(
        ("web_url", "target"),
        [
            ("https://s.example.org", "s.example.org:443"),
            ("http://s.example.org/x", "s.example.org:80"),
            ("https://[2001:db8::1]", "[2001:db8::1]:443"),
            ("https://[2001:db8::1]:8444/", "[2001:db8::1]:8444"),
        ],
    )
    def test_a_target_has_a_port_in_any_case(self, guarded: World, web_url: str, target: str) -> None:
        guarded.director.directory.record(origin("AAA", "/x", web_url=web_url, coordinate=at(-0.00004, 180)), 600)
        first = get(guarded, TARGETS, Authorization=token(guarded))[0]
        assert first["targets"] == [target]
        assert (first["labels"]["server_lat"], first["labels"]["server_long"]) == ("-0.0000", "180.0000")

    def test_who_has_no_web_url_or_no_place(self, guarded: World) -> None:
        guarded.director.directory.record(origin("AAA", "/x", web_url=""), 600)
        guarded.director.directory.record(origin("AAB", "/x", web_url="https://s.example.org"), 600)
        first = get(guarded, TARGETS, Authorization=token(guarded))[0]
        assert first["labels"]["server_name"] == "AAB"
        assert (first["labels"]["server_lat"], first["labels"]["server_long"]) == ("0.0000", "0.0000")

    def test_soon_after_the_start_servers_may_be_missing(
        self, make_world: MakeWorld, ads: dict[str, ServerAd], tmp_path: Path
    ) -> None:
        add(tmp_path / "key.pem")
        world = make_world(age_s=0, ads=ads, issuer_keys_directory=tmp_path)
        answer = world.call("GET", TARGETS, Authorization=token(world))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "75")
        world.clock.advance(74.5)
        answer = world.call("GET", TARGETS, Authorization=token(world))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        world.clock.advance(0.5)
        assert len(get(world, TARGETS, Authorization=token(world))) == 2

    def test_nobody_is_an_empty_list_only_if_the_registry_could_be_asked(
        self, make_world: MakeWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add(tmp_path / "key.pem")
        world = make_world(ads={}, issuer_keys_directory=tmp_path, startup_window_s=0.0)
        answer = world.call("GET", TARGETS, Authorization=token(world))
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        monkeypatch.setattr(type(world.director.prefixes), "loaded", True)
        assert get(world, TARGETS, Authorization=token(world)) == []

    def test_strangers_do_not_learn_whether_it_has_just_started(self, make_world: MakeWorld) -> None:
        assert make_world(ads={}).call("GET", TARGETS).status_code == 403


# --- health of the parts ----------------------------------------------------------------------------------------------


class TestComponentHealth:
    def test_who_may_see_it(self, guarded: World) -> None:
        assert refused(guarded.call("GET", HEALTH)) == (
            401,
            {"status": "error", "msg": "Authentication required to perform this operation"},
        )
        assert guarded.call("GET", HEALTH, Authorization=token(guarded)).status_code == 403
        assert get(guarded, HEALTH, Authorization=token(guarded, scope="monitoring.scrape"))["status"]

    def test_the_operator_may_open_it_to_all(self, make_world: MakeWorld) -> None:
        world = make_world(health_monitoring_public=True)
        told = get(world, HEALTH)
        assert told["status"] == "critical"
        assert told["components"]["web-ui"] == {"status": "ok", "last_update": int(world.wall())}
        for component in told["components"].values():
            golike.decode(
                {"message": "", **component}, {"status": "string", "message": "string", "last_update": "int64"}
            )

    def test_the_page_and_the_gauges_say_the_same(self, make_world: MakeWorld) -> None:
        world = make_world(health_monitoring_public=True, metric_authorization=False)
        words = {2: "critical", 3: "degraded", 4: "warning", 5: "ok"}
        name = "pelican_component_health_status"
        lines = world.call("GET", "/metrics", plain=True).text.splitlines()
        gauges = dict(line.removeprefix(name).split() for line in lines if line.startswith(name + "{"))
        assert {labels: words[int(float(value))] for labels, value in gauges.items()} == {
            f'{{component="{component}"}}': told["status"]
            for component, told in get(world, HEALTH)["components"].items()
        }


# --- every route ------------------------------------------------------------------------------------------------------

LISTINGS = [
    "/api/v1.0/director/directors",
    "/api/v2.0/director/listNamespaces",
    "/api/v1.0/director/namespaces/prefix/demo",
    TARGETS,
    f"{UI}/servers",
    f"{UI}/servers/ORIGIN_1",
    f"{UI}/servers/ORIGIN_1/namespaces",
    f"{UI}/servers/ORIGIN_1/downtimes",
    f"{UI}/namespaces",
    f"{UI}/downtimes",
    f"{UI}/contact",
    "/api/v1.0/health",
    "/api/v1.0/version",
    "/api/v1.0/servers",
    HEALTH,
]


@pytest.mark.parametrize("path", LISTINGS)
def test_a_slash_too_many_at_the_end_changes_nothing(world: World, path: str) -> None:
    without, with_slash = world.call("GET", path), world.call("GET", path + "/")
    assert (with_slash.status_code, with_slash.data) == (without.status_code, without.data)


UNTAGGED = {"/api/v1.0/director/namespaces/prefix/demo", "/api/v1.0/health", HEALTH}
TAGGED = [*(path for path in LISTINGS if path not in UNTAGGED), "/api/v1.0/director/listNamespaces"]


@pytest.mark.parametrize("path", TAGGED)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_listing_is_not_sent_again_to_who_has_it(guarded: World, path: str, method: str) -> None:
    mine = {"Authorization": token(guarded)}
    first = guarded.call(method, path, **mine)
    assert first.status_code in {200, 299}
    tag = first.headers["ETag"]
    assert first.headers["Cache-Control"] == ("private, no-cache" if path == TARGETS else "no-cache")
    assert first.content_length == len(guarded.call("GET", path, **mine).data)
    for known in (tag, f'"x", W/{tag}', "*"):
        again = guarded.call(method, path, **mine, If_None_Match=known)
        assert (again.status_code, again.data) == (304, b"")
        assert again.headers["ETag"] == tag
        assert again.headers["Cache-Control"] == first.headers["Cache-Control"]
        assert "Content-Length" not in again.headers
    other = guarded.call("GET", path, **mine, If_None_Match='"x"')
    assert other.status_code == first.status_code
    assert other.headers["ETag"] == tag


def test_a_tag_opens_no_door(guarded: World) -> None:
    tag = guarded.call("GET", TARGETS, Authorization=token(guarded)).headers["ETag"]
    for known in (tag, "*"):
        assert guarded.call("GET", TARGETS, If_None_Match=known).status_code == 403


@pytest.mark.parametrize("path", ["/servers/NOBODY", "/servers?server_type=x"])
def test_a_refusal_has_no_tag_and_no_condition(world: World, path: str) -> None:
    answer = world.call("GET", UI + path, If_None_Match="*")
    assert answer.status_code in {400, 404}
    assert "ETag" not in answer.headers


def test_a_change_is_in_the_very_next_listing(guarded: World) -> None:
    paths = ["/api/v2.0/director/listNamespaces", TARGETS, f"{UI}/servers", f"{UI}/namespaces"]
    before = {path: guarded.call("GET", path, Authorization=token(guarded)).headers["ETag"] for path in paths}
    guarded.director.directory.record(origin("NEW", "/new", web_url="https://new.example.org"), 600)
    for path, tag in before.items():
        after = guarded.call("GET", path, Authorization=token(guarded), If_None_Match=tag)
        assert (after.status_code, len(after.data)) == (200, after.content_length)
        assert after.headers["ETag"] != tag


def test_the_director_is_listed_with_an_expiry_that_is_renewed_in_time(world: World) -> None:
    """The listing is written when its table changes, and the table is looked at every time."""
    path = "/api/v1.0/director/directors"
    first = world.call("GET", path)
    assert world.call("GET", path, If_None_Match=first.headers["ETag"]).status_code == 304
    world.clock.advance(world.director.present.config.ad_lifetime_s / 3)
    world.wall.advance(world.director.present.config.ad_lifetime_s / 3)
    second = world.call("GET", path, If_None_Match=first.headers["ETag"])
    assert second.status_code == 200
    assert json.loads(second.data)[0]["expiry"] > json.loads(first.data)[0]["expiry"]


@pytest.mark.parametrize("path", LISTINGS)
@pytest.mark.parametrize("method", ["POST", "PATCH", "PROPFIND", "LOCK"])
def test_another_method_is_refused_in_json(world: World, path: str, method: str) -> None:
    status, body = refused(world.call(method, path))
    assert status in {404, 405}
    assert body["status"] == "error"
    assert body["msg"]


@pytest.mark.parametrize("path", LISTINGS)
@pytest.mark.parametrize("method", ["PUT", "DELETE", "COPY"])
def test_nobody_can_write_where_a_listing_is(world: World, path: str, method: str) -> None:
    status, _body = refused(world.call(method, path))
    assert status in {404, 405}


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from([f"{UI}/servers/", f"{UI}/servers?server_type=", f"{UI}/", TARGETS, HEALTH]),
    rest=st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF), max_size=40),
    authorization=st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f")),
)
def test_nothing_that_is_asked_for_here_does_worse_than_a_refusal(
    world: World, path: str, rest: str, authorization: str
) -> None:
    answer = world.call("GET", path + rest, plain=True, Authorization=authorization)
    assert answer.status_code in {200, 400, 401, 403, 404, 405}
    json.loads(answer.data)
