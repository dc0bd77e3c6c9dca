"""A registry on loopback, and an admission that asks it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from director_wsgi.errors import RegistryUnavailable
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.filters import Filters
from director_wsgi.federation.models import ServerKind
from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.outbound.client import HttpClient
from director_wsgi.trust.admission import Admission
from director_wsgi.trust.inquiry import Inquiries
from director_wsgi.trust.prefixes import AllowedPrefixes
from director_wsgi.trust.registry import Registry
from tests.servers.faults import FaultServer
from tests.unit.trust.forge import NOW, Key, jwks, origin_body

KEY = Key()
_API = "/api/v1.0/registry"
WAIT_S = 20.0
"""Nothing here takes that long unless it is broken."""


class LoopbackRegistry(ThreadingHTTPServer):
    """Registers and approves every prefix; all prefixes share `keys`.

    Attributes:
        keys: Published now.
        gate: Questions wait here; set unless the registry hangs.
        inside, most_inside: Questions waiting now, and the most that ever waited at once.
        arrived: Released once for each question.
        connections: How many were accepted.
        status: Of every answer.
        garbage: Body of every answer, if not empty.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.keys = [KEY]
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Semaphore(0)
        self.lock = threading.Lock()
        self.inside = 0
        self.most_inside = 0
        self.connections = 0
        self.status = 200
        self.garbage = b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def get_request(self) -> tuple[object, object]:  # type: ignore[override]
        self.connections += 1
        return super().get_request()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes
    server: LoopbackRegistry

    def do_GET(self) -> None:
        if self.path.endswith("/openid-configuration"):
            base = self.path.removesuffix("openid-configuration")
            self.reply(json.dumps({"jwks_uri": f"{self.server.url}{base}issuer.jwks"}).encode())
        elif self.path.endswith("/issuer.jwks"):
            self.reply(jwks(*self.server.keys))
        else:
            self.reply(b"{}")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(b'{"approved":true}')

    def reply(self, body: bytes) -> None:
        with self.server.lock:
            self.server.inside += 1
            self.server.most_inside = max(self.server.most_inside, self.server.inside)
        self.server.arrived.release()
        try:
            assert self.server.gate.wait(WAIT_S)
        finally:
            with self.server.lock:
                self.server.inside -= 1
        body = self.server.garbage or body
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # the director gave up waiting

    def log_message(self, *args: object) -> None:
        pass


class House:
    """An admission with a real client; advertisements and tokens are dated by a wall clock that stands still.

    A context manager: inside, questions to the registry are asked by threads of their own.

    Args:
        clock: Of the ages of answers. Deadlines of advertisements are real.
    """

    def __init__(self, client: HttpClient, url: str, *, timeout_s: float = WAIT_S, clock: Clock = monotonic) -> None:
        registry = Registry(client, url)
        self.client = client
        self.directory = Directory()
        self.inquiries = Inquiries(registry, timeout_s=timeout_s, clock=clock)
        self.prefixes = AllowedPrefixes(registry)
        self.admission = Admission(
            directory=self.directory,
            filters=Filters(wall=lambda: NOW),
            inquiries=self.inquiries,
            prefixes=self.prefixes,
            default_lifetime_s=900,
            help_text="",
            wall=lambda: NOW,
        )

    def __enter__(self) -> Self:
        self.inquiries.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        assert self.inquiries.stop(Deadline.after(WAIT_S)), "a thread that asks the registry has not ended"

    def admit(self, number: int = 1, key: Key = KEY) -> None:
        self.admission.admit(
            ServerKind.ORIGIN,
            origin_body(**{"registry-prefix": f"/origins/o{number}", "data-url": f"https://o{number}.example.org"}),
            authorization=f"Bearer {key.token()}",
            user_agent="pelican-origin/7.20.0",
            deadline=Deadline.after(WAIT_S),
        )

    def is_admitted(self, number: int) -> bool:
        """Try to admit it; False if it has to come again."""
        try:
            self.admit(number)
        except RegistryUnavailable:
            return False
        return True

    @property
    def count(self) -> int:
        return len(self.directory.snapshot().servers)


class FaultyRegistry:
    """What is registered, told by a fault server, which can do anything else instead.

    Attributes:
        server: The fault server.
        approved: What it says of every prefix.
        keys: Registered for every prefix.
    """

    def __init__(self, server: FaultServer, *prefixes: str) -> None:
        self.server = server
        self.approved = True
        self.keys: tuple[Key, ...] = (KEY,)
        self._prefixes = prefixes
        self.tell()

    def tell(self) -> None:
        """Answer as a registry does, from now on."""
        self.server.behave("status", code=404, body=b'{"status":"error","msg":"no such page"}')
        for path, value in self._answers().items():
            self.server.behave("ok", path=path, body=json.dumps(value).encode())

    def misbehave(self, name: str, **arguments: object) -> None:
        """Do this instead, whatever is asked."""
        self.server.behave(name, **arguments)
        if name == "refuse":
            self.server.drop_connections()
        else:
            for path in self._answers():
                self.server.behave(name, path=path, **arguments)

    def _answers(self) -> dict[str, object]:
        answers: dict[str, object] = {f"{_API}/checkNamespaceStatus": {"approved": self.approved}}
        for prefix in self._prefixes:
            issuer = f"{_API}{prefix}/.well-known"
            answers[f"{issuer}/openid-configuration"] = {"jwks_uri": f"{self.server.url}{issuer}/issuer.jwks"}
            answers[f"{issuer}/issuer.jwks"] = json.loads(jwks(*self.keys))
            answers[f"{_API}/server{prefix}"] = {"name": "ORIGIN_1"}
        return answers
