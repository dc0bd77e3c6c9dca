"""gthread whose threads wait for no client: not for a request to arrive, nor for a connection to end.

gthread gives a thread to each connection at once. There it waits for the first byte, for TLS, for each piece of head
and body, and at the end for the client to close: as many slow clients as there are threads silence a worker. Here the
main thread waits for all of them, as it does for connections that are kept. A thread takes up what has come and, if
that is not yet a request (`arrival`), goes back for other work; in the clear and under TLS alike.

A client that falls silent is waited for `SILENCE_S`; one that sends a little now and then has `HEAD_S` for TLS and the
head, and `BODY_S` or more for the body. Of more than `MOST_WAITING` clients, who has been silent for longest goes; of
more than `MOST_HELD_BYTES` of requests on their way, the longest, which who has connections enough can aim at others.

Once a thread has handed a request to the parser, nothing more is read of it (`GatheredUnreader`): whatever is missing
then, nobody waits for.

Source: RFC 9112 9.6, for the end of a connection. A head without an end is known as Slowloris.
"""

import contextlib
import io
import math
import resource
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from selectors import EVENT_READ
from typing import Any, Final

from gunicorn import http, sock
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers import gthread

from director_wsgi.runtime.arrival import Arrival
from director_wsgi.runtime.sockets import SILENCE_S

HEAD_S: Final = 10.0
"""How long the head of a request, and what TLS needs before it, may take to arrive."""

BODY_S: Final = 30.0
"""How long its body may take, and besides a second for each `SLOWEST_BYTES` that have come."""

SLOWEST_BYTES: Final = 50_000

LINGER_S: Final = 1.0
"""How long a client may take to close after us; until then what it has not read yet is not lost."""

MOST_WAITING: Final = 1024
"""Connections on which a request is on its way, and as many that are about to end; fewer, if that would be half of all
descriptors. They are beyond those that a worker may have otherwise (`worker_connections`), which are few, so that
overload shows at the door."""

MOST_HELD_BYTES: Final = 1 << 27
"""Of requests on their way, together: those of a hundred caches with thousands of namespaces, at once."""

SLACK_BYTES: Final = 1 << 15
"""More than TLS may have read, or may add, without having handed it out."""

LAST_LOOKS_S: Final = 0.1
"""How often a worker that ends looks for clients that take too long."""

PIECE_BYTES: Final = 1 << 16
"""What is read at once."""

WORTH_A_LOOK_BYTES: Final = 1 << 14
"""How much of a long body has to come before it is looked at, or else `SILENCE_S` have to pass."""

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_MORE: Final = gthread._DEFER  # noqa: SLF001, what gthread's own `handle` returns for the same
_LEAVES: Final = object()
_GONE: Final = object()


@dataclass
class Tally:
    """Of this worker; its main thread writes.

    Attributes:
        arriving: Connections whose next request is on its way, or is to come for the first time.
        silent: Connections that were ended since nothing came, or that were left to a thread to refuse.
        late: Those on which a request came, but not in time.
        crowded_out: Those that had to go before, since there were too many.
    """

    arriving: int = 0
    silent: int = 0
    late: int = 0
    crowded_out: int = 0


tally: Final = Tally()


class GatheredUnreader(SocketUnreader):  # type: ignore[misc]
    """Hands out what was gathered, piece by piece, and asks the client for nothing: a TimeoutError at the end.

    By pieces, since gunicorn copies what it has read ahead for each chunk of a body.
    """

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.give(bytearray())

    def give(self, come: bytearray) -> None:
        """What is to be handed out behind what was put back (`unread`)."""
        self._come, self._at = come, 0

    def chunk(self, size_hint: int | None = None) -> bytes:
        """The next piece."""
        piece = bytes(self._come[self._at : self._at + min(max(size_hint or 0, self.mxchunk), PIECE_BYTES)])
        if not piece:
            raise TimeoutError("the client has sent no more")
        self._at += len(piece)
        return piece

    def take(self, size: int) -> bytes:
        """The next `size` bytes, or what is left."""
        ahead: bytes = self.take_buffered()
        if len(ahead) > size:
            self.unread(ahead[size:])
        end = self._at + max(0, size - len(ahead))
        taken = b"".join((ahead[:size], memoryview(self._come)[self._at : end]))
        self._at = end
        if end >= len(self._come):
            self.give(bytearray())  # a connection that is kept keeps no megabytes
        return taken

    def take_all(self) -> bytes:
        """What has not been handed out; it is not there any more then."""
        return self.take(len(self._come) + self.buf.getbuffer().nbytes)


