"""What one worker of a host does for all: it moves when that worker dies, hangs or is replaced, and is never done twice."""

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from director_wsgi.demo.ads import AdBuilder, Advertised, Kind
from director_wsgi.demo.certificates import Authority
from director_wsgi.demo.exchange import Request, Response, text_response
from director_wsgi.demo.origin import Export
from director_wsgi.demo.registry import Registration, Registry
from director_wsgi.demo.tokens import SigningKey
from director_wsgi.demo.wire import HttpsServer
from tests.process.census import end
from tests.process.child import SETTINGS, Child, get, run, wait_until

pytestmark = [pytest.mark.process, pytest.mark.slow]

WEB = "https://director.example.org"
INTERVAL_S = 1.0
MOVES_WITHIN_S = 5.0
SLACK_S = 1.5
"""For a test, and for a machine that does something else."""

ATTEMPTS = 200
"""More connections than one worker takes at once."""

TEXT = b"This object was created by the Pelican director-test functionality"
ROUND = ["PUT", "GET", "DELETE", "POST"]


@dataclass(frozen=True)
class Call:
    """One that came in."""

    at: float
    method: str
    path: str
    body: bytes


class Origin:
    """An origin that passes every test, and remembers how it was tested."""

    def __init__(self, name: str, authority: Authority) -> None:
        self.name = name
        self.calls: list[Call] = []
        self.gate = threading.Event()
        self.gate.set()
        self.held = threading.Event()
        self._server = HttpsServer(self, name=name, tls=authority.issue(name))
        self.port = int(self._server.url.rpartition(":")[2])
        self.close = self._server.close
        self._advertised = Advertised(
            kind=Kind.ORIGIN,
            name=name,
            url=self._server.url,
            registry_prefix=f"/origins/{self._server.url.partition('://')[2]}",
            key=SigningKey(),
            exports=(Export(prefix=f"/{name}"),),
        )
        self._builder = AdBuilder(self._advertised)

    def answer(self, request: Request) -> Response:
        """Take anything; a file is read only when the gate is open."""
        self.calls.append(Call(time.monotonic(), request.method, request.path, request.body.read(65536)))
        if request.method == "GET":
            if not self.gate.is_set():
                self.held.set()
                self.gate.wait(60)
            return Response(status=200, body=TEXT)
        return text_response(201 if request.method == "PUT" else 200, "done")

    def register(self, registry: Registry) -> None:
        """At a registry, with its namespace."""
        keys = (self._advertised.key.jwk,)
        registry.register(Registration(prefix=self._advertised.registry_prefix, name=self.name, keys=keys))
        registry.register(Registration(prefix=f"/{self.name}", keys=keys))

    def advertise(self, port: int) -> bool:
        """To one of the workers; whether it was taken."""
        fields = {
            "Authorization": f"Bearer {self._builder.token(WEB)}",
            "Content-Type": "application/json",
            "User-Agent": "pelican-origin/7.20.0",
        }
        body = json.dumps(self._builder.ad()).encode()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request("POST", "/api/v1.0/director/registerOrigin", body, fields)
            return connection.getresponse().status == 200

    @property
    def reports(self) -> list[Call]:
        return [call for call in list(self.calls) if call.path.endswith("/directorTest")]

    def longest_silence_s(self, since: float) -> float:
        """Between two reports, counted from an instant up to now."""
        times = [since, *(call.at for call in self.reports if call.at > since), time.monotonic()]
        return max(later - earlier for earlier, later in itertools.pairwise(times))

    def wait_for_reports(self, more: int, within_s: float = 20.0) -> None:
        wanted = len(self.reports) + more
        wait_until(lambda: len(self.reports) >= wanted, f"{more} more reports to {self.name}", within_s)


class Host:
    """A director of several workers, and servers that it tests."""

    def __init__(self, folder: Path, stack: ExitStack, *, workers: int = 2) -> None:
        authority = Authority(folder)
        self.registry = Registry()
        listening = HttpsServer(self.registry, name="REGISTRY", tls=authority.issue("registry"))
        stack.callback(listening.close)
        self.servers = [Origin(f"ORIGIN{number}", authority) for number in range(3)]
        for server in self.servers:
            stack.callback(server.close)
            server.register(self.registry)
        arguments = ("-c", str(SETTINGS), "-b", "127.0.0.1:0", "-w", str(workers), "director_wsgi.wsgi:application")
        environ = {
            "PELICAN_FEDERATION_REGISTRYURL": listening.url,
            "PELICAN_SERVER_EXTERNALWEBURL": WEB,
            "PELICAN_SERVER_TLSCACERTIFICATEFILE": str(authority.ca_file),
            "PELICAN_SERVER_HEALTHMONITORINGPUBLIC": "true",
            "PELICAN_DIRECTOR_ORIGINCACHEHEALTHTESTINTERVAL": f"{INTERVAL_S}s",
        }
        self.child: Child = stack.enter_context(run(folder, *arguments, environ=environ))
        self.child.wait_for_output("Worker ready", workers)
        for server in self.servers:
            wait_until(lambda: server.advertise(self.child.port), f"{server.name} is taken")  # noqa: B023, called at once
        for server in self.servers:
            server.wait_for_reports(2)

    def testers(self) -> set[int]:
        """Workers that have a connection to a server."""
        ports = {server.port for server in self.servers}
        inodes = {inode for inode, port in _connections() if port in ports}
        return {pid for pid in self.child.workers() if inodes & _sockets(pid)}

    def tester(self) -> int:
        """The worker that tests."""
        [pid] = self.testers()
        return pid

    def said(self, target: str) -> list[Any]:
        """What each worker answers. One that has been heard is kept busy, so that others accept."""
        workers, told = self.child.workers(), dict[int, Any]()
        with ExitStack() as held:
            for _ in range(ATTEMPTS):
                connection = held.enter_context(socket.create_connection(("127.0.0.1", self.child.port), timeout=10))
                connection.sendall(get(target)[:-2])
                pid = _other_end(connection, workers)
                if pid not in told:
                    told[pid] = _finish(connection)
                if len(told) == len(workers):
                    return list(told.values())
        raise AssertionError(f"only {sorted(told)} of {workers} have answered")

    def says_all_is_well(self) -> bool:
        """Whether every worker says that servers are tested, and that each one passed."""
        listed = self.said("/api/v1.0/director_ui/servers")
        parts = self.said("/api/v1.0/metrics/health")
        return {(one["name"], one["healthStatus"]) for told in listed for one in told} == {
            (server.name, "OK") for server in self.servers
        } and {told["components"]["director-tests"]["status"] for told in parts} == {"ok"}


