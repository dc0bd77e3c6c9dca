"""Laws of tracing, with real servers and a real collector: what is told, what never is, and whom it delays."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from director_wsgi.runtime.tracing.span import CLIENT, SERVER
from tests.servers.authority import Authority
from tests.servers.collector import Collector, Mode, Told, until
from tests.servers.federation import OBJECT, ORIGIN, Federation

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
JOB = "6e5b8e14-3a52-4f0e-9f2c-2b8f1a1d9c33"

SOON_S = 0.01
"""How long spans wait for company, where a test waits for them."""

Make = Callable[..., Federation]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as started:
        yield started


@pytest.fixture
def traced(test_ca: Authority, collector: Collector) -> Iterator[Make]:
    """Makes a federation of two origins whose director traces."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Federation:
            usual = {
                "tracing_enabled": True,
                "tracing_endpoint": collector.endpoint,
                "tracing_interval_s": SOON_S,
                "redirect_deadline_s": 10.0,
            }
            federation = stack.enter_context(Federation(test_ca, **(usual | settings)))
            federation.origin("one", "/x")
            federation.origin("two", "/x")
            return federation

        yield make


def tree(spans: list[Told]) -> dict[str, list[str]]:
    """The names of the children by the name of the parent; "" is the parent of the root."""
    names = {span.span_id: span.name for span in spans}
    children: dict[str, list[str]] = {}
    for span in spans:
        children.setdefault(names.get(span.parent_id, ""), []).append(span.name)
    return {parent: sorted(found) for parent, found in children.items()}


def named(spans: list[Told], name: str) -> list[Told]:
    return [span for span in spans if span.name == name]


# -- what is told


def test_a_redirect_that_asks_two_origins_is_six_spans(traced: Make, collector: Collector) -> None:
    federation = traced()
    assert federation.ask("/x/1").status == 307
    spans = collector.wait_for_spans(6)
    route = "GET /api/v1.0/director/origin/{path}"
    assert tree(spans) == {"": [route], route: ["match", "rank", "stat"], "stat": ["HEAD", "HEAD"]}
    assert len({span.trace_id for span in spans}) == 1
    (root,) = named(spans, route)
    assert root.kind == SERVER
    assert root.attributes["pelican.namespace"] == "/x"
    assert root.attributes["http.response.status_code"] == 307
    (stat,) = named(spans, "stat")
    assert stat.attributes["director.stat.asked"] == 2
    heads = named(spans, "HEAD")
    assert {head.attributes["pelican.server"] for head in heads} == {"one", "two"}
    assert {head.attributes["server.port"] for head in heads} == {one.port for one in federation.servers.values()}
    assert {(head.kind, head.attributes["director.stat.presence"]) for head in heads} == {(CLIENT, "present")}
    for span in spans:
        assert root.began_ns <= span.began_ns <= span.ended_ns <= root.ended_ns
    assert root.resource["service.name"] == "pelican-director"


def test_a_redirect_that_asks_nobody_is_one_span(traced: Make, collector: Collector) -> None:
    federation = traced()
    federation.ask("/x/1")
    collector.wait_for_spans(6)
    federation.ask("/x/1")
    *_, last = collector.wait_for_spans(7)
    assert len(collector.spans) == 7
    assert (last.parent_id, last.attributes["director.stat.remembered"]) == ("", 2)


def test_every_route_has_its_template_and_probes_have_no_span(traced: Make, collector: Collector) -> None:
    federation = traced()
    federation.ask("/livez", endpoint="")
    federation.ask("/metrics", endpoint="")
    federation.ask("/nowhere/1", endpoint="")
    federation.ask("/nowhere/1", endpoint=OBJECT)
    federation.ask("/api/v1.0/director_ui/servers", endpoint="")
    federation.ask("/api/v1.0/director/listNamespaces", endpoint="")
    federation.ask("/x/%zz", endpoint=ORIGIN)
    assert [span.name for span in collector.wait_for_spans(5)] == [
        "GET /{path}",
        "GET /api/v1.0/director/object/{path}",
        "GET /api/v1.0/director_ui/servers",
        "GET /api/v1.0/director/listNamespaces",
        "GET",
    ]


def test_routes_are_called_as_the_operator_wants(traced: Make, collector: Collector) -> None:
    from director_wsgi.runtime.tracing.kinds import TracedRoute  # noqa: PLC0415

    route = TracedRoute(route="/{path}", span="find {method}", attributes=(("team", "storage"),))
    federation = traced(tracing_routes=(route,), tracing_resource=(("site", "chicago"),))
    federation.ask("/nowhere", endpoint="")
    (span,) = collector.wait_for_spans(1)
    assert (span.name, span.attributes["team"], span.resource["site"]) == ("find GET", "storage", "chicago")


