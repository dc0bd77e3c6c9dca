"""Clients that keep their connections and ask again as soon as they are answered; and which worker has how many."""

import contextlib
import selectors
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.process.fleet import _sockets

ESTABLISHED = "01"

_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class _Client:
    def __init__(self, port: int) -> None:
        self._port = port
        self.lost = 0
        self.parted = 0
        self.connect()

    def connect(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        self.port: int = self.socket.getsockname()[1]
        self.received = b""
        self.answered = 0
        self.socket.sendall(_REQUEST)

    def take(self) -> bool:
        """Take what has come; whether the connection is another now."""
        try:
            more = self.socket.recv(65536)
            self.received += more
            head, has_head, body = self.received.partition(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
            if more and (not has_head or len(body) < int(fields[b"content-length"])):
                return False
            is_lost, parts = not more, fields.get(b"connection") == b"close"
            if not (is_lost or parts):
                self.received = b""
                self.answered += 1
                self.socket.sendall(_REQUEST)
                return False
        except OSError:
            is_lost, parts = True, False
        self.lost += is_lost
        self.parted += not is_lost and parts
        return True


class Kept:
    """So many clients. They ask while `ask` runs, and only then. A context manager.

    Whoever is told `Connection: close`, or loses its connection, comes again at once.
    """

    def __init__(self, port: int, number: int) -> None:
        self._port = port
        self._selector = selectors.DefaultSelector()
        self._clients: list[_Client] = []
        for _ in range(number):
            self._add()

    def _add(self) -> _Client:
        client = _Client(self._port)
        self._clients.append(client)
        self._selector.register(client.socket, selectors.EVENT_READ, client)
        return client

    def come(self) -> int:
        """One more client, and an answer to it; which one it is, for `held_by`."""
        client = self._add()
        for _ in range(100):
            if client.answered:
                return client.port
            self.ask(0.01)
        raise AssertionError("it is not answered")

    def held_by(self, workers: Iterable[int]) -> dict[int, int]:
        """Which of these workers has the connection of which client."""
        inode_of = accepted(self._port)
        found: dict[int, int] = {}
        for worker in workers:
            held = set()
            with contextlib.suppress(OSError):  # it has just ended
                held = _sockets(worker)
            found |= {client.port: worker for client in self._clients if inode_of.get(client.port) in held}
        return found

    def ask(self, seconds: float) -> None:
        """Ask, each as fast as it is answered."""
        end_at = time.monotonic() + seconds
        while (left_s := end_at - time.monotonic()) > 0:
            for key, _ in self._selector.select(left_s):
                client: _Client = key.data
                if client.take():
                    self._selector.unregister(client.socket)
                    client.socket.close()
                    client.connect()
                    self._selector.register(client.socket, selectors.EVENT_READ, client)

    @property
    def lost(self) -> int:
        """Connections that ended without a word."""
        return sum(client.lost for client in self._clients)

    @property
    def parted(self) -> int:
        """Those that ended with an answer that said so."""
        return sum(client.parted for client in self._clients)

    def spread(self, workers: Iterable[int]) -> tuple[list[int], list[int]]:
        """How many connections these workers have, and how many answers came over them, both ascending."""
        workers = list(workers)
        held_by = self.held_by(workers)
        connections = dict.fromkeys(workers, 0)
        answers = dict.fromkeys(workers, 0)
        for client in self._clients:
            if client.port in held_by:
                connections[held_by[client.port]] += 1
                answers[held_by[client.port]] += client.answered
        return sorted(connections.values()), sorted(answers.values())

    def close(self) -> None:
        for client in self._clients:
            client.socket.close()
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def accepted(port: int) -> dict[int, str]:
    """Sockets accepted at a port, by the port of the other end; `/proc/net/tcp`, proc(5)."""
    found = {}
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = row.split()
        here, there = (int(field.rpartition(":")[2], 16) for field in fields[1:3])
        if here == port and fields[3] == ESTABLISHED and fields[9] != "0":
            found[there] = fields[9]
    return found
