import json
from pathlib import Path

import pytest

from director_wsgi.demo.ads import Kind
from director_wsgi.demo.exchange import Request, Response, text_response
from director_wsgi.demo.monitored import MONITORING, REPORT_SCOPE, Monitored, MonitoredCache, MonitoredOrigin
from director_wsgi.demo.origin import Export, Origin
from director_wsgi.demo.storage import Storage
from tests.unit.demo.ask import asking, content

URL = "https://localhost:1"
FILE = f"{MONITORING}/directorTest/director-test-2026-01-01T00:00:00Z.txt"
COPY = f"{MONITORING}/directorTest/localhost/2026-01-01/director-test-2026-01-01T00:00:00Z.txt"
REPORT = "/api/v1.0/origin/directorTest"
EVICT = "/api/v1.0/cache/evictTestFile"


class Federation:
    """Permits what a token says letter by letter: for whom, and what."""

    def permits(self, token: str, *, audience: str, scope: str) -> bool:
        return token == f"{audience} {scope}"


class ForClients:
    def answer(self, request: Request) -> Response:
        return text_response(200, f"clients: {request.method} {request.path}")


@pytest.fixture
def origin(tmp_path: Path) -> MonitoredOrigin:
    files = Origin(Storage(tmp_path), (Export(prefix=MONITORING, writes=True),))
    origin = MonitoredOrigin(ForClients(), files)
    origin.connect(URL, Federation())
    return origin


@pytest.fixture
def forgotten() -> list[str]:
    return []


@pytest.fixture
def cache(forgotten: list[str]) -> MonitoredCache:
    cache = MonitoredCache(ForClients(), forgotten.append)
    cache.connect(URL, Federation())
    return cache


def ask(server: Monitored, method: str, path: str, *, scope: str = "", body: bytes = b"") -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {URL} {scope}"} if scope else {}
    response = server.answer(asking(method, path, headers=headers, body=body))
    return response.status, content(response)


def told(status: object) -> bytes:
    return json.dumps({"status": status, "message": "", "timestamp": 1}).encode()


def test_the_director_writes_reads_and_deletes(origin: MonitoredOrigin) -> None:
    assert ask(origin, "PUT", FILE, scope="storage.modify:/", body=b"test")[0] == 201
    assert ask(origin, "GET", FILE, scope="storage.read:/") == (200, b"test")
    assert ask(origin, "DELETE", FILE, scope="storage.modify:/")[0] == 204
    assert ask(origin, "GET", FILE, scope="storage.read:/")[0] == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
@pytest.mark.parametrize("scope", ["", "storage.create:/", REPORT_SCOPE])
def test_without_the_word_for_it_nothing_is_done(origin: MonitoredOrigin, method: str, scope: str) -> None:
    ask(origin, "PUT", FILE, scope="storage.modify:/", body=b"test")
    assert ask(origin, method, FILE, scope=scope, body=b"other")[0] == 403
    assert ask(origin, "GET", FILE, scope="storage.read:/") == (200, b"test")


def test_to_write_takes_another_word_than_to_read(origin: MonitoredOrigin) -> None:
    assert ask(origin, "PUT", FILE, scope="storage.read:/", body=b"x")[0] == 403
    assert ask(origin, "GET", FILE, scope="storage.modify:/")[0] == 403


@pytest.mark.parametrize("method", ["PROPFIND", "MKCOL", "OPTIONS", "POST"])
def test_nothing_else_can_be_done_with_test_files(origin: MonitoredOrigin, method: str) -> None:
    assert ask(origin, method, FILE, scope="storage.modify:/")[0] == 405


def test_a_token_leads_nowhere_else(origin: MonitoredOrigin, tmp_path: Path) -> None:
    (tmp_path / "objects" / "secret").write_bytes(b"s")
    for path in (f"{MONITORING}/../../secret", f"{MONITORING}//../../secret"):
        assert ask(origin, "GET", path, scope="storage.read:/")[0] == 404
    assert ask(origin, "GET", "/secret") == (200, b"clients: GET /secret\n")


def test_what_is_not_the_directors_is_for_clients(origin: MonitoredOrigin, cache: MonitoredCache) -> None:
    for server, path in ((origin, "/x"), (origin, MONITORING), (cache, FILE), (cache, REPORT)):
        assert ask(server, "GET", path) == (200, f"clients: GET {path}\n".encode())


@pytest.mark.parametrize(("status", "health"), [("ok", "ok"), ("error", "critical")])
def test_a_report_is_heeded(origin: MonitoredOrigin, status: str, health: str) -> None:
    code, body = ask(origin, "POST", REPORT, scope=REPORT_SCOPE, body=told(status))
    assert (code, json.loads(body)) == (200, {"status": "success", "msg": "Success"})
    assert origin.reports.status == health


@pytest.mark.parametrize(
    ("method", "scope", "body", "code"),
    [
        ("POST", "", told("ok"), 403),
        ("POST", "storage.modify:/", told("ok"), 403),
        ("GET", REPORT_SCOPE, told("ok"), 405),
        *(("POST", REPORT_SCOPE, body, 400) for body in (b"", b"{", b"[]", b"{}", b"\xff", told("fine"), told([]))),
        ("POST", REPORT_SCOPE, b"[" * 60_000, 400),
    ],
)
def test_any_other_report_is_refused_in_json(
    origin: MonitoredOrigin, method: str, scope: str, body: bytes, code: int
) -> None:
    status, answer = ask(origin, method, REPORT, scope=scope, body=body)
    assert (status, json.loads(answer)["status"]) == (code, "error")
    assert (origin.reports.status, origin.reports.taken) == ("warning", 0)


def test_a_cache_drops_a_test_file_when_told_to(cache: MonitoredCache, forgotten: list[str]) -> None:
    body = json.dumps({"path": COPY}).encode()
    assert ask(cache, "POST", EVICT, body=body)[0] == 403
    assert ask(cache, "POST", EVICT, scope="storage.modify:/", body=body)[0] == 403
    assert forgotten == []
    assert ask(cache, "POST", EVICT, scope=REPORT_SCOPE, body=body)[0] == 200
    assert forgotten == [COPY]


@pytest.mark.parametrize("path", ["/public/x", FILE, f"{COPY}/x", COPY.replace("/localhost/", "/../"), "", None, 1])
def test_a_cache_drops_nothing_else(cache: MonitoredCache, forgotten: list[str], path: object) -> None:
    body = json.dumps({"path": path}).encode()
    assert ask(cache, "POST", EVICT, scope=REPORT_SCOPE, body=body)[0] == 400
    assert forgotten == []


def test_before_it_knows_the_federation_a_server_believes_nobody(tmp_path: Path) -> None:
    origin = MonitoredOrigin(ForClients(), Origin(Storage(tmp_path), ()))
    assert ask(origin, "PUT", FILE, scope="storage.modify:/")[0] == 403
    assert ask(origin, "POST", REPORT, scope=REPORT_SCOPE, body=told("ok"))[0] == 403


def test_each_kind_is_told_at_a_place_of_its_own(cache: MonitoredCache) -> None:
    assert (
        ask(cache, "POST", f"/api/v1.0/{Kind.CACHE.value}/directorTest", scope=REPORT_SCOPE, body=told("ok"))[0] == 200
    )
    assert cache.reports.status == "ok"
