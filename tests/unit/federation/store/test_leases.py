"""Laws of leases."""

import pytest

from director_wsgi.federation.store.sqlite import SqliteStore
from tests.fakes import FakeClock
from tests.unit.federation.store.conftest import Opened


def test_one_at_a_time_holds_a_lease(opened: Opened) -> None:
    one, other = opened(), opened()
    assert one.holder("job") is None
    assert one.take_lease("job", "one", 5.0)
    assert not other.take_lease("job", "other", 5.0)
    assert other.holder("job") == "one"
    assert other.take_lease("another job", "other", 5.0)


def test_whoever_holds_it_may_renew_it(store: SqliteStore, clock: FakeClock) -> None:
    assert store.take_lease("job", "one", 5.0)
    clock.advance(4.0)
    assert store.take_lease("job", "one", 5.0)
    clock.advance(4.0)
    assert store.holder("job") == "one"


def test_it_moves_when_it_ends(store: SqliteStore, clock: FakeClock) -> None:
    store.take_lease("job", "one", 5.0)
    clock.advance(4.999)
    assert not store.take_lease("job", "other", 5.0)
    clock.advance(0.001)
    assert store.holder("job") is None
    assert store.take_lease("job", "other", 5.0)


def test_it_moves_at_once_when_it_is_given_back_and_only_its_holder_can(store: SqliteStore) -> None:
    store.take_lease("job", "one", 5.0)
    store.leave("job", "other")
    assert store.holder("job") == "one"
    store.leave("job", "one")
    assert store.take_lease("job", "other", 5.0)


@pytest.mark.parametrize("now", [0.0, 3.0, 990.0])
def test_a_lease_from_before_a_reboot_is_nobodys(store: SqliteStore, clock: FakeClock, now: float) -> None:
    """The monotonic clock begins anew, so such a lease seems to end far ahead."""
    store.take_lease("job", "one", 5.0)
    clock.now = now
    assert store.holder("job") is None
    assert store.take_lease("job", "other", 5.0)


def test_leases_are_no_changes(opened: Opened) -> None:
    one, other = opened(), opened()
    before = other.revision()
    one.take_lease("job", "one", 5.0)
    assert other.revision() == before
