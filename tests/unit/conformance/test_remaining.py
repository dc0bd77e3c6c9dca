"""Numbered examples that belong to no single subject.

The advertisements of E45 and E46 as HTTP answers them, and what the checklist says of every redirect and of every
answer, whatever it is about.
"""

import base64
import contextlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.test import TestResponse

from director_wsgi.errors import InvalidAd
from director_wsgi.federation.ads import parse_ad
from director_wsgi.federation.models import ServerKind
from director_wsgi.limits.deadline import Deadline
from tests.make import ALL, READS, at, cache, namespace, origin
from tests.unit.conformance import golike
from tests.unit.conformance.conftest import WEB, World, issued
from tests.unit.trust.forge import Key, cache_body, origin_body
from tests.unit.trust.registries import API, FakeRegistry, answer
from tests.unit.web.test_compatibility import rows

MakeWorld = Callable[..., World]

KEY = Key()
PREFIX = "/origins/o1.example.org:8447"
TOKEN = KEY.token()
FAILED = "Authorization token verification failed"
HELP = f"You may find more information on {WEB}"
LINK_ENTRY = re.compile(r'<(https://[^>,;?]+)>; rel="duplicate"; pri=([0-9]+); depth=([0-9]+)')


# --- advertisements over HTTP -----------------------------------------------------------------------------------------


@pytest.fixture
def empty(make_world: MakeWorld) -> World:
    """A director that knows nobody yet, with a registry that it has asked what caches may serve."""
    world = make_world(ads={})
    registry = world.network.registry = FakeRegistry(KEY)
    registry.names = {PREFIX: "ORIGIN_1", "/caches/CACHE_CHI": "CACHE_CHI"}
    refresh(world)
    return world


def refresh(world: World) -> None:
    assert world.director.prefixes.refresh(Deadline.after(5.0, world.clock))


def registry_of(world: World) -> FakeRegistry:
    assert world.network.registry is not None
    return world.network.registry


def advertise(world: World, kind: str, body: bytes, **changed: str) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {TOKEN}", "User_Agent": f"pelican-{kind.lower()}/7.20.0"} | changed
    told = {name: value for name, value in headers.items() if value}
    response = world.call("POST", f"/api/v1.0/director/register{kind}", body=body, plain=True, **told)
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    return response.status_code, json.loads(response.data)


def error(message: str) -> dict[str, str]:
    return {"status": "error", "msg": message}


def known(world: World) -> list[str]:
    return [server.name for server in world.director.directory.snapshot().servers.values()]


SUCCESS = (200, {"status": "success", "msg": "Successful registration"})


def test_e45_c70_an_origin_is_accepted_and_the_registry_asked_in_order(empty: World) -> None:
    registry_of(empty).asked.clear()
    assert advertise(empty, "Origin", origin_body()) == SUCCESS
    asked = [(method, path.removeprefix(API)) for method, path, _body in registry_of(empty).asked]
    for prefix in (PREFIX, "/demo"):
        assert ("GET", f"{prefix}/.well-known/openid-configuration") in asked
        assert ("GET", f"{prefix}/.well-known/issuer.jwks") in asked
    bodies = [json.loads(body or b"") for method, _path, body in registry_of(empty).asked if method == "POST"]
    assert bodies == [{"prefix": PREFIX}, {"prefix": "/demo"}]
    assert asked[-1] == ("GET", f"/server{PREFIX}")
    registry_of(empty).asked.clear()
    assert advertise(empty, "Origin", origin_body()) == SUCCESS
    assert registry_of(empty).asked == []  # nothing of it is asked again, the name least of all


def test_c71_a_cache_is_accepted_with_what_go_sends_for_nothing(empty: World) -> None:
    nothing = {"token-issuer": None, "storageType": "", "downtimes": [], "requiredFeatures": None}
    assert advertise(empty, "Cache", cache_body("/demo", "/pelican/monitoring", **nothing)) == SUCCESS
    (shown,) = json.loads(empty.call("GET", "/api/v1.0/director_ui/servers").data)
    assert (shown["type"], shown["storageType"], shown["namespacePrefixes"]) == (
        "Cache",
        "posix",
        ["/demo", "/pelican/monitoring"],
    )


