"""Laws of the table of allowed prefixes; when it is fetched is a law of `Poll`."""

import pytest

from director_wsgi.federation.models import NamespaceAd
from director_wsgi.limits.deadline import Deadline
from director_wsgi.trust.prefixes import AllowedPrefixes
from director_wsgi.trust.registry import Registry
from tests.fakes import FakeClock
from tests.unit.trust.registries import API, URL, FakeRegistry, answer


@pytest.fixture
def fake() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
def prefixes(fake: FakeRegistry, clock: FakeClock) -> AllowedPrefixes:
    return AllowedPrefixes(Registry(fake, URL), clock=clock)


def refresh(prefixes: AllowedPrefixes, clock: FakeClock) -> bool:
    return prefixes.refresh(Deadline.after(5, clock))


def paths(*names: str) -> tuple[NamespaceAd, ...]:
    return tuple(NamespaceAd(path=name) for name in names)


def test_nobody_is_restricted_before_the_registry_has_answered(
    prefixes: AllowedPrefixes, fake: FakeRegistry, clock: FakeClock
) -> None:
    fake.is_away = True
    assert not refresh(prefixes, clock)
    assert not prefixes.loaded
    assert prefixes.for_host("c1") is None
    assert prefixes.next_refresh_in_s(60) == 1


def test_an_old_table_counts_for_as_long_as_there_is_no_new_one(
    prefixes: AllowedPrefixes, fake: FakeRegistry, clock: FakeClock
) -> None:
    fake.allowed = {"c1": ["/demo"]}
    refresh(prefixes, clock)
    fake.is_away = True
    clock.advance(86_400)
    assert not refresh(prefixes, clock)
    assert (prefixes.loaded, prefixes.age_s) == (True, 86_400)
    assert prefixes.for_host("c1") == {"/demo"}
    assert prefixes.next_refresh_in_s(60) == 1


@pytest.mark.parametrize(
    "lie",
    [
        answer(body=b"<html>"),
        answer(302),
        answer(404, {"msg": "no"}),
        answer(200, []),
        answer(200, {"c1": "/demo"}),
        answer(200, {"c1": ["/demo", None]}),
        answer(200, {str(number): [] for number in range(20_001)}),
    ],
    ids=range(7),
)
def test_a_lie_changes_nothing(prefixes: AllowedPrefixes, fake: FakeRegistry, clock: FakeClock, lie: object) -> None:
    fake.allowed = {"c1": ["/demo"]}
    refresh(prefixes, clock)
    fake.overrides[f"{API}/caches/allowedPrefixes"] = lie  # type: ignore[assignment]
    assert not refresh(prefixes, clock)
    assert prefixes.for_host("c1") == {"/demo"}


def test_a_new_table_replaces_the_old_one_as_a_whole(
    prefixes: AllowedPrefixes, fake: FakeRegistry, clock: FakeClock
) -> None:
    fake.allowed = {"c1": ["/demo"]}
    refresh(prefixes, clock)
    fake.allowed = {"c2": ["/demo"]}
    refresh(prefixes, clock)
    assert prefixes.for_host("c1") is None


def test_a_cache_is_found_by_what_it_is_registered_as(
    prefixes: AllowedPrefixes, fake: FakeRegistry, clock: FakeClock
) -> None:
    fake.allowed = {"CACHE_CHI": ["/demo"], "c1.example.org": []}
    refresh(prefixes, clock)
    assert prefixes.for_host("CACHE_CHI") == prefixes.for_host("cache_chi") == {"/demo"}
    assert prefixes.for_host("C1.example.org") == frozenset()


def test_a_restricted_cache_keeps_what_is_allowed_and_what_is_the_federations(
    prefixes: AllowedPrefixes, fake: FakeRegistry, clock: FakeClock
) -> None:
    fake.allowed = {"c1.example.org": ["/demo"]}
    refresh(prefixes, clock)
    namespaces = paths("/demo", "/demo/sub", "/ro", "/pelican/monitoring", "/pelicans")
    kept = prefixes.permitted("C1.example.org", namespaces)
    assert [namespace.path for namespace in kept] == ["/demo", "/pelican/monitoring"]
    assert prefixes.permitted("c2.example.org", namespaces) is namespaces
