"""`application`, for gunicorn and the settings of `runtime.process`.

Nothing is started by importing it: `runtime.process.post_worker_init` does that, in the worker. So without those
settings there would be a director that never does its work, behind limits too small for tokens and under another
`Server`; it is refused. Under another WSGI server, call `app.create_app` and the director's `start` yourself.
"""

import os
from pathlib import Path

from flask import Flask

from director_wsgi.app import create_app
from director_wsgi.errors import ConfigError
from director_wsgi.runtime import start

_WITHOUT_SETTINGS = (
    "started without its settings; expected: gunicorn -c gunicorn.conf.py director_wsgi.wsgi:application "
    "(or -c python:director_wsgi.runtime.process)"
)


def _application() -> Flask:
    if not start.is_prepared():
        start.refuse((_WITHOUT_SETTINGS,), start.CANNOT_LOAD)
    try:
        config = start.worker_config(os.environ, Path.cwd())
    except ConfigError as error:
        start.refuse(error.problems, start.CANNOT_LOAD)
    return create_app(config, started_at=start.first_start_at(os.environ))


application = _application()
