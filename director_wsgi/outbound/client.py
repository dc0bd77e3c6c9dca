"""HttpClient: the door through which every HTTP call of the director goes.

Calls go straight to the server: neither proxies nor credentials are taken from the environment, no cookie is kept, no
redirect is followed, and nothing is sent twice but the one case that `transport` describes.
"""

import io
import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests

from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.outbound.exchange import Cancellation, Exchange
from director_wsgi.outbound.failures import Failure, OutboundError
from director_wsgi.outbound.names import NameResolver
from director_wsgi.outbound.sockets import Dialler, Rules, Terms, TlsTrust
from director_wsgi.outbound.transport import DeadlineAdapter, IdleConnections, OutboundRequest, Peer

__all__ = [
    "Answer",
    "Cancellation",
    "Failure",
    "HttpClient",
    "NameResolver",
    "OutboundError",
    "Rules",
    "Terms",
    "TlsTrust",
]

IDLE_S = 30.0
"""How long a connection is kept that nobody uses: a server or a firewall may have forgotten it silently after that."""

_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?:\[(?P<ip6>[0-9a-f:.]{2,45})\]|(?P<host>[a-z0-9._-]{1,253}))"
    r"(?::(?P<port>\d{1,5}))?"
    r"(?P<target>[/?][!\"$-~]*)?"  # visible ASCII but "#"
    r"(?:\#[!-~]*)?",
    re.IGNORECASE | re.ASCII,
)
_METHOD = re.compile(r"[A-Z]{1,32}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered, whatever its status.

    Attributes:
        status: 200 to 999.
        headers: Looked up without regard to case; equal names joined by commas. `Content-Length`, if present, is a
            whole number of at most 18 digits.
        body: Decoded from transfer coding, not from content coding; empty for HEAD.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Session(requests.Session):
    """A session that leaves redirects alone: `requests` would read their body without bound and parse their target."""

    def resolve_redirects(self, *_args: Any, **_options: Any) -> Generator[requests.Response, None, None]:
        """Resolve none."""
        yield from ()


class HttpClient:
    """Sends requests to one server or to several, from any number of threads.

    It never waits for a connection to become free: more sends at once than `connections` open more, which are closed
    after use. Whoever uses it limits how many sends are under way.

    Args:
        names: Resolver, shared between clients; not closed by this one.
        terms: Tells what holds now; asked at the beginning of every send, must not wait. Connections that were made
            under terms which do not suit these are not used any more.
        user_agent: Sent unless a call has its own.
        connections: Most connections kept open between sends.
        clock: Monotonic seconds, for the age of idle connections.
    """

    def __init__(
        self,
        *,
        names: NameResolver,
        terms: Callable[[], Terms],
        user_agent: str,
        connections: int = 10,
        clock: Clock = monotonic,
    ) -> None:
        self._user_agent = user_agent
        self._closing = Cancellation(Failure.CLOSED)
        self._idle = IdleConnections(connections, IDLE_S, clock)
        self._session = _session(DeadlineAdapter(Dialler(names), terms, self._idle))

    @property
    def idle_connections(self) -> int:
        """Connections open that no send uses."""
        return len(self._idle)

    def keep(self, connections: int) -> None:
        """Keep so many connections open between sends from now on, at most. What is too many goes with the next one."""
        self._idle.keep(connections)

    def trim(self) -> None:
        """Close connections that nobody has used for long; to be called now and then. Does not wait."""
        self._idle.trim()

    def send(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int = 1 << 20,
        cancellation: Cancellation | None = None,
    ) -> Answer:
        """Send one request and read its answer whole; blocks until then or `deadline`, whichever comes first.

        Args:
            method: In any case.
            url: http or https, visible ASCII, sent as it stands (nothing is quoted or unquoted); a fragment is left
                out, a user or password is refused.
            deadline: End of everything: name, connect, TLS, headers, body.
            headers: Sent besides `Host`, `User-Agent`, `Accept-Encoding: identity` and `Content-Length`.
            body: Sent with its length.
            max_bytes: Longest body accepted. Headers have a bound of their own, 64 KiB, and so has transfer framing.
            cancellation: Ends the send when thrown.

        Returns:
            The answer, whatever its status.

        Raises:
            OutboundError: There is no complete answer; nothing else is raised for what a server, a URL or a header
                may be.
        """
        peer, target = _parse(url)
        exchange = Exchange(str(peer), deadline, max_bytes)
        method, fields = method.upper(), {} if headers is None else headers
        _check(method, fields, exchange)
        if not any(name.lower() == "user-agent" for name in fields):
            fields = {"User-Agent": self._user_agent, **fields}
        request = OutboundRequest(method, peer, target, headers=fields, body=body, exchange=exchange)
        switches = (self._closing,) if cancellation is None else (self._closing, cancellation)
        for switch in switches:
            switch.cover(exchange)
        try:
            exchange.remaining_s()
            return self._answer(request)
        finally:
            for switch in switches:
                switch.release(exchange)

    def close(self) -> None:
        """Close what is open; sends under way end with CLOSED, later ones begin and end so. Does not wait."""
        self._closing.cancel()
        self._session.close()

    def _answer(self, request: OutboundRequest) -> Answer:
        # Redirects are "allowed" since that is the cheaper of two ways to nothing: the session resolves none.
        response = self._session.send(request, stream=True, proxies=None, allow_redirects=True)
        raw: io.BytesIO = response.raw
        return Answer(response.status_code, response.headers, raw.getvalue())


def _session(adapter: DeadlineAdapter) -> requests.Session:
    session = _Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    session.adapters.clear()
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _check(method: str, headers: Mapping[str, str], exchange: Exchange) -> None:
    """Refuse what `http.client` would send although it is none (a name with a blank), or quote in its complaint."""
    if not _METHOD.fullmatch(method):
        raise exchange.error(Failure.MALFORMED, "method")
    for name, value in headers.items():
        if not (_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
            raise exchange.error(Failure.MALFORMED, "header")


def _parse(url: str) -> tuple[Peer, str]:
    """Split a URL into whom to ask and what to ask for.

    Raises:
        OutboundError: MALFORMED; the message does not quote the URL, which may hold a token.
    """
    parts = _URL.fullmatch(url)
    if parts is None:
        raise OutboundError(Failure.MALFORMED, "not a URL that can be sent as it stands")
    is_tls = parts["scheme"].lower() == "https"
    port = int(parts["port"]) if parts["port"] else (443 if is_tls else 80)
    if not 0 < port < 65536:
        raise OutboundError(Failure.MALFORMED, "no such port")
    target = parts["target"] or "/"
    return Peer(is_tls, (parts["ip6"] or parts["host"]).lower(), port), target if target[0] == "/" else f"/{target}"
