"""Laws of advertise tokens."""

import hashlib
import hmac
import json

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.trust.keys import KeySet, parse_key_set
from director_wsgi.trust.tokens import LEEWAY_S, MAX_TOKEN_BYTES, AdvertiseToken, ScopeMissing, TokenRefused, bearer
from tests.unit.trust.forge import NOW, Key, b64, jwks

KEY = Key()
KEYS = parse_key_set(jwks(KEY))


def verify(raw: str, keys: KeySet = KEYS, now: float = NOW) -> None:
    AdvertiseToken(raw).verify(keys, now)


def refused(raw: str, keys: KeySet = KEYS, now: float = NOW) -> str:
    with pytest.raises(TokenRefused) as caught:
        verify(raw, keys, now)
    return str(caught.value)


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "RS256", "RS512", "PS256", "EdDSA"])
def test_a_token_signed_with_a_registered_key_is_accepted(algorithm: str) -> None:
    key = Key("kid/with ../path", algorithm)
    verify(key.token(), parse_key_set(jwks(Key("another"), key)))


def test_a_key_that_does_not_say_its_algorithm_is_taken_by_its_type() -> None:
    key = Key()
    del key.jwk["alg"]
    verify(key.token(), parse_key_set(jwks(key)))


def test_a_token_signed_with_another_key_of_the_same_name_is_refused() -> None:
    assert refused(Key("k1").token()) == "could not verify the signature with the registered key"


def test_every_key_of_the_same_name_is_tried() -> None:
    verify(KEY.token(), parse_key_set(jwks(Key("k1"), KEY, Key("k1"))))


def test_a_token_whose_key_is_not_in_the_set_is_refused() -> None:
    assert "failed to find a key" in refused(Key("k2").token())


def test_a_token_without_kid_is_refused_before_any_key_is_looked_for() -> None:
    with pytest.raises(TokenRefused, match="does not name its key"):
        AdvertiseToken(f"{b64({'alg': 'ES256'})}.{b64({})}.{b64(b'x')}")


def unsigned(algorithm: str, signature: bytes = b"") -> str:
    claims = {"scope": "pelican.advertise", "exp": NOW + 60}
    return f"{b64({'alg': algorithm, 'kid': 'k1'})}.{b64(claims)}.{b64(signature)}"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS256", "ES384", "RS256", "EdDSA", "made up"])
def test_the_algorithm_is_the_keys_and_never_the_tokens(algorithm: str) -> None:
    assert refused(unsigned(algorithm)) in {
        "the algorithm of the token does not fit the registered key",
        "the token is malformed",
    }


@pytest.mark.parametrize("kind", ["ES256", "RS256"])
def test_hmac_with_the_public_key_for_its_secret_is_refused(kind: str) -> None:
    key = Key("k1", kind)
    signed = f"{b64({'alg': 'HS256', 'kid': 'k1'})}.{b64({'scope': 'pelican.advertise'})}"
    mac = hmac.new(key.public_pem, signed.encode(), hashlib.sha256).digest()
    assert "algorithm" in refused(f"{signed}.{b64(mac)}", parse_key_set(jwks(key)))


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": NOW - LEEWAY_S}, '"exp" not satisfied'),
        ({"nbf": NOW + LEEWAY_S + 1}, '"nbf" not satisfied'),
        ({"iat": NOW + LEEWAY_S + 1}, '"iat" not satisfied'),
        ({"exp": "tomorrow"}, '"exp" of the token is not a time'),
        ({"exp": True}, '"exp" of the token is not a time'),
        ({"nbf": float("nan")}, '"nbf" of the token is not a time'),
        ({"exp": float("inf")}, '"exp" of the token is not a time'),
        ({"exp": 10**400}, '"exp" of the token is not a time'),
        ({"scope": None}, "no scope is present; required to advertise to director"),
        ({"scope": ["pelican.advertise"]}, "scope claim in token is not string-valued"),
    ],
)
def test_a_genuine_token_for_another_time_or_purpose_is_refused(claims: dict[str, object], reason: str) -> None:
    assert refused(KEY.token(**claims)).startswith(reason)


