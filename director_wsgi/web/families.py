"""What `/metrics` says of the rooms: their own counts, read at the moment of a scrape.

Names and labels are Pelican's where it counts the same thing. Labels hold names of servers, and words of ours; never a
path, a token or an address of a client. What is told of single servers is told while they are advertised: the number of
series is bounded by `Director.MaxServers`, and a server that has gone leaves none behind.

Source: Pelican `metrics/director.go`.
"""

import enum
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Final

from prometheus_client.metrics_core import Metric

from director_wsgi import __version__
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.models import ServerAd
from director_wsgi.limits.breaker import BreakerSnapshot, State
from director_wsgi.runtime.clients import ClientWatch
from director_wsgi.runtime.leases import Leases
from director_wsgi.runtime.metrics import Collect, counter, gauge, label
from director_wsgi.stat.engine import StatEngine
from director_wsgi.stat.report import GATES, ServerState
from director_wsgi.trust.admission import Admission
from director_wsgi.trust.inquiry import PERMITS, Inquiries
from director_wsgi.trust.prefixes import AllowedPrefixes

Labels = tuple[str, ...]

SERVER: Final = ("server_name", "server_url", "server_type")
"""Labels of what is told of one server, as in Pelican."""

_STATES: Final = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


def build() -> Iterator[Metric]:
    """Which program this is."""
    yield gauge("director_wsgi_build_info", "Always 1; the version that runs.", ("version",), [((__version__,), 1)])


def federation(directory: Directory, *, filtered_names: Collection[str]) -> Collect:
    """Who is advertised.

    Args:
        directory: Knows.
        filtered_names: Servers that are never chosen.
    """

    def collect() -> Iterator[Metric]:
        now = directory.snapshot()
        servers = Counter((label(ad.name), ad.kind.value, "false") for ad in now.servers.values())
        yield gauge(
            "pelican_director_server_count",
            "Servers advertised now. A name occurs twice if two servers call themselves so.",
            ("server_name", "server_type", "from_topology"),
            servers.items(),
        )
        weights = ((_labels(ad), directory.status_weight(ad.data_url)) for ad in now.servers.values())
        yield gauge(
            "pelican_director_server_statusweight",
            "What the server has said of its own health lately: 1 well, near 0 critical. Weighs in the ranking "
            "adaptive.",
            SERVER,
            ((labels, weight) for labels, weight in weights if weight is not None),
        )
        yield gauge(
            "pelican_director_ttl_cache",
            "Entries of what the director remembers for a while. Only type=total is told, and only of advertisements.",
            ("name", "type"),
            [(("serverAds", "total"), len(now.servers))],
        )
        yield gauge(
            "pelican_director_map_items_total",
            "Entries of tables; a gauge in spite of its name, as in Pelican. filteredServers: names in "
            "Director.FilteredServers.",
            ("name",),
            [(("filteredServers",), len(filtered_names))],
        )
        yield gauge("director_wsgi_prefixes", "Namespace prefixes served now.", (), [((), len(now.prefixes))])

    return collect


def stat(engine: StatEngine, directory: Directory, *, threads: int) -> Collect:
    """What asking servers comes to: the gates, the lanes, and every server's state.

    Args:
        engine: Asks them.
        directory: Who is advertised; of other servers nothing is told.
        threads: Most HEADs under way at once (`Director.StatThreads`).
    """

    def collect() -> Iterator[Metric]:
        advertised = directory.snapshot().servers
        met = engine.servers()
        states = [(_labels(advertised[one.data_url]), one) for one in met if one.data_url in advertised]
        yield from _gates(engine, sum(one.threads for one in met), threads)
        yield from _lanes(engine)
        yield from _servers(states)
        yield from _breakers([(labels, one.breaker) for labels, one in states])

    return collect


def _gates(engine: StatEngine, alive: int, limit: int) -> Iterator[Metric]:
    told = engine.statistics()
    yield counter(
        "director_wsgi_stat_gate_total",
        "How often each gate between a request and a server answered; docs/metrics.md says what each means. Some count "
        "the same event from two sides: do not add them up.",
        ("gate",),
        (((gate,), getattr(told, gate)) for gate in GATES),
    )
    yield gauge(
        "director_wsgi_stat_threads",
        "Threads that ask servers. limit: at most in use (Director.StatThreads); in_use: one for each HEAD under way; "
        "alive: those included that wait for the next HEAD.",
        ("kind",),
        [(("limit",), limit), (("in_use",), told.in_flight), (("alive",), alive)],
    )
    yield gauge("director_wsgi_stat_servers", "Servers for which slots and threads are held.", (), [((), told.servers)])


