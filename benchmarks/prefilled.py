"""A director that knows a whole federation from its first request on: what the redirects are measured with.

Everything is the director's own, its start included. Only the advertisements come in by a shorter way: their bodies
are parsed as those of a POST are, and go into the directory without asking a registry about each.
"""

import os

from benchmarks import federations
from benchmarks.federations import Size
from director_wsgi.federation.ads import parse_ad
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.models import ServerKind


def fill(directory: Directory, size: Size) -> None:
    """Record every advertisement of a federation."""
    lifetime_s = federations.AD_LIFETIME.total_seconds()
    for body in federations.origin_ads(size):
        directory.record(parse_ad(federations.encode(body), ServerKind.ORIGIN).ad, lifetime_s)
    for number in range(size.caches):
        body = federations.cache_ad(size, number)
        directory.record(parse_ad(federations.encode(body), ServerKind.CACHE).ad, lifetime_s)


if "DIRECTOR_BENCHMARK_FEDERATION" in os.environ:
    from director_wsgi.wsgi import application

    fill(application.extensions["director"].directory, federations.SIZES[os.environ["DIRECTOR_BENCHMARK_FEDERATION"]])
