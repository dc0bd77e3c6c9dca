"""What the world may and may not make a running director do: connect to what it must not, or tell a secret."""

import base64
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from director_wsgi.demo.ads import Advertised, Kind
from director_wsgi.demo.advertiser import Advertiser
from director_wsgi.demo.certificates import trusting
from director_wsgi.demo.federation import Federation
from director_wsgi.demo.origin import Export
from director_wsgi.demo.registry import Registration
from director_wsgi.demo.tokens import SigningKey
from director_wsgi.limits.deadline import Deadline
from director_wsgi.stat.health import Sickness
from tests.process.child import SETTINGS, Child, exchange, free_port, get, run, wait_until
from tests.process.conftest import ENVIRON, make_pair
from tests.process.soaked import SERVERS_VARIABLE
from tests.servers.authority import Authority
from tests.servers.faults import FaultServer

pytestmark = pytest.mark.process

START_S = 20.0
VICTIM = "127.0.0.2"


@contextmanager
def advertised(federation: Federation, director_url: str, data_url: str) -> Iterator[None]:
    """An origin that is registered and approved, and says that its data are at `data_url`."""
    key = SigningKey()
    for prefix in ("/origins/insider", "/inside"):
        federation.registry.register(Registration(prefix=prefix, name="INSIDER", keys=(key.jwk,)))
    server = Advertised(
        kind=Kind.ORIGIN,
        name="INSIDER",
        url=data_url,
        registry_prefix="/origins/insider",
        key=key,
        exports=(Export(prefix="/inside"),),
    )
    advertiser = Advertiser(server, director_url=director_url, trust=trusting(federation.authority.ca_file))
    advertiser.start()
    try:
        assert advertiser.wait_for(1, Deadline.after(START_S)), advertiser.problem
        yield
    finally:
        advertiser.stop(goodbye=False)
        advertiser.join(Deadline.after(START_S))


def test_an_advertised_address_inside_the_operators_network_is_never_contacted(tmp_path: Path) -> None:
    port = free_port()
    director_url = f"http://127.0.0.1:{port}"
    with socket.create_server((VICTIM, 0)) as victim, Federation(tmp_path, origins=(), caches=()) as federation:
        victim.setblocking(False)
        environ = {
            "PELICAN_FEDERATION_REGISTRYURL": federation.registry_url,
            "PELICAN_SERVER_EXTERNALWEBURL": director_url,
            "PELICAN_SERVER_TLSCACERTIFICATEFILE": str(federation.authority.ca_file),
            "PELICAN_SERVER_SSRFPROTECTION_BLOCKEDCIDRS": "127.0.0.0/8 ::1/128",
            "PELICAN_SERVER_SSRFPROTECTION_ALLOWEDCIDRS": "127.0.0.1 ::1",  # where the registry is
            "PELICAN_DIRECTOR_ASSUMEPRESENCEATSINGLEORIGIN": "false",
            "PELICAN_DIRECTOR_FAILURETTL": "0s",
            "PELICAN_MONITORING_METRICAUTHORIZATION": "false",
        }
        data_url = f"https://{VICTIM}:{victim.getsockname()[1]}"
        with run(tmp_path, "-c", str(SETTINGS), "-b", f"127.0.0.1:{port}", environ=environ) as child:
            child.wait_until_ready()
            with advertised(federation, director_url, data_url):
                wait_until(lambda: asked_until_forbidden(child), "the server to be known as forbidden")
        with pytest.raises(BlockingIOError):
            victim.accept()


def asked_until_forbidden(child: Child) -> bool:
    """Ask for an object of the server's; whether the metrics say of it by now that its address is forbidden."""
    answer = child.ask(get("/api/v1.0/director/origin/inside/object"))
    assert answer.status in {307, 429}, answer
    reasons = [
        sample.labels
        for family in text_string_to_metric_families(child.ask(get("/metrics")).body.decode())
        for sample in family.samples
        if sample.name == "director_wsgi_breaker_reason"
    ]
    assert all(labels["reason"] == Sickness.FORBIDDEN.value for labels in reasons), reasons
    return bool(reasons)


@pytest.mark.parametrize(
    ("proxies", "seen"), [("", "127.0.0.1"), ("192.0.2.1", "127.0.0.1"), ("127.0.0.1 10.0.0.0/8", "198.51.100.7")]
)
def test_a_clients_address_is_what_trusted_proxies_say(tmp_path: Path, proxies: str, seen: str) -> None:
    """Through gunicorn, which joins equal headers and has an opinion of its own on such headers."""
    row = {"is_cache": False, "name": "O", "url": "https://127.0.0.1:1", "namespaces": ["/a"]}
    environ = ENVIRON | {"PELICAN_SERVER_TRUSTEDPROXIES": proxies, SERVERS_VARIABLE: json.dumps([row])}
    arguments = ("-c", str(SETTINGS), "-b", "127.0.0.1:0", "tests.process.soaked:application")
    fields = ("X-Forwarded-For: 203.0.113.9, 198.51.100.7", "X-Forwarded-For: 10.1.1.1", "X-Real-IP: 203.0.113.8")
    with run(tmp_path, *arguments, environ=environ) as child:
        answer = child.wait_until_ready().ask(
            get("/api/v1.0/director/origin/a/object", "X-Pelican-Debug: true", *fields)
        )

    assert f'"{seen}"' in answer.body.decode(), answer
    assert "203.0.113" not in answer.body.decode()


