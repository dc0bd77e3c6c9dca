"""`create_app`: the only place that names concrete parts, and hands each what it needs.

Creating an application starts no thread and opens no socket, so a fork after it is harmless; `Director.start` does,
and `Director.close` ends what it started.
"""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from director_wsgi import __version__
from director_wsgi.errors import DirectorError
from director_wsgi.federation.directors import Directors
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.models import ServerAd
from director_wsgi.limits.breaker import BreakerSettings
from director_wsgi.limits.deadline import Clock, Deadline, WallClock, monotonic
from director_wsgi.limits.deadline import wall as system_wall
from director_wsgi.outbound.client import HttpClient, TlsTrust
from director_wsgi.outbound.names import NameResolver
from director_wsgi.redirect.geo import Overrides
from director_wsgi.redirect.places import ClientPlaces, ServerPlaces
from director_wsgi.redirect.request import Endpoint
from director_wsgi.redirect.resolver import Policy, Resolver
from director_wsgi.redirect.weights import Health
from director_wsgi.runtime.clients import ClientWatch
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.leases import Leases
from director_wsgi.runtime.metrics import Metrics, RedirectCounters
from director_wsgi.runtime.periodic import PeriodicJob
from director_wsgi.stat.engine import StatEngine, StatPolicy
from director_wsgi.stat.evidence import Lifetimes
from director_wsgi.stat.roster import LEAST_SLOTS
from director_wsgi.trust.admission import Admission, help_sentence
from director_wsgi.trust.inquiry import PERMITS, Inquiries
from director_wsgi.trust.issuer import IssuerKey, load_issuer_keys, public_jwks
from director_wsgi.trust.prefixes import AllowedPrefixes
from director_wsgi.trust.registry import Registry
from director_wsgi.trust.self_issued import SCRAPE, Guard
from director_wsgi.web import advertisements, discovery, families, health_test, listings, metrics, redirects
from director_wsgi.web.addresses import TrustedProxies
from director_wsgi.web.entrance import JOB_ID, AnythingConverter, Entrance
from director_wsgi.web.requests import RequestReader, Steering
from director_wsgi.web.responses import CORS, error_response, simple

log = logging.getLogger(__name__)

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
    """The parts that live as long as the application; kept in `app.extensions["director"]`."""

    config: Config
    directory: Directory
    admission: Admission
    engine: StatEngine
    leases: Leases
    names: NameResolver
    registry_client: HttpClient
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


