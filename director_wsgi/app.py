"""`create_app`: a director behind Flask's routes."""

import logging

from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import HTTPException

from director_wsgi import __version__
from director_wsgi.director import Director, MakeClient, build
from director_wsgi.errors import DirectorError
from director_wsgi.federation.directors import Directors
from director_wsgi.limits.deadline import Clock, WallClock, monotonic
from director_wsgi.limits.deadline import wall as system_wall
from director_wsgi.redirect.request import Endpoint
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.metrics import Metrics, RedirectCounters
from director_wsgi.trust.issuer import IssuerKey, load_issuer_keys, public_jwks
from director_wsgi.trust.self_issued import SCRAPE, Guard
from director_wsgi.web import advertisements, discovery, families, health_test, listings, metrics, redirects
from director_wsgi.web.addresses import TrustedProxies
from director_wsgi.web.entrance import JOB_ID, AnythingConverter, Entrance
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
    make_client: MakeClient | None = None,
) -> Flask:
    """Build an application; its director is `app.extensions["director"]`, and wants to be started.

    Args:
        config: Checked.
        clock: Monotonic seconds, for everything inside.
        wall: Unix seconds, for what others have dated.
        started_at: When the director was first started, on `clock`; None: now. Lasts over restarts of a worker.
        make_client: Makes the clients of outbound calls; None: real ones.

    Raises:
        ConfigError: A key file cannot be read.
    """
    keys = load_issuer_keys(config.issuer_keys_directory, config.issuer_key)
    director = build(config, clock=clock, wall=wall, started_at=started_at, make_client=make_client)
    counters = RedirectCounters()
    app = Flask("director_wsgi", static_folder=None)
    app.extensions["director"] = director
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # the last route answers OPTIONS for every path
    app.url_map.merge_slashes = False
    app.url_map.converters["anything"] = AnythingConverter
    _register_errors(app)
    for routes in (
        _advertisements(director, clock),
        listings.blueprint(snapshot=director.directory.snapshot, directors=_directors(config, clock, wall), wall=wall),
        discovery.blueprint(_discovery(config, keys)),
        health_test.blueprint(),
        metrics.blueprint(_metrics(director, counters), guard=_metrics_guard(config, keys, wall)),
        _redirects(director, counters, clock, wall),  # last: it takes what no other route takes
    ):
        app.register_blueprint(routes)
    app.wsgi_app = Entrance(app.wsgi_app)  # type: ignore[method-assign]
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


def _directors(config: Config, clock: Clock, wall: WallClock) -> Directors:
    return Directors(
        name=config.sitename,
        advertise_url=config.advertise_url,
        version=__version__,
        lifetime_s=config.ad_lifetime_s,
        clock=clock,
        wall_clock=wall,
    )


def _metrics(director: Director, counters: RedirectCounters) -> Metrics:
    shown = Metrics()
    for collect in (
        families.build,
        families.federation(director.directory, filtered_names=director.config.filtered_servers),
        counters.collect,
        families.stat(director.engine, director.directory, threads=director.config.stat_threads),
        families.clients(director.clients),
        families.trust(director.admission, director.inquiries, director.prefixes),
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
