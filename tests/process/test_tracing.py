"""Tracing in the director's own process: the last spans arrive, and a collector that hangs keeps no process."""

import contextlib
import signal
from pathlib import Path

import pytest

from tests.process.child import SETTINGS, get, run, wait_until
from tests.process.conftest import ENVIRON
from tests.servers.collector import Collector, Mode

pytestmark = pytest.mark.process

ARGUMENTS = ("-c", str(SETTINGS), "-b", "127.0.0.1:0")


def tracing(collector: Collector) -> dict[str, str]:
    """Told by OpenTelemetry's own variables, so that these are seen to count; all of it waits for the end."""
    return ENVIRON | {
        "PELICAN_TRACING_ENABLED": "true",
        "PELICAN_TRACING_EXPORTINTERVAL": "5m",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint.removesuffix("/v1/traces"),
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=c4nary",
        "OTEL_SERVICE_NAME": "the-director",
    }


def test_the_last_spans_are_sent_when_the_process_ends(tmp_path: Path) -> None:
    with Collector() as collector, run(tmp_path, *ARGUMENTS, environ=tracing(collector)) as child:
        child.wait_until_ready()
        assert child.ask(get("/nowhere", "X-Pelican-JobId: 6e5b8e14-3a52-4f0e-9f2c-2b8f1a1d9c33")).status == 429
        child.signal(signal.SIGTERM)
        assert child.wait_for_end() == 0
        (span,) = collector.spans
        assert span.trace_id == "6e5b8e143a524f0e9f2c2b8f1a1d9c33"
        assert span.resource["service.name"] == "the-director"
        assert collector.headers[0]["api-key"] == "c4nary"
        assert "c4nary" not in child.output
        assert "Traceback" not in child.output


def test_a_collector_that_hangs_keeps_no_process_beyond_its_drain(tmp_path: Path) -> None:
    """One director for each way to hang, at the same time, since each takes a drain."""
    with contextlib.ExitStack() as stack:
        children = {}
        for mode in (Mode.SILENT, Mode.DRIP):
            folder = tmp_path / mode.name
            folder.mkdir()
            collector = stack.enter_context(Collector(mode))
            environ = tracing(collector) | {"PELICAN_TRACING_EXPORTTIMEOUT": "1m"}
            children[collector] = stack.enter_context(run(folder, *ARGUMENTS, environ=environ))
        for child in children.values():
            child.wait_until_ready().ask(get("/nowhere"))
            child.signal(signal.SIGTERM)
        for collector, child in children.items():
            assert child.wait_for_end() == 0, "long before the post may end"
            assert collector.bodies
            assert "Traceback" not in child.output


@pytest.mark.slow
def test_every_worker_begins_and_ends_to_trace_when_the_file_says_so(tmp_path: Path) -> None:
    file = tmp_path / "director.yaml"
    off = "Director: {DefaultResponse: origin}\n"
    file.write_text(off)
    environ = ENVIRON | {"DIRECTOR_WSGI_CONFIG": str(file)}
    with Collector() as collector, run(tmp_path, *ARGUMENTS, "-w", "2", environ=environ) as child:
        child.wait_for_output("Worker ready", 2)
        child.ask(get("/nowhere"))
        tracing = f"Tracing: {{Enabled: true, Endpoint: '{collector.endpoint}', ExportInterval: 10ms}}\n"
        replace(file, off + tracing)

        def workers_that_trace() -> set[str]:
            child.ask(get("/nowhere"))
            return {span.resource["service.instance.id"] for span in collector.spans}

        wait_until(lambda: len(workers_that_trace()) == 2, "spans of both workers")
        replace(file, off)
        child.wait_for_output("A new configuration is in force", 4)
        seen = len(collector.spans)
        for _ in range(10):
            child.ask(get("/nowhere"))
        assert len(collector.spans) == seen
        child.signal(signal.SIGTERM)
        assert child.wait_for_end() == 0
        assert len(collector.spans) == seen
        assert "Traceback" not in child.output


def replace(file: Path, text: str) -> None:
    """As an editor does that does its work well."""
    other = file.with_suffix(".new")
    other.write_text(text)
    other.replace(file)
