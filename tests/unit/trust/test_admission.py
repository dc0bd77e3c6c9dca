"""The way of an advertisement: protocol.md 2.4 and 7.8, by the names of its examples."""

import json
import queue
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from director_wsgi.errors import (
    AdForbidden,
    AdRejected,
    IncompatibleVersion,
    InvalidAd,
    NotApproved,
    RegistryUnavailable,
    TooManyAds,
)
from director_wsgi.federation import ads
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.filters import FilterReason, Filters
from director_wsgi.federation.models import ServerAd, ServerKind
from director_wsgi.limits.deadline import Deadline
from director_wsgi.trust import admission
from director_wsgi.trust.admission import LONG_BYTES, TURNS, Admission, help_sentence
from director_wsgi.trust.inquiry import APPROVAL_LIFETIME_S, PERMITS, Inquiries
from director_wsgi.trust.prefixes import AllowedPrefixes
from director_wsgi.trust.registry import Registry
from tests.fakes import FakeClock
from tests.unit.trust.forge import NOW, Key, cache_body, origin_body
from tests.unit.trust.registries import API, URL, FakeRegistry, answer

KEY = Key()
ORIGIN, CACHE = ServerKind.ORIGIN, ServerKind.CACHE
PREFIX = "/origins/o1.example.org:8447"
AGENTS = {ORIGIN: "pelican-origin/7.20.0", CACHE: "pelican-cache/7.20.0"}


