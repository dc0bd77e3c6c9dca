"""Wherever the front answers, it says what the route says, and no book tells which of the two it was."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from itertools import cycle, product
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from director_wsgi.federation.models import (
    Capabilities,
    NamespaceAd,
    ServerAd,
    ServerKind,
    TokenGeneration,
    TokenIssuer,
)
from director_wsgi.stat.evidence import Evidence, Presence, Reason
from director_wsgi.web import entrance
from tests.fakes import FakeClock
from tests.make import at, server
from tests.unit.conformance.doors import JOB, House, ask_in_place

MONITORING = "/pelican/monitoring/selfTest"
PREFIXES = ("/", "/demo", "/demo/nested", "/日本/é", "/a,b;c", "/api", "/pelican/monitoring", "/livez")
OBJECTS = (
    *PREFIXES,
    "/demo/f",
    "/demo/nested/x,y;z/% #?&|\n+",
    "/日本/é/ü",
    "/a,b;c/f",
    "/api/f",
    "/demox/f",
    MONITORING + "/x",
)


def jwt(**claims: float) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims)]
    return ".".join([*parts, "x"])


VALID, EXPIRED = jwt(iat=1_767_225_000, exp=1_767_999_999), jwt(iat=1_767_000_000, exp=1_767_100_000)
BEARERS = (None, "Bearer secret", f"Bearer {VALID}")

# -- federations

capabilities = st.sampled_from(
    [
        Capabilities(public_reads=True, reads=True, writes=True, listings=True, direct_reads=True, copies=True),
        Capabilities(public_reads=True, reads=True, direct_reads=True),
        Capabilities(reads=True, writes=True),
        Capabilities(public_reads=True, listings=True),
        Capabilities(),
    ]
)
places = st.sampled_from([None, at(0, 0), at(41.88, -87.63), at(40.71, -74.01), at(34.05, -118.24), at(-33.9, 151.2)])
issued = st.sampled_from(
    [
        {},
        {"token_generations": (TokenGeneration(),)},
        {
            "token_issuers": (TokenIssuer(issuer="https://é.example.org", base_paths=("/b",)), TokenIssuer(issuer="i")),
            "token_generations": (TokenGeneration(strategy="OAuth2", max_scope_depth=3, issuer="i"),),
        },
    ]
)
urls = st.sampled_from(["https://{}.example.org:8443", "https://{}.example.org/a,b;c"])


@st.composite
def federations(draw: Any) -> tuple[ServerAd, ...]:
    ads = []
    served = draw(st.lists(st.sampled_from(PREFIXES), min_size=1, max_size=3, unique=True))
    for number in range(draw(st.integers(1, 7))):
        kind = draw(st.sampled_from(ServerKind))
        url = draw(urls).format(f"s{number}")
        allowed = Capabilities() if kind is ServerKind.CACHE else draw(capabilities)
        ads.append(
            server(
                kind,
                f"S{number}",
                *(
                    NamespaceAd(path=prefix, capabilities=draw(capabilities), **draw(issued))
                    for prefix in draw(st.lists(st.sampled_from(served), min_size=1, unique=True))
                ),
                capabilities=allowed,
                data_url=url,
                base_url=url,
                coordinate=draw(places),
                version=draw(st.sampled_from(["7.20.0", "7.20.0", "7.15.0", "unknown"])),
                status=draw(st.sampled_from(["ok", "ok", "critical", "shutting down", ""])),
                broker_url=draw(st.sampled_from(["", "", "https://broker.example.org/\tx"])),
                required_features=draw(st.sampled_from([frozenset(), frozenset(), frozenset({"CacheAuthz"})])),
            )
        )
    return tuple(ads)


policies = st.fixed_dictionaries(
    {
        "cache_sort_method": st.sampled_from(["distance", "random", "adaptive", "adaptive"]),
        "ranking_seed": st.sampled_from(["", "seed"]),
        "when_unknown": st.sampled_from(["redirect", "retry"]),
        "check_origin_presence": st.sampled_from([True, True, False]),
        "check_cache_presence": st.booleans(),
        "assume_presence_at_single_origin": st.booleans(),
        "caches_pull_from_caches": st.booleans(),
        "filter_caches_in_error_state": st.booleans(),
        "adaptive_truncate": st.integers(1, 6),
        "default_response": st.sampled_from(["cache", "origin"]),
        "filtered_servers": st.sampled_from([(), (), ("S0",), ("S1", "S2")]),
        "origin_response_hostnames": st.just(("to-origins.example.org",)),
        "cache_response_hostnames": st.just(("to-caches.example.org",)),
        "trusted_proxies": st.sampled_from([(), ("192.0.2.0/24",)]),
        "tracing_enabled": st.booleans(),
    }
)

# -- what is known

FRESH = {
    "present": Evidence(presence=Presence.PRESENT, status=200, length_bytes=5),
    "copied": Evidence(presence=Presence.PRESENT, status=200, length_bytes=5, age_s=30),
    "absent": Evidence(presence=Presence.ABSENT, status=404),
    "denied": Evidence(presence=Presence.DENIED, status=403),
    "unknown": Evidence.unknown(Reason.TIMED_OUT),
}
STALE, DUE = "stale", "due"
kinds = st.sampled_from(["", *FRESH, "present", "present", STALE, DUE, DUE])


class Knowledge(NamedTuple):
    """For each server, object and bearer one of `kinds`; and the objects that have just been written."""

    objects: tuple[str, ...]
    known: list[str]
    written: frozenset[str]

    def teach(self, house: House, ads: tuple[ServerAd, ...], ages: tuple[str, ...]) -> None:
        triples = product(ads, self.objects, BEARERS)
        for (ad, path, bearer), kind in zip(triples, cycle(self.known), strict=False):
            if kind in ages:
                house.learn(ad, path, FRESH.get(kind, FRESH["present"]), bearer)


def knowledge(objects: tuple[str, ...]) -> st.SearchStrategy[Knowledge]:
    return st.builds(
        Knowledge,
        st.just(objects),
        st.lists(kinds, min_size=20, max_size=20) | st.sampled_from([[kind] for kind in (*FRESH, STALE, DUE)]),
        st.frozensets(st.sampled_from(objects), max_size=1),
    )


# -- requests


class Asked(NamedTuple):
    method: str
    target: str
    headers: dict[str, str]


def raw(path: str) -> str:
    """As a server hands bytes over."""
    return path.replace("%", "%25").replace("?", "%3F").encode().decode("latin-1")


def spoiled(path: str) -> str:
    return path.replace("/", "//./", 1) + "/x/../"


written = st.sampled_from(
    [quote, quote, raw, spoiled, lambda path: quote(path, safe=""), lambda path: "https://elsewhere" + quote(path)]
)
odd = st.sampled_from(
    [
        "",
        "*",
        "//",
        "/..",
        "/demo/%zz",
        "/demo/%00",
        "/demo/%ff",
        "/demo/\xff",
        "/demo/%2F%2e%2e/%2e",
        "/demo/" + "&" * 8000,
        "/demo/f/" + "%C3%A9" * 1300,
        "/nobody/" + "&" * 8000,
        "/readyz",
        "/api/v1.0/director/namespaces/prefix/demo/f",
        "/.well-known/nothing",
        "/api/v1.0/director/nothing",
        "/api/v2.0/director/nothing",
    ]
)
bases = st.sampled_from(["", "", "", "/api/v1.0/director/object", "/api/v1.0/director/origin"])


def targets(objects: tuple[str, ...]) -> st.SearchStrategy[str]:
    return (
        st.builds(lambda base, write, path: base + write(path), bases, written, st.sampled_from(objects))
        | st.builds(lambda write, path: write(path), written, st.sampled_from(objects))
        | odd
    )


queries = st.lists(
    st.sampled_from(
        [
            "directread",
            "directread=x",
            "prefercached",
            "skipstat",
            "recursive",
            "redirect=false",
            "redirect=true",
            "authz=secret",
            "authz=",
            f"authz={VALID}",
            f"authz=Bearer%20{EXPIRED}",
            "pelican.timeout=1s",
            "pelican.timeout=x",
            "x=1",
            "x=2",
            "x=%zz",
            "x=1;y=2",
            "x=%ff\xff",
            "é",
            "&" * 101,
        ]
    ),
    max_size=3,
).map(lambda pieces: "?" + "&".join(pieces) if pieces else "")
headers = st.fixed_dictionaries(
    {
        "HTTP_USER_AGENT": st.sampled_from(
            ["pelican-client/7.20.0", "pelican-client/7.20.0", "curl/8", "", "pelican-client/1.0.0", "project/é x"]
        )
    },
    optional={
        "HTTP_X_PELICAN_JOBID": st.sampled_from([JOB, JOB, JOB.upper(), "{" + JOB + "}", "junk", ""]),
        "HTTP_AUTHORIZATION": st.sampled_from(
            [*BEARERS[1:], *BEARERS[1:], f"Bearer {EXPIRED}", "Basic x", "", "Bearer \xff"]
        ),
        "HTTP_X_PELICAN_TIMEOUT": st.sampled_from(["500ms", "-1s", "x", "1s, 2s", "0"]),
        "HTTP_X_PELICAN_COORDINATE": st.sampled_from(["lat=43.07,long=-89.40", "lat=0,long=0", "lat=91,long=0", "x"]),
        "HTTP_X_PELICAN_DEBUG": st.sampled_from(["true", "false"]),
        "HTTP_DEPTH": st.sampled_from(["0", "1", "infinity", ""]),
        "HTTP_X_FORWARDED_FOR": st.sampled_from(["198.51.100.7", "junk", "2001:db8::1, 192.0.2.1"]),
        "HTTP_HOST": st.sampled_from(
            ["to-origins.example.org", "to-caches.example.org", "a..b", "x" * 64, "é", "h:8444", "[::1]:1", ""]
        ),
        "HTTP_X_FORWARDED_HOST": st.just("to-origins.example.org"),
        "HTTP_UPGRADE": st.sampled_from(["websocket", "h2c"]),
        "HTTP_CONNECTION": st.sampled_from(["Upgrade", "close"]),
        "HTTP_TRACEPARENT": st.sampled_from(["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "junk"]),
        "REMOTE_ADDR": st.sampled_from(["198.51.100.9", "2001:db8::9", ""]),
    },
)
USUAL = {"HTTP_USER_AGENT": "pelican-client/7.20.0", "HTTP_X_PELICAN_JOBID": JOB, "HTTP_HOST": "director.example.org"}
methods = st.sampled_from(
    ["GET"] * 5 + ["HEAD"] * 2 + ["PROPFIND", "PUT", "DELETE", "COPY", "OPTIONS", "POST", "MKCOL", "get", "LOCK"]
)


def requests(objects: tuple[str, ...]) -> st.SearchStrategy[list[Asked]]:
    one = st.builds(
        lambda method, target, query, sent: Asked(method, target + query, sent),
        methods,
        targets(objects),
        st.just("") | queries,
        st.just(USUAL) | headers,
    )
    return st.lists(one, min_size=8, max_size=16)


scenes = st.lists(st.sampled_from(OBJECTS), min_size=1, max_size=3, unique=True).flatmap(
    lambda objects: st.tuples(knowledge(tuple(objects)), requests(tuple(objects)))
)


@pytest.fixture(autouse=True)
def _no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("director_wsgi.stat.server.Bulkhead.start", ask_in_place)
    monkeypatch.setattr(entrance, "_random_id", lambda: "11111111-2222-4333-8444-555555555555")


def houses(clock: FakeClock, wall: FakeClock, policy: dict[str, Any]) -> Iterator[House]:
    for has_front in (True, True, False):
        yield House(clock, wall, has_front=has_front, **policy)


# Not shrunk: with two directors for each try that would take minutes, and the request that differs is told anyway.
@settings(max_examples=60, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(ads=federations(), policy=policies, scene=scenes)
def test_who_answers_makes_no_difference(
    ads: tuple[ServerAd, ...], policy: dict[str, Any], scene: tuple[Knowledge, list[Asked]]
) -> None:
    knows, asked = scene
    clock, wall = FakeClock(), FakeClock(1_767_225_600.0)
    all_three = tuple(houses(clock, wall, policy))
    front, main_thread, route = all_three
    # In vain, and the dice are thrown once more: whoever wants the same again has to say a seed.
    main_thread.asks_main_thread_first = bool(policy["ranking_seed"])
    try:
        for house in all_three:
            house.record(*ads)
            knows.teach(house, ads, (STALE,))
        clock.advance(11)
        for house in all_three:
            knows.teach(house, ads, (DUE,))
        clock.advance(50)
        for house in all_three:
            knows.teach(house, ads, tuple(FRESH))
            for path in knows.written:
                house.director.engine.forget_absence(path)
        clock.advance(0.5)
        for one in asked:
            said = [house.call(*one) for house in all_three]
            assert said[0] == said[2], one
            assert said[1] == said[2], one
            if one.method == "HEAD":
                assert not said[0].body
        assert front.books() == route.books()
        assert main_thread.books() == route.books()
        assert front.begun == route.begun
        assert not any(route.answered)
        for answered, begun, one in zip(front.answered, front.begun, asked, strict=True):
            event("the front" if answered else "the route, which goes on" if begun else "the route alone")
            assert begun <= 1, one
    finally:
        for house in all_three:
            house.close()