# -- whose trace it is


def test_the_trace_of_a_client_goes_on_at_the_origins(traced: Make, collector: Collector) -> None:
    federation = traced()
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "congo=t61"}
    federation.ask("/x/1", headers=headers)
    spans = collector.wait_for_spans(6)
    assert {span.trace_id for span in spans} == {TRACE}
    assert [span.parent_id for span in spans if span.kind == SERVER] == [PARENT]
    seen = [one.requests[-1].headers for one in federation.servers.values()]
    heads = {f"00-{TRACE}-{span.span_id}-01" for span in named(spans, "HEAD")}
    assert {one["traceparent"] for one in seen} == heads
    assert {one["tracestate"] for one in seen} == {"congo=t61"}


def test_a_trace_is_called_after_the_job_where_nobody_else_has_begun_it(traced: Make, collector: Collector) -> None:
    federation = traced()
    federation.ask("/x/1", headers={"X-Pelican-JobId": JOB, "traceparent": "00-rubbish"})
    assert {span.trace_id for span in collector.wait_for_spans(6)} == {JOB.replace("-", "")}


def test_what_the_client_does_not_record_is_not_recorded_and_goes_on(traced: Make, collector: Collector) -> None:
    federation = traced()
    parent = f"00-{TRACE}-{PARENT}-00"
    federation.ask("/x/1", headers={"traceparent": parent})
    assert {one.requests[-1].headers["traceparent"] for one in federation.servers.values()} == {parent}
    federation.ask("/nowhere")
    assert [span.name for span in collector.wait_for_spans(1)] == ["GET /api/v1.0/director/origin/{path}"]


def test_where_nothing_is_traced_origins_learn_of_no_trace(traced: Make) -> None:
    federation = traced(tracing_enabled=False)
    federation.ask("/x/1", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    assert not [one for one in federation.servers.values() if "traceparent" in one.requests[-1].headers]


def test_who_shares_a_head_says_so_and_it_is_told_once(traced: Make, collector: Collector) -> None:
    federation = traced()
    for server in federation.servers.values():
        server.behave("hang_after_request")
    askers = [threading.Thread(target=federation.ask, args=("/x/1",)) for _ in range(3)]
    for asker in askers:
        asker.start()
    one, two = federation.servers.values()
    until(lambda: federation.director.engine.statistics().joined == 4)
    for server in (one, two):
        server.behave("ok")
        server.drop_connections()
    for asker in askers:
        asker.join()
    collector.wait_for(lambda: len(named(collector.spans, "stat")) == 3)
    stats = named(collector.spans, "stat")
    for stat in stats:
        joined = [attributes["pelican.server"] for name, attributes in stat.events if name == "joined"]
        assert len(joined) == stat.attributes["director.stat.joined"] == 2 - stat.attributes["director.stat.asked"]
    assert sum(stat.attributes["director.stat.asked"] for stat in stats) == 2
    assert len(named(collector.spans, "HEAD")) == 2


def test_a_head_that_fails_says_why(traced: Make, collector: Collector) -> None:
    federation = traced()
    federation.servers["one"].behave("reset")
    federation.ask("/x/1")
    collector.wait_for_spans(6)
    (head,) = [span for span in named(collector.spans, "HEAD") if span.attributes["pelican.server"] == "one"]
    assert head.is_error
    assert head.attributes["director.stat.reason"] in {"connection cut off", "failed"}


# -- what is never told


def test_a_token_never_leaves(traced: Make, collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    federation = traced(tracing_headers=(("api-key", "c4nary-of-the-operator"),), metric_authorization=False)
    canary = "c4nary"
    headers = {
        "Authorization": f"Bearer {canary}-in-a-header",
        "Cookie": f"login={canary}",
        "User-Agent": f"pelican-{canary}/7.1.0",
        "X-Pelican-Timeout": canary,
        "X-Pelican-Whatever": canary,
        "traceparent": f"00-{TRACE}-{PARENT}-01",
        "tracestate": f"vendor={canary}",
        "Depth": canary,
        "Referer": f"https://x.test/{canary}",
        "X-Forwarded-Host": canary,
    }
    path = f"/x/1?authz=Bearer%20{canary}-in-the-query&{canary}=1"
    federation.ask(path, headers=headers)
    federation.ask(f"/x/{canary}", headers={"Authorization": f"Bearer {canary}"})
    federation.servers["one"].behave("status", code=403, body=canary.encode(), headers={"X-Canary": canary})
    federation.ask("/x/2", headers=headers | {"traceparent": "", "User-Agent": "curl"})
    federation.ask(f"/x/3?directread&prefercached&authz={canary}", headers=headers)  # a refusal
    federation.ask(f"/{canary}/nowhere?authz={canary}", headers=headers | {"User-Agent": "curl"})
    federation.ask("/x/1", method="C4NARY", headers=headers)
    collector.wait_for_spans(20)
    for body in collector.bodies:
        assert canary.encode() not in body
        assert b"C4NARY" not in body
    metrics = federation.ask("/metrics", endpoint="").message
    told = [record.getMessage() for record in caplog.records]
    assert not [line for line in (*told, *metrics.splitlines()) if canary in line]
    assert collector.headers[0]["api-key"] == "c4nary-of-the-operator"


# -- whom it delays


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.SILENT, Mode.DRIP, Mode.UNAVAILABLE, Mode.BROKEN, Mode.REDIRECT])
def test_a_sick_collector_delays_neither_requests_nor_the_end(mode: Mode, test_ca: Authority) -> None:
    settings = {"tracing_enabled": True, "tracing_interval_s": SOON_S, "tracing_batch": 5, "tracing_queue": 20}
    with Collector(mode) as collector:
        collector.mode = mode
        federation = Federation(test_ca, tracing_endpoint=collector.endpoint, redirect_deadline_s=10.0, **settings)
        with federation:
            federation.origin("one", "/x")
            federation.origin("two", "/x")
            took_s = []
            for number in range(40):
                began_at = time.monotonic()
                assert federation.ask(f"/x/{number}").status == 307
                took_s.append(time.monotonic() - began_at)
            counts = federation.director.spans
            until(lambda: sum(counts.counts().values()) >= 40 * 6 - 20 - 5)
            began_at = time.monotonic()
        assert time.monotonic() - began_at < 2.5  # the drain of a director is 2 s
        assert sorted(took_s)[20] < 0.5
        until(lambda: sum(counts.counts().values()) == 40 * 6)  # each is counted, once
        assert not counts.counts()["exported"]
        assert not [one for one in threading.enumerate() if one.name == "director-spans"]


