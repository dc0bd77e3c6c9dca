import json

import pytest

from director_wsgi.demo.registry import API, Registration, Registry
from director_wsgi.federation.downtimes import downtimes_of_registry
from tests.fakes import FakeClock
from tests.unit.demo.ask import asking, content

KEY = {"kty": "EC", "kid": "one"}


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.register(Registration(prefix="/origins/h:1", name="O1", keys=(KEY,)))
    registry.register(Registration(prefix="/ns", keys=(KEY,)))
    return registry


def get(registry: Registry, path: str) -> tuple[int, object]:
    response = registry.answer(asking("GET", path, headers={"Host": "localhost:9"}))
    return response.status, json.loads(content(response))


def status_of(registry: Registry, body: bytes) -> tuple[int, object]:
    response = registry.answer(asking("POST", f"{API}/checkNamespaceStatus", body=body))
    return response.status, json.loads(content(response))


def test_issuer_leads_to_the_keys_of_the_prefix(registry: Registry) -> None:
    status, document = get(registry, f"{API}/ns/.well-known/openid-configuration")
    assert status == 200
    assert isinstance(document, dict)
    path = document["jwks_uri"].removeprefix("https://localhost:9")
    assert get(registry, path) == (200, {"keys": [KEY]})


def test_a_namespace_of_two_owners_has_the_keys_of_both(registry: Registry) -> None:
    other = {"kty": "EC", "kid": "two"}
    registry.register(Registration(prefix="/ns", keys=(other,)))
    assert get(registry, f"{API}/ns/.well-known/issuer.jwks") == (200, {"keys": [KEY, other]})


def test_approval_may_change_at_any_time(registry: Registry) -> None:
    assert status_of(registry, b'{"prefix":"/ns"}') == (200, {"approved": True})
    registry.approve("/ns", False)
    assert status_of(registry, b'{"prefix":"/ns"}') == (200, {"approved": False})


def test_an_unknown_prefix_is_400_to_its_status_500_to_its_name_and_404_to_its_keys(registry: Registry) -> None:
    registry.unregister("/ns")
    assert status_of(registry, b'{"prefix":"/ns"}')[0] == 400
    assert get(registry, f"{API}/server/caches/none")[0] == 500
    assert get(registry, f"{API}/ns/.well-known/issuer.jwks")[0] == 404
    assert get(registry, f"{API}/ns/.well-known/openid-configuration")[0] == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"prefix":1}', b"null", b"\xff", b"[" * 60_000])
def test_a_status_asked_for_nothing_is_400(registry: Registry, body: bytes) -> None:
    assert status_of(registry, body)[0] == 400


def test_name_of_a_server(registry: Registry) -> None:
    status, document = get(registry, f"{API}/server/origins/h:1")
    assert status == 200
    assert isinstance(document, dict)
    assert document["name"] == "O1"


def test_a_server_is_down_from_the_moment_it_is_taken_down_until_it_is_back(wall: FakeClock) -> None:
    registry = Registry(now=wall)
    registry.register(Registration(prefix="/origins/h:1", name="O1"))
    registry.take_down("/origins/h:1")
    _, listed = get(registry, "/api/v1.0/downtime")
    assert isinstance(listed, list)
    (downtime,), problems = downtimes_of_registry(listed)
    assert problems == 0
    assert (downtime.server_name, downtime.source) == ("O1", "registry")
    assert not downtime.is_active(wall.now - 1)
    assert downtime.is_active(wall.now)
    assert downtime.is_active(wall.now + 1e9)
    registry.bring_back("/origins/h:1")
    registry.bring_back("/origins/never-there")
    assert get(registry, "/api/v1.0/downtime") == (200, [])


def test_only_who_is_registered_can_be_down(registry: Registry) -> None:
    with pytest.raises(KeyError):
        registry.take_down("/origins/none")


def test_nothing_is_down_and_caches_are_free_until_restricted(registry: Registry) -> None:
    assert get(registry, "/api/v1.0/downtime") == (200, [])
    assert get(registry, f"{API}/caches/allowedPrefixes") == (200, {})
    registry.allow_cache("localhost", ["/ns"])
    assert get(registry, f"{API}/caches/allowedPrefixes") == (200, {"localhost": ["/ns"]})
