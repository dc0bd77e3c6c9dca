"""What `/metrics` says of tracing."""

from collections.abc import Callable, Iterator

from prometheus_client.metrics_core import Metric

from director_wsgi.runtime.metrics import Collect, counter, gauge
from director_wsgi.runtime.pages import Across
from director_wsgi.runtime.tracing.counts import SpanCounts
from director_wsgi.runtime.tracing.tracer import Tracer


def of(spans: SpanCounts, tracer: Callable[[], Tracer | None]) -> Collect:
    """What becomes of spans.

    Args:
        spans: Counted over all tracers.
        tracer: The one in force.
    """

    def collect() -> Iterator[Metric]:
        yield counter(
            "director_wsgi_spans_total",
            "Spans, by what became of them. exported; rejected by the collector for what they are; failed to arrive; "
            "overflow: dropped, since there was no room for more that wait; closed: dropped, since the director or the "
            "configuration ended first.",
            ("outcome",),
            [((outcome,), number) for outcome, number in spans.counts().items()],
        )
        now = tracer()
        yield gauge(
            "director_wsgi_spans_waiting",
            "Spans that wait to be sent, of at most Tracing.QueueSize of each worker.",
            (),
            [((), 0 if now is None else len(now))],
            across=Across.SUM,
        )

    return collect
