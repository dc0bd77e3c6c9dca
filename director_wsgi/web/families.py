"""What `/metrics` says of the rooms: their own counts, read at the moment of a scrape.

Names and labels are Pelican's where it counts the same thing. Labels hold names of servers, and words of ours; never a
path, a token or the whole address of a client. What is told of single servers (`server_families`) is told while they
are advertised: the number of series is bounded by `Director.MaxServers`, and a server that has gone leaves none behind.

Source: Pelican `metrics/director.go`.
"""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from director_wsgi import __version__
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.filters import Filters
from director_wsgi.health.tests import DirectorTests
from director_wsgi.limits.lanes import Lanes
from director_wsgi.redirect.maxmind import Unplaced
from director_wsgi.redirect.places import MAX_TALLIES, Places
from director_wsgi.runtime.clients import ClientWatch
from director_wsgi.runtime.leases import Leases
from director_wsgi.runtime.metrics import Collect, counter, gauge, label
from director_wsgi.runtime.pages import Across
from director_wsgi.stat.engine import StatEngine
from director_wsgi.stat.report import GATES
from director_wsgi.trust.admission import Admission
from director_wsgi.trust.fed_token import FedTokens
from director_wsgi.trust.federation_keys import FederationKeys
from director_wsgi.trust.inquiry import PERMITS, Inquiries
from director_wsgi.trust.prefixes import AllowedPrefixes
from director_wsgi.web import server_families
from director_wsgi.web.server_families import SERVER, labels_of


def build() -> Iterator[Metric]:
    """Which program this is."""
    yield gauge("director_wsgi_build_info", "Always 1; the version that runs.", ("version",), [((__version__,), 1)])


def federation(directory: Directory) -> Collect:
    """Who is advertised."""

    def collect() -> Iterator[Metric]:
        now = directory.snapshot()
        servers = Counter((label(ad.name), ad.kind.value, "false") for ad in now.servers.values())
        yield gauge(
            "pelican_director_server_count",
            "Servers advertised now. A name occurs twice if two servers call themselves so.",
            ("server_name", "server_type", "from_topology"),
            servers.items(),
        )
        weights = ((labels_of(ad), directory.status_weight(ad.data_url)) for ad in now.servers.values())
        yield gauge(
            "pelican_director_server_statusweight",
            "What the server has said of its own health lately: 1 well, near 0 critical. Weighs in the ranking "
            "adaptive.",
            SERVER,
            ((labels, weight) for labels, weight in weights if weight is not None),
            across=Across.MIN,
        )
        yield gauge("director_wsgi_prefixes", "Namespace prefixes served now.", (), [((), len(now.prefixes))])

    return collect


def tables(
    directory: Directory, filters: Filters, tests: DirectorTests, engine: StatEngine, inquiries: Inquiries
) -> Collect:
    """How much is remembered, under the names that Pelican has for it."""

    def collect() -> Iterator[Metric]:
        met = engine.servers()
        yield gauge(
            "pelican_director_ttl_cache",
            "Entries of what the director remembers for a while: serverAds, advertisements; jwks, key sets of "
            "prefixes. Of Pelican's types there is total alone.",
            ("name", "type"),
            [
                (("serverAds", "total"), len(directory.snapshot().servers)),
                (("jwks", "total"), len(inquiries.key_sets.answers)),
            ],
        )
        yield gauge(
            "pelican_director_map_items_total",
            "Entries of tables; a gauge in spite of its name, as in Pelican. filteredServers: names of servers that "
            "are not to be used now. healthTestUtils: servers that are tested. serverStatUtils: servers that have been "
            "asked. serverStatEntries: what they answered, as far as it is remembered.",
            ("name",),
            [
                (("filteredServers",), len(filters.names())),
                (("healthTestUtils",), len(tests.statistics().servers)),
                (("serverStatUtils",), len(met)),
                (("serverStatEntries",), sum(one.evidence for one in met)),
            ],
        )

    return collect


def stat(engine: StatEngine, directory: Directory) -> Collect:
    """What asking servers comes to: the gates, the lanes, and every server's state.

    Args:
        engine: Asks them.
        directory: Who is advertised; of other servers nothing is told.
    """

    def collect() -> Iterator[Metric]:
        advertised = directory.snapshot().servers
        met = engine.servers()
        states = [(labels_of(advertised[one.data_url]), one) for one in met if one.data_url in advertised]
        yield from _gates(engine, sum(one.threads for one in met))
        yield from _lanes(engine)
        yield from server_families.states(states)

    return collect


