"""The adapter mounted into a `requests.Session`: connections kept alive, and the reading of one answer.

It stands in for `requests.adapters.HTTPAdapter`, whose pool takes a connection back at the moment the last byte of a
body is read, before anybody could say that the exchange was cancelled meanwhile. Here a connection is handed on only
after its exchange has finished well. It also leaves out what costs a HEAD more than the HEAD (environment, cookies,
pool keys), and logs nothing: urllib3 logs the URL, query and token included, of every answer whose headers it dislikes.
"""

import contextlib
import http.client
import io
import select
import ssl
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from email import errors as email_errors
from typing import NamedTuple

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from director_wsgi.limits.deadline import Clock
from director_wsgi.outbound.exchange import Exchange
from director_wsgi.outbound.failures import Failure, OutboundError, failure_of
from director_wsgi.outbound.sockets import Connection, Dialler, Terms, TlsConnection

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PROPFIND", "PUT", "DELETE", "TRACE"})
"""Methods that may be sent again if nothing of an answer has come (RFC 9110 9.2.2)."""

_CHUNK_BYTES = 64 * 1024
_MAX_LENGTH_DIGITS = 18

_BROKEN_HEADERS = (
    email_errors.FirstHeaderLineIsContinuationDefect,
    email_errors.MissingHeaderBodySeparatorDefect,
    email_errors.MisplacedEnvelopeHeaderDefect,
)
"""Faults that the parser of `http.client` notes in silence while it drops the headers that follow."""