class House:
    """An admission and everything around it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.wall = FakeClock(NOW)
        self.registry = FakeRegistry(KEY)
        asked = Registry(self.registry, URL)
        self.directory = Directory(clock=self.clock)
        self.filters = Filters(wall=self.wall)
        self.inquiries = Inquiries(asked, timeout_s=5, clock=self.clock)
        self.prefixes = AllowedPrefixes(asked, clock=self.clock)
        self.admission = Admission(
            directory=self.directory,
            filters=self.filters,
            inquiries=self.inquiries,
            prefixes=self.prefixes,
            default_lifetime_s=900,
            help_text=help_sentence(contact_email="", contact_url="", web_url="https://director.example.org"),
            wall=self.wall,
            publish=self._publish,
        )
        self.published: list[tuple[ServerAd, float, bool]] = []

    def _publish(self, ad: ServerAd, lifetime_s: float, *, is_heeded: bool) -> None:
        self.published.append((ad, lifetime_s, is_heeded))

    def load_prefixes(self, **allowed: list[str]) -> None:
        self.registry.allowed = {name.replace("_", "."): paths for name, paths in allowed.items()}
        assert self.prefixes.refresh(Deadline.after(5, self.clock))

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.wall.advance(seconds)

    def admit(self, kind: ServerKind, body: bytes, authorization: str | None = "", agent: str | None = None) -> None:
        self.admission.admit(
            kind,
            body,
            authorization=f"Bearer {KEY.token()}" if authorization == "" else authorization,
            user_agent=AGENTS[kind] if agent is None else agent,
            deadline=Deadline.after(60, self.clock),
        )

    def refusal(self, kind: ServerKind, body: bytes, *args: Any) -> AdRejected:
        with pytest.raises(AdRejected) as caught:
            self.admit(kind, body, *args)
        assert not self.servers, "a refused advertisement was stored"
        return caught.value

    @property
    def servers(self) -> list[ServerAd]:
        return list(self.directory.snapshot().servers.values())


@pytest.fixture
def house() -> House:
    return House()


def test_c70_e45_an_origin_is_stored_after_the_documented_questions(house: House) -> None:
    house.admit(ORIGIN, origin_body())
    (ad,) = house.servers
    assert (ad.name, ad.kind, ad.version, [n.path for n in ad.namespaces]) == ("ORIGIN_1", ORIGIN, "7.20.0", ["/demo"])
    assert house.registry.paths == [
        "/checkNamespaceStatus",
        f"{PREFIX}/.well-known/openid-configuration",
        f"{PREFIX}/.well-known/issuer.jwks",
        "/checkNamespaceStatus",
        "/demo/.well-known/openid-configuration",
        "/demo/.well-known/issuer.jwks",
        f"/server{PREFIX}",
    ]
    bodies = [json.loads(body)["prefix"] for _, _, body in house.registry.asked if body]
    assert bodies == [PREFIX, "/demo"]


def test_c71_a_cache_is_stored_and_none_of_its_namespaces_is_asked_about(house: House) -> None:
    house.load_prefixes()
    house.registry.asked.clear()
    house.admit(CACHE, cache_body("/demo", "/ro"))
    (ad,) = house.servers
    assert [n.path for n in ad.namespaces] == ["/demo", "/ro"]
    assert house.registry.paths == [
        "/checkNamespaceStatus",
        "/caches/CACHE_CHI/.well-known/openid-configuration",
        "/caches/CACHE_CHI/.well-known/issuer.jwks",
        "/server/caches/CACHE_CHI",
    ]


def test_a_bare_token_is_enough(house: House) -> None:
    house.admit(ORIGIN, origin_body(), KEY.token())
    assert house.servers


@pytest.mark.parametrize("authorization", [None, ""])
def test_c72_e46_no_authorization_is_403_even_for_broken_json(house: House, authorization: str | None) -> None:
    with pytest.raises(AdForbidden) as caught:
        house.admission.admit(
            ORIGIN, b"{", authorization=authorization, user_agent="", deadline=Deadline.after(1, house.clock)
        )
    assert str(caught.value) == "Bearer token not present in the 'Authorization' header"


def test_c75_e46_too_old_a_server_learns_so_before_its_token_or_body_is_looked_at(house: House) -> None:
    error = house.refusal(ORIGIN, b"{", "x", "pelican-origin/7.8.9")
    assert isinstance(error, IncompatibleVersion)
    assert str(error) == (
        "Incompatible versions detected: The director does not support your origin version (7.8.9). "
        "Please update to 7.9.0 or newer."
    )
    assert "(7.8.1). Please update to 7.8.2" in str(house.refusal(CACHE, b"{", "x", "pelican-cache/7.8.1"))


@pytest.mark.parametrize("body", [b"{", origin_body(**{"data-url": ...}), origin_body(**{"data-url": ""})])
def test_c72_e46_a_broken_body_is_400_whatever_the_token(house: House, body: bytes) -> None:
    error = house.refusal(ORIGIN, body, "not a token")
    assert isinstance(error, InvalidAd)
    assert str(error).startswith("invalid Origin registration: ")


def test_c76_e46_no_registry_prefix(house: House) -> None:
    error = house.refusal(ORIGIN, origin_body(**{"registry-prefix": ""}))
    assert isinstance(error, AdForbidden)
    assert str(error) == (
        "Origin advertisement rejected: no registry prefix present in the ad. "
        "Ensure the server runs a supported Pelican version and is registered at the federation registry"
    )
    assert not house.registry.asked


@pytest.mark.parametrize("prefix", ["/caches/x", "/demo", "/origins/", "/origins/../demo", "/origins/x/", "origins/x"])
def test_c76_e46_the_registry_prefix_must_be_one_of_an_origin(house: House, prefix: str) -> None:
    error = house.refusal(ORIGIN, origin_body(**{"registry-prefix": prefix}))
    assert str(error) == (
        f'Origin advertisement rejected: registry prefix "{prefix}" is not a valid Origin registration prefix'
    )
    assert not house.registry.asked


def test_c76_a_cache_must_not_come_as_an_origin(house: House) -> None:
    house.load_prefixes()
    error = house.refusal(CACHE, cache_body(**{"registry-prefix": PREFIX}))
    assert "is not a valid Cache registration prefix" in str(error)


def test_c73_e46_a_token_signed_by_another_key(house: House) -> None:
    error = house.refusal(ORIGIN, origin_body(), f"Bearer {Key('k1').token()}")
    assert type(error) is AdForbidden
    assert str(error) == (
        "Authorization token verification failed could not verify the signature with the registered key"
    )


def test_c73_an_origin_needs_the_key_of_each_namespace(house: House) -> None:
    house.registry.overrides[f"{API}/demo/.well-known/issuer.jwks"] = answer(200, {"keys": [Key("k1").jwk]})
    error = house.refusal(ORIGIN, origin_body())
    assert str(error) == (
        "Authorization token verification failed: could not verify the signature with the registered key"
    )


def test_c73_e46_a_token_without_the_scope_word(house: House) -> None:
    error = house.refusal(ORIGIN, origin_body(), f"Bearer {KEY.token(scope='read:/')}")
    assert str(error) == "Authorization token verification failed. Token missing required scope"


@pytest.mark.parametrize("authorization", ["Bearer ", "bearer x", "Basic dTpw", "x" * 9000, "Bearer " + "." * 100, "é"])
def test_what_is_no_token_is_403_and_the_registry_is_not_bothered(house: House, authorization: str) -> None:
    error = house.refusal(ORIGIN, origin_body(), authorization)
    assert str(error).startswith("Authorization token verification failed ")
    assert not house.registry.asked


def test_c74_e46_an_unapproved_server(house: House) -> None:
    house.registry.unapproved.add(PREFIX)
    error = house.refusal(ORIGIN, origin_body(), f"Bearer {Key('k1').token()}")  # said before the signature is checked
    assert isinstance(error, NotApproved)
    assert str(error) == (
        'Origin "ORIGIN_1" was not approved by an administrator. '
        "You may find more information on https://director.example.org"
    )


def test_c74_e46_an_unapproved_namespace(house: House) -> None:
    house.registry.unapproved.add("/demo")
    error = house.refusal(ORIGIN, origin_body())
    assert isinstance(error, NotApproved)
    assert str(error).startswith('The namespace "/demo" was not approved by an administrator. ')


def test_e46_a_registry_that_knows_no_approvals(house: House) -> None:
    house.registry.overrides[f"{API}/checkNamespaceStatus"] = answer(404)
    house.admit(ORIGIN, origin_body())
    assert house.servers


def test_a_prefix_that_the_registry_does_not_know_is_403_with_its_words(house: House) -> None:
    house.registry.overrides[f"{API}/checkNamespaceStatus"] = answer(400, {"msg": "prefix is not registered"})
    error = house.refusal(ORIGIN, origin_body())
    assert type(error) is AdForbidden
    assert str(error) == ("Authorization token verification failed the registry answered 400: prefix is not registered")


@pytest.mark.parametrize("is_away", [True, False])
def test_a_registry_without_an_answer_is_no_refusal(house: House, is_away: bool) -> None:
    house.registry.is_away = is_away
    house.registry.overrides[f"{API}/checkNamespaceStatus"] = answer(500)
    error = house.refusal(ORIGIN, origin_body())
    assert isinstance(error, RegistryUnavailable)
    assert error.retry_after_s == 1


def test_a_known_server_is_admitted_while_the_registry_is_away(house: House) -> None:
    house.admit(ORIGIN, origin_body())
    house.registry.is_away = True
    for _ in range(3):
        house.advance(APPROVAL_LIFETIME_S * 4)
        token = KEY.token(iat=house.wall(), nbf=house.wall(), exp=house.wall() + 60)
        house.admit(ORIGIN, origin_body(expiry=..., now=...), token)
        assert house.servers


def test_a_known_server_needs_no_permit_and_an_unknown_one_comes_again(house: House) -> None:
    house.admit(ORIGIN, origin_body())
    for _ in range(PERMITS):
        house.inquiries.permits.acquire()
    house.admit(ORIGIN, origin_body())
    with pytest.raises(RegistryUnavailable):
        house.admit(ORIGIN, origin_body(**{"registry-prefix": "/origins/o2"}))


def test_e46_a_cache_before_the_first_table_comes_again_at_once_whatever_it_posts(house: House) -> None:
    error = house.refusal(CACHE, b"{")
    assert isinstance(error, RegistryUnavailable)
    assert error.retry_after_s == 1
    assert str(error) == (
        "The Director has not yet fetched this cache's allowed prefixes from the Registry; please retry shortly."
    )
    house.admit(ORIGIN, origin_body())  # an origin does not depend on it


def test_e46_a_table_once_loaded_counts_for_as_long_as_the_registry_is_away(house: House) -> None:
    """Upstream refuses caches with 500 when it is fifteen minutes old: a registry's outage would empty a federation."""
    house.load_prefixes(c1_example_org=["/demo"])
    house.registry.overrides[f"{API}/caches/allowedPrefixes"] = answer(500)
    for _ in range(60):
        house.advance(60)
        assert not house.prefixes.refresh(Deadline.after(5, house.clock))
    token = KEY.token(iat=house.wall(), nbf=house.wall(), exp=house.wall() + 60)
    house.admit(CACHE, cache_body("/demo", "/ro", expiry=..., now=...), token)
    (ad,) = house.servers
    assert [n.path for n in ad.namespaces] == ["/demo"]


