"""Long listings behind gunicorn: whole, on connections that live on, and at nobody else's cost."""

import contextlib
import http.client
import json
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from director_wsgi.web.long_answers import share_of
from tests.process.child import SETTINGS, Child, get, run, wait_until
from tests.process.conftest import ENVIRON
from tests.process.listed import CACHES, FILL_VARIABLE, NAMES, PREFIXES

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def director(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    environ = ENVIRON | {FILL_VARIABLE: "1"}
    arguments = ("-c", str(SETTINGS), "-b", "127.0.0.1:0", "tests.process.listed:application")
    with run(tmp_path_factory.mktemp("listings"), *arguments, environ=environ) as child:
        yield child.wait_until_ready()


def test_they_are_whole_one_after_the_other_on_one_connection(director: Child) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", director.port, timeout=20)
    headers = {"Content-Type": "application/json"}

    def ask(path: str, method: str = "GET") -> bytes:
        connection.request(method, f"/api/v1.0/director_ui{path}", body=b"null", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200
        assert not answer.will_close
        return body

    servers = json.loads(ask("/servers"))
    assert [one["name"] for one in servers] == NAMES
    assert all(one["namespacePrefixes"] == PREFIXES for one in servers)
    assert ask("/servers", "HEAD") == b""
    namespaces = json.loads(ask("/namespaces"))
    assert [one["path"] for one in namespaces] == PREFIXES
    assert all((len(one["origins"]), len(one["caches"])) == (1, CACHES) for one in namespaces)
    assert json.loads(ask("/servers/SERVER%20007"))["name"] == "SERVER 007"
    connection.close()


def test_who_has_one_is_told_so_on_a_connection_that_lives_on(director: Child) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", director.port, timeout=20)

    def ask(path: str, method: str = "GET", tag: str = "") -> tuple[http.client.HTTPResponse, bytes]:
        connection.request(method, path, headers={"If-None-Match": tag} if tag else {})
        answer = connection.getresponse()
        body = answer.read()
        assert not answer.will_close
        return answer, body

    for path in (
        "/api/v2.0/director/listNamespaces",
        "/api/v1.0/director_ui/namespaces",
        "/api/v1.0/director_ui/servers/SERVER%20007",
    ):
        whole, body = ask(path)
        assert whole.getheader("Transfer-Encoding") is None
        assert int(whole.headers["Content-Length"]) == len(body) > 0
        tag = whole.headers["ETag"]
        head, nothing = ask(path, "HEAD")
        assert (head.headers["Content-Length"], head.headers["ETag"], nothing) == (str(len(body)), tag, b"")
        for method in ("GET", "HEAD"):
            had, nothing = ask(path, method, tag)
            assert (had.status, had.headers["ETag"], nothing) == (304, tag, b"")
            assert had.getheader("Content-Length") is None
            assert had.getheader("Transfer-Encoding") is None
        assert ask(path, tag='"another"')[1] == body
    connection.close()


def test_who_does_not_read_keeps_nobody_else_waiting(director: Child) -> None:
    with socket.socket() as silent:
        silent.settimeout(20)
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so the 9 MB do not fit into buffers
        silent.connect(("127.0.0.1", director.port))
        silent.sendall(b"GET /api/v1.0/director_ui/servers HTTP/1.1\r\nHost: x\r\n\r\n")
        assert silent.recv(15) == b"HTTP/1.1 200 OK"
        assert director.ask(get("/api/v1.0/director_ui/contact")).status == 200
        answer = director.ask(get("/federation/project-0001/x"))
        assert answer.status == 307
        listed = director.ask(get("/api/v1.0/director_ui/servers", "Accept: */*"))
        assert listed.status == 200


def test_many_who_read_slowly_hold_few_threads(director: Child) -> None:
    """More such clients than there are threads: most are refused, and everybody else is served."""
    path = "/api/v1.0/director_ui/servers"
    with contextlib.ExitStack() as stack:
        answers = []
        for _ in range(40):
            slow = stack.enter_context(socket.socket())
            slow.settimeout(20)
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", director.port))
            slow.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            answers.append(slow)
        statuses = Counter(slow.recv(12) for slow in answers)
        assert set(statuses) == {b"HTTP/1.1 200", b"HTTP/1.1 503"}
        assert statuses[b"HTTP/1.1 200"] <= share_of(32)
        assert director.ask(get("/federation/project-0001/x")).status == 307
        refused = director.ask(get(path))
        assert refused.status == 503
        assert refused.all("Retry-After") == ["5"]

    def is_served() -> bool:
        return director.ask(get(path)).status == 200

    wait_until(is_served, "the list, when the slow ones have gone")
