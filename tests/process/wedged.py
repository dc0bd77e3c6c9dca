"""The director as it is, but with decisions that do not end for as long as a file is there; see `test_admin`."""

import os
import time
from pathlib import Path
from typing import Final

from director_wsgi.redirect.matching import Match
from director_wsgi.redirect.prepared import Prepared
from director_wsgi.redirect.request import ObjectRequest
from director_wsgi.redirect.resolver import Resolver

FILE_VARIABLE: Final = "WEDGED"

if FILE_VARIABLE in os.environ:
    from director_wsgi.wsgi import application  # noqa: F401, for gunicorn

    _match = Resolver._match

    def _wait_and_match(self: Resolver, request: ObjectRequest, prepared: Prepared) -> Match:
        while Path(os.environ[FILE_VARIABLE]).exists():
            time.sleep(0.05)
        return _match(self, request, prepared)

    Resolver._match = _wait_and_match  # type: ignore[method-assign]
