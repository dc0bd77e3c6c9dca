"""The laws of Deadline."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.limits.deadline import Deadline
from tests.fakes import FakeClock

SECONDS = st.floats(min_value=-100.0, max_value=100.0)


def test_what_remains_shrinks_to_nothing_and_no_further(clock: FakeClock) -> None:
    deadline = Deadline.after(2.0, clock)
    clock.advance(0.5)
    assert deadline.remaining_s() == 1.5
    assert not deadline.has_passed()
    clock.advance(1.5)
    assert deadline.has_passed()
    assert deadline.remaining_s() == 0.0
    clock.advance(100.0)
    assert deadline.remaining_s() == 0.0


def test_a_negative_length_is_an_instant_that_has_passed(clock: FakeClock) -> None:
    assert Deadline.after(-1.0, clock).has_passed()


def test_it_is_an_instant_of_its_clock(clock: FakeClock) -> None:
    assert Deadline.after(2.0, clock).at == clock.now + 2.0


@given(SECONDS, SECONDS)
def test_a_step_may_shorten_it_and_never_lengthen_it(first: float, second: float) -> None:
    clock = FakeClock()
    assert Deadline.after(first, clock).at_most(second).at == clock.now + min(first, second)


def test_an_endless_one_does_not_pass(clock: FakeClock) -> None:
    deadline = Deadline(float("inf"), clock)
    clock.advance(1e12)
    assert not deadline.has_passed()


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        Deadline(float("nan"))


def test_its_text_says_what_remains(clock: FakeClock) -> None:
    assert repr(Deadline.after(1.5, clock)) == "<Deadline in 1.500 s>"
