"""The director as it is, knowing the origins of `stats_scene` from its first request on.

Only the advertisements come in by a shorter way: no registry is asked about each.
"""

import json
import os
from collections.abc import Sequence

from benchmarks.stats_scene import NAMESPACES
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.models import Capabilities, NamespaceAd, ServerAd, ServerKind

ORIGINS_VARIABLE = "DIRECTOR_BENCHMARK_ORIGINS"
"""The environment variable with the origins' base URLs, in their order, as a JSON list."""

_LIFETIME_S = 3600.0
_ALLOWED = Capabilities(public_reads=True, reads=True, listings=True, direct_reads=True)


def fill(directory: Directory, base_urls: Sequence[str]) -> None:
    """Record an advertisement of every origin."""
    for number, url in enumerate(base_urls):
        prefixes = [prefix for prefix, origins in NAMESPACES.items() if number in origins]
        ad = ServerAd(
            kind=ServerKind.ORIGIN,
            name=f"origin-{number:02}",
            data_url=url,
            base_url=url,
            capabilities=_ALLOWED,
            namespaces=tuple(NamespaceAd(path=prefix, capabilities=_ALLOWED) for prefix in prefixes),
            director_test_disabled=True,
        )
        directory.record(ad, _LIFETIME_S)


if ORIGINS_VARIABLE in os.environ:
    from director_wsgi.wsgi import application

    fill(application.extensions["director"].directory, json.loads(os.environ[ORIGINS_VARIABLE]))
