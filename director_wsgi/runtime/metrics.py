"""Metrics: what is counted in this process, written for Prometheus when it asks.

Rooms keep plain numbers of their own, and what is registered here reads them at the moment of a scrape. So a metric
costs a request nothing, except for `RedirectCounters`, which cost it about a microsecond.

The registry is our own: whatever other libraries put into the library's global one is not ours to tell. Each family
says how the numbers of several workers become one (`Across`), since whichever worker is asked tells of all.
"""

import hashlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric, UntypedMetricFamily
from prometheus_client.registry import Collector

from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime.pages import MAX_KEPT_ROWS, Across, Family, Server, together
from director_wsgi.runtime.siblings import Siblings

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of what `Metrics.text` returns."""

Collect = Callable[[], Iterable[Metric]]
"""Reads some numbers and makes families of them. Called at each scrape, by any thread; must not wait."""

MAX_LABEL_CHARACTERS: Final = 256
"""Longest value of a label: servers may call themselves what they like."""


def label(text: str) -> str:
    """A value for a label: bounded, and encodable whatever is in it; different for different texts."""
    if len(text) > MAX_LABEL_CHARACTERS:
        digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4).hexdigest()
        text = f"{text[: MAX_LABEL_CHARACTERS - 9]}~{digest}"
    return text.encode("utf-8", "replace").decode("utf-8")


class _Counter(CounterMetricFamily):
    across = Across.COUNTED
    most = MAX_KEPT_ROWS


class _MisnamedCounter(UntypedMetricFamily):
    across = Across.COUNTED


class _Gauge(GaugeMetricFamily):
    across = Across.MAX


Rows = Iterable[tuple[tuple[str, ...], float]]
"""Values of the labels, and the number."""


def counter(
    name: str,
    text: str,
    labels: tuple[str, ...],
    rows: Rows,
    *,
    across: Across = Across.COUNTED,
    most: int = MAX_KEPT_ROWS,
) -> CounterMetricFamily:
    """A family of numbers that only grow.

    Args:
        name: Ends in `_total`.
        text: For operators.
        labels: Their names.
        rows: The numbers.
        across: How those of several workers become one.
        most: How many rows are kept of workers that have ended; not fewer than one worker may have.
    """
    family = _Counter(name, text, labels=labels)
    family.across, family.most = across, most
    for values, number in rows:
        family.add_metric(values, number)
    return family


def misnamed_counter(
    name: str, text: str, labels: tuple[str, ...], rows: Rows, *, across: Across = Across.COUNTED
) -> UntypedMetricFamily:
    """The same under a name of Pelican's that lacks `_total`; the format then has no type for it but untyped."""
    family = _MisnamedCounter(name, text, labels=labels)
    family.across = across
    for values, number in rows:
        family.add_metric(list(values), number)
    return family


def gauge(
    name: str, text: str, labels: tuple[str, ...], rows: Rows, *, across: Across = Across.MAX
) -> GaugeMetricFamily:
    """A family of numbers that go up and down; the arguments are those of `counter`."""
    family = _Gauge(name, text, labels=labels)
    family.across = across
    for values, number in rows:
        family.add_metric(values, number)
    return family


class _Collector(Collector):
    def __init__(self, collect: Collect) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()


class Metrics:
    """Everything that `/metrics` shows. Any number of threads may ask at once.

    Args:
        siblings: The way to the other workers; None: there are none.
    """

    def __init__(self, siblings: Siblings | None = None) -> None:
        self._siblings = siblings
        self._advertised: Callable[[], Collection[Server] | None] = lambda: None
        self._registry = CollectorRegistry(auto_describe=False)  # nothing is read when it is registered
        ProcessCollector(registry=self._registry)
        self.add(_threads)

    def add(self, collect: Collect) -> None:
        """Show these families too; no family twice."""
        self._registry.register(_Collector(collect))

    def only_of(self, advertised: Callable[[], Collection[Server] | None]) -> None:
        """Of what is counted by server, show what is of these servers; if it tells None, all of it.

        Args:
            advertised: Tells the servers, as they are named in labels. Called by any thread; must not wait.
        """
        self._advertised = advertised

    def start(self) -> None:
        """Tell other workers what this one counts, from now on. Once, in the process that serves."""
        if self._siblings is not None:
            self._siblings.start(self._families)

    def stop(self, deadline: Deadline) -> bool:
        """Tell them for the last time; nothing is shown here any more. Harmless if never started.

        Returns:
            Whether that is done by the deadline.
        """
        return self._siblings is None or self._siblings.stop(deadline)

    def text(self) -> bytes:
        """What all workers tell, in Prometheus' text format (`CONTENT_TYPE`); see `Siblings.gather` for how long."""
        if self._siblings is None:
            return self._written([*self._registry.collect(), _workers_told(1)])
        advertised = self._advertised()
        pages = self._siblings.gather(advertised)
        families = map(_metric, together(pages, advertised))
        return self._written([*families, _workers_told(sum(page.is_live for page in pages))])

    def _families(self) -> list[Family]:
        return [_family(metric) for metric in self._registry.collect()]

    @staticmethod
    def _written(families: Iterable[Metric]) -> bytes:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(lambda: families))
        return generate_latest(registry)


def _workers_told(number: int) -> Metric:
    return gauge(
        "director_wsgi_workers_told",
        "Workers whose numbers are in this answer as they are now; of others what they had counted when they were last "
        "asked, and nothing else.",
        (),
        [((), number)],
    )


def _family(metric: Metric) -> Family:
    """As it is passed on; what the library says of the process is the worker's own."""
    family = Family(
        name=metric.name,
        kind=metric.type,
        text=metric.documentation,
        across=getattr(metric, "across", Across.COUNTED if metric.type == "histogram" else Across.EACH),
        most=getattr(metric, "most", MAX_KEPT_ROWS),
    )
    for sample in metric.samples:
        family.labels.setdefault(sample.name, tuple(sample.labels))
        family.rows[sample.name, tuple(sample.labels.values())] = sample.value
    return family


def _metric(family: Family) -> Metric:
    metric = Metric(family.name, family.text, family.kind)
    for (sample, values), number in family.rows.items():
        metric.add_sample(sample, dict(zip(family.labels[sample], values, strict=True)), number)
    return metric


_THREAD_NAME = re.compile(r"director-([a-z]+)")


def _threads() -> Iterator[Metric]:
    owners = Counter(
        found[1] if (found := _THREAD_NAME.match(thread.name)) else "other" for thread in threading.enumerate()
    )
    yield gauge(
        "director_wsgi_threads",
        "Threads of the worker by what they are for: stat (asking servers), names (resolving them), and so on; other: "
        "those that handle requests.",
        ("owner",),
        (((owner,), number) for owner, number in sorted(owners.items())),
        across=Across.SUM,
    )
