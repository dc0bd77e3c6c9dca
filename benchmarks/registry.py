"""A registry that knows everybody and approves of everything, at speed: what advertisements are measured with.

It answers what a director asks about an advertisement (Pelican `registry/registry.go`), from memory, over kept-alive
connections.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

API = "/api/v1.0/registry"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one segment
    server: "_Registry"

    def do_GET(self) -> None:
        path = self.path
        if path.endswith("/.well-known/openid-configuration"):
            issuer = path.removesuffix("/.well-known/openid-configuration")
            self._answer({"issuer": f"{self.server.url}{issuer}", "jwks_uri": f"{self.server.url}/keys"})
        elif path == "/keys":
            self._answer(self.server.key_set)
        elif path == f"{API}/caches/allowedPrefixes":
            self._answer({})
        elif path == "/api/v1.0/downtime":
            self._answer([])
        elif path.startswith(f"{API}/server/"):
            self._answer({"name": path.rpartition("/")[2].partition(".")[0]})
        else:
            self._answer({"status": "error", "msg": "not found"}, status=404)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer({"approved": True})

    def _answer(self, document: object, status: int = 200) -> None:
        self.server.questions += 1
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


class _Registry(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, key_set: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.key_set = key_set
        self.questions = 0


@contextmanager
def registry(key_set: dict[str, Any]) -> Iterator[_Registry]:
    """A registry on loopback until the block ends.

    Args:
        key_set: The public keys of every server (JWKS).
    """
    serving = _Registry(key_set)
    thread = threading.Thread(target=serving.serve_forever, name="benchmark-registry", daemon=True)
    thread.start()
    try:
        yield serving
    finally:
        serving.shutdown()
        serving.server_close()
        thread.join()
