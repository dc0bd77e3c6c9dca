"""Metrics: what is counted in this process, written for Prometheus when it asks.

Rooms keep plain numbers of their own, and what is registered here reads them at the moment of a scrape. So a metric
costs a request nothing, except for `RedirectCounters`, which costs it less than a microsecond.

The registry is our own: whatever other libraries put into the library's global one is not ours to tell. One worker
serves, hence there is nothing to be put together from several processes.
"""

import hashlib
import re
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
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


# --- redirects --------------------------------------------------------------------------------------------------------

BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds of the buckets of `director_wsgi_redirect_seconds`; the default deadline is one of them."""

_BOOL: Final = {True: "true", False: "false"}

MAX_VERSIONS: Final = 50
"""Versions of clients that are told apart; clients may call themselves anything."""


class RedirectCounters:
    """How requests for objects ended. Any number of threads at once.

    One lock is held for a few instructions, across nothing that waits. Counting one takes less than a microsecond.
    """

    # _lock guards everything.

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._redirects: Counter[tuple[str, int, str, bool]] = Counter()
        self._refusals: Counter[tuple[str, bool]] = Counter()
        self._versions: set[str] = set()
        self._buckets = [0] * (len(BUCKETS_S) + 1)
        self._sum_s = 0.0

    def redirected(
        self, status: int, destination: str, duration_s: float, *, with_evidence: bool, version: str = ""
    ) -> None:
        """Count an answer that names a server.

        Args:
            status: 307, or 200 for a client that wants no redirect.
            destination: `cache` or `origin`: what the first server is.
            duration_s: Seconds the answer took.
            with_evidence: Whether it is no guess: see `redirect.request.Redirection`.
            version: The Pelican version of the client; empty for other programs.
        """
        with self._lock:
            if version not in self._versions:
                version = self._admitted(version)
            self._redirects[destination, status, version, with_evidence] += 1
            self._took(duration_s)

    def refused(self, outcome: str, duration_s: float, *, with_evidence: bool = True) -> None:
        """Count an answer that names no server.

        Args:
            outcome: Why: the name of the error's class, which are few.
            duration_s: Seconds the answer took.
            with_evidence: False if the reason is that no server could say anything in time.
        """
        with self._lock:
            self._refusals[outcome, with_evidence] += 1
            self._took(duration_s)

    def _admitted(self, version: str) -> str:
        """What a version that is not known yet is counted as; with the lock held."""
        if len(self._versions) >= MAX_VERSIONS:
            return "other"
        self._versions.add(version)
        return version

    def _took(self, duration_s: float) -> None:
        self._buckets[bisect_left(BUCKETS_S, duration_s)] += 1
        self._sum_s += duration_s

    def collect(self) -> Iterator[Metric]:
        """The families; see `Metrics.add`."""
        with self._lock:
            redirects, refusals = dict(self._redirects), dict(self._refusals)
            buckets, sum_s = tuple(self._buckets), self._sum_s
        by_client: Counter[tuple[str, str, str]] = Counter()
        decisions: Counter[tuple[str, str]] = Counter()
        for (destination, status, version, evidence), times in redirects.items():
            by_client[destination, str(status), label(version or "unknown")] += times
            decisions["redirected", _BOOL[evidence]] += times
        for (outcome, evidence), times in refusals.items():
            decisions[outcome, _BOOL[evidence]] += times
        yield counter(
            "pelican_director_redirects_total",
            "Requests for objects that were sent to a server, by what it is and by the client's Pelican version. Not "
            f"told: the client's network. Beyond {MAX_VERSIONS} versions: other.",
            ("destination", "status_code", "version"),
            by_client.items(),
        )
        yield counter(
            "director_wsgi_decisions_total",
            "Requests for objects by outcome (redirected, or the reason of a refusal). with_evidence=false: servers "
            "had to be asked and none could say in time, so that a redirect is a guess.",
            ("outcome", "with_evidence"),
            decisions.items(),
        )
        family = HistogramMetricFamily(
            "director_wsgi_redirect_seconds",
            "How long requests for objects took to be answered, refusals included, without the time on the network "
            "and in gunicorn's queue.",
        )
        bounds = (*map(str, BUCKETS_S), "+Inf")
        family.add_metric((), list(zip(bounds, accumulate(buckets), strict=True)), sum_s)
        yield family
