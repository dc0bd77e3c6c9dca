"""What a reload keeps, and what it changes, with real servers and a real collector."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from director_wsgi.limits.breaker import State
from director_wsgi.runtime.tracing.kinds import TracedRoute
from tests.servers.authority import Authority
from tests.servers.collector import Collector, Told, until
from tests.servers.federation import Federation

Make = Callable[..., Federation]

TRACING = {"tracing_enabled": True, "tracing_interval_s": 0.01}


@pytest.fixture
def federation(test_ca: Authority) -> Iterator[Make]:
    with ExitStack() as stack:

        def make(**settings: Any) -> Federation:
            return stack.enter_context(Federation(test_ca, **({"redirect_deadline_s": 10.0} | settings)))

        yield make


# -- what outlives it


def test_what_servers_said_is_remembered(federation: Make) -> None:
    running = federation()
    running.origin("holder", "/x")
    running.origin("lacking", "/x").behave("status", code=404)
    assert running.ask("/x/1").servers == ("holder",)
    until(lambda: all(running.heads(name) == 1 for name in ("holder", "lacking")))
    until(lambda: running.director.engine.statistics().in_flight == 0)
    for number in range(1, 4):
        running.reload(replace(running.director.config, stat_timeout_s=2.0 + number))
        assert running.ask("/x/1").servers == ("holder",)
    assert [running.heads(name) for name in ("holder", "lacking")] == [1, 1]


def test_a_breaker_that_is_open_stays_open(federation: Make) -> None:
    running = federation()
    running.origin("sick", "/x").behave("close_without_answer")
    running.origin("well", "/x")
    until(
        lambda: running.ask(running.fresh("/x")).first == "well" and running.state("sick").breaker.state is State.OPEN
    )
    known = running.director.engine.health_of(running.ads["sick"].data_url)
    since = running.state("sick").breaker.since
    for number in range(1, 4):
        running.reload(replace(running.director.config, stat_timeout_s=2.0 + number))
        assert running.director.engine.health_of(running.ads["sick"].data_url) is known
    assert running.state("sick").breaker.since == since


def test_the_limits_of_servers_change_in_place(federation: Make) -> None:
    running = federation(stat_concurrency_limit=16)
    running.origin("one", "/x")
    running.origin("two", "/x")
    running.ask("/x/1")
    connections = running.servers["one"].connections
    before = running.state("one").slot_limit
    running.reload(replace(running.director.config, stat_concurrency_limit=4))
    assert running.state("one").slot_limit < before
    running.ask("/x/2")
    assert running.servers["one"].connections == connections  # and what it had of its own is still its own


# -- what takes effect
@pytest.mark.parametrize(
    ("setting", "is_seen"),
    [
        ({"tracing_headers": (("api-key", "new"),)}, lambda told, headers: headers.get("api-key") == "new"),
        ({"tracing_compression": "gzip"}, lambda told, headers: headers.get("content-encoding") == "gzip"),
        ({"tracing_resource": (("site", "north"),)}, lambda told, headers: told.resource.get("site") == "north"),
        ({"tracing_service_name": "ours"}, lambda told, headers: told.resource["service.name"] == "ours"),
        (
            {"tracing_routes": (TracedRoute(route="/api/v1.0/director/origin/{path}", span="seek"),)},
            lambda told, headers: told.name == "seek",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_every_setting_of_tracing_takes_effect(
    setting: dict[str, Any], is_seen: Callable[[Told, dict[str, str]], bool], federation: Make
) -> None:
    with Collector() as collector:
        running = federation(**TRACING, tracing_endpoint=collector.endpoint)

        def told() -> tuple[Told, dict[str, str]]:
            seen = len(collector.spans)
            running.ask("/nowhere")
            return collector.wait_for_spans(seen + 1)[-1], dict(collector.headers[-1])

        assert not is_seen(*told())
        running.reload(replace(running.director.config, **setting))
        assert is_seen(*told())
        running.reload(running.director.config)
        assert not is_seen(*told())


def test_another_sampler_takes_effect(federation: Make) -> None:
    with Collector() as collector:
        running = federation(**TRACING, tracing_endpoint=collector.endpoint, tracing_sampler="always_off")
        running.ask("/nowhere")
        running.reload(replace(running.director.config, tracing_sampler="always_on"))
        running.ask("/nowhere/again")
        collector.wait_for_spans(1)
        running.reload(running.director.config)
        running.ask("/nowhere")
        running.close()
        assert len(collector.spans) == 1


def test_authorities_take_effect_that_are_written_to_the_same_file(
    federation: Make, test_ca: Authority, tmp_path: Path
) -> None:
    trusted = tmp_path / "trusted.pem"
    (tmp_path / "other").mkdir()
    shutil.copy(Authority(tmp_path / "other").ca_file, trusted)
    with Collector(certificate=test_ca.server) as collector:
        running = federation(**TRACING, tracing_endpoint=collector.endpoint, tracing_ca_file=trusted)
        running.ask("/nowhere")
        running.reload(running.director.config)  # nothing has changed: nothing is built
        assert running.director.leases.statistics().builds == 2  # with the database of places
        shutil.copy(test_ca.ca_file, trusted)
        running.reload(running.director.config)
        running.ask("/nowhere")
        collector.wait_for_spans(1)
        until(lambda: running.director.leases.statistics().retiring == 0)
        assert running.director.spans.counts()["closed"] == 1
        assert len(collector.spans) == 1
