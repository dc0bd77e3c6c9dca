"""The director as it is, knowing a federation whose listings are long from its first request on; see `test_listings`."""

import os
from typing import Final

from tests.make import cache, namespace, origin

FILL_VARIABLE: Final = "LISTED_SERVERS"
CACHES: Final = 300
PREFIXES = [f"/federation/project-{number:04d}" for number in range(1000)]
NAMES = [f"SERVER {number:03d}" for number in range(CACHES + 1)]


def fill() -> None:
    """An origin, and caches that all serve the same."""
    namespaces = [namespace(prefix) for prefix in PREFIXES]
    for number, name in enumerate(NAMES):
        url = f"https://server-{number}.example.org:8443"
        make = cache if number else origin
        ad = make(name, *namespaces, data_url=url, base_url=url, director_test_disabled=True)
        application.extensions["director"].directory.record(ad, 86_400.0)


if FILL_VARIABLE in os.environ:
    from director_wsgi.wsgi import application

    fill()
