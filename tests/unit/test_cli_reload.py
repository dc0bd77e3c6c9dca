"""What `director-wsgi reload` makes of what lies in the store that the workers share; they themselves are played."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from director_wsgi.cli_reload import ReloadError, checked, reloaded
from director_wsgi.errors import ConfigError
from director_wsgi.federation.replica import WORKER
from director_wsgi.federation.store.files import bus_path
from director_wsgi.federation.store.records import Put
from director_wsgi.federation.store.sqlite import SqliteStore
from director_wsgi.limits.deadline import Deadline, monotonic, wall
from director_wsgi.reload_records import CONFIGURATION, LOOK, LOOKED, RUNNING, Read, Running
from director_wsgi.runtime.discovery import Document, completed
from director_wsgi.runtime.sources import Sources

LIFE_S = 600.0
SECRET = "canary-0123456789"


class Host:
    """A directory with a configuration, and the store of a director whose workers run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {"HOME": str(folder), "PELICAN_DIRECTOR_STATELOCATION": str(folder / "state")}
        self.write("Federation: {RegistryUrl: https://registry.example.org}")
        self.store = SqliteStore(bus_path(folder / "state", folder / "shared"), clock=monotonic, wall=wall)

    def write(self, text: str) -> None:
        (self.folder / "pelican.yaml").write_text(text)

    def put(self, kind: str, key: str, body: bytes) -> None:
        one = Put(kind=kind, key=key, body=body, expires_at=wall() + LIFE_S, granted_s=LIFE_S)
        self.store.put((one,), Deadline.after(5.0))

    def publish(self, read: Read) -> None:
        self.put(CONFIGURATION, "", read.encode())

    def runs(self, holder: str, digest: str, *, rejected: tuple[str, ...] = ()) -> None:
        self.put(WORKER, holder, b"")
        self.put(RUNNING, holder, Running(hash=digest, generation=2, since=0.0, rejected=rejected).encode())

    def read(self) -> Read:
        return Read(reading=Sources(self.folder).read(self.environ), read_at=monotonic())

    def check(self) -> str:
        return checked(self.environ, self.folder)

    def reload(self, *answers: Running) -> str:
        """Ask; a worker answers at once, as often as there are answers, and nobody waits for real."""
        told, clock = list(answers), Hasty()

        def pause(seconds: float) -> None:
            clock.now += seconds
            if told:
                (asked,) = [record for record in self.store.changes(0).records if record.kind == LOOK]
                self.put(LOOKED, asked.key, told.pop(0).encode())

        return reloaded(self.environ, self.folder, clock=clock, pause=pause)


class Hasty:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr("director_wsgi.cli_reload.bus_path", lambda state: bus_path(state, tmp_path / "shared"))
    (tmp_path / "shared").mkdir()
    one = Host(tmp_path)
    yield one
    one.store.close()


def test_what_the_discovery_url_has_told_is_no_change(host: Host) -> None:
    host.write("Federation: {DiscoveryUrl: https://federation.example.org}")
    read = host.read()
    told = Document(
        registry_url="https://registry.example.org",
        director_url="https://director.example.org",
        jwk_url="https://federation.example.org/jwks",
        broker_url="",
    )
    host.publish(Read(reading=read.reading.completed(completed(read.reading.get(), told)), read_at=read.read_at))
    host.runs("1-a", "0")

    assert host.check() == "Nothing would change."


def test_another_discovery_url_is_a_change(host: Host) -> None:
    host.write("Federation: {DiscoveryUrl: https://federation.example.org, RegistryUrl: https://r.example.org}")
    host.publish(host.read())
    host.runs("1-a", "0")
    host.write("Federation: {DiscoveryUrl: https://other.example.org, RegistryUrl: https://r.example.org}")

    assert "Federation.DiscoveryUrl = https://other.example.org" in host.check()


def test_no_secret_is_shown(host: Host) -> None:
    host.publish(host.read())
    host.runs("1-a", "0")
    host.write(
        "Federation: {RegistryUrl: https://registry.example.org}\n"
        f"Tracing: {{Headers: 'Authorization=Bearer {SECRET}'}}"
    )

    said = host.check()
    assert "Tracing.Headers = (secret)" in said
    assert SECRET not in said


def test_a_wrong_configuration_is_told_with_its_source(host: Host) -> None:
    host.publish(host.read())
    host.runs("1-a", "0")
    host.write("Director: {StatTimeout: nonsense}")

    with pytest.raises(ConfigError) as raised:
        host.check()
    assert "pelican.yaml:1" in "".join(raised.value.problems)


@pytest.mark.parametrize("ask", ["check", "reload"])
def test_nobody_runs(host: Host, ask: str) -> None:
    with pytest.raises(ReloadError, match="no director runs"):
        getattr(host, ask)()


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff"])
def test_what_another_version_has_published_is_no_traceback(host: Host, body: bytes) -> None:
    host.put(CONFIGURATION, "", body)
    host.put(WORKER, "1-a", b"")
    host.put(RUNNING, "1-a", body)

    with pytest.raises(ReloadError, match="version"):
        host.check()
    with pytest.raises(ReloadError, match="not all workers run the same yet"):
        host.reload(Running(hash="1" * 64, generation=2, since=0.0))


def test_when_all_run_what_was_found_it_is_done(host: Host) -> None:
    digest = "1" * 64
    host.runs("1-a", digest)
    host.runs("2-b", digest)

    assert host.reload(Running(hash=digest, generation=2, since=0.0)).splitlines()[1].split() == [
        "1",
        digest[:12],
        "2",
        "1970-01-01T00:00:00Z",
    ]


def test_one_worker_that_cannot_is_named_with_the_reason(host: Host) -> None:
    host.runs("1-a", "1" * 64)
    host.runs("2-b", "0" * 64, rejected=("Director.GeoIPLocation: no such file",))

    with pytest.raises(ReloadError, match=r"2 .*no such file"):
        host.reload(Running(hash="1" * 64, generation=2, since=0.0))


def test_what_is_wrong_is_told(host: Host) -> None:
    host.runs("1-a", "0" * 64)

    with pytest.raises(ReloadError, match=r"(?s)wrong.*pelican.yaml:3"):
        host.reload(Running(hash="0" * 64, generation=1, since=0.0, rejected=("pelican.yaml:3: no",)))


def test_no_answer_is_told_after_a_while(host: Host) -> None:
    host.runs("1-a", "0" * 64)

    with pytest.raises(ReloadError, match="no worker has answered"):
        host.reload()
