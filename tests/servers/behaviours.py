"""What a fault server can do to a connection or a request. Each is a function; its name is how it is asked for."""

import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.servers.faults import FaultServer


@dataclass(frozen=True)
class Seen:
    """A request that arrived.

    Attributes:
        headers: By lower-case name; the last of several.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


class Visit:
    """One connection, as a behaviour sees it.

    Attributes:
        seen: The request to answer; None for a behaviour that acts before any has come.
        is_first: Whether it is the connection's first request.
    """

    def __init__(self, server: "FaultServer", sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.seen: Seen | None = None
        self.answered = 0

    def send(self, data: bytes) -> None:
        """Write all of it."""
        self.sock.sendall(data)

    def pause(self, seconds: float) -> bool:
        """Wait; False if the server ends meanwhile."""
        return not self.server.ending.wait(seconds)

    def hang(self) -> None:
        """Do nothing until the other side goes away or the server ends."""
        with contextlib.suppress(OSError):
            while self.sock.recv(65536):
                pass

    def reset(self) -> None:
        """Break the connection with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Behaviour = Callable[..., bool]
"""Takes a `Visit` and keyword arguments; says whether the connection is kept for another request."""

ON_REQUEST: dict[str, Behaviour] = {}
"""Behaviours that answer a request, by name."""

ON_CONNECTION: dict[str, Behaviour] = {}
"""Behaviours that act before a byte is read, by name; not for single paths."""


def fault(behaviour: Behaviour) -> Behaviour:
    """Make a function known by its name, as a way to answer a request."""
    ON_REQUEST[behaviour.__name__] = behaviour
    return behaviour


def connection_fault(behaviour: Behaviour) -> Behaviour:
    """Make a function known by its name, as what happens to a connection before anything is read."""
    ON_CONNECTION[behaviour.__name__] = behaviour
    return behaviour


# -- behaviours that answer


