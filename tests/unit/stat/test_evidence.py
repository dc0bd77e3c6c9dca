import random
from dataclasses import replace

import pytest

from director_wsgi.stat.evidence import (
    DENIED_TTL_S,
    JITTER,
    REFRESH_AT,
    Evidence,
    EvidenceTable,
    Lifetimes,
    Presence,
    Reason,
    Recalled,
)
from tests.fakes import FakeClock

PRESENT = Evidence(presence=Presence.PRESENT, status=200, length_bytes=7)
ABSENT = Evidence(presence=Presence.ABSENT, status=404)
DENIED = Evidence(presence=Presence.DENIED, status=403)
FAILED = Evidence.unknown(Reason.FAILED, 500)

LIFETIMES = Lifetimes(presence_s=60.0, absence_s=10.0, failure_s=1.0, stale_s=600.0)
OUR_OWN_DOING = {Reason.NOT_ASKED, Reason.NO_SLOT, Reason.NO_THREAD, Reason.CIRCUIT_OPEN, Reason.CLOSED}
MOMENT_S = 0.001


class Dice(random.Random):
    """Always throws the same."""

    def __init__(self, thrown: float) -> None:
        super().__init__()
        self.thrown = thrown

    def random(self) -> float:
        return self.thrown


class Table(EvidenceTable):
    def told(self, path: str, authority: str) -> Evidence | None:
        """The evidence that holds, whether or not it is due."""
        recalled = self.recall(path, authority)
        return None if recalled is None else recalled.evidence


def table(clock: FakeClock, capacity: int = 10, lifetimes: Lifetimes = LIFETIMES, thrown: float = 0.0) -> Table:
    return Table(capacity=capacity, lifetimes=lifetimes, generator=Dice(thrown), clock=clock)


@pytest.mark.parametrize(
    ("evidence", "lifetime_s"), [(PRESENT, 60.0), (ABSENT, 10.0), (DENIED, DENIED_TTL_S), (FAILED, 1.0)]
)
def test_each_kind_of_evidence_has_a_lifetime_of_its_own(evidence, lifetime_s):
    clock = FakeClock()
    known = table(clock)
    known.remember("/x", "public", evidence)
    clock.advance(lifetime_s - 0.001)
    assert known.told("/x", "public") == evidence
    clock.advance(0.002)
    assert known.told("/x", "public") is None


@pytest.mark.parametrize("reason", sorted(OUR_OWN_DOING, key=str))
def test_what_says_nothing_of_the_server_is_not_remembered(reason):
    known = table(FakeClock())
    known.remember("/x", "public", Evidence.unknown(reason))
    assert known.told("/x", "public") is None


@pytest.mark.parametrize("reason", sorted(set(Reason) - OUR_OWN_DOING, key=str))
def test_every_failure_of_the_server_is_remembered_for_a_moment(reason):
    known = table(FakeClock())
    known.remember("/x", "public", Evidence.unknown(reason))
    assert known.told("/x", "public") == Evidence.unknown(reason)


@pytest.mark.parametrize("asks_as", ["public", "token-b"])
def test_what_one_token_found_answers_nobody_else(asks_as):
    known = table(FakeClock())
    known.remember("/x", "token-a", PRESENT)
    assert known.told("/x", asks_as) is None
    assert known.told("/x", "token-a") == PRESENT


def test_a_lifetime_of_zero_remembers_nothing_and_keeps_what_was_there():
    known = table(FakeClock(), lifetimes=Lifetimes(failure_s=0.0))
    known.remember("/x", "public", PRESENT)
    known.remember("/x", "public", FAILED)
    assert known.told("/x", "public") == PRESENT


def test_a_failure_takes_the_place_of_nothing_better_for_longer_than_it_lives():
    clock = FakeClock()
    known = table(clock)
    known.remember("/x", "public", FAILED)
    known.remember("/x", "public", PRESENT)
    assert known.told("/x", "public") == PRESENT


def test_the_table_is_bounded_and_forgets_the_least_recently_used():
    known = table(FakeClock(), capacity=2)
    for path in ("/a", "/b"):
        known.remember(path, "public", PRESENT)
    known.told("/a", "public")
    known.remember("/c", "public", PRESENT)
    assert [known.told(path, "public") for path in ("/a", "/b", "/c")] == [PRESENT, None, PRESENT]


