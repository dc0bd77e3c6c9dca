"""Sockets and connections that know the exchange they serve.

Three things bound an exchange:

- Before each step a socket sets what remains of the deadline as its timeout. One step is bounded by its timeout as a
  whole (CPython sees to that also for `sendall`, a TLS handshake and a TLS record that arrives in pieces), so the sum
  of all steps is bounded, however little each of them brings.
- After each read it accounts for the bytes, so headers cannot grow, and takes an end of the stream within them for
  what it is: `http.client` would take it for the end of the headers, and the answer for a success.
- The exchange can shut the socket down from another thread.
"""

import errno
import http.client
import socket
import ssl
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from director_wsgi.outbound.exchange import Exchange
from director_wsgi.outbound.failures import Failure
from director_wsgi.outbound.names import Address, NameResolver

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL})


class DeadlineSocket(socket.socket):
    """A TCP socket whose every step takes what remains of the deadline of `exchange`."""

    exchange: Exchange

    def recv_into(self, buffer: "WriteableBuffer", nbytes: int = 0, flags: int = 0) -> int:
        """Read within the deadline; accounts for what came."""
        self.settimeout(self.exchange.remaining_s())
        count = super().recv_into(buffer, nbytes, flags)
        self.exchange.note_received(count)
        return count

    def sendall(self, data: "ReadableBuffer", flags: int = 0) -> None:
        """Write all of `data` within the deadline."""
        self.settimeout(self.exchange.remaining_s())
        super().sendall(data, flags)


class DeadlineTlsSocket(ssl.SSLSocket):
    """The same under TLS; made by an `SSLContext` whose `sslsocket_class` it is."""

    exchange: Exchange

    def recv_into(self, buffer: "WriteableBuffer", nbytes: int | None = None, flags: int = 0) -> int:
        """Read within the deadline; accounts for what came."""
        self.settimeout(self.exchange.remaining_s())
        count = super().recv_into(buffer, nbytes, flags)
        self.exchange.note_received(count)
        return count

    def send(self, data: "ReadableBuffer", flags: int = 0) -> int:
        """Write some of `data` within the deadline; `sendall` consists of these."""
        self.settimeout(self.exchange.remaining_s())
        return super().send(data, flags)

    def getpeername(self) -> Any:
        """The other end's address, or None if it has gone.

        `wrap_socket` looks whether the socket is connected, and where it is not any more it may leave the descriptor
        open in an object that nobody has. The handshake finds out as well, and cleanly.
        """
        try:
            return super().getpeername()
        except OSError:
            return None


class Dialler:
    """Opens connections: resolves, checks addresses, connects to one after the other.

    Args:
        names: Where addresses come from.
    """

    def __init__(self, names: NameResolver) -> None:
        self._names = names

    def dial(self, host: str, port: int, exchange: Exchange, terms: "Terms") -> DeadlineSocket:
        """Connect to the first address of `host` that takes the connection; the socket is attached to `exchange`.

        The time left is shared out evenly over the addresses left, so that a dead first one (IPv6, say) leaves the
        second a chance.

        Raises:
            OutboundError: NAME, FORBIDDEN_ADDRESS, or what the last address tried failed with: REFUSED, TIMED_OUT,
                OTHER; or as aborted.
        """
        addresses = self._allowed(host, port, exchange, terms.rules)
        problem = exchange.error(Failure.OTHER)
        for position, address in enumerate(addresses):
            share_s = exchange.remaining_s() / (len(addresses) - position)
            try:
                return self._connect(address, exchange, min(share_s, terms.connect_timeout_s))
            except OSError as error:
                exchange.raise_if_aborted()
                problem = exchange.error(_connect_failure(error), _reason(error))
        raise problem

    def _allowed(self, host: str, port: int, exchange: Exchange, rules: "Rules | None") -> tuple[Address, ...]:
        addresses = self._names.resolve(host, port, exchange.deadline, waiter=exchange.waiter())
        exchange.raise_if_aborted()
        if rules is None:
            return addresses
        allowed = tuple(address for address in addresses if rules.allowed(address.ip))
        if not allowed:
            raise exchange.error(Failure.FORBIDDEN_ADDRESS)
        return allowed

    @staticmethod
    def _connect(address: Address, exchange: Exchange, timeout_s: float) -> DeadlineSocket:
        sock = DeadlineSocket(address.family, socket.SOCK_STREAM)
        try:
            sock.exchange = exchange
            exchange.attach(sock)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(timeout_s)
            sock.connect(address.sockaddr)
        except BaseException:
            exchange.detach()
            sock.close()
            raise
        return sock