@pytest.mark.parametrize(
    ("body", "changed", "status", "told"),
    [
        (origin_body(), {"Authorization": ""}, 403, error("Bearer token not present in the 'Authorization' header")),
        (b"{", {"Authorization": ""}, 403, error("Bearer token not present in the 'Authorization' header")),
        (
            origin_body(**{"registry-prefix": ...}),
            {},
            403,
            error(
                "Origin advertisement rejected: no registry prefix present in the ad. Ensure the server runs a "
                "supported Pelican version and is registered at the federation registry"
            ),
        ),
        (
            origin_body(**{"registry-prefix": "/caches/x"}),
            {},
            403,
            error(
                'Origin advertisement rejected: registry prefix "/caches/x" is not a valid Origin registration prefix'
            ),
        ),
        (
            origin_body(),
            {"Authorization": f"Bearer {KEY.token(scope='storage.read:/')}"},
            403,
            error(f"{FAILED}. Token missing required scope"),
        ),
    ],
)
def test_e46_c72_c73_c76_refusals_of_origins(
    empty: World, body: bytes, changed: dict[str, str], status: int, told: dict[str, str]
) -> None:
    assert advertise(empty, "Origin", body, **changed) == (status, told)
    assert known(empty) == []


@pytest.mark.parametrize("body", [b"{", b"null", b"[]", b"\xff", origin_body(**{"data-url": ...})])
def test_e46_c72_what_cannot_be_read_is_400_whatever_the_token(empty: World, body: bytes) -> None:
    status, told = advertise(empty, "Origin", body, Authorization="Bearer x")
    assert (status, told["status"]) == (400, "error")
    assert told["msg"].startswith("invalid Origin registration: ")


def test_e46_c73_a_token_signed_by_another_key(empty: World) -> None:
    status, told = advertise(empty, "Origin", origin_body(), Authorization=f"Bearer {Key().token()}")
    assert (status, told["status"]) == (403, "error")
    assert told["msg"].startswith(f"{FAILED} ")


@pytest.mark.parametrize(("prefix", "who"), [(PREFIX, 'Origin "ORIGIN_1"'), ("/demo", 'The namespace "/demo"')])
def test_e46_c74_who_is_not_approved_is_told_so_in_a_body_of_its_own(empty: World, prefix: str, who: str) -> None:
    """Pelican's servers look for `approval_error`, and print `error`."""
    registry_of(empty).unapproved.add(prefix)
    assert advertise(empty, "Origin", origin_body()) == (
        403,
        {"approval_error": True, "error": f"{who} was not approved by an administrator. {HELP}"},
    )
    assert known(empty) == []


def test_e46_c74_whom_to_turn_to_is_said_if_the_operator_says_it(make_world: MakeWorld) -> None:
    world = make_world(ads={}, support_contact_email="help@example.org", support_contact_url="https://help.example.org")
    registry = world.network.registry = FakeRegistry(KEY)
    registry.unapproved.add(PREFIX)
    _status, told = advertise(world, "Origin", origin_body())
    assert told["error"].endswith(" Contact help@example.org or visit https://help.example.org for help.")


@pytest.mark.parametrize(
    ("kind", "agent", "least"), [("Origin", "pelican-origin/7.8.9", "7.9.0"), ("Cache", "pelican-cache/7.8.1", "7.8.2")]
)
def test_e46_c75_too_old_a_server_learns_so_before_its_token_is_looked_at(
    empty: World, kind: str, agent: str, least: str
) -> None:
    version = agent.partition("/")[2]
    assert advertise(empty, kind, b"{", Authorization="Bearer x", User_Agent=agent) == (
        500,
        error(
            f"Incompatible versions detected: The director does not support your {kind.lower()} version ({version}). "
            f"Please update to {least} or newer."
        ),
    )


def test_e46_a_registry_that_does_not_know_of_approvals(empty: World) -> None:
    registry_of(empty).overrides[f"{API}/checkNamespaceStatus"] = answer(404)
    assert advertise(empty, "Origin", origin_body()) == SUCCESS
    assert known(empty) == ["ORIGIN_1"]


def test_e46_an_advertisement_that_has_expired_is_taken_and_not_kept(empty: World) -> None:
    assert advertise(empty, "Origin", origin_body(expiry="2025-12-31T23:59:00Z")) == SUCCESS
    assert known(empty) == []


