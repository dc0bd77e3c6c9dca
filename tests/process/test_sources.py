"""A director whose configuration lies in a file, in a directory and on a server, which goes away."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from director_wsgi.runtime.remote import COPY_NAME
from tests.process.child import SETTINGS, Child, get, hup, run
from tests.servers.faults import FaultServer

pytestmark = pytest.mark.process

ARGUMENTS = ("-c", str(SETTINGS), "-b", "127.0.0.1:0")
COMMAND = Path(sys.executable).with_name("director-wsgi")


@pytest.fixture
def host() -> Iterator[FaultServer]:
    with FaultServer() as host:
        yield host


@pytest.fixture
def place(tmp_path: Path, host: FaultServer) -> Path:
    """Where a director starts. What it tells its clients comes from three sources."""
    (tmp_path / "pelican.yaml").write_text(
        f"ConfigLocations: [config.d]\nDirector: {{ConfigUrl: '{host.url}/director.yaml'}}\n"
        "Federation: {JwkUrl: 'https://file/keys', DirectorUrl: 'https://file', BrokerUrl: 'https://file'}\n"
    )
    (tmp_path / "config.d").mkdir()
    (tmp_path / "config.d" / "10.yaml").write_text("Federation: {DirectorUrl: 'https://dir', BrokerUrl: 'https://dir'}")
    host.behave("document", body=b"Federation: {BrokerUrl: 'https://url', RegistryUrl: 'https://127.0.0.1:1'}")
    return tmp_path


def told(child: Child) -> tuple[str, str, str]:
    """What the director tells its clients."""
    said = json.loads(child.ask(get("/.well-known/pelican-configuration")).body)
    return said["jwks_uri"], said["director_endpoint"], said["broker_endpoint"]


def test_a_reload_and_a_restart_do_not_need_the_server(place: Path, host: FaultServer) -> None:
    with run(place, *ARGUMENTS, environ={}) as child:
        assert told(child.wait_until_ready()) == ("https://file/keys", "https://dir", "https://url")
        assert (child.state / COPY_NAME).stat().st_mode & 0o777 == 0o600
        host.behave("refuse")
        (place / "config.d" / "10.yaml").write_text("Federation: {DirectorUrl: 'https://new'}")
        hup(child)
        assert told(child) == ("https://file/keys", "https://new", "https://url")
        assert "Traceback" not in child.output
    with run(place, *ARGUMENTS, environ={}) as child:
        assert told(child.wait_until_ready()) == ("https://file/keys", "https://new", "https://url")
        assert "what it said at" in child.output


def test_a_cold_start_waits_for_a_server_that_comes_back(place: Path, host: FaultServer) -> None:
    host.behave("status", code=503)
    with run(place, *ARGUMENTS, environ={}) as child:
        child.wait_for_output("try 1 of 4, next in 1 s")
        host.behave("document", body=b"Federation: {RegistryUrl: 'https://127.0.0.1:1'}")
        assert told(child.wait_until_ready())[2] == "https://dir"


def test_and_is_refused_with_one_message_if_it_says_nothing(place: Path, host: FaultServer) -> None:
    host.behave("status", code=404)
    with run(place, *ARGUMENTS, environ={}) as child:
        assert child.wait_for_end() == 1
        assert child.output.splitlines()[-1] == (
            f"director_wsgi: Director.ConfigUrl = '{host.url}/director.yaml' (pelican.yaml:2): it answered 404; there is "
            "no copy of what it said"
        )


def test_check_config_reads_every_source(place: Path, host: FaultServer) -> None:
    def check(*flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, "check-config", "--show", *flags],
            cwd=place,
            env={"HOME": str(place)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    shown = check().stdout
    assert "Federation.JwkUrl = https://file/keys  # pelican.yaml:3\n" in shown
    assert "Federation.DirectorUrl = https://dir  # config.d/10.yaml:1\n" in shown
    assert f"Federation.BrokerUrl = https://url  # {host.url}/director.yaml:1\n" in shown
    host.behave("document", body=b"Federation: {RegistryUrl: 7}\nDirector: {Thread: 1}")
    wrong, offline = check(), check("--offline")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("2 problems:\n")
    assert f"Federation.RegistryUrl = '7' ({host.url}/director.yaml:1)" in wrong.stderr
    assert offline.returncode == 0
    assert "nobody was asked" in offline.stdout
    assert f"registry told at {host.url}/director.yaml;" in offline.stdout
