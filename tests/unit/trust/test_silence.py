"""Laws of a registry that gives no answer, and of who may try it."""

import random

import pytest

from director_wsgi.trust.registry import NoAnswer
from director_wsgi.trust.silence import FIRST_PAUSE_S, JITTER, LONGEST_PAUSE_S, Silence
from tests.fakes import FakeClock

QUESTION_S = 30.0
AWAY = NoAnswer("away")


@pytest.fixture
def silence(clock: FakeClock) -> Silence:
    return Silence(longest_question_s=QUESTION_S, generator=random.Random(1), clock=clock)


def pause_s(silence: Silence, clock: FakeClock) -> float:
    """How long from now until a question may go out, which is not spent."""
    began = clock.now
    while silence.is_quiet:
        clock.advance(0.01)
    return clock.now - began


def test_as_long_as_it_answers_everybody_may_ask(silence: Silence) -> None:
    assert not silence.is_quiet
    assert all(silence.may_ask() for _ in range(100))
    assert silence.length_s == 0


def test_while_it_is_silent_one_may_ask_after_each_pause(silence: Silence, clock: FakeClock) -> None:
    silence.missed(AWAY, is_certain=True)
    assert silence.is_quiet
    assert not silence.may_ask()
    clock.advance(FIRST_PAUSE_S)
    assert not silence.is_quiet
    assert [silence.may_ask() for _ in range(5)] == [True, False, False, False, False]
    assert silence.is_quiet


def test_pauses_grow_up_to_a_bound_and_no_two_directors_keep_step(silence: Silence, clock: FakeClock) -> None:
    pauses = []
    for _ in range(200):
        silence.missed(AWAY, is_certain=True)
        pauses.append(pause_s(silence, clock))
        assert silence.may_ask()
    for number, (pause, longest) in enumerate(
        zip(pauses, [FIRST_PAUSE_S, 2, 4, *[LONGEST_PAUSE_S] * 197], strict=True)
    ):
        assert longest * (1 - JITTER) - 0.02 <= pause <= longest + 0.02, number
    assert len({round(pause, 1) for pause in pauses[3:]}) > 10


def test_the_first_answer_ends_it_for_everybody(silence: Silence, clock: FakeClock) -> None:
    for _ in range(10):
        silence.missed(AWAY, is_certain=True)
    clock.advance(7)
    assert silence.length_s == 7
    silence.heard()
    assert silence.length_s == 0
    assert all(silence.may_ask() for _ in range(100))
    silence.missed(AWAY, is_certain=True)
    assert pause_s(silence, clock) <= FIRST_PAUSE_S + 0.02  # it begins anew


def test_a_probe_whose_outcome_is_never_told_is_not_waited_for_for_ever(silence: Silence, clock: FakeClock) -> None:
    silence.missed(AWAY, is_certain=True)
    clock.advance(LONGEST_PAUSE_S)
    assert silence.may_ask()
    clock.advance(QUESTION_S - 0.1)
    assert not silence.may_ask()
    clock.advance(0.1)
    assert silence.may_ask()


def test_a_failure_that_may_be_the_questions_fault_begins_no_silence_but_prolongs_one(
    silence: Silence, clock: FakeClock
) -> None:
    silence.missed(AWAY, is_certain=False)
    assert not silence.is_quiet
    silence.missed(AWAY, is_certain=True)
    clock.advance(LONGEST_PAUSE_S)
    assert silence.may_ask()
    silence.missed(AWAY, is_certain=False)
    assert silence.is_quiet
    assert pause_s(silence, clock) <= 2 * FIRST_PAUSE_S + 0.02


def test_it_is_logged_once_and_so_is_its_end(
    silence: Silence, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    silence.heard()
    for _ in range(5):
        silence.missed(AWAY, is_certain=True)
    clock.advance(90)
    for _ in range(5):
        silence.heard()
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "away; what is known of servers is used meanwhile"),
        ("INFO", "the registry answers again, after 90 s"),
    ]


def test_another_length_of_questions_holds_for_the_next_probe_and_no_pause(silence: Silence, clock: FakeClock) -> None:
    silence.missed(AWAY, is_certain=True)
    silence.adopt(longest_question_s=2 * QUESTION_S)
    assert silence.is_quiet
    clock.advance(FIRST_PAUSE_S)
    assert silence.may_ask()
    clock.advance(2 * QUESTION_S - 0.001)
    assert not silence.may_ask()
    clock.advance(0.001)
    assert silence.may_ask()
