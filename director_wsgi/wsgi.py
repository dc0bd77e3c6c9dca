"""`application`, for gunicorn and the settings of `runtime.process`.

Nothing is started by importing it: `runtime.process.post_worker_init` does that, in the worker. So without those
settings there would be a director that never does its work, behind limits too small for tokens and under another
`Server`; it is refused. Under another WSGI server, call `app.create_app` and the director's `start` yourself.
"""

import contextlib
import logging
import os
from pathlib import Path

from flask import Flask

from director_wsgi.app import create_app
from director_wsgi.assembly import PASSING, key_ring
from director_wsgi.director import Director
from director_wsgi.errors import ConfigError
from director_wsgi.federation.state import State
from director_wsgi.limits.deadline import monotonic, wall
from director_wsgi.reload_records import CONFIGURATION, LOOK, Read
from director_wsgi.reloading import Reloads
from director_wsgi.runtime import start, worker_families
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.reading import Reading
from director_wsgi.trust.key_files import ensure_key, loose_permissions
from director_wsgi.trust.keyring import KeyRing
from director_wsgi.web import configuration_families

log = logging.getLogger(__name__)

_WITHOUT_SETTINGS = (
    "started without its settings; expected: gunicorn -c gunicorn.conf.py director_wsgi.wsgi:application "
    "(or -c python:director_wsgi.runtime.process)"
)


def _application() -> Flask:
    if not start.is_prepared():
        start.refuse((_WITHOUT_SETTINGS,), start.CANNOT_LOAD)
    try:
        config = start.worker_config(os.environ, Path.cwd())
        ring = _keys(config, must_be_in_order=start.is_first_worker())
    except ConfigError as error:
        start.refuse(error.problems, start.CANNOT_LOAD)
    app = _made(config, ring)
    reading = start.reading()
    if reading is not None:  # always, in a worker of the director's settings
        app.extensions["reloads"] = _reloads(app, reading)
    return app


def _made(config: Config, ring: KeyRing) -> Flask:
    """The application by `config`; or by a later configuration, if the master's cannot be used any more.

    Raises:
        ConfigError: None can.
    """
    try:
        return _made_by(config, ring)
    except ConfigError as error:
        problems = error.problems
    for later in start.later_configs(os.environ, Path.cwd()):
        with contextlib.suppress(ConfigError):
            app = _made_by(later, ring)
            log.warning("A later configuration is used, since the master's cannot be any more: %s", "; ".join(problems))
            return app
    raise ConfigError(problems)


def _made_by(config: Config, ring: KeyRing) -> Flask:
    return create_app(config, first_started_at=start.first_start_at(os.environ), ring=ring, state=_state(config))


def _reloads(app: Flask, reading: Reading) -> Reloads:
    """What keeps this worker's configuration that of all; started and ended with the worker."""
    director: Director = app.extensions["director"]
    reloads = Reloads(
        first=Read(reading=reading, read_at=start.read_at()),
        sources=start.sources(Path.cwd()),
        environ=os.environ,
        cwd=Path.cwd(),
        told=director.replica,
        apply=app.extensions["reload"],
        complete=start.complete,
        keep=lambda reading: start.keep(reading, Path.cwd()),
        complaint=start.complaint(),
        clock=monotonic,
        wall=wall,
    )
    for kind in (CONFIGURATION, LOOK):
        director.replica.follow(kind, reloads)
    director.present.reloads = reloads
    director.metrics.add(worker_families.families)
    director.metrics.add(configuration_families.of(reloads, app.extensions["generations"]))
    return reloads


def _state(config: Config) -> State:
    return State.none() if config.state_location is None else State.at(config.state_location, passing=PASSING)


def _keys(config: Config, *, must_be_in_order: bool) -> KeyRing:
    """The director's keys; a first one is made if there is none.

    Raises:
        ConfigError: They are not in order, or none can be made. Only if `must_be_in_order`: later a director without
            keys is better than none.
    """
    try:
        made = ensure_key(config.issuer_keys_directory, config.issuer_key)
    except ConfigError as error:
        if must_be_in_order:
            raise
        log.error("%s", error)  # noqa: TRY400, the trace says nothing more
    else:
        if made is not None:
            log.info("Made a first issuer key: %s", made)
    warning = loose_permissions(config.issuer_keys_directory)
    if warning is not None and start.speaks_for_all():
        log.warning("%s", warning)
    return key_ring(config, wall, strict=must_be_in_order)


application = _application()
