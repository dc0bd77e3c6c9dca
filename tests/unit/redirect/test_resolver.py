"""The pipeline, with a federation in memory and servers that answer as told."""

import pytest

from director_wsgi.errors import NoNamespace, NothingKnown, ObjectNotFound, Starting, TokenExpired
from director_wsgi.limits.breaker import State
from director_wsgi.redirect.request import Endpoint, Token
from director_wsgi.redirect.weights import Health
from director_wsgi.runtime.clients import ClientWatch
from director_wsgi.stat.evidence import Evidence, Reason
from director_wsgi.stat.patience import Patience
from tests.make import READS, asks, cache, namespace, origin
from tests.unit.redirect.federation import (
    ABSENT,
    DENIED,
    FAR,
    FARTHER,
    NEAR,
    PRESENT,
    STALE,
    UNKNOWN,
    Federation,
    at_origin,
)


def three_origins(**policy: object) -> Federation:
    return Federation(
        origin("A", "/x", coordinate=FARTHER),
        origin("B", "/x", coordinate=FAR),
        origin("C", "/x", coordinate=NEAR),
        cache("K", "/x", coordinate=NEAR),
        cache("L", "/x", coordinate=FAR),
        **policy,
    )


def test_present_ones_come_first_then_denied_then_unknown_each_by_distance() -> None:
    assert three_origins().order(at_origin(), A=PRESENT, B=UNKNOWN, C=DENIED) == ["A", "C", "B"]
    assert three_origins().order(at_origin(), A=PRESENT, B=PRESENT, C=UNKNOWN) == ["B", "A", "C"]


def test_what_was_there_a_while_ago_comes_after_what_is_there_now_and_before_a_refusal() -> None:
    assert three_origins().order(at_origin(), A=PRESENT, B=DENIED, C=STALE) == ["A", "C", "B"]


def test_one_absent_settles_nothing_while_another_may_have_it() -> None:
    assert three_origins().order(at_origin(), A=UNKNOWN, B=ABSENT, C=ABSENT) == ["A"]
    assert three_origins().order(at_origin(), A=DENIED, B=ABSENT, C=ABSENT) == ["A"]


def test_slow_is_not_absent() -> None:
    assert three_origins().order(at_origin(), A=UNKNOWN, B=UNKNOWN, C=UNKNOWN) == ["C", "B", "A"]


@pytest.mark.parametrize("endpoint", list(Endpoint))
def test_it_is_not_there_only_if_all_say_so(endpoint: Endpoint) -> None:
    with pytest.raises(ObjectNotFound, match=r"^All sources report object was not found$"):
        three_origins().resolve(asks("/x/f", endpoint=endpoint), A=ABSENT, B=ABSENT, C=ABSENT)


def test_caches_answer_reads_when_an_origin_has_the_object() -> None:
    federation = three_origins()
    assert federation.order(asks("/x/f"), A=PRESENT, B=ABSENT, C=ABSENT) == ["K", "L"]
    assert federation.ask.asked == [(("A", "B", "C"), "/x/f", None, "public")]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "COPY", "PROPFIND"])
def test_only_reads_are_statted(method: str) -> None:
    federation = three_origins()
    assert federation.order(at_origin(method=method)) == ["C", "B", "A"]
    assert federation.ask.asked == []


def test_nobody_is_asked_when_the_operator_or_the_client_does_not_want_it() -> None:
    for federation, request in (
        (three_origins(check_origin_presence=False), at_origin()),
        (three_origins(), at_origin(skip_stat=True, query=(("skipstat", ""),))),
        (Federation(origin("A", "/x")), at_origin()),
    ):
        federation.resolve(request)
        assert federation.ask.asked == []


def test_a_single_origin_is_asked_if_it_is_not_assumed_to_have_everything() -> None:
    federation = Federation(origin("A", "/x"), assume_presence_at_single_origin=False)
    federation.resolve(at_origin(), A=PRESENT)
    assert len(federation.ask.asked) == 1


def test_a_protected_namespace_is_asked_only_with_a_token() -> None:
    federation = Federation(origin("A", namespace("/x", READS)), origin("B", namespace("/x", READS)))
    federation.resolve(at_origin())
    assert federation.ask.asked == []

    federation.resolve(at_origin(token=Token(value="T", authority="digest")), A=PRESENT, B=ABSENT)
    assert federation.ask.asked == [(("A", "B"), "/x/f", "T", "digest")]


def test_an_origin_behind_a_broker_counts_as_having_it() -> None:
    federation = Federation(
        origin("A", "/x", coordinate=FAR, broker_url="https://broker.example.org"), origin("B", "/x", coordinate=NEAR)
    )
    not_asked = Evidence.unknown(Reason.NOT_ASKED)
    assert federation.order(at_origin(), A=not_asked, B=UNKNOWN) == ["A", "B"]
    assert federation.order(at_origin(), A=not_asked, B=ABSENT) == ["A"]


def test_an_expired_token_is_refused_before_any_server_sees_it() -> None:
    federation = three_origins()
    with pytest.raises(TokenExpired):
        federation.resolve(at_origin(token=Token(value="T", authority="digest", expired=True)))
    assert federation.ask.asked == []


def test_a_missing_namespace_is_a_matter_of_patience_while_the_director_is_young() -> None:
    with pytest.raises(Starting):
        Federation(starting=True).resolve(asks("/x/f"))
    with pytest.raises(NoNamespace) as caught:
        Federation().resolve(asks("/x/f"))
    assert not isinstance(caught.value, Starting)


