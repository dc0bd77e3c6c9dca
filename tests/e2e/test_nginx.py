"""nginx in front of the director, with the configuration that the deployment guide shows.

Most laws compare: the same bytes are sent to the director itself and through nginx, and the answers must be the same.
"""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlsplit

import pytest

from director_wsgi.demo.ads import AdBuilder, Kind
from director_wsgi.demo.certificates import Authority, TlsFiles, trusting
from director_wsgi.demo.origin import Export, Origin
from director_wsgi.demo.registry import Registry
from director_wsgi.demo.storage import Storage
from director_wsgi.demo.wire import HttpsServer
from tests.e2e.curl import Curl
from tests.e2e.director import Director, director
from tests.e2e.federation import advertised, registered
from tests.e2e.links import links_of
from tests.e2e.nginx import CONFIGURATION, nginx
from tests.e2e.programs import REPOSITORY
from tests.e2e.raw_http import answer_on, connected, head
from tests.process.child import Answer

THREADS = 6
"""Handler threads of the director."""

SLOW_CLIENTS = 4 * THREADS
TOKEN = "tok" * 2400
JOB = "X-Pelican-JobId: 8f6f6ad2-0a5c-4a37-9a3b-7a4b1e0a4c55"

NOBODY = "https://127.0.0.1:1"
"""A registry that cannot be reached."""

MADISON, TOKYO = (43.07, -89.4), (35.68, 139.69)
AT_MADISON, AT_TOKYO = "127.0.1.5", "127.0.2.5"
CONFIGURED = """\
Server:
  TrustedProxies: [127.0.0.1]
GeoIPOverrides:
  - {IP: 127.0.1.0/24, Coordinate: {Lat: 43.07, Long: -89.4}}
  - {IP: 127.0.2.0/24, Coordinate: {Lat: 35.68, Long: 139.69}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """nginx, the director behind it, and what nginx writes.

    Attributes:
        url: nginx's, which is the director's for the world.
        origins: URLs of both origins of `/shared`, the one in Madison first.
    """

    url: str
    director: Director
    tls: TlsFiles
    directory: Path
    home: Path
    storage: Path
    origins: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def ask(self, request: bytes, *, source: str = "127.0.0.1") -> Answer:
        """Send a request through nginx."""
        with connected(self.url, self.tls.ca, source=source) as connection:
            connection.sendall(request)
            return answer_on(connection, request.partition(b" ")[0].decode())

    def ask_director(self, request: bytes) -> Answer:
        """Send a request to the director itself."""
        with connected(self.director.url, self.tls.ca) as connection:
            connection.sendall(request)
            return answer_on(connection, request.partition(b" ")[0].decode())

    def get(self, target: str, *fields: str, source: str = "127.0.0.1") -> Answer:
        return self.ask(head("GET", target, self.host, *fields), source=source)


@contextmanager
def run_site(directory: Path, *, registry_url: str, tls: TlsFiles) -> Iterator[Site]:
    for name in ("director", "nginx", "home"):
        (directory / name).mkdir()
    settings = directory / "director" / "pelican.yaml"
    settings.write_text(CONFIGURED)
    environment = {
        "DIRECTOR_WSGI_CONFIG": str(settings),
        "PELICAN_DIRECTOR_THREADS": str(THREADS),
        "PELICAN_DIRECTOR_RESERVEDTHREADS": "2",
        "PELICAN_DIRECTOR_STARTUPWINDOW": "10m",
    }
    with ExitStack() as stack:
        door = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        url = f"https://localhost:{door.getsockname()[1]}"
        running = stack.enter_context(
            director(tls, directory / "director", registry_url=registry_url, environment=environment, proxy_url=url)
        )
        stack.enter_context(nginx(tls, directory / "nginx", door=door, director_url=running.url))
        yield Site(
            url=url,
            director=running,
            tls=tls,
            directory=directory / "nginx",
            home=directory / "home",
            storage=directory / "storage",
        )


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return Authority(tmp_path_factory.mktemp("authority")).issue()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, tls: TlsFiles) -> Iterator[Site]:
    """Two origins of one namespace, one in Madison and one in Tokyo, that advertise through nginx."""
    directory = tmp_path_factory.mktemp("site")
    export = Export(prefix="/shared", writes=True)
    registry = Registry()
    with ExitStack() as stack:
        registry_server = stack.enter_context(HttpsServer(registry, name="registry", tls=tls))
        running = stack.enter_context(run_site(directory, registry_url=registry_server.url, tls=tls))
        servers = []
        for name, place in (("MADISON", MADISON), ("TOKYO", TOKYO)):
            origin = Origin(Storage(running.storage), (export,))
            server = stack.enter_context(HttpsServer(origin, name=name.lower(), tls=tls))
            servers.append(registered(registry, name, Kind.ORIGIN, server.url, (export,), place=place))
        stack.enter_context(advertised(servers, running.url, trusting(tls.ca)))
        yield Site(
            url=running.url,
            director=running.director,
            tls=tls,
            directory=running.directory,
            home=running.home,
            storage=running.storage,
            origins=tuple(server.url for server in servers),
        )


def told(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return what an answer says, without what belongs to the connection or to the second."""
    passing = {"date", "connection"}
    return answer.status, sorted(field for field in answer.fields if field[0].lower() not in passing), answer.body