def test_long_advertisements_are_read_one_by_one_and_few_wait_for_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever likes can send them: threads that read them all at once would slow every redirect down."""
    is_being_read, may_go_on = threading.Event(), threading.Event()
    read_at_once: list[int] = []
    outcomes: queue.Queue[type[Exception] | None] = queue.Queue()
    parse, reading = admission.parse_ad, threading.BoundedSemaphore(1)

    def slowly(body: bytes, kind: ServerKind) -> Any:
        if len(body) > LONG_BYTES:
            assert reading.acquire(blocking=False)
            is_being_read.set()
            assert may_go_on.wait(10)
            read_at_once.append(len(body))
            reading.release()
        return parse(body, kind)

    def advertise() -> None:
        try:
            house.admit(ORIGIN, origin_body(ignored="x" * LONG_BYTES))
        except TooManyAds as error:
            outcomes.put(type(error))
        else:
            outcomes.put(None)

    monkeypatch.setattr(admission, "parse_ad", slowly)
    threads = [threading.Thread(target=advertise) for _ in range(TURNS + 1)]
    threads[0].start()
    assert is_being_read.wait(10)
    for thread in threads[1:]:
        thread.start()
    assert outcomes.get(timeout=10) is TooManyAds
    house.admit(ORIGIN, origin_body())  # a short one waits for nobody
    may_go_on.set()
    for thread in threads:
        thread.join(10)
    assert [outcomes.get_nowait() for _ in range(TURNS)] == [None] * TURNS
    assert len(read_at_once) == TURNS


def test_a_long_one_whose_turn_does_not_come_in_time_comes_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    body = origin_body(ignored="x" * LONG_BYTES)
    refused: list[type[AdRejected]] = []
    parse = admission.parse_ad

    def meanwhile(_body: bytes, kind: ServerKind) -> Any:
        if not refused:
            with pytest.raises(AdRejected) as caught:
                house.admission.admit(
                    kind, body, authorization="x", user_agent="", deadline=Deadline.after(0, house.clock)
                )
            refused.append(caught.type)
        return parse(_body, kind)

    monkeypatch.setattr(admission, "parse_ad", meanwhile)
    house.admit(ORIGIN, body)
    assert refused == [TooManyAds]


def test_another_host_name_lifts_no_restriction_of_a_cache(house: House) -> None:
    """The registry knows a cache by what follows `/caches/`, and a cache may have any number of host names."""
    house.registry.allowed = {"CACHE_CHI": ["/demo"]}
    assert house.prefixes.refresh(Deadline.after(5, house.clock))
    house.admit(CACHE, cache_body("/demo", "/secret", "/pelican/monitoring", **{"data-url": "https://alias:1"}))
    (ad,) = house.servers
    assert [namespace.path for namespace in ad.namespaces] == ["/demo", "/pelican/monitoring"]


def test_e46_a_restricted_cache_keeps_what_it_may_serve(house: House) -> None:
    house.load_prefixes(c1_example_org=["/demo"])
    house.admit(CACHE, cache_body("/demo/", "/ro", "/multi", "/pelican/monitoring"))
    (ad,) = house.servers
    assert [n.path for n in ad.namespaces] == ["/demo", "/pelican/monitoring"]


def test_an_invalid_url_is_400(house: House) -> None:
    error = house.refusal(ORIGIN, origin_body(**{"data-url": "localhost:1234"}))
    assert isinstance(error, InvalidAd)
    assert str(error) == "Invalid Origin registration. Origin.URL localhost:1234 is not a valid URL"


@pytest.mark.parametrize(
    ("changes", "lifetime_s"),
    [
        ({}, 600),
        ({"expiry": ..., "now": ...}, 900),
        ({"expiry": "0001-01-01T00:00:00Z"}, 900),
        ({"now": ...}, 600),
        ({"now": "2025-12-31T23:00:00Z", "expiry": "2025-12-31T23:10:00Z"}, 600),  # C-78: an hour slow
        ({"now": "2026-01-01T01:00:00Z", "expiry": "2026-01-01T01:10:00Z"}, 600),  # an hour fast
        ({"now": "2026-01-01T00:00:00.09Z", "expiry": "2026-01-01T00:05:00Z"}, 300),
        ({"expiry": "9999-12-31T23:59:59Z"}, 86_400),  # no longer than a day, whatever it says
        ({"now": "2025-12-31T23:00:00Z", "expiry": "9999-12-31T23:59:59Z"}, 86_400),
        ({"now": "0001-01-01T00:00:00Z"}, 600),
    ],
)
def test_c78_the_lifetime_is_the_senders_whatever_its_clock_shows(
    house: House, changes: dict[str, Any], lifetime_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[float] = []
    monkeypatch.setattr(house.directory, "record", lambda _ad, lifetime, _filtered: recorded.append(lifetime))
    house.admit(ORIGIN, origin_body(**changes))
    assert recorded == [pytest.approx(lifetime_s, abs=0.2)]


@pytest.mark.parametrize(
    "changes",
    [
        {"expiry": "2025-12-31T23:59:00Z"},
        {"expiry": "2025-12-31T23:59:00Z", "now": ...},
        {"expiry": "2025-12-31T22:00:00Z", "now": "2025-12-31T23:00:00Z"},
        {"expiry": "2026-01-01T00:00:00Z"},
    ],
)
def test_e46_what_has_expired_is_taken_and_not_stored(house: House, changes: dict[str, Any]) -> None:
    house.admit(ORIGIN, origin_body(**changes))
    assert not house.servers
    assert house.admission.counts == {"expired": 1}


def test_an_expired_advertisement_leaves_the_live_one_alone(house: House) -> None:
    house.admit(ORIGIN, origin_body())
    house.admit(ORIGIN, origin_body(name="OTHER", expiry="2025-12-31T23:59:00Z"))
    assert [ad.name for ad in house.servers] == ["ORIGIN_1"]


@pytest.mark.parametrize(
    ("advertised", "agent", "version"),
    [("7.20.0", None, "7.20.0"), ("", None, "7.20.0"), (..., "x", "unknown"), ("v7.24", None, "7.24.0")],
)
def test_the_version_is_settled(house: House, advertised: object, agent: str | None, version: str) -> None:
    house.admit(ORIGIN, origin_body(version=advertised), "", agent)
    assert house.servers[0].version == version


def test_a_new_advertisement_replaces_the_old_whatever_its_generation(house: House) -> None:
    house.admit(ORIGIN, origin_body(generationID=9, startTime=9))
    house.admit(ORIGIN, origin_body(generationID=1, startTime=1, status="degraded"))
    assert [ad.status for ad in house.servers] == ["degraded"]


DOWNTIME = {"id": "d", "serverName": "ORIGIN_1", "startTime": int(NOW - 60) * 1000, "endTime": -1}


class TestWhoMaySpeakOfDowntimes:
    def test_c70_e45_who_is_called_as_it_is_registered(self, house: House) -> None:
        house.registry.names[PREFIX] = "ORIGIN_1"
        house.admit(ORIGIN, origin_body(downtimes=[DOWNTIME]))
        assert house.registry.paths[-1] == f"/server{PREFIX}"
        assert house.filters.reason("ORIGIN_1") is FilterReason.SERVER
        assert [downtime.id for downtime in house.servers[0].downtimes] == ["d"]
        assert house.directory.snapshot().match("/demo") is None
        house.admit(ORIGIN, origin_body(downtimes=[]))
        assert house.directory.snapshot().match("/demo") is not None

    def test_e46_who_shuts_down_is_skipped_until_it_says_otherwise(self, house: House) -> None:
        house.registry.names[PREFIX] = "ORIGIN_1"
        house.admit(ORIGIN, origin_body(status="shutting down"))
        assert [ad.status for ad in house.servers] == ["shutting down"]
        assert house.filters.reason("ORIGIN_1") is FilterReason.SHUTDOWN
        assert house.directory.snapshot().match("/demo") is None
        house.admit(ORIGIN, origin_body(status="ok"))
        assert house.directory.snapshot().match("/demo") is not None

    @pytest.mark.parametrize("registered", ["ANOTHER", None])
    @pytest.mark.parametrize("status", ["ok", "shutting down"])
    def test_e46_whoever_else_is_admitted_and_not_heeded(
        self, house: House, registered: str | None, status: str
    ) -> None:
        """The name is another's, or the registry does not know it: it cannot be told from trouble."""
        if registered:
            house.registry.names[PREFIX] = registered
        house.admit(ORIGIN, origin_body(downtimes=[DOWNTIME], status=status))
        (ad,) = house.servers
        assert (ad.downtimes, ad.status) == ((), status)
        assert house.filters.names() == frozenset()
        assert house.directory.snapshot().match("/demo") is not None

    def test_who_speaks_in_the_name_of_another_ends_no_downtime_of_it(self, house: House) -> None:
        house.registry.names[PREFIX] = "ORIGIN_1"
        house.admit(ORIGIN, origin_body(downtimes=[DOWNTIME], status="shutting down"))
        house.registry.names["/origins/evil"] = "EVIL"
        evil = {"registry-prefix": "/origins/evil", "data-url": "https://evil.example.org"}
        house.admit(ORIGIN, origin_body(**evil))
        assert house.filters.names() == {"ORIGIN_1"}
        assert house.directory.snapshot().match("/demo") is None

    def test_a_name_once_known_is_enough_while_the_registry_is_away(self, house: House) -> None:
        house.registry.names[PREFIX] = "ORIGIN_1"
        house.admit(ORIGIN, origin_body())
        house.registry.is_away = True
        house.advance(3600)
        token = KEY.token(iat=house.wall(), nbf=house.wall(), exp=house.wall() + 60)
        house.admit(ORIGIN, origin_body(status="shutting down", expiry=..., now=...), token)
        assert house.filters.names() == {"ORIGIN_1"}

    def test_what_has_expired_already_says_nothing_about_now(self, house: House) -> None:
        house.registry.names[PREFIX] = "ORIGIN_1"
        house.admit(ORIGIN, origin_body(expiry="2025-12-31T23:59:00Z", status="shutting down"))
        assert house.filters.names() == frozenset()

    def test_who_is_refused_says_nothing_at_all(self, house: House) -> None:
        house.registry.names[PREFIX] = "ORIGIN_1"
        house.refusal(ORIGIN, origin_body(status="shutting down"), f"Bearer {Key('k1').token()}")
        assert house.filters.names() == frozenset()


