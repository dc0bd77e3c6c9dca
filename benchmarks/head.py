"""What one question to a server costs the director's processor: a HEAD, and all that stands around it.

*A HEAD* is one call of our client, beside `requests` and bare `urllib3`. *A stat* is one call of the engine for an
object that nobody has asked for: memory, breaker, flight, slot, hand-over to the server's thread, the HEAD, evidence,
and back to who asked. Each in the clear and under TLS, over connections that are kept; and one HEAD over a connection
of its own, for what keeping them is worth.

The server, a loop over raw sockets in a process of its own, answers each request with the headers an XRootD origin
sends. CPU time of this process counts, so neither the server nor a busy machine is in the figures; like a worker, it
keeps to one processor. The rivals take turns in short rounds, and of the rounds the median counts.
"""

import itertools
import multiprocessing
import selectors
import socket
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import requests
import urllib3

from benchmarks.server import confined, cores
from director_wsgi.demo.certificates import Authority, TlsFiles
from director_wsgi.federation.models import ServerAd, ServerKind
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import HttpClient, NameResolver, Terms, TlsTrust
from director_wsgi.runtime.leases import Leases
from director_wsgi.stat.engine import StatEngine, StatPolicy

_ANSWER = (
    b"HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\nServer: XrootD/v5.8.4\r\nContent-Length: 1073741824\r\n"
    b"Accept-Ranges: bytes\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nAge: 3600\r\n"
    b"Cache-Control: max-age=60\r\n\r\n"
)
_FOLDER = "/lab-0042/set-0007/run-0123"
_TOKEN = "x" * 600
_HEADERS = {"Authorization": f"Bearer {_TOKEN}"}
_TIMEOUT_S = 2.0

Ask = Callable[[str], int | None]
"""Asks for one object and returns the status of the answer."""

RATIOS = (
    ("head, ours", "head, requests without environment"),
    ("head, ours", "head, requests"),
    ("head, ours", "head, urllib3"),
    ("stat", "head, urllib3"),
    ("TLS head, ours", "TLS head, urllib3"),
    ("TLS stat", "TLS head, urllib3"),
    ("TLS head, ours, a connection each", "TLS head, ours"),
)
"""Which cost is told in proportion to which."""


