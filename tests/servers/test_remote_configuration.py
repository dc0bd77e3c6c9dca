"""A configuration that is fetched from a server on loopback, which is well, sick, or somebody else."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime import remote
from director_wsgi.runtime.reading import Reading
from director_wsgi.runtime.remote import Remote
from director_wsgi.runtime.sources import Sources
from director_wsgi.runtime.yaml_file import MAX_BYTES
from tests.fakes import FakeClock
from tests.servers.authority import Authority
from tests.servers.conftest import MakeServer
from tests.servers.faults import FaultServer

pytestmark = pytest.mark.servers

PATH = "/director.yaml"
TOKEN = "ey.canary-4711.sig"


@dataclass
class Watched:
    """A director's sources, and the host that has one of them; a poll is due at every look."""

    host: FaultServer
    directory: Path
    environ: dict[str, str]
    clock: FakeClock
    sources: Sources

    def publish(self, text: str) -> None:
        self.host.behave("document", body=text.encode())

    def restart(self) -> None:
        """Another process, with the same state."""
        self.sources.rest()
        self.sources = Sources(self.directory, clock=self.clock, remote=Remote(clock=self.clock))

    def read(self) -> Reading:
        return self.sources.read(self.environ)

    def look(self) -> Reading | None:
        self.clock.advance(1.0)
        return self.sources.look(self.environ, Deadline.after(30.0))

    def told(self, looks: int = 3) -> list[Reading]:
        return [reading for _ in range(looks) if (reading := self.look()) is not None]

    def begin(self) -> None:
        """Run with eight threads, and watch."""
        self.publish("Director: {Threads: 8}")
        reading = self.read()
        assert reading.get().threads == 8
        self.sources.keep(reading)
        assert self.told() == []


@pytest.fixture
def watched(fault_server: MakeServer, test_ca: Authority, tmp_path: Path, clock: FakeClock) -> Iterator[Watched]:
    host = fault_server(tls=True)
    environ = {
        "PELICAN_CONFIGBASE": str(tmp_path / "base"),
        "PELICAN_DIRECTOR_STATELOCATION": str(tmp_path / "state"),
        "PELICAN_DIRECTOR_CONFIGURL": host.url + PATH,
        "PELICAN_DIRECTOR_CONFIGPOLLINTERVAL": "500ms",
        "PELICAN_SERVER_TLSCACERTIFICATEFILE": str(test_ca.ca_file),
        "PELICAN_FEDERATION_REGISTRYURL": "https://registry.example.org",
    }
    sources = Sources(tmp_path, clock=clock, remote=Remote(clock=clock))
    watched = Watched(host, tmp_path, environ, clock, sources)
    yield watched
    watched.sources.rest()


def resolving() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("resolve")]


def test_it_says_where_each_value_comes_from_and_leaves_nothing_open(watched: Watched) -> None:
    before = resolving()
    watched.publish("# ours\nDirector: {Threads: 8}")
    assert watched.read().get().sources["threads"] == f"{watched.host.url}{PATH}:2"
    watched.sources.rest()
    assert watched.host.wait_until(lambda: watched.host.open_connections == 0)
    assert resolving() == before


def test_what_has_not_changed_costs_a_304_on_a_connection_that_is_kept(watched: Watched) -> None:
    watched.begin()
    before = len(watched.host.requests)
    connections = watched.host.connections
    assert watched.told(5) == []
    later = watched.host.requests[before:]
    assert len(later) == 5
    assert all(seen.headers["if-none-match"] for seen in later)
    assert watched.host.connections == connections


def test_a_change_is_told(watched: Watched) -> None:
    watched.begin()
    watched.publish("Director: {Threads: 9}")
    (reading,) = watched.told()
    assert reading.get().threads == 9


def test_a_restarted_director_asks_only_for_what_is_new(watched: Watched) -> None:
    watched.begin()
    watched.restart()
    assert watched.read().get().threads == 8
    assert watched.host.requests[-1].headers["if-none-match"]


@pytest.mark.parametrize(
    ("fault", "arguments", "sentence"),
    [
        ("status", {"code": 500}, "it answered 500"),
        ("status", {"code": 404}, "it answered 404"),
        ("status", {"code": 302, "headers": {"Location": "/elsewhere"}}, "it answered 302"),
        ("document", {"body": b"<html>log in</html>", "kind": "text/html"}, "a page (HTML)"),
        ("document", {"body": b"# " + b"x" * MAX_BYTES}, "too large"),
        ("ok", {"body": b""}, "its answer is empty"),
        ("ok", {"body": b"a: b", "headers": {"Content-Encoding": "gzip"}}, "its answer is compressed"),
        ("omit_length", {}, "may have been cut off"),
        ("cut_off_in_body", {}, "cut off"),
        ("endless_headers", {}, "too large"),
        ("refuse", {}, "refused"),
        ("reset", {}, "cut off"),
        ("stall_in_tls", {}, "timed out"),
        ("hang_after_request", {}, "timed out"),
        ("hang_in_body", {}, "timed out"),
        ("drip", {}, "timed out"),
        ("drip_body", {}, "timed out"),
        ("endless_continue", {}, "timed out"),
    ],
)
def test_whatever_else_comes_changes_nothing_and_is_said_in_time(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, fault: str, arguments: dict[str, Any], sentence: str
) -> None:
    watched.begin()
    monkeypatch.setattr(remote, "FETCH_S", 0.3)
    watched.sources.rest()
    watched.host.drop_connections()
    watched.host.behave(fault, **arguments)
    assert watched.look() is None
    assert sentence in watched.sources.remote_problem
    watched.publish("Director: {Threads: 9}")
    (reading,) = watched.told()
    assert reading.get().threads == 9
    assert watched.sources.remote_problem == ""