def test_e46_c78_a_clock_that_is_an_hour_slow_shortens_no_life(empty: World) -> None:
    late = origin_body(now="2025-12-31T23:00:00Z", expiry="2025-12-31T23:10:00Z")
    assert advertise(empty, "Origin", late) == SUCCESS
    empty.clock.advance(599)
    assert known(empty) == ["ORIGIN_1"]
    empty.clock.advance(1)
    assert empty.call("GET", "/demo/f").status_code == 404


def test_e46_a_cache_keeps_what_the_registry_lets_its_host_serve(empty: World) -> None:
    registry_of(empty).allowed = {"c1.example.org": ["/demo"]}
    refresh(empty)
    assert advertise(empty, "Cache", cache_body("/demo", "/ro", "/multi", "/pelican/monitoring")) == SUCCESS
    (shown,) = json.loads(empty.call("GET", "/api/v1.0/director_ui/servers").data)
    assert shown["namespacePrefixes"] == ["/demo", "/pelican/monitoring"]


def test_c77_a_slash_at_the_end_of_a_namespace_is_cut(empty: World) -> None:
    assert advertise(empty, "Origin", origin_body(namespaces=[{"Caps": {"Read": True}, "path": "/demo/"}])) == SUCCESS
    listed = json.loads(empty.call("GET", "/api/v2.0/director/listNamespaces").data)
    assert [one["path"] for one in listed] == ["/demo", "/pelican/monitoring"]


def test_c51_c53_one_origin_cannot_make_the_list_unreadable_for_every_cache(empty: World) -> None:
    """Go's decoder gives up on the whole list at one wrong type, and then no cache of the federation advertises."""
    for member in ({"User": "me"}, {"RawFragment": 1}, {"OmitHost": "false"}, {"Host": 1}):
        url = {"Scheme": "https", "Host": "o1.example.org"} | member
        issuers = [{"base-paths": ["/demo"], "restricted-paths": None, "issuer": url}]
        body = origin_body(namespaces=[{"Caps": {"Read": True}, "path": "/demo", "token-issuer": issuers}])
        status, told = advertise(empty, "Origin", body)
        assert (status, "cannot unmarshal" in told["msg"]) == (400, True)
    assert known(empty) == []


def right(shape: golike.Shape) -> Any:
    """A value of this shape, with every member there."""
    if isinstance(shape, list):
        return [right(shape[0])]
    if isinstance(shape, dict):
        return {name: right(one) for name, one in shape.items()}
    return {golike.BOOL: True, golike.UINT: 3}.get(shape, "x")


def variants(shape: golike.Shape) -> Iterator[Any]:
    """Values that are of this shape but for one place in them, where any type stands."""
    yield from (None, True, 1, -1, 1.5, 1 << 64, "x", [], [1], {}, {"x": 1})
    if isinstance(shape, list):
        yield from ([one] for one in variants(shape[0]))
    elif isinstance(shape, dict):
        for name, inner in shape.items():
            yield from (right(shape) | {name: one} for one in variants(inner))


def test_c51_to_c53_whatever_is_listed_could_be_read_by_a_cache() -> None:
    accepted = 0
    for variant in variants(golike.NAMESPACE_AD):
        if not isinstance(variant, dict):
            continue
        body = origin_body(namespaces=[variant | {"path": "/demo"}])
        with contextlib.suppress(InvalidAd):
            (namespace_ad,) = parse_ad(body, ServerKind.ORIGIN).ad.namespaces
            assert golike.could_read(json.loads(namespace_ad.wire), golike.NAMESPACE_AD), namespace_ad.wire
            accepted += 1
    assert accepted > 100


# --- every redirect ---------------------------------------------------------------------------------------------------