def create_app(
    config: Config,
    *,
    clock: Clock = monotonic,
    wall: WallClock = system_wall,
    started_at: float | None = None,
    make_client: MakeClient | None = None,
) -> Flask:
    """Build a director.

    Args:
        config: Checked.
        clock: Monotonic seconds, for everything inside.
        wall: Unix seconds, for what others have dated.
        started_at: When the director was first started, on `clock`; None: now. Lasts over restarts of a worker.
        make_client: Makes the clients of outbound calls; None: real ones.

    Raises:
        ConfigError: A key file cannot be read.
    """
    names = NameResolver(clock=clock)
    trust = TlsTrust(ca_file=config.tls_ca_certificate_file, skip_verify=config.tls_skip_verify)

    def real_client(connections: int) -> HttpClient:
        return HttpClient(
            names=names,
            trust=trust,
            user_agent=USER_AGENT,
            connections=connections,
            connect_timeout_s=config.dial_timeout_s,
            clock=clock,
        )

    make_client = make_client or real_client
    generator = random.Random()
    overrides = Overrides([(row.network, row.latitude, row.longitude) for row in config.geoip_overrides])
    leases = Leases(clock=clock)
    clients = ClientWatch()
    directory = Directory(
        clock=clock,
        capacity=config.max_servers,
        filtered_names=config.filtered_servers,
        status_time_constant_s=config.status_time_constant_s,
    )
    engine = StatEngine(policy=_stat_policy(config), build_client=make_client, leases=leases, clock=clock)
    registry_client = make_client(REGISTRY_CONNECTIONS)
    registry = Registry(registry_client, config.registry_url)
    prefixes = AllowedPrefixes(registry, clock=clock)
    inquiries = Inquiries(registry, timeout_s=config.registry_timeout_s, clock=clock)
    admission = Admission(
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
    )
    born_at = clock() if started_at is None else started_at
    resolver = Resolver(
        policy=_redirect_policy(config),
        snapshot=directory.snapshot,
        ask=engine.ask,
        places=ClientPlaces(overrides, generator=generator, clock=clock, seed=config.ranking_seed),
        is_starting=lambda: clock() - born_at <= config.startup_window_s,
        generator=generator,
        health_of=partial(_health_of, engine, directory),
    )
    director = Director(
        config=config,
        directory=directory,
        admission=admission,
        engine=engine,
        leases=leases,
        names=names,
        registry_client=registry_client,
        clients=clients,
        jobs=(
            PeriodicJob(
                "director-prefixes",
                lambda: prefixes.next_refresh_in_s(config.registry_query_interval_s),
                lambda: prefixes.refresh(Deadline.after(config.registry_timeout_s, clock)),
            ),
            PeriodicJob("director-upkeep", UPKEEP_INTERVAL_S, lambda: engine.retain(directory.snapshot().servers)),
        ),
    )
    counters = RedirectCounters()
    keys = load_issuer_keys(config.issuer_keys_directory, config.issuer_key)
    app = Flask("director_wsgi", static_folder=None)
    app.extensions["director"] = director
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # the last route answers OPTIONS for every path
    app.url_map.merge_slashes = False
    app.url_map.converters["anything"] = AnythingConverter
    _register_errors(app)
    app.register_blueprint(
        advertisements.blueprint(
            admission,
            engine,
            max_bytes=config.max_advertisement_bytes,
            timeout_s=config.registry_timeout_s,
            clock=clock,
        )
    )
    app.register_blueprint(
        listings.blueprint(snapshot=directory.snapshot, directors=_directors(config, clock, wall), wall=wall)
    )
    app.register_blueprint(discovery.blueprint(_discovery(config, keys)))
    app.register_blueprint(health_test.blueprint())
    app.register_blueprint(
        metrics.blueprint(_metrics(director, inquiries, prefixes, counters), guard=_metrics_guard(config, keys, wall))
    )
    app.register_blueprint(
        redirects.blueprint(
            redirects.Redirects(
                resolver=resolver,
                reader=RequestReader(
                    redirect_deadline_s=config.redirect_deadline_s,
                    proxies=TrustedProxies(config.trusted_proxies),
                    clients=clients,
                    clock=clock,
                    wall=wall,
                ),
                engine=engine,
                steering=Steering(
                    origin_hostnames=frozenset(config.origin_response_hostnames),
                    cache_hostnames=frozenset(config.cache_response_hostnames),
                ),
                default=Endpoint.ORIGIN if config.default_response == "origin" else Endpoint.OBJECT,
                counters=counters,
                clock=clock,
            )
        )
    )
    app.wsgi_app = Entrance(app.wsgi_app)  # type: ignore[method-assign]
    return app


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


def _directors(config: Config, clock: Clock, wall: WallClock) -> Directors:
    return Directors(
        name=config.sitename,
        advertise_url=config.advertise_url,
        version=__version__,
        lifetime_s=config.ad_lifetime_s,
        clock=clock,
        wall_clock=wall,
    )


def _metrics(
    director: Director, inquiries: Inquiries, prefixes: AllowedPrefixes, counters: RedirectCounters
) -> Metrics:
    shown = Metrics()
    for collect in (
        families.build,
        families.federation(director.directory, filtered_names=director.config.filtered_servers),
        counters.collect,
        families.stat(director.engine, director.directory, threads=director.config.stat_threads),
        families.clients(director.clients),
        families.trust(director.admission, inquiries, prefixes),
        families.leases(director.leases),
    ):
        shown.add(collect)
    return shown


def _metrics_guard(config: Config, keys: tuple[IssuerKey, ...], wall: WallClock) -> Guard | None:
    if not config.metric_authorization:
        return None
    return Guard(keys, issuer=config.web_url, scope=SCRAPE, wall_clock=wall)


def _discovery(config: Config, keys: tuple[IssuerKey, ...]) -> discovery.Discovery:
    has_keys = bool(keys) or config.issuer_jwks is not None
    return discovery.Discovery(
        discovery_url=config.discovery_url,
        director_url=config.director_url,
        director_urls=config.director_urls,
        registry_url=config.registry_url,
        jwk_url=config.jwk_url,
        broker_url=config.broker_url,
        jwks=public_jwks(keys, config.issuer_jwks) if has_keys else None,
        is_hosted=config.enable_federation_metadata_hosting,
    )


def _register_errors(app: Flask) -> None:
    @app.errorhandler(HTTPException)
    def refuse(error: HTTPException) -> Response:
        return simple(error.code or 500, error.description or error.name, CORS)

    @app.errorhandler(DirectorError)
    def tell(error: DirectorError) -> Response:
        return error_response(error)

    @app.errorhandler(Exception)
    def fail(error: Exception) -> Response:
        # Whatever it is, the client gets JSON, and the log the traceback.
        log.error("a request failed", exc_info=error)
        told = (("X-Pelican-JobId", request.environ[JOB_ID]), *CORS)
        return simple(500, "The director failed to answer this request; its log says why", told)
