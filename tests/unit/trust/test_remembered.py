"""Laws of the table of answers."""

import pytest

from director_wsgi.trust.remembered import Entry, Remembered
from tests.fakes import FakeClock

LIFETIME_S = 10.0


@pytest.fixture
def table(clock: FakeClock) -> Remembered[int]:
    return Remembered(lifetime_s=lambda value: LIFETIME_S if value else 0.0, capacity=2, clock=clock)


def known(table: Remembered[int], key: str = "a") -> Entry[int]:
    entry = table.known(key)
    assert entry is not None
    return entry


def test_nothing_is_known_before_it_was_answered(table: Remembered[int]) -> None:
    assert table.known("a") is None
    table.failed("a")
    assert table.known("a") is None
    assert len(table) == 0


def test_an_answer_turns_stale_but_stays(table: Remembered[int], clock: FakeClock) -> None:
    table.put("a", 1)
    clock.advance(LIFETIME_S - 0.1)
    assert table.is_fresh(known(table))
    clock.advance(1e9)
    assert known(table).value == 1
    assert not table.is_fresh(known(table))
    assert table.age_s(known(table)) == pytest.approx(1e9 + LIFETIME_S - 0.1)


def test_an_answer_without_lifetime_is_known_but_never_fresh(table: Remembered[int]) -> None:
    table.put("a", 0)
    assert known(table).value == 0
    assert not table.is_fresh(known(table))


def test_a_failure_is_dated_and_keeps_the_old_answer_with_its_age(table: Remembered[int], clock: FakeClock) -> None:
    table.put("a", 1)
    clock.advance(4)
    table.failed("a")
    assert (known(table).value, known(table).failed_at, table.age_s(known(table))) == (1, clock.now, 4)
    table.put("a", 2)
    assert known(table).failed_at < 0


def test_the_least_recently_used_makes_room(table: Remembered[int]) -> None:
    table.put("a", 1)
    table.put("b", 1)
    table.known("a")
    table.put("c", 1)
    assert table.known("b") is None
    assert known(table, "a")
    assert len(table) == 2


def test_what_is_forgotten_is_not_known(table: Remembered[int]) -> None:
    table.put("a", 1)
    table.forget("a")
    table.forget("never there")
    assert table.known("a") is None


def test_what_somebody_else_was_told_is_as_old_as_it_is(table: Remembered[int], clock: FakeClock) -> None:
    table.learn("a", 1, LIFETIME_S - 1)
    assert (known(table).value, table.age_s(known(table))) == (1, LIFETIME_S - 1)
    assert table.is_fresh(known(table))
    clock.advance(1)
    assert not table.is_fresh(known(table))
    assert table.renew("a", 0.5)
    assert (known(table).value, table.age_s(known(table))) == (1, 0.5)
    assert table.is_fresh(known(table))


def test_what_is_older_replaces_nothing(table: Remembered[int], clock: FakeClock) -> None:
    table.put("a", 1)
    table.failed("a")
    clock.advance(5)
    table.learn("a", 2, 6.0)
    assert table.renew("a", 7.0)
    assert (known(table).value, table.age_s(known(table))) == (1, 5)
    assert known(table).failed_at == clock.now - 5
    table.learn("a", 2, 5.0)
    assert known(table).value == 2, "of two of one instant the last that is told"


def test_what_nobody_knows_cannot_be_renewed(table: Remembered[int]) -> None:
    assert not table.renew("a", 0.0)
    assert table.known("a") is None


def test_what_others_were_told_makes_room_as_well(table: Remembered[int]) -> None:
    for key in "abcd":
        table.learn(key, 1, 0.0)
    assert len(table) == 2
