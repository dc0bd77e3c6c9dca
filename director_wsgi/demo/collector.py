"""A collector of OpenTelemetry's spans on loopback, which takes everything and counts it. Plain HTTP."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PATH: Final = "/v1/traces"
SERVICE: Final = "service.name"

_IDLE_S: Final = 10.0
_POLL_S: Final = 0.02
_MOST_BYTES: Final = 1 << 20


class Tally:
    """Counts spans. Any number of threads at once."""

    # _lock guards _spans.

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: dict[str, int] = {}

    def spans(self) -> dict[str, int]:
        """How many have come so far, by the name of the service that sent them."""
        with self._lock:
            return dict(self._spans)

    def take(self, body: bytes) -> None:
        """Count what was posted.

        Raises:
            DecodeError: It is nothing of OpenTelemetry's.
        """
        request = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            for resource in request.resource_spans:
                names = [one.value.string_value for one in resource.resource.attributes if one.key == SERVICE]
                name = names[-1] if names else ""
                new = sum(len(scope.spans) for scope in resource.scope_spans)
                self._spans[name] = self._spans.get(name, 0) + new


class Collector:
    """Listens from construction to `close`."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._server = _Server(self._tally)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="demo-collector", daemon=True
        )
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """Where spans are to be posted to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{PATH}"

    def spans(self) -> dict[str, int]:
        """How many have come so far, by the name of the service that sent them."""
        return self._tally.spans()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a connection that is kept open would hold the end up
    request_queue_size = 64

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        """Spans."""
        status = 200
        body = self.rfile.read(min(int(self.headers.get("Content-Length", "0")), _MOST_BYTES))
        try:
            self.server.tally.take(gzip.decompress(body) if self.headers.get("Content-Encoding") else body)
        except (DecodeError, OSError):
            status = 400
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")  # no bytes are an ExportTraceServiceResponse, too
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002, http.server's parameter
        """Say nothing: the terminal belongs to the play."""
