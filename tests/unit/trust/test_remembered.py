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