REDIRECTS = [
    ("GET", "/demo/d/f", {}),
    ("HEAD", "/demo/d/f", {}),
    ("GET", "/demo", {}),
    ("GET", "/demo/d/f?x=1&authz=T", {}),
    ("PUT", "/demo/d/f", {"Authorization": "Bearer T"}),
    ("DELETE", "/demo/d/f", {}),
    ("COPY", "/demo/d/f", {}),
    ("PROPFIND", "/demo/d", {"Depth": "1"}),
    ("PROPFIND", "/ro/d/f", {"Depth": "0"}),
    ("PROPFIND", "/ro/d/f", {}),
    ("GET", "/demo/d/f?directread", {}),
    ("GET", "/demo/d/f?skipstat", {}),
    ("GET", "/demo/d/f", {"X-Pelican-Debug": "true"}),
    ("GET", "/api/v1.0/director/object/ro/d/f", {}),
    ("GET", "/api/v1.0/director/origin/ro/d/f", {}),
    ("GET", "/api/v1.0/director/origin/pelican/monitoring/x/director-test-2026-01-24T12:16:59Z.txt", {}),
]


def entries(response: TestResponse) -> list[tuple[str, int, int]]:
    """URL, priority and depth of every entry of the one Link line, read as strictly as xrdcl-pelican reads it."""
    (line,) = response.headers.getlist("Link")
    found = [LINK_ENTRY.fullmatch(entry) for entry in line.split(", ")]
    return [(entry[1], int(entry[2]), int(entry[3])) for entry in found if entry] if all(found) else []


@pytest.mark.parametrize(("method", "target", "headers"), REDIRECTS)
def test_c11_to_c18_whatever_is_redirected(world: World, method: str, target: str, headers: dict[str, str]) -> None:
    response = world.call(method, target, **headers)

    assert response.status_code == 307  # C-11: after a 302 rclone lists with GET, at a 308 Go gives up
    link = entries(response)
    assert [priority for _url, priority, _depth in link] == list(range(1, len(link) + 1))  # C-13 to C-15
    assert 1 <= len(link) <= 6
    location, _, query = response.headers["Location"].partition("?")
    assert location == link[0][0]  # C-12, C-15
    path = re.sub(r"^/api/v1\.0/director/(object|origin)", "", target.partition("?")[0])
    assert all(url.endswith(path) for url, _priority, _depth in link)  # C-16: Go cuts the path from the end of each
    assert bool(query) == ("?" in target or "Authorization" in headers)
    (told,) = response.headers.getlist("X-Pelican-Namespace")
    assert re.fullmatch(r"namespace=(/[^,\"]+), require-token=(true|false)(, collections-url=https://[^,]+)?", told)
    prefix = told.split(", ")[0].removeprefix("namespace=")
    assert not prefix.endswith("/")  # C-18
    assert {depth for _url, _priority, depth in link} == {path.count("/") - prefix.count("/")}  # C-17


def test_c12_what_is_advertised_as_http_is_reached_by_https(make_world: MakeWorld) -> None:
    world = make_world(ads={"O": origin("O", "/x", data_url="http://o.example.org", base_url="https://o.example.org")})
    assert world.call("GET", "/x/f?directread").headers["Location"].startswith("https://o.example.org/x/f")


def test_c15_at_most_six_are_named(make_world: MakeWorld) -> None:
    caches = {f"C{n}": cache(f"CACHE_{n}", "/x", coordinate=at(43.0, -89.0 + n)) for n in range(9)}
    world = make_world(ads={"O": origin("O", "/x"), **caches})
    assert [url.split(".")[0] for url, _priority, _depth in entries(world.call("GET", "/x/f"))] == [
        f"https://cache-{n}" for n in range(6)
    ]


def test_c20_one_line_for_each_issuer(make_world: MakeWorld) -> None:
    first, second = (
        issued(url, "/x")["token_issuers"][0] for url in ("https://i.example.org", "https://j.example.org")
    )
    world = make_world(ads={"O": origin("O", namespace("/x", ALL, token_issuers=(first, second)))})
    assert world.call("GET", "/x/f?directread").headers.getlist("X-Pelican-Authorization") == [
        "issuer=https://i.example.org",
        "issuer=https://j.example.org",
    ]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "COPY", "PROPFIND"])
def test_e5_c26_no_redirect_is_wanted_by_any_method(world: World, method: str) -> None:
    with_redirect = world.call(method, "/demo/f")
    response = world.call(method, "/demo/f?redirect=false")
    assert (response.status_code, response.data) == (200, b"")
    assert "Location" not in response.headers
    for name in ("Link", "X-Pelican-Namespace", "X-Pelican-JobId"):
        assert response.headers[name] == with_redirect.headers[name]


