"""Laws of the front: what it leaves to the routes, what it hands over, and what is held meanwhile."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from director_wsgi.federation.models import Capabilities, ServerAd
from director_wsgi.limits.lanes import Lanes
from director_wsgi.outbound.client import Answer
from director_wsgi.runtime.tracing.attributes import REMEMBERED, ROUTE
from director_wsgi.stat.evidence import Evidence, Presence, Reason
from director_wsgi.web.entrance import Target
from director_wsgi.web.long_answers import LONGEST_S, SHORT_BYTES
from director_wsgi.web.redirects import ENDPOINT, METHODS
from tests.fakes import FakeClock
from tests.make import cache, origin
from tests.unit.conformance.doors import JOB, House, told

PUBLIC = Capabilities(public_reads=True, reads=True, writes=True, listings=True, direct_reads=True, copies=True)
PRESENT = Evidence(presence=Presence.PRESENT, status=200, length_bytes=5)
ORIGINS = (origin("O1", "/demo", capabilities=PUBLIC), origin("O2", "/demo", capabilities=PUBLIC))
CACHE = cache("C1", "/demo")
ALL = (*ORIGINS, CACHE)
USUAL = {"HTTP_USER_AGENT": "pelican-client/7.20.0", "HTTP_X_PELICAN_JOBID": JOB, "HTTP_HOST": "director.example.org"}
NOBODY_ASKED = "/demo/f?skipstat"
LONG = ("/demo/" + "&" * 8000 + "?skipstat", "/nobody/" + "&" * 8000)
WAIT_S = 20.0

MakeHouse = Callable[..., House]


@pytest.fixture
def house_of(clock: FakeClock, wall: FakeClock) -> Iterator[MakeHouse]:
    houses: list[House] = []

    def make(*ads: ServerAd, has_front: bool = True, **settings: Any) -> House:
        houses.append(House(clock, wall, has_front=has_front, **settings))
        houses[-1].record(*(ads or ALL))
        return houses[-1]

    yield make
    for house in houses:
        house.close()


@pytest.fixture
def house(house_of: MakeHouse) -> House:
    return house_of()


def ask(house: House, target: str = "/demo/f", method: str = "GET", **headers: str) -> Any:
    return house.call(method, target, USUAL | headers)


def know(house: House, path: str = "/demo/f") -> None:
    for ad in ORIGINS:
        house.learn(ad, path, PRESENT)


# -- what is whose


def test_a_redirect_without_a_question_is_answered_at_once_and_one_with_a_question_is_not(house: House) -> None:
    assert ask(house, NOBODY_ASKED).status.startswith("307")
    assert ask(house).status  # whatever it is
    know(house, "/demo/g")
    assert ask(house, "/demo/g").status.startswith("307")
    assert house.answered == [True, False, True]
    assert house.begun == [1, 1, 1]


@pytest.mark.parametrize("base", ["/api/v1.0/director/object", "/api/v1.0/director/origin"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_paths_of_objects_are_its_own(base: str, method: str, house: House) -> None:
    assert ask(house, base + NOBODY_ASKED, method).status.startswith("307")
    assert house.answered == [True]


def paths_of(rule: str) -> list[str]:
    return [re.sub("<[^>]*>", name, rule) for name in ("x", "a/b", "é,;", "demo/f")]


def test_what_other_routes_take_is_none_of_its_own(house_of: MakeHouse) -> None:
    house = house_of(origin("ROOT", "/", capabilities=PUBLIC), CACHE)
    rules = [rule for rule in house.served.application.url_map.iter_rules() if rule.endpoint != ENDPOINT]
    front = house.entrance._front
    assert len(rules) > 20
    for rule in rules:
        # A route that begins with a variable would take what the front takes for an object's.
        assert "<" not in rule.rule.split("/")[1]
        for path in paths_of(rule.rule):
            for method in METHODS:
                house.answered.append(False)
                house.begun.append(0)
                environ = {"REQUEST_METHOD": method, "director_wsgi.job_id": JOB, "REMOTE_ADDR": "192.0.2.1", **USUAL}
                assert front(environ, Target(path, "skipstat")) is None, (method, path)
    assert not any(house.begun)
    assert ask(house, "/metricsx?skipstat").status.startswith("307")
    assert house.answered[-1]


@pytest.mark.parametrize(
    "odd",
    [
        {"HTTP_UPGRADE": "websocket", "HTTP_CONNECTION": "Upgrade"},
        {"HTTP_HOST": "a..b"},
        {"HTTP_HOST": ".a"},
        {"HTTP_HOST": "x" * 64},
        {"HTTP_HOST": "x" * 60 + ":8444"},
        {"HTTP_HOST": "é.example.org"},
    ],
    ids=str,
)
def test_what_flask_may_refuse_before_it_looks_at_routes_is_left_to_it(odd: dict[str, str], house: House) -> None:
    ask(house, NOBODY_ASKED, **odd)
    assert house.answered == [False]


@pytest.mark.parametrize("host", ["a", "a.b-c.org:8444", "[2001:db8::1]:8444", "192.0.2.1", "x" * 57 + ":8444", ""])
def test_usual_hosts_are_its_own(host: str, house: House) -> None:
    ask(house, NOBODY_ASKED, HTTP_HOST=host)
    assert house.answered == [True]


def test_a_head_has_no_body_at_either_door(house_of: MakeHouse) -> None:
    for has_front in (True, False):
        house = house_of(has_front=has_front)
        for target in (NOBODY_ASKED, "/nobody/f", *LONG):
            said, shown = ask(house, target, "HEAD"), ask(house, target)
            assert not said.body
            assert shown.body
            assert said[:2] == shown[:2]


@pytest.mark.parametrize(
    ("evidence", "status"),
    [
        (Evidence(presence=Presence.ABSENT, status=404), "404 NOT FOUND"),
        (Evidence.unknown(Reason.TIMED_OUT), "429 TOO MANY REQUESTS"),
    ],
    ids=["absent", "unknown"],
)
def test_a_refusal_by_what_is_remembered_is_the_same_at_either_door(
    evidence: Evidence, status: str, house_of: MakeHouse
) -> None:
    said, books = [], []
    for has_front in (True, False):
        house = house_of(has_front=has_front, when_unknown="retry")
        for ad in ORIGINS:
            house.learn(ad, "/demo/f", evidence)
        said.append(ask(house))
        books.append(house.books())
        assert house.answered == [has_front]
    assert said[0].status == status
    assert said[0] == said[1]
    assert books[0] == books[1]


# -- memory that ends soon


def test_what_is_near_its_end_is_asked_for_again_once_while_nobody_waits(house: House, clock: FakeClock) -> None:
    silent = threading.Event()
    arrived = [threading.Event(), threading.Event()]
    send = house.servers.send

    def silently(*arguments: Any, **more: Any) -> Answer:
        answer = send(*arguments, **more)
        arrived[len(house.servers.heads) - 1].set()
        assert silent.wait(WAIT_S)
        return answer

    house.servers.send = silently  # type: ignore[method-assign]
    know(house)
    clock.advance(50)
    try:
        for _ in range(3):
            assert ask(house).status.startswith("307")
        assert all(house.answered)
        assert all(one.wait(WAIT_S) for one in arrived)
        assert sorted(house.servers.heads) == [(f"{ad.base_url}/demo/f", "") for ad in ORIGINS]
        found = house.director.engine.statistics()
        assert (found.remembered, found.refreshed, found.in_flight) == (6, 2, 2)
    finally:
        silent.set()


def test_an_absence_is_not_believed_after_a_write_that_went_through_it(house: House) -> None:
    house.servers.send = lambda *_, **__: Answer(200, {"content-length": "5"}, b"")  # type: ignore[method-assign]
    for ad in ORIGINS:
        house.learn(ad, "/demo/f", Evidence(presence=Presence.ABSENT, status=404))
    assert ask(house).status.startswith("404")
    assert ask(house, method="PUT").status.startswith("307")
    assert ask(house).status.startswith("307")
    assert house.answered == [True, True, False]


# -- what goes wrong


class Fails:
    """Fails so many times."""

    def __init__(self, what: Callable[..., Any], times: int) -> None:
        self.what = what
        self.left = times

    def __call__(self, *arguments: Any) -> Any:
        self.left -= 1
        if self.left >= 0:
            raise RuntimeError("as told")
        return self.what(*arguments)


def failures(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("where", ["begin", "recall", "conclude"])
def test_what_fails_at_the_front_is_told_once_and_answered_by_the_route(
    where: str, house: House, caplog: pytest.LogCaptureFixture
) -> None:
    know(house)
    wanted = ask(house)
    setattr(house.resolver, where, Fails(getattr(house.resolver, where), 1))
    assert ask(house) == wanted
    assert house.answered == [True, False]
    assert failures(caplog) == ["the front failed, and leaves a request to the routes"]
    assert {row for row in house.books()["metrics"] if "decisions_total{" in row} == {  # type: ignore[attr-defined]
        'director_wsgi_decisions_total{outcome="redirected",with_evidence="true"} 2.0'
    }


def test_what_fails_at_both_doors_is_told_to_the_client(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.resolver.conclude = Fails(house.resolver.conclude, 2)
    said = ask(house, NOBODY_ASKED)
    assert said.status.startswith("500")
    assert ("X-Pelican-JobId", JOB) in said.headers
    assert len(failures(caplog)) == 2


# -- long answers


def lanes_of(house: House) -> Lanes:
    lanes: Lanes = house.front._guarded.keywords["lanes"]
    return lanes


@pytest.mark.parametrize("has_front", [True, False])
@pytest.mark.parametrize("target", LONG, ids=["redirect", "refusal"])
def test_a_long_answer_needs_a_permit(target: str, has_front: bool, house_of: MakeHouse) -> None:
    house = house_of(has_front=has_front)
    assert len(ask(house, target).body) > SHORT_BYTES
    assert house.answered == [has_front]
    lanes = lanes_of(house)
    networks = (f"192.0.{number}.0/24" for number in range(100))
    permits = [permit for network in networks if (permit := lanes.take_nowait(network))]
    said = ask(house, target)
    assert said.status.startswith("503")
    assert ("Retry-After", "5") in said.headers
    assert not ask(house, target, "HEAD").status.startswith("503")
    for permit in permits:
        permit.release()
    body = house.start("GET", target, USUAL)
    assert lanes.statistics().in_use == 1
    body.close()
    assert lanes.statistics().in_use == 0


@pytest.mark.parametrize("target", LONG, ids=["redirect", "refusal"])
def test_a_long_answer_ends_in_time(target: str, house: House, clock: FakeClock) -> None:
    body = house.start("GET", target, USUAL)
    pieces = iter(body)
    assert len(next(pieces)) == SHORT_BYTES
    clock.advance(LONGEST_S)
    with pytest.raises(TimeoutError):
        next(pieces)
    body.close()
    assert lanes_of(house).statistics().in_use == 0


# -- what is told of it


@pytest.mark.parametrize(
    ("target", "route"),
    [
        ("/demo/f", "/{path}"),
        ("/api/v1.0/director/object/demo/f", "/api/v1.0/director/object/{path}"),
        ("/api/v1.0/director/origin/demo/f", "/api/v1.0/director/origin/{path}"),
        ("/nobody/f", "/{path}"),
    ],
)
def test_a_trace_does_not_tell_which_door_it_was(target: str, route: str, house_of: MakeHouse) -> None:
    spans = []
    for has_front in (True, False):
        house = house_of(has_front=has_front, tracing_enabled=True)
        know(house)
        ask(house, target)
        assert house.answered == [has_front]
        spans.append(told(house.spans.spans))
        (span,) = house.spans.spans  # nobody had to be asked: one says all
        assert (span.name, span.attributes[ROUTE]) == (f"GET {route}", route)
        assert span.attributes.get(REMEMBERED) == (None if "nobody" in target else 2)
    assert spans[0] == spans[1]


def test_a_question_is_told_once_at_either_door(house_of: MakeHouse) -> None:
    names = []
    for has_front in (True, False):
        house = house_of(has_front=has_front, tracing_enabled=True)
        house.servers.send = lambda *_, **__: Answer(status=404, headers={}, body=b"")  # type: ignore[method-assign]
        ask(house, "/demo/h")
        assert house.answered == [False]
        names.append(sorted(span.name for span in house.spans.spans))
    assert names[0] == names[1]
    assert len(names[0]) > 3


# -- between the doors


def between(house: House, what: Callable[[], object]) -> None:
    """Do something once a request has been left to the routes."""
    entrance, app = house.entrance, house.entrance._app

    def then(*arguments: Any) -> Any:
        what()
        return app(*arguments)

    entrance._app = then


def servers_named(said: Any) -> set[str]:
    link = next(value for name, value in said.headers if name == "Link")
    return {piece.split("https://")[1].split(".")[0] for piece in link.split(", ")}


def test_what_has_begun_goes_on_in_the_federation_in_which_it_began(house: House) -> None:
    other = cache("C2", "/demo")

    def change() -> None:
        house.director.directory.remove(CACHE.data_url)
        house.record(other)

    between(house, change)
    house.servers.send = lambda *_, **__: Answer(200, {"content-length": "5"}, b"")  # type: ignore[method-assign]
    assert servers_named(ask(house, "/demo/h")) == {"c1"}
    assert house.answered == [False]
    assert house.begun == [1]
    assert servers_named(ask(house, NOBODY_ASKED)) == {"c2"}


def test_what_has_begun_goes_on_by_the_configuration_by_which_it_began(house: House) -> None:
    generations = house.app.extensions["generations"]
    house.servers.send = lambda *_, **__: Answer(404, {}, b"")  # type: ignore[method-assign]
    resolver = house.resolver
    now = replace(house.config, when_unknown="retry", check_origin_presence=False)
    between(house, lambda: house.app.extensions["reload"](now))
    assert ask(house, "/demo/h").status.startswith("404")  # they were asked
    assert (house.answered, house.begun) == ([False], [1])
    assert generations.lingering == 0
    assert house.resolver is not resolver
    assert ask(house, "/demo/h").status.startswith("307")  # nobody was
    outcomes = [row for row in house.books()["metrics"] if "decisions_total{" in row]  # type: ignore[attr-defined]
    assert len(outcomes) == 2
    assert all(row.endswith(" 1.0") for row in outcomes)


@pytest.mark.parametrize("has_front", [True, False])
@pytest.mark.parametrize("target", [NOBODY_ASKED, *LONG], ids=["redirect", "long redirect", "long refusal"])
def test_a_generation_is_held_until_the_answer_has_been_sent(target: str, has_front: bool, house_of: MakeHouse) -> None:
    house = house_of(has_front=has_front)
    generations = house.app.extensions["generations"]
    body = house.start("GET", target, USUAL)
    house.app.extensions["reload"](replace(house.config, when_unknown="retry"))
    assert b"".join(body)
    assert generations.lingering == 1
    body.close()
    assert generations.lingering == 0
    assert house.answered == [has_front]


def test_a_server_that_takes_no_headers_holds_no_generation(house: House) -> None:
    class Gone(Exception):
        pass

    def refuse(*_: object) -> None:
        raise Gone

    for target in (NOBODY_ASKED, *LONG, "/livez"):
        with pytest.raises(Gone):
            house.start("GET", target, USUAL, refuse)
    generations = house.app.extensions["generations"]
    house.app.extensions["reload"](replace(house.config, when_unknown="retry"))
    assert generations.lingering == 0
    assert house.director.engine.statistics().in_flight == 0