class TestRenewals:
    PATHS = tuple(f"/lab/{number}" for number in range(500))

    @pytest.fixture
    def known(self, house: House, monkeypatch: pytest.MonkeyPatch) -> ServerAd:
        """A cache that has advertised; from then on no list of namespaces may be read element by element."""
        house.load_prefixes(RESTRICTED=list(self.PATHS[:3]))
        house.registry.names["/caches/CACHE_CHI"] = "CACHE_CHI"
        house.admit(CACHE, cache_body(*self.PATHS, generationID=2))
        house.registry.asked.clear()

        def fail(*_: object) -> None:
            raise AssertionError("read element by element")

        monkeypatch.setattr(ads, "_namespaces", fail)
        (ad,) = house.servers
        return ad

    def test_one_that_says_the_same_changes_a_lifetime_and_nothing_else(self, house: House, known: ServerAd) -> None:
        before = house.directory.snapshot()
        house.advance(60)
        house.admit(CACHE, cache_body(*self.PATHS, generationID=3))
        assert house.directory.snapshot() is before
        assert house.published[1][0] is known
        assert not house.registry.asked
        _, lifetime_s, _ = house.published[1]
        house.advance(lifetime_s - 1)
        assert house.directory.snapshot() is before
        house.advance(1)
        assert not house.servers

    def test_its_sender_is_looked_at_all_the_same(self, house: House, known: ServerAd) -> None:
        for authorization in (f"Bearer {Key('k1').token()}", f"Bearer {KEY.token(exp=NOW - 61)}", "x", None):
            with pytest.raises(AdForbidden):
                house.admit(CACHE, cache_body(*self.PATHS), authorization)
        house.registry.unapproved.add("/caches/CACHE_CHI")
        house.inquiries.approvals.answers.forget("/caches/CACHE_CHI")
        with pytest.raises(NotApproved):
            house.admit(CACHE, cache_body(*self.PATHS))

    def test_whoever_repeats_the_list_may_serve_what_it_may_serve(self, house: House, known: ServerAd) -> None:
        restricted = {"name": "R", "data-url": "https://r.example.org", "registry-prefix": "/caches/RESTRICTED"}
        house.admit(CACHE, cache_body(*self.PATHS, **restricted))
        served = {ad.name: [namespace.path for namespace in ad.namespaces] for ad in house.servers}
        assert served == {known.name: list(self.PATHS), "R": list(self.PATHS[:3])}
        house.admit(CACHE, cache_body(*self.PATHS))
        assert len(house.servers) == 2

    def test_who_was_refused_makes_no_list_known(self, house: House) -> None:
        house.load_prefixes()
        before = len(ads._known_lists)
        with pytest.raises(AdForbidden):
            house.admit(CACHE, cache_body(*self.PATHS, "/by-a-stranger"), "x")
        assert len(ads._known_lists) == before