def message(answer: Answer) -> str:
    assert [value.partition(";")[0] for value in answer.all("Content-Type")] == ["application/json"]
    said = json.loads(answer.body)
    assert said["status"] == "error"
    return str(said["msg"])


TARGETS = [
    "/shared/plain?directread&skipstat",
    "/shared/a%2Fb%2fc?directread&skipstat",
    "/shared//a///b?directread&skipstat",
    "//shared/a?directread&skipstat",
    "/shared/x%23y%3Fz%25?directread&skipstat",
    "/shared/a+b;c,d=e:f@g!h~i?directread&skipstat&again=%2f%3F&q=a?b",
    "/shared/Zürich%20日本?directread&skipstat",
    "/shared/%E6%97%A5?directread&skipstat",
    "/shared/./a/../b/%2e%2e/c?directread&skipstat",
    "/shared/collection/?directread&skipstat",
    '/shared/"<>{}|\\^`?directread&skipstat',
    "/api/v1.0/director/origin/shared/a%20b?directread&skipstat",
    "/api//v1.0/director/object/shared/x?directread&skipstat",
    "/advertisement",
    "/shared/no%20such%20object",
    "/nowhere/x",
]


@pytest.mark.parametrize("target", TARGETS)
def test_target_means_through_nginx_what_it_means_to_the_director(site: Site, target: str) -> None:
    request = head("GET", target, site.host, JOB)
    answer = site.ask(request)
    assert told(answer) == told(site.ask_director(request))
    assert len(answer.all("Server")) == 1
    assert answer.all("Server")[0].startswith("pelican/")
    if "skipstat" in target:
        assert answer.status == 307


@pytest.mark.parametrize(
    ("method", "fields", "body"),
    [
        ("HEAD", [], b""),
        ("OPTIONS", [], b""),
        ("PROPFIND", ["Depth: 1", "Content-Type: text/xml"], b'<?xml version="1.0"?><propfind xmlns="DAV:"/>'),
        ("COPY", ["Source: https://elsewhere.example/x"], b""),
        ("DELETE", [], b""),
        ("PUT", [], b"some bytes"),
        ("PUT", ["Expect: 100-continue"], b"some bytes"),
        ("MKCOL", [], b""),
        ("GET", ["Content-Type: application/json"], b"null"),
        ("POST", [], b"what is this?"),
    ],
)
def test_method_means_through_nginx_what_it_means_to_the_director(
    site: Site, method: str, fields: list[str], body: bytes
) -> None:
    length = [f"Content-Length: {len(body)}"] if body else []
    request = head(method, "/shared/x?directread&skipstat", site.host, JOB, *fields, *length) + body
    answer = site.ask(request)
    assert told(answer) == told(site.ask_director(request))
    assert len(answer.all("Server")) == 1


def test_advertisements_came_through(site: Site) -> None:
    answer = site.get("/shared/x?directread&skipstat")
    assert {link.server for link in links_of(answer.all("Link")[0])} == set(site.origins)


@pytest.mark.parametrize(("source", "nearest"), [(AT_MADISON, 0), ("127.0.1.200", 0), (AT_TOKYO, 1)])
def test_place_is_that_of_the_client_and_not_of_nginx(site: Site, source: str, nearest: int) -> None:
    answer = site.get("/shared/x?directread&skipstat", source=source)
    assert answer.all("Location")[0].startswith(site.origins[nearest] + "/")


@pytest.mark.parametrize("field", ["X-Forwarded-For", "X-Real-IP"])
def test_address_that_a_client_claims_to_have_counts_for_nothing(site: Site, field: str) -> None:
    answer = site.get("/shared/x?directread&skipstat", f"{field}: {AT_TOKYO}", source=AT_MADISON)
    assert answer.all("Location")[0].startswith(site.origins[0] + "/")