class Connection(gthread.TConn):  # type: ignore[misc]
    """gthread's, and what is known of the request that is on its way there, or was handed over.

    Attributes:
        arrival: What has come of it; None before anything has.
        arrives_by: When the part that is on its way has to be there; None if none is.
        held_bytes: Of what has come, as far as its `Waiting` counts it.
        is_late: Whether it was not there in time.
        has_body: Of the one handed over, whether the body is there.
        was_told_to_go_on: And whether its client was, before the body.
        may_be_sending: Whether the client may be busy sending.
    """

    arrival: Arrival | None = None
    arrives_by: float | None = None
    held_bytes = 0
    is_late = has_body = was_told_to_go_on = False
    may_be_sending = True


def content_length(req: Any) -> int:
    """What a request that gunicorn has parsed says of the length of its body; 0 if nothing."""
    return next((int(value) for name, value in req.headers if name == "CONTENT-LENGTH"), 0)


def _gained_s(arrival: Arrival) -> float:
    """How much longer a body may take, for what has come of it."""
    return len(arrival.data) / SLOWEST_BYTES if arrival.has_head else 0.0


def _has_come_unseen(conn: Any) -> bool:
    """Whether something has come that was too little to be looked at."""
    try:
        return socket.socket.recv(conn.sock, 1, socket.MSG_PEEK) != b""  # below TLS
    except OSError:
        return False


class Waiting:
    """Connections that the main thread waits for, who began to wait first is first."""

    def __init__(self) -> None:
        self.all: dict[Any, None] = {}
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self.all)

    def first(self) -> Any:
        """Who has waited for longest; a StopIteration if there is nobody."""
        return next(iter(self.all))

    def overdue(self, now: float, *, look_at_all: bool = False) -> list[Any]:
        """Those whose time is over; unless asked for all, those before the first whose time is not."""
        found = []
        for conn in self.all:
            if conn.timeout <= now:
                found.append(conn)
            elif not look_at_all:
                break
        return found

    def longest(self) -> Any:
        """Of whose request most has come; a ValueError if there is nobody."""
        return max(self.all, key=lambda conn: conn.held_bytes)

    def add(self, conn: Any) -> None:
        """Behind all others, with what has come on it so far."""
        conn.held_bytes = len(conn.arrival.data) if conn.arrival else 0
        self.held_bytes += conn.held_bytes
        self.all[conn] = None

    def remove(self, conn: Any) -> None:
        """A KeyError if it does not wait here."""
        del self.all[conn]
        self.held_bytes -= conn.held_bytes


