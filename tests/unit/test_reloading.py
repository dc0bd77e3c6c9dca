import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from director_wsgi import assembly
from director_wsgi.errors import ConfigError
from director_wsgi.federation.store.records import Record
from director_wsgi.reload_records import CONFIGURATION, LOOK, LOOKED, RUNNING, Read, Running, decode
from director_wsgi.reloading import ANSWER_AFTER, RETRY_S, Reloads
from director_wsgi.runtime.config import Config, load_settings
from director_wsgi.runtime.reading import Reading
from director_wsgi.runtime.yaml_file import Setting
from tests.fakes import FakeClock
from tests.servers.authority import Authority

HERE = Path("/nowhere")
REGISTRY = Setting("Federation.RegistryUrl", "https://registry.example.org", "pelican.yaml:2")


def reading(**values: str) -> Reading:
    """What a file with these values of the section `Director` says."""
    settings = {f"director.{name}".lower(): Setting(f"Director.{name}", value, "f:3") for name, value in values.items()}
    settings["federation.registryurl"] = REGISTRY
    return Reading.of(load_settings(settings, {"HOME": "/nowhere"}, HERE), settings)


class FakeSources:
    """Says what it is told to say, once."""

    def __init__(self) -> None:
        self.new: Reading | None = None
        self.looks = 0
        self.afresh = 0
        self.remote_problem = ""

    def look(self, environ: Mapping[str, str], deadline: Any, complete: Any) -> Reading | None:
        self.looks += 1
        told, self.new = self.new, None
        return told

    def start_afresh(self) -> None:
        self.afresh += 1

    def rest(self) -> None:
        pass


class FakeReplica:
    """Keeps what is published, encoded."""

    def __init__(self, holder: str, *, is_host: bool) -> None:
        self.holder = holder
        self.is_host = is_host
        self.published: list[tuple[str, str, bytes]] = []

    def holds(self, name: str) -> bool:
        return self.is_host

    def publish(self, kind: str, key: str, encode: Callable[[], bytes], *, lifetime_s: float, token: object) -> None:
        self.published.append((kind, key, encode()))

    def said(self, kind: str) -> list[bytes]:
        return [body for told, _, body in self.published if told == kind]


class Worker:
    """One worker, without the director behind it."""

    def __init__(self, clock: FakeClock, first: Reading, *, is_host: bool = True, complaint: str = "") -> None:
        self.sources = FakeSources()
        self.replica = FakeReplica("1-a", is_host=is_host)
        self.applied: list[Config] = []
        self.kept: list[Reading] = []
        self.trouble: Exception | None = None
        self.reloads = Reloads(
            first=Read(reading=first, read_at=clock()),
            sources=self.sources,
            environ={"HOME": "/nowhere"},
            cwd=HERE,
            told=self.replica,
            apply=self.apply,
            complete=lambda config: config,
            keep=self.kept.append,
            complaint=complaint,
            clock=clock,
            wall=clock,
        )

    def apply(self, config: Config) -> int:
        if self.trouble is not None:
            raise self.trouble
        self.applied.append(config)
        return len(self.applied) + 1

    def find(self, found: Reading) -> None:
        self.sources.new = found
        self.reloads.turn()

    def hear(self, body: bytes, kind: str = CONFIGURATION, key: str = "") -> None:
        self.reloads.took(
            Record(kind=kind, key=key, expires_at=float("inf"), granted_s=float("inf"), body=body, revision=1)
        )
        self.reloads.turn()

    @property
    def running(self) -> Running:
        return self.reloads.running


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_what_the_sources_say_is_put_in_force_and_published(clock: FakeClock) -> None:
    worker, other = Worker(clock, reading()), Worker(clock, reading(), is_host=False)
    clock.advance(1)
    found = reading(StatTimeout="3s", Threads="64")
    worker.find(found)
    other.hear(worker.replica.said(CONFIGURATION)[-1])

    for one in (worker, other):
        assert [(config.stat_timeout_s, config.threads) for config in one.applied] == [(3.0, 32)]
        assert one.running.hash == found.hash
        assert one.running.generation == 2
        assert one.running.pending == ("Director.Threads",)
        assert Running.decode(one.replica.said(RUNNING)[-1]) == one.running
    assert worker.kept == [found]
    assert not other.kept
    assert other.sources.looks == 0
    assert not other.replica.said(CONFIGURATION)


