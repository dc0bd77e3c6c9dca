"""Laws of federation tokens: who gets one, and what it permits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.errors import FedTokenFailed, FedTokenRefused, RegistryUnavailable
from director_wsgi.federation.models import ServerKind
from director_wsgi.limits.deadline import Deadline
from director_wsgi.trust.fed_token import FedTokens, read_scope
from director_wsgi.trust.inquiry import Inquiries
from director_wsgi.trust.keyring import KeyRing
from director_wsgi.trust.minting import Minter
from director_wsgi.trust.prefixes import AllowedPrefixes
from director_wsgi.trust.registry import Registry
from tests.fakes import FakeClock
from tests.unit.trust.forge import Key
from tests.unit.trust.registries import API, URL, FakeRegistry, answer
from tests.unit.trust.rings import FEDERATION, ring_of

CACHE, ORIGIN = ServerKind.CACHE, ServerKind.ORIGIN


class Office:
    """Where federation tokens are issued, and the registry it asks."""

    def __init__(self, ring: KeyRing, clock: FakeClock, wall: FakeClock) -> None:
        self.key = Key()
        self.registry = FakeRegistry(self.key)
        self.clock = clock
        self.wall = wall
        registry = Registry(self.registry, URL)
        self.prefixes = AllowedPrefixes(registry, clock=clock)
        self.inquiries = Inquiries(registry, timeout_s=5.0, clock=clock)
        self.tokens = FedTokens(
            inquiries=self.inquiries,
            prefixes=self.prefixes,
            minter=Minter(ring, wall=wall),
            issuer=FEDERATION,
            lifetime_s=900.0,
            wall=wall,
        )

    def load(self, **allowed: list[str]) -> Office:
        self.registry.allowed = allowed
        assert self.prefixes.refresh(Deadline.after(1.0, self.clock))
        return self

    def ask(self, host: str = "CACHE_CHI", kind: ServerKind = CACHE, raw: str | None = None) -> dict[str, Any]:
        """The claims of the token issued."""
        raw = self.key.token() if raw is None else raw
        token = self.tokens.issue(host, kind, raw, Deadline.after(5.0, self.clock))
        return jwt.decode(token, options={"verify_signature": False})


@pytest.fixture
def unloaded(tmp_path: Path, clock: FakeClock, wall: FakeClock) -> Office:
    """One that has yet to hear what caches may serve."""
    return Office(ring_of(tmp_path, wall=wall), clock, wall)


@pytest.fixture
def office(unloaded: Office) -> Office:
    return unloaded.load()


class TestAToken:
    def test_lets_a_server_read_everything_that_nobody_restricts(self, office: Office) -> None:
        claims = office.ask()
        assert claims.pop("jti")
        now = int(office.wall())
        assert claims == {
            "wlcg.ver": "1.0",
            "iss": FEDERATION,
            "sub": "CACHE_CHI",
            "aud": ["https://wlcg.cern.ch/jwt/v1/any"],
            "scope": "storage.read:/",
            "iat": now,
            "nbf": now,
            "exp": now + 900,
        }

    def test_lets_a_restricted_one_read_what_it_may(self, unloaded: Office) -> None:
        unloaded.load(CACHE_CHI=["/b", "/a/", "*", "relative"])
        assert unloaded.ask()["scope"] == "storage.read:/a/ storage.read:/b"
        assert unloaded.ask("OTHER")["scope"] == "storage.read:/"

    @pytest.mark.parametrize("allowed", [[], ["*"], ["a"], ["/a storage.modify:/"]])
    def test_has_no_scope_if_nothing_usable_is_allowed(self, unloaded: Office, allowed: list[str]) -> None:
        unloaded.load(CACHE_CHI=allowed)
        assert "scope" not in unloaded.ask()

    def test_follows_the_table(self, unloaded: Office) -> None:
        unloaded.load(CACHE_CHI=["/a"])
        unloaded.load(CACHE_CHI=["/b"])
        assert unloaded.ask()["scope"] == "storage.read:/b"


@given(st.none() | st.lists(st.text(max_size=30) | st.from_regex(r"/[ -~\s]{0,20}", fullmatch=True)))
def test_no_prefix_whatever_it_is_gives_another_scope(prefixes: list[str] | None) -> None:
    words = read_scope(prefixes).split()
    assert all(word.startswith("storage.read:/") for word in words)
    allowed = ["/"] if prefixes is None else prefixes
    assert {word.removeprefix("storage.read:") for word in words} <= set(allowed)


class TestWhoGetsOne:
    @pytest.mark.parametrize(("kind", "prefix"), [(CACHE, "/caches/CACHE_CHI"), (ORIGIN, "/origins/CACHE_CHI")])
    def test_whoever_holds_the_key_of_that_prefix(self, office: Office, kind: ServerKind, prefix: str) -> None:
        office.registry.asked.clear()
        office.ask(kind=kind)
        posted = [json.loads(body) for method, _, body in office.registry.asked if method == "POST" and body]
        assert posted == [{"prefix": prefix}]
        assert f"{prefix}/.well-known/issuer.jwks" in office.registry.paths

    def test_not_whoever_holds_another(self, office: Office) -> None:
        for raw in (Key().token(), Key("k2").token(), "nonsense", "a.b.c", "x" * 9000, office.key.token(exp=1.0)):
            with pytest.raises(FedTokenFailed, match="Failed to verify advertise token"):
                office.ask(raw=raw)

    def test_not_one_whose_token_is_for_something_else(self, office: Office) -> None:
        with pytest.raises(FedTokenRefused, match="The provided advertise token was rejected"):
            office.ask(raw=office.key.token(scope="storage.read:/"))

    def test_not_one_whose_token_is_for_nothing(self, office: Office) -> None:
        with pytest.raises(FedTokenFailed):
            office.ask(raw=office.key.token(scope=None))

    def test_not_one_that_is_not_approved(self, office: Office) -> None:
        office.registry.unapproved.add("/caches/CACHE_CHI")
        with pytest.raises(FedTokenRefused, match=r"^Host 'CACHE_CHI' has not been approved by an administrator$"):
            office.ask()

    def test_not_one_that_the_registry_does_not_know(self, office: Office) -> None:
        office.registry.overrides[f"{API}/checkNamespaceStatus"] = answer(400, {"error": "unknown"})
        with pytest.raises(FedTokenFailed, match="Failed to verify"):
            office.ask()

    @pytest.mark.parametrize(
        "host", ["../origins/O1", "..", ".", "a/../b", "a//b", "/a", "a/", "a\n", "\x00", "a\udc80", "x" * 300]
    )
    def test_not_one_whose_name_leads_elsewhere(self, office: Office, host: str) -> None:
        office.registry.asked.clear()
        with pytest.raises(FedTokenRefused, match="no name of a registered server"):
            office.ask(host)
        assert office.registry.asked == []


class TestWithoutTheRegistry:
    def test_who_is_known_gets_one(self, office: Office) -> None:
        office.ask()
        office.registry.is_away = True
        office.clock.advance(3600)
        assert office.ask()["scope"] == "storage.read:/"

    def test_who_is_not_shall_come_again(self, office: Office) -> None:
        office.registry.is_away = True
        with pytest.raises(RegistryUnavailable) as caught:
            office.ask()
        assert caught.value.retry_after_s >= 1

    def test_nobody_gets_one_before_the_table_of_what_they_may_read_is_known(self, unloaded: Office) -> None:
        with pytest.raises(RegistryUnavailable, match="retry"):
            unloaded.ask()
        unloaded.load()
        unloaded.ask()

    def test_at_most_two_threads_wait_for_it(self, office: Office) -> None:
        for _ in range(2):
            assert office.inquiries.permits.acquire(blocking=False)
        office.registry.asked.clear()
        with pytest.raises(RegistryUnavailable):
            office.ask()
        assert office.registry.asked == []

    def test_a_permit_is_given_back_whatever_happens(self, office: Office) -> None:
        for raw in (None, "nonsense", Key().token(), office.key.token(scope="x")):
            try:
                office.ask(f"HOST{raw}"[:8], raw=raw)
            except (FedTokenFailed, FedTokenRefused):
                continue
        assert office.inquiries.permits_in_use == 0


def test_without_a_key_of_ours_none_is_made(tmp_path: Path, clock: FakeClock, wall: FakeClock) -> None:
    office = Office(KeyRing(directory=tmp_path, wall=wall), clock, wall).load()
    with pytest.raises(FedTokenFailed, match="Attempted to create federation token but failed unexpectedly"):
        office.ask()


def test_what_became_of_requests_is_counted(office: Office) -> None:
    office.ask()
    office.registry.unapproved.add("/caches/NO")
    for host, raw in (("NO", None), ("CACHE_CHI", Key().token()), ("CACHE_CHI", "x")):
        with pytest.raises((FedTokenRefused, FedTokenFailed)):
            office.ask(host, raw=raw)
    office.registry.is_away = True
    with pytest.raises(RegistryUnavailable):
        office.ask("ELSE")
    assert office.tokens.counts == {"issued": 1, "FedTokenRefused": 1, "FedTokenFailed": 2, "RegistryUnavailable": 1}


def test_no_token_is_logged(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    raw = Key().token()
    with pytest.raises(FedTokenFailed):
        office.ask(raw=raw)
    assert "CACHE_CHI" in caplog.text
    assert not any(part in caplog.text for part in raw.split("."))


def test_another_lifetime_holds_for_the_next_token_and_what_was_counted_stays(office: Office) -> None:
    first = office.ask()
    office.tokens.adopt(lifetime_s=60.0)
    second = office.ask()
    assert (first["exp"] - first["iat"], second["exp"] - second["iat"]) == (900, 60)
    assert office.tokens.counts == {"issued": 2}