@fault
def ok(
    visit: Visit, *, length: int = 1234, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> bool:
    """200 with a length, and a body of that length for all but HEAD."""
    content = b"x" * length if body is None else body
    return _reply(visit, 200, content, headers)


@fault
def status(visit: Visit, *, code: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bool:
    """This status."""
    return _reply(visit, code, body, headers)


@fault
def document(visit: Visit, *, body: bytes = b"{}", kind: str = "application/yaml") -> bool:
    """A document that its server knows again: 304 for whoever has it already."""
    etag = f'"{hashlib.sha256(body).hexdigest()}"'
    is_known = visit.seen is not None and visit.seen.headers.get("if-none-match") == etag
    headers = {"ETag": etag, "Content-Type": kind}
    return _reply(visit, 304, b"", headers) if is_known else _reply(visit, 200, body, headers)


@fault
def slow(visit: Visit, *, seconds: float, code: int = 200) -> bool:
    """A good answer, late."""
    return visit.pause(seconds) and _reply(visit, code, b"x" * 10, None)


@fault
def held(visit: Visit, *, until: threading.Event) -> bool:
    """A good answer once somebody says so."""
    while not until.wait(0.01):
        if visit.server.ending.is_set():
            return False
    return _reply(visit, 200, b"x" * 10, None)


@fault
def hang_after_request(visit: Visit) -> bool:
    """Read the request, then nothing."""
    visit.hang()
    return False


@fault
def hang_in_body(visit: Visit, *, length: int = 1000) -> bool:
    """Headers and half the body, then nothing."""
    visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + b"x" * (length // 2))
    visit.hang()
    return False


@fault
def drip(visit: Visit, *, interval_s: float = 0.02, start: bytes = b"HTTP/1.1 200 OK\r\nX-Filler: ") -> bool:
    """A byte of headers now and then, for ever; `start` is dripped first."""
    position = 0
    while visit.pause(interval_s):
        visit.send(start[position : position + 1] or b"x")
        position += 1
    return False


@fault
def drip_status(visit: Visit, *, interval_s: float = 0.02) -> bool:
    """The status line, a byte now and then, its reason without end."""
    return drip(visit, interval_s=interval_s, start=b"HTTP/1.1 200 ")


@fault
def drip_lines(visit: Visit, *, interval_s: float = 0.02) -> bool:
    """A header line now and then, for ever."""
    visit.send(b"HTTP/1.1 200 OK\r\n")
    number = 0
    while visit.pause(interval_s):
        visit.send(b"X-Line-%d: x\r\n" % number)
        number += 1
    return False


@fault
def drip_body(visit: Visit, *, interval_s: float = 0.02) -> bool:
    """Headers at once, then a byte of a long body now and then."""
    visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n")
    while visit.pause(interval_s):
        visit.send(b"x")
    return False


@fault
def endless_continue(visit: Visit, *, interval_s: float = 0.01) -> bool:
    """`100 Continue` for ever; without a pause if `interval_s` is 0."""
    while visit.pause(interval_s):
        visit.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    return False


@fault
def interim(visit: Visit, *, code: int = 103) -> bool:
    """An interim answer that nobody asked for, and then the real one."""
    visit.send(b"HTTP/1.1 %d Early\r\nLink: </x>\r\n\r\n" % code)
    return _reply(visit, 200, b"x" * 10, None)


@fault
def continue_then_ok(visit: Visit, *, times: int = 3) -> bool:
    """Some `100 Continue`, as is allowed, and then a good answer."""
    visit.send(b"HTTP/1.1 100 Continue\r\n\r\n" * times)
    return _reply(visit, 200, b"x" * 10, None)


@fault
def cut_off(visit: Visit, *, after: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n") -> bool:
    """Send just this and close."""
    visit.send(after)
    return False


@fault
def cut_off_in_body(visit: Visit, *, length: int = 1000) -> bool:
    """Close after half the body."""
    visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + b"x" * (length // 2))
    return False


@fault
def close_without_answer(visit: Visit) -> bool:
    """Read the request and close."""
    return False


@fault
def reset(visit: Visit) -> bool:
    """Read the request and break the connection."""
    visit.reset()
    return False


@fault
def raw(visit: Visit, *, data: bytes, keep: bool = False) -> bool:
    """Exactly these bytes."""
    visit.send(data)
    return keep


@fault
def omit_length(visit: Visit) -> bool:
    """200 without a length; a body, if any, ends with the connection."""
    visit.send(b"HTTP/1.1 200 OK\r\nServer: faults\r\n\r\n" + (b"" if _is_head(visit) else b"x" * 100))
    return _is_head(visit)


@fault
def chunked(visit: Visit, *, body: bytes = b"x" * 100, chunk_bytes: int = 16) -> bool:
    """A body in chunks."""
    visit.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    if not _is_head(visit):
        for start in range(0, len(body), chunk_bytes):
            chunk = body[start : start + chunk_bytes]
            visit.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        visit.send(b"0\r\n\r\n")
    return True


@fault
def endless_trailers(visit: Visit) -> bool:
    """A body in chunks whose trailers never end, as fast as they go."""
    visit.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
    while not visit.server.ending.is_set():
        visit.send(b"X-Line: x\r\n" * 1000)
    return False


@fault
def huge_header(visit: Visit, *, size_bytes: int = 300_000) -> bool:
    """One header line of this size."""
    visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Huge: " + b"x" * size_bytes + b"\r\n\r\n")
    return True


@fault
def many_headers(visit: Visit, *, lines: int = 1000) -> bool:
    """As many header lines."""
    visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")
    visit.send(b"".join(b"X-Line-%d: x\r\n" % number for number in range(lines)) + b"\r\n")
    return True


@fault
def endless_headers(visit: Visit) -> bool:
    """Header lines as fast as they go, for ever."""
    visit.send(b"HTTP/1.1 200 OK\r\n")
    while not visit.server.ending.is_set():
        visit.send(b"X-Line: x\r\n" * 100)
    return False


@fault
def redirect_loop(visit: Visit) -> bool:
    """A redirect to itself."""
    assert visit.seen is not None
    return _reply(visit, 307, b"", {"Location": visit.server.url + visit.seen.path})


@fault
def body_for_head(visit: Visit, *, times: int = 1000) -> bool:
    """A body even for HEAD, which is against the rules; it reads like answers, as many `times`."""
    lie = b"HTTP/1.1 500 Lie\r\n\r\n" * times
    visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(lie) + lie)
    return True


@fault
def flap(visit: Visit, *, good: int = 1, bad: int = 1, then: str = "close_without_answer") -> bool:
    """Take turns: `good` requests answered, the next `bad` treated as `then` says."""
    is_good = visit.server.use("flap") % (good + bad) < good
    return (ok if is_good else ON_REQUEST[then])(visit)


@fault
def close_when_reused(visit: Visit) -> bool:
    """Answer the first request of a connection, and close without an answer at the second."""
    return visit.answered == 0 and ok(visit)


# -- behaviours that act before


@connection_fault
def hang_after_accept(visit: Visit) -> bool:
    """Accept and do nothing, not even TLS."""
    visit.hang()
    return False


@connection_fault
def close_after_accept(visit: Visit) -> bool:
    """Accept and close."""
    return False


@connection_fault
def reset_after_accept(visit: Visit) -> bool:
    """Accept and break the connection."""
    visit.reset()
    return False


@connection_fault
def stall_in_tls(visit: Visit) -> bool:
    """Read the beginning of the handshake, answer half a record, then nothing."""
    visit.sock.recv(65536)
    visit.send(b"\x16\x03\x03\x00\x7a\x02")
    visit.hang()
    return False


@connection_fault
def drip_in_tls(visit: Visit, *, interval_s: float = 0.02) -> bool:
    """Answer the handshake with a record that arrives a byte now and then and never ends."""
    visit.sock.recv(65536)
    visit.send(b"\x16\x03\x03\x3f\xff")
    while visit.pause(interval_s):
        visit.send(b"x")
    return False


@connection_fault
def plain_in_tls(visit: Visit) -> bool:
    """Answer the handshake in plain HTTP."""
    visit.sock.recv(65536)
    visit.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    return False


# -- helpers


def _is_head(visit: Visit) -> bool:
    return visit.seen is not None and visit.seen.method == "HEAD"


def _reply(visit: Visit, code: int, body: bytes, headers: Mapping[str, str] | None) -> bool:
    fields = {"Server": "faults", "Content-Length": str(len(body)), **(headers or {})}
    lines = [f"HTTP/1.1 {code} Status", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    visit.send("\r\n".join(lines).encode("latin-1") + (b"" if _is_head(visit) else body))
    return fields.get("Connection") != "close"