@pytest.mark.parametrize("value", ["False", "0", "", "true&redirect=false"])
def test_c26_anything_but_false_is_a_redirect(world: World, value: str) -> None:
    assert world.call("GET", f"/demo/f?redirect={value}").status_code == 307


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/demo/f"),
        ("PUT", "/demo/f"),
        ("GET", "/api/v1.0/director/origin/demo/f"),
        ("GET", "/demo/f?directread"),
    ],
)
def test_c27_debugging_changes_the_body_alone(world: World, method: str, target: str) -> None:
    response = world.call(method, target, X_Pelican_Debug="true")
    assert (response.status_code, response.headers["Content-Type"]) == (307, "application/json")
    assert response.headers["Location"] == world.call(method, target).headers["Location"]
    body = json.loads(response.data)
    assert list(body) == ["clientInfo", "serversInfo", "directorSortMethod"]
    for info in body["serversInfo"].values():
        assert info["RedirectWeights"].keys() >= {
            "distanceWeight",
            "ioLoadWeight",
            "statusWeight",
            "availabilityWeight",
        }


def test_c27_a_test_file_of_the_directors_own_has_no_ranking_to_show(world: World) -> None:
    target = "/api/v1.0/director/origin/pelican/monitoring/x/director-test-2026-01-24T12:16:59Z.txt"
    response = world.call("GET", target, X_Pelican_Debug="true")
    assert (response.status_code, response.headers["Content-Type"]) == (307, "text/html; charset=utf-8")
    assert world.call("GET", f"{target}?redirect=false", X_Pelican_Debug="true").status_code == 200


@pytest.mark.parametrize("query", ["directread", "directread=", "directread=false", "x=1&directread"])
def test_c30_its_presence_makes_a_direct_read(world: World, query: str) -> None:
    assert world.call("GET", f"/demo/f?{query}").headers["Location"].startswith("https://o1.example.org:8443/demo/f?")
    assert world.call("GET", f"/ro/f?{query}").status_code == 405
    assert world.call("GET", "/ro/f?DirectRead").status_code == 307


def test_c30_caches_come_before_origins_if_the_operator_chains_them(make_world: MakeWorld) -> None:
    world = make_world(caches_pull_from_caches=True)
    asked = "/api/v1.0/director/origin/demo/f?prefercached=1"
    response = world.call("GET", asked)
    assert response.headers["Location"] == "https://c1.example.org:8443/demo/f?prefercached="
    assert [url.split(".")[0][8:] for url, _priority, _depth in entries(response)] == ["c1", "c2", "c3", "o1"]
    assert world.call("HEAD", asked).headers["Location"].startswith("https://o1.")
    assert make_world().call("GET", asked).headers["Location"].startswith("https://o1.")


def test_c30_with_skipstat_nobody_is_asked(world: World) -> None:
    response = world.call("GET", "/api/v1.0/director/origin/multi/x?skipstat=1")
    assert (response.status_code, len(entries(response))) == (307, 2)
    assert world.network.heads == []


@pytest.mark.parametrize(
    ("depth", "is_listing"),
    [(None, False), ("", False), ("0", False), ("00", True), ("1", True), ("2", True), ("infinity", True)],
)
def test_e24_c33_which_depth_is_a_listing(world: World, depth: str | None, is_listing: bool) -> None:
    response = world.call("PROPFIND", "/ro/d", **({} if depth is None else {"Depth": depth}))
    assert response.status_code == (405 if is_listing else 307)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "COPY"])
def test_c34_what_changes_something_needs_an_origin_that_lets_it(make_world: MakeWorld, method: str) -> None:
    world = make_world(
        ads={
            "R": origin("A", namespace("/x", READS), capabilities=READS),
            "W": origin("B", "/x"),
            "N": origin("C", namespace("/x", READS)),  # the server would, the namespace does not
        }
    )
    assert [url.split(".")[0] for url, _priority, _depth in entries(world.call(method, "/x/f"))] == ["https://b"]


# --- tokens and programs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("authorization", ["Bearer opaque", "Bearer a.b.c", "Basic dTpw", "Bearer None", "Bearer"])
def test_c24_c37_what_is_no_jwt_passes(world: World, authorization: str) -> None:
    assert world.call("GET", "/demo/f", Authorization=authorization).status_code == 307


