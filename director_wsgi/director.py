"""The director: its long-lived parts. No Flask here.

`assembly.build` puts one together. That starts no thread and opens no socket, so a fork after it is harmless;
`Director.start` does, and `Director.close` ends what was started.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from director_wsgi.federation.alone import Alone
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.filters import Filters
from director_wsgi.federation.replica import Replica
from director_wsgi.federation.shared_ads import SharedAds
from director_wsgi.federation.startup import StartupWindow
from director_wsgi.federation.state import State
from director_wsgi.health import reports
from director_wsgi.health.io_load import IoLoads
from director_wsgi.health.readiness import Readiness
from director_wsgi.health.tests import DirectorTests
from director_wsgi.health.trial import Trial
from director_wsgi.health.vitals import Vitals
from director_wsgi.limits.deadline import Deadline, WallClock
from director_wsgi.outbound.client import HttpClient, Terms
from director_wsgi.outbound.names import NameResolver
from director_wsgi.redirect.maxmind import GeoDatabase
from director_wsgi.redirect.places import Places
from director_wsgi.redirect.request import ObjectRequest, Redirection
from director_wsgi.redirect.resolver import Resolver
from director_wsgi.reloading import Reloads
from director_wsgi.runtime import start
from director_wsgi.runtime.clients import ClientWatch
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.leases import Leases
from director_wsgi.runtime.metrics import Metrics
from director_wsgi.runtime.outgoing import Outgoing
from director_wsgi.runtime.periodic import PeriodicJob
from director_wsgi.runtime.tracing.counts import SpanCounts
from director_wsgi.runtime.tracing.tracer import Tracer
from director_wsgi.stat.engine import StatEngine
from director_wsgi.trust.admission import Admission
from director_wsgi.trust.fed_token import FedTokens
from director_wsgi.trust.federation_keys import FederationKeys
from director_wsgi.trust.inquiry import Inquiries
from director_wsgi.trust.keyring import KeyRing
from director_wsgi.trust.minting import Minter
from director_wsgi.trust.prefixes import AllowedPrefixes
from director_wsgi.trust.self_issued import Guard, Issuer

DRAIN_S = 2.0
"""How long `Director.close` waits for what it ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What was made for one configuration, beneath the routes.

    Attributes:
        config: The configuration.
        resolver: Answers by it.
        database: Tells where addresses are.
        terms: Whom calls to others may believe and reach.
        tracer: Told what becomes of requests; None: nobody is.
    """

    config: Config
    resolver: Resolver
    database: GeoDatabase
    terms: Terms
    tracer: Tracer | None


class Present:
    """What is in force, for those who are not part of a request. Replaced as a whole by whoever reloads.

    Args:
        config: That of the start.

    Attributes:
        config: The configuration in force.
        serving: What was made for it; not there before the first has been made.
        reloads: Who looks whether there is another; None: nobody.
    """

    serving: Serving

    def __init__(self, config: Config) -> None:
        self.config = config
        self.reloads: Reloads | None = None

    def adopt(self, serving: Serving) -> None:
        """From now on this is in force."""
        self.serving = serving
        self.config = serving.config

    def complaint(self) -> str:
        """What is wrong with the configuration that was read last, in a sentence; empty if nothing is."""
        return start.complaint() if self.reloads is None else self.reloads.complaint()

    def described(self) -> Mapping[str, object]:
        """Which configuration is in force, for operators, as a JSON object."""
        if self.reloads is None:
            return {}
        running = self.reloads.running
        since = dt.datetime.fromtimestamp(int(running.since), dt.UTC).isoformat().replace("+00:00", "Z")
        return {"hash": running.hash[:12], "since": since, "pending": list(running.pending)}

    def resolve(self, request: ObjectRequest) -> Redirection:
        """Where a request goes that is not a client's; see `Resolver.resolve`."""
        return self.serving.resolver.resolve(request)


@dataclass(frozen=True, slots=True, kw_only=True)
class Director:
    """The parts that live as long as the application."""

    config: Config
    """That of the start. What a reload may change is in `present`."""
    present: Present
    state: State
    window: StartupWindow
    shared_ads: SharedAds
    directory: Directory
    filters: Filters
    names: NameResolver
    outgoing: Outgoing
    spans: SpanCounts
    ring: KeyRing
    minter: Minter
    federation_keys: FederationKeys | None
    """Where the federation's keys are published by somebody else; else None: they are those of `ring`."""
    fed_tokens: FedTokens
    leases: Leases
    engine: StatEngine
    registry_client: HttpClient
    inquiries: Inquiries
    prefixes: AllowedPrefixes
    admission: Admission
    clients: ClientWatch
    tests: DirectorTests
    places: Places
    loads: IoLoads
    trial: Trial
    readiness: Readiness
    vitals: Vitals
    metrics: Metrics
    """What is counted is added to it by those who know of it."""
    jobs: tuple[PeriodicJob, ...]

    def start(self) -> None:
        """Start the threads that work in the background. Once, in the process that serves.

        What others have left behind is read first, so that the first request finds it.
        """
        self.catch_up()
        self.metrics.start()
        self.clients.start()
        self.inquiries.start()
        self.tests.start()
        for job in self.jobs:
            job.start()

    def catch_up(self) -> None:
        """Begin to share with other workers, and learn what they know; a part of `start`."""
        if self.state.start() and self.directory.snapshot().servers:
            self.window.caught_up()
        self.engine.share(self.replica.workers)  # before the first request: until then it is the only one

    @property
    def replica(self) -> Replica | Alone:
        """What this worker and the others tell each other."""
        return self.state.replica

    def guard_for(self, scope: str, wall: WallClock) -> Guard:
        """A door of our own that tokens with `scope` open, issued by this director or by the federation."""
        federation = (self.ring if self.federation_keys is None else self.federation_keys).key_set
        own = Issuer(self.config.web_url, self.ring.key_set)
        return Guard((own, Issuer(self.config.discovery_url, federation)), scope=scope, wall_clock=wall)

    def close(self) -> None:
        """End every thread and close every socket, within a bound. Harmless if never started."""
        deadline = Deadline.after(DRAIN_S)
        self.metrics.stop(deadline)  # first: what is closed counts nothing any more
        self.registry_client.close()
        if self.federation_keys is not None:
            self.federation_keys.close()
        self.loads.close()
        self.engine.close()
        for job in self.jobs:
            job.stop(deadline)
        self.tests.stop(deadline)
        self.inquiries.stop(deadline)
        self.replica.drop(reports.KIND, self.replica.holder)
        self.state.stop(deadline)
        self.clients.stop(deadline)
        self.leases.close(deadline)
        self.names.close(deadline.remaining_s())