def test_the_same_again_builds_nothing(clock: FakeClock) -> None:
    worker = Worker(clock, reading(StatTimeout="3s"))
    for _ in range(5):
        clock.advance(1)
        worker.find(reading(StatTimeout="3s"))

    assert not worker.applied
    assert worker.running.generation == 1


def test_only_what_waits_builds_nothing(clock: FakeClock) -> None:
    worker = Worker(clock, reading())
    worker.find(reading(Threads="64"))

    assert not worker.applied
    assert worker.running.pending == ("Director.Threads",)


def test_a_broken_configuration_changes_nothing_and_is_told_once(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(clock, reading())
    broken = Reading(problems=("Director.StatTimeout = 'x' (pelican.yaml:3): expected a duration",))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            worker.find(broken)
            clock.advance(RETRY_S)

    assert not worker.applied
    assert worker.running.rejected == broken.problems
    assert worker.running.hash == reading().hash
    assert worker.reloads.complaint()
    assert [record.getMessage().count("pelican.yaml:3") for record in caplog.records] == [1]
    assert decode(worker.replica.said(CONFIGURATION)[-1], {}, HERE).reading.hash == reading().hash


def test_a_mended_configuration_ends_the_complaint(clock: FakeClock) -> None:
    worker = Worker(clock, reading())
    worker.find(Reading(problems=("something",)))
    clock.advance(1)
    worker.find(reading())

    assert not worker.reloads.complaint()
    assert not worker.applied


def test_a_source_that_does_not_answer_is_worth_a_word(clock: FakeClock) -> None:
    worker = Worker(clock, reading())
    assert not worker.reloads.complaint()
    worker.sources.remote_problem = "it refused"

    assert "Director.ConfigUrl does not answer" in worker.reloads.complaint()


def test_a_complaint_of_the_start_ends_with_the_first_good_look(clock: FakeClock) -> None:
    worker = Worker(clock, reading(), complaint="The file is wrong")
    assert worker.reloads.complaint()
    worker.find(reading())

    assert not worker.reloads.complaint()


def test_a_complaint_of_the_start_ends_in_all_workers(clock: FakeClock) -> None:
    worker, other = Worker(clock, reading()), Worker(clock, reading(), is_host=False, complaint="The file is wrong")
    clock.advance(1)
    worker.find(reading())
    other.hear(worker.replica.said(CONFIGURATION)[-1])

    assert not other.reloads.complaint()


@pytest.mark.parametrize("trouble", [ConfigError(("no such file",)), OSError("disk"), MemoryError()])
def test_what_cannot_be_made_is_tried_again_later_and_not_published(clock: FakeClock, trouble: Exception) -> None:
    worker = Worker(clock, reading())
    worker.reloads.turn()
    worker.trouble = trouble
    worker.find(reading(StatTimeout="3s"))
    assert worker.reloads.complaint()
    assert len(worker.replica.said(CONFIGURATION)) == 1

    worker.trouble = None
    worker.reloads.turn()
    assert not worker.applied
    clock.advance(RETRY_S)
    worker.reloads.turn()
    assert len(worker.applied) == 1
    assert not worker.reloads.complaint()


def test_a_value_that_does_not_go_with_one_that_waits_is_refused(clock: FakeClock) -> None:
    worker = Worker(clock, reading())
    worker.find(reading(RedirectDeadline="30s", GracefulTimeout="40s"))

    assert not worker.applied
    (problem,) = worker.running.rejected
    assert "Director.GracefulTimeout = 10s" in problem


def test_what_was_read_earlier_is_not_taken_over(clock: FakeClock) -> None:
    earlier = Read(reading=reading(StatTimeout="3s"), read_at=clock() - 1).encode()
    worker = Worker(clock, reading(), is_host=False)
    worker.hear(earlier)

    assert not worker.applied


def test_a_worker_that_is_started_runs_what_the_others_run_before_it_serves(clock: FakeClock) -> None:
    worker = Worker(clock, reading(), is_host=False)
    published = Read(reading=reading(StatTimeout="3s"), read_at=clock() + 1).encode()
    worker.reloads.took(
        Record(kind=CONFIGURATION, key="", expires_at=float("inf"), granted_s=float("inf"), body=published, revision=1)
    )
    worker.reloads.catch_up()

    assert [config.stat_timeout_s for config in worker.applied] == [3.0]


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'{"hash": 1, "readAt": null}', b"\xff", b"[" * 100_000])
def test_nonsense_in_the_store_is_passed_over(clock: FakeClock, body: bytes) -> None:
    worker = Worker(clock, reading(), is_host=False)
    worker.hear(body)

    assert not worker.applied
    with pytest.raises(ValueError, match="nothing that a worker tells"):
        Running.decode(body)