def measure(*, rounds: int = 15, heads: int = 200) -> dict[str, float]:
    """Take the figures.

    Args:
        rounds: How often each rival has its turn.
        heads: Questions of one turn.

    Returns:
        Microseconds of CPU per question, in keys that end in `µs`, and one cost in proportion to another (medians of
        the proportions within a round), in keys that end in `ratio`.
    """
    with _rivals() as rivals:
        turns: dict[str, list[float]] = {name: [] for name in rivals}
        paths = (f"{_FOLDER}/file-{number:09}.dat" for number in itertools.count())
        for ask in rivals.values():
            _turn(ask, paths, heads // 4)
        for number in range(rounds):
            order = list(rivals)
            for name in order[number % len(order) :] + order[: number % len(order)]:
                turns[name].append(_turn(rivals[name], paths, heads))
    figures = {f"{name}, µs": statistics.median(costs) for name, costs in turns.items()}
    for ours, theirs in RATIOS:
        proportions = [mine / other for mine, other in zip(turns[ours], turns[theirs], strict=True)]
        figures[f"{ours} to {theirs.rpartition(', ')[2]}, ratio"] = statistics.median(proportions)
    return figures


def _turn(ask: Ask, paths: Iterator[str], questions: int) -> float:
    """Microseconds of this process's CPU per question."""
    asked = list(itertools.islice(paths, questions))
    before = time.process_time_ns()
    for path in asked:
        status = ask(path)
    spent_ns = time.process_time_ns() - before
    if status != 200:
        raise RuntimeError(f"the server answered {status}")
    return spent_ns / questions / 1000


@contextmanager
def _rivals() -> Iterator[dict[str, Ask]]:
    with ExitStack() as stack:
        authority = Authority(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        own, others = cores()
        with confined(others):
            plain = stack.enter_context(_server(None))
            tls = stack.enter_context(_server(authority.issue()))
        stack.enter_context(confined(own))  # before the first thread, which inherits it
        names = NameResolver()
        stack.callback(names.close)
        terms = Terms(trust=TlsTrust(authority.ca_file))

        def client(connections: int) -> HttpClient:
            made = HttpClient(names=names, terms=lambda: terms, user_agent="benchmark", connections=connections)
            stack.callback(made.close)
            return made

        kept, fresh = client(10), client(0)
        leases = Leases()
        stack.callback(lambda: leases.close(Deadline.after(_TIMEOUT_S)))
        engine = StatEngine(policy=StatPolicy(), build_client=client, leases=leases)
        stack.callback(engine.close)
        session = stack.enter_context(requests.Session())
        bare_session = stack.enter_context(requests.Session())
        bare_session.trust_env = False
        manager = stack.enter_context(urllib3.PoolManager(ca_certs=str(authority.ca_file)))
        yield {
            "head, ours": _head(kept, plain),
            "head, requests without environment": _head_by_requests(bare_session, plain),
            "head, requests": _head_by_requests(session, plain),
            "head, urllib3": _head_by_urllib3(manager, plain),
            "stat": _stat(engine, plain),
            "TLS head, ours": _head(kept, tls),
            "TLS head, ours, a connection each": _head(fresh, tls),
            "TLS head, urllib3": _head_by_urllib3(manager, tls),
            "TLS stat": _stat(engine, tls),
        }


def _head(client: HttpClient, base_url: str) -> Ask:
    return lambda path: (
        client.send("HEAD", base_url + path, deadline=Deadline.after(_TIMEOUT_S), headers=_HEADERS).status
    )


def _head_by_requests(session: requests.Session, base_url: str) -> Ask:
    return lambda path: session.head(base_url + path, headers=_HEADERS, timeout=_TIMEOUT_S).status_code


def _head_by_urllib3(manager: urllib3.PoolManager, base_url: str) -> Ask:
    return lambda path: (
        manager.request(
            "HEAD", base_url + path, headers=_HEADERS, timeout=_TIMEOUT_S, redirect=False, retries=False
        ).status
    )


def _stat(engine: StatEngine, base_url: str) -> Ask:
    servers = (ServerAd(kind=ServerKind.ORIGIN, name="origin", data_url=base_url, base_url=base_url),)

    def ask(path: str) -> int | None:
        deadline = Deadline.after(_TIMEOUT_S)
        [evidence] = engine.ask(servers, path, bearer=_TOKEN, authority="somebody", deadline=deadline)
        return evidence.status

    return ask


@contextmanager
def _server(files: TlsFiles | None) -> Iterator[str]:
    """A server in a process of its own, for as long as the context lasts; under TLS if it has a certificate."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, files), name="head-server", daemon=True)
    process.start()
    there.close()
    try:
        if not here.poll(30.0):
            raise RuntimeError("the server did not start")
        yield f"{'http' if files is None else 'https'}://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join(10.0)
        here.close()


def _serve(report: Connection, files: TlsFiles | None = None) -> None:
    """Answer every request on every connection, for ever."""
    context = None if files is None else files.server_context()
    with socket.create_server(("127.0.0.1", 0)) as listener, selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        report.send(listener.getsockname()[1])
        while True:
            for key, _ in selector.select():
                if key.fileobj is listener:
                    _take(listener, context, selector)
                    continue
                peer = key.fileobj
                assert isinstance(peer, socket.socket)
                received = b""
                with suppress(OSError):
                    received = peer.recv(65536)
                if not received:
                    selector.unregister(peer)
                    peer.close()
                elif received.endswith(b"\r\n\r\n"):
                    peer.sendall(_ANSWER)


def _take(listener: socket.socket, context: ssl.SSLContext | None, selector: selectors.BaseSelector) -> None:
    peer, _ = listener.accept()
    if context is not None:
        peer = context.wrap_socket(peer, server_side=True)
    selector.register(peer, selectors.EVENT_READ)


def main() -> int:
    """Print the figures as a table."""
    for name, value in measure().items():
        print(f"{name:<60} {value:>10.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