def test_a_start_while_nobody_answers_takes_what_was_said_before(watched: Watched) -> None:
    watched.begin()
    watched.host.behave("refuse")
    watched.restart()
    reading = watched.read()
    assert reading.get().threads == 8
    (warning,) = reading.get().warnings
    assert "refused (Connection refused); what it said at 20" in warning
    watched.publish("Director: {Threads: 9}")
    (reading,) = watched.told()
    assert (reading.get().threads, reading.get().warnings) == (9, ())


def test_a_start_with_nothing_to_take_is_refused(watched: Watched) -> None:
    watched.host.behave("refuse")
    (problem,) = watched.read().problems
    assert problem.startswith(f"Director.ConfigUrl = '{watched.host.url}{PATH}' (PELICAN_DIRECTOR_CONFIGURL): ")
    assert problem.endswith("there is no copy of what it said")


def test_a_document_that_breaks_the_configuration_is_told_once_and_not_kept(watched: Watched) -> None:
    watched.begin()
    watched.publish("Director: {Threads: [")
    (reading,) = watched.told(5)
    assert reading.problems[0].startswith(f"{watched.host.url}{PATH}:1: not YAML")
    watched.host.behave("refuse")
    watched.restart()
    assert watched.read().get().threads == 8


def test_who_is_somebody_else_is_not_believed(watched: Watched, fault_server: MakeServer, test_ca: Authority) -> None:
    del watched.environ["PELICAN_SERVER_TLSCACERTIFICATEFILE"]
    watched.publish("Director: {Threads: 9}")
    (problem,) = watched.read().problems
    assert "certificate" in problem
    assert watched.host.requests == ()


def test_the_document_cannot_cut_the_director_off_from_it(watched: Watched) -> None:
    watched.begin()
    watched.publish("Server: {SSRFProtection: {BlockedCIDRs: [127.0.0.0/8]}}\nTransport: {DialerTimeout: 10ms}")
    (reading,) = watched.told()
    assert reading.get().ssrf_blocked == ("127.0.0.0/8",)
    watched.sources.rest()
    watched.publish("Director: {Threads: 9}")
    (reading,) = watched.told()
    assert reading.get().threads == 9


def test_but_the_operator_can(watched: Watched) -> None:
    watched.environ["PELICAN_SERVER_SSRFPROTECTION_BLOCKEDCIDRS"] = "127.0.0.0/8"
    (problem,) = watched.read().problems
    assert "forbidden address" in problem
    assert watched.host.connections == 0


def test_and_while_it_runs_over_a_connection_that_is_kept_too(watched: Watched) -> None:
    watched.begin()
    watched.environ["PELICAN_SERVER_SSRFPROTECTION_BLOCKEDCIDRS"] = "127.0.0.0/8"
    (watched.directory / "pelican.yaml").write_text("{}")
    (reading,) = watched.told()
    assert reading.get().ssrf_blocked
    before = len(watched.host.requests)
    assert watched.told() == []
    assert "forbidden address" in watched.sources.remote_problem
    assert len(watched.host.requests) == before


def test_the_token_is_sent_to_the_host_and_shown_to_nobody(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    (watched.directory / "token").write_text(f"{TOKEN}\n")
    watched.environ["PELICAN_DIRECTOR_CONFIGTOKENFILE"] = "token"
    watched.begin()
    assert watched.host.requests[-1].headers["authorization"] == f"Bearer {TOKEN}"
    (watched.directory / "token").write_text("another")
    watched.look()
    assert watched.host.requests[-1].headers["authorization"] == "Bearer another"
    (watched.directory / "token").write_text(TOKEN)
    for fault in ("status", "drip_status", "reset", "refuse"):
        watched.host.behave(fault, **({"code": 401} if fault == "status" else {}))
        watched.clock.advance(1.0)
        watched.sources.look(watched.environ, Deadline.after(0.2))
    assert caplog.text
    copies = b"".join(file.read_bytes() for file in (watched.directory / "state").iterdir())
    assert TOKEN not in caplog.text + watched.sources.remote_problem + copies.decode() + repr(watched.read())


def test_whoever_gives_up_does_not_wait_for_a_host_that_hangs(watched: Watched) -> None:
    watched.begin()
    watched.host.behave("hang_after_request")
    before = watched.host.count()
    watcher = threading.Thread(target=watched.look)
    watcher.start()
    assert watched.host.wait_until(lambda: watched.host.count() > before)
    watched.sources.rest()
    watcher.join(10.0)  # of a question that ended by itself, after half of that, the problem would be told
    assert not watcher.is_alive()
    assert watched.sources.remote_problem == ""