def test_what_could_not_be_sent_arrives_when_the_collector_is_back(
    test_ca: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"tracing_enabled": True, "tracing_interval_s": SOON_S}
    with (
        Collector(Mode.REFUSE) as collector,
        Federation(test_ca, tracing_endpoint=collector.endpoint, **settings) as federation,
    ):
        federation.ask("/nowhere")
        until(lambda: "Spans cannot be handed" in caplog.text)
        collector.mode = Mode.OK
        assert [span.name for span in collector.wait_for_spans(1)] == ["GET /api/v1.0/director/origin/{path}"]
        until(lambda: federation.director.spans.counts()["exported"] == 1)


def test_spans_the_collector_rejects_are_counted(traced: Make, collector: Collector) -> None:
    federation = traced()
    collector.mode = Mode.PARTIAL
    federation.ask("/nowhere")
    until(lambda: federation.director.spans.counts()["rejected"] == 1)


def test_a_collector_over_tls_is_believed_by_its_own_authorities_only(test_ca: Authority) -> None:
    settings = {"tracing_enabled": True, "tracing_interval_s": SOON_S, "redirect_deadline_s": 10.0}
    with Collector(certificate=test_ca.server) as collector:
        own = settings | {"tracing_endpoint": collector.endpoint}
        with Federation(test_ca, **own, tracing_ca_file=test_ca.ca_file) as federation:
            federation.ask("/nowhere")
            collector.wait_for_spans(1)
        with Federation(test_ca, **own) as federation:
            federation.ask("/nowhere")
        assert federation.director.spans.counts()["closed"] == 1
        assert len(collector.spans) == 1


def test_the_last_spans_are_sent_at_the_end(traced: Make, collector: Collector) -> None:
    federation = traced(tracing_interval_s=300.0)
    federation.ask("/nowhere")
    federation.close()
    assert len(collector.spans) == 1


def test_a_port_that_nobody_answers_at_is_no_longer_ours() -> None:
    with Collector(Mode.REFUSE) as collector, socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", collector.port)) != 0
