"""The pipeline, with a federation in memory and servers that answer as told."""

import random
from collections.abc import Mapping

import pytest

from director_wsgi.errors import NoNamespace, ObjectNotFound, Starting, TokenExpired
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.models import ServerAd
from director_wsgi.limits.deadline import Deadline
from director_wsgi.redirect.geo import Overrides
from director_wsgi.redirect.places import ClientPlaces
from director_wsgi.redirect.request import Endpoint, ObjectRequest, Redirection, Token
from director_wsgi.redirect.resolver import Policy, Resolver
from director_wsgi.stat.evidence import Evidence, Presence, Reason
from tests.fakes import FakeClock
from tests.make import READS, asks, at, cache, namespace, origin

PRESENT = Evidence(presence=Presence.PRESENT, length_bytes=5, status=200)
ABSENT = Evidence(presence=Presence.ABSENT, status=404)
DENIED = Evidence(presence=Presence.DENIED, status=403)
UNKNOWN = Evidence.unknown(Reason.TIMED_OUT)

NEAR, FAR, FARTHER = at(41.88, -87.63), at(40.71, -74.01), at(34.05, -118.24)


class FakeAsk:
    """Answers as told, by server name, and remembers what it was asked."""

    def __init__(self, answers: Mapping[str, Evidence]) -> None:
        self.answers = answers
        self.asked: list[tuple[tuple[str, ...], str, str | None, str]] = []

    def __call__(
        self, servers: tuple[ServerAd, ...], path: str, *, bearer: str | None, authority: str, deadline: Deadline
    ) -> tuple[Evidence, ...]:
        self.asked.append((tuple(server.name for server in servers), path, bearer, authority))
        return tuple(self.answers[server.name] for server in servers)


class Federation:
    def __init__(self, *ads: ServerAd, starting: bool = False, **policy: object) -> None:
        self.clock = FakeClock()
        self.directory = Directory(clock=self.clock)
        for ad in ads:
            self.directory.record(ad, 60)
        self.ask = FakeAsk({})
        self.resolver = Resolver(
            policy=Policy(web_url="https://director.example.org", **policy),  # type: ignore[arg-type]
            snapshot=self.directory.snapshot,
            ask=self.ask,
            places=ClientPlaces(Overrides(), generator=random.Random(1), clock=self.clock),
            is_starting=lambda: starting,
            generator=random.Random(1),
        )

    def resolve(self, request: ObjectRequest, **answers: Evidence) -> Redirection:
        self.ask.answers = answers
        return self.resolver.resolve(request)

    def order(self, request: ObjectRequest, **answers: Evidence) -> list[str]:
        """The servers named, best first."""
        headers = dict(self.resolve(request, **answers).headers)
        return [entry.split("https://")[1].split(".")[0].upper() for entry in headers["Link"].split(", ")]


def three_origins(**policy: object) -> Federation:
    return Federation(
        origin("A", "/x", coordinate=FARTHER),
        origin("B", "/x", coordinate=FAR),
        origin("C", "/x", coordinate=NEAR),
        cache("K", "/x", coordinate=NEAR),
        cache("L", "/x", coordinate=FAR),
        **policy,
    )


def at_origin(path: str = "/x/f", **more: object) -> ObjectRequest:
    return asks(path, endpoint=Endpoint.ORIGIN, **more)


def test_present_ones_come_first_then_denied_then_unknown_each_by_distance() -> None:
    assert three_origins().order(at_origin(), A=PRESENT, B=UNKNOWN, C=DENIED) == ["A", "C", "B"]
    assert three_origins().order(at_origin(), A=PRESENT, B=PRESENT, C=UNKNOWN) == ["B", "A", "C"]


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
