"""Laws of tracers over reloads: one is built where one is wanted, and nothing of it stays.

They are named after the tests of Caddy's pull request 7826, and ask for more.
"""

import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from director_wsgi import app, provisioning
from director_wsgi.errors import ConfigError
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import TlsTrust
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.leases import Leases
from director_wsgi.runtime.tracing import batch, exporter, tracer
from director_wsgi.runtime.tracing.client import Client
from director_wsgi.runtime.tracing.counts import SpanCounts
from director_wsgi.runtime.tracing.spec import TracingSpec
from director_wsgi.runtime.tracing.tracer import Tracer, build, close
from tests.servers.authority import Authority
from tests.servers.collector import Collector, Mode, until
from tests.servers.conftest import MakeClient
from tests.servers.federation import Census, Federation

RELOADS = 50
RELOAD_S = 0.1
LONG_S = 20.0


@pytest.fixture
def leases() -> Iterator[Leases]:
    owner = Leases()
    yield owner
    assert owner.close(Deadline.after(LONG_S))


class Workshop:
    """Builds tracers, and counts what was begun for them."""

    def __init__(self, make_client: MakeClient) -> None:
        self._make_client = make_client
        self.clients: list[Client] = []

    def connect(self, _trust: TlsTrust | None) -> Client:
        self.clients.append(self._make_client())
        return self.clients[-1]

    def build(self, spec: TracingSpec) -> Callable[[], Tracer]:
        return partial(build, spec, self.connect, told=SpanCounts())


@pytest.fixture
def workshop(make_client: MakeClient) -> Workshop:
    return Workshop(make_client)


def spans_threads() -> int:
    return sum(thread.name == "director-spans" for thread in threading.enumerate())


def test_tracer_provider_builds_options_only_on_create(leases: Leases, workshop: Workshop) -> None:
    with Collector() as collector:
        made = []
        for _ in range(6):
            spec = TracingSpec(endpoint=collector.endpoint)  # equal, and never the same object
            made.append(leases.acquire(("tracer", spec), workshop.build(spec), close))
        assert len(workshop.clients) == 1
        assert leases.statistics().builds == 1
        assert len({id(lease.value) for lease in made}) == 1
        for lease in made[:-1]:
            lease.release()
            lease.release()  # does no harm, to the last holder either
        made[-1].value.begin("GET", trace_id=0).end()
        made[-1].release()
        collector.wait_for_spans(1)
        until(lambda: leases.statistics().retiring == 0)
    assert spans_threads() == 0
    assert leases.statistics().live == 0