@pytest.mark.parametrize("thrown", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    ("evidence", "lifetime_s"), [(PRESENT, 60.0), (ABSENT, 10.0), (DENIED, DENIED_TTL_S), (FAILED, 1.0)]
)
def test_chance_shortens_a_lifetime_within_its_bound_and_never_lengthens_it(clock, evidence, lifetime_s, thrown):
    known = table(clock, thrown=thrown)
    known.remember("/x", "public", evidence)
    clock.advance(lifetime_s * (1 - JITTER * thrown) - MOMENT_S)
    assert known.told("/x", "public") == evidence
    clock.advance(2 * MOMENT_S)
    assert known.told("/x", "public") is None


def test_what_was_learned_at_once_does_not_end_at_once(clock):
    known = EvidenceTable(capacity=100, lifetimes=LIFETIMES, generator=random.Random(1), clock=clock)
    for number in range(100):
        known.remember(f"/{number}", "public", ABSENT)
    clock.advance(LIFETIMES.absence_s * (1 - JITTER / 2))
    left = sum(known.recall(f"/{number}", "public") is not None for number in range(100))
    assert 25 < left < 75


@pytest.mark.parametrize("thrown", [0.0, 1.0])
def test_a_presence_is_due_in_the_last_part_of_its_life(clock, thrown):
    known = table(clock, thrown=thrown)
    known.remember("/x", "public", PRESENT)
    clock.advance(60.0 * (1 - JITTER * thrown) * REFRESH_AT - MOMENT_S)
    assert known.recall("/x", "public") == Recalled(PRESENT, is_due=False)
    clock.advance(2 * MOMENT_S)
    assert known.recall("/x", "public") == Recalled(PRESENT, is_due=True)


@pytest.mark.parametrize(("evidence", "lifetime_s"), [(ABSENT, 10.0), (DENIED, DENIED_TTL_S), (FAILED, 1.0)])
def test_nothing_but_a_presence_is_ever_due(clock, evidence, lifetime_s):
    known = table(clock)
    known.remember("/x", "public", evidence)
    clock.advance(lifetime_s - MOMENT_S)
    assert known.recall("/x", "public") == Recalled(evidence, is_due=False)


def test_a_presence_that_holds_no_more_can_stand_in_with_its_age_for_a_while(clock):
    known = table(clock)
    known.remember("/x", "public", PRESENT)
    clock.advance(60.0)
    assert known.recall("/x", "public") is None
    assert known.recall_stale("/x", "public") == replace(PRESENT, stale_s=60.0)
    clock.advance(LIFETIMES.stale_s - MOMENT_S)
    assert known.recall_stale("/x", "public") == replace(PRESENT, stale_s=660.0 - MOMENT_S)
    clock.advance(2 * MOMENT_S)
    assert known.recall_stale("/x", "public") is None


def test_a_presence_stands_in_for_nobody_but_who_learned_it(clock):
    known = table(clock)
    known.remember("/x", "token-a", PRESENT)
    assert known.recall_stale("/x", "public") is None
    assert known.recall_stale("/y", "token-a") is None


@pytest.mark.parametrize("evidence", [ABSENT, DENIED, FAILED])
def test_nothing_but_a_presence_stands_in(clock, evidence):
    known = table(clock)
    known.remember("/x", "public", evidence)
    assert known.recall_stale("/x", "public") is None


def test_that_a_server_could_not_be_asked_takes_no_presence_away(clock):
    known = table(clock)
    known.remember("/x", "public", PRESENT)
    clock.advance(61.0)
    known.remember("/x", "public", FAILED)
    assert known.recall("/x", "public") is None
    assert known.recall_stale("/x", "public") == replace(PRESENT, stale_s=61.0)


@pytest.mark.parametrize("evidence", [ABSENT, DENIED])
def test_an_answer_takes_the_place_of_a_presence(clock, evidence):
    known = table(clock)
    known.remember("/x", "public", PRESENT)
    known.remember("/x", "public", evidence)
    assert known.told("/x", "public") == evidence
    assert known.recall_stale("/x", "public") is None


def test_without_a_time_to_stand_in_a_presence_ends_with_its_life(clock):
    known = table(clock, lifetimes=replace(LIFETIMES, stale_s=0.0))
    known.remember("/x", "public", PRESENT)
    clock.advance(60.0 + MOMENT_S)
    assert known.recall_stale("/x", "public") is None


def test_the_object_that_was_there_for_everybody_last_is_known(clock):
    known = table(clock)
    assert known.public_path is None
    known.remember("/secret", "token-a", PRESENT)
    known.remember("/absent", "public", ABSENT, is_public=True)
    assert known.public_path is None
    known.remember("/a", "public", PRESENT, is_public=True)
    known.remember("/b", "public", PRESENT, is_public=True)
    assert known.public_path == "/b"
