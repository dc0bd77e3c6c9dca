"""From a configuration to what serves by it; and how what outlives it takes it over.

`provision` makes what belongs to one configuration alone. It may fail, and changes nothing. `adopt` tells the parts
that outlive configurations what the operator has decided now. It cannot fail.
"""

import random
from functools import partial

from director_wsgi.director import Director, Serving
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.models import ServerAd
from director_wsgi.health.io_load import IoLoads
from director_wsgi.policies import redirect_policy
from director_wsgi.redirect.resolver import Resolver
from director_wsgi.redirect.weights import Health
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.generations import Holdings
from director_wsgi.stat.engine import StatEngine


def provision(director: Director, config: Config, holdings: Holdings) -> Serving:  # noqa: ARG001, so far nothing has
    """Make what serves by `config`.

    On the thread of a reload, or of the start: files are read here.

    Args:
        director: The parts that it works with.
        config: Checked.
        holdings: Whatever has an end of its own is acquired from these.

    Raises:
        ConfigError: It cannot be made, and the sentence says why.
    """
    resolver = Resolver(
        policy=redirect_policy(config),
        snapshot=director.directory.snapshot,
        ask=director.engine.ask,
        places=director.places.clients,
        is_starting=director.window.is_open,
        generator=random.Random(),
        health_of=partial(_health_of, director.engine, director.directory, director.loads),
    )
    return Serving(config=config, resolver=resolver)


def adopt(director: Director, serving: Serving) -> None:
    """Put `serving` in force for all that is not the business of one request."""
    director.present.serving = serving


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