class Peer(NamedTuple):
    """Whom a connection leads to."""

    is_tls: bool
    host: str
    port: int

    def __str__(self) -> str:
        """`host:port`, as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class OutboundRequest(requests.PreparedRequest):
    """A request ready to be sent, and the exchange it belongs to.

    Not made by `prepare`, which costs a HEAD as much as the rest of it and encodes the URL anew.
    """

    method: str

    def __init__(
        self,
        method: str,
        peer: Peer,
        target: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        exchange: Exchange,
    ) -> None:
        super().__init__()
        self.method = method
        self.url: str = f"{'https' if peer.is_tls else 'http'}://{peer}{target}"
        self.payload = body
        self.peer = peer
        self.target = target
        self.fields = headers
        self.exchange = exchange


class IdleConnections:
    """Connections waiting for their next exchange, the newest used first.

    Safe to share between threads. Sockets are looked at and closed outside the lock.

    Args:
        capacity: Most connections kept, whomever they lead to; the oldest makes room.
        idle_s: A connection unused for longer is closed: a server or a firewall may have forgotten it silently.
        clock: Monotonic seconds.
    """

    def __init__(self, capacity: int, idle_s: float, clock: Clock) -> None:
        self._capacity = capacity
        self._idle_s = idle_s
        self._clock = clock
        self._lock = threading.Lock()
        # Under the lock, by number: the larger, the newer. And the numbers of each peer's, so that to find one costs
        # the same however many there are.
        self._idle: OrderedDict[int, tuple[Peer, Connection, float]] = OrderedDict()
        self._of_peer: dict[Peer, deque[int]] = {}
        self._numbers = 0
        self._closed = False

    def __len__(self) -> int:
        """Connections kept."""
        return len(self._idle)

    def keep(self, capacity: int) -> None:
        """Keep at most so many from the next `put` on."""
        self._capacity = capacity

    def take(self, peer: Peer, terms: Terms) -> Connection | None:
        """A connection to `peer` that looks alive, for the caller alone; None if there is none.

        What was made under terms that do not suit `terms` is closed.
        """
        while (kept := self._pop_newest(peer)) is not None:
            connection, since_at = kept
            is_young = self._clock() - since_at <= self._idle_s
            if is_young and terms.suit(connection.terms) and _is_quiet(connection):
                return connection
            connection.close()
        return None

    def put(self, peer: Peer, connection: Connection) -> None:
        """Keep `connection`, whose exchange has finished well; closes it after `close`."""
        now = self._clock()
        with self._lock:
            surplus = [connection] if self._closed else self._add(peer, connection, now)
        for old in surplus:
            old.close()

    def trim(self) -> None:
        """Close what is too old, or too much; needed only where no `put` comes, which does the same."""
        now = self._clock()
        with self._lock:
            surplus = self._remove_surplus(now)
        for old in surplus:
            old.close()

    def close(self) -> None:
        """Close what is kept, and from now on whatever is put."""
        with self._lock:
            self._closed = True
            idle = [self._remove(number) for number in tuple(self._idle)]
        for connection, _ in idle:
            connection.close()

    def _pop_newest(self, peer: Peer) -> tuple[Connection, float] | None:
        with self._lock:
            numbers = self._of_peer.get(peer)
            return self._remove(numbers[-1]) if numbers else None

    def _add(self, peer: Peer, connection: Connection, now: float) -> list[Connection]:
        """Add the newest, and remove and return what is too old or too many; the lock is held."""
        self._numbers += 1
        self._idle[self._numbers] = (peer, connection, now)
        self._of_peer.setdefault(peer, deque()).append(self._numbers)
        return self._remove_surplus(now)

    def _remove_surplus(self, now: float) -> list[Connection]:
        """The lock is held."""
        surplus = []
        while self._idle:
            oldest, (_, _, since_at) = next(iter(self._idle.items()))
            if len(self._idle) <= self._capacity and now - since_at <= self._idle_s:
                break
            surplus.append(self._remove(oldest)[0])
        return surplus

    def _remove(self, number: int) -> tuple[Connection, float]:
        """The lock is held."""
        peer, connection, since_at = self._idle.pop(number)
        numbers = self._of_peer[peer]
        numbers.remove(number)  # the first or the last of them
        if not numbers:
            del self._of_peer[peer]
        return connection, since_at


class DeadlineAdapter(BaseAdapter):
    """Sends an `OutboundRequest` within its deadline and reads the answer whole.

    Safe to share between threads. Timeouts, certificates and proxies that `requests` passes are not looked at: the
    exchange has its deadline, the terms of the moment say whom to believe, and proxies are not used.
    """

    def __init__(self, dialler: Dialler, terms: Callable[[], Terms], idle: IdleConnections) -> None:
        super().__init__()
        self._dialler = dialler
        self._terms = terms
        self._idle = idle

    def send(  # noqa: PLR0917, the signature is requests'
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: ARG002
        timeout: object = None,  # noqa: ARG002
        verify: object = True,  # noqa: ARG002
        cert: object = None,  # noqa: ARG002
        proxies: object = None,  # noqa: ARG002
    ) -> requests.Response:
        """Send `request` and read its answer; the body has been read when this returns.

        A connection that the server has closed since its last use is replaced once, by a fresh one, if nothing of an
        answer has come and the method is idempotent.

        Raises:
            OutboundError: There is no complete answer.
        """
        if not isinstance(request, OutboundRequest):
            raise TypeError("only an OutboundRequest says which exchange it belongs to")
        terms = self._terms()
        kept = self._idle.take(request.peer, terms)
        if kept is not None:
            try:
                return self._exchange(kept, request)
            except OutboundError as error:
                was_stale = error.failure is Failure.CUT_OFF and not request.exchange.answered
                if not (was_stale and request.method in IDEMPOTENT):
                    raise
        return self._exchange(self._connection_to(request.peer, terms), request)

    def close(self) -> None:
        """Close the idle connections; one in use is closed at the end of its exchange."""
        self._idle.close()

    def _connection_to(self, peer: Peer, terms: Terms) -> Connection:
        kind = TlsConnection if peer.is_tls else Connection
        return kind(peer.host, peer.port, self._dialler, terms)

    def _exchange(self, connection: Connection, request: OutboundRequest) -> requests.Response:
        exchange = request.exchange
        finished = False
        try:
            connection.serve(exchange)
            response = _converse(connection, request)
            exchange.finish()
            finished = True
        except Exception as error:  # parsers raise what they like at what a server may send
            exchange.raise_if_aborted()
            if isinstance(error, OutboundError):
                raise
            raise exchange.error(failure_of(error), type(error).__name__) from None
        finally:
            if not finished:
                exchange.detach()
                connection.close()
        if connection.sock is not None:
            self._idle.put(request.peer, connection)
        return response


def _converse(connection: Connection, request: OutboundRequest) -> requests.Response:
    request.exchange.expect_headers()
    # A server may refuse a body and close before it has read all of it: then its answer counts, not the broken pipe.
    with contextlib.suppress(BrokenPipeError):
        connection.request(request.method, request.target, body=request.payload, headers=request.fields)
    with contextlib.closing(connection.getresponse()) as answer:
        headers = _headers(answer, request.exchange)
        body = _body(answer, request)
    response = requests.Response()
    response.request = request
    response.url = request.url
    response.status_code = answer.status
    response.reason = answer.reason
    response.headers = headers
    response.raw = io.BytesIO(body)
    return response


def _headers(answer: http.client.HTTPResponse, exchange: Exchange) -> CaseInsensitiveDict[str]:
    """The headers, equal names joined by commas.

    Raises:
        OutboundError: MALFORMED if it cannot be told for sure where the answer ends, or if it is an interim one that
            nobody asked for (`http.client` skips 100 only).
    """
    message = answer.headers
    headers: dict[str, str] = {}
    for name, raw in message.items():
        key = name.lower()
        value = " ".join(raw.split()) if "\n" in raw or "\r" in raw else raw.strip()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    if answer.status < 200 or any(isinstance(defect, _BROKEN_HEADERS) for defect in message.defects):
        raise exchange.error(Failure.MALFORMED)
    if headers.get("transfer-encoding", "chunked").lower() != "chunked":
        raise exchange.error(Failure.MALFORMED, "Transfer-Encoding")
    if "content-length" in headers:
        headers["content-length"] = _length(headers["content-length"], exchange)
    return CaseInsensitiveDict(headers)


def _length(value: str, exchange: Exchange) -> str:
    """A length said several times alike is one length (RFC 9112 6.3)."""
    first, *others = (part.strip() for part in value.split(","))
    is_number = first.isascii() and first.isdigit() and len(first) <= _MAX_LENGTH_DIGITS
    if not is_number or any(other != first for other in others):
        raise exchange.error(Failure.MALFORMED, "Content-Length")
    return first


def _body(answer: http.client.HTTPResponse, request: OutboundRequest) -> bytes:
    if request.method == "HEAD" or answer.length == 0:
        return b""
    exchange = request.exchange
    in_chunks = bool(answer.chunked)
    exchange.expect_body(ended_by_eof=answer.length is None and not in_chunks, in_chunks=in_chunks)
    if answer.length is not None and answer.length > exchange.max_bytes:
        raise exchange.error(Failure.TOO_LARGE)
    body = bytearray()
    while chunk := answer.read(_CHUNK_BYTES):
        body += chunk
        if len(body) > exchange.max_bytes:
            raise exchange.error(Failure.TOO_LARGE)
    return bytes(body)


def _is_quiet(connection: Connection) -> bool:
    """Whether an idle connection is open and has nothing to read, as it should: neither an end nor a late answer."""
    sock = connection.sock
    if sock is None or (isinstance(sock, ssl.SSLSocket) and sock.pending()):
        return False
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return not poll.poll(0)
