"""The director as it is, knowing the servers of a soak from its first request on; see `soak`."""

import json
import os
from typing import Any, Final

from director_wsgi.federation.models import ServerAd
from tests.make import cache, origin

SERVERS_VARIABLE: Final = "SOAK_SERVERS"
ONE_OF_EACH: Final = [
    {"is_cache": False, "name": "O", "url": "https://o.example.org", "namespaces": ["/a"]},
    {"is_cache": True, "name": "C", "url": "https://c.example.org", "namespaces": ["/a"]},
]
"""An origin and a cache that nobody has to ask: what they have is redirected to at once."""

LIFETIME_S: Final = 86_400.0


def advertisement(row: dict[str, Any]) -> ServerAd:
    """What one server says of itself.

    Args:
        row: `is_cache`, `name`, `url`, and the `namespaces` that it serves.
    """
    make = cache if row["is_cache"] else origin
    return make(row["name"], *row["namespaces"], data_url=row["url"], base_url=row["url"], director_test_disabled=True)


if SERVERS_VARIABLE in os.environ:
    from director_wsgi.wsgi import application

    for row in json.loads(os.environ[SERVERS_VARIABLE]):
        application.extensions["director"].directory.record(advertisement(row), LIFETIME_S)
