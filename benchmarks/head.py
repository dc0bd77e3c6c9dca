"""What one HEAD costs the director's processor: our client beside `requests` and bare `urllib3`.

The server, a loop over raw sockets in a process of its own, answers each request with the headers an XRootD origin
sends. Only the CPU time of the calling thread counts, so neither the server nor a busy machine is in the figures. The
rivals take turns in short rounds, and of the rounds the median counts.
"""

import multiprocessing
import selectors
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection

import requests
import urllib3

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import HttpClient, NameResolver, Terms, TlsTrust

_ANSWER = (
    b"HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\nServer: XrootD/v5.8.4\r\nContent-Length: 1073741824\r\n"
    b"Accept-Ranges: bytes\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nAge: 3600\r\n"
    b"Cache-Control: max-age=60\r\n\r\n"
)
_PATH = "/lab-0042/set-0007/run-0123/file-004711.dat"
_HEADERS = {"Authorization": "Bearer " + "x" * 600}

Head = Callable[[], int]
"""Sends one HEAD and returns its status."""


def measure(*, rounds: int = 15, heads: int = 200) -> dict[str, float]:
    """Take the figures.

    Args:
        rounds: How often each rival has its turn.
        heads: HEADs of one turn.

    Returns:
        Microseconds of CPU per HEAD, in keys that end in `µs`, and our cost in proportion to each rival's (medians of
        the proportions within a round), in keys that end in `ratio`.
    """
    with _server() as url, _rivals(url) as rivals:
        turns: dict[str, list[float]] = {name: [] for name in rivals}
        for head in rivals.values():
            _turn(head, heads // 4)
        for number in range(rounds):
            order = list(rivals)
            for name in order[number % len(order) :] + order[: number % len(order)]:
                turns[name].append(_turn(rivals[name], heads))
    figures = {f"head, {name}, µs": statistics.median(costs) for name, costs in turns.items()}
    ours, *others = turns
    for name in others:
        proportions = [mine / theirs for mine, theirs in zip(turns[ours], turns[name], strict=True)]
        figures[f"head, {ours} to {name}, ratio"] = statistics.median(proportions)
    return figures


def _turn(head: Head, heads: int) -> float:
    """Microseconds of this thread's CPU per HEAD."""
    before = time.thread_time_ns()
    for _ in range(heads):
        status = head()
    spent_ns = time.thread_time_ns() - before
    if status != 200:
        raise RuntimeError(f"the server answered {status}")
    return spent_ns / heads / 1000


@contextmanager
def _rivals(url: str) -> Iterator[dict[str, Head]]:
    """Ours first."""
    with ExitStack() as stack:
        names = NameResolver()
        stack.callback(names.close)
        client = HttpClient(names=names, terms=lambda: Terms(trust=TlsTrust()), user_agent="benchmark")
        stack.callback(client.close)
        plain = stack.enter_context(requests.Session())
        plain.trust_env = False
        default = stack.enter_context(requests.Session())
        manager = stack.enter_context(urllib3.PoolManager())

        def ours() -> int:
            return client.send("HEAD", url, deadline=Deadline.after(2.0), headers=_HEADERS).status

        def requests_plain() -> int:
            return plain.head(url, headers=_HEADERS, timeout=2.0).status_code

        def requests_default() -> int:
            return default.head(url, headers=_HEADERS, timeout=2.0).status_code

        def bare_urllib3() -> int:
            return manager.request("HEAD", url, headers=_HEADERS, timeout=2.0, redirect=False, retries=False).status

        yield {
            "ours": ours,
            "requests without environment": requests_plain,
            "requests": requests_default,
            "urllib3": bare_urllib3,
        }


@contextmanager
def _server() -> Iterator[str]:
    """A server in a process of its own, for as long as the context lasts."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), name="head-server", daemon=True)
    process.start()
    there.close()
    try:
        if not here.poll(30.0):
            raise RuntimeError("the server did not start")
        yield f"http://127.0.0.1:{here.recv()}{_PATH}"
    finally:
        process.terminate()
        process.join(10.0)
        here.close()


def _serve(report: Connection) -> None:
    """Answer every request on every connection, for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener, selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        report.send(listener.getsockname()[1])
        while True:
            for key, _ in selector.select():
                if key.fileobj is listener:
                    selector.register(listener.accept()[0], selectors.EVENT_READ)
                    continue
                peer = key.fileobj
                assert isinstance(peer, socket.socket)
                received = peer.recv(65536)
                if not received:
                    selector.unregister(peer)
                    peer.close()
                elif received.endswith(b"\r\n\r\n"):
                    peer.sendall(_ANSWER)


def main() -> int:
    """Print the figures as a table."""
    for name, value in measure().items():
        print(f"{name:<60} {value:>10.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