class SlowClientsWorker(gthread.ThreadWorker):  # type: ignore[misc]
    """See the module. `timeout` of a connection: until when the main thread waits."""

    _descriptors: float = math.inf

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._arriving, self._leaving = Waiting(), Waiting()
        super().__init__(*args, **kwargs)
        # HTTP/2 has a parser that asks its socket by itself; and so does a handshake that is part of the wrapping.
        self._gathers = "h2" not in self.cfg.http_protocols and not (
            self.cfg.is_ssl and self.cfg.do_handshake_on_connect
        )

    def init_process(self) -> None:
        """Main thread, after the fork."""
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if descriptors != resource.RLIM_INFINITY:
            self._descriptors = descriptors
        super().init_process()

    @property
    def most_waiting(self) -> float:
        """How many arriving connections it waits for at most, and how many leaving ones."""
        return min(MOST_WAITING, self._descriptors // 4)

    @property
    def worker_connections(self) -> int:
        """How many connections it may have at this moment."""
        return self._most_connections + len(self._arriving) + len(self._leaving)

    @worker_connections.setter
    def worker_connections(self, most: int) -> None:
        self._most_connections = most

    def new_parser(self, conn: Any) -> Any:
        """A parser of what comes on a connection that speaks HTTP/1."""
        parser = http.get_parser(self.cfg, conn.sock, conn.client)
        parser.unreader = GatheredUnreader(conn.sock)
        return parser

    # -- the main thread

    def accept(self, listener: Any) -> None:
        """Main thread. Take a connection, and wait for what comes on it."""
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.nr_conns += 1
        self._await_request(Connection(self.cfg, client, address, listener.getsockname()))

    def finish_request(self, conn: Any, fs: "Future[Any]") -> None:
        """Main thread. Take a connection back from a thread."""
        result = None if fs.cancelled() or fs.exception() else fs.result()
        if conn.is_late:
            conn.is_late = False
            tally.late += 1
        if result is _MORE:
            self._await_request(conn)
        elif result is _LEAVES:
            self._await(conn, self._leaving, LINGER_S, self._on_leaving)
        elif result is _GONE:
            self.nr_conns -= 1
        else:
            super().finish_request(conn, fs)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Main thread. One turn of its loop."""
        is_last = not self.alive and (self._arriving or self._leaving)
        super().wait_for_and_dispatch_events(min(timeout, LAST_LOOKS_S) if is_last else timeout)

    def murder_pending(self) -> None:
        """Main thread. End connections of clients that take too long."""
        super().murder_pending()
        now = time.monotonic()
        for conn in self._leaving.overdue(now):
            self._drop(conn, self._leaving)
        # Those of a worker that ends are waited for shorter than those before them.
        for conn in self._arriving.overdue(now, look_at_all=not self.alive):
            if _has_come_unseen(conn):
                self._on_arriving(conn, conn.sock)
            else:
                self._give_up(conn)
                tally.silent += 1
        for waiting in (self._arriving, self._leaving):
            while len(waiting) > self.most_waiting:
                self._drop(waiting.first(), waiting)
                tally.crowded_out += 1
        while self._arriving.held_bytes > MOST_HELD_BYTES:
            self._give_up(self._arriving.longest())
            tally.crowded_out += 1
        tally.arriving = len(self._arriving)

    def _cap_keepalive(self, deadline: float) -> None:
        """Main thread. A worker that ends waits no longer for a first byte than for one on a kept connection."""
        super()._cap_keepalive(deadline)
        for conn in self._arriving.all:
            if not conn.held_bytes:
                conn.timeout = min(conn.timeout, deadline)

    def _await_request(self, conn: Any) -> None:
        patience_s = SILENCE_S if self.alive or (conn.arrival and conn.arrival.data) else gthread.STOP_KEEPALIVE_LINGER
        self._await(conn, self._arriving, patience_s, self._on_arriving)

    def _await(self, conn: Any, waiting: Waiting, patience_s: float, ready: Callable[[Any, Any], None]) -> None:
        conn.timeout = time.monotonic() + patience_s
        try:
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, EVENT_READ, partial(ready, conn))
        except (OSError, ValueError, KeyError):  # it has gone meanwhile, or there is no room
            self.nr_conns -= 1
            conn.close()
        else:
            waiting.add(conn)

    def _on_arriving(self, conn: Any, _sock: Any) -> None:
        self._arriving.remove(conn)
        self.poller.unregister(conn.sock)
        conn.data_ready = True
        self.enqueue_req(conn)

    def _on_leaving(self, conn: Any, _sock: Any) -> None:
        """What the client still sends is read: a connection closed upon unread bytes is reset."""
        try:
            is_over = not conn.sock.recv(PIECE_BYTES)
        except BlockingIOError:
            is_over = False
        except OSError:
            is_over = True
        if is_over:
            self._drop(conn, self._leaving)

    def _give_up(self, conn: Any) -> None:
        """Nothing has come for too long: a thread sees what there is to say to what has come before."""
        if conn.held_bytes:
            conn.arrival.is_whole = True
            self._on_arriving(conn, conn.sock)
        else:
            self._drop(conn, self._arriving)

    def _drop(self, conn: Any, waiting: Waiting) -> None:
        waiting.remove(conn)
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    # -- the threads

    def handle(self, conn: Any) -> Any:
        """Handler thread. Serves a request, if it has arrived; what is to become of the connection."""
        if self._gathers:
            conn.may_be_sending = True
            try:
                if not self._has_arrived(conn):
                    return _MORE
            except ssl.SSLError as error:
                if error.args[0] != ssl.SSL_ERROR_EOF:
                    self.handle_error(None, conn.sock, conn.client, error)
                return self._part(conn, is_polite=True)
            except OSError as error:
                self.log.debug("A client is gone before its request has arrived: %s", error)
                return self._part(conn, is_polite=False)
        kept = super().handle(conn)
        if kept and self._gathers:
            conn.parser.unreader.unread(conn.parser.unreader.take_all())  # where gthread looks for the next request
        # Only who may still be sending is waited for.
        return kept or self._part(conn, is_polite=conn.may_be_sending)

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Handler thread. Calls the application and writes its answer; true if the connection may be kept."""
        if self._gathers and conn.has_body and (length := content_length(req)):
            req.body = io.BytesIO(conn.parser.unreader.take(length))  # gunicorn's reader copies it five times
        return super().handle_request(req, conn)

    def _has_arrived(self, conn: Any) -> bool:
        """Whether the parser has something to decide about; a TimeoutError if there has been nothing for too long."""
        if conn.arrives_by is None:
            conn.arrives_by = time.monotonic() + HEAD_S
        conn.sock.setblocking(False)
        try:
            if not conn.initialized:
                self._begin(conn)
            self._gather(conn)
        except (BlockingIOError, ssl.SSLWantReadError):
            if time.monotonic() < conn.arrives_by + (_gained_s(conn.arrival) if conn.arrival else 0.0):
                return False
            conn.is_late = True
            if not (conn.arrival and conn.arrival.has_head):
                raise TimeoutError("it took too long to arrive") from None
        self._hand_over(conn)
        return True

    def _begin(self, conn: Any) -> None:
        if self.cfg.is_ssl:
            if not isinstance(conn.sock, ssl.SSLSocket):
                conn.sock = sock.ssl_wrap_socket(conn.sock, self.cfg)
            try:
                ssl.SSLSocket.do_handshake(conn.sock)
            except ssl.SSLWantWriteError:  # a chain of certificates that is longer than what the kernel takes at once
                conn.sock.do_handshake()
                conn.sock.setblocking(False)
        conn.parser = self.new_parser(conn)
        conn.initialized = True

    def _gather(self, conn: Any) -> None:
        """Take what has come; a BlockingIOError or an SSLWantReadError if that is not all."""
        if conn.arrival is None:
            conn.arrival = Arrival(is_proxied=self.cfg.proxy_protocol != "off" and conn.parser.req_count == 0)
            conn.arrival.feed(conn.parser.unreader.take_all())
        arrival: Arrival = conn.arrival
        had_head = arrival.has_head
        try:
            self._take(conn.sock, arrival)
        finally:
            if arrival.has_head and not had_head:
                conn.arrives_by = time.monotonic() + BODY_S
            # No need to be woken by each packet of a long body.
            least = 1 if arrival.is_whole else min(WORTH_A_LOOK_BYTES, arrival.missing_bytes - SLACK_BYTES)
            if least > 1 or had_head:
                conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, max(1, least))

    @staticmethod
    def _take(client: socket.socket, arrival: Arrival) -> None:
        while not arrival.is_whole:
            if arrival.is_to_be_told_to_go_on():
                client.send(_CONTINUE)
            if not (piece := client.recv(PIECE_BYTES)):
                if not arrival.data:
                    raise ConnectionAbortedError("it has ended")
                return
            arrival.feed(piece)
        # The body of an upload is in the way of the next request, unless it is small and there.
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            while not arrival.has_body and arrival.missing_bytes + len(arrival.data) < PIECE_BYTES:
                if not (piece := client.recv(PIECE_BYTES)):
                    return
                arrival.feed(piece)

    @staticmethod
    def _hand_over(conn: Any) -> None:
        arrival: Arrival = conn.arrival
        conn.parser.unreader.give(arrival.data)
        conn.has_body = arrival.has_body
        conn.was_told_to_go_on = arrival.was_told_to_go_on
        conn.arrival = conn.arrives_by = None

    @staticmethod
    def _part(conn: Any, *, is_polite: bool) -> object:
        """End a connection: at once, or when the client has read and ended it, too."""
        with contextlib.suppress(OSError):
            conn.sock.setblocking(False)
            if is_polite:
                conn.sock.shutdown(socket.SHUT_WR)
                return _LEAVES
        conn.close()
        return _GONE
