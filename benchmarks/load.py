"""The load generator: one process, one thread, a fixed number of kept-alive connections, each with one request open.

Run as a child (`python -m benchmarks.load`), it takes orders as JSON lines on its standard input and answers each with
one JSON line, until the input ends. Requests are made beforehand but for a number, so that no object is asked for
twice as long as the generator lives, and every answer is checked: its status, and its Location against the object that
was asked for and the cache that is nearest. It tells its own share of a CPU: near 1, the figure would be the
generator's and not the server's.
"""

import array
import gc
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count

from benchmarks import bare, federations
from benchmarks.federations import Clients, Exchange

DISTINCT_REQUESTS = 20_000
ANSWER_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One round to run.

    Attributes:
        port: Where the server listens, on 127.0.0.1.
        server_pid: Of the process whose CPU time is to be told.
        other_pids: Of more such processes.
        federation: Name of the size the requests are made for.
        clients: Where they come from (`Clients`).
        bare: Whether the answer is the constant one of `bare`.
        warm_up_s: Before counting begins.
        warm_up_answers: So many, too, come before it begins.
    """

    port: int
    server_pid: int
    federation: str
    clients: str
    bare: bool = False
    connections: int = 32
    warm_up_s: float = 0.3
    warm_up_answers: int = 0
    seconds: float = 1.5
    other_pids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round gave.

    Attributes:
        per_s: Answers per second.
        cpu_us: CPU time of the server's processes per answer, microseconds, user and system.
        p50_ms, p99_ms: From a request's being sent to its answer's last byte.
        generator_share: Of one CPU.
        reconnects: Connections that the server closed.
    """

    per_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    generator_share: float
    reconnects: int

    @property
    def server_share(self) -> float:
        """Of one CPU. A worker is never idle; clearly below 1 each, something else had their processors."""
        return self.per_s * self.cpu_us / 1e6


class WrongAnswerError(Exception):
    """The server's answer is not the redirect that it should be; there is nothing to be measured."""


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    exchange: Exchange
    sent_at: float = 0.0
    received: bytes = field(default=b"")


