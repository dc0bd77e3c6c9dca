"""Laws of tracers: what is sampled, whose child a request is, and what a build leaves behind."""

import uuid
from pathlib import Path

import pytest

from director_wsgi.errors import ConfigError
from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime.tracing import exporter
from director_wsgi.runtime.tracing.context import Parent
from director_wsgi.runtime.tracing.span import Carried, Span
from director_wsgi.runtime.tracing.spec import TracingSpec
from director_wsgi.runtime.tracing.tracer import Sampler
from tests.fakes import FakeClock
from tests.servers.authority import Authority
from tests.unit.runtime.tracing.doubles import ENDPOINT, Connect, Kept, made, threads, tracer

YES = Parent(trace_id=1, span_id=2, is_sampled=True, state="a=1")
NO = Parent(trace_id=(1 << 127), span_id=2, is_sampled=False)


@pytest.mark.parametrize(
    ("name", "alone", "under_yes", "under_no"),
    [
        ("always_on", True, True, True),
        ("always_off", False, False, False),
        ("parentbased_always_on", True, True, False),
        ("parentbased_always_off", False, True, False),
    ],
)
def test_samplers_are_those_of_opentelemetry(name: str, alone: bool, under_yes: bool, under_no: bool) -> None:
    sampler = Sampler(name, 0.5)
    assert (sampler.takes(7, None), sampler.takes(7, YES), sampler.takes(7, NO)) == (alone, under_yes, under_no)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_a_ratio_holds_for_traces_that_are_called_after_jobs(ratio: float) -> None:
    sampler = Sampler("parentbased_traceidratio", ratio)
    jobs = [uuid.UUID(int=n * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128, version=4).int for n in range(4_000)]
    assert sum(sampler.takes(job, None) for job in jobs) / len(jobs) == pytest.approx(ratio, abs=0.03)
    assert sampler.takes(0, YES)
    assert not sampler.takes(0, NO)


def test_a_ratio_without_parents_does_not_ask_them() -> None:
    assert Sampler("traceidratio", 1.0).takes(1, NO)
    assert not Sampler("traceidratio", 0.0).takes(1, YES)


def test_a_request_goes_on_with_the_trace_of_its_client(clock: FakeClock, wall: FakeClock) -> None:
    span = tracer(Kept(), clock, wall).begin("GET", trace_id=99, parent=YES)
    assert isinstance(span, Span)
    assert (span.recorder.trace_id, span.parent_id) == (YES.trace_id, YES.span_id)
    assert span.headers()["tracestate"] == "a=1"


def test_a_request_of_a_job_is_called_after_it_and_of_none_by_chance(clock: FakeClock, wall: FakeClock) -> None:
    one = tracer(Kept(), clock, wall)
    spans = [one.begin("GET", trace_id=trace_id) for trace_id in (99, 0, 0)]
    ids = [span.recorder.trace_id for span in spans if isinstance(span, Span)]
    assert ids[0] == 99
    assert len(set(ids)) == 3
    assert 0 not in ids


def test_what_is_not_sampled_is_carried_on(clock: FakeClock, wall: FakeClock) -> None:
    kept = Kept()
    trace = tracer(kept, clock, wall, ratio=0.0).begin("GET", trace_id=99)
    assert isinstance(trace, Carried)
    trace.child("stat").end()
    trace.end()
    assert trace.headers()["traceparent"].startswith(f"00-{99:032x}-")
    assert not kept.spans


def test_a_tracer_that_has_nothing_to_send_has_no_thread() -> None:
    connect = Connect()
    one = made(connect)
    assert not threads()
    assert one.close(Deadline.after(1.0))
    assert connect.clients[0].closed.is_set()


def test_a_build_that_fails_half_way_leaves_neither_thread_nor_client(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __init__(self, *_: object) -> None:
            raise RuntimeError("half-way")

    monkeypatch.setattr(exporter, "Exporter", Failing)
    connect = Connect()
    with pytest.raises(RuntimeError, match="half-way"):
        made(connect)
    assert connect.clients[0].closed.is_set()
    assert not threads()


def test_authorities_are_loaded_before_a_client_is_made(tmp_path: Path) -> None:
    connect = Connect()
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")
    with pytest.raises(ConfigError, match=r"Tracing\.CACertificateFile"):
        made(connect, ca_file=broken)
    assert not connect.clients
    made(connect, ca_file=Authority(tmp_path).ca_file)
    (trust,) = connect.trusts
    assert trust is not None
    assert trust.context.cert_store_stats()["x509_ca"]


def test_a_spec_shows_no_header_and_is_the_same_for_the_same() -> None:
    one = TracingSpec(endpoint=ENDPOINT, headers=(("api-key", "s3cret"),))
    assert "s3cret" not in repr(one)
    assert one == TracingSpec(endpoint=ENDPOINT, headers=(("api-key", "s3cret"),))
    assert hash(one) != hash(TracingSpec(endpoint=ENDPOINT, headers=(("api-key", "other"),)))
