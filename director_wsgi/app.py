"""`create_app`: a director behind Flask's routes."""

import logging

from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import HTTPException

from director_wsgi import __version__
from director_wsgi.assembly import build
from director_wsgi.director import Director
from director_wsgi.errors import DirectorError
from director_wsgi.federation.directors import Directors
from director_wsgi.federation.state import State
from director_wsgi.limits.deadline import Clock, WallClock, monotonic
from director_wsgi.limits.deadline import wall as system_wall
from director_wsgi.limits.lanes import Lanes
from director_wsgi.redirect.request import Endpoint
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.metrics import Metrics
from director_wsgi.runtime.outgoing import MakeClient
from director_wsgi.runtime.redirect_counters import RedirectCounters
from director_wsgi.trust.keyring import KeyRing
from director_wsgi.trust.self_issued import DISCOVER, SCRAPE, Guard
from director_wsgi.web import (
    advertisements,
    component_health,
    director_ui,
    discover_servers,
    discovery,
    families,
    fed_token,
    health_test,
    listings,
    metrics,
    probes,
    redirects,
    server_families,
    state_families,
)
from director_wsgi.web.addresses import TrustedProxies
from director_wsgi.web.entrance import JOB_ID, AnythingConverter, Entrance
from director_wsgi.web.long_answers import LongAnswers, share_of
from director_wsgi.web.probes import Probes
from director_wsgi.web.requests import RequestReader, Steering
from director_wsgi.web.responses import CORS, error_response, simple

__all__ = ["Director", "create_app"]

log = logging.getLogger(__name__)


def create_app(
    config: Config,
    *,
    clock: Clock = monotonic,
    wall: WallClock = system_wall,
    started_at: float | None = None,
    first_started_at: float | None = None,
    make_client: MakeClient | None = None,
    ring: KeyRing | None = None,
    state: State | None = None,
) -> Flask:
    """Build an application; its director is `app.extensions["director"]`, and wants to be started.

    Args:
        config: Checked.
        clock: Monotonic seconds, for everything inside.
        wall: Unix seconds, for what others have dated.
        started_at: Since when advertisements have been taken, on `clock`; None: now. The start-up window begins there,
            if no advertisements are known from before.
        first_started_at: When the director was first started, on `clock`; None: now. Outlives workers.
        make_client: Makes the clients of outbound calls; None: real ones.
        ring: The director's keys; None: those of the configuration. None are made here.
        state: What is shared with other workers, and outlives them; None: nothing.

    Raises:
        ConfigError: A key file cannot be read.
    """
    director = build(
        config,
        clock=clock,
        wall=wall,
        started_at=started_at,
        first_started_at=first_started_at,
        make_client=make_client,
        ring=ring,
        state=state,
    )
    counters = RedirectCounters()
    metadata = discovery.MetadataRequests()
    health = _component_health(director, wall)
    directors = _directors(config, clock, wall, first_started_at)
    director.vitals.tell_to(directors.tell_health)
    long_answers = Lanes(share_of(config.threads))
    shown = _metrics(director, counters, metadata, health, long_answers)
    app = Flask("director_wsgi", static_folder=None)
    app.extensions["director"] = director
    told = app.extensions["probes"] = Probes(
        readiness=director.readiness, metrics=shown, guard=_metrics_guard(director, wall)
    )
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # the last route answers OPTIONS for every path
    app.url_map.merge_slashes = False
    app.url_map.converters["anything"] = AnythingConverter
    _register_errors(app)
    for routes in (
        _advertisements(director, clock),
        listings.blueprint(snapshot=director.directory.snapshot, directors=directors, wall=wall),
        probes.blueprint(told),
        discovery.blueprint(_discovery(director), requests=metadata, proxies=TrustedProxies(config.trusted_proxies)),
        fed_token.blueprint(director.fed_tokens, timeout_s=config.registry_timeout_s, clock=clock),
        health_test.blueprint(),
        director_ui.blueprint(
            snapshot=director.directory.snapshot,
            facts=_facts(director, wall),
            contact_email=config.support_contact_email,
            contact_url=config.support_contact_url,
        ),
        discover_servers.blueprint(
            snapshot=director.directory.snapshot,
            settling=_settling(director),
            door=director.guard_for(DISCOVER, wall),
        ),
        component_health.blueprint(
            health, door=None if config.health_monitoring_public else director.guard_for(SCRAPE, wall)
        ),
        metrics.blueprint(shown, guard=_metrics_guard(director, wall)),
        _redirects(director, counters, clock, wall),  # last: it takes what no other route takes
    ):
        app.register_blueprint(routes)
    sending = LongAnswers(app.wsgi_app, lanes=long_answers, proxies=TrustedProxies(config.trusted_proxies), clock=clock)
    app.wsgi_app = Entrance(sending)  # type: ignore[method-assign]
    return app