def test_token_of_7_kb_passes_in_header_and_query(site: Site) -> None:
    assert len(TOKEN) > 7000
    by_header = site.get("/shared/x?directread&skipstat", f"Authorization: Bearer {TOKEN}")
    by_query = site.get(f"/shared/x?directread&skipstat&authz=Bearer%20{TOKEN}")
    for answer in (by_header, by_query):
        assert answer.status == 307
        assert TOKEN in answer.all("Location")[0]


def test_path_of_8_kb_passes_and_comes_back_for_each_server(site: Site) -> None:
    path = "/shared/" + "n" * 8000
    answer = site.get(f"{path}?directread&skipstat")
    assert answer.status == 307
    assert [urlsplit(link.url).path for link in links_of(answer.all("Link")[0])] == [path, path]


@pytest.mark.parametrize(
    ("request_line", "fields", "status"),
    [
        ("/" + "n" * 8300, [], 414),
        ("/shared/x", ["Authorization: Bearer " + "t" * 8300], 431),
        ("/shared/x", [f"X-{number}: x" for number in range(120)], 431),
    ],
)
def test_what_is_too_long_is_refused_by_the_director_in_json(
    site: Site, request_line: str, fields: list[str], status: int
) -> None:
    answer = site.get(request_line, *fields)
    assert answer.status == status
    assert message(answer)
    assert answer.all("Server")[0].startswith("pelican/")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /" + b"n" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
        (b"GET /../.. HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 16777217\r\n\r\n", 413),
    ],
)
def test_what_nginx_refuses_itself_is_json_and_not_signed_pelican(
    site: Site, request_bytes: bytes, status: int
) -> None:
    answer = site.ask(request_bytes)
    assert answer.status == status
    assert str(status) in message(answer)
    assert answer.all("Server") == ["nginx"]


def test_429_keeps_its_reason(site: Site) -> None:
    answer = site.get("/nobody/advertises/this")
    assert answer.status == 429
    assert "just restarted" in message(answer)
    assert answer.all("Server")[0].startswith("pelican/")


def test_upload_is_redirected_before_its_body(site: Site) -> None:
    """10 GiB are announced and 64 KiB sent: had nginx to read them first, there would be no answer."""
    request = head("PUT", "/shared/endless?directread&skipstat", site.host, f"Content-Length: {10 << 30}") + b"x" * (
        64 << 10
    )
    answer = site.ask(request)
    assert answer.status == 307
    assert answer.all("Location")[0].startswith(site.origins)
    assert [file for file in (site.directory / "body").rglob("*") if file.is_file()] == []


@pytest.mark.parametrize("options", [[], ["--header", "Expect:"], ["--header", "Transfer-Encoding: chunked"]])
def test_upload_by_curl_lands_at_an_origin(site: Site, rng_bytes: bytes, options: list[str]) -> None:
    source = site.home / "upload.bin"
    source.write_bytes(rng_bytes)
    name = f"by curl {len(options)}{len(''.join(options))}.bin"
    put = Curl(site.tls.ca, site.home)(f"{site.url}/shared/{quote(name)}", "--upload-file", str(source), *options)
    assert (put.status // 100, put.redirects) == (2, 1)
    assert put.url.startswith(site.origins)
    assert (site.storage / "objects" / "shared" / name).read_bytes() == rng_bytes


class Dripping:
    """Clients that send a byte now and then, and never the last one; until the block is left."""

    def __init__(self, url: str, ca: Path, request: bytes) -> None:
        self._stack = ExitStack()
        self.connections = []
        for _ in range(SLOW_CLIENTS):
            connection = self._stack.enter_context(connected(url, ca))
            connection.sendall(request)
            self.connections.append(connection)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._drip)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._stack.close()

    def _drip(self) -> None:
        while not self._ended.wait(0.2):
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.sendall(b"x")

    def answered(self) -> int:
        """End the dripping, and return how many have got an answer meanwhile."""
        self._ended.set()
        self._thread.join()
        return sum(map(_has_something, self.connections))


