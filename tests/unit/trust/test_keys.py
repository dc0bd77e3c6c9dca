"""Laws of reading key sets."""

import json
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.trust.keys import MAX_KEYS, NotAKeySet, parse_key_set
from tests.unit.trust.forge import Key, jwks

KEY = Key()


@pytest.mark.parametrize(
    "change",
    [
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": 5},
        {"kty": None},
        {"kid": None},
        {"kid": 5},
        {"use": "enc"},
        {"crv": "secp256k1"},
        {"crv": ["P-256"]},
        {"crv": "P-384"},
        {"x": "AAAA"},
        {"x": 5},
        {"x": "é"},
        {"x": "A" * 3000},
        {"alg": "HS256"},
        {"alg": "none"},
        {"alg": "ES384"},
        {"alg": ["ES256"]},
        {"y": None},
    ],
)
def test_a_key_we_cannot_use_is_left_out_and_spoils_no_other(change: dict[str, object]) -> None:
    keys = parse_key_set(jwks({**KEY.jwk, **change}, {**KEY.jwk, "kid": "good"}))
    assert [key.kid for key in keys.keys] == ["good"]


def test_a_point_that_is_not_on_the_curve_is_left_out() -> None:
    assert not parse_key_set(jwks({**KEY.jwk, "y": KEY.jwk["x"]})).keys


def test_a_weak_rsa_key_is_left_out() -> None:
    assert not parse_key_set(jwks(Key("k", "RS256", bits=1024))).keys


def test_a_set_that_gives_away_a_private_key_yields_the_public_one() -> None:
    (key,) = parse_key_set(jwks({**KEY.jwk, "d": "AAAA"})).keys
    assert not hasattr(key.public, "sign")


def test_equal_keys_are_equal_whatever_set_they_come_from() -> None:
    assert parse_key_set(jwks(KEY)) == parse_key_set(jwks(KEY)) != parse_key_set(jwks(Key()))


def test_a_key_that_is_said_again_in_the_same_words_is_the_same_object_for_as_long_as_it_is_held() -> None:
    (one,) = parse_key_set(jwks(KEY)).keys
    (same,) = parse_key_set(jwks({**KEY.jwk, "comment": "another set"})).keys
    assert same is one
    for change in ({"kid": "other"}, {"alg": None}, {"x": Key().jwk["x"]}, {"alg": "None"}, {"alg": "ES384"}):
        assert all(key is not one for key in parse_key_set(jwks({**KEY.jwk, **change})).keys)
    any_algorithm = parse_key_set(jwks({**KEY.jwk, "alg": None}))
    assert any_algorithm.keys
    assert not parse_key_set(jwks({**KEY.jwk, "alg": "None"})).keys
    is_held = weakref.ref(one)
    del one, same
    assert is_held() is None


def test_an_empty_set_is_a_set() -> None:
    assert parse_key_set(b'{"keys":[]}').keys == ()


def test_the_number_of_keys_is_bounded() -> None:
    assert len(parse_key_set(jwks(*[KEY.jwk] * (MAX_KEYS + 1))).keys) == MAX_KEYS


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"keys":{}}', b'{"keys":null}', b"\xff", b"[" * 100_000])
def test_what_is_no_key_set_is_refused(document: bytes) -> None:
    with pytest.raises(NotAKeySet):
        parse_key_set(document)


MEMBER = st.none() | st.integers() | st.text(max_size=8) | st.lists(st.text(max_size=2), max_size=2)
ITEM = st.fixed_dictionaries(
    {"kty": st.sampled_from(["EC", "RSA", "OKP", "oct"]) | MEMBER, "kid": st.just("k") | MEMBER},
    optional={
        "crv": st.sampled_from(["P-256", "P-384", "P-521", "Ed25519", "X25519"]) | MEMBER,
        "x": MEMBER | st.just(KEY.jwk["x"]),
        "y": MEMBER | st.just(KEY.jwk["y"]),
        "n": MEMBER,
        "e": MEMBER | st.just("AQAB"),
        "alg": MEMBER,
        "use": MEMBER,
    },
)


@given(st.lists(ITEM | MEMBER, max_size=3))
def test_no_document_raises_anything_but_its_own_error(items: list[object]) -> None:
    assert len(parse_key_set(json.dumps({"keys": items})).keys) <= len(items)
