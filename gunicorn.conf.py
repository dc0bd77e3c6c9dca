"""gunicorn's settings: `director_wsgi/runtime/process.py`."""

import importlib
import sys

_SETTINGS = "director_wsgi.runtime.process"
if _SETTINGS in sys.modules:
    # gunicorn runs this file again on HUP, when the import alone would find the settings as they were.
    importlib.reload(sys.modules[_SETTINGS])

from director_wsgi.runtime.process import *  # noqa: E402, F403