def _gates(engine: StatEngine, alive: int) -> Iterator[Metric]:
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
        [(("limit",), told.thread_limit), (("in_use",), told.in_flight), (("alive",), alive)],
        across=Across.SUM,
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
        across=Across.SUM,
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
            across=Across.SUM,
        )
        yield counter(
            "director_wsgi_registry_questions_total",
            "Questions to the registry: approval, keys or name of a prefix; by what came of them: answered; refused "
            "(4xx); senseless (not what was asked for); silent (none, or 5xx); failed (our mistake).",
            ("question", "outcome"),
            sorted(inquiries.counts.items()),
        )
        yield gauge(
            "director_wsgi_registry_questions_waiting",
            "Questions to the registry that wait for one of the threads that ask it.",
            (),
            [((), inquiries.waiting)],
            across=Across.SUM,
        )
        yield gauge(
            "director_wsgi_registry_silent_seconds",
            "Since the registry was first found to give no answer; 0 while it answers.",
            (),
            [((), inquiries.silent_s)],
        )
        if prefixes.loaded:
            yield gauge(
                "director_wsgi_prefix_table_age_seconds",
                "Since the registry last told what caches may serve. Absent until it has; caches are refused until "
                "then.",
                (),
                [((), prefixes.age_s)],
            )

    return collect


def keys(tokens: FedTokens, federation: FederationKeys | None) -> Collect:
    """Federation tokens, and the keys of the federation if another host publishes them."""

    def collect() -> Iterator[Metric]:
        yield counter(
            "director_wsgi_federation_tokens_total",
            "Servers' requests for a federation token, by what became of them: issued, or the reason of the refusal.",
            ("outcome",),
            (((outcome,), times) for outcome, times in sorted(tokens.counts.items())),
        )
        if federation is not None and federation.loaded:
            yield gauge(
                "director_wsgi_federation_keys_age_seconds",
                "Since the federation's keys were last fetched from Federation.JwkUrl. Absent before the first time, "
                "and if this director publishes them itself.",
                (),
                [((), federation.age_s)],
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
            across=Across.SUM,
        )
        yield counter(
            "director_wsgi_clients_gone_total",
            "Clients that went away while servers were waited for; the wait ended then.",
            (),
            [((), watch.gone)],
        )

    return collect


def long_answers(lanes: Lanes) -> Collect:
    """Lists that are being sent."""

    def collect() -> Iterator[Metric]:
        told = lanes.statistics()
        yield gauge(
            "director_wsgi_long_answers",
            "Request threads that may be sending long answers, such as lists of servers. limit: at most at once; "
            "in_use: now; most: at most so far.",
            ("kind",),
            [(("limit",), told.permits), (("in_use",), told.in_use), (("most",), told.most_in_use)],
            across=Across.SUM,
        )
        yield counter(
            "director_wsgi_long_answers_refused_total",
            "Long answers that were not sent (503), since too many were under way to clients that were slow to read.",
            (),
            [((), told.refused_full + told.refused_share)],
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
            across=Across.SUM,
        )
        yield counter("director_wsgi_lease_builds_total", "Resources ever built.", (), [((), told.builds)])

    return collect


def places(known: Places) -> Collect:
    """Who could not be placed, and the database that could not do it."""

    def collect() -> Iterator[Metric]:
        clients, servers = known.clients.unplaced.counts(), known.servers.unplaced.counts()
        yield counter(
            "pelican_director_maxmind_client_errors_total",
            "Clients that do not say where they are, nobody else knows either, and were given a random place for 20 "
            f"minutes; by network (/24 or /64) and project. Beyond {MAX_TALLIES} of these: other.",
            ("network", "project"),
            (((label(network), label(project)), times) for (network, project), times in clients.items()),
        )
        yield counter(
            "pelican_director_maxmind_server_errors_total",
            "Advertisements of servers that do not say where they are, and nobody else knows either; by network (/24 "
            "or /64; empty if the name leads nowhere) and name.",
            ("network", "server_name"),
            (((label(network), label(name)), times) for (network, name), times in servers.items()),
        )
        told = known.database.counts
        yield counter(
            "director_wsgi_places_unknown_total",
            "Addresses that the database of places was asked for in vain, by the reason.",
            ("reason",),
            (((reason.value,), told.get(reason, 0)) for reason in Unplaced),
        )
        built_at = known.database.built_at
        yield gauge(
            "director_wsgi_places_built_timestamp_seconds",
            "When the database of places in use was made. Absent while there is none.",
            (),
            [] if built_at is None else [((), built_at)],
            across=Across.MIN,
        )

    return collect
