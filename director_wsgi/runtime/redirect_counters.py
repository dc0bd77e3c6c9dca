"""How requests for objects ended: counted one by one, told to Prometheus.

Source: Pelican `metrics/director.go`.
"""

import contextlib
import ipaddress
import socket
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import accumulate
from typing import Final

from prometheus_client.metrics_core import HistogramMetricFamily, Metric

from director_wsgi.runtime.metrics import counter, label

BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds of the buckets of `director_wsgi_redirect_seconds`; the default deadline is one of them."""

_BOOL: Final = {True: "true", False: "false"}

MAX_VERSIONS: Final = 50
"""Programs and versions that are told apart; clients may call themselves anything."""

MAX_NETWORK_ROWS: Final = 2000
"""Rows of `pelican_director_redirects_total` up to which new ones tell their client's network."""

OTHER: Final = "other"
"""Stands for whatever is beyond a bound."""

Caller = tuple[str, str]
"""Of a client: what it calls itself, `client` or `origin`, and its version; both empty for other programs."""

NOBODY: Final[Caller] = ("", "")


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """The network of an address, /24 or /64 as Pelican tells it; empty for what is no address.

    Args:
        address: A client's, of any shape.
    """
    with contextlib.suppress(OSError, ValueError):  # four times as fast as the general way
        first, second, third, _ = socket.inet_pton(socket.AF_INET, address)
        return f"{first}.{second}.{third}.0/24"
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        return ""
    if parsed.ipv4_mapped:
        return network_of(str(parsed.ipv4_mapped))
    return str(ipaddress.IPv6Network((int(parsed), 64), strict=False))


class RedirectCounters:
    """How requests for objects ended. Any number of threads at once.

    One lock is held for a few instructions, across nothing that waits. Counting one takes about a microsecond.
    """

    # _lock guards everything.

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._redirects: Counter[tuple[str, int, str, str]] = Counter()
        self._guesses = 0
        self._refusals: Counter[tuple[str, bool]] = Counter()
        self._callers: Counter[Caller] = Counter({NOBODY: 0})
        self._buckets = [0] * (len(BUCKETS_S) + 1)
        self._sum_s = 0.0

    def redirected(
        self,
        status: int,
        destination: str,
        duration_s: float,
        *,
        with_evidence: bool,
        caller: Caller = NOBODY,
        network: str = "",
    ) -> None:
        """Count an answer that names a server.

        Args:
            status: 307, or 200 for a client that wants no redirect.
            destination: `cache` or `origin`: what the first server is.
            duration_s: Seconds the answer took.
            with_evidence: Whether it is no guess: see `redirect.request.Redirection`.
            caller: Which Pelican program asked.
            network: Where it is: see `network_of`.
        """
        with self._lock:
            caller = self._called(caller)
            row = destination, status, caller[1], network
            if row not in self._redirects and len(self._redirects) >= MAX_NETWORK_ROWS:
                row = destination, status, caller[1], OTHER
            self._redirects[row] += 1
            if not with_evidence:
                self._guesses += 1
            self._took(duration_s)

    def refused(self, outcome: str, duration_s: float, *, with_evidence: bool = True, caller: Caller = NOBODY) -> None:
        """Count an answer that names no server.

        Args:
            outcome: Why: the name of the error's class, which are few.
            duration_s: Seconds the answer took.
            with_evidence: False if the reason is that no server could say anything in time.
            caller: Which Pelican program asked.
        """
        with self._lock:
            self._called(caller)
            self._refusals[outcome, with_evidence] += 1
            self._took(duration_s)

    def _called(self, caller: Caller) -> Caller:
        """Count the program, and say as what; with the lock held."""
        if caller not in self._callers and len(self._callers) > MAX_VERSIONS:
            caller = (OTHER, OTHER)
        self._callers[caller] += 1
        return caller

    def _took(self, duration_s: float) -> None:
        self._buckets[bisect_left(BUCKETS_S, duration_s)] += 1
        self._sum_s += duration_s

    def collect(self) -> Iterator[Metric]:
        """The families; see `Metrics.add`."""
        with self._lock:
            redirects, refusals, guesses = dict(self._redirects), dict(self._refusals), self._guesses
            callers = dict(self._callers)
            buckets, sum_s = tuple(self._buckets), self._sum_s
        decisions: Counter[tuple[str, str]] = Counter()
        for with_evidence, times in ((True, sum(redirects.values()) - guesses), (False, guesses)):
            if times:
                decisions["redirected", _BOOL[with_evidence]] = times
        for (outcome, with_evidence), times in refusals.items():
            decisions[outcome, _BOOL[with_evidence]] += times
        yield counter(
            "pelican_director_redirects_total",
            "Requests for objects that were sent to a server, by what it is, by the client's Pelican version and by "
            f"its network, /24 or /64. Beyond {MAX_VERSIONS} versions and {MAX_NETWORK_ROWS} rows: other.",
            ("destination", "status_code", "version", "network"),
            (
                ((destination, str(status), label(version or "unknown"), label(network or "unknown")), times)
                for (destination, status, version, network), times in redirects.items()
            ),
        )
        yield from _requests(callers)
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


def _requests(callers: Mapping[Caller, int]) -> Iterator[Metric]:
    """How often each Pelican program has asked, under the old name and the new one."""
    requests: Counter[tuple[str, str]] = Counter()
    for (service, version), times in callers.items():
        if service:
            requests[label(".".join(version.split(".")[:2])), label(service)] += times
    for name, older in (("client_requests", ""), ("client_version", " The older name of client_requests.")):
        yield counter(
            f"pelican_director_{name}_total",
            f"Requests for objects by Pelican programs, answered or refused.{older}",
            ("version", "service"),
            requests.items(),
        )
