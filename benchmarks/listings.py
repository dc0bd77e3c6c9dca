"""What a listing costs in a worker: CPU time of the whole application in this process, without gunicorn and the socket.

Each is asked for three times over: as it was the last time, with its entity tag, and after a server has said something
new.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks import federations
from benchmarks.federations import Size
from benchmarks.figures import Figure, figure
from benchmarks.prefilled import fill
from director_wsgi.app import create_app
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.models import ServerAd, ServerKind
from director_wsgi.runtime.config import Config

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LIFETIME_S = 3600.0
LISTINGS = {
    "namespaces for caches": "/api/v2.0/director/listNamespaces",
    "servers": "/api/v1.0/director_ui/servers",
    "merged namespaces": "/api/v1.0/director_ui/namespaces",
}


@dataclass(frozen=True, slots=True)
class _Answer:
    status: str
    tag: str
    length: int
    cpu_ms: float


def measure(say: Callable[[str], None], *, rounds: int = 9, sizes: tuple[Size, ...] | None = None) -> list[Figure]:
    """Take the figures.

    Args:
        say: Told what is going on.
        rounds: Of each listing.
        sizes: Of the federations; all of them if None.
    """
    return [one for size in sizes or tuple(federations.SIZES.values()) for one in _of(size, say, rounds)]


def _of(size: Size, say: Callable[[str], None], rounds: int) -> Iterator[Figure]:
    say(f"listings: {size}")
    config = Config(registry_url="https://registry.example.org", web_url="https://director.example.org")
    app = create_app(config)
    director = app.extensions["director"]
    try:
        fill(director.directory, size)
        for name, path in LISTINGS.items():
            yield from _figures(f"{name}, {size}", app.wsgi_app, path, director.directory, rounds)
    finally:
        director.close()


def _figures(name: str, app: "WSGIApplication", path: str, directory: Directory, rounds: int) -> Iterator[Figure]:
    origin = next(ad for ad in directory.snapshot().servers.values() if ad.kind is ServerKind.ORIGIN)
    again, known, changed = [], [], []
    tag, length = "", 0
    for number in range(rounds):
        _say_something_new(directory, origin, number)
        told = _ask(app, path)
        changed.append(told.cpu_ms)
        tag, length = told.tag, told.length
        again.append(_ask(app, path).cpu_ms)
        unchanged = _ask(app, path, tag)
        if not unchanged.status.startswith("304"):
            raise AssertionError(f"{path}: {unchanged.status} in place of 304")
        known.append(unchanged.cpu_ms)
    yield figure(f"listing of {name}, again", "ms CPU", again, note=f"{length:,} bytes")
    yield figure(f"listing of {name}, 304", "ms CPU", known)
    yield figure(f"listing of {name}, after a server's status changed", "ms CPU", changed)


def _say_something_new(directory: Directory, ad: ServerAd, number: int) -> None:
    directory.record(replace(ad, status=("warning", "ok")[number % 2]), LIFETIME_S)


def _ask(app: "WSGIApplication", path: str, tag: str = "") -> _Answer:
    started: list[tuple[str, dict[str, str]]] = []

    def start(status: str, headers: list[tuple[str, str]], *_: object) -> Callable[[bytes], object]:
        started.append((status, dict(headers)))
        return lambda data: data

    environ = {
        "REQUEST_METHOD": "GET",
        "RAW_URI": path,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "REMOTE_ADDR": "192.0.2.1",
        "SERVER_NAME": "director.example.org",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "https",
        "wsgi.errors": sys.stderr,
        **({"HTTP_IF_NONE_MATCH": tag} if tag else {}),
    }
    began = time.thread_time()
    body = app(environ, start)
    length = sum(map(len, body))
    body.close()  # type: ignore[attr-defined]
    ended = time.thread_time()
    status, headers = started[0]
    return _Answer(status, headers["ETag"], length, (ended - began) * 1e3)
