"""What `/metrics` says of single servers: while they are advertised, except for what became of their advertisements.

Source: Pelican `metrics/director.go`.
"""

import enum
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.metrics_core import Metric

from director_wsgi.director import Director
from director_wsgi.federation.models import ServerAd
from director_wsgi.health.tests import DirectorTests
from director_wsgi.limits.breaker import BreakerSnapshot, State
from director_wsgi.runtime.metrics import Collect, counter, gauge, label, misnamed_counter
from director_wsgi.runtime.pages import Across
from director_wsgi.stat.report import ServerState
from director_wsgi.trust.ad_counts import MAX_ACCEPTED, MAX_REFUSED, MAX_REJECTED
from director_wsgi.trust.admission import Admission

Labels = tuple[str, ...]

SERVER: Final = ("server_name", "server_url", "server_type")
"""Labels of what is told of one server, as in Pelican."""

TESTED: Final = ("server_name", "server_web_url", "server_type")
"""Labels of what is told of its tests, as in Pelican."""

_STATES: Final = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


def states(told: list[tuple[Labels, ServerState]]) -> Iterator[Metric]:
    """How it is to ask each server.

    Args:
        told: Labels and state of each.
    """
    yield from _servers(told)
    yield from _results(told)
    yield from _breakers([(labels, one.breaker) for labels, one in told])


def _servers(states: list[tuple[Labels, ServerState]]) -> Iterator[Metric]:
    yield gauge(
        "pelican_director_stat_active",
        "HEADs under way at the server.",
        SERVER,
        ((labels, one.slots_in_use) for labels, one in states),
        across=Across.SUM,
    )
    yield gauge(
        "director_wsgi_slots",
        "HEADs at the server. limit: at most at once; in_use: now; waiting: that would begin if there were a slot.",
        (*SERVER, "kind"),
        (
            ((*labels, kind), number)
            for labels, one in states
            for kind, number in (("limit", one.slot_limit), ("in_use", one.slots_in_use), ("waiting", one.waiting))
        ),
        across=Across.SUM,
    )
    yield gauge(
        "director_wsgi_stat_latency_seconds",
        "How long the server took to answer lately: a moving average. Absent until it has answered.",
        SERVER,
        ((labels, one.latency_s) for labels, one in states if one.latency_s is not None),
    )


def _results(states: list[tuple[Labels, ServerState]]) -> Iterator[Metric]:
    yield gauge(
        "pelican_director_stat_total",
        "How questions to the server ended; a gauge in spite of its name, as in Pelican. cached_result: whether memory "
        "answered.",
        (*SERVER, "result", "cached_result"),
        (
            ((*labels, result, str(is_cached).lower()), times)
            for labels, one in states
            for (result, is_cached), times in sorted(one.results.items())
        ),
        across=Across.COUNTED_OF_SERVER,
    )


def _breakers(breakers: list[tuple[Labels, BreakerSnapshot]]) -> Iterator[Metric]:
    yield gauge(
        "director_wsgi_breaker_state",
        "Whether the server is asked. 0 closed: it is. 1 half-open: one probe is under way. 2 open: it is not, because "
        "it was slow or failed; see director_wsgi_breaker_reason.",
        SERVER,
        ((labels, _STATES[told.state]) for labels, told in breakers),
    )
    yield gauge(
        "director_wsgi_breaker_reason",
        "Always 1; why the server is not asked. Absent while it is. reason=flapping beside another: it keeps changing.",
        (*SERVER, "reason"),
        (((*labels, reason), 1) for labels, told in breakers for reason in _reasons(told)),
    )
    yield counter(
        "director_wsgi_breaker_trips_total",
        "How often it was decided not to ask the server any more.",
        SERVER,
        ((labels, told.trips) for labels, told in breakers),
        across=Across.COUNTED_OF_SERVER,
    )


def _reasons(told: BreakerSnapshot) -> Iterator[str]:
    if told.state is not State.CLOSED and told.reason is not None:
        yield label(str(told.reason.value if isinstance(told.reason, enum.Enum) else told.reason))
    if told.is_flapping:
        yield "flapping"


def labels_of(ad: ServerAd) -> Labels:
    """Values for the labels `SERVER`."""
    scheme, separator, rest = ad.data_url.partition("://")
    host, slash, path = rest.partition("/")
    bare = f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"  # a password is nobody's business
    return label(ad.name), label(bare), ad.kind.value


def advertised(director: Director) -> Callable[[], frozenset[Labels] | None]:
    """Tells the values of `SERVER` for all servers that are advertised; None while that is not known yet."""

    def tell() -> frozenset[Labels] | None:
        if not director.replica.has_read:
            return None
        return frozenset(map(labels_of, director.directory.snapshot().servers.values()))

    return tell


def advertisements(admission: Admission) -> Collect:
    """What became of advertisements, by their senders."""

    def collect() -> Iterator[Metric]:
        yield counter(
            "pelican_director_advertisements_received_total",
            "Advertisements that could be read, once for each namespace in them, by how they were answered. Beyond "
            f"{MAX_ACCEPTED} rows of accepted and {MAX_REFUSED} of refused ones: other.",
            ("server_name", "server_web_url", "server_type", "status_code", "namespace_prefix"),
            ((tuple(map(label, row)), times) for row, times in admission.received().items()),
            most=MAX_ACCEPTED + MAX_REFUSED,
        )
        yield misnamed_counter(
            "pelican_director_rejected_advertisements",
            "Advertisements whose senders may not advertise them, by what they call themselves; unverified: refused "
            f"before anything was known of them. Beyond {MAX_REJECTED} names: other.",
            ("hostname",),
            (((label(name),), times) for name, times in admission.rejected().items()),
        )

    return collect


def director_tests(tests: DirectorTests) -> Collect:
    """What director tests find: every worker tells it of all, as the one does that tests."""

    def collect() -> Iterator[Metric]:
        suites: Counter[Labels] = Counter()
        runs: Counter[Labels] = Counter()
        for one in tests.statistics().servers:
            ad = one.server
            labels = label(ad.name), label(ad.web_url), ad.kind.value
            suites[labels] += 1
            for (has_passed, report), times in one.runs.items():
                runs[(*labels, "Succeeded" if has_passed else "Failed", report.value)] += times
        for name, make in (("total_ftx_test_suite", misnamed_counter), ("active_ftx_test_suite", gauge)):
            yield make(
                f"pelican_director_{name}",
                "Servers that are tested again and again, each counted once.",
                TESTED,
                suites.items(),
                across=Across.MAX,
            )
        yield misnamed_counter(
            "pelican_director_total_ftx_test_runs",
            "Tests of the server that ended, and what became of the report to it.",
            (*TESTED, "status", "report_status"),
            runs.items(),
            across=Across.MAX,
        )

    return collect