def _advertisements(director: Director, clock: Clock) -> Blueprint:
    return advertisements.blueprint(
        director.admission,
        director.engine,
        max_bytes=director.config.max_advertisement_bytes,
        timeout_s=director.config.registry_timeout_s,
        clock=clock,
    )


def _redirects(director: Director, counters: RedirectCounters, clock: Clock, wall: WallClock) -> Blueprint:
    config = director.config
    return redirects.blueprint(
        redirects.Redirects(
            resolver=director.resolver,
            reader=RequestReader(
                redirect_deadline_s=config.redirect_deadline_s,
                proxies=TrustedProxies(config.trusted_proxies),
                clients=director.clients,
                clock=clock,
                wall=wall,
            ),
            engine=director.engine,
            steering=Steering(
                origin_hostnames=frozenset(config.origin_response_hostnames),
                cache_hostnames=frozenset(config.cache_response_hostnames),
            ),
            default=Endpoint.ORIGIN if config.default_response == "origin" else Endpoint.OBJECT,
            counters=counters,
            clock=clock,
        )
    )


def _directors(config: Config, clock: Clock, wall: WallClock, started_at: float | None) -> Directors:
    return Directors(
        name=config.sitename,
        advertise_url=config.advertise_url,
        version=__version__,
        lifetime_s=config.ad_lifetime_s,
        started_at=started_at,
        clock=clock,
        wall_clock=wall,
    )


def _facts(director: Director, wall: WallClock) -> director_ui.Facts:
    directory, filters = director.directory, director.filters

    def filtered(name: str) -> str:
        reason = filters.reason(name)
        return reason.value if reason else ""

    def status_weight(data_url: str) -> tuple[float, float] | None:
        weight, age_s = directory.status_weight(data_url), directory.status_age_s(data_url)
        return None if weight is None or age_s is None else (weight, wall() - age_s)

    return director_ui.Facts(
        filtered=filtered,
        downtimes=lambda name: [downtime.wire() for downtime in filters.downtimes(name)],
        health=lambda server: director.tests.status_of(server).value,
        io_load=director.loads.of,
        status_weight=status_weight,
    )


def _settling(director: Director) -> discover_servers.Settling:
    return discover_servers.Settling(
        settling_s=min(director.config.startup_window_s, discover_servers.SETTLING_S),
        age_s=director.window.age_s,
        has_registry=lambda: director.prefixes.loaded,
    )


def _component_health(director: Director, wall: WallClock) -> component_health.ComponentHealth:
    registry = component_health.registry(
        director.prefixes,
        lambda: director.inquiries.silent_s,
        interval_s=director.config.registry_query_interval_s,
    )
    return component_health.ComponentHealth(
        (
            component_health.web_engine,
            registry,
            component_health.issuer_keys(lambda: director.ring.signing_key() is not None),
            component_health.director_tests(lambda: director.tests.are_running),
        ),
        wall=wall,
    )


def _metrics(
    director: Director,
    counters: RedirectCounters,
    metadata: discovery.MetadataRequests,
    health: component_health.ComponentHealth,
    long_answers: Lanes,
) -> Metrics:
    shown = director.metrics
    shown.only_of(server_families.advertised(director))
    for collect in (
        families.build,
        families.federation(director.directory),
        families.tables(director.directory, director.filters, director.tests, director.engine, director.inquiries),
        counters.collect,
        families.stat(director.engine, director.directory),
        families.clients(director.clients),
        families.long_answers(long_answers),
        families.trust(director.admission, director.inquiries, director.prefixes),
        families.keys(director.fed_tokens, director.federation_keys),
        metadata.collect,
        families.leases(director.leases),
        state_families.of(director.state, director.shared_ads),
        server_families.advertisements(director.admission),
        server_families.director_tests(director.tests),
        health.collect,
        probes.families(director.readiness),
        families.places(director.places),
    ):
        shown.add(collect)
    return shown


def _metrics_guard(director: Director, wall: WallClock) -> Guard | None:
    return director.guard_for(SCRAPE, wall) if director.config.metric_authorization else None


def _discovery(director: Director) -> discovery.Discovery:
    config = director.config
    return discovery.Discovery(
        discovery_url=config.discovery_url,
        director_url=config.director_url,
        director_urls=config.director_urls,
        registry_url=config.registry_url,
        jwk_url=config.jwk_url,
        broker_url=config.broker_url,
        jwks=director.ring.jwks,
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
