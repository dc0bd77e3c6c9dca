"""Admissions against a registry on a loopback socket that can be told to misbehave."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from director_wsgi.errors import AdForbidden, AdRejected, RegistryUnavailable
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.models import ServerKind
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import HttpClient, NameResolver, TlsTrust
from director_wsgi.trust.admission import Admission
from director_wsgi.trust.inquiry import PERMITS, REFETCH_INTERVAL_S, Inquiries
from director_wsgi.trust.prefixes import AllowedPrefixes
from director_wsgi.trust.registry import NoAnswer, Registry
from tests.fakes import FakeClock
from tests.unit.trust.forge import NOW, Key, cache_body, jwks, origin_body

KEY = Key()
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
    """An admission with a real client; advertisements and tokens are dated by a wall clock that stands still."""

    def __init__(self, client: HttpClient, url: str, *, timeout_s: float) -> None:
        registry = Registry(client, url)
        self.directory = Directory()
        self.inquiries = Inquiries(registry, timeout_s=timeout_s)
        self.prefixes = AllowedPrefixes(registry)
        self.admission = Admission(
            directory=self.directory,
            inquiries=self.inquiries,
            prefixes=self.prefixes,
            default_lifetime_s=900,
            help_text="",
            wall=lambda: NOW,
        )

    def admit(self, number: int = 1, key: Key = KEY) -> None:
        self.admission.admit(
            ServerKind.ORIGIN,
            origin_body(**{"registry-prefix": f"/origins/o{number}", "data-url": f"https://o{number}.example.org"}),
            authorization=f"Bearer {key.token()}",
            user_agent="pelican-origin/7.20.0",
            deadline=Deadline.after(WAIT_S),
        )

    @property
    def count(self) -> int:
        return len(self.directory.snapshot().servers)


@pytest.fixture
def registry() -> Iterator[LoopbackRegistry]:
    server = LoopbackRegistry()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="loopback-registry")
    thread.start()
    yield server
    server.gate.set()
    server.shutdown()
    thread.join(WAIT_S)
    server.server_close()


@pytest.fixture
def client() -> Iterator[HttpClient]:
    names = NameResolver()
    client = HttpClient(names=names, trust=TlsTrust(), user_agent="pelican-director/1.0.0")
    yield client
    client.close()
    names.close()


@pytest.fixture
def house(client: HttpClient, registry: LoopbackRegistry) -> House:
    return House(client, registry.url, timeout_s=WAIT_S)


def test_all_questions_of_an_advertisement_go_over_one_connection(house: House, registry: LoopbackRegistry) -> None:
    house.admit()
    assert house.count == 1
    assert registry.connections == 1


def test_a_hanging_registry_holds_two_admissions_and_the_others_are_told_at_once(
    house: House, registry: LoopbackRegistry
) -> None:
    registry.gate.clear()
    with ThreadPoolExecutor(PERMITS) as pool:
        held = [pool.submit(house.admit, number) for number in range(PERMITS)]
        for _ in held:
            assert registry.arrived.acquire(timeout=WAIT_S)
        for number in range(PERMITS, 30):
            with pytest.raises(RegistryUnavailable) as caught:  # while both are still held: nothing opens the gate
                house.admit(number)
            assert caught.value.retry_after_s == 1
        assert not any(future.done() for future in held)
        assert registry.most_inside == PERMITS == 2
        registry.gate.set()
        for future in held:
            future.result(WAIT_S)
    assert house.count == PERMITS
    house.admit(PERMITS)
    assert house.count == PERMITS + 1


def test_a_known_sender_passes_while_both_permits_are_held(house: House, registry: LoopbackRegistry) -> None:
    house.admit(0)
    while registry.arrived.acquire(blocking=False):
        pass
    registry.gate.clear()
    with ThreadPoolExecutor(PERMITS) as pool:
        held = [pool.submit(house.admit, number) for number in range(1, PERMITS + 1)]
        for _ in held:
            assert registry.arrived.acquire(timeout=WAIT_S)
        house.admit(0)
        registry.gate.set()
        for future in held:
            future.result(WAIT_S)


def test_an_admission_that_is_held_ends_at_its_deadline_and_gives_its_permit_back(
    client: HttpClient, registry: LoopbackRegistry
) -> None:
    house = House(client, registry.url, timeout_s=0.2)
    registry.gate.clear()
    for number in range(PERMITS + 1):
        with pytest.raises(RegistryUnavailable):
            house.admit(number)
        assert registry.arrived.acquire(timeout=WAIT_S), "the registry was not asked"
    registry.gate.set()
    house.inquiries._timeout_s = WAIT_S  # so that a slow machine cannot fail what follows
    house.admit()
    assert house.count == 1


def test_a_registry_that_is_away_refuses_nobody(client: HttpClient, registry: LoopbackRegistry) -> None:
    house = House(client, registry.url, timeout_s=WAIT_S)
    house.admit()
    gone = House(client, "http://127.0.0.1:1", timeout_s=WAIT_S)
    with pytest.raises(RegistryUnavailable):
        gone.admit()
    with pytest.raises(NoAnswer, match="refused"):
        Registry(client, "http://127.0.0.1:1").is_approved("/x", Deadline.after(WAIT_S))


def test_a_rotated_key_is_found_at_once_and_the_old_one_refused(client: HttpClient, registry: LoopbackRegistry) -> None:
    clock = FakeClock()
    house = House(client, registry.url, timeout_s=WAIT_S)
    house.admission._inquiries = Inquiries(Registry(client, registry.url), timeout_s=WAIT_S, clock=clock)
    # Deadlines stay on the real clock: only the ages of what is remembered are on the fake one.
    house.admit()
    new = Key("k2")
    registry.keys = [new]
    with pytest.raises(AdForbidden, match="failed to find a key"):
        house.admit(1, new)  # fetched a moment ago; the rate is bounded
    clock.advance(REFETCH_INTERVAL_S)
    house.admit(1, new)
    with pytest.raises(AdForbidden, match="failed to find a key"):
        house.admit(1)


def test_garbage_from_the_registry_is_a_refusal_and_never_a_crash(house: House, registry: LoopbackRegistry) -> None:
    for garbage in (b"<html>", b"\xff" * 100, b"[" * 50_000, b"9" * 5000, b'{"approved":"yes"}'):
        registry.garbage = garbage
        with pytest.raises(AdForbidden):
            house.admit()
    registry.garbage = b" " * (1 << 20)
    with pytest.raises(RegistryUnavailable):  # larger than any answer may be: not read to its end
        house.admit()
    assert house.count == 0


@pytest.mark.parametrize(
    ("status", "expected"), [(500, RegistryUnavailable), (429, RegistryUnavailable), (400, AdForbidden)]
)
def test_statuses_of_the_registry(
    house: House, registry: LoopbackRegistry, status: int, expected: type[AdRejected]
) -> None:
    registry.status = status
    with pytest.raises(expected):
        house.admit()


def test_caches_are_admitted_from_the_first_table_on(house: House, registry: LoopbackRegistry) -> None:
    def admit() -> None:
        house.admission.admit(
            ServerKind.CACHE,
            cache_body("/demo"),
            authorization=KEY.token(),
            user_agent="",
            deadline=Deadline.after(WAIT_S),
        )

    with pytest.raises(RegistryUnavailable):
        admit()
    assert registry.connections == 0
    assert house.prefixes.refresh(Deadline.after(WAIT_S))
    admit()
    assert house.count == 1
