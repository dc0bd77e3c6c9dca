"""Laws of the director's own doors: which tokens open them."""

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.trust.issuer import IssuerKey
from director_wsgi.trust.keyring import KeyRing
from director_wsgi.trust.keys import KeySet, parse_key_set
from director_wsgi.trust.minting import Minter
from director_wsgi.trust.self_issued import DISCOVER, SCOPES, SCRAPE, Guard, Issuer
from director_wsgi.trust.tokens import ScopeMissing, TokenRefused
from tests.fakes import FakeClock
from tests.unit.trust.forge import Key, jwks
from tests.unit.trust.rings import FEDERATION, WEB, add, ring_of, signed


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    """One key of each kind; the first one signs."""
    kinds = [Key("", algorithm) for algorithm in ("ES256", "ES384", "ES512", "RS256", "EdDSA")]
    return ring_of(tmp_path_factory.mktemp("keys"), *kinds, wall=FakeClock(1_767_225_600.0))


@pytest.fixture
def keys(ring: KeyRing) -> tuple[IssuerKey, ...]:
    return tuple(one.key for one in ring.outlook())


@pytest.fixture
def guard(ring: KeyRing, wall: FakeClock) -> Guard:
    return Guard([Issuer(WEB, ring.key_set)], scope=SCRAPE, wall_clock=wall)


def minted(key: IssuerKey, wall: FakeClock, **changed: Any) -> str:
    return signed(key, wall(), **changed)


@pytest.mark.parametrize("number", range(5))
def test_what_any_of_our_keys_signed_opens(
    keys: tuple[IssuerKey, ...], guard: Guard, wall: FakeClock, number: int
) -> None:
    guard.check(minted(keys[number], wall))


def test_what_the_minter_makes_opens(ring: KeyRing, guard: Guard, wall: FakeClock) -> None:
    guard.check(Minter(ring, wall=wall).mint(issuer=WEB, subject=WEB, audience=(WEB,), scope=SCRAPE, lifetime_s=60))


def test_it_ends_after_its_lifetime_and_a_minute(keys: tuple[IssuerKey, ...], guard: Guard, wall: FakeClock) -> None:
    token = minted(keys[0], wall, exp=int(wall()) + 600)
    wall.advance(659)
    guard.check(token)
    wall.advance(1)
    with pytest.raises(TokenRefused, match="expired"):
        guard.check(token)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"exp": None}, "does not verify"),
        ({"exp": "tomorrow"}, "when it ends"),
        ({"exp": True}, "when it ends"),
        ({"exp": 10**400}, "when it ends"),
        ({"exp": float("inf")}, "when it ends"),
        ({"nbf": 1_767_225_600 + 61}, "not valid yet"),
        ({"iss": "https://other.example.org"}, "not issued by"),
        ({"iss": None}, "does not verify"),
        ({"iss": [WEB]}, "not issued by|does not verify"),
        ({"scope": None}, "does not verify"),
    ],
)
def test_claims_that_do_not_fit_are_refused(
    keys: tuple[IssuerKey, ...], guard: Guard, wall: FakeClock, changed: dict[str, Any], complaint: str
) -> None:
    guard.check(minted(keys[0], wall))
    try:
        token = minted(keys[0], wall, **changed)
    except TypeError:  # the library would not write it: so it is written by hand
        token = _by_hand(keys[0], wall, changed)
    with pytest.raises(TokenRefused, match=complaint):
        guard.check(token)


def _by_hand(key: IssuerKey, wall: FakeClock, changed: dict[str, Any]) -> str:
    claims = jwt.decode(minted(key, wall), options={"verify_signature": False}) | changed
    return jwt.PyJWS().encode(
        json.dumps(claims).encode(), key.private, algorithm=key.algorithm, headers={"kid": key.kid}
    )


@pytest.mark.parametrize(
    "scope", ["", "monitoring.scrapes", "monitoring.query", "pelican.advertise", ["monitoring.scrape"]]
)
def test_another_scope_does_not_open(keys: tuple[IssuerKey, ...], guard: Guard, wall: FakeClock, scope: object) -> None:
    with pytest.raises(ScopeMissing):
        guard.check(minted(keys[0], wall, scope=scope))


def test_one_scope_of_several_is_enough(keys: tuple[IssuerKey, ...], guard: Guard, wall: FakeClock) -> None:
    guard.check(minted(keys[0], wall, scope="monitoring.query monitoring.scrape"))