class TestCounts:
    def test_senders_that_may_not_advertise_are_counted_by_name(self, house: House) -> None:
        with pytest.raises(AdForbidden):
            house.admit(ORIGIN, origin_body(**{"registry-prefix": ""}))
        with pytest.raises(AdForbidden):
            house.admit(ORIGIN, origin_body(), f"Bearer {Key('k1').token()}")
        house.registry.unapproved.add(PREFIX)
        house.advance(APPROVAL_LIFETIME_S)
        with pytest.raises(AdRejected):
            house.admit(ORIGIN, origin_body(name="OTHER", **{"registry-prefix": "/origins/x"}), "not a token")
        assert house.admission.rejected() == {"unverified": 1, "ORIGIN_1": 1, "OTHER": 1}

    def test_a_registry_without_an_answer_rejects_nobody(self, house: House) -> None:
        house.registry.is_away = True
        house.refusal(ORIGIN, origin_body())
        assert house.admission.rejected() == {}

    def test_a_refusal_carries_what_could_be_read(self, house: House) -> None:
        assert house.refusal(ORIGIN, b"{").ad is None
        assert house.refusal(ORIGIN, origin_body(), "not a token").ad.name == "ORIGIN_1"

    def test_answers_are_counted_for_each_namespace(self, house: House) -> None:
        house.admit(ORIGIN, origin_body())
        house.admission.answered(house.servers[0], 200)
        assert house.admission.received() == {("ORIGIN_1", "https://o1.example.org:8447", "Origin", "200", "/demo"): 1}


