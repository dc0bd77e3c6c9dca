"""Laws of the table of allowed prefixes."""

import math

import pytest

from director_wsgi.federation.models import NamespaceAd
from director_wsgi.limits.deadline import Deadline
from director_wsgi.trust.prefixes import MAX_AGE_S, AllowedPrefixes
from director_wsgi.trust.registry import Registry
from tests.fakes import FakeClock
from tests.unit.trust.registries import URL, FakeRegistry


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


def test_it_is_not_loaded_until_the_registry_has_answered(
    prefixes: AllowedPrefixes, fake: FakeRegistry, clock: FakeClock
) -> None:
    fake.is_away = True
    assert not refresh(prefixes, clock)
    assert (prefixes.loaded, prefixes.age_s, prefixes.is_stale) == (False, math.inf, True)
    fake.is_away = False
    assert refresh(prefixes, clock)
    assert (prefixes.loaded, prefixes.age_s, prefixes.is_stale) == (True, 0.0, False)


def test_it_is_stale_after_fifteen_minutes_and_kept_until_then(
    prefixes: AllowedPrefixes, fake: FakeRegistry, clock: FakeClock
) -> None:
    fake.allowed = {"c1": ["/demo"]}
    refresh(prefixes, clock)
    fake.is_away = True
    clock.advance(MAX_AGE_S - 1)
    refresh(prefixes, clock)
    assert not prefixes.is_stale
    assert prefixes.for_host("c1") == {"/demo"}
    clock.advance(1)
    assert prefixes.is_stale
    assert prefixes.loaded


def test_it_is_asked_for_every_second_while_there_is_nothing_to_be_trusted(
    prefixes: AllowedPrefixes, clock: FakeClock
) -> None:
    assert prefixes.next_refresh_in_s(60) == 1
    refresh(prefixes, clock)
    assert prefixes.next_refresh_in_s(60) == 60
    clock.advance(MAX_AGE_S)
    assert prefixes.next_refresh_in_s(60) == 1


def test_a_new_table_replaces_the_old_one_as_a_whole(
    prefixes: AllowedPrefixes, fake: FakeRegistry, clock: FakeClock
) -> None:
    fake.allowed = {"c1": ["/demo"]}
    refresh(prefixes, clock)
    fake.allowed = {"c2": ["/demo"]}
    refresh(prefixes, clock)
    assert prefixes.for_host("c1") is None


def test_a_restricted_cache_keeps_what_is_allowed_and_what_is_the_federations(
    prefixes: AllowedPrefixes, fake: FakeRegistry, clock: FakeClock
) -> None:
    fake.allowed = {"c1.example.org": ["/demo"]}
    refresh(prefixes, clock)
    namespaces = paths("/demo", "/demo/sub", "/ro", "/pelican/monitoring", "/pelicans")
    kept = prefixes.permitted("C1.example.org", namespaces)
    assert [namespace.path for namespace in kept] == ["/demo", "/pelican/monitoring"]
    assert prefixes.permitted("c2.example.org", namespaces) is namespaces


def test_an_outage_is_logged_once_and_so_is_its_end(
    prefixes: AllowedPrefixes, fake: FakeRegistry, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    fake.is_away = True
    for _ in range(5):
        refresh(prefixes, clock)
    fake.is_away = False
    for _ in range(5):
        refresh(prefixes, clock)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
