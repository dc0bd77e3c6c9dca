"""Client tokens: which one counts, and whether it will live long enough."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.web.tokens import has_expired, read_token
from tests.fakes import FakeClock

NOW = 1_767_225_600.0


def jwt(**claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{payload}.c2ln"


@pytest.mark.parametrize(
    ("claims", "expired"),
    [
        ({"iat": NOW - 600, "exp": NOW - 300}, True),
        ({"iat": NOW - 600, "exp": NOW + 9}, True),
        ({"iat": NOW - 600, "exp": NOW + 11}, False),
        ({"iat": NOW - 2, "exp": NOW + 4}, False),  # half its life, 3 s, is the grace
        ({"iat": NOW - 4, "exp": NOW + 2}, True),
        ({"iat": NOW + 9, "exp": NOW + 9}, True),
        ({"exp": NOW + 9}, True),
        ({"exp": NOW + 11}, False),
        ({}, False),
        ({"exp": "soon"}, False),
        ({"exp": True}, False),
        ({"exp": 10**400}, False),
        ({"exp": None}, False),
    ],
)
def test_a_token_expires_a_little_before_its_end(claims: dict[str, object], expired: bool) -> None:
    assert has_expired(jwt(**claims), NOW) is expired


@pytest.mark.parametrize("token", ["", "opaque", "a.b.c", "a.b", "..", "e30.bnVsbA.x", "e30.W10.x", "x." * 3, "é.é.é"])
def test_what_is_no_jwt_has_no_end(token: str) -> None:
    assert has_expired(token, NOW) is False


@given(st.text(max_size=50) | st.binary(max_size=60).map(lambda b: f"a.{base64.urlsafe_b64encode(b).decode()}.c"))
def test_no_token_raises(token: str) -> None:
    assert has_expired(token, NOW) in {True, False}


def test_deep_nesting_is_no_claim() -> None:
    payload = base64.urlsafe_b64encode(b"[" * 9000).decode()
    assert has_expired(f"a.{payload}.b", NOW) is False


@pytest.mark.parametrize(
    ("authorization", "query", "value"),
    [
        ("Bearer T", (), "T"),
        ("T", (), "T"),
        ("bearer T", (), "bearer T"),
        ("Basic dTpw", (), "Basic dTpw"),
        (None, (("authz", "Bearer T"),), "T"),
        (None, (("authz", "T"), ("authz", "U")), "T"),
        ("Bearer H", (("authz", "Q"),), "Q"),
        ("Bearer H", (("authz", ""),), None),
        ("Bearer ", (), None),
        (None, (), None),
    ],
)
def test_which_token_counts(authorization: str | None, query: tuple[tuple[str, str], ...], value: str | None) -> None:
    token = read_token(authorization, query, FakeClock(NOW))
    assert (token.value if token else None) == value


def test_authorities_differ_with_the_token_and_tell_nothing_of_it() -> None:
    one, same, other = (read_token(f"Bearer {t}", (), FakeClock(NOW)) for t in ("secret-a", "secret-a", "secret-b"))
    assert one is not None
    assert same is not None
    assert other is not None
    assert one.authority == same.authority != other.authority
    assert "secret" not in one.authority + repr(one)


def test_expiry_is_read_from_the_header_first() -> None:
    dead, alive = jwt(exp=NOW - 1), jwt(exp=NOW + 1000)
    token = read_token(f"Bearer {dead}", (("authz", alive),), FakeClock(NOW))
    assert token is not None
    assert (token.value, token.expired) == (alive, True)
