"""The director as it is, knowing the origins of `scene` from its first request on.

Only the advertisements come in by a shorter way: no registry is asked about each, and they ask for no director tests,
which the design beside it does not make. And origins are spoken to without TLS, as there, so that what is compared is
who waits for what.
"""

import os
from pathlib import Path

from director_wsgi.app import create_app
from director_wsgi.demo.scene import NAMESPACES, PORTS_VARIABLE, base_urls
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.models import Capabilities, NamespaceAd, ServerAd, ServerKind
from director_wsgi.runtime import start

LIFETIME_S = 3600.0
_ALLOWED = Capabilities(public_reads=True, reads=True, listings=True, direct_reads=True)


def fill(directory: Directory, urls: list[str]) -> None:
    """Record an advertisement of every origin at these base URLs."""
    for number, url in enumerate(urls):
        prefixes = [prefix for prefix, origins in NAMESPACES.items() if number in origins]
        ad = ServerAd(
            kind=ServerKind.ORIGIN,
            name=f"origin-{number + 1}",
            data_url=url,
            base_url=url,
            capabilities=_ALLOWED,
            namespaces=tuple(NamespaceAd(path=prefix, capabilities=_ALLOWED) for prefix in prefixes),
            director_test_disabled=True,
        )
        directory.record(ad, LIFETIME_S)


if PORTS_VARIABLE in os.environ:
    application = create_app(start.worker_config(os.environ, Path.cwd()))
    fill(application.extensions["director"].directory, base_urls(os.environ[PORTS_VARIABLE]))