class TestForgeries:
    def test_a_stranger_with_our_kid(self, keys: tuple[IssuerKey, ...], guard: Guard, wall: FakeClock) -> None:
        claims = jwt.decode(minted(keys[0], wall), options={"verify_signature": False})
        token = jwt.encode(claims, Key().private, algorithm="ES256", headers={"kid": keys[0].kid})
        with pytest.raises(TokenRefused, match="does not verify"):
            guard.check(token)

    def test_a_key_that_is_not_ours(self, guard: Guard, wall: FakeClock, keys: tuple[IssuerKey, ...]) -> None:
        claims = jwt.decode(minted(keys[0], wall), options={"verify_signature": False})
        for headers in ({"kid": "k1"}, None):
            with pytest.raises(TokenRefused, match="not signed with a key of this director"):
                guard.check(jwt.encode(claims, Key().private, algorithm="ES256", headers=headers))

    @pytest.mark.parametrize("algorithm", ["none", "HS256"])
    def test_an_algorithm_that_is_not_the_keys(
        self, keys: tuple[IssuerKey, ...], guard: Guard, wall: FakeClock, algorithm: str
    ) -> None:
        claims = jwt.decode(minted(keys[0], wall), options={"verify_signature": False})
        secret = None if algorithm == "none" else "x" * 64
        token = jwt.encode(claims, secret, algorithm=algorithm, headers={"kid": keys[0].kid})
        with pytest.raises(TokenRefused, match="does not verify"):
            guard.check(token)

    @given(st.text(max_size=200) | st.from_regex(r"[\w-]{1,20}\.[\w-]{1,20}\.[\w-]{1,20}", fullmatch=True))
    def test_nonsense_is_refused_and_never_quoted(self, ring: KeyRing, raw: str) -> None:
        with pytest.raises(TokenRefused) as refused:
            Guard([Issuer(WEB, ring.key_set)], scope=SCRAPE).check(raw)
        assert len(raw) < 12 or raw not in str(refused.value)

    def test_the_end_of_patience_is_8_kib(self, guard: Guard) -> None:
        with pytest.raises(TokenRefused, match="longer than"):
            guard.check("e30." * 10_000)

    def test_an_extension_that_must_be_understood(
        self, keys: tuple[IssuerKey, ...], guard: Guard, wall: FakeClock
    ) -> None:
        claims = jwt.decode(minted(keys[0], wall), options={"verify_signature": False})
        headers = {"kid": keys[0].kid, "crit": ["x"], "x": 1}
        token = jwt.encode(claims, keys[0].private, algorithm=keys[0].algorithm, headers=headers)
        with pytest.raises(TokenRefused):
            guard.check(token)


def test_without_keys_nothing_opens(wall: FakeClock, keys: tuple[IssuerKey, ...]) -> None:
    with pytest.raises(TokenRefused, match="set IssuerKey"):
        Guard([Issuer(WEB, KeySet)], scope=SCRAPE, wall_clock=wall).check(minted(keys[0], wall))


def test_every_door_has_a_scope_of_its_own(ring: KeyRing, keys: tuple[IssuerKey, ...], wall: FakeClock) -> None:
    for scope in SCOPES:
        for door in SCOPES:
            guard = Guard([Issuer(WEB, ring.key_set)], scope=door, wall_clock=wall)
            if door == scope:
                guard.check(minted(keys[0], wall, scope=scope))
            else:
                with pytest.raises(ScopeMissing):
                    guard.check(minted(keys[0], wall, scope=scope))
    assert DISCOVER in SCOPES


def test_a_key_that_comes_and_goes_takes_effect_at_once(tmp_path: Path, wall: FakeClock) -> None:
    ring = ring_of(tmp_path, wall=wall)
    guard = Guard([Issuer(WEB, ring.key_set)], scope=SCRAPE, wall_clock=wall)
    key = Key("")
    add(tmp_path / "b.pem", key)
    ring.refresh()
    token = signed(ring.outlook()[1].key, wall())
    guard.check(token)
    (tmp_path / "b.pem").unlink()
    ring.refresh()
    with pytest.raises(TokenRefused, match="not signed with a key"):
        guard.check(token)


class TestTheFederation:
    """Two issuers, each with keys of its own."""

    FEDERATION_KEY = Key("f1")

    @pytest.fixture
    def guard(self, ring: KeyRing, wall: FakeClock) -> Guard:
        keys = parse_key_set(jwks(self.FEDERATION_KEY))
        return Guard([Issuer(WEB, ring.key_set), Issuer(FEDERATION, lambda: keys)], scope=SCRAPE, wall_clock=wall)

    def test_its_tokens_open_too(self, guard: Guard, wall: FakeClock) -> None:
        guard.check(signed(self.FEDERATION_KEY, wall(), iss=FEDERATION))

    def test_its_key_does_not_speak_for_us(self, guard: Guard, wall: FakeClock) -> None:
        with pytest.raises(TokenRefused, match="not issued by"):
            guard.check(signed(self.FEDERATION_KEY, wall(), iss=WEB))

    def test_nor_ours_for_it(self, guard: Guard, wall: FakeClock, keys: tuple[IssuerKey, ...]) -> None:
        guard.check(minted(keys[0], wall))
        with pytest.raises(TokenRefused, match="not issued by"):
            guard.check(minted(keys[0], wall, iss=FEDERATION))

    def test_its_tokens_are_forgiven_a_minute(self, guard: Guard, wall: FakeClock) -> None:
        token = signed(self.FEDERATION_KEY, wall(), iss=FEDERATION, exp=int(wall()) - 59, nbf=int(wall()) + 60)
        guard.check(token)
        wall.advance(1)
        with pytest.raises(TokenRefused, match="expired"):
            guard.check(token)

    def test_a_key_of_its_that_is_called_like_ours_is_no_hindrance(
        self, ring: KeyRing, keys: tuple[IssuerKey, ...], wall: FakeClock
    ) -> None:
        namesake = Key(keys[0].kid)
        theirs = parse_key_set(jwks(namesake))
        for order in (1, -1):
            issuers = [Issuer(WEB, ring.key_set), Issuer(FEDERATION, lambda: theirs)][::order]
            guard = Guard(issuers, scope=SCRAPE, wall_clock=wall)
            guard.check(minted(keys[0], wall))
            guard.check(signed(namesake, wall(), iss=FEDERATION))
            with pytest.raises(TokenRefused):
                guard.check(signed(namesake, wall(), iss=WEB))

    def test_we_are_heard_while_its_keys_are_not_known(
        self, ring: KeyRing, keys: tuple[IssuerKey, ...], wall: FakeClock
    ) -> None:
        guard = Guard([Issuer(WEB, ring.key_set), Issuer(FEDERATION, KeySet)], scope=SCRAPE, wall_clock=wall)
        guard.check(minted(keys[0], wall))