CANARY = "canary-7e1b"
JWT = ".".join(
    base64.urlsafe_b64encode(part).rstrip(b"=").decode()
    for part in (
        b'{"alg":"ES256","kid":"k"}',
        b'{"sub":"' + CANARY.encode() + b'"}',
        b"signature-of-" + CANARY.encode(),
    )
)
FORMAT = '%(h)s "%(r)s" %(s)s "%(f)s" "%(a)s" "%({authorization}i)s" "%({location}o)s" "%({link}o)s" %({http_authorization}e)s'


def post(path: str, body: bytes, *fields: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*head, "", ""]).encode() + body


def with_secrets(token: str) -> Iterator[bytes]:
    """Requests that hold `token` wherever a client or a server may put one."""
    bearer = f"Authorization: Bearer {token}"
    for path in ("/sick/object", "/api/v1.0/director/origin/sick/object", "/no/such/namespace"):
        yield get(path, bearer)
        yield get(f"{path}?authz={token}")
        yield get(f"{path}?authz=Bearer%20{token}&directread", "X-Pelican-Debug: true")
        yield get(f"{path}?access_token={token}")
        yield get(path, f"Authorization: {token}", f"Referer: https://x/?authz={token}")
        yield get(path, f"Authorization: Basic {token}", f"Cookie: session={token}")
    for path in (
        "/metrics",
        "/api/v1.0/director/getFedToken",
        "/api/v1.0/director/discoverServers",
        "/api/v1.0/director_ui/servers",
        "/api/v1.0/metrics/health",
        "/api/v1.0/director/healthTest/pelican/monitoring/directorTest/x.txt",
        "/api/v2.0/director/listNamespaces",
    ):
        yield get(f"{path}?authz={token}&access_token={token}", bearer)
        yield get(f"{path}?host=h&sType=Cache", f"Authorization: {token}", f"Cookie: login={token}")
    ad = {
        "name": "O",
        "registry-prefix": "/origins/o",
        "data-url": f"https://u:{token}@o.example.org/?authz={token}",
        "web-url": "https://o.example.org",
        "namespaces": [{"path": "/sick", "Caps": {"PublicRead": True}}],
        "now": "2026-01-01T00:00:00Z",
    }
    for kind in ("registerOrigin", "registerCache"):
        yield post(f"/api/v1.0/director/{kind}", json.dumps(ad).encode(), bearer)
        yield post(
            f"/api/v1.0/director/{kind}?authz={token}", b'{"authz": "' + token.encode(), f"Authorization: {token}"
        )
    yield f"GET /?authz={token} HTTP/1.1\r\nHost: x\r\nHost: y\r\n{bearer}\r\n\r\n".encode()
    yield f"GET /x HTTP/9.9\r\nHost: x\r\n{bearer}\r\n\r\n".encode()
    yield f"GET /?authz={token} HTTP/1.1 more\r\nHost: x\r\n\r\n".encode()


@pytest.mark.parametrize("fault", ["reset", "huge_header", "status"])
def test_no_token_is_ever_logged(tmp_path: Path, fault: str) -> None:
    authority = Authority(tmp_path)
    with FaultServer(certificate=authority.server) as sick, FaultServer(certificate=authority.server) as other:
        for server in (sick, other):
            server.behave(fault, **({"code": 500} if fault == "status" else {}))
        rows = [
            {"is_cache": False, "name": name, "url": server.url, "namespaces": ["/sick"]}
            for name, server in (("SICK", sick), ("OTHER", other))
        ]
        environ = ENVIRON | {
            "PELICAN_LOGGING_LEVEL": "trace",
            "PELICAN_DIRECTOR_CACHESORTMETHOD": "adaptive",
            "PELICAN_SERVER_TLSCACERTIFICATEFILE": str(authority.ca_file),
            "PELICAN_ISSUERKEY": str(make_pair(tmp_path).key),
            SERVERS_VARIABLE: json.dumps(rows),
        }
        flags = ("-b", "127.0.0.1:0", "--access-logfile", "-", "--access-logformat", FORMAT)
        with run(tmp_path, "-c", str(SETTINGS), *flags, "tests.process.soaked:application", environ=environ) as child:
            child.wait_until_ready()
            sent = 0
            for token in (CANARY, JWT):
                for request in with_secrets(token):
                    assert b"its log says why" not in exchange(child.port, request), request
                    sent += 1
            child.ask(get("/the-last-one"))
            child.wait_for_output("GET /the-last-one")
            assert any(CANARY in str(seen.headers) or CANARY in seen.path for seen in sick.requests)
            output = child.output
    assert output.count("HTTP/1.1") >= sent / 2  # the access log was on
    assert "Traceback" not in output
    for secret in (CANARY, *JWT.split(".")):
        assert secret not in output, next(line for line in output.splitlines() if secret in line)
