"""What HTTP makes of the director's answers, seen from one connection that lives on from request to request."""

import http.client
import json
from collections.abc import Iterator

import pytest

from tests.process.child import SETTINGS, Child, run
from tests.process.conftest import ENVIRON
from tests.process.soaked import SERVERS_VARIABLE

pytestmark = pytest.mark.process

ROWS = [
    {"is_cache": False, "name": "O", "url": "https://o.example.org", "namespaces": ["/a"]},
    {"is_cache": True, "name": "C", "url": "https://c.example.org", "namespaces": ["/a"]},
]
TEST_FILE = "/api/v1.0/director/healthTest/pelican/monitoring/x/director-test-2026-01-24T12:16:59Z.txt"
REQUESTS = [
    ("GET", "/a/object", 307),
    ("HEAD", "/a/object", 307),
    ("PUT", "/a/object", 307),
    ("PROPFIND", "/a", 307),
    ("COPY", "/a/object", 307),
    ("GET", "/a/object?redirect=false", 200),
    ("OPTIONS", "/", 200),
    ("OPTIONS", "/api/v1.0/director/origin/a", 200),
    ("GET", "/none/object", 404),
    ("HEAD", "/none/object", 404),
    ("POST", "/a/object", 404),
    ("LOCK", "/a/object", 405),
    ("GET", "/a/%zz", 400),
    ("GET", "/.well-known/pelican-configuration", 200),
    ("GET", "/.well-known/openid-configuration", 200),
    ("GET", "/.well-known/issuer.jwks", 200),
    ("GET", "/.well-known/none", 404),
    ("GET", "/api/v1.0/director/directors", 200),
    ("GET", "/api/v1.0/director/listNamespaces", 299),
    ("GET", "/api/v2.0/director/listNamespaces", 200),
    ("HEAD", "/api/v2.0/director/listNamespaces", 200),
    ("GET", TEST_FILE, 200),
    ("HEAD", TEST_FILE, 200),
    ("PROPFIND", TEST_FILE, 207),
    ("GET", "/api/v1.0/director/discoverServers", 403),
    ("GET", "/api/v1.0/director/getFedToken", 403),
    ("POST", "/api/v1.0/director/registerOrigin", 403),
    ("GET", "/api/v1.0/director_ui/servers", 200),
    ("GET", "/api/v1.0/director_ui/servers/none", 404),
    ("GET", "/api/v1.0/health", 200),
    ("GET", "/metrics", 403),
]


@pytest.fixture(scope="module")
def director(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    environ = ENVIRON | {SERVERS_VARIABLE: json.dumps(ROWS), "PELICAN_DIRECTOR_STARTUPWINDOW": "0s"}
    arguments = ("-c", str(SETTINGS), "-b", "127.0.0.1:0", "tests.process.soaked:application")
    with run(tmp_path_factory.mktemp("wire"), *arguments, environ=environ) as child:
        yield child.wait_until_ready()


@pytest.mark.parametrize("body", [None, b"null"], ids=["bare", "with a body"])
def test_c06_to_c09_every_answer_is_one_a_client_can_go_on_from(director: Child, body: bytes | None) -> None:
    """C-41: caches send the four letters `null` with their GET, and go on on the same connection."""
    connection = http.client.HTTPConnection("127.0.0.1", director.port, timeout=15)
    connection.connect()
    first = connection.sock
    for method, target, status in REQUESTS:
        connection.request(method, target, body=body, headers={"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        what = (method, target)

        assert answer.status == status, what
        (server,) = answer.headers.get_all("Server") or []  # C-06
        assert server.startswith("pelican/"), what
        for name in ("Date", "Content-Type", "Content-Length", "Location", "Link", "X-Pelican-Namespace"):
            assert len(answer.headers.get_all(name) or []) <= 1, (name, *what)
        if status >= 400 and method != "HEAD":
            assert answer.headers["Content-Type"] == "application/json; charset=utf-8", what  # C-07, C-08
            assert json.loads(text)["msg"], what
        if method == "HEAD":
            assert text == b"", what  # C-09
        assert connection.sock is first, what  # kept: http.client lets go of one that the answer ends
    connection.close()