def test_tracer_provider_build_error_leaves_no_trace(
    leases: Leases, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Collector() as collector:
        spec = TracingSpec(endpoint=collector.endpoint)
        other = replace(spec, ratio=0.5)
        live = leases.acquire(("tracer", spec), workshop.build(spec), close)
        before = Census()
        with monkeypatch.context() as patch:
            patch.setattr(exporter.otlp, "Encoder", None)  # half-way: the client is there, the exporter is not
            for _ in range(5):
                with pytest.raises(TypeError):
                    leases.acquire(("tracer", other), workshop.build(other), close)
        after = Census()
        assert after.threads == before.threads
        assert after.files <= before.files
        assert (leases.statistics().live, leases.statistics().builds) == (1, 1)
        live.value.begin("GET", trace_id=0).end()  # that it lives is shown by using it
        live.release()
        collector.wait_for_spans(1)
        again = leases.acquire(("tracer", other), workshop.build(other), close)
        assert leases.statistics().builds == 2
        again.release()


@pytest.fixture
def federation(test_ca: Authority) -> Iterator[Callable[..., Federation]]:
    with ExitStack() as stack:

        def make(**settings: Any) -> Federation:
            usual = {"tracing_enabled": True, "tracing_interval_s": 0.01, "redirect_deadline_s": 10.0}
            usual["tracing_sampler"] = "always_on"  # other ratios make other tracers, and each records everything
            return stack.enter_context(Federation(test_ca, **(usual | settings)))

        yield make


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracer that ends sends everything, however busy the machine is."""
    monkeypatch.setattr(batch, "FLUSH_S", LONG_S)


def files() -> int:
    """Descriptors of this process that stay: the fewest of several looks, as pollers open some for a moment."""
    gc.collect()
    pause = threading.Event()
    return min((pause.wait(0.002), Census().files)[1] for _ in range(25))


@pytest.mark.parametrize("mode", [Mode.OK, Mode.SILENT, Mode.REFUSE])
def test_fifty_reloads_leak_nothing(
    mode: Mode, federation: Callable[..., Federation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "FLUSH_S", 0.1)  # else a silent collector would make it a long test
    with Collector(mode) as collector:
        running = federation(tracing_endpoint=collector.endpoint)
        reload, leases = running.reload, running.director.leases
        config: Config = running.director.config

        def used() -> None:
            assert running.ask("/nowhere").status in {404, 429}

        def counted() -> tuple[frozenset[str], int]:
            """Without a tracer, since a connection to a sick collector comes and goes."""
            reload(replace(config, tracing_enabled=False))
            used()
            until(lambda: leases.statistics().retiring == 0 and not spans_threads())
            return Census().threads, files()

        used()
        before = counted()
        reload(config)
        used()
        builds = leases.statistics()
        for _ in range(RELOADS):
            reload(config)
            used()
        assert leases.statistics() == builds
        assert spans_threads() == 1
        for number in range(RELOADS):
            reload(replace(config, tracing_ratio=1 - number / 1000))
            used()
        assert leases.statistics().builds == builds.builds + RELOADS - 1  # the first had been built
        for _ in range(RELOADS):
            with pytest.raises(ConfigError):
                reload(replace(config, tracing_ratio=0.5, tracing_ca_file=config.config_base / "not-there.pem"))
            used()
        assert leases.statistics().builds == builds.builds + RELOADS - 1
        until(lambda: leases.statistics().retiring == 0)
        assert leases.statistics() == replace(builds, builds=builds.builds + RELOADS - 1)
        until(lambda: spans_threads() == 1)

        def has_no_more() -> bool:
            threads, number = counted()  # before, an end of a connection may have been open that nobody waited for
            return threads <= before[0] and number <= before[1]

        until(has_no_more)


@pytest.mark.usefixtures("patient")
def test_spans_of_requests_in_flight_over_a_swap_are_exported(federation: Callable[..., Federation]) -> None:
    with Collector() as old, Collector() as new:
        running = federation(tracing_endpoint=old.endpoint)
        for name in ("one", "two"):
            running.origin(name, "/x").behave("hang_after_request")
        asker = threading.Thread(target=running.ask, args=("/x/1",))
        asker.start()
        until(lambda: running.director.engine.statistics().in_flight == 2)
        running.reload(replace(running.director.config, tracing_endpoint=new.endpoint))
        running.ask("/nowhere")
        new.wait_for_spans(1)
        assert not old.spans
        for server in running.servers.values():
            server.behave("ok")
            server.drop_connections()
        asker.join(LONG_S)
        assert len(old.wait_for_spans(6)) == 6
        assert len(new.spans) == 1
        until(lambda: running.director.leases.statistics().retiring == 0)
        assert running.director.spans.counts()["closed"] == 0


@pytest.mark.parametrize("mode", [Mode.SILENT, Mode.DRIP, Mode.UNAVAILABLE, Mode.REFUSE])
def test_a_sick_collector_delays_no_reload(mode: Mode, federation: Callable[..., Federation]) -> None:
    with Collector(mode) as collector:
        running = federation(tracing_endpoint=collector.endpoint, tracing_batch=1)
        leases = running.director.leases
        running.ask("/nowhere")
        collector.wait_for(lambda: bool(collector.bodies) or mode is Mode.REFUSE)
        took_s = []
        for number in range(1, 6):
            began_at = time.monotonic()
            running.reload(replace(running.director.config, tracing_ratio=1 - number / 10))
            took_s.append(time.monotonic() - began_at)
            if mode in {Mode.SILENT, Mode.DRIP}:  # it did not wait: what it has replaced goes on ending by itself
                assert leases.statistics().retiring
            running.ask("/nowhere")
        assert min(took_s) < RELOAD_S  # one that waits takes a second each time; a busy machine delays some of them
        until(lambda: leases.statistics().retiring == 0)
        running.close()
        assert sum(running.director.spans.counts().values()) == 6  # each is counted, once
        assert not running.director.spans.counts()["exported"]


@pytest.mark.parametrize("ratio", [1.0, 0.5])
@pytest.mark.parametrize("step", ["provision", "spec_of", "build", "adopt"])
def test_a_reload_that_fails_at_any_step_leaves_the_tracer_in_force_in_use(
    step: str, ratio: float, federation: Callable[..., Federation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a tracer is acquired, after that, and after all is made; the tracer in force, or another one."""
    module = {"provision": app, "spec_of": provisioning, "build": app.routes, "adopt": app}[step]
    with Collector() as collector:
        running = federation(tracing_endpoint=collector.endpoint)
        running.ask("/nowhere")
        leases = running.director.leases
        until(lambda: spans_threads() == 1)
        before, live = Census(), leases.statistics().live
        monkeypatch.setattr(exporter, "Exporter", Counted)
        monkeypatch.setattr(Counted, "alive", 0)
        real = getattr(module, step)
        for _ in range(5):
            fails = [True]

            def fail(*arguments: Any, real: Any = real, fails: list[bool] = fails, **more: Any) -> Any:
                if fails.pop() if fails else False:  # once: an adoption is taken back
                    raise ConfigError((f"{step} does not work",))
                return real(*arguments, **more)

            with monkeypatch.context() as patch:
                patch.setattr(module, step, fail)
                with pytest.raises(ConfigError):
                    running.reload(replace(running.director.config, tracing_ratio=ratio))
        until(lambda: leases.statistics().retiring == 0)
        assert leases.statistics().live == live
        assert Counted.alive == 0
        after = Census()
        assert after.threads == before.threads
        for _ in range(2):  # that it lives is shown by using it
            running.ask("/nowhere")
        assert len(collector.wait_for_spans(3)) == 3


class Counted(exporter.Exporter):
    """Counts those that were not closed."""

    alive = 0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        type(self).alive += 1

    def close(self) -> None:
        super().close()
        type(self).alive -= 1


@pytest.mark.usefixtures("patient")
def test_a_tracer_that_fails_to_end_keeps_no_other_from_ending(
    federation: Callable[..., Federation], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class FailingTracer(Tracer):
        def close(self, deadline: Deadline) -> bool:
            super().close(deadline)
            raise SystemExit

    with Collector() as collector:
        running = federation(tracing_endpoint=collector.endpoint)
        config: Config = running.director.config
        for number in range(1, 7):  # more than there are reapers
            with monkeypatch.context() as patch:
                if number % 6:
                    patch.setattr(tracer, "Tracer", FailingTracer)
                running.reload(replace(config, tracing_ratio=1 - number / 100))
            running.ask("/nowhere")
        running.reload(config)
        until(lambda: running.director.leases.statistics().retiring == 0)
        assert len(collector.wait_for_spans(6)) == 6
        running.ask("/nowhere")
        until(lambda: spans_threads() == 1)
    assert caplog.messages.count("FailingTracer did not close") == 5


@pytest.mark.usefixtures("patient")
def test_reloads_that_race_leave_one_tracer(federation: Callable[..., Federation]) -> None:
    with Collector() as collector:
        running = federation(tracing_endpoint=collector.endpoint)
        config: Config = running.director.config
        leases = running.director.leases
        live = leases.statistics().live
        start = threading.Barrier(6)

        def reload(number: int) -> None:
            start.wait(LONG_S)
            for turn in range(5):
                running.reload(replace(config, tracing_ratio=1 - (number % 3 + 3 * turn) / 1000))
                running.ask("/nowhere")

        with ThreadPoolExecutor(6) as pool:
            for done in [pool.submit(reload, number) for number in range(6)]:
                done.result(LONG_S)
        running.reload(config)
        running.ask("/nowhere")
        assert len(collector.wait_for_spans(31)) == 31
        until(lambda: leases.statistics().retiring == 0)
        assert leases.statistics().live == live
        until(lambda: spans_threads() == 1)
        until(lambda: running.director.spans.counts()["exported"] == 31)
        assert sum(running.director.spans.counts().values()) == 31


def test_tracing_is_switched_on_and_off_by_a_reload(federation: Callable[..., Federation]) -> None:
    with Collector() as collector:
        running = federation(tracing_enabled=False, tracing_endpoint=collector.endpoint)
        off = running.director.config
        running.ask("/nowhere")
        running.reload(replace(off, tracing_enabled=True))
        running.ask("/nowhere")
        collector.wait_for_spans(1)
        running.reload(off)
        running.ask("/nowhere")
        until(lambda: running.director.leases.statistics().retiring == 0)
        assert len(collector.spans) == 1
        assert spans_threads() == 0
