"""Who is left to be sent to, by what was said."""

import pytest

from director_wsgi.errors import ObjectNotFound
from director_wsgi.federation.models import ServerAd
from director_wsgi.federation.snapshot import Source
from director_wsgi.redirect.candidates import (
    cache_availability,
    candidates,
    nothing_is_known,
    rests_on_evidence,
)
from director_wsgi.stat.evidence import Evidence, Presence, Reason
from tests.make import cache, origin

PRESENT = Evidence(presence=Presence.PRESENT, length_bytes=5, status=200)
STALE = Evidence(presence=Presence.PRESENT, length_bytes=5, status=200, stale_s=70.0)
ABSENT = Evidence(presence=Presence.ABSENT, status=404)
DENIED = Evidence(presence=Presence.DENIED, status=403)
UNKNOWN = Evidence.unknown(Reason.TIMED_OUT)


def aged(age_s: int | None) -> Evidence:
    return Evidence(presence=Presence.PRESENT, length_bytes=5, status=200, age_s=age_s)


def source(name: str, **more: object) -> Source:
    ad = origin(name, "/x", **more)
    return Source(ad, ad.namespaces[0])


def told(answers: dict[ServerAd, Evidence]) -> dict[str, Evidence]:
    return {server.data_url: evidence for server, evidence in answers.items()}


A, B, C, D, E = (source(name) for name in "ABCDE")
K, L = cache("K", "/x"), cache("L", "/x")


def names(sources: tuple[Source, ...], answers: dict[ServerAd, Evidence]) -> str:
    return "".join(candidate.source.server.name for candidate in candidates(sources, told(answers)))


class TestCandidates:
    def test_present_then_stale_then_denied_then_unknown_and_absent_is_out(self) -> None:
        answers = {A.server: UNKNOWN, B.server: DENIED, C.server: STALE, D.server: PRESENT, E.server: ABSENT}
        assert names((A, B, C, D, E), answers) == "DCBA"

    def test_equals_keep_their_order(self) -> None:
        assert names((C, A, B), {A.server: UNKNOWN, B.server: UNKNOWN, C.server: UNKNOWN}) == "CAB"

    def test_who_was_not_asked_counts_as_having_it(self) -> None:
        assert [one.is_available for one in candidates((A, B), {})] == [True, True]

    def test_the_silent_say_nothing_of_availability(self) -> None:
        answers = {A.server: PRESENT, B.server: STALE, C.server: DENIED, D.server: UNKNOWN}
        assert [one.is_available for one in candidates((A, B, C, D), told(answers))] == [True, True, True, None]

    def test_all_absent_is_not_found(self) -> None:
        with pytest.raises(ObjectNotFound):
            candidates((A, B), told({A.server: ABSENT, B.server: ABSENT}))


class TestNothingIsKnown:
    def test_only_if_every_origin_is_unknown(self) -> None:
        assert nothing_is_known((A, B), (), told({A.server: UNKNOWN, B.server: UNKNOWN}))
        for other in (PRESENT, STALE, DENIED, ABSENT):
            assert not nothing_is_known((A, B), (), told({A.server: UNKNOWN, B.server: other}))

    def test_not_if_an_origin_was_not_asked_or_cannot_be(self) -> None:
        brokered = source("Z", broker_url="https://broker.example.org")
        assert not nothing_is_known((A,), (K,), told({K: UNKNOWN}))
        assert not nothing_is_known(
            (A, brokered), (), told({A.server: UNKNOWN, brokered.server: Evidence.unknown(Reason.NOT_ASKED)})
        )

    def test_not_if_a_cache_has_it(self) -> None:
        assert nothing_is_known((A,), (K,), told({A.server: UNKNOWN, K: ABSENT}))
        assert not nothing_is_known((A,), (K,), told({A.server: UNKNOWN, K: aged(3)}))


class TestCacheAvailability:
    @pytest.mark.parametrize(
        ("evidence", "available"),
        [
            (aged(1), True),
            (aged(0), False),
            (aged(None), False),
            (DENIED, True),
            (ABSENT, None),
            (UNKNOWN, None),
        ],
    )
    def test_a_copy_is_one_that_has_aged(self, evidence: Evidence, available: bool | None) -> None:
        assert cache_availability((K,), told({K: evidence})) == [available]

    def test_if_none_was_asked_all_count_as_having_it(self) -> None:
        assert cache_availability((K, L), told({A.server: PRESENT})) == [True, True]


class TestRestsOnEvidence:
    def test_nothing_asked_is_no_guess(self) -> None:
        assert rests_on_evidence(A.server, (A,), {})

    @pytest.mark.parametrize(
        ("evidence", "it_does"), [(PRESENT, True), (STALE, True), (DENIED, False), (UNKNOWN, False)]
    )
    def test_an_origin_must_have_it_itself(self, evidence: Evidence, it_does: bool) -> None:
        assert rests_on_evidence(A.server, (A, B), told({A.server: evidence, B.server: PRESENT})) is it_does

    def test_a_cache_can_fetch_what_an_origin_has(self) -> None:
        assert rests_on_evidence(K, (A, B), told({A.server: UNKNOWN, B.server: PRESENT, K: ABSENT}))
        assert rests_on_evidence(K, (A,), told({A.server: UNKNOWN, K: aged(3)}))
        assert not rests_on_evidence(K, (A, B), told({A.server: UNKNOWN, B.server: ABSENT}))
