"""A discovery host on loopback that tells, or does not."""

import json
import socket
import threading
from pathlib import Path

import pytest

from director_wsgi.runtime import discovery
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.discovery import PATH, DiscoveryFailed, Document, ask, fetch_once
from director_wsgi.runtime.sources import load
from tests.servers.authority import Authority
from tests.servers.conftest import MakeServer
from tests.servers.faults import FaultServer

pytestmark = pytest.mark.servers

SAID = {
    "discovery_endpoint": "https://fed.example.org",
    "director_endpoint": "https://director.example.org",
    "namespace_registration_endpoint": "https://registry.example.org",
    "jwks_uri": "https://fed.example.org/keys",
    "broker_endpoint": "",
}
BODY = json.dumps(SAID).encode()
TOLD = Document(
    registry_url="https://registry.example.org",
    director_url="https://director.example.org",
    jwk_url="https://fed.example.org/keys",
    broker_url="",
)


@pytest.fixture
def host(fault_server: MakeServer) -> FaultServer:
    host = fault_server(tls=True)
    host.behave("ok", body=BODY)
    return host


@pytest.fixture
def config(host: FaultServer, test_ca: Authority, tmp_path: Path) -> Config:
    environ = {
        "PELICAN_FEDERATION_DISCOVERYURL": host.url,
        "PELICAN_SERVER_TLSCACERTIFICATEFILE": str(test_ca.ca_file),
        "PELICAN_SERVER_SSRFPROTECTION_BLOCKEDCIDRS": "127.0.0.2/32",
    }
    return load(environ, tmp_path)


def failure(config: Config) -> DiscoveryFailed:
    with pytest.raises(DiscoveryFailed) as caught:
        fetch_once(config)
    return caught.value


def test_it_tells_and_no_thread_is_left(host: FaultServer, config: Config) -> None:
    before = set(threading.enumerate())
    assert fetch_once(config) == TOLD
    assert [seen.path for seen in host.requests] == [PATH]
    assert {thread for thread in threading.enumerate() if thread.name.startswith("resolve")} <= before


def test_a_redirect_is_followed(host: FaultServer, config: Config, fault_server: MakeServer) -> None:
    other = fault_server(tls=True)
    host.behave("status", code=308, headers={"Location": "/there"}, path=PATH)
    host.behave("status", code=302, headers={"Location": f"{other.url}/elsewhere"}, path="/there")
    other.behave("ok", body=BODY)
    assert fetch_once(config) == TOLD
    assert [seen.path for seen in other.requests] == ["/elsewhere"]


def test_not_to_where_anybody_could_answer(host: FaultServer, config: Config, fault_server: MakeServer) -> None:
    plain = fault_server()
    host.behave("status", code=301, headers={"Location": f"{plain.url}/"})
    assert "away from https" in str(failure(config))
    assert plain.connections == 0


def test_not_to_an_address_that_is_left_alone(host: FaultServer, config: Config) -> None:
    with socket.create_server(("127.0.0.2", 0)) as listener:
        listener.setblocking(False)
        host.behave("status", code=301, headers={"Location": f"https://127.0.0.2:{listener.getsockname()[1]}/"})
        error = failure(config)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert "forbidden address" in str(error)
    assert error.is_final


@pytest.mark.parametrize("location", ["", PATH, "//", "https://[", "ftp://h/", "\tjavascript:x"])
def test_a_redirect_to_nowhere_ends(host: FaultServer, config: Config, location: str) -> None:
    host.behave("status", code=302, headers={"Location": location})
    assert failure(config).is_final
    assert len(host.requests) <= 5


@pytest.mark.parametrize(
    ("fault", "arguments", "sentence"),
    [
        ("status", {"code": 404}, "it answered 404"),
        ("status", {"code": 503}, "it answered 503"),
        ("ok", {"body": b"<html>", "headers": {"Content-Type": "text/html"}}, "not JSON but 'text/html'"),
        ("ok", {"length": 100_000}, "too large"),
        ("refuse", {}, "refused"),
        ("reset", {}, "cut off"),
        ("hang_after_request", {}, "timed out"),
        ("drip", {}, "timed out"),
    ],
)
def test_what_came_instead_is_said_in_time(
    host: FaultServer, config: Config, monkeypatch: pytest.MonkeyPatch, fault: str, arguments: dict, sentence: str
) -> None:
    monkeypatch.setattr(discovery, "ASK_S", 0.5)
    host.behave(fault, **arguments)
    assert sentence in str(failure(config))


def test_a_host_that_comes_back_is_believed(
    host: FaultServer, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    host.behave("refuse")
    assert ask(config, tries=3, pause=lambda _: host.behave("ok", body=BODY)) == TOLD
    assert "refused" in caplog.text
