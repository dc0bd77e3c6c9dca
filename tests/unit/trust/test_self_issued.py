"""Laws of the tokens that this director signs for its own doors."""

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.trust.issuer import IssuerKey, load_issuer_keys
from director_wsgi.trust.self_issued import SCRAPE, Guard, mint
from director_wsgi.trust.tokens import ScopeMissing, TokenRefused
from tests.fakes import FakeClock
from tests.unit.trust.forge import Key

WEB = "https://director.example.org"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[IssuerKey, ...]:
    """One key of each kind; the first one signs."""
    directory = tmp_path_factory.mktemp("keys")
    for number, algorithm in enumerate(("ES256", "ES384", "ES512", "RS256", "EdDSA")):
        (directory / f"{number}.pem").write_bytes(
            Key("", algorithm).private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
    return load_issuer_keys(directory)


@pytest.fixture
def guard(keys: tuple[IssuerKey, ...], wall: FakeClock) -> Guard:
    return Guard(keys, issuer=WEB, scope=SCRAPE, wall_clock=wall)


def minted(key: IssuerKey, wall: FakeClock, **changed: Any) -> str:
    """A token whose claims are those of `mint`, but for some; None takes a claim away."""
    token = mint(key, issuer=WEB, scope=SCRAPE, lifetime_s=3600, now=wall())
    claims = jwt.decode(token, options={"verify_signature": False}) | changed
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key.private, algorithm=key.algorithm, headers={"kid": key.kid})


@pytest.mark.parametrize("number", range(5))
def test_what_any_of_our_keys_signed_opens(
    keys: tuple[IssuerKey, ...], guard: Guard, wall: FakeClock, number: int
) -> None:
    guard.check(mint(keys[number], issuer=WEB, scope=SCRAPE, lifetime_s=60, now=wall()))


def test_it_ends_after_its_lifetime_and_a_minute(keys: tuple[IssuerKey, ...], guard: Guard, wall: FakeClock) -> None:
    token = mint(keys[0], issuer=WEB, scope=SCRAPE, lifetime_s=600, now=wall())
    wall.advance(659)
    guard.check(token)
    wall.advance(1)
    with pytest.raises(TokenRefused, match="expired"):
        guard.check(token)


def test_no_two_are_the_same(keys: tuple[IssuerKey, ...], wall: FakeClock) -> None:
    key = next(key for key in keys if key.algorithm == "RS256")  # the same bytes for the same claims
    made = {mint(key, issuer=WEB, scope=SCRAPE, lifetime_s=60, now=wall()) for _ in range(10)}
    assert len(made) == 10


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
    def test_nonsense_is_refused_and_never_quoted(self, keys: tuple[IssuerKey, ...], raw: str) -> None:
        with pytest.raises(TokenRefused) as refused:
            Guard(keys, issuer=WEB, scope=SCRAPE).check(raw)
        assert len(raw) < 12 or raw not in str(refused.value)

    def test_the_end_of_patience_is_8_kib(self, guard: Guard) -> None:
        with pytest.raises(TokenRefused, match="longer than"):
            guard.check("e30." * 10_000)


def test_without_keys_nothing_opens(wall: FakeClock, keys: tuple[IssuerKey, ...]) -> None:
    with pytest.raises(TokenRefused, match="no signing key"):
        Guard((), issuer=WEB, scope=SCRAPE, wall_clock=wall).check(minted(keys[0], wall))