def _other_end(connection: socket.socket, workers: list[int]) -> int:
    """The worker that has accepted a connection."""
    own_port, found = connection.getsockname()[1], list[int]()

    def is_accepted() -> bool:
        inodes = {inode for inode, port in _connections() if port == own_port}
        found.extend(pid for pid in workers if inodes & _sockets(pid))
        return bool(found)

    wait_until(is_accepted, "a worker accepts")
    return found[0]


def _finish(connection: socket.socket) -> Any:
    """End a request; its answer, which is JSON."""
    connection.sendall(b"\r\n")
    response = http.client.HTTPResponse(connection)
    response.begin()
    return json.loads(response.read())


def _connections() -> Iterator[tuple[str, int]]:
    """Inode and remote port of every TCP socket of this machine; `/proc/net/tcp`, proc(5)."""
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = row.split()
            yield fields[9], int(fields[2].rpartition(":")[2], 16)


def _sockets(pid: int) -> set[str]:
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(descriptor.readlink())
            if target.startswith("socket:["):
                found.add(target[8:-1])
    return found


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with ExitStack() as stack:
        yield Host(tmp_path, stack)


def rounds(server: Origin) -> list[str]:
    return [call.method for call in list(server.calls)]


def test_one_worker_tests_and_all_know_what_it_found(host: Host) -> None:
    assert len(host.testers()) == 1
    began, before = time.monotonic(), [len(server.reports) for server in host.servers]
    wait_until(host.says_all_is_well, "every worker says so")
    host.servers[0].wait_for_reports(4)
    took_s = time.monotonic() - began
    assert len(host.testers()) == 1
    for server, reports in zip(host.servers, before, strict=True):
        assert len(server.reports) - reports <= took_s / (0.9 * INTERVAL_S) + 1, "one worker's, not two workers'"
        assert all(one == ROUND[n % 4] for n, one in enumerate(rounds(server))), "one test after the other"
    end(host.child)


def test_when_the_one_that_tests_is_killed_another_goes_on(host: Host) -> None:
    killed, at = host.tester(), time.monotonic()
    os.kill(killed, signal.SIGKILL)
    host.servers[0].wait_for_reports(5)
    assert host.tester() != killed
    for server in host.servers:
        server.wait_for_reports(1)
        assert server.longest_silence_s(at) < INTERVAL_S + MOVES_WITHIN_S + SLACK_S
    wait_until(host.says_all_is_well, "every worker says so")


def test_one_that_stood_still_sends_nothing_more_when_another_has_taken_over(host: Host) -> None:
    stopped, server = host.tester(), host.servers[0]
    server.gate.clear()
    assert server.held.wait(10)
    os.kill(stopped, signal.SIGSTOP)
    at = time.monotonic()
    try:
        broken_off = [call.path for call in server.calls if call.method == "PUT"][-1]
        calls = [call.method for call in server.calls if call.path == broken_off]
        assert calls == ["PUT", "GET"]
        server.gate.set()  # its answer is there when it wakes up
        for one in host.servers:
            one.wait_for_reports(2)
        assert server.longest_silence_s(at) < INTERVAL_S + MOVES_WITHIN_S + SLACK_S
    finally:
        os.kill(stopped, signal.SIGCONT)
    woke_at = time.monotonic()
    server.wait_for_reports(4)
    assert stopped in host.child.workers(), "it is alive, and knows that others test"
    assert [call.method for call in server.calls if call.path == broken_off] == calls
    for one in host.servers:
        since = [call.method for call in one.calls if call.at > woke_at]
        first = ROUND.index(since[0])
        assert all(method == ROUND[(first + n) % 4] for n, method in enumerate(since)), "one test after the other"
    wait_until(host.says_all_is_well, "every worker says so, also the one that stood still")


def test_a_reload_hands_it_over_without_a_pause(host: Host) -> None:
    for _ in range(2):
        old, at = host.child.workers(), time.monotonic()
        ready = host.child.output.count("Worker ready")
        host.child.signal(signal.SIGHUP)
        host.child.wait_for_output("Worker ready", ready + 2)
        wait_until(lambda: not set(old) & set(host.child.workers()), "the end of the old workers")  # noqa: B023
        for server in host.servers:
            server.wait_for_reports(2)
            assert server.longest_silence_s(at) < INTERVAL_S + MOVES_WITHIN_S
    wait_until(host.says_all_is_well, "every worker says so")
    end(host.child)


def test_when_all_workers_are_killed_their_successors_go_on(host: Host) -> None:
    at = time.monotonic()
    for pid in host.child.workers():
        os.kill(pid, signal.SIGKILL)
    for server in host.servers:
        server.wait_for_reports(2)
        assert server.longest_silence_s(at) < INTERVAL_S + MOVES_WITHIN_S + SLACK_S
    wait_until(host.says_all_is_well, "every worker says so")