def test_outcomes_are_counted(house: House) -> None:
    house.admit(ORIGIN, origin_body())
    house.admit(ORIGIN, origin_body())
    with pytest.raises(InvalidAd):
        house.admit(ORIGIN, b"")
    assert house.admission.counts == {"admitted": 2, "InvalidAd": 1}


@pytest.mark.parametrize(
    ("email", "url", "sentence"),
    [
        ("a@b", "https://h", "Contact a@b or visit https://h for help."),
        ("a@b", "", "Contact a@b for help."),
        ("", "https://h", "Visit https://h for help."),
        ("", "", "You may find more information on https://d"),
    ],
)
def test_whom_to_turn_to(email: str, url: str, sentence: str) -> None:
    assert help_sentence(contact_email=email, contact_url=url, web_url="https://d") == sentence


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=100) | st.sampled_from([origin_body(), cache_body("/demo")]),
    authorization=st.none() | st.text(max_size=100),
    agent=st.text(max_size=60) | st.just(AGENTS[ORIGIN]),
    kind=st.sampled_from(ServerKind),
)
def test_nothing_a_sender_posts_raises_anything_but_a_rejection(
    house: House, body: bytes, authorization: str | None, agent: str, kind: ServerKind
) -> None:
    house.refusal(kind, body, authorization or "not a token", agent)


