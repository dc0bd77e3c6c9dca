"""What answers operators and load balancers in each worker: one thread, behind none of the clients.

A small HTTP server of its own. It knows `GET` and `HEAD`, answers one request for each connection, and reads no bodies.
Its thread waits for all of its connections at once, so that no client waits for another, however slow that one is; each
has `CONNECTION_S` for everything, and of too many the oldest makes room for the newest. An answer that takes a while is
made on a second thread, one at a time.
"""

import json
import logging
import re
import selectors
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from typing import Final

from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.runtime.desk import Desk
from director_wsgi.runtime.worker import SERVER

CONNECTION_S: Final = 2.0
"""From when a connection is taken until it is closed, whatever its client does."""

MAX_CONNECTIONS: Final = 32
"""Open at a time; one more, and the oldest is closed."""

MAX_REQUEST_BYTES: Final = 16_384
"""Of a request's head: a token of 8 kB passes."""

MAX_AFTERWARDS_BYTES: Final = 1 << 18
"""What a client may send after its request; it is read and forgotten, since a connection closed upon it would be reset,
and the answer lost."""

TURN_S: Final = 0.25
"""How long it may take to notice that the worker ends, or that a connection's time is over."""

SHORTAGE_PAUSE_S: Final = 0.1
"""Until the next try, if a connection cannot be taken."""

JSON: Final = "application/json; charset=utf-8"

_REQUEST_LINE: Final = re.compile(rb"([A-Za-z]+) (/[!-~]*) HTTP/1\.[01]")
_METHODS: Final = frozenset({"GET", "HEAD"})

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked for.

    Attributes:
        path: As sent, without the query.
        query: As sent, without the `?`.
        authorization: The value of that header; empty if there is none.
    """

    path: str
    query: str = ""
    authorization: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is answered."""

    status: int
    body: bytes
    content_type: str = JSON


Later = Callable[[], Answer]
"""Makes an answer that takes a while; called on another thread."""

Answering = Callable[[Asked], Answer | Later]
"""Called on the admin thread, where it must not wait."""


def refused(status: int, words: str) -> Answer:
    """An answer in the words that all of the director's errors have."""
    return Answer(status=status, body=json.dumps({"status": "error", "msg": words}).encode())


class AdminServer:
    """The thread and its connections.

    Args:
        listener: Where to take connections; non-blocking, shared with other workers, and not closed here.
        answer: Who knows the answers.
        is_serving: Whether the worker takes requests; once it does not, connections are left to other workers.
        clock: Monotonic seconds.
    """

    # What follows belongs to the thread, but for _stopping.

    def __init__(
        self,
        listener: socket.socket,
        answer: Answering,
        *,
        is_serving: Callable[[], bool] = lambda: True,
        clock: Clock = monotonic,
    ) -> None:
        self._listener = listener
        self._answer = answer
        self._is_serving = is_serving
        self._clock = clock
        self._connections: dict[int, _Connection] = {}  # oldest first
        self._desk: Desk[_Connection, Answer] = Desk("director-admin-desk")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="director-admin", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._desk.start()
        self._thread.start()

    def stop(self, deadline: Deadline) -> bool:
        """Answer no more, and close the connections there are.

        Returns:
            Whether that is done by the deadline. If not, it will be within a moment.
        """
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(deadline.remaining_s())
        return self._desk.stop(deadline) and not self._thread.is_alive()

    def _run(self) -> None:
        with self._desk.bell, selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._desk.bell, selectors.EVENT_READ)
            is_listening = True
            try:
                while not self._stopping.is_set():
                    if is_listening and not self._is_serving():
                        selector.unregister(self._listener)
                        is_listening = False
                    for key, _events in selector.select(TURN_S):
                        connection: _Connection | None = key.data
                        if key.fileobj is self._desk.bell:
                            self._take_from_desk(selector)
                        elif connection is None:
                            self._accept(selector)
                        elif self._connections.get(key.fd) is connection:  # it may have made room a moment ago
                            self._go_on(selector, connection)
                    self._end_late(selector)
            finally:
                for connection in self._connections.values():
                    connection.close()

    def _accept(self, selector: selectors.BaseSelector) -> None:
        try:
            accepted, _peer = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another worker was faster, or the client has gone
        except OSError:
            self._stopping.wait(SHORTAGE_PAUSE_S)
            return
        accepted.setblocking(False)
        if len(self._connections) >= MAX_CONNECTIONS:
            self._end(selector, next(iter(self._connections.values())))
        connection = _Connection(accepted, Deadline.after(CONNECTION_S, self._clock))
        self._connections[accepted.fileno()] = connection
        selector.register(accepted, selectors.EVENT_READ, connection)
        self._go_on(selector, connection)  # as a rule the request is there

    def _go_on(self, selector: selectors.BaseSelector, connection: "_Connection") -> None:
        events = connection.go_on(self._answer)
        if connection.later is not None:
            selector.unregister(connection.socket)
            self._desk.put(connection, connection.later)
        elif events:
            selector.modify(connection.socket, events, connection)
        else:
            self._end(selector, connection)

    def _take_from_desk(self, selector: selectors.BaseSelector) -> None:
        for connection, told in self._desk.done():
            if self._connections.get(connection.socket.fileno()) is connection:  # else it was too late
                connection.take(told)
                selector.register(connection.socket, selectors.EVENT_WRITE, connection)

    def _end_late(self, selector: selectors.BaseSelector) -> None:
        for connection in [one for one in self._connections.values() if one.deadline.has_passed()]:
            self._end(selector, connection)

    def _end(self, selector: selectors.BaseSelector, connection: "_Connection") -> None:
        if connection.later is None:
            selector.unregister(connection.socket)
        del self._connections[connection.socket.fileno()]
        connection.close()


