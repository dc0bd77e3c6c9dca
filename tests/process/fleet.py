"""A director of several workers, a registry, servers that advertise, and connections of which one knows the worker.

A connection that is kept stays with the worker that accepted it, so that one can ask each worker apart: which one it
is the kernel tells.
"""

import contextlib
import http.client
import itertools
import json
import os
import re
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from director_wsgi.demo.ads import AdBuilder, Advertised, Kind
from director_wsgi.demo.certificates import Authority
from director_wsgi.demo.openloop import Load, Order, Outcome
from director_wsgi.demo.origin import Export
from director_wsgi.demo.registry import Registration, Registry
from director_wsgi.demo.scene import Arrival
from director_wsgi.demo.tokens import SigningKey
from director_wsgi.demo.wire import HttpsServer
from tests.process.child import SETTINGS, Child, run, wait_until

DIRECTOR_URL = "https://director.example.org"
ORIGIN_ENDPOINT = "/api/v1.0/director/origin"
VISIBLE_S = 0.1
"""So long after its answer an advertisement may still be unknown to another worker."""

TRIES = 20

_READY = re.compile(r"(\d+) director_wsgi\.process: Worker ready")


@dataclass(frozen=True)
class Answer:
    """What a worker said."""

    status: int
    location: str
    body: bytes


