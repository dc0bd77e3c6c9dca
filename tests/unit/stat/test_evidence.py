import pytest

from director_wsgi.stat.evidence import DENIED_TTL_S, Evidence, EvidenceTable, Lifetimes, Presence, Reason
from tests.fakes import FakeClock

PRESENT = Evidence(presence=Presence.PRESENT, status=200, length_bytes=7)
ABSENT = Evidence(presence=Presence.ABSENT, status=404)
DENIED = Evidence(presence=Presence.DENIED, status=403)
FAILED = Evidence.unknown(Reason.FAILED, 500)

LIFETIMES = Lifetimes(presence_s=60.0, absence_s=10.0, failure_s=1.0)


def table(clock: FakeClock, capacity: int = 10, lifetimes: Lifetimes = LIFETIMES) -> EvidenceTable:
    return EvidenceTable(capacity=capacity, lifetimes=lifetimes, clock=clock)


@pytest.mark.parametrize(
    ("evidence", "lifetime_s"), [(PRESENT, 60.0), (ABSENT, 10.0), (DENIED, DENIED_TTL_S), (FAILED, 1.0)]
)
def test_each_kind_of_evidence_has_a_lifetime_of_its_own(evidence, lifetime_s):
    clock = FakeClock()
    known = table(clock)
    known.remember("/x", "public", evidence)
    clock.advance(lifetime_s - 0.001)
    assert known.recall("/x", "public") == evidence
    clock.advance(0.002)
    assert known.recall("/x", "public") is None


@pytest.mark.parametrize("reason", [Reason.NOT_ASKED, Reason.NO_SLOT, Reason.CLOSED])
def test_what_says_nothing_of_the_server_is_not_remembered(reason):
    known = table(FakeClock())
    known.remember("/x", "public", Evidence.unknown(reason))
    assert known.recall("/x", "public") is None


@pytest.mark.parametrize("reason", set(Reason) - {Reason.NOT_ASKED, Reason.NO_SLOT, Reason.CLOSED})
def test_every_failure_of_the_server_is_remembered_for_a_moment(reason):
    known = table(FakeClock())
    known.remember("/x", "public", Evidence.unknown(reason))
    assert known.recall("/x", "public") == Evidence.unknown(reason)


@pytest.mark.parametrize("asks_as", ["public", "token-b"])
def test_what_one_token_found_answers_nobody_else(asks_as):
    known = table(FakeClock())
    known.remember("/x", "token-a", PRESENT)
    assert known.recall("/x", asks_as) is None
    assert known.recall("/x", "token-a") == PRESENT


def test_a_lifetime_of_zero_remembers_nothing_and_keeps_what_was_there():
    known = table(FakeClock(), lifetimes=Lifetimes(failure_s=0.0))
    known.remember("/x", "public", PRESENT)
    known.remember("/x", "public", FAILED)
    assert known.recall("/x", "public") == PRESENT


def test_a_failure_takes_the_place_of_nothing_better_for_longer_than_it_lives():
    clock = FakeClock()
    known = table(clock)
    known.remember("/x", "public", FAILED)
    known.remember("/x", "public", PRESENT)
    assert known.recall("/x", "public") == PRESENT


def test_the_table_is_bounded_and_forgets_the_least_recently_used():
    known = table(FakeClock(), capacity=2)
    for path in ("/a", "/b"):
        known.remember(path, "public", PRESENT)
    known.recall("/a", "public")
    known.remember("/c", "public", PRESENT)
    assert [known.recall(path, "public") for path in ("/a", "/b", "/c")] == [PRESENT, None, PRESENT]
