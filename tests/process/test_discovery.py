"""A director that knows of its federation what the discovery host tells, over TLS on loopback."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.process.child import SETTINGS, Child, get, hup, kill_worker, run, wait_until
from tests.servers.authority import Authority
from tests.servers.faults import FaultServer

pytestmark = pytest.mark.process

ARGUMENTS = ("-c", str(SETTINGS), "-b", "127.0.0.1:0")
COMMAND = Path(sys.executable).with_name("director-wsgi")
PATH = "/.well-known/pelican-configuration"


def document(registry: str = "https://127.0.0.1:1") -> dict[str, str]:
    return {
        "discovery_endpoint": "https://fed.example.org",
        "director_endpoint": "https://director.example.org",
        "namespace_registration_endpoint": registry,
        "jwks_uri": "https://fed.example.org/keys",
        "broker_endpoint": "",
    }


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    folder = tmp_path / "authority"
    folder.mkdir()
    return Authority(folder)


@pytest.fixture
def host(authority: Authority) -> Iterator[FaultServer]:
    with FaultServer(certificate=authority.server) as server:
        tell(server, document())
        yield server


@pytest.fixture
def environ(host: FaultServer, authority: Authority) -> dict[str, str]:
    return {
        "PELICAN_FEDERATION_DISCOVERYURL": host.url,
        "PELICAN_SERVER_TLSCACERTIFICATEFILE": str(authority.ca_file),
    }


def tell(host: FaultServer, said: dict[str, str]) -> None:
    host.behave("ok", body=json.dumps(said).encode(), headers={"Content-Type": "application/json"})


def told(child: Child) -> dict[str, str]:
    """What the director tells its clients in turn."""
    answer = child.ask(get(PATH))
    assert answer.status == 200
    return dict(json.loads(answer.body))


def test_a_discovery_url_is_all_that_an_operator_has_to_name(
    tmp_path: Path, host: FaultServer, environ: Mapping[str, str]
) -> None:
    with run(tmp_path, *ARGUMENTS, environ=environ) as child:
        child.wait_until_ready()

        assert told(child) == document() | {"discovery_endpoint": host.url}
        assert [seen.path for seen in host.requests] == [PATH]  # neither the worker nor anybody else has asked again


@pytest.mark.parametrize(
    ("fault", "arguments", "sentence"),
    [
        ("ok", {"body": b"<html>", "headers": {"Content-Type": "text/html"}}, "not JSON but 'text/html'"),
        ("status", {"code": 503}, "it answered 503"),
        ("hang_after_request", {}, "cut off"),
        ("close_after_accept", {}, ""),
    ],
)
def test_a_cold_start_waits_for_a_host_that_comes_back(
    tmp_path: Path,
    host: FaultServer,
    environ: Mapping[str, str],
    fault: str,
    arguments: Mapping[str, object],
    sentence: str,
) -> None:
    host.behave(fault, **arguments)
    with run(tmp_path, *ARGUMENTS, environ=environ) as child:
        wait_until(lambda: host.connections > 0, "the first try")
        if fault == "hang_after_request":
            wait_until(lambda: host.requests != (), "the question")
        else:
            child.wait_for_output("(try 1 of 4, next in 1 s)")
        tell(host, document())
        host.drop_connections()
        child.wait_until_ready()

        assert told(child)["jwks_uri"] == "https://fed.example.org/keys"
        assert sentence in child.output
        assert "Traceback" not in child.output


def test_a_cold_start_is_refused_with_one_message_if_there_is_no_document(
    tmp_path: Path, host: FaultServer, environ: Mapping[str, str]
) -> None:
    host.behave("status", code=404)
    with run(tmp_path, *ARGUMENTS, environ=environ) as child:
        assert child.wait_for_end() == 1

        (line,) = child.output.splitlines()
        assert line.startswith(
            f"director_wsgi: Federation.DiscoveryUrl = '{host.url}' (PELICAN_FEDERATION_DISCOVERYURL)"
        )
        assert "it answered 404. Set them instead" in line
        assert len(host.requests) == 1


def test_what_was_told_outlives_its_host(tmp_path: Path, host: FaultServer, environ: Mapping[str, str]) -> None:
    with run(tmp_path, *ARGUMENTS, environ=environ) as child:
        child.wait_until_ready()
        host.behave("refuse")
        kill_worker(child, child.workers()[0])
        assert told(child)["namespace_registration_endpoint"] == "https://127.0.0.1:1"
        hup(child)
        assert told(child)["namespace_registration_endpoint"] == "https://127.0.0.1:1"
        assert "what it told before stays in force" in child.output

        tell(host, document("https://127.0.0.1:2"))
        hup(child)
        assert told(child)["namespace_registration_endpoint"] == "https://127.0.0.1:2"
        assert "Traceback" not in child.output


def test_check_config_asks_too_unless_it_shall_not(
    tmp_path: Path, host: FaultServer, environ: Mapping[str, str]
) -> None:
    def check(*flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, "check-config", "--show", *flags],
            cwd=tmp_path,
            env={**environ, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    asked = check()
    assert asked.returncode == 0
    assert f"Federation.RegistryUrl = https://127.0.0.1:1  # {host.url}{PATH}\n" in asked.stdout
    assert "registry https://127.0.0.1:1;" in asked.stdout

    host.behave("status", code=500)
    offline, refused = check("--offline"), check()
    assert offline.returncode == 0
    assert f"registry told at {host.url};" in offline.stdout
    assert refused.returncode == 1
    assert "it answered 500. Set them instead" in refused.stderr
    assert len(host.requests) == 2


def test_run_refuses_what_it_cannot_complete(tmp_path: Path, host: FaultServer, environ: Mapping[str, str]) -> None:
    host.behave("status", code=410)
    ended = subprocess.run(
        [COMMAND, "run"],
        cwd=tmp_path,
        env={**environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert "it answered 410. Set them instead" in ended.stderr