@pytest.mark.parametrize("scope", ["", "pelican.advertiser", "PELICAN.ADVERTISE", "xpelican.advertise read:/"])
def test_a_scope_without_the_exact_word_has_an_error_of_its_own(scope: str) -> None:
    with pytest.raises(ScopeMissing):
        verify(KEY.token(scope=scope))


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW - LEEWAY_S + 1},
        {"nbf": NOW + LEEWAY_S},
        {"iat": NOW + LEEWAY_S},
        {"exp": None},
        {"exp": None, "nbf": None, "iat": None},
        {"iss": None, "aud": None, "sub": ["x"], "jti": 7},
        {"scope": "read:/ pelican.advertise write:/"},
    ],
)
def test_a_minute_of_difference_and_missing_times_are_allowed(claims: dict[str, object]) -> None:
    verify(KEY.token(**claims))


def test_an_extension_that_must_be_understood_is_refused() -> None:
    assert refused(KEY.token({"crit": ["exp"], "exp": 1}))


def test_a_token_verified_with_one_set_still_needs_a_key_of_the_next() -> None:
    token = AdvertiseToken(KEY.token())
    token.verify(KEYS, NOW)
    token.verify(KEYS, NOW)
    with pytest.raises(TokenRefused, match="could not verify the signature"):
        token.verify(parse_key_set(jwks(Key("k1"))), NOW)
    with pytest.raises(TokenRefused, match="failed to find a key"):
        token.verify(parse_key_set(jwks()), NOW)


def test_no_part_of_a_token_is_in_an_error_or_a_repr() -> None:
    raw = KEY.token(exp=NOW - 600)
    assert not any(part in refused(raw) or part in repr(AdvertiseToken(raw)) for part in raw.split("."))


@pytest.mark.parametrize(
    "raw",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "not a token",
        "é.é.é",
        "x" * MAX_TOKEN_BYTES,
        "x" * (MAX_TOKEN_BYTES + 1),
        f"{b64(b'[' * 3000)}.{b64({})}.x",
        f"{b64(b'{' + b' ' * 10)}.x.x",
        b64(b'{"kid":' + b"9" * 5000 + b"}") + ".x.x",
        f"{b64([1])}.x.x",
        f"{b64({'kid': 5, 'alg': 'ES256'})}.{b64({})}.x",
        f"{b64({'kid': None, 'alg': 'ES256'})}.{b64({})}.x",
        f"{b64({'kid': 'k1', 'alg': ['ES256']})}.{b64({})}.{b64(b'x')}",
        f"{b64({'kid': 'k1', 'alg': 5})}.{b64({})}.{b64(b'x')}",
        f"{b64({'kid': 'k1', 'alg': 'ES256', 'b64': False, 'crit': ['b64']})}..{b64(b'x')}",
        f"{b64({'kid': 'k1', 'alg': 'ES256'})}.{b64({})}.",
        f"{b64({'kid': 'k1', 'alg': 'ES256'})}.{b64({})}.{b64(b'x' * 64)}",
    ],
)
def test_malformed_tokens_are_refused(raw: str) -> None:
    assert refused(raw)


@pytest.mark.parametrize("payload", [b"[" * 3000, b"not JSON", b"[]", b"9" * 5000, b"\xff", b""])
def test_a_signed_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    raw = jwt.PyJWS().encode(payload, KEY.private, "ES256", headers={"kid": "k1"})
    assert refused(raw) == "the claims of the token are not a JSON object"


@given(
    st.text(max_size=200)
    | st.lists(st.binary(max_size=60), min_size=3, max_size=3).map(lambda p: ".".join(map(b64, p)))
)
def test_nothing_raises_anything_but_refused(raw: str) -> None:
    assert refused(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda i: st.lists(i, max_size=3), max_leaves=5
)


@given(st.dictionaries(st.sampled_from(["alg", "kid", "b64", "crit", "typ"]), JSON), st.dictionaries(st.text(), JSON))
def test_no_header_raises_anything_but_refused(header: dict[str, object], claims: dict[str, object]) -> None:
    assert refused(f"{b64(json.dumps(header).encode())}.{b64(claims)}.{b64(b'x' * 64)}")


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer abc", "abc"), ("abc", "abc"), ("bearer abc", "bearer abc"), ("Bearer ", ""), ("Bearer  abc", " abc")],
)
def test_the_word_bearer_may_be_missing_but_not_misspelt(header: str, token: str) -> None:
    assert bearer(header) == token
