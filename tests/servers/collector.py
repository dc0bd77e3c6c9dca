"""A collector of OpenTelemetry's spans on loopback, which may refuse, keep silent, drip or come to nothing."""

import contextlib
import enum
import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.servers.authority import Certificate

PATH = "/v1/traces"


class Mode(enum.Enum):
    """What it does with a post."""

    OK = "ok"
    PARTIAL = "partial"  # takes all but the first span
    SILENT = "silent"
    DRIP = "drip"
    UNAVAILABLE = "503"
    BROKEN = "400"
    REDIRECT = "302"
    REFUSE = "refuse"  # does not listen


@dataclass(frozen=True, kw_only=True)
class Told:
    """One span, as it arrived."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    began_ns: int
    ended_ns: int
    attributes: Mapping[str, Any]
    events: tuple[tuple[str, Mapping[str, Any]], ...]
    is_error: bool
    resource: Mapping[str, Any] = field(repr=False)


class Collector:
    """A context manager; its port stays its own while it does not listen.

    Attributes:
        bodies: Of all posts, unpacked.
        headers: Of all posts, by lower-case name.
    """

    def __init__(self, mode: Mode = Mode.OK, *, retry_after: str = "", certificate: Certificate | None = None) -> None:
        self._certificate = certificate
        self.retry_after = retry_after
        self.bodies: list[bytes] = []
        self.headers: list[Mapping[str, str]] = []
        self.ending = threading.Event()
        self._changed = threading.Condition()
        self._mode = mode
        self._server: ThreadingHTTPServer | None = None
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]

    @property
    def endpoint(self) -> str:
        """Where to post to."""
        scheme = "https" if self._certificate else "http"
        return f"{scheme}://127.0.0.1:{self.port}{PATH}"

    @property
    def mode(self) -> Mode:
        """What it does."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        if mode is Mode.REFUSE:
            self._stop()
        elif self._server is None:
            self._start()

    def __enter__(self) -> Self:
        self.mode = self._mode
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self._stop()

    def _start(self) -> None:
        server = self._server = _Server(("127.0.0.1", self.port), _Handler)
        server.collector = self
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate.chain_file, self._certificate.key_file)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, args=(0.02,), name="collector", daemon=True).start()

    def _stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def came(self, body: bytes, headers: Mapping[str, str]) -> None:
        """A post has arrived."""
        with self._changed:
            self.bodies.append(body)
            self.headers.append(headers)
            self._changed.notify_all()

    def wait_for(self, holds: Callable[[], bool], within_s: float = 20.0) -> None:
        """Wait until something holds of what has arrived."""
        with self._changed:
            assert self._changed.wait_for(holds, within_s), f"not within {within_s} s; there are {self.spans}"

    def wait_for_spans(self, number: int, within_s: float = 20.0) -> list[Told]:
        """Wait for so many spans."""
        self.wait_for(lambda: len(self.spans) >= number, within_s)
        return self.spans

    @property
    def spans(self) -> list[Told]:
        """All that have arrived, in their order."""
        return [span for body in tuple(self.bodies) for span in spans_of(body)]


def spans_of(body: bytes) -> list[Told]:
    """The spans of one post."""
    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    return [
        Told(
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            kind=span.kind,
            began_ns=span.start_time_unix_nano,
            ended_ns=span.end_time_unix_nano,
            attributes=_values(span.attributes),
            events=tuple((event.name, _values(event.attributes)) for event in span.events),
            is_error=span.status.code == 2,
            resource=_values(whole.resource.attributes),
        )
        for whole in request.resource_spans
        for scope in whole.scope_spans
        for span in scope.spans
    ]


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # of socketserver's 5 places, many tracers lose a packet at once, and a second with it
    collector: Collector

    def handle_error(self, *_: object) -> None:
        """Whoever has gone has gone."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        """Take a post, or not."""
        collector = self.server.collector
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        collector.came(body, {name.lower(): value for name, value in self.headers.items()})
        mode = collector.mode
        if mode is Mode.SILENT:
            self._hang()
        elif mode is Mode.DRIP:
            self._drip()
        elif mode in {Mode.OK, Mode.PARTIAL}:
            answer = ExportTraceServiceResponse()
            if mode is Mode.PARTIAL:
                answer.partial_success.rejected_spans = 1
            self._answer(200, answer.SerializeToString())
        else:
            self._answer(int(mode.value), b"no")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if self.server.collector.retry_after:
            self.send_header("Retry-After", self.server.collector.retry_after)
        if status == 302:
            self.send_header("Location", f"http://127.0.0.1:{self.server.collector.port}/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _hang(self) -> None:
        """Say nothing until the other side goes away."""
        self.close_connection = True
        self.connection.settimeout(0.05)
        while not self.server.collector.ending.is_set():
            try:
                if not self.connection.recv(1):
                    return
            except TimeoutError:
                continue
            except OSError:
                return

    def _drip(self) -> None:
        """A byte of a header now and then, for ever."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
            while not self.server.collector.ending.wait(0.05):
                self.connection.sendall(b"x")

    def log_message(self, *_: object) -> None:
        """Nothing."""


def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait until something holds that nobody tells of."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, "it does not come about"
        time.sleep(0.005)