class Line:
    """A connection that is kept, and the worker at its other end."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._connection.connect()
        own_port = self._connection.sock.getsockname()[1]
        self.get("/api/v1.0/health")  # until it has been answered, nobody need have accepted it
        self.inode = _inode(port, own_port)

    def get(self, target: str) -> Answer:
        """Ask for a target.

        Raises:
            OSError, http.client.HTTPException: The connection is gone.
        """
        return self.send("GET", target, b"", {})

    def send(self, method: str, target: str, body: bytes, fields: Mapping[str, str]) -> Answer:
        """Send any request; raises as `get`."""
        self._connection.request(method, target, body or None, {"Host": "director.example.org", **fields})
        answer = self._connection.getresponse()
        return Answer(answer.status, answer.getheader("Location", ""), answer.read())

    def close(self) -> None:
        self._connection.close()


def _inode(port: int, peer: int) -> str:
    """Of the socket that was accepted at `port` from a peer at that port; `/proc/net/tcp`, proc(5).

    Empty if there is none: a worker that ends, or is busy, closes the connection with its answer.
    """
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = row.split()
        ends = [int(field.rpartition(":")[2], 16) for field in fields[1:3]]
        if ends == [port, peer]:
            return fields[9]
    return ""


def _sockets(pid: int) -> set[str]:
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(descriptor.readlink())
            if target.startswith("socket:["):
                found.add(target[8:-1])
    return found


@contextlib.contextmanager
def _stopped(workers: Iterable[int]) -> Iterator[None]:
    """For these moments none of them accepts a connection."""
    stopped = list(workers)
    try:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class Lines:
    """One connection to each of some workers. A context manager."""

    def __init__(self, port: int, workers: Sequence[int]) -> None:
        self.by_worker: dict[int, Line] = {}
        try:
            self._connect(port, workers)
        except BaseException:
            self.close()
            raise

    def _connect(self, port: int, workers: Sequence[int]) -> None:
        for worker in workers:
            for _ in range(TRIES):
                with _stopped(other for other in workers if other != worker):
                    line = Line(port)
                if line.inode in _sockets(worker):
                    self.by_worker[worker] = line
                    break
                line.close()  # it was accepted by another that was about to stop
            else:
                raise AssertionError(f"{worker} accepts no connection")

    def __iter__(self) -> Iterator[Line]:
        return iter(self.by_worker.values())

    def close(self) -> None:
        for line in self:
            line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Server:
    """An origin that advertises and is never asked: its namespace has no other, so its objects are taken to be there."""

    def __init__(self, number: int, *, url: str = "", prefix: str = "") -> None:
        self.prefix = prefix or f"/namespace-{number}"
        self.url = url or f"https://server-{number}.example.org:8443"
        self.advertised = Advertised(
            kind=Kind.ORIGIN,
            name=f"SERVER-{number}",
            url=self.url,
            registry_prefix=f"/origins/{self.url.removeprefix('https://')}",
            key=SigningKey(),
            exports=(Export(prefix=self.prefix),),
            takes_tests=False,
        )
        self._builder = AdBuilder(self.advertised)

    @property
    def target(self) -> str:
        """Asks where an object of its namespace is."""
        return f"{ORIGIN_ENDPOINT}{self.prefix}/object"

    def is_named_by(self, answer: Answer) -> bool:
        """Whether an answer sends the client here."""
        return answer.status == 307 and answer.location.startswith(f"{self.url}{self.prefix}/object")

    def advertise(self, line: Line, *, status: str = "ok") -> Answer:
        """Send the next advertisement to whoever is at the other end."""
        body = json.dumps(self._builder.ad(status=status)).encode()
        fields = {
            "Authorization": f"Bearer {self._builder.token(DIRECTOR_URL)}",
            "Content-Type": "application/json",
            "User-Agent": "pelican-origin/7.20.0",
        }
        return line.send("POST", "/api/v1.0/director/registerOrigin", body, fields)


class Fleet:
    """See the module. What is left when the block ends is killed."""

    def __init__(
        self,
        folder: Path,
        stack: contextlib.ExitStack,
        workers: int | None,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        application: str = "director_wsgi.wsgi:application",
        under: Sequence[str] = (),
    ) -> None:
        """Start the registry and the director, and wait until every worker serves.

        Args:
            folder: For the director's files.
            stack: Ends everything.
            workers: How many; None: as the arguments say.
            arguments: More of gunicorn's.
            environ: More of the director's environment.
            application: What gunicorn serves.
            under: As for `run`.
        """
        self.folder = folder
        authority = Authority(folder)
        self.registry = Registry()
        listening = HttpsServer(self.registry, name="REGISTRY", tls=authority.issue("registry"))
        stack.callback(listening.close)
        self.registry_server = listening
        self.registry_requests = listening.requests
        self._stack = stack
        self._environ = {
            "PELICAN_FEDERATION_REGISTRYURL": listening.url,
            "PELICAN_SERVER_EXTERNALWEBURL": DIRECTOR_URL,
            "PELICAN_SERVER_TLSCACERTIFICATEFILE": str(authority.ca_file),
            "PELICAN_MONITORING_METRICAUTHORIZATION": "false",
            **(environ or {}),
        }
        number = () if workers is None else ("-w", str(workers))
        self._arguments = ("-c", str(SETTINGS), "-b", "127.0.0.1:0", *number, *arguments, application)
        self._under = under
        self._numbers = itertools.count()
        self.child = self.start()
        self.child.wait_for_output("Worker ready", workers or 1)

    def start(self) -> Child:
        """Start a director on these settings, which needs not be ready yet; it is `child` from now on."""
        self.child = self._stack.enter_context(
            run(self.folder, *self._arguments, environ=self._environ, under=self._under)
        )
        return self.child

    def serving(self) -> Self:
        """Start a director if none runs: for a test after one that ended it."""
        if not self.child.is_running():
            self.start().wait_until_ready()
        return self

    def lines(self, workers: Iterable[int] | None = None) -> Lines:
        """A connection to each worker, or to each of these."""
        return Lines(self.child.port, sorted(self.child.workers() if workers is None else workers))

    def server(self, *, url: str = "", prefix: str = "") -> Server:
        """One more server, registered and approved; it has not advertised yet.

        Args:
            url: Where it listens; empty: nowhere.
            prefix: Of its namespace; empty: one that no other server has.
        """
        made = Server(next(self._numbers), url=url, prefix=prefix)
        keys = (made.advertised.key.jwk,)
        self.registry.register(
            Registration(prefix=made.advertised.registry_prefix, name=made.advertised.name, keys=keys)
        )
        self.registry.register(Registration(prefix=made.prefix, keys=keys))
        return made

    def servers(self, number: int) -> list[Server]:
        """More servers, which one worker or another has heard of."""
        made = [self.server() for _ in range(number)]
        line = Line(self.child.port)
        with contextlib.closing(line):
            for server in made:
                wait_until(lambda: server.advertise(line).status == 200, f"{server.prefix} is taken")  # noqa: B023, called at once
        return made

    def all_know(self, servers: Sequence[Server]) -> bool:
        """Whether every worker, asked now, knows every one of these."""
        with self.lines() as lines:
            return all(server.is_named_by(line.get(server.target)) for line in lines for server in servers)

    def wait_for_workers(self, number: int, others_than: Iterable[int] = ()) -> list[int]:
        """Wait until there are so many workers, all ready and none of `others_than`; their process ids."""
        old = set(others_than)

        def are_there() -> bool:
            now = self.child.workers()
            return len(now) == number and not old & set(now) and self.ready() >= set(now)

        wait_until(are_there, f"{number} workers", within_s=40)
        return self.child.workers()

    def ready(self) -> set[int]:
        """Process ids of all workers that have said that they are ready, ended ones included."""
        return {int(pid) for pid in _READY.findall(self.child.output)}

    def hup(self) -> None:
        """Reload, and wait until the old workers have gone and as many new ones serve."""
        old = self.child.workers()
        self.child.signal(signal.SIGHUP)
        self.wait_for_workers(len(old), others_than=old)


@dataclass(frozen=True)
class Asking:
    """A load that has begun.

    Attributes:
        starts_at: When the first request is sent, in seconds of the monotonic clock.
    """

    load: Load
    starts_at: float
    rate_per_s: float

    def has_ended(self) -> bool:
        """Whether the last answer has come."""
        return self.load.has_ended()

    def outcomes(self) -> list[Outcome]:
        """What became of the requests; waits for the last."""
        return self.load.outcomes()

    def sent_at(self, number: int) -> float:
        """When a request is sent, or should be, in seconds of the monotonic clock."""
        return self.starts_at + number / self.rate_per_s

    def first_after(self, at: float) -> int:
        """Number of the first request that is sent after an instant."""
        return max(0, int((at - self.starts_at) * self.rate_per_s) + 1)


@contextlib.contextmanager
def load(port: int, servers: Sequence[Server], *, rate_per_s: float, seconds: float) -> Iterator[Asking]:
    """Ask for an object of each server in turn, at a fixed rate, each time over a new connection."""
    number = int(rate_per_s * seconds)
    arrivals = [Arrival(n / rate_per_s, servers[n % len(servers)].target) for n in range(number)]
    starts_at = time.monotonic() + 0.5
    with Load(Order(port=port, starts_at=starts_at, timeout_s=10.0, arrivals=arrivals)) as begun:
        yield Asking(begun, starts_at, rate_per_s)


def wrong(outcomes: Sequence[Outcome], servers: Sequence[Server]) -> dict[int, str]:
    """The answers of a `load` that are not the right redirect, in words, by the number of the request."""
    return {
        n: f"{outcome.failure or outcome.status} {outcome.location} after {outcome.latency_s:.3f} s"
        for n, outcome in enumerate(outcomes)
        if not servers[n % len(servers)].is_named_by(Answer(outcome.status, outcome.location, b""))
    }