class _Load:
    """One round in the making."""

    def __init__(self, port: int, exchanges: Iterator[Exchange]) -> None:
        self._port = port
        self._exchanges = exchanges
        self._poll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self.latencies = array.array("d")
        self.reconnects = 0

    def open(self, connections: int) -> None:
        """Connect, and send a first request everywhere."""
        for _ in range(connections):
            self._connect()

    def run(self, until: float, *, answers: int = 0) -> None:
        """Answer every answer with the next request, until `until` on the performance counter and so many answers."""
        clock = time.perf_counter
        while clock() < until or len(self.latencies) < answers:
            events = self._poll.poll(ANSWER_TIMEOUT_S)
            if not events:
                raise WrongAnswerError(f"no answer in {ANSWER_TIMEOUT_S:g} s")
            for descriptor, _ in events:
                connection = self._connections[descriptor]
                data = connection.socket.recv(65536)
                if not data:
                    self._reconnect(descriptor)
                    continue
                connection.received += data
                if _is_complete(connection.received):
                    _check(connection)
                    self.latencies.append(clock() - connection.sent_at)
                    if _is_last(connection.received):
                        self._reconnect(descriptor)
                    else:
                        self._send(connection)

    def close(self) -> None:
        for connection in self._connections.values():
            connection.socket.close()
        self._poll.close()

    def _connect(self) -> None:
        opened = socket.create_connection(("127.0.0.1", self._port), timeout=ANSWER_TIMEOUT_S)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(opened, next(self._exchanges))
        self._connections[opened.fileno()] = connection
        self._poll.register(opened.fileno(), select.EPOLLIN)
        self._send(connection)

    def _reconnect(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        self._connections.pop(descriptor).socket.close()
        self.reconnects += 1
        self._connect()

    def _send(self, connection: _Connection) -> None:
        connection.received = b""
        connection.exchange = next(self._exchanges)
        connection.sent_at = time.perf_counter()
        connection.socket.sendall(connection.exchange.request)


def _is_last(answer: bytes) -> bool:
    """Whether the server will close the connection, and says so (RFC 9112 9.6)."""
    head = answer.partition(b"\r\n\r\n")[0].lower()
    return b"\r\nconnection: close" in head


def _is_complete(received: bytes) -> bool:
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = received[: end + 2].lower()
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        raise WrongAnswerError(f"no Content-Length in {head!r}")
    length = int(head[at + 17 : head.index(b"\r\n", at + 17)])
    return len(received) >= end + 4 + length


def _check(connection: _Connection) -> None:
    received = connection.received
    if not received.startswith(b"HTTP/1.1 307 ") or connection.exchange.location not in received:
        raise WrongAnswerError(
            f"to {connection.exchange.request!r} expecting {connection.exchange.location!r}: {received!r}"
        )


def process_cpu_s(pid: int) -> float:
    """CPU time of another process and all its threads, in seconds (Linux: its clock's number is made of its pid)."""
    return time.clock_gettime((~pid << 3) | 2)


def _servers_cpu_s(order: Order) -> float:
    return sum(map(process_cpu_s, (order.server_pid, *order.other_pids)))


def run(order: Order, exchanges: Iterator[Exchange]) -> Round:
    """Run one round in this process.

    Args:
        order: What is wanted.
        exchanges: Without end.

    Raises:
        WrongAnswerError: An answer was not the redirect expected, or did not come.
        OSError: The server does not accept connections.
    """
    load = _Load(order.port, exchanges)
    try:
        load.open(order.connections)
        load.run(time.perf_counter() + order.warm_up_s, answers=order.warm_up_answers)
        del load.latencies[:]
        server_cpu, own_cpu, began = _servers_cpu_s(order), time.process_time(), time.perf_counter()
        load.run(began + order.seconds)
        lasted = time.perf_counter() - began
        server_cpu, own_cpu = _servers_cpu_s(order) - server_cpu, time.process_time() - own_cpu
    finally:
        load.close()
    answers = sorted(load.latencies)
    if not answers:
        raise WrongAnswerError(f"no answer in {order.seconds:g} s")
    return Round(
        per_s=len(answers) / lasted,
        cpu_us=server_cpu / len(answers) * 1e6,
        p50_ms=answers[len(answers) // 2] * 1e3,
        p99_ms=answers[len(answers) * 99 // 100] * 1e3,
        generator_share=own_cpu / lasted,
        reconnects=load.reconnects,
    )


class Generator:
    """The generator in a child process of its own."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        self._child = child

    def run(self, order: Order) -> Round:
        """Have one round run.

        Raises:
            WrongAnswerError: See `run`; or the child has ended.
        """
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(asdict(order)) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise WrongAnswerError("the load generator has ended")
        answer = json.loads(line)
        if "error" in answer:
            raise WrongAnswerError(answer["error"])
        return Round(**answer)


@contextmanager
def generator(processors: set[int]) -> Iterator[Generator]:
    """A generator on these processors, which ends with the block."""
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        os.sched_setaffinity(child.pid, processors)
        yield Generator(child)
    finally:
        child.kill()
        child.communicate()


def _asked(order: Order) -> list[Exchange]:
    made = federations.exchanges(
        federations.SIZES[order.federation], count=DISTINCT_REQUESTS, clients=Clients(order.clients)
    )
    if order.bare:
        return [Exchange(one.request, f" {bare.LOCATION}\r\n".encode()) for one in made]
    return made


def _numbered(exchanges: list[Exchange], numbers: Iterator[int]) -> Iterator[Exchange]:
    while True:
        for exchange in exchanges:
            yield exchange.numbered(next(numbers))


def main() -> None:
    """Obey until the input ends."""
    made: dict[tuple[str, str, bool], list[Exchange]] = {}
    numbers = count()
    for line in sys.stdin:
        order = Order(**json.loads(line))
        key = order.federation, order.clients, order.bare
        if key not in made:
            made[key] = _asked(order)
            gc.freeze()
        try:
            print(json.dumps(asdict(run(order, _numbered(made[key], numbers)))), flush=True)
        except (WrongAnswerError, OSError) as error:
            print(json.dumps({"error": str(error)}), flush=True)


if __name__ == "__main__":
    main()
