import random

import pytest

from director_wsgi.limits.adaptive import AdaptiveLimit
from director_wsgi.limits.breaker import BreakerSettings, State
from director_wsgi.stat.evidence import Evidence, Presence, Reason
from director_wsgi.stat.health import LATENCY_WEIGHT, ServerHealth, Sickness, says_nothing, sickness
from tests.unit.stat.fakes import CountedBreaker

PRESENT = Evidence(presence=Presence.PRESENT, status=200, length_bytes=7)
ABSENT = Evidence(presence=Presence.ABSENT, status=404)
DENIED = Evidence(presence=Presence.DENIED, status=403)

OUR_OWN_DOING = {Reason.NOT_ASKED, Reason.NO_SLOT, Reason.NO_THREAD, Reason.CIRCUIT_OPEN, Reason.CLOSED}
SICKNESS_OF = {
    Reason.TIMED_OUT: Sickness.STALLING,
    Reason.NAME: Sickness.DNS,
    Reason.REFUSED: Sickness.REFUSING,
    Reason.TLS: Sickness.TLS,
    Reason.CUT_OFF: Sickness.CUTTING_OFF,
    Reason.FORBIDDEN_ADDRESS: Sickness.FORBIDDEN,
    Reason.FAILED: Sickness.ERRORING,
}
ALWAYS_WITH_A_STATUS = {Reason.REDIRECTED, Reason.NO_LENGTH}


def test_every_reason_is_either_our_own_doing_or_a_sickness_or_an_answer():
    assert OUR_OWN_DOING | set(SICKNESS_OF) | ALWAYS_WITH_A_STATUS == set(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_what_is_our_own_doing_says_nothing_of_the_server(reason):
    assert says_nothing(Evidence.unknown(reason)) is (reason in OUR_OWN_DOING)


@pytest.mark.parametrize(("reason", "what"), SICKNESS_OF.items())
def test_without_an_answer_the_reason_tells_what_is_wrong(reason, what):
    assert sickness(Evidence.unknown(reason)) is what


@pytest.mark.parametrize("what", Sickness)
def test_every_sickness_can_be_found(what):
    assert what in SICKNESS_OF.values()


@pytest.mark.parametrize("status", [500, 502, 503, 599, 999])
def test_an_answer_from_500_is_an_error_of_the_server(status):
    assert sickness(Evidence.unknown(Reason.FAILED, status)) is Sickness.ERRORING


@pytest.mark.parametrize(
    "evidence",
    [
        PRESENT,
        ABSENT,
        DENIED,
        Evidence.unknown(Reason.NO_LENGTH, 200),
        Evidence.unknown(Reason.REDIRECTED, 307),
        Evidence.unknown(Reason.FAILED, 429),
        Evidence.unknown(Reason.FAILED, 499),
    ],
    ids=str,
)
def test_whoever_answers_below_500_is_well_whatever_it_says(evidence):
    assert sickness(evidence) is None


class Patient:
    """One server's health; trips when two of three fail."""

    def __init__(self, clock, *, adapts: bool = True) -> None:
        self.clock = clock
        settings = BreakerSettings(minimum_volume=3, failure_rate=0.6, jitter=0)
        self.breaker = CountedBreaker(settings, clock, random.Random(1))
        self.limit = AdaptiveLimit(least=1 if adapts else 8, initial=8, most=8, clock=clock)
        self.health = ServerHealth(self.breaker, self.limit)

    def learned(self, evidence: Evidence, took_s: float = 0.1) -> None:
        self.health.learned(self.breaker.admit(), evidence, took_s=took_s, in_flight=8)


@pytest.mark.parametrize("adapts", [True, False])
@pytest.mark.parametrize(
    ("evidence", "settled"),
    [(PRESENT, "succeeded"), (ABSENT, "succeeded"), (Evidence.unknown(Reason.TIMED_OUT), "failed")]
    + [(Evidence.unknown(reason), "undecided") for reason in sorted(OUR_OWN_DOING, key=str)],
    ids=str,
)
def test_a_pass_is_given_back_once_whatever_was_learned(clock, adapts, evidence, settled):
    patient = Patient(clock, adapts=adapts)
    patient.learned(evidence)
    assert list(patient.breaker.settled.values()) == [[settled]]


def test_failures_open_the_breaker_with_their_reason(clock):
    patient = Patient(clock)
    for _ in range(3):
        patient.learned(Evidence.unknown(Reason.REFUSED))
    told = patient.breaker.snapshot()
    assert (told.state, told.reason) == (State.OPEN, Sickness.REFUSING)


def test_failures_lower_the_limit_and_answers_raise_it(clock):
    patient = Patient(clock)
    patient.learned(Evidence.unknown(Reason.TIMED_OUT))
    assert patient.limit.limit == 4
    clock.advance(1)
    for _ in range(4):
        patient.learned(ABSENT)
    assert patient.limit.limit == 5


@pytest.mark.parametrize("reason", sorted(OUR_OWN_DOING, key=str))
def test_our_own_doing_marks_nothing(clock, reason):
    patient = Patient(clock)
    for _ in range(5):
        patient.learned(Evidence.unknown(reason))
    assert patient.breaker.snapshot().volume == 0
    assert patient.limit.limit == 8
    assert patient.health.latency_s is None


def test_latency_is_a_moving_average_of_answers_only(clock):
    patient = Patient(clock)
    assert patient.health.latency_s is None
    patient.learned(PRESENT, took_s=0.1)
    assert patient.health.latency_s == 0.1
    patient.learned(ABSENT, took_s=0.2)
    patient.learned(Evidence.unknown(Reason.TIMED_OUT), took_s=2.0)
    assert patient.health.latency_s == pytest.approx(0.1 + LATENCY_WEIGHT * 0.1)