def test_c24_an_xrootd_cache_with_its_made_up_user_is_sent_to_the_origin_that_has_the_object(world: World) -> None:
    """It sends `Basic` with every request; origins are asked with that, as upstream, and let it read what is public."""
    world.network.behaviours = {"o3": (404, {}), "o4": (200, {"Content-Length": "5"})}
    response = world.call("GET", "/api/v1.0/director/origin/multi/x", Authorization="Basic dTpw")
    assert response.headers["Location"] == "https://o4.example.org:8443/multi/x?authz=Basic+dTpw"
    assert {headers["Authorization"] for _url, headers in world.network.heads} == {"Bearer Basic dTpw"}


@pytest.mark.parametrize(
    ("agent", "status"),
    [
        ("pelican-client/7.0.0", 307),
        ("pelican-client/6.99.99", 400),
        ("pelican-client/6.9.9  ", 400),
        ("pelican-client/6.9.9-rc.1", 307),
        ("pelican-client/6.9", 307),
        ("pelican-client/v6.9.9", 307),
        ("Pelican-client/6.9.9", 307),
        ("pelican-client/6." + "9" * 60 + ".9", 307),
        ("pelican-localcache/7.20.0", 400),
        ("Go-http-client/1.1", 307),
    ],
)
def test_e15_c38_which_versions_are_too_old(world: World, agent: str, status: int) -> None:
    assert world.call("GET", "/demo/f", User_Agent=agent).status_code == status


# --- every answer -----------------------------------------------------------------------------------------------------

API_ROUTES = [
    "/.well-known/pelican-configuration",
    "/.well-known/openid-configuration",
    "/api/v1.0/director/directors",
    "/api/v1.0/director/listNamespaces",
    "/api/v2.0/director/listNamespaces",
    "/api/v1.0/director/namespaces/prefix/demo",
    "/api/v1.0/director/getFedToken",
    "/api/v1.0/director/discoverServers",
    "/api/v1.0/director_ui/servers",
    "/api/v1.0/director_ui/contact",
    "/api/v1.0/health",
    "/api/v1.0/version",
    "/api/v1.0/servers",
    "/api/v1.0/metrics/health",
]


@pytest.mark.parametrize("target", [*API_ROUTES, "/nope", "/api/v1.0/nope", "/.well-known/nope", "/demo/%", "/view/"])
def test_c07_c08_c36_json_and_nothing_else(world: World, target: str) -> None:
    for method in ("GET", "POST", "PATCH", "LOCK", "DELETE"):
        response = world.call(method, target)
        assert response.headers["Content-Type"].startswith("application/json"), method
        body = json.loads(response.data)
        if response.status_code >= 400:
            assert (body["status"], bool(body["msg"])) == ("error", True)
            assert "page not found" not in body["msg"].lower()


@pytest.mark.parametrize("target", [*API_ROUTES, "/demo/f", "/nope"])
def test_c09_head_says_what_get_says_and_has_no_body(world: World, target: str) -> None:
    got, head = world.call("GET", target), world.call("HEAD", target)
    assert head.data == b""
    assert (head.status_code, sorted(head.headers)) == (got.status_code, sorted(got.headers))


@pytest.mark.parametrize("target", [*API_ROUTES, "/demo/f", "/api/v1.0/director/origin/demo/f", "/nope"])
def test_c41_a_body_on_a_get_changes_nothing(world: World, target: str) -> None:
    plain = world.call("GET", target)
    with_body = world.call("GET", target, body=b"null", Content_Type="application/json")
    assert (with_body.status_code, with_body.data) == (plain.status_code, plain.data)


@pytest.mark.parametrize(
    ("target", "origins"),
    [
        ("/.well-known/openid-configuration", ["*"]),
        ("/demo/f", ["*"]),
        ("/nope", ["*"]),
        ("/api/v1.0/director/directors", []),
        ("/api/v2.0/director/listNamespaces", []),
        ("/api/v1.0/health", []),
    ],
)
def test_c39_who_may_be_read_from_a_page(world: World, target: str, origins: list[str]) -> None:
    assert world.call("GET", target).headers.getlist("Access-Control-Allow-Origin") == origins


