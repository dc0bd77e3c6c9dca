"""Nothing that a client or an unauthenticated sender can send gives a traceback, or a 5xx that is not the contract's."""

import json
import logging
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.conformance.conftest import World

REGISTER = ("/api/v1.0/director/registerOrigin", "/api/v1.0/director/registerCache")
NO_TOKEN = "Bearer token not present in the 'Authorization' header"

# Characters that gunicorn lets through in a header or a target, as WSGI hands them over.
header_text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60)
target_text = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF), max_size=60)
once_per_test = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def errors_logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.ERROR)
    return lambda: [record.getMessage() for record in caplog.records]


@once_per_test
@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "DELETE", "COPY", "PROPFIND", "OPTIONS", "POST", "PATCH", "MKCOL"]),
    prefix=st.sampled_from(
        [
            "/",
            "/demo/",
            "/ro/",
            "/api/v1.0/director/object/demo",
            "/api/v1.0/director/origin/",
            "/api/v1.0/director/",
            "/.well-known/",
            "/api/v2.0/director/listNamespaces",
            "/api/v1.0/director/namespaces/prefix/",
            "/api/v1.0/director/healthTest/pelican/monitoring/",
        ]
    ),
    rest=target_text,
    headers=st.fixed_dictionaries(
        {},
        optional={
            "Authorization": header_text,
            "User-Agent": header_text,
            "X-Pelican-Timeout": header_text,
            "X-Pelican-Coordinate": header_text,
            "X-Pelican-JobId": header_text,
            "X-Pelican-Debug": st.sampled_from(["true", "false", ""]),
            "X-Forwarded-For": header_text,
            "X-Forwarded-Host": header_text,
            "Host": header_text,
            "Depth": header_text,
        },
    ),
)
def test_no_request_for_an_object_does_worse_than_a_refusal(
    world: World,
    errors_logged: Callable[[], list[str]],
    method: str,
    prefix: str,
    rest: str,
    headers: dict[str, str],
) -> None:
    response = world.call(method, prefix + rest, plain=True, **headers)

    assert response.status_code in {200, 207, 299, 307, 400, 401, 404, 405}
    assert errors_logged() == []
    for name, value in response.headers:
        assert not set(name + value) & {"\r", "\n", "\0"}
    if response.status_code >= 400 and method != "HEAD":
        assert json.loads(response.data)["msg"]


def test_a_query_without_end_is_400_on_every_way_in(world: World) -> None:
    for target in ("/demo/x", "/api/v1.0/director/origin/demo/x", "/api/v1.0/director/object/demo/x"):
        response = world.call("GET", f"{target}?directread{'&a' * 120}")
        assert response.status_code == 400
        assert world.message(response)


bodies = st.one_of(
    st.binary(max_size=80),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=10),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
        max_leaves=10,
    ).map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {},
        optional={
            "data-url": st.sampled_from(["https://o.example.org:8443", "", "https://", 7, None, "https://[::1"]),
            "registry-prefix": st.sampled_from(["/origins/o", "/caches/c", "", "/origins/../x", 1.5]),
            "namespaces": st.sampled_from([[], [{"path": "/x"}], [{"path": "/../x"}], [7], {}, "x"]),
            "expiry": st.sampled_from(["2026-01-01T00:10:00Z", "9999999-01-01", "", 1e400, "0001-01-01T00:00:00Z"]),
            "startTime": st.sampled_from([0, -1, 1e30, "1", None]),
        },
    ).map(lambda value: json.dumps(value).encode()),
)


@once_per_test
@given(
    route=st.sampled_from(REGISTER), body=bodies, authorization=st.none() | header_text, agent=st.none() | header_text
)
def test_no_advertisement_does_worse_than_a_refusal(
    world: World,
    errors_logged: Callable[[], list[str]],
    route: str,
    body: bytes,
    authorization: str | None,
    agent: str | None,
) -> None:
    headers = {}
    if authorization is not None:
        headers["Authorization"] = authorization
    if agent is not None:
        headers["User-Agent"] = agent

    response = world.call("POST", route, body=body, plain=True, **headers)

    assert response.status_code in {400, 403, 503}
    if response.status_code == 503:
        assert response.headers["Retry-After"] == "1"
    assert json.loads(response.data)["status"] == "error"
    assert errors_logged() == []


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe",
        b"[" * 1_000_000,
        b'{"a":' * 200_000,
        b'{"data-url":"https://o.example.org","namespaces":' + b"[" * 100_000,
        b'{"data-url":' + b"9" * 1_000_000 + b"}",
        b'{"data-url":NaN}',
        b'{"data-url":"https://o.example.org\\u0000"}',
        b"null",
        b"",
    ],
    ids=["not UTF-8", "nested arrays", "nested objects", "nested inside", "huge number", "NaN", "NUL", "null", "empty"],
)
@pytest.mark.parametrize("route", REGISTER[:1])
def test_bodies_made_to_hurt_are_400(
    world: World, errors_logged: Callable[[], list[str]], route: str, body: bytes
) -> None:
    response = world.call("POST", route, body=body, Authorization="Bearer a.b.c", User_Agent="pelican-origin/7.20.0")

    assert response.status_code == 400
    assert world.message(response).startswith("invalid Origin registration: ")
    assert errors_logged() == []


def test_a_body_that_is_too_large_is_refused_unread(make_world: Callable[..., World]) -> None:
    world = make_world(max_advertisement_bytes=1000)
    response = world.call("POST", REGISTER[0], body=b"x" * 1001, Authorization="Bearer a.b.c")
    assert response.status_code == 400
    assert "larger than 1000 bytes" in world.message(response)


def test_e46_without_a_token(world: World) -> None:
    response = world.call("POST", REGISTER[0], body=b"{}", plain=True)
    assert (response.status_code, world.message(response)) == (403, NO_TOKEN)


def test_e46_caches_before_the_prefix_table_was_ever_loaded(world: World) -> None:
    response = world.call(
        "POST", REGISTER[1], body=b"{}", Authorization="Bearer a.b.c", User_Agent="pelican-cache/7.20.0"
    )
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize(
    ("route", "agent", "least"),
    [(REGISTER[0], "pelican-origin/7.8.9", "7.9.0"), (REGISTER[1], "pelican-cache/7.8.1", "7.8.2")],
)
def test_e46_too_old_a_server(world: World, route: str, agent: str, least: str) -> None:
    response = world.call("POST", route, body=b"{}", Authorization="Bearer a.b.c", User_Agent=agent)
    assert response.status_code == 500
    service, version = agent.removeprefix("pelican-").split("/")
    assert world.message(response) == (
        f"Incompatible versions detected: The director does not support your {service} version ({version}). "
        f"Please update to {least} or newer."
    )
