"""Laws of what is believed of a prefix, and when the registry is asked."""

import pytest

from director_wsgi.errors import RegistryUnavailable
from director_wsgi.limits.deadline import Deadline
from director_wsgi.trust.inquiry import (
    APPROVAL_LIFETIME_S,
    KEYS_LIFETIME_S,
    PERMITS,
    QUIET_S,
    REFETCH_INTERVAL_S,
    Inquiries,
)
from director_wsgi.trust.registry import BadAnswer, Registry
from tests.fakes import FakeClock
from tests.unit.trust.forge import Key
from tests.unit.trust.registries import API, URL, FakeRegistry, answer

KEY = Key()
STATUS = f"{API}/checkNamespaceStatus"


@pytest.fixture
def fake() -> FakeRegistry:
    return FakeRegistry(KEY)


@pytest.fixture
def inquiries(fake: FakeRegistry, clock: FakeClock) -> Inquiries:
    return Inquiries(Registry(fake, URL), timeout_s=5, clock=clock)


@pytest.fixture
def deadline(clock: FakeClock) -> Deadline:
    return Deadline.after(1e6, clock)


def approved(inquiries: Inquiries, deadline: Deadline, prefix: str = "/a") -> bool:
    with inquiries.open(deadline) as inquiry:
        return inquiry.is_approved(prefix)


def has_key(inquiries: Inquiries, deadline: Deadline, kid: str = "k1", prefix: str = "/a") -> bool:
    with inquiries.open(deadline) as inquiry:
        return bool(inquiry.key_set(prefix, kid).with_id(kid))


def exhaust(inquiries: Inquiries) -> None:
    for _ in range(PERMITS):
        assert inquiries.permits.acquire(blocking=False)


