"""Metrics: what is counted in this process, written for Prometheus when it asks.

Rooms keep plain numbers of their own, and what is registered here reads them at the moment of a scrape. So a metric
costs a request nothing, except for `RedirectCounters`, which cost it about a microsecond.

The registry is our own: whatever other libraries put into the library's global one is not ours to tell. One worker
serves, hence there is nothing to be put together from several processes.
"""

import hashlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric, UntypedMetricFamily
from prometheus_client.registry import Collector

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


def counter(
    name: str, text: str, labels: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], float]]
) -> CounterMetricFamily:
    """A family of numbers that only grow; `name` ends in `_total`, `text` is for operators."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def misnamed_counter(
    name: str, text: str, labels: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], float]]
) -> UntypedMetricFamily:
    """The same under a name of Pelican's that lacks `_total`; the format then has no type for it but untyped."""
    family = UntypedMetricFamily(name, text, labels=labels)
    for values, number in rows:
        family.add_metric(list(values), number)
    return family


def gauge(
    name: str, text: str, labels: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    """A family of numbers that go up and down; `text` is for operators."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


class _Collector(Collector):
    def __init__(self, collect: Collect) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()


class Metrics:
    """Everything that `/metrics` shows. Any number of threads may ask at once."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)  # nothing is read when it is registered
        ProcessCollector(registry=self._registry)
        self.add(_threads)

    def add(self, collect: Collect) -> None:
        """Show these families too; no family twice."""
        self._registry.register(_Collector(collect))

    def text(self) -> bytes:
        """All of it, in Prometheus' text format (`CONTENT_TYPE`)."""
        return generate_latest(self._registry)


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
    )
