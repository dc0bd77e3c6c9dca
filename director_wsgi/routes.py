"""The routes: one Flask application for each configuration.

What a route counts outlives it: the counters, the tables and the listing of directors are kept (`Kept`) and handed to
the next application. Making one starts nothing.
"""

import logging
from dataclasses import dataclass
from functools import partial

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from director_wsgi.director import Director
from director_wsgi.errors import DirectorError
from director_wsgi.federation.directors import Directors
from director_wsgi.limits.deadline import Clock, WallClock
from director_wsgi.limits.lanes import Lanes
from director_wsgi.redirect.request import Endpoint
from director_wsgi.redirect.resolver import Resolver
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.metrics import Metrics
from director_wsgi.runtime.redirect_counters import RedirectCounters
from director_wsgi.runtime.tracing.tracer import Tracer
from director_wsgi.trust.self_issued import DISCOVER, SCRAPE, Guard
from director_wsgi.web import (
    advertisements,
    component_health,
    director_ui,
    discover_servers,
    discovery,
    fed_token,
    health_test,
    listings,
    metrics,
    probes,
    redirects,
    tracing,
)
from director_wsgi.web.addresses import TrustedProxies
from director_wsgi.web.entrance import JOB_ID, AnythingConverter, Entrance, MatchedRule
from director_wsgi.web.front import Front, taken_by_others
from director_wsgi.web.long_answers import LongAnswers
from director_wsgi.web.probes import Probes
from director_wsgi.web.requests import RequestReader, Steering
from director_wsgi.web.responses import CORS, error_response, simple

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What routes share with those of the next configuration."""

    counters: RedirectCounters
    metadata: discovery.MetadataRequests
    health: component_health.ComponentHealth
    directors: Directors
    long_answers: Lanes
    metrics: Metrics
    probes: Probes


def build(
    config: Config,
    resolver: Resolver,
    tracer: Tracer | None = None,
    *,
    director: Director,
    kept: Kept,
    clock: Clock,
    wall: WallClock,
) -> tuple[Flask, Entrance]:
    """The application that answers by `config`, and its entrance.

    Args:
        config: Checked.
        resolver: Made for the same.
        tracer: The same; None: nothing is traced.
        director: The parts.
        kept: What was there before, and will be after.
        clock: Monotonic seconds.
        wall: Unix seconds.
    """
    app = Flask("director_wsgi", static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # the last route answers OPTIONS for every path
    app.url_rule_class = MatchedRule
    app.url_map.merge_slashes = False
    app.url_map.converters["anything"] = AnythingConverter
    _register_errors(app)
    proxies = TrustedProxies(config.trusted_proxies)
    answering = redirects.Redirects(
        resolver=resolver,
        reader=_reader(config, director, clock, wall),
        engine=director.engine,
        steering=Steering(
            origin_hostnames=frozenset(config.origin_response_hostnames),
            cache_hostnames=frozenset(config.cache_response_hostnames),
        ),
        default=Endpoint.ORIGIN if config.default_response == "origin" else Endpoint.OBJECT,
        counters=kept.counters,
        clock=clock,
    )
    for routes in (
        advertisements.blueprint(
            director.admission,
            director.engine,
            max_bytes=config.max_advertisement_bytes,
            timeout_s=config.registry_timeout_s,
            clock=clock,
        ),
        listings.blueprint(snapshot=director.directory.snapshot, directors=kept.directors, wall=wall),
        probes.blueprint(kept.probes),
        discovery.blueprint(_discovery(config, director), requests=kept.metadata, proxies=proxies),
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
            settling=_settling(config, director),
            door=director.guard_for(DISCOVER, wall),
        ),
        component_health.blueprint(
            kept.health, door=None if config.health_monitoring_public else director.guard_for(SCRAPE, wall)
        ),
        metrics.blueprint(kept.metrics, guard=metrics_guard(config, director, wall)),
        redirects.blueprint(answering),  # last: it takes what no other route takes
    ):
        app.register_blueprint(routes)
    app.url_map.update()  # else the first request would sort the rules
    answers = app.wsgi_app if tracer is None else tracing.noting_route(app.wsgi_app)
    guarded = partial(LongAnswers, lanes=kept.long_answers, proxies=proxies, clock=clock)
    front = Front(answering, taken_by_others(app.url_map, besides=redirects.ENDPOINT), guarded)
    entrance = Entrance(guarded(answers), tracer, front.answer)
    app.wsgi_app = entrance  # type: ignore[method-assign]
    return app, entrance


def metrics_guard(config: Config, director: Director, wall: WallClock) -> Guard | None:
    """Who may see the metrics; None: everybody."""
    return director.guard_for(SCRAPE, wall) if config.metric_authorization else None


def _reader(config: Config, director: Director, clock: Clock, wall: WallClock) -> RequestReader:
    return RequestReader(
        redirect_deadline_s=config.redirect_deadline_s,
        proxies=TrustedProxies(config.trusted_proxies),
        clients=director.clients,
        clock=clock,
        wall=wall,
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
        downtimes=filters.downtimes,
        health=lambda server: director.tests.status_of(server).value,
        io_load=director.loads.of,
        status_weight=status_weight,
    )


def _settling(config: Config, director: Director) -> discover_servers.Settling:
    return discover_servers.Settling(
        settling_s=min(config.startup_window_s, discover_servers.SETTLING_S),
        age_s=director.window.age_s,
        has_registry=lambda: director.prefixes.loaded,
    )


def _discovery(config: Config, director: Director) -> discovery.Discovery:
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