def test_c35_a_namespace_that_has_gone_is_told_like_one_that_never_was(world: World) -> None:
    world.director.directory.remove(world.ads["O2"].data_url)
    gone, never = world.call("GET", "/ro/f"), world.call("GET", "/no/f")
    assert world.message(gone).replace("/ro/", "/no/") == world.message(never)


# --- what docs/compatibility.md calls different on purpose ------------------------------------------------------------


@pytest.mark.parametrize("target", ["/../demo/f", "/../../demo/f", "/%2e%2e/demo/f", "/demo/../../demo/f"])
def test_nothing_is_above_the_root(world: World, target: str) -> None:
    assert world.call("GET", target).headers["Location"] == "https://c1.example.org:8443/demo/f"


@pytest.mark.parametrize("target", ["/api/v1.0/director/object", "/api/v1.0/director/object/"])
def test_an_api_route_without_a_path_means_the_root(make_world: MakeWorld, target: str) -> None:
    world = make_world(ads={"O": origin("O", "/"), "C": cache("C", "/")})
    assert world.call("GET", target).headers["Location"] == "https://c.example.org:8443/"


def test_the_time_of_a_test_file_is_told_in_gmt(world: World) -> None:
    target = "/api/v1.0/director/healthTest/pelican/monitoring/x/self-test-2026-01-24T12:16:59%2B01:00.txt"
    text = world.call("PROPFIND", target).text
    assert "<lp1:getlastmodified>Sat, 24 Jan 2026 11:16:59 GMT</lp1:getlastmodified>" in text


def test_test_files_are_where_the_director_says_it_is(make_world: MakeWorld) -> None:
    world = make_world(web_url="http://d.example.org:8080")
    target = "/pelican/monitoring/x/director-test-2026-01-24T12:16:59Z.txt"
    location = world.call("GET", f"/api/v1.0/director/origin{target}").headers["Location"]
    assert location == f"http://d.example.org:8080/api/v1.0/director/healthTest{target}"


def test_a_cache_that_lists_a_longer_prefix_than_any_origin_hides_nobody(make_world: MakeWorld) -> None:
    world = make_world(ads={"O": origin("O", "/x"), "C": cache("C", "/x"), "D": cache("D", "/x/gone")})
    response = world.call("GET", "/x/gone/f")
    assert [url for url, _priority, _depth in entries(response)] == ["https://c.example.org:8443/x/gone/f"]


def test_a_cache_must_have_every_required_feature_that_is_known(make_world: MakeWorld) -> None:
    needing = origin("O", "/x", required_features=("CacheAuthz", "SomethingNew"))
    versions = {"OLD": "7.15.9", "NEW": "7.16.0-rc.1", "UNKNOWN": "dev"}
    caches = {name: cache(name, "/x", version=version) for name, version in versions.items()}
    world = make_world(ads={"O": needing, **caches})
    assert [url.split(".")[0][8:] for url, _priority, _depth in entries(world.call("GET", "/x/f"))] == [
        "new",
        "unknown",  # last, since nobody knows
    ]


def test_every_header_of_every_answer_is_in_the_table_of_the_documentation(make_world: MakeWorld) -> None:
    world = make_world(metric_authorization=False)
    _head, *table = rows("What an answer says")
    told = {name for what, *_rest in table for name in re.findall(r"`([\w-]+)`", what)}
    told |= {f"Access-Control-Allow{name}" for name in told if name in {"-Methods", "-Headers"}}
    told |= {f"Access-Control{name}" for name in told if name == "-Expose-Headers"}
    expired = "e30." + base64.urlsafe_b64encode(b'{"exp":1}').decode().rstrip("=") + ".x"
    answers = [
        *(world.call(method, target, **headers) for method, target, headers in REDIRECTS),
        *(world.call("GET", target) for target in (*API_ROUTES, "/metrics", "/nope", "/.well-known/issuer.jwks")),
        world.call("OPTIONS", "/"),
        world.call("GET", "/demo/f", Authorization=f"Bearer {expired}"),
        world.call("POST", "/api/v1.0/director/registerCache", Authorization="Bearer x"),
    ]
    sent = {name for one in answers for name, _value in one.headers}
    assert {"Allow", "WWW-Authenticate", "Retry-After", "Link", "Warning"} <= sent  # every kind was there
    assert sent <= told
