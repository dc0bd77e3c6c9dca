"""Laws of spans: who is whose part, what is told, and what is not."""

import pytest

from director_wsgi.runtime.tracing import attributes as say
from director_wsgi.runtime.tracing.otlp import Encoder
from director_wsgi.runtime.tracing.span import CLIENT, MAX_EVENTS, OFF, Carried, Trace
from tests.fakes import FakeClock
from tests.servers.collector import spans_of
from tests.unit.runtime.tracing.doubles import Kept, root


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_one_span_says_all_where_nobody_is_asked(kept: Kept, clock: FakeClock) -> None:
    span = root(kept, clock)
    span.stage("match", span.instant())
    span.stage("rank", span.instant())
    span.end()
    assert kept.names == ["GET /{path}"]


def test_stages_are_told_where_somebody_is_asked_before_or_after_them(kept: Kept, clock: FakeClock) -> None:
    span = root(kept, clock)
    began_at = span.instant()
    clock.advance(1.0)
    span.stage("match", began_at, {say.ORIGINS: 2})
    with span.child("stat") as stat:
        clock.advance(2.0)
        stat.child("HEAD", CLIENT).end()
    span.stage("rank", span.instant())
    span.end()
    assert kept.names == ["HEAD", "stat", "match", "rank", "GET /{path}"]
    by_name = {one.name: one for one in kept.spans}
    assert by_name["HEAD"].parent_id == by_name["stat"].span_id
    assert {by_name[name].parent_id for name in ("stat", "match", "rank")} == {span.span_id}
    match = by_name["match"]
    assert (match.began_at, match.ended_at, match.attributes) == (1000.0, 1001.0, {say.ORIGINS: 2})


def test_a_span_ends_once(kept: Kept, clock: FakeClock) -> None:
    span = root(kept, clock)
    span.end()
    clock.advance(1.0)
    span.end()
    assert len(kept.spans) == 1
    assert span.ended_at == 1000.0


def test_what_ends_it_with_an_error_is_told_by_its_name_alone(kept: Kept, clock: FakeClock) -> None:
    with pytest.raises(ValueError, match="secret"), root(kept, clock):
        raise ValueError("secret")
    (told,) = spans_of(Encoder(()).encode(kept.spans))
    assert told.is_error
    assert told.attributes == {"error.type": "ValueError"}


def test_servers_learn_of_the_span_that_asks_them(kept: Kept, clock: FakeClock) -> None:
    head = root(kept, clock, state="a=1").child("HEAD", CLIENT)
    assert head.headers() == {
        "traceparent": f"00-{0xABC:032x}-{head.span_id:016x}-01",
        "tracestate": "a=1",
    }


def test_what_is_not_recorded_here_goes_on_unrecorded() -> None:
    carried: Trace = Carried(0xABC, 0xDEF, "a=1")
    assert carried.child("stat").child("HEAD").headers() == {
        "traceparent": f"00-{0xABC:032x}-{0xDEF:016x}-00",
        "tracestate": "a=1",
    }


def test_nothing_at_all_is_told_where_nothing_is_traced() -> None:
    with OFF.child("stat") as span:
        span.set(say.ASKED, 1)
        span.event("joined", {})
        span.fail("x")
        span.stage("match", span.instant())
    assert span is OFF
    assert not OFF.headers()
    assert not OFF.is_recorded


def test_what_is_not_on_the_list_is_not_exported(kept: Kept, clock: FakeClock) -> None:
    span = root(kept, clock)
    span.set(say.Attribute("http.request.header.authorization"), "Bearer canary")
    span.event("joined", {say.Attribute("url.query"): "canary"})
    span.set(say.ASKED, 3)
    span.end()
    body = Encoder(()).encode(kept.spans)
    assert b"canary" not in body
    assert spans_of(body)[0].attributes == {say.ASKED: 3}


def test_texts_and_events_have_a_bound_and_any_text_can_be_told(kept: Kept, clock: FakeClock) -> None:
    span = root(kept, clock)
    span.set(say.SERVER, "x" * 10_000)
    span.set(say.NAMESPACE, "/\udcff")
    for _ in range(MAX_EVENTS + 1):
        span.event("joined", {say.SERVER: "a"})
    span.end()
    (told,) = spans_of(Encoder(()).encode(kept.spans))
    assert told.attributes == {say.SERVER: "x" * say.MAX_CHARACTERS, say.NAMESPACE: "/?"}
    assert told.events == (("joined", {say.SERVER: "a"}),) * MAX_EVENTS


def test_every_attribute_is_on_the_list_and_names_no_header_path_or_query() -> None:
    assert say.METHOD in say.ALLOWED
    assert len(say.ALLOWED) > 20
    assert not [name for name in say.ALLOWED if any(word in name for word in ("url", "header", "path", "query"))]


def test_times_are_told_on_the_clock_of_the_wall(kept: Kept, clock: FakeClock) -> None:
    span = root(kept, clock)
    clock.advance(0.25)
    span.end()
    (told,) = spans_of(Encoder((("service.name", "d"),)).encode(kept.spans))
    assert (told.began_ns, told.ended_ns) == (2_000 * 10**9, 2_000 * 10**9 + 250_000_000)
    assert told.resource == {"service.name": "d"}
    assert repr(span) == "<Span GET /{path}>"