def test_who_begins_to_look_for_the_host_publishes_what_it_runs(clock: FakeClock) -> None:
    worker = Worker(clock, reading(StatTimeout="3s"), is_host=False)
    worker.reloads.turn()
    assert not worker.replica.said(CONFIGURATION)
    worker.replica.is_host = True
    for _ in range(3):
        worker.reloads.turn()

    assert worker.sources.afresh == 1
    (body,) = worker.replica.said(CONFIGURATION)
    assert decode(body, {}, HERE).reading.get().stat_timeout_s == 3.0


def test_an_operator_who_asks_is_answered_after_some_fresh_looks(clock: FakeClock) -> None:
    worker = Worker(clock, reading())
    worker.reloads.turn()
    worker.hear(b"", LOOK, "question")
    for _ in range(ANSWER_AFTER - 2):
        worker.reloads.turn()
    assert worker.sources.afresh == 2
    assert not worker.replica.said(LOOKED)
    worker.find(reading(StatTimeout="3s"))

    (body,) = worker.replica.said(LOOKED)
    assert Running.decode(body) == worker.running
    assert worker.running.hash == reading(StatTimeout="3s").hash
    assert ("looked", "question") in {told[:2] for told in worker.replica.published}


@pytest.mark.parametrize(
    ("row", "attribute"),
    [
        ("Server.TLSCACertificateFile", "tls_ca_certificate_file"),
        ("Tracing.CACertificateFile", "tracing_ca_file"),
    ],
)
def test_a_new_file_of_authorities_is_taken_although_its_name_is_the_same(
    row: str, attribute: str, clock: FakeClock, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    settings = {row.lower(): Setting(row, str(file), "f:3")}

    def reading_now() -> Reading:
        every = settings | {"federation.registryurl": REGISTRY}
        return Reading.of(load_settings(every, {"HOME": "/nowhere"}, HERE), every)

    file.write_bytes(Authority(tmp_path).ca_file.read_bytes())
    worker = Worker(clock, reading_now())
    worker.find(reading_now())
    assert not worker.applied
    file.write_bytes(Authority(tmp_path).ca_file.read_bytes())
    worker.find(reading_now())

    assert [getattr(config, attribute) for config in worker.applied] == [file]


def record(body: bytes, kind: str = CONFIGURATION, key: str = "", *, expires_at: float = float("inf")) -> Record:
    return Record(kind=kind, key=key, expires_at=expires_at, granted_s=60.0, body=body, revision=1)


def test_what_a_follower_cannot_use_yet_is_judged_again(clock: FakeClock, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(Authority(tmp_path).ca_file.read_bytes())
    settings = {
        "federation.registryurl": REGISTRY,
        "server.tlscacertificatefile": Setting("Server.TLSCACertificateFile", str(file), "f:3"),
    }
    found = Reading.of(load_settings(settings, {"HOME": "/nowhere"}, HERE), settings)
    worker = Worker(clock, reading(), is_host=False)
    aside = file.rename(tmp_path / "aside")
    worker.hear(Read(reading=found, read_at=clock() + 1).encode())
    assert "Server.TLSCACertificateFile" in worker.running.rejected[0]
    assert not worker.applied

    aside.rename(file)
    worker.reloads.turn()
    assert not worker.applied
    clock.advance(RETRY_S)
    worker.reloads.turn()
    assert [config.tls_ca_certificate_file for config in worker.applied] == [file]
    assert worker.running.hash == found.hash
    assert not worker.running.rejected


def test_the_word_of_one_who_was_stopped_meanwhile_does_not_stay_for_those_who_start(clock: FakeClock) -> None:
    worker = Worker(clock, reading())
    late = Read(reading=reading(StatTimeout="9s"), read_at=clock()).encode()
    clock.advance(1)
    worker.find(reading(StatTimeout="3s"))
    told = len(worker.replica.said(CONFIGURATION))
    worker.hear(late)
    worker.reloads.turn()

    assert worker.running.hash == reading(StatTimeout="3s").hash
    (body,) = worker.replica.said(CONFIGURATION)[told:]
    assert decode(body, {}, HERE).reading.get().stat_timeout_s == 3.0


def test_what_was_published_before_the_last_boot_is_not_believed(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("director_wsgi.reload_records._boot", lambda: "another")
        body = Read(reading=reading(StatTimeout="3s"), read_at=clock() + 1e6).encode()
    worker = Worker(clock, reading(), is_host=False)
    worker.hear(body)

    assert not worker.applied
    with pytest.raises(ValueError, match="boot"):
        decode(body, {}, HERE)


def test_nothing_of_it_is_kept_on_disk() -> None:
    assert {CONFIGURATION, RUNNING, LOOK, LOOKED} <= assembly.PASSING


def test_several_operators_who_ask_are_all_answered(clock: FakeClock) -> None:
    worker = Worker(clock, reading())
    worker.reloads.turn()
    worker.reloads.took(record(b"", LOOK, "first", expires_at=clock() + 60))
    worker.reloads.took(record(b"", LOOK, "second", expires_at=clock() + 60))
    worker.reloads.turn()
    worker.reloads.took(record(b"", LOOK, "while it looks", expires_at=clock() + 60))
    for _ in range(ANSWER_AFTER - 1):
        worker.reloads.turn()
    assert answered(worker) == {"first", "second"}

    for _ in range(ANSWER_AFTER):
        worker.reloads.turn()
    assert answered(worker) == {"first", "second", "while it looks"}


def test_what_nobody_waits_for_any_more_is_not_answered(clock: FakeClock) -> None:
    worker = Worker(clock, reading(), is_host=False)
    worker.reloads.took(record(b"", LOOK, "old", expires_at=clock() + 60))
    clock.advance(61)
    worker.replica.is_host = True
    for _ in range(ANSWER_AFTER + 1):
        worker.reloads.turn()

    assert not answered(worker)


def test_who_does_not_look_any_more_leaves_the_answer_to_who_does(clock: FakeClock) -> None:
    worker = Worker(clock, reading())
    worker.hear(b"", LOOK, "question")
    worker.replica.is_host = False
    for _ in range(ANSWER_AFTER):
        worker.reloads.turn()

    assert not answered(worker)


def answered(worker: Worker) -> set[str]:
    return {key for kind, key, _ in worker.replica.published if kind == LOOKED}


def test_what_waits_waits_over_several_reloads_and_ends_with_the_wish(clock: FakeClock) -> None:
    worker = Worker(clock, reading())
    for timeout in ("3s", "4s"):
        worker.find(reading(StatTimeout=timeout, Threads="64"))
        assert worker.running.pending == ("Director.Threads",)
    worker.find(reading(StatTimeout="4s", Threads="64", MaxServers="7"))
    assert set(worker.running.pending) == {"Director.Threads", "Director.MaxServers"}
    worker.find(reading(StatTimeout="4s"))

    assert worker.running.pending == ()
    assert [config.threads for config in worker.applied] == [32, 32]
