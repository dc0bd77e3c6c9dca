"""Laws of counting advertisements: nobody's words make more series than there is room for."""

import pytest

from director_wsgi.trust import ad_counts
from director_wsgi.trust.ad_counts import AdCounts
from tests.make import cache, origin


@pytest.fixture
def counts() -> AdCounts:
    return AdCounts()


def test_each_namespace_of_an_advertisement_is_counted_once(counts: AdCounts) -> None:
    ad = origin("O", "/a", "/b", web_url="https://web")
    counts.answered(ad, 200)
    counts.answered(ad, 200)
    counts.answered(ad, 403)
    counts.answered(cache("C"), 200)  # it has none
    assert counts.received == {
        ("O", "https://web", "Origin", "200", "/a"): 2,
        ("O", "https://web", "Origin", "200", "/b"): 2,
        ("O", "https://web", "Origin", "403", "/a"): 1,
        ("O", "https://web", "Origin", "403", "/b"): 1,
    }


def test_beyond_the_bound_all_are_one_and_nobody_is_lost(counts: AdCounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ad_counts, "MAX_ACCEPTED", 3)
    counts.answered(origin("O", "/a", "/b"), 200)
    counts.answered(cache("C", "/a", "/b", "/c"), 200)
    counts.answered(origin("O", "/a", "/b"), 200)
    assert counts.received == {
        ("O", "", "Origin", "200", "/a"): 2,
        ("O", "", "Origin", "200", "/b"): 2,
        ("C", "", "Cache", "200", "/a"): 1,
        ("other", "other", "Cache", "200", "other"): 2,
    }


def test_who_had_rows_before_the_bound_keeps_them(counts: AdCounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ad_counts, "MAX_ACCEPTED", 2)
    many = cache("C", *(f"/{number}" for number in range(5)))
    for ad in (origin("O", "/a"), many, origin("P", "/a"), many, origin("O", "/a", "/b"), cache("D")):
        counts.answered(ad, 200)
    assert counts.received == {
        ("O", "", "Origin", "200", "/a"): 2,
        ("C", "", "Cache", "200", "/0"): 2,
        ("other", "other", "Cache", "200", "other"): 8,
        ("other", "other", "Origin", "200", "other"): 2,
    }


def test_strangers_take_no_room_from_those_who_are_known(counts: AdCounts) -> None:
    for number in range(ad_counts.MAX_REFUSED + 100):
        counts.answered(origin(f"STRANGER{number}", "/a"), 403)
        counts.rejected_sender(f"STRANGER{number}")
    counts.answered(origin("O", "/a"), 200)
    assert len(counts.received) == ad_counts.MAX_REFUSED + 2
    assert counts.received["other", "other", "Origin", "403", "other"] == 100
    assert counts.received["O", "", "Origin", "200", "/a"] == 1
    assert len(counts.rejected) == ad_counts.MAX_REJECTED + 1
    assert sum(counts.rejected.values()) == ad_counts.MAX_REFUSED + 100


def test_outcomes_are_counted(counts: AdCounts) -> None:
    for outcome in ("admitted", "expired", "admitted"):
        counts.ended(outcome)
    assert counts.outcomes == {"admitted": 2, "expired": 1}
