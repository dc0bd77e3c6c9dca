"""What tracing costs a redirect that asks two origins: off, on with nothing sampled, on with everything sampled.

Three directors in this process, with the same two origins and a collector in processes of their own, answer requests
for objects that nobody has asked for before. All CPU time of this process counts: that of the threads that ask, and of
the one that sends spans. The rivals take turns in short rounds, and of the proportions within the rounds the median
counts. A second figure is for requests that memory answers: those cost least, so whatever is added shows most.
"""

import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

from flask import Flask

from benchmarks.head import _serve as serve_heads
from director_wsgi.app import create_app
from director_wsgi.director import Director
from director_wsgi.federation.models import Capabilities, NamespaceAd, ServerAd, ServerKind
from director_wsgi.runtime.config import Config

RIVALS: dict[str, dict[str, Any]] = {
    "off": {},
    "ratio 0": {"tracing_enabled": True, "tracing_ratio": 0.0},
    "ratio 1": {"tracing_enabled": True, "tracing_ratio": 1.0},
}
PREFIX = "/lab"

Ask = Callable[[str], None]


def measure(*, rounds: int = 15, redirects: int = 150) -> dict[str, float]:
    """Take the figures.

    Args:
        rounds: How often each rival has its turn.
        redirects: Of one turn.

    Returns:
        Microseconds of CPU per redirect, in keys that end in `µs`, and the proportion to the rival that does not trace,
        in keys that end in `ratio`; the same for what memory answers.
    """
    figures: dict[str, float] = {}
    with _rivals() as rivals:
        fresh = count()
        figures |= _compare(rivals, "asks two", rounds, redirects, lambda: f"{PREFIX}/{next(fresh):08}.dat")
        known = f"{PREFIX}/known.dat"
        figures |= _compare(rivals, "remembered", rounds, redirects, lambda: known)
    return figures


def _compare(
    rivals: dict[str, Ask], title: str, rounds: int, redirects: int, path: Callable[[], str]
) -> dict[str, float]:
    turns: dict[str, list[float]] = {name: [] for name in rivals}
    for ask in rivals.values():
        _turn(ask, redirects // 3, path)
    for number in range(rounds):
        order = list(rivals)
        for name in order[number % len(order) :] + order[: number % len(order)]:
            turns[name].append(_turn(rivals[name], redirects, path))
    base, *others = turns
    figures = {f"tracing, {title}, {name}, µs": statistics.median(costs) for name, costs in turns.items()}
    for name in others:
        proportions = [costs / without for costs, without in zip(turns[name], turns[base], strict=True)]
        figures[f"tracing, {title}, {name} to {base}, ratio"] = statistics.median(proportions)
    return figures


def _turn(ask: Ask, redirects: int, path: Callable[[], str]) -> float:
    """Microseconds of this process's CPU per redirect."""
    paths = [path() for _ in range(redirects)]
    before = time.process_time_ns()
    for one in paths:
        ask(one)
    return (time.process_time_ns() - before) / redirects / 1000


@contextmanager
def _rivals() -> Iterator[dict[str, Ask]]:
    with ExitStack() as stack:
        origins = [stack.enter_context(_child(serve_heads)) for _ in range(2)]
        collector = stack.enter_context(_child(_collect))
        ads = [_origin(number, port) for number, port in enumerate(origins)]
        yield {name: stack.enter_context(_director(ads, collector, settings)) for name, settings in RIVALS.items()}


def _origin(number: int, port: int) -> ServerAd:
    url = f"http://127.0.0.1:{port}"
    may = Capabilities(public_reads=True, reads=True, listings=True, direct_reads=True)
    namespace = NamespaceAd(path=PREFIX, capabilities=may)
    return ServerAd(
        kind=ServerKind.ORIGIN,
        name=f"origin-{number}",
        data_url=url,
        base_url=url,
        capabilities=may,
        namespaces=(namespace,),
    )


@contextmanager
def _director(ads: list[ServerAd], collector: int, settings: dict[str, Any]) -> Iterator[Ask]:
    config = Config(
        registry_url="https://127.0.0.1:1",
        web_url="https://director.example.org",
        redirect_deadline_s=5.0,
        tracing_endpoint=f"http://127.0.0.1:{collector}/v1/traces",
        **{"tracing_interval_s": 0.2, **settings},
    )
    app: Flask = create_app(config)
    director: Director = app.extensions["director"]
    for ad in ads:
        director.directory.record(ad, 3600)
    statuses: list[str] = []

    def start(status: str, _headers: object, _error: object = None) -> Callable[[bytes], object]:
        statuses[:] = [status]
        return lambda _data: None

    def ask(path: str) -> None:
        environ = {
            "REQUEST_METHOD": "GET",
            "RAW_URI": f"/api/v1.0/director/origin{path}",
            "PATH_INFO": path,
            "SERVER_NAME": "director",
            "SERVER_PORT": "8444",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "192.0.2.10",
            "HTTP_X_PELICAN_COORDINATE": "lat=43.07,long=-89.40",
            "wsgi.url_scheme": "https",
        }
        body = app.wsgi_app(environ, start)
        for _ in body:
            pass
        body.close()  # type: ignore[attr-defined]  # every answer of Flask's has one
        if not statuses[0].startswith("307"):
            raise RuntimeError(f"the director answered {statuses[0]}")

    try:
        yield ask
    finally:
        director.close()


@contextmanager
def _child(serve: Callable[[Connection], None]) -> Iterator[int]:
    """A server in a process of its own; its port."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there,), daemon=True)
    process.start()
    there.close()
    try:
        if not here.poll(30.0):
            raise RuntimeError("the server did not start")
        port: int = here.recv()
        yield port
    finally:
        process.terminate()
        process.join(10.0)
        here.close()


class _Taking(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take everything."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _collect(report: Connection) -> None:
    """Take spans, for ever."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Taking) as server:
        report.send(server.server_port)
        server.serve_forever()


def main() -> int:
    """Print the figures as a table."""
    for name, value in measure().items():
        print(f"{name:<60} {value:>10.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
