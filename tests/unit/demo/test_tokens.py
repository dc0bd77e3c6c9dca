import stat
from pathlib import Path

import jwt
import pytest

from director_wsgi.demo.tokens import READ, SigningKey, thumbprint
from tests.fakes import FakeClock

ISSUER = "https://localhost:1"


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey()


def signed(key: SigningKey, wall: FakeClock, *, issuer: str = ISSUER, scope: str = READ) -> str:
    return key.sign(issuer=issuer, subject="s", audience=["a"], scope=scope, lifetime_s=600.0, now=wall)


def test_thumbprint_is_sha256_of_the_required_members_sorted_and_without_blanks() -> None:
    # The digest was taken with sha256sum over {"crv":"P-256","kty":"EC","x":"X","y":"Y"}.
    members = {"y": "Y", "kid": "ignored", "x": "X", "crv": "P-256", "kty": "EC"}
    assert thumbprint(members) == "bgglx7X3dhYynPAS9NzKrnkDooOuGP1sTYNHoSL1BkU"


def test_the_public_key_verifies_and_the_header_names_it(key: SigningKey, wall: FakeClock) -> None:
    token = signed(key, wall)
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": key.key_id, "typ": "JWT"}
    claims = jwt.decode(
        token,
        jwt.PyJWK(dict(key.jwk)),
        algorithms=["ES256"],
        audience="a",
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )
    assert (claims["iat"], claims["exp"]) == (int(wall.now), int(wall.now) + 600)


def test_a_token_in_force_with_the_scope_is_permitted(key: SigningKey, wall: FakeClock) -> None:
    assert key.permits(signed(key, wall), issuer=ISSUER, scope=READ, now=wall)


@pytest.mark.parametrize("wrong", [{"issuer": "https://localhost:2"}, {"scope": "storage.modify:/"}])
def test_another_issuer_or_scope_is_not(key: SigningKey, wall: FakeClock, wrong: dict[str, str]) -> None:
    assert not key.permits(signed(key, wall, **wrong), issuer=ISSUER, scope=READ, now=wall)


def test_a_token_that_has_ended_is_not(key: SigningKey, wall: FakeClock) -> None:
    token = signed(key, wall)
    wall.advance(700.0)
    assert not key.permits(token, issuer=ISSUER, scope=READ, now=wall)


def test_a_token_of_another_key_is_not(key: SigningKey, wall: FakeClock) -> None:
    assert not key.permits(signed(SigningKey(), wall), issuer=ISSUER, scope=READ, now=wall)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "ä", "." * 8000])
def test_what_is_no_token_is_not(key: SigningKey, token: str) -> None:
    assert not key.permits(token, issuer=ISSUER, scope=READ)


def test_the_private_half_is_saved_for_its_owner_only(key: SigningKey, tmp_path: Path) -> None:
    file = tmp_path / "issuer.pem"
    key.save(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
