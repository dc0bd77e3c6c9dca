"""The director: its long-lived parts, and how they are put together. No Flask here.

Building one starts no thread and opens no socket, so a fork after it is harmless; `Director.start` does, and
`Director.close` ends what was started.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from director_wsgi import __version__
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.models import ServerAd
from director_wsgi.limits.breaker import BreakerSettings
from director_wsgi.limits.deadline import Clock, Deadline, WallClock
from director_wsgi.outbound.client import HttpClient, TlsTrust
from director_wsgi.outbound.names import NameResolver
from director_wsgi.redirect.geo import Overrides
from director_wsgi.redirect.places import ClientPlaces, ServerPlaces
from director_wsgi.redirect.resolver import Policy, Resolver
from director_wsgi.redirect.weights import Health
from director_wsgi.runtime.clients import ClientWatch
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.leases import Leases
from director_wsgi.runtime.periodic import PeriodicJob
from director_wsgi.stat.engine import StatEngine, StatPolicy
from director_wsgi.stat.evidence import Lifetimes
from director_wsgi.stat.roster import LEAST_SLOTS
from director_wsgi.trust.admission import Admission, help_sentence
from director_wsgi.trust.inquiry import PERMITS, Inquiries
from director_wsgi.trust.prefixes import AllowedPrefixes
from director_wsgi.trust.registry import Registry

USER_AGENT = f"pelican-director/{__version__}"

DRAIN_S = 2.0
"""How long `Director.close` waits for what it ends."""

REGISTRY_CONNECTIONS = PERMITS + 1
"""Connections to the registry that are kept open: one for each thread that may wait for it."""

BREAKER_WINDOW_S = 20.0
BREAKER_VOLUME = 5
"""So long and so few that one object in demand at a server that hangs, a HEAD every three seconds, trips it, too."""

BREAKER_ROW = LEAST_SLOTS
"""As many failures as a server that hangs makes at once when it is trusted least."""

FIRST_BACKOFF_S = 0.5
"""How long a server that has turned out to be sick is left alone at first."""

UPKEEP_INTERVAL_S = 10.0
"""How often expired advertisements are swept out and what belonged to their servers is given back."""

MakeClient = Callable[[int], HttpClient]
"""Given how many connections to keep open, a client for outbound calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Director:
    """The parts that live as long as the application."""

    config: Config
    directory: Directory
    names: NameResolver
    leases: Leases
    engine: StatEngine
    resolver: Resolver
    registry_client: HttpClient
    inquiries: Inquiries
    prefixes: AllowedPrefixes
    admission: Admission
    clients: ClientWatch
    jobs: tuple[PeriodicJob, ...]

    def start(self) -> None:
        """Start the threads that work in the background. Once, in the process that serves."""
        self.clients.start()
        for job in self.jobs:
            job.start()

    def close(self) -> None:
        """End every thread and close every socket, within a bound. Harmless if never started."""
        deadline = Deadline.after(DRAIN_S)
        self.registry_client.close()
        self.engine.close()
        for job in self.jobs:
            job.stop(deadline)
        self.clients.stop(deadline)
        self.leases.close(deadline)
        self.names.close(deadline.remaining_s())


