"""Laws of the decision on trial: it is a decision like any other, it asks nobody, and silence of it is noticed."""

import logging
import random
from collections.abc import Callable

import pytest

from director_wsgi.errors import NoNamespace
from director_wsgi.federation.directory import Directory
from director_wsgi.health import trial
from director_wsgi.health.trial import LEAST_DEADLINE_S, Trial
from director_wsgi.redirect.request import ObjectRequest, Redirection
from tests.fakes import FakeClock
from tests.make import origin

REDIRECTION = Redirection(location="https://o1.example.org/x", headers=())


def made(
    clock: FakeClock, resolve: Callable[[ObjectRequest], Redirection], *paths: str, deadline_s: float = 1.0
) -> Trial:
    directory = Directory(clock=clock)
    if paths:
        directory.record(origin("O1", *paths), 900.0)
    return Trial(
        resolve=resolve,
        snapshot=directory.snapshot,
        deadline_s=deadline_s,
        generator=random.Random(1),
        clock=clock,
    )


class Resolver:
    """Takes so long, then answers or raises."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.takes_s = 0.0
        self.error: Exception | None = None
        self.asked: list[ObjectRequest] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def __call__(self, request: ObjectRequest) -> Redirection:
        self.asked.append(request)
        self.clock.advance(self.takes_s)
        self.meanwhile()
        if self.error is not None:
            raise self.error
        return REDIRECTION


@pytest.fixture
def resolver(clock: FakeClock) -> Resolver:
    return Resolver(clock)


def test_before_the_first_decision_nothing_is_wrong(clock: FakeClock, resolver: Resolver) -> None:
    assert made(clock, resolver).trouble() == ""


@pytest.mark.parametrize(("paths", "asked"), [((), "/director-trial"), (("/a/b",), "/a/b/director-trial")])
def test_what_is_decided_on_is_served_by_somebody_if_anything_is(
    clock: FakeClock, resolver: Resolver, paths: tuple[str, ...], asked: str
) -> None:
    made(clock, resolver, *paths).run()
    (request,) = resolver.asked
    assert request.path == asked


def test_no_server_is_asked_no_place_looked_up_and_no_token_needed(clock: FakeClock, resolver: Resolver) -> None:
    made(clock, resolver, "/a").run()
    (request,) = resolver.asked
    assert request.skip_stat
    assert request.coordinate is not None
    assert (request.token, request.client, request.address) == (None, None, "")


def test_all_prefixes_have_their_turn(clock: FakeClock, resolver: Resolver) -> None:
    tried = made(clock, resolver, "/a", "/b", "/c")
    for _ in range(50):
        tried.run()
    assert {request.path for request in resolver.asked} == {f"/{name}/director-trial" for name in "abc"}


def test_that_nobody_serves_it_is_a_decision(clock: FakeClock, resolver: Resolver) -> None:
    resolver.error = NoNamespace("there is none")
    tried = made(clock, resolver)
    tried.run()
    assert tried.trouble() == ""


def test_one_that_takes_too_long_is_trouble_until_one_is_in_time(clock: FakeClock, resolver: Resolver) -> None:
    tried = made(clock, resolver, deadline_s=1.0)
    resolver.takes_s = 1.01
    tried.run()
    assert "longer than 1 s" in tried.trouble()
    assert tried.next_in_s() == trial.RETRY_S
    resolver.takes_s = 0.5
    tried.run()
    assert (tried.trouble(), tried.took_s) == ("", 0.5)
    assert tried.next_in_s() == trial.INTERVAL_S


def test_one_that_does_not_come_back_is_noticed_meanwhile(clock: FakeClock, resolver: Resolver) -> None:
    tried = made(clock, resolver, deadline_s=1.0)
    seen: list[tuple[str, float]] = []

    def look() -> None:
        for _ in range(2):
            seen.append((tried.trouble(), tried.took_s))
            clock.advance(1.5)

    resolver.meanwhile = look
    tried.run()
    assert [took_s for _, took_s in seen] == [0.0, 1.5]
    assert [bool(trouble) for trouble, _ in seen] == [False, True]


def test_one_that_was_late_counts_until_the_next_has_ended(clock: FakeClock, resolver: Resolver) -> None:
    tried = made(clock, resolver)
    resolver.takes_s = 2.0
    tried.run()
    seen: list[str] = []
    resolver.takes_s, resolver.meanwhile = 0.0, lambda: seen.append(tried.trouble())
    tried.run()
    assert seen[0]
    assert not tried.trouble()


def test_an_impatient_operator_does_not_make_the_director_unready(clock: FakeClock, resolver: Resolver) -> None:
    resolver.takes_s = 0.9
    tried = made(clock, resolver, deadline_s=0.05)
    tried.run()
    assert tried.trouble() == ""


def test_a_defect_is_trouble_and_is_logged_once_until_it_is_over(
    clock: FakeClock, resolver: Resolver, caplog: pytest.LogCaptureFixture
) -> None:
    tried = made(clock, resolver)
    resolver.error = ZeroDivisionError()
    with caplog.at_level(logging.ERROR):
        tried.run()
        tried.run()
    assert "Decisions fail" in tried.trouble()
    assert len(caplog.records) == 1
    resolver.error = None
    tried.run()
    assert tried.trouble() == ""


def test_another_deadline_judges_the_last_decision_and_bounds_the_next(clock: FakeClock, resolver: Resolver) -> None:
    resolver.takes_s = 3.0
    trial = made(clock, resolver, deadline_s=5.0)
    trial.run()
    assert trial.trouble() == ""
    trial.adopt(deadline_s=2.0)
    assert "longer than 2 s" in trial.trouble()
    resolver.takes_s = 0.0
    trial.run()
    assert resolver.asked[-1].deadline.remaining_s() == 2.0
    trial.adopt(deadline_s=0.01)
    trial.run()
    assert resolver.asked[-1].deadline.remaining_s() == LEAST_DEADLINE_S