@dataclass(frozen=True)
class TlsTrust:
    """Whom to believe.

    One object should be shared by all clients that trust alike: the certificates are loaded once per object, at the
    first connection.

    Attributes:
        ca_file: PEM file of authorities trusted besides the system's.
        skip_verify: Believe anybody (Pelican's `TLSSkipVerify`); for tests.
        digest: Of what `ca_file` holds, for whoever wants to tell another content from the same; not looked at here.
    """

    ca_file: Path | None = None
    skip_verify: bool = False
    digest: str = ""

    @cached_property
    def context(self) -> ssl.SSLContext:
        """The context of every connection that trusts so.

        Raises:
            OSError: `ca_file` cannot be read, or holds no certificate (`ssl.SSLError`).
        """
        context = ssl.create_default_context()
        if self.ca_file is not None:
            context.load_verify_locations(self.ca_file)
        if self.skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["http/1.1"])
        context.sslsocket_class = DeadlineTlsSocket
        return context


class Rules(Protocol):
    """Says which addresses may be connected to. Two of them that say the same should be equal."""

    def allowed(self, address: str) -> bool:
        """Whether an IP address, as text, may be connected to. Any thread; must not wait."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for every call of one moment, and may be otherwise at the next.

    Attributes:
        trust: Whom to believe under TLS; share one object between equal terms.
        rules: Which addresses may be connected to; None: all. Asked for what a name resolves to, before each connect.
        connect_timeout_s: Longest wait for one address to take a connection.
    """

    trust: TlsTrust
    rules: Rules | None = None
    connect_timeout_s: float = 10.0

    def suit(self, made_under: "Terms") -> bool:
        """Whether a connection that was made under those others could have been made under these."""
        return made_under is self or (made_under.trust == self.trust and made_under.rules == self.rules)


class Connection(http.client.HTTPConnection):
    """A connection to one server, used for one exchange after the other.

    `exchange` must be set before each request; only the thread of that exchange may use the connection meanwhile.

    Attributes:
        terms: Under which it is made.
    """

    exchange: Exchange
    sock: DeadlineSocket | DeadlineTlsSocket | None

    def __init__(self, host: str, port: int, dialler: Dialler, terms: Terms) -> None:
        # A dot at the end makes a name absolute for the resolver; neither certificates nor Host headers carry it.
        super().__init__(host.rstrip("."), port)
        self._dial_host = host
        self._dialler = dialler
        self.terms = terms

    def serve(self, exchange: Exchange) -> None:
        """Work for `exchange` from now on; takes the open socket, if there is one, into its reach."""
        self.exchange = exchange
        if self.sock is not None:
            self.sock.exchange = exchange
            exchange.attach(self.sock)

    def connect(self) -> None:
        """Open the socket; called by `http.client` when the first request is about to be sent."""
        self.sock = self._dial()

    def _dial(self) -> DeadlineSocket:
        return self._dialler.dial(self._dial_host, self.port, self.exchange, self.terms)


class TlsConnection(Connection):
    """The same under TLS. The certificate must be valid for the host of the URL, whatever it resolved to."""

    default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        """Open the socket and shake hands within what remains of the deadline."""
        self.sock = plain = self._dial()
        try:
            self._start_tls(plain)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError; ValueError: a host no certificate can name
            self.exchange.raise_if_aborted()
            failure = Failure.TIMED_OUT if isinstance(error, TimeoutError) else Failure.TLS
            raise self.exchange.error(failure, _reason(error)) from None

    def _start_tls(self, plain: DeadlineSocket) -> None:
        # Not the handshake of wrap_socket: an abort must find the new socket while it shakes hands.
        tls = self.terms.trust.context.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock = cast("DeadlineTlsSocket", tls)
        self.serve(self.exchange)
        tls.settimeout(self.exchange.remaining_s())
        tls.do_handshake()


def _connect_failure(error: OSError) -> Failure:
    match error:
        case TimeoutError():
            return Failure.TIMED_OUT
        case ConnectionError():
            return Failure.REFUSED
        case _ if error.errno in _UNREACHABLE:
            return Failure.REFUSED
        case _:
            return Failure.OTHER


def _reason(error: Exception) -> str:
    """What went wrong, in words that quote nothing of the request."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return type(error).__name__