def test_at_most_six_servers_are_named() -> None:
    federation = Federation(origin("O", "/x"), *(cache(f"C{n}", "/x") for n in range(9)))
    assert len(federation.order(asks("/x/f"))) == 6


def test_chained_caches_come_before_origins_and_all_are_six() -> None:
    ads = [origin(f"O{n}", "/x") for n in range(2)] + [cache(f"C{n}", "/x") for n in range(9)]
    federation = Federation(*ads, caches_pull_from_caches=True)
    request = at_origin(prefer_cached=True, skip_stat=True, query=(("prefercached", ""),))
    assert federation.order(request) == ["C0", "C1", "C2", "C3", "O0", "O1"]

    assert Federation(*ads).order(request) == ["O0", "O1"]


def test_a_token_is_in_the_location_and_never_in_a_link() -> None:
    redirection = three_origins().resolve(
        asks("/x/f", token=Token(value="secret", authority="d"), skip_stat=True, query=(("skipstat", "1"),))
    )
    assert redirection.location.endswith("/x/f?authz=secret&skipstat=")
    assert "secret" not in str(redirection.headers)
    assert "secret" not in repr(asks("/x", token=Token(value="secret", authority="d")))


class Connection:
    def fileno(self) -> int:
        return -1


class TestHowServersAreAsked:
    def test_lanes_and_the_client_are_told_to_the_asker(self) -> None:
        federation, client = three_origins(), ClientWatch().of(Connection())
        federation.resolve(at_origin("/x/f", client=client), A=PRESENT, B=PRESENT, C=PRESENT)
        assert federation.ask.namespaces == ["/x"]
        assert federation.ask.clients == [client]

    def test_any_holder_will_do_for_a_client_that_is_sent_to_a_cache(self) -> None:
        answers = {"A": PRESENT, "B": PRESENT, "C": PRESENT}
        federation = three_origins()
        federation.resolve(asks("/x/f"), **answers)
        federation.resolve(at_origin(), **answers)
        federation.resolve(asks("/x/f", direct_read=True, query=(("directread", ""),)), **answers)
        assert federation.ask.patience == [Patience.FIRST, Patience.BEST, Patience.BEST]

    def test_it_matters_which_one_where_there_is_no_cache(self) -> None:
        federation = Federation(origin("A", "/x"), origin("B", "/x"))
        federation.resolve(asks("/x/f"), A=PRESENT, B=PRESENT)
        assert federation.ask.patience == [Patience.BEST]


class TestWhenUnknown:
    def test_a_guess_is_the_default(self) -> None:
        redirection = three_origins().resolve(at_origin(), A=UNKNOWN, B=UNKNOWN, C=UNKNOWN)
        assert redirection.with_evidence is False

    @pytest.mark.parametrize("endpoint", list(Endpoint))
    def test_retry_ends_the_request_if_no_origin_could_tell(self, endpoint: Endpoint) -> None:
        with pytest.raises(NothingKnown) as caught:
            three_origins(when_unknown="retry").resolve(
                asks("/x/f", endpoint=endpoint), A=UNKNOWN, B=UNKNOWN, C=UNKNOWN
            )
        assert caught.value.retry_after_s == 1

    @pytest.mark.parametrize("other", [PRESENT, STALE, DENIED, ABSENT])
    def test_but_not_if_one_of_them_said_anything(self, other: Evidence) -> None:
        federation = three_origins(when_unknown="retry")
        assert federation.order(at_origin(), A=UNKNOWN, B=UNKNOWN, C=other)

    def test_nor_if_nobody_had_to_be_asked(self) -> None:
        federation = three_origins(when_unknown="retry")
        assert federation.order(at_origin(method="PUT"))

    def test_all_absent_is_still_not_found(self) -> None:
        with pytest.raises(ObjectNotFound):
            three_origins(when_unknown="retry").resolve(at_origin(), A=ABSENT, B=ABSENT, C=ABSENT)

    @pytest.mark.parametrize(
        ("probes_s", "retry_after_s"),
        [((4.2, 2.1, 3.0), 3), ((0.2, 0.3, 0.4), 1), ((4.2, None, 3.0), 1), ((5.0, 5.0, 5.0), 5)],
    )
    def test_the_client_comes_again_when_the_first_origin_is_asked_again(
        self, probes_s: tuple[float | None, ...], retry_after_s: int
    ) -> None:
        health = {
            name: Health(breaker=State.OPEN if probe_s else State.CLOSED, next_probe_in_s=probe_s)
            for name, probe_s in zip("ABC", probes_s, strict=True)
        }
        with pytest.raises(NothingKnown) as caught:
            three_origins(when_unknown="retry", health=health).resolve(at_origin(), A=UNKNOWN, B=UNKNOWN, C=UNKNOWN)
        assert caught.value.retry_after_s == retry_after_s
        assert f"try again in {retry_after_s}s" in str(caught.value)


class TestEvidenceOfADecision:
    @pytest.mark.parametrize(
        ("answers", "it_rests_on_it"),
        [
            ({"A": PRESENT, "B": UNKNOWN, "C": UNKNOWN}, True),
            ({"A": DENIED, "B": UNKNOWN, "C": ABSENT}, False),
        ],
    )
    def test_it_is_that_of_the_first_server(self, answers: dict[str, Evidence], it_rests_on_it: bool) -> None:
        assert three_origins().resolve(at_origin(), **answers).with_evidence is it_rests_on_it
        assert three_origins().resolve(asks("/x/f"), **answers).with_evidence is it_rests_on_it

    def test_nothing_asked_is_no_guess(self) -> None:
        assert Federation(origin("A", "/x")).resolve(at_origin()).with_evidence