def test_an_approval_is_asked_for_once_while_it_is_fresh(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    assert approved(inquiries, deadline)
    clock.advance(APPROVAL_LIFETIME_S - 1)
    assert approved(inquiries, deadline)
    assert len(fake.asked) == 1
    clock.advance(1)
    assert approved(inquiries, deadline)
    assert len(fake.asked) == 2


def test_keys_are_asked_for_once_while_they_are_fresh(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    assert has_key(inquiries, deadline)
    clock.advance(KEYS_LIFETIME_S - 1)
    assert has_key(inquiries, deadline)
    assert len(fake.asked) == 2
    clock.advance(1)
    assert has_key(inquiries, deadline)
    assert len(fake.asked) == 4


def test_a_no_is_asked_about_again_each_time_and_so_is_a_withdrawn_approval(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    fake.unapproved.add("/a")
    assert not approved(inquiries, deadline)
    fake.unapproved.clear()
    assert approved(inquiries, deadline)
    fake.unapproved.add("/a")
    clock.advance(APPROVAL_LIFETIME_S)
    assert not approved(inquiries, deadline)


def test_a_no_stays_a_no_while_the_registry_is_away(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    approved(inquiries, deadline)
    fake.unapproved.add("/a")
    clock.advance(APPROVAL_LIFETIME_S)
    assert not approved(inquiries, deadline)
    fake.is_away = True
    assert not approved(inquiries, deadline)


def test_a_new_key_is_found_at_once(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    assert has_key(inquiries, deadline)
    fake.keys = (Key("k2"),)
    clock.advance(REFETCH_INTERVAL_S)
    assert has_key(inquiries, deadline, "k2")


def test_an_unknown_key_is_looked_for_at_a_bounded_rate(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    has_key(inquiries, deadline)
    fake.asked.clear()
    for _ in range(150):
        assert not has_key(inquiries, deadline, "made up")
        clock.advance(REFETCH_INTERVAL_S / 50)
    assert len(fake.asked) == 2 * 2  # two tries of two requests in three intervals: the first one had just been asked


def test_while_the_registry_is_away_what_was_known_counts_however_old(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    assert approved(inquiries, deadline)
    assert has_key(inquiries, deadline)
    fake.is_away = True
    clock.advance(86_400)
    assert approved(inquiries, deadline)
    assert has_key(inquiries, deadline)


def test_a_registry_that_just_gave_no_answer_is_not_asked_for_what_is_known(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    for prefix in ("/a", "/b", "/c"):
        approved(inquiries, deadline, prefix)
    fake.is_away = True
    clock.advance(APPROVAL_LIFETIME_S)
    fake.asked.clear()
    for prefix in ("/a", "/b", "/c"):
        assert approved(inquiries, deadline, prefix)
    assert len(fake.asked) == 1
    clock.advance(QUIET_S)
    fake.is_away = False
    for prefix in ("/a", "/b", "/c"):
        assert approved(inquiries, deadline, prefix)
    assert len(fake.asked) == 4


def test_what_was_never_answered_has_to_come_again(
    inquiries: Inquiries, fake: FakeRegistry, deadline: Deadline
) -> None:
    fake.is_away = True
    with pytest.raises(RegistryUnavailable) as caught:
        approved(inquiries, deadline)
    assert caught.value.retry_after_s == 1
    fake.is_away = False
    assert approved(inquiries, deadline)  # an unknown prefix is asked for even right after a failure


def test_a_refused_question_ends_what_was_believed(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    assert approved(inquiries, deadline)
    clock.advance(APPROVAL_LIFETIME_S)
    fake.overrides[STATUS] = answer(400, {"msg": "unknown prefix"})
    with pytest.raises(BadAnswer, match="unknown prefix"):
        approved(inquiries, deadline)
    fake.is_away = True
    with pytest.raises(RegistryUnavailable):
        approved(inquiries, deadline)


def test_an_answer_without_sense_changes_nothing_that_was_believed(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    fake.overrides[STATUS] = answer(body=b"<html>Maintenance")
    with pytest.raises(BadAnswer):
        approved(inquiries, deadline)
    del fake.overrides[STATUS]
    assert approved(inquiries, deadline)
    clock.advance(APPROVAL_LIFETIME_S)
    fake.overrides[STATUS] = answer(body=b"<html>Maintenance")
    assert approved(inquiries, deadline)


def test_without_a_permit_what_is_known_counts_and_what_is_not_comes_again(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    assert approved(inquiries, deadline)
    fake.asked.clear()
    exhaust(inquiries)
    assert approved(inquiries, deadline)  # fresh
    clock.advance(APPROVAL_LIFETIME_S)
    assert approved(inquiries, deadline)  # stale
    with pytest.raises(RegistryUnavailable):
        approved(inquiries, deadline, "/b")
    assert not fake.asked


def test_one_admission_holds_one_permit_however_many_questions_it_has(
    inquiries: Inquiries, fake: FakeRegistry, deadline: Deadline
) -> None:
    free: list[int] = []
    fake.on_ask = lambda: free.append(inquiries.permits._value)
    with inquiries.open(deadline) as inquiry:
        for prefix in ("/a", "/b"):
            inquiry.is_approved(prefix)
            inquiry.key_set(prefix, "k1")
    assert free == [PERMITS - 1] * 6
    assert inquiries.permits._value == PERMITS


def test_a_permit_is_given_back_whatever_happens(inquiries: Inquiries, fake: FakeRegistry, deadline: Deadline) -> None:
    fake.is_away = True
    for _ in range(10):
        with pytest.raises(RegistryUnavailable):
            approved(inquiries, deadline)
    assert inquiries.permits._value == PERMITS


def test_all_questions_of_one_admission_share_one_deadline(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    fake.on_ask = lambda: clock.advance(2)
    with inquiries.open(deadline) as inquiry:
        assert inquiry.is_approved("/a")
        assert inquiry.is_approved("/b")
        with pytest.raises(RegistryUnavailable):
            inquiry.is_approved("/c")
    assert approved(inquiries, deadline, "/a")  # what was answered in time is kept for the next try
    assert len(fake.asked) == 3
