"""Laws of the counts of one server's answers: each is counted once, in Pelican's words; what is no answer is not."""

import pytest

from director_wsgi.stat.evidence import Evidence, Presence, Reason
from director_wsgi.stat.results import Results

ANSWERS = [
    (Evidence(presence=Presence.PRESENT, length_bytes=1, status=200), "Succeeded"),
    (Evidence(presence=Presence.ABSENT, status=404), "NotFound"),
    (Evidence(presence=Presence.DENIED, status=403), "Forbidden"),
    (Evidence.unknown(Reason.TIMED_OUT), "Timeout"),
    (Evidence.unknown(Reason.CLOSED), "Cancelled"),
    (Evidence.unknown(Reason.REFUSED), "UnknownErr"),
    (Evidence.unknown(Reason.FAILED, 503), "UnknownErr"),
]


@pytest.mark.parametrize(("evidence", "word"), ANSWERS)
@pytest.mark.parametrize("is_cached", [True, False])
def test_every_answer_has_a_word(evidence: Evidence, word: str, is_cached: bool) -> None:
    results = Results()
    results.count(evidence, is_cached=is_cached)
    results.count(evidence, is_cached=is_cached)
    assert results.counts() == {(word, is_cached): 2}


@pytest.mark.parametrize("reason", [Reason.NOT_ASKED, Reason.NO_SLOT, Reason.NO_THREAD, Reason.CIRCUIT_OPEN])
def test_who_was_not_asked_has_not_answered(reason: Reason) -> None:
    results = Results()
    results.count(Evidence.unknown(reason), is_cached=False)
    assert results.counts() == {}


def test_every_reason_is_counted_or_not_on_purpose() -> None:
    results = Results()
    for reason in Reason:
        results.count(Evidence.unknown(reason), is_cached=False)
    counts = results.counts()
    assert sum(counts.values()) == len(Reason) - 4
