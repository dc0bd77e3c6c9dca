"""From a configuration to what serves by it; and how what outlives it takes it over.

`provision` makes what belongs to one configuration alone. It may fail, and changes nothing. `adopt` tells the parts
that outlive configurations what the operator has decided now. It cannot fail.
"""

import random
from functools import partial
from pathlib import Path

from director_wsgi.director import Director, Serving
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.models import ServerAd
from director_wsgi.health.io_load import IoLoads
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import HttpClient, TlsTrust
from director_wsgi.policies import redirect_policy, stat_policy
from director_wsgi.redirect.geo import Overrides
from director_wsgi.redirect.maxmind import GeoDatabase
from director_wsgi.redirect.resolver import Resolver
from director_wsgi.redirect.weights import Health
from director_wsgi.runtime import start
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.generations import Holdings
from director_wsgi.runtime.tracing import tracer
from director_wsgi.runtime.tracing.spec import spec_of
from director_wsgi.runtime.tracing.tracer import Tracer
from director_wsgi.stat.engine import StatEngine
from director_wsgi.trust.admission import help_sentence


def provision(director: Director, config: Config, holdings: Holdings) -> Serving:
    """Make what serves by `config`.

    On the thread of a reload, or of the start: files are read here.

    Args:
        director: The parts that it works with.
        config: Checked.
        holdings: Whatever has an end of its own is acquired from these.

    Raises:
        ConfigError: It cannot be made, and the sentence says why.
    """
    terms = director.outgoing.prepare(config)
    database = holdings.acquire(("places", config.geoip_location), partial(_database, config.geoip_location), _close)
    resolver = Resolver(
        policy=redirect_policy(config),
        snapshot=director.directory.snapshot,
        ask=director.engine.ask,
        recall=director.engine.recall,
        places=director.places.clients,
        is_starting=director.window.is_open,
        generator=random.Random(),
        health_of=partial(_health_of, director.engine, director.directory, director.loads),
    )
    return Serving(
        config=config,
        resolver=resolver,
        database=database,
        terms=terms,
        tracer=_tracer(director, config, holdings),
    )


def _tracer(director: Director, config: Config, holdings: Holdings) -> Tracer | None:
    spec = spec_of(config)
    if spec is None:
        return None

    def connect(trust: TlsTrust | None) -> HttpClient:
        return director.outgoing.client(1, trust=trust)

    return holdings.acquire(("tracer", spec), partial(tracer.build, spec, connect, told=director.spans), tracer.close)


def adopt(director: Director, serving: Serving) -> None:
    """Put `serving` in force for all that is not the business of one request."""
    config = serving.config
    director.outgoing.adopt(serving.terms)
    director.engine.adopt(stat_policy(config))
    director.directory.adopt(status_time_constant_s=config.status_time_constant_s)
    director.filters.adopt(permanent=config.filtered_servers)
    director.directory.set_filtered(director.filters.filtered())
    director.places.adopt(_overrides(config), serving.database, config.ranking_seed)
    director.inquiries.adopt(timeout_s=config.registry_timeout_s)
    director.admission.adopt(
        default_lifetime_s=config.advertisement_ttl_s,
        help_text=help_sentence(
            contact_email=config.support_contact_email,
            contact_url=config.support_contact_url,
            web_url=config.web_url,
        ),
    )
    director.fed_tokens.adopt(lifetime_s=config.fed_token_lifetime_s)
    director.tests.adopt(interval_s=config.health_test_interval_s)
    director.trial.adopt(deadline_s=config.redirect_deadline_s)
    before = director.present.config
    director.present.adopt(serving)
    if before.registry_query_interval_s != config.registry_query_interval_s:
        for job in director.jobs:  # who sleeps by the old one would do so for up to a day
            job.wake()


def _overrides(config: Config) -> Overrides:
    return Overrides([(row.network, row.latitude, row.longitude) for row in config.geoip_overrides])


def _database(path: Path | None) -> GeoDatabase:
    """Read at once: a client of the first second is placed like any other."""
    database = GeoDatabase(path, says_missing=start.speaks_for_all())
    database.refresh()
    return database


def _close(_database: GeoDatabase, _deadline: Deadline) -> None:
    """A database is memory, and ends with the last who uses it."""


def _health_of(engine: StatEngine, directory: Directory, loads: IoLoads, server: ServerAd) -> Health:
    health = engine.health_of(server.data_url)
    breaker = health.breaker.snapshot() if health else None
    return Health(
        breaker=breaker.state if breaker else None,
        latency_s=health.latency_s if health else None,
        next_probe_in_s=breaker.next_probe_in_s if breaker else None,
        status_weight=directory.status_weight(server.data_url),
        io_load=loads.of(server.data_url),
    )