def _has_something(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False


UNFINISHED_HEADER = b"GET /shared/x?directread&skipstat HTTP/1.1\r\nHost: x\r\nX-Slow: "
UNFINISHED_AD = (
    b"POST /api/v1.0/director/registerOrigin HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n"
    b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"
)
UNFINISHED_AD_SPELT_OTHERWISE = UNFINISHED_AD.replace(b"/api/v1.0", b"/api//v1%2e0", 1)
UNFINISHED_UPLOAD = b"PUT /shared/x?directread&skipstat HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "is_answered"),
    [
        (UNFINISHED_HEADER, False),
        (UNFINISHED_AD, False),
        (UNFINISHED_AD_SPELT_OTHERWISE, False),
        (UNFINISHED_UPLOAD, True),
    ],
    ids=["header", "advertisement", "advertisement-spelt-otherwise", "upload"],
)
@pytest.mark.parametrize("door", ["nginx", "director"])
def test_more_slow_clients_than_threads_hold_up_nobody(
    site: Site, request_bytes: bytes, is_answered: bool, door: str
) -> None:
    url, ask = (site.url, site.ask) if door == "nginx" else (site.director.url, site.ask_director)
    question = head("GET", "/shared/x?directread&skipstat", site.host)
    with Dripping(url, site.tls.ca, request_bytes) as slow:
        statuses = {ask(question).status for _ in range(3 * THREADS)}
        answered = slow.answered()
    assert statuses == {307}
    assert answered == (SLOW_CLIENTS if is_answered else 0)


def test_connections_to_the_director_are_kept(site: Site) -> None:
    for _ in range(40):
        assert site.get("/api/v1.0/health").status == 200
    port = urlsplit(site.director.url).port or 0
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = [row for row in sockets if row[2].endswith(f":{port:04X}") and row[3] == "01"]
    assert 1 <= len(established) <= 2 * 16


def test_reload_of_the_director_loses_no_request(tls: TlsFiles, tmp_path: Path) -> None:
    clients, each = 4, 120
    on_the_way = threading.Barrier(clients + 1)

    def ask_often(host: str) -> list[int]:
        connection = HTTPSConnection(host, context=trusting(tls.ca), timeout=30.0)
        statuses = []
        for number in range(each):
            if number == each // 4:
                on_the_way.wait(30.0)
            connection.request("GET", "/api/v1.0/health")
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        connection.close()
        return statuses

    with run_site(tmp_path, registry_url=NOBODY, tls=tls) as site, ThreadPoolExecutor(clients) as pool:
        asking = [pool.submit(ask_often, site.host) for _ in range(clients)]
        on_the_way.wait(30.0)
        site.director.reload()
        statuses = [status for future in asking for status in future.result()]
    assert statuses == [200] * (clients * each)


def test_no_token_is_in_a_log(site: Site) -> None:
    secret = "s3cr3t-of-nobody-else"
    for target in ("/shared/x?authz=", "/%zz?authz=", "/nowhere/x?access_token="):
        site.get(target + secret, f"Authorization: Bearer {secret}")
    # nginx has something to say of an advertisement that is too long, and of a client that goes away.
    site.ask(head("POST", f"/x?authz={secret}", site.host, "Content-Length: 100000000"))
    with connected(site.url, site.tls.ca) as connection:
        connection.sendall(head("PUT", f"/shared/x?authz={secret}", site.host, "Content-Length: 100"))
    assert site.get("/shared/x?directread&skipstat").status == 307
    logs = [*site.directory.glob("*.log"), site.director.log]
    assert any("GET /shared/x 307" in log.read_text() for log in logs)
    assert [log.name for log in logs if secret in log.read_text(errors="replace")] == []


def test_503_keeps_retry_after_and_a_director_that_is_gone_is_502(tls: TlsFiles, tmp_path: Path) -> None:
    """The registry cannot be reached, so nobody can be admitted; then the director is not there either."""
    server = registered(Registry(), "NEW", Kind.ORIGIN, "https://localhost:1", (Export(prefix="/new"),))
    builder = AdBuilder(server)
    with run_site(tmp_path, registry_url=NOBODY, tls=tls) as site:
        body = json.dumps(builder.ad()).encode()
        fields = (f"Authorization: Bearer {builder.token(site.url)}", f"Content-Length: {len(body)}")
        refused = site.ask(head("POST", "/api/v1.0/director/registerOrigin", site.host, *fields) + body)
        site.director.stop()
        gone = site.get("/shared/x")
    assert refused.status == 503
    assert int(refused.all("Retry-After")[0]) > 0
    assert message(refused)
    assert gone.status == 502
    assert message(gone)
    assert gone.all("Server") == ["nginx"]


def test_guide_shows_the_configuration_that_is_tested() -> None:
    guide = (REPOSITORY / "docs" / "deployment.md").read_text()
    assert f"```nginx\n{CONFIGURATION.read_text()}```\n" in guide
