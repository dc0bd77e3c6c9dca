"""The director as in `soaked`, and a place that holds a handler thread for as long as a file is there."""

import os
import time
from pathlib import Path
from typing import Any, Final

from tests.process.soaked import SERVERS_VARIABLE

PREFIX: Final = "/held-while-there-is"

if SERVERS_VARIABLE in os.environ:
    from tests.process.soaked import application

    _application = application.wsgi_app

    def _wait_and_answer(environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        while path.startswith(PREFIX) and Path(path.removeprefix(PREFIX)).exists():
            time.sleep(0.02)
        return _application(environ, start_response)

    application.wsgi_app = _wait_and_answer