class TestWhatOtherWorkersAreTold:
    def test_the_object_that_the_directory_holds_and_how_long_it_lives(self, house: House) -> None:
        house.registry.names[PREFIX] = "ORIGIN_1"
        for _ in range(2):
            house.admit(ORIGIN, origin_body())
        (held,) = house.servers
        assert [(ad is held, lifetime_s, is_heeded) for ad, lifetime_s, is_heeded in house.published] == [
            (True, 600.0, True)
        ] * 2

    @pytest.mark.parametrize("registered", ["ANOTHER", None])
    def test_that_a_server_may_be_speaking_in_anothers_name(self, house: House, registered: str | None) -> None:
        if registered:
            house.registry.names[PREFIX] = registered
        house.admit(ORIGIN, origin_body(downtimes=[DOWNTIME], status="shutting down"))
        ((ad, _, is_heeded),) = house.published
        assert (ad.downtimes, is_heeded) == ((), False)

    def test_nothing_of_what_was_not_stored(self, house: House) -> None:
        house.refusal(ORIGIN, b"{")
        house.registry.unapproved.add(PREFIX)
        house.refusal(ORIGIN, origin_body())
        house.registry.unapproved.clear()
        house.advance(60)
        house.admit(ORIGIN, origin_body(expiry="2026-01-01T00:00:30Z", now=...), KEY.token(exp=house.wall() + 60))
        assert house.published == []


def test_another_lifetime_and_another_sentence_hold_for_the_next_advertisement(house: House) -> None:
    silent = origin_body(expiry=..., now=...)  # of its end
    house.admit(ORIGIN, silent)
    house.admission.adopt(default_lifetime_s=60, help_text="Call us.")
    house.admit(ORIGIN, silent)
    assert [lifetime_s for _ad, lifetime_s, _is_heeded in house.published] == [900, 60]
    house.registry.unapproved.add("/origins/other")
    with pytest.raises(NotApproved, match=r"was not approved by an administrator\. Call us\.$"):
        house.admit(ORIGIN, origin_body(**{"registry-prefix": "/origins/other"}))
    assert house.admission.counts == {"admitted": 2, "NotApproved": 1}
