"""Laws of the tokens that this director signs."""

from pathlib import Path
from typing import Any

import jwt
import pytest

from director_wsgi.trust.keyring import PUBLISHING_S, KeyRing
from director_wsgi.trust.minting import Minter, NoSigningKey
from tests.fakes import FakeClock
from tests.unit.trust.forge import Key
from tests.unit.trust.rings import add, ring_of


def mint(minter: Minter, **changed: Any) -> str:
    wanted: dict[str, Any] = {
        "issuer": "https://i.example.org",
        "subject": "someone",
        "audience": ("https://a.example.org",),
        "scope": "storage.read:/",
        "lifetime_s": 60.0,
    }
    return minter.mint(**(wanted | changed))


def claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "RS256", "EdDSA"])
def test_it_verifies_with_what_is_published(tmp_path: Path, wall: FakeClock, algorithm: str) -> None:
    ring = ring_of(tmp_path, Key("", algorithm), wall=wall)
    token = mint(Minter(ring, wall=wall))
    header = jwt.get_unverified_header(token)
    (key,) = ring.key_set().with_id(header["kid"])
    assert header["alg"] == algorithm
    jwt.decode(
        token,
        key.public,
        algorithms=[algorithm],
        options={"verify_exp": False, "verify_nbf": False, "verify_aud": False},
    )


def test_its_claims_are_those_of_the_wlcg_profile(tmp_path: Path, wall: FakeClock) -> None:
    told = claims(mint(Minter(ring_of(tmp_path, wall=wall), wall=wall)))
    now = int(wall())
    assert told.pop("jti")
    assert told == {
        "wlcg.ver": "1.0",
        "iss": "https://i.example.org",
        "sub": "someone",
        "aud": ["https://a.example.org"],
        "scope": "storage.read:/",
        "iat": now,
        "nbf": now,
        "exp": now + 60,
    }


def test_the_audience_is_an_array_and_as_it_was_given(tmp_path: Path, wall: FakeClock) -> None:
    minter = Minter(ring_of(tmp_path, wall=wall), wall=wall)
    assert claims(mint(minter, audience=("a", "a")))["aud"] == ["a", "a"]


def test_without_a_scope_there_is_no_such_claim(tmp_path: Path, wall: FakeClock) -> None:
    assert "scope" not in claims(mint(Minter(ring_of(tmp_path, wall=wall), wall=wall), scope=""))


def test_no_two_are_the_same(tmp_path: Path, wall: FakeClock) -> None:
    minter = Minter(ring_of(tmp_path, Key("", "RS256"), wall=wall), wall=wall)  # the same bytes for the same claims
    assert len({mint(minter) for _ in range(10)}) == 10


def test_the_key_that_signs_is_that_of_the_moment(tmp_path: Path, wall: FakeClock) -> None:
    add(tmp_path / "b.pem")
    add(tmp_path / "a.pem", at=wall())
    ring = KeyRing(directory=tmp_path, wall=wall)
    minter = Minter(ring, wall=wall)
    new, old = (key.kid for key in ring.key_set().keys)
    assert jwt.get_unverified_header(mint(minter))["kid"] == old
    wall.advance(PUBLISHING_S)
    assert jwt.get_unverified_header(mint(minter))["kid"] == new


def test_without_a_key_none_is_made(tmp_path: Path, wall: FakeClock) -> None:
    with pytest.raises(NoSigningKey, match="no signing key"):
        mint(Minter(KeyRing(directory=tmp_path, wall=wall), wall=wall))
