"""`create_app`: a director behind Flask's routes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from flask import Flask

from director_wsgi import __version__, routes
from director_wsgi.assembly import build
from director_wsgi.director import Director, Serving
from director_wsgi.federation.directors import Directors
from director_wsgi.federation.state import State
from director_wsgi.limits.deadline import Clock, Deadline, WallClock, monotonic
from director_wsgi.limits.deadline import wall as system_wall
from director_wsgi.limits.lanes import Lanes
from director_wsgi.provisioning import adopt, provision
from director_wsgi.routes import Kept
from director_wsgi.runtime.at_once import AT_ONCE
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.generations import Generation, Generations, Holdings
from director_wsgi.runtime.log import set_level
from director_wsgi.runtime.metrics import Metrics
from director_wsgi.runtime.outgoing import MakeClient
from director_wsgi.runtime.redirect_counters import RedirectCounters
from director_wsgi.trust.keyring import KeyRing
from director_wsgi.web import (
    component_health,
    discovery,
    families,
    probes,
    server_families,
    state_families,
    tracing_families,
)
from director_wsgi.web.entrance import Entrance
from director_wsgi.web.long_answers import share_of
from director_wsgi.web.probes import Probes

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["Director", "Served", "create_app"]

PROVISION_S = 30.0
"""How long the making of a generation may wait for others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What one generation answers with.

    Attributes:
        serving: The parts beneath the routes.
        application: The routes.
        entrance: Before them.
    """

    serving: Serving
    application: Flask
    entrance: Entrance


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

    Its routes are those of the generation in force (`app.extensions["generations"]`). `app.extensions["reload"]` takes
    another configuration, puts it in force and returns the number of its generation; or raises, and nothing has
    changed. It is for one thread, and not for that of a request.

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
    kept = _kept(config, director, clock, wall, first_started_at)
    make = partial(_make, director=director, kept=kept, clock=clock, wall=wall)
    generations = Generations(director.leases, partial(make, config), deadline=Deadline.after(PROVISION_S, clock))
    _adopt(generations.current.value, director=director, kept=kept)

    def reload(config: Config) -> int:
        generations.replace(
            partial(make, config),
            adopt=partial(_adopt, director=director, kept=kept),
            deadline=Deadline.after(PROVISION_S, clock),
        )
        set_level(config.log_level)
        return generations.current.number

    app = Flask("director_wsgi", static_folder=None)
    doorway = Doorway(generations)
    app.extensions |= {"director": director, "generations": generations, "probes": kept.probes, "reload": reload}
    app.extensions[AT_ONCE] = doorway.answer_at_once
    app.wsgi_app = doorway  # type: ignore[method-assign]
    return app


class Doorway:
    """WSGI application: each request is answered by the generation in force when it came. Runs on a handler thread."""

    def __init__(self, generations: Generations[Served]) -> None:
        self._generations = generations

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request; its generation is held until the answer has been sent."""
        generation = self._generations.enter()
        try:
            body = generation.value.application.wsgi_app(environ, start_response)
        except BaseException:
            generation.leave()
            raise
        return _Held(body, generation)

    def answer_at_once(self, environ: "WSGIEnvironment") -> "WSGIApplication | None":
        """What says the answer, all of it, if nothing has to be waited for; else None: the application is to be called.

        For the thread that reads requests, which may not wait. What it declines is neither counted nor kept.
        """
        generation = self._generations.enter()
        try:
            return generation.value.entrance.answer_at_once(environ)
        finally:
            generation.leave()


class _Held:
    """The body of an answer. Its generation is left when it has been sent, whatever goes wrong at its end."""

    __slots__ = ("_body", "_generation")

    def __init__(self, body: Iterable[bytes], generation: Generation[Served]) -> None:
        self._body = body
        self._generation = generation

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        """The server is done with it; called once."""
        try:
            if close := getattr(self._body, "close", None):
                close()
        finally:
            self._generation.leave()


def _make(
    config: Config, holdings: Holdings, *, director: Director, kept: Kept, clock: Clock, wall: WallClock
) -> Served:
    serving = provision(director, config, holdings)
    application, entrance = routes.build(
        config, serving.resolver, serving.tracer, director=director, kept=kept, clock=clock, wall=wall
    )
    return Served(serving=serving, application=application, entrance=entrance)


def _adopt(served: Served, *, director: Director, kept: Kept) -> None:
    adopt(director, served.serving)
    config = served.serving.config
    kept.directors.adopt(advertise_url=config.advertise_url, lifetime_s=config.ad_lifetime_s)


def _kept(config: Config, director: Director, clock: Clock, wall: WallClock, first_started_at: float | None) -> Kept:
    counters = RedirectCounters()
    metadata = discovery.MetadataRequests()
    health = _component_health(director, wall)
    directors = Directors(
        name=config.sitename,
        advertise_url=config.advertise_url,
        version=__version__,
        lifetime_s=config.ad_lifetime_s,
        started_at=first_started_at,
        clock=clock,
        wall_clock=wall,
    )
    director.vitals.tell_to(directors.tell_health)
    long_answers = Lanes(share_of(config.threads))
    metrics = _metrics(director, counters, metadata, health, long_answers)
    return Kept(
        counters=counters,
        metadata=metadata,
        health=health,
        directors=directors,
        long_answers=long_answers,
        metrics=metrics,
        probes=Probes(
            readiness=director.readiness,
            metrics=metrics,
            guard=lambda: routes.metrics_guard(director.present.config, director, wall),
        ),
    )


def _component_health(director: Director, wall: WallClock) -> component_health.ComponentHealth:
    registry = component_health.registry(
        director.prefixes,
        lambda: director.inquiries.silent_s,
        interval_s=lambda: director.present.config.registry_query_interval_s,
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
        tracing_families.of(director.spans, lambda: director.present.serving.tracer),
        state_families.of(director.state, director.shared_ads),
        server_families.advertisements(director.admission),
        server_families.director_tests(director.tests),
        health.collect,
        probes.families(director.readiness),
        families.places(director.places),
    ):
        shown.add(collect)
    return shown
