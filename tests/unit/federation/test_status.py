"""Laws of the moving average of how a server is."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.federation.status import StatusWeight, TestVerdict
from tests.make import origin

TAU_S = 300.0


@pytest.mark.parametrize(
    ("status", "value"),
    [
        ("ok", 1),
        ("", 1),
        ("unknown", 1),
        ("warning", 0.5),
        ("degraded", 0.01),
        ("critical", 0.01),
        ("shutting down", 0.01),
    ],
)
def test_it_begins_with_what_the_server_says(status: str, value: float) -> None:
    assert StatusWeight.first(origin("O", status=status), 0).value == value


@pytest.mark.parametrize(
    ("status", "verdict", "observed"),
    [
        ("ok", TestVerdict.PASSED, 1),
        ("ok", TestVerdict.FAILED, 0.5),
        ("warning", TestVerdict.PASSED, 0.5),
        ("warning", TestVerdict.UNANSWERED, 0.01),
        ("critical", TestVerdict.FAILED, 0.01),
    ],
)
def test_the_worse_of_status_and_test_is_what_is_observed(status: str, verdict: TestVerdict, observed: float) -> None:
    begun = StatusWeight.first(origin("O", status=status), 0)
    long_after = 1e6
    assert begun.tested(verdict, long_after, TAU_S).value == pytest.approx(observed)
    assert begun.tested(verdict, 0, TAU_S).told(origin("O", status=status), long_after, TAU_S).value == pytest.approx(
        observed
    )


def test_a_server_that_wants_no_tests_any_more_is_not_held_to_the_last_one() -> None:
    failed = StatusWeight.first(origin("O"), 0).tested(TestVerdict.UNANSWERED, 0, TAU_S)
    told = failed.told(origin("O", director_test_disabled=True), 1e6, TAU_S)
    assert told.value == pytest.approx(1)


def test_only_whole_seconds_count_and_fractions_are_left_for_later() -> None:
    weight = StatusWeight.first(origin("O"), 0)
    for tenths in range(1, 10):
        weight = weight.tested(TestVerdict.UNANSWERED, tenths / 10, TAU_S)
        assert weight.value == 1
    weight = weight.tested(TestVerdict.UNANSWERED, 1.9, TAU_S)
    assert (weight.value, weight.at) == (pytest.approx(1 - (1 - math.exp(-1 / TAU_S)) * 0.99), 1)
    assert weight.tested(TestVerdict.UNANSWERED, 2.0, TAU_S).value < weight.value


def test_a_clock_that_stands_still_or_runs_back_changes_nothing() -> None:
    weight = StatusWeight.first(origin("O"), 10)
    assert weight.told(origin("O", status="critical"), 3, TAU_S).value == 1


events = st.lists(
    st.tuples(st.floats(0, 1e5), st.sampled_from(["ok", "warning", "critical", *TestVerdict])), max_size=30
)


@given(events)
def test_it_stays_between_nothing_and_one(history: list[tuple[float, str | TestVerdict]]) -> None:
    now, weight = 0.0, StatusWeight.first(origin("O"), 0)
    for seconds, event in history:
        now += seconds
        if isinstance(event, TestVerdict):
            weight = weight.tested(event, now, TAU_S)
        else:
            weight = weight.told(origin("O", status=event), now, TAU_S)
        assert 0 < weight.value <= 1