def build(
    config: Config, *, clock: Clock, wall: WallClock, started_at: float | None, make_client: MakeClient | None
) -> Director:
    """Put a director together; the arguments are those of `app.create_app`."""
    names = NameResolver(clock=clock)
    make_client = make_client or _client_maker(config, names, clock)
    overrides = Overrides([(row.network, row.latitude, row.longitude) for row in config.geoip_overrides])
    directory = Directory(
        clock=clock,
        capacity=config.max_servers,
        filtered_names=config.filtered_servers,
        status_time_constant_s=config.status_time_constant_s,
    )
    leases = Leases(clock=clock)
    engine = StatEngine(policy=_stat_policy(config), build_client=make_client, leases=leases, clock=clock)
    registry_client = make_client(REGISTRY_CONNECTIONS)
    registry = Registry(registry_client, config.registry_url)
    prefixes = AllowedPrefixes(registry, clock=clock)
    inquiries = Inquiries(registry, timeout_s=config.registry_timeout_s, clock=clock)
    return Director(
        config=config,
        directory=directory,
        names=names,
        leases=leases,
        engine=engine,
        resolver=_resolver(
            config, directory, engine, overrides, clock=clock, born_at=clock() if started_at is None else started_at
        ),
        registry_client=registry_client,
        inquiries=inquiries,
        prefixes=prefixes,
        admission=Admission(
            directory=directory,
            inquiries=inquiries,
            prefixes=prefixes,
            default_lifetime_s=config.advertisement_ttl_s,
            help_text=help_sentence(
                contact_email=config.support_contact_email,
                contact_url=config.support_contact_url,
                web_url=config.web_url,
            ),
            wall=wall,
            locate=ServerPlaces(overrides, names).of,
        ),
        clients=ClientWatch(),
        jobs=(
            PeriodicJob(
                "director-prefixes",
                lambda: prefixes.next_refresh_in_s(config.registry_query_interval_s),
                lambda: prefixes.refresh(Deadline.after(config.registry_timeout_s, clock)),
            ),
            PeriodicJob("director-upkeep", UPKEEP_INTERVAL_S, lambda: engine.retain(directory.snapshot().servers)),
        ),
    )


def _client_maker(config: Config, names: NameResolver, clock: Clock) -> MakeClient:
    trust = TlsTrust(ca_file=config.tls_ca_certificate_file, skip_verify=config.tls_skip_verify)

    def make(connections: int) -> HttpClient:
        return HttpClient(
            names=names,
            trust=trust,
            user_agent=USER_AGENT,
            connections=connections,
            connect_timeout_s=config.dial_timeout_s,
            clock=clock,
        )

    return make


def _resolver(
    config: Config, directory: Directory, engine: StatEngine, overrides: Overrides, *, clock: Clock, born_at: float
) -> Resolver:
    generator = random.Random()
    return Resolver(
        policy=_redirect_policy(config),
        snapshot=directory.snapshot,
        ask=engine.ask,
        places=ClientPlaces(overrides, generator=generator, clock=clock, seed=config.ranking_seed),
        is_starting=lambda: clock() - born_at <= config.startup_window_s,
        generator=generator,
        health_of=partial(_health_of, engine, directory),
    )


def _health_of(engine: StatEngine, directory: Directory, server: ServerAd) -> Health:
    health = engine.health_of(server.data_url)
    breaker = health.breaker.snapshot() if health else None
    return Health(
        breaker=breaker.state if breaker else None,
        latency_s=health.latency_s if health else None,
        next_probe_in_s=breaker.next_probe_in_s if breaker else None,
        status_weight=directory.status_weight(server.data_url),
    )


def _stat_policy(config: Config) -> StatPolicy:
    return StatPolicy(
        timeout_s=config.stat_timeout_s,
        slots=config.stat_concurrency_limit,
        adapts=config.adaptive_concurrency,
        threads=config.stat_threads,
        lanes=config.threads - config.reserved_threads,
        lifetimes=Lifetimes(
            presence_s=config.presence_ttl_s,
            absence_s=config.absence_ttl_s,
            failure_s=config.failure_ttl_s,
            stale_s=config.stale_if_error_s,
        ),
        capacity=config.presence_capacity,
        breaker=BreakerSettings(
            window_s=BREAKER_WINDOW_S,
            minimum_volume=BREAKER_VOLUME,
            failures_in_a_row=BREAKER_ROW,
            slow_s=config.slow_stat_s,
            first_backoff_s=min(FIRST_BACKOFF_S, config.probe_interval_s),
            backoff_cap_s=config.probe_interval_s,
        ),
    )


def _redirect_policy(config: Config) -> Policy:
    return Policy(
        web_url=config.web_url,
        cache_sort_method=config.cache_sort_method,
        filter_caches_in_error_state=config.filter_caches_in_error_state,
        check_origin_presence=config.check_origin_presence,
        assume_presence_at_single_origin=config.assume_presence_at_single_origin,
        caches_pull_from_caches=config.caches_pull_from_caches,
        check_cache_presence=config.check_cache_presence,
        adaptive_truncate=config.adaptive_truncate,
        ranking_seed=config.ranking_seed,
        when_unknown=config.when_unknown,
    )
