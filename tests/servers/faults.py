"""FaultServer: a real server on loopback that misbehaves as it is told, by name and at run time.

    with FaultServer() as server:
        server.behave("ok", length=7)
        server.behave("drip", path="/slow", interval_s=0.02)
        ...
        server.behave("refuse")

A behaviour is a function of `behaviours`; its keyword arguments are those of `behave`. Each connection has a thread. Behaviours wait on the server's end, never in a plain sleep, and reads and writes end when
`close` shuts their sockets down, so nothing outlives the server.
"""

import contextlib
import inspect
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Self

from director_wsgi.limits.deadline import Deadline
from tests.servers.authority import Certificate
from tests.servers.behaviours import ON_CONNECTION, ON_REQUEST, Seen, Visit, ok

__all__ = ["FaultServer", "Seen", "black_hole", "names"]

_WAIT_S = 10.0
_MAX_HEAD_BYTES = 1 << 20
_REFUSE = "refuse"


def names() -> tuple[str, ...]:
    """Every behaviour there is."""
    return (*ON_REQUEST, *ON_CONNECTION, _REFUSE)


@dataclass(frozen=True)
class _Chosen:
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


class FaultServer:
    """A server on 127.0.0.1 with a port of its own; a context manager.

    Args:
        certificate: Speak TLS with it; None for plain HTTP.

    Attributes:
        ending: Set when the server ends.
        port: Stays the same while the server refuses and comes back.
        tls: The TLS context, or None.
    """

    def __init__(self, *, certificate: Certificate | None = None) -> None:
        self.ending = threading.Event()
        self.tls = None if certificate is None else _server_context(certificate)
        self._changed = threading.Condition()
        self._default = _Chosen("ok")
        self._by_path: dict[str, _Chosen] = {}
        self._seen: list[Seen] = []
        self._connections = 0
        self._in_hand = 0
        self._peak = 0
        self._uses: Counter[str] = Counter()
        self._open: dict[threading.Thread, socket.socket] = {}
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self.port = 0
        self._listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Scheme, address and port, without a slash at the end."""
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    # -- telling it what to do

    def behave(self, name: str, *, path: str | None = None, **arguments: Any) -> None:
        """Do so from now on, for every request or for those of one path (without its query).

        Args:
            name: One of `names()`.
            path: Only for this path; None sets what holds for every path that has nothing of its own.
            arguments: As the behaviour of this name takes them.
        """
        behaviour = ON_REQUEST.get(name) or ON_CONNECTION.get(name)
        if behaviour is None and name != _REFUSE:
            raise ValueError(f"no behaviour {name!r}; there are {', '.join(names())}")
        if path is not None and name not in ON_REQUEST:
            raise ValueError(f"{name!r} happens before a path is known")
        if behaviour is not None:
            inspect.signature(behaviour).bind(None, **arguments)
        chosen = _Chosen(name, arguments)
        with self._changed:
            self._uses.clear()
            if path is None:
                self._default = chosen
            else:
                self._by_path[path] = chosen
        if name == _REFUSE:
            self._stop_listening()
        elif self._listener is None:
            self._listen()

    # -- what it has seen

    @property
    def connections(self) -> int:
        """Connections accepted so far."""
        return self._connections

    @property
    def open_connections(self) -> int:
        """Connections open now."""
        return len(self._open)

    @property
    def requests(self) -> tuple[Seen, ...]:
        """Every request so far, in the order of arrival."""
        with self._changed:
            return tuple(self._seen)

    @property
    def in_hand(self) -> int:
        """Requests being answered, or left without an answer, now."""
        return self._in_hand

    @property
    def peak(self) -> int:
        """Most requests in hand at one moment so far."""
        return self._peak

    def count(self, method: str | None = None, path: str | None = None) -> int:
        """Requests so far with this method and this path (its query not looked at); None stands for any."""
        return sum(
            method in (None, seen.method) and path in (None, seen.path.partition("?")[0]) for seen in self.requests
        )

    def wait_until(self, holds: Callable[[], bool], timeout_s: float = _WAIT_S) -> bool:
        """Wait until something about the server holds, looked at whenever one of its counters changes."""
        with self._changed:
            return self._changed.wait_for(holds, timeout_s)

    # -- its end

    def drop_connections(self) -> None:
        """Close every connection open now, as a restart would; the listener stays."""
        with self._changed:
            sockets = tuple(self._open.values())
        for sock in sockets:
            _shut_down(sock)

    def close(self) -> None:
        """End, and join every thread."""
        self.ending.set()
        self._stop_listening()
        deadline = Deadline.after(_WAIT_S)
        self.drop_connections()
        for thread in self._threads:
            thread.join(deadline.remaining_s())
        if any(thread.is_alive() for thread in self._threads):
            raise RuntimeError("a thread of the fault server has not ended")

    # -- listening

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        self.port = self._listener.getsockname()[1]
        self._accepting = threading.Thread(
            target=self._accept, args=(self._listener,), name=f"fault-server-{self.port}", daemon=True
        )
        self._accepting.start()

    def _stop_listening(self) -> None:
        listener, accepting = self._listener, self._accepting
        self._listener = self._accepting = None
        if listener is not None and accepting is not None:
            _shut_down(listener)
            accepting.join(_WAIT_S)
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), name=f"fault-visit-{self.port}", daemon=True)
            with self._changed:
                self._connections += 1
                self._open[thread] = sock
                self._threads = [*(old for old in self._threads if old.is_alive()), thread]
                thread.start()
                self._changed.notify_all()

    # -- one connection

    def _serve(self, sock: socket.socket) -> None:
        visit = Visit(self, sock)
        try:
            self._visit(visit)
        except (OSError, ValueError):
            pass  # the other side went away, as most of these tests make it do
        finally:
            visit.sock.close()
            sock.close()
            with self._changed:
                del self._open[threading.current_thread()]
                self._changed.notify_all()

    def _visit(self, visit: Visit) -> None:
        chosen = self._default
        if chosen.name in ON_CONNECTION and not ON_CONNECTION[chosen.name](visit, **chosen.arguments):
            return
        visit.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is not None:
            visit.sock = self.tls.wrap_socket(visit.sock, server_side=True, do_handshake_on_connect=False)
            with self._changed:
                self._open[threading.current_thread()] = visit.sock
            if self.ending.is_set():  # after the new socket can be seen: either this or `close` ends it
                return
            visit.sock.do_handshake()
        with visit.sock.makefile("rb") as reader:
            while not self.ending.is_set() and (seen := _read_request(reader)) is not None:
                visit.seen = seen
                if not self._answer(visit, seen):
                    return
                visit.answered += 1

    def _answer(self, visit: Visit, seen: Seen) -> bool:
        path = seen.path.partition("?")[0]
        with self._changed:
            self._seen.append(seen)
            self._in_hand += 1
            self._peak = max(self._peak, self._in_hand)
            chosen = self._by_path.get(path, self._default)
            self._changed.notify_all()
        try:
            return ON_REQUEST.get(chosen.name, ok)(visit, **chosen.arguments)
        finally:
            with self._changed:
                self._in_hand -= 1
                self._changed.notify_all()

    def use(self, key: str) -> int:
        """Count a use of `key` since the last `behave`, starting from 0; for behaviours that take turns."""
        with self._changed:
            self._uses[key] += 1
            return self._uses[key] - 1


def _read_request(reader: BinaryIO) -> Seen | None:
    """The next request; None at the end of the connection."""
    line = reader.readline(_MAX_HEAD_BYTES)
    if not line.endswith(b"\n"):
        return None
    method, target, _ = line.decode("latin-1").split()
    headers: dict[str, str] = {}
    while (line := reader.readline(_MAX_HEAD_BYTES).strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", 0)))
    return Seen(method, target, headers, body)


def _server_context(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain_file, certificate.key_file)
    return context


def _shut_down(sock: socket.socket) -> None:
    """End what other threads read, write or accept there; the plain method also for TLS, whose own drops its state."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


@contextlib.contextmanager
def black_hole(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """The port of a listener whose queue is full: connects to it neither succeed nor fail."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