def _lanes(engine: StatEngine) -> Iterator[Metric]:
    told, long = engine.lanes.all.statistics(), engine.lanes.long.statistics()
    yield gauge(
        "director_wsgi_lanes",
        "Request threads that may wait for servers. limit: at most; in_use: now; most: at the same time at most, since "
        "the start; long: of these, how many wait longer than usual now; long_limit: how many may; namespaces: for how "
        "many namespaces they do.",
        ("kind",),
        [
            (("limit",), told.permits),
            (("in_use",), told.in_use),
            (("most",), told.most_in_use),
            (("long",), long.in_use),
            (("long_limit",), long.permits),
            (("namespaces",), long.keys),
        ],
    )
    yield counter(
        "director_wsgi_lane_requests_total",
        "Requests that wanted to wait for servers. taken: could. full: were answered at once from what was known, "
        "since no thread may wait any more. long: waited longer than usual. long_refused: could not, since too many "
        "do, or their namespace has its share.",
        ("outcome",),
        [
            (("taken",), told.taken),
            (("full",), told.refused_full),
            (("long",), long.taken),
            (("long_refused",), long.refused_full + long.refused_share),
        ],
    )


def _servers(states: list[tuple[Labels, ServerState]]) -> Iterator[Metric]:
    yield gauge(
        "pelican_director_stat_active",
        "HEADs under way at the server.",
        SERVER,
        ((labels, one.slots_in_use) for labels, one in states),
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
    )
    yield gauge(
        "director_wsgi_stat_latency_seconds",
        "How long the server took to answer lately: a moving average. Absent until it has answered.",
        SERVER,
        ((labels, one.latency_s) for labels, one in states if one.latency_s is not None),
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
    )


def _reasons(told: BreakerSnapshot) -> Iterator[str]:
    if told.state is not State.CLOSED and told.reason is not None:
        yield label(str(told.reason.value if isinstance(told.reason, enum.Enum) else told.reason))
    if told.is_flapping:
        yield "flapping"


def _labels(ad: ServerAd) -> Labels:
    scheme, separator, rest = ad.data_url.partition("://")
    host, slash, path = rest.partition("/")
    bare = f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"  # a password is nobody's business
    return label(ad.name), label(bare), ad.kind.value


def trust(admission: Admission, inquiries: Inquiries, prefixes: AllowedPrefixes) -> Collect:
    """What became of advertisements, and how the registry is."""

    def collect() -> Iterator[Metric]:
        yield counter(
            "director_wsgi_advertisements_total",
            "Advertisements received, by what became of them: admitted, expired (on arrival), or the reason of their "
            "refusal.",
            ("outcome",),
            (((outcome,), times) for outcome, times in sorted(admission.counts.items())),
        )
        yield gauge(
            "director_wsgi_registry_permits",
            "Request threads that may wait for the registry. limit: at most; in_use: now.",
            ("kind",),
            [(("limit",), PERMITS), (("in_use",), inquiries.permits_in_use)],
        )
        if prefixes.loaded:
            yield gauge(
                "director_wsgi_prefix_table_age_seconds",
                "Since the registry last told what caches may serve. Absent until it has; caches are refused above "
                "900.",
                (),
                [((), prefixes.age_s)],
            )

    return collect


def clients(watch: ClientWatch) -> Collect:
    """Clients for whose requests servers are being waited for."""

    def collect() -> Iterator[Metric]:
        yield gauge(
            "director_wsgi_clients_waiting",
            "Clients for whom servers are waited for now.",
            (),
            [((), watch.watched)],
        )
        yield counter(
            "director_wsgi_clients_gone_total",
            "Clients that went away while servers were waited for; the wait ended then.",
            (),
            [((), watch.gone)],
        )

    return collect


def leases(owner: Leases) -> Collect:
    """What lives long in this process."""

    def collect() -> Iterator[Metric]:
        told = owner.statistics()
        yield gauge(
            "director_wsgi_leases",
            "Resources with threads, sockets or files. live: in use; retiring: given back, and about to end.",
            ("state",),
            [(("live",), told.live), (("retiring",), told.retiring)],
        )
        yield counter("director_wsgi_lease_builds_total", "Resources ever built.", (), [((), told.builds)])

    return collect