class _Connection:
    """One connection: reads a request, writes the answer, waits for the client to close. Never blocks.

    Attributes:
        later: What makes the answer, while that is being waited for; called on another thread.
    """

    def __init__(self, accepted: socket.socket, deadline: Deadline) -> None:
        self.socket = accepted
        self.deadline = deadline
        self.later: Later | None = None
        self._with_body = True
        self._events = selectors.EVENT_READ
        self._received = bytearray()
        self._unsent: memoryview | None = None
        self._afterwards_bytes = 0

    def go_on(self, answer: Answering) -> int:
        """Do what can be done now.

        Returns:
            The events to wait for; 0 if the connection has ended.
        """
        try:
            self._events = self._read(answer) if self._unsent is None else self._write_or_linger()
        except BlockingIOError:
            pass
        except OSError:
            return 0
        return self._events

    def take(self, told: Answer) -> None:
        """Here is the answer that was being made."""
        self.later = None
        self._unsent = memoryview(_written(told, with_body=self._with_body))
        self._events = selectors.EVENT_WRITE

    def close(self) -> None:
        """Give the socket back."""
        self.socket.close()

    def _read(self, answer: Answering) -> int:
        data = self.socket.recv(4096)
        if not data:
            return 0
        self._received += data
        head, end, _rest = self._received.partition(b"\r\n\r\n")
        if not end and len(head) <= MAX_REQUEST_BYTES:
            return selectors.EVENT_READ
        if len(head) > MAX_REQUEST_BYTES:
            head = bytearray()  # not to be looked at
        told, self._with_body = _answered(bytes(head), answer) if head else (_TOO_LARGE, True)
        self._received = bytearray()
        if not isinstance(told, Answer):
            self.later = partial(self._make, told)
            return 0
        self.take(told)  # writing is also where it is left if the client does not take anything yet
        return self._write_or_linger()

    def _make(self, later: Later) -> Answer:
        # Of a flood nothing is made that nobody waits for any more.
        return _made(later) if self.socket.fileno() >= 0 else _FAILED

    def _write_or_linger(self) -> int:
        if self._unsent:
            self._unsent = self._unsent[self.socket.send(self._unsent) :]
            if self._unsent:
                return selectors.EVENT_WRITE
            self.socket.shutdown(socket.SHUT_WR)
            return selectors.EVENT_READ
        forgotten = len(self.socket.recv(65_536))
        self._afterwards_bytes += forgotten
        return selectors.EVENT_READ if forgotten and self._afterwards_bytes < MAX_AFTERWARDS_BYTES else 0


_TOO_LARGE: Final = refused(431, "The request is too large")
_INVALID: Final = refused(400, "The request is not valid HTTP")
_WRONG_METHOD: Final = refused(405, "Only GET and HEAD are possible here")
_FAILED: Final = refused(500, "The director failed to answer this request; its log says why")


def _answered(head: bytes, answer: Answering) -> tuple[Answer | Later, bool]:
    """The answer to a request's head, and whether its body is wanted."""
    line, *fields = head.split(b"\r\n")
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        return _INVALID, True
    method, target = found[1].decode(), found[2].decode()
    if method not in _METHODS:
        return _WRONG_METHOD, True
    path, _, query = target.partition("?")
    asked = Asked(path=path, query=query, authorization=_authorization(fields))
    try:
        told = answer(asked)
    except Exception:  # a thread that ended would answer nobody any more
        _logger.exception("Cannot answer %s", path)
        told = _FAILED
    return told, method != "HEAD"


def _made(later: Later) -> Answer:
    try:
        return later()
    except Exception:  # the same
        _logger.exception("Cannot answer")
        return _FAILED


def _authorization(fields: list[bytes]) -> str:
    for one in fields:
        name, _, value = one.partition(b":")
        if name.lower() == b"authorization":
            return value.strip().decode("latin-1")
    return ""


def _written(answer: Answer, *, with_body: bool = True) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
        f"Server: {SERVER}",
        f"Date: {formatdate(usegmt=True)}",
        "Connection: close",
        "Cache-Control: no-store",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        *(["Allow: GET, HEAD"] if answer.status == HTTPStatus.METHOD_NOT_ALLOWED else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + (answer.body if with_body else b"")
