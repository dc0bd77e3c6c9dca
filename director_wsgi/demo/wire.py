"""A service on an HTTPS port of loopback: HTTP/1.1 with connections kept alive, a bounded number of threads.

TLS is spoken on the thread of the connection, so that a client that does not shake hands holds up nobody else.
"""

import collections
import logging
import socket
import socketserver
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from urllib3 import HTTPHeaderDict

from director_wsgi.demo.bodies import BadFramingError, ChunkedBody, SizedBody
from director_wsgi.demo.certificates import TlsFiles
from director_wsgi.demo.exchange import BadTargetError, BodyReader, NoBody, Request, Response, Service, parse_target
from director_wsgi.demo.exchange import text_response as text

CONNECTIONS = 128
"""Connections served at once, each by a thread; more wait in the kernel's queue."""

IDLE_S = 15.0
"""How long a connection may be silent, in a request or between two, and how long a write may take."""

DRAINED_BYTES = 16 * 1024 * 1024
"""How much of a body that nobody wanted is read, so that the client sees the answer instead of a reset."""

COUNTED = 10_000
"""How many different requests are counted one by one; further ones are not counted."""

_logger = logging.getLogger(__name__)


class HttpsServer:
    """One service on one port, from construction (when it listens already) to `close`."""

    def __init__(self, service: Service, *, name: str, tls: TlsFiles, port: int = 0) -> None:
        """Listen; requests are answered from now on.

        Args:
            service: Called on the thread of each connection.
            name: Names its threads, and itself in the `Server` header.
            tls: Its certificate.
            port: 0 for any free one.

        Raises:
            OSError: The port is taken.
        """
        self.name = name
        self.requests = RequestCounts()
        self._server = _Listener(service, name, tls.server_context(), port, self.requests)
        self.url = f"https://localhost:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name=f"accept-{name}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening and cut every connection; returns once no thread of it is left, or after some seconds."""
        self._server.shutdown()
        self._thread.join(IDLE_S)
        self._server.server_close()
        self._server.cut_connections()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RequestCounts:
    """How often which object was asked for how. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()

    def count(self, method: str, path: str) -> None:
        """One request more."""
        with self._lock:
            if (method, path) in self._counts or len(self._counts) < COUNTED:
                self._counts[method, path] += 1

    def of(self, method: str, path: str) -> int:
        """Requests so far with this method for this decoded path."""
        with self._lock:
            return self._counts[method, path]

    def total(self, method: str | None = None) -> int:
        """Requests so far, with this method or with any."""
        with self._lock:
            return sum(number for (own, _), number in self._counts.items() if method in (None, own))

    def clear(self) -> None:
        """Begin at zero."""
        with self._lock:
            self._counts.clear()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, service: Service, name: str, tls: ssl.SSLContext, port: int, requests: RequestCounts) -> None:
        self.service = service
        self.name = name
        self.requests = requests
        self._tls = tls
        self._permits = threading.BoundedSemaphore(CONNECTIONS)
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's asks the resolver for the host's name, which may take its time.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._permits.acquire(timeout=1.0):
            self.shutdown_request(request)
            return
        arguments = (request, client_address)
        thread = threading.Thread(target=self._serve, args=arguments, name=f"serve-{self.name}", daemon=True)
        with self._lock:
            self._connections[request] = thread
        thread.start()

    def _serve(self, plain: socket.socket, client_address: Any) -> None:
        try:
            plain.settimeout(IDLE_S)
            with self._tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as secured:
                # From now on the descriptor belongs to `secured`.
                with self._lock:
                    self._connections[secured] = self._connections.pop(plain)
                plain = secured
                secured.do_handshake()
                self.finish_request(secured, client_address)
        except OSError as error:
            _logger.debug("%s: a connection ended: %s", self.name, error)
        finally:
            with self._lock:
                self._connections.pop(plain, None)
            plain.close()
            self._permits.release()

    def cut_connections(self) -> None:
        with self._lock:
            connections = dict(self._connections)
        for connection in connections:
            try:
                # The one below TLS: a goodbye in its words could be waited for.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in connections.values():
            thread.join(1.0)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    wbufsize = 64 * 1024
    disable_nagle_algorithm = True
    server: _Listener

    def version_string(self) -> str:
        return f"director_wsgi-demo/{self.server.name}"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, the name is given
        """Nothing: a target may hold a token."""

    def handle_expect_100(self) -> bool:
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    def _exchange(self) -> None:
        try:
            body = self._body()
            response = self._response(body)
        except BadFramingError as error:
            self.close_connection = True
            body, response = None, text(400, str(error))
        try:
            self._send(response)
        finally:
            response.close()
        if isinstance(body, SizedBody | ChunkedBody) and not body.drain(DRAINED_BYTES):
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = _exchange  # noqa: N815, http.server looks them up so
    do_PROPFIND = do_MKCOL = do_COPY = do_MOVE = do_PATCH = _exchange  # noqa: N815

    def _response(self, body: BodyReader) -> Response:
        try:
            path, query = parse_target(self.path.encode("latin-1"))
        except BadTargetError as error:
            return text(400, str(error))
        self.server.requests.count(self.command, path)
        request = Request(
            method=self.command, path=path, query=query, headers=HTTPHeaderDict(self.headers.items()), body=body
        )
        try:
            return self.server.service.answer(request)
        except (ConnectionError, TimeoutError, BadFramingError):
            raise
        except Exception:
            # A defect here shall be seen, and shall not look like a server that went away.
            _logger.exception("%s: %s %s failed", self.server.name, self.command, path)
            return text(500, "internal error")

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers:
            self.send_header(name, value)
        if response.status >= 200 and response.status not in (204, 304):
            self.send_header("Content-Length", str(response.length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            for chunk in (response.body,) if isinstance(response.body, bytes) else response.body:
                self.wfile.write(chunk)
        self.wfile.flush()

    def _body(self) -> BodyReader:
        coding = self.headers.get("Transfer-Encoding", "").strip().lower()
        length = self.headers.get("Content-Length", "0").strip()
        if coding == "chunked":
            return ChunkedBody(self.rfile)
        if coding or not (length.isascii() and length.isdecimal()):
            raise BadFramingError("the length of the body is not understood")
        return SizedBody(self.rfile, int(length)) if int(length) else NoBody()
