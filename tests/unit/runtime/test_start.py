"""What is settled at the start and outlives workers."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from director_wsgi.errors import ConfigError
from director_wsgi.runtime import discovery, last_good, start
from director_wsgi.runtime.config import Config, load_settings
from director_wsgi.runtime.sources import TRIES, load
from tests.fakes import FakeClock

pytestmark = pytest.mark.unit

GOOD = {"PELICAN_FEDERATION_REGISTRYURL": "https://registry.example"}
BROKEN = GOOD | {"PELICAN_DIRECTOR_THREADS": "many"}


@pytest.fixture(autouse=True)
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_memory", start._Memory())


def test_a_first_start_refuses_a_broken_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        start.load_config(BROKEN, tmp_path)
    assert not start.is_prepared()


def test_a_first_start_shows_a_defect_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start.Sources, "read", fail)
    with pytest.raises(ZeroDivisionError):
        start.load_config(GOOD, tmp_path)


def fail(*_: object, **__: object) -> None:
    raise ZeroDivisionError


def test_later_the_last_good_one_stays_and_the_log_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = start.load_config(GOOD, tmp_path)

    assert start.load_config(BROKEN, tmp_path) is good
    assert "Director.Threads" in caplog.text.replace("PELICAN_DIRECTOR_THREADS", "Director.Threads")
    assert "last good one" in caplog.text


def test_later_not_even_a_defect_ends_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = start.load_config(GOOD, tmp_path)
    monkeypatch.setattr(start.Sources, "read", fail)

    assert start.load_config(GOOD, tmp_path) is good


def test_a_later_good_one_takes_the_place_of_the_last(tmp_path: Path) -> None:
    start.load_config(GOOD, tmp_path)
    later = start.load_config(GOOD | {"PELICAN_DIRECTOR_THREADS": "9"}, tmp_path)

    assert later.threads == 9
    assert start.load_config(BROKEN, tmp_path) is later


def test_what_is_wrong_is_told_until_it_is_mended(tmp_path: Path) -> None:
    start.load_config(GOOD, tmp_path)
    assert start.complaint() == ""
    start.load_config(BROKEN, tmp_path)
    assert "the last good one is in force" in start.complaint()
    start.load_config(GOOD, tmp_path)
    assert start.complaint() == ""


def test_a_worker_has_the_configuration_of_its_master_whatever_is_there_by_now(tmp_path: Path) -> None:
    of_the_master = start.load_config(GOOD, tmp_path)

    assert start.worker_config(GOOD | {"PELICAN_DIRECTOR_THREADS": "9"}, tmp_path) is of_the_master
    assert start.worker_config(BROKEN, tmp_path) is of_the_master
    assert start.complaint() == ""


def test_what_gunicorn_has_read_again_is_not_read_twice(tmp_path: Path) -> None:
    start.load_config(GOOD, tmp_path)
    start.settle(GOOD | {"PELICAN_DIRECTOR_THREADS": "9"}, tmp_path, is_kept=False)

    assert start.worker_config(GOOD, tmp_path).threads == 32


def test_a_reload_without_gunicorn_reading_it_reads_it(tmp_path: Path) -> None:
    start.load_config(GOOD, tmp_path)
    for _ in range(2):
        start.settle(GOOD | {"PELICAN_DIRECTOR_THREADS": "9"}, tmp_path, is_kept=False)

    assert start.worker_config(GOOD, tmp_path).threads == 9


class TestNextMaster:
    """Takes over by `exec`: of the memory of the one before there is only what that has left on disk."""

    @pytest.fixture
    def environ(self, tmp_path: Path) -> dict[str, str]:
        return {"PELICAN_DIRECTOR_STATELOCATION": str(tmp_path / "state")} | GOOD

    def begin(self, environ: dict[str, str], directory: Path) -> None:
        """A master starts."""
        start.load_config(environ, directory)
        start.settle(environ, directory)

    def succeed(self, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
        """Another one takes over; its environment, before it reads anything."""
        handed_on = dict(environ)
        start.hand_on(handed_on)
        monkeypatch.setattr(start, "_memory", start._Memory())
        return handed_on

    def test_it_serves_by_the_last_good_one_if_it_finds_a_broken_one(
        self, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "pelican.yaml"
        file.write_text(
            "Director: {Threads: 9, CacheResponseHostnames: [a.example, b.example], StatTimeout: 1500ms}\n"
            "GeoIPOverrides: [{IP: 10.0.0.0/8, Coordinate: {Lat: 43, Long: -89}}]\n"
            "Server: {WebPort: 99}\n"
        )
        environ["PELICAN_SERVER_TRUSTEDPROXIES"] = "10.0.0.1, 10.0.0.2"
        self.begin(environ, tmp_path)
        good = start.worker_config(environ, tmp_path)
        file.write_text("Director: [")
        later = self.succeed(environ, monkeypatch)

        assert start.load_config(later, tmp_path) == good
        assert (good.threads, len(good.geoip_overrides), len(good.trusted_proxies)) == (9, 1, 2)
        assert start.complaint()
        assert last_good.HANDED_ON not in later

    def test_and_so_does_the_one_after_it(
        self, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.begin(environ, tmp_path)
        for _ in range(2):
            later = self.succeed(environ | BROKEN, monkeypatch)
            self.begin(later, tmp_path)

        assert start.worker_config(later, tmp_path).threads == 32

    def test_it_takes_a_good_one(
        self, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.begin(environ, tmp_path)
        later = self.succeed(environ | {"PELICAN_DIRECTOR_THREADS": "9"}, monkeypatch)

        assert start.load_config(later, tmp_path).threads == 9
        assert start.complaint() == ""

    def test_what_is_broken_is_never_kept(
        self, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.begin(environ, tmp_path)
        self.begin(environ | BROKEN, tmp_path)
        later = self.succeed(environ | BROKEN, monkeypatch)

        assert start.load_config(later, tmp_path).threads == 32

    def test_a_cold_start_beside_the_copy_refuses_all_the_same(
        self, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.begin(environ, tmp_path)
        left_over = self.succeed(environ | BROKEN, monkeypatch)
        monkeypatch.setattr(last_good.os, "getpid", lambda: 1)  # another process, with that environment

        with pytest.raises(ConfigError):
            start.load_config(left_over, tmp_path)

    def test_without_a_state_there_is_nothing_to_succeed_to(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        environ = GOOD | {"PELICAN_DIRECTOR_STATELOCATION": ":memory:"}
        self.begin(environ, tmp_path)
        later = self.succeed(environ | BROKEN, monkeypatch)

        assert last_good.HANDED_ON not in later
        with pytest.raises(ConfigError):
            start.load_config(later, tmp_path)

    def test_a_copy_that_cannot_be_written_is_told_and_no_more(
        self, environ: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "state").write_text("no directory")
        self.begin(environ, tmp_path)

        assert "No copy of the configuration can be kept" in caplog.text
        assert start.complaint() == ""


def test_a_first_start_is_patient_a_later_one_is_not_and_workers_inherit_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    read = start.Sources.read

    def patient(self: start.Sources, *arguments: Any, tries: int) -> Any:
        seen.append(tries)
        return read(self, *arguments, tries=tries)

    monkeypatch.setattr(start.Sources, "read", patient)
    monkeypatch.setattr(start.Sources, "rest", lambda _: seen.append("rests"))
    for _ in range(2):
        start.load_config(GOOD, tmp_path)
    start.load_config(BROKEN, tmp_path)

    assert seen == [TRIES, "rests", 1, "rests", 1, "rests"]


class TestWorkersReadLater:
    """A worker watches the sources: what it has put in force, the master has not read."""

    @pytest.fixture
    def environ(self, tmp_path: Path) -> dict[str, str]:
        return {"PELICAN_DIRECTOR_STATELOCATION": str(tmp_path / "state")} | GOOD

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        file = tmp_path / "pelican.yaml"
        file.write_text("Director: {FilteredServers: [A]}")
        return file

    def keep_later(self, file: Path, environ: dict[str, str], text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """In a worker, whose memory the master does not share."""
        file.write_text(text)
        with monkeypatch.context() as worker:
            worker.setattr(start, "_memory", dataclasses.replace(start._memory, sources=None))
            start.keep(start.sources(file.parent).read(environ), file.parent)

    def test_the_master_falls_back_on_what_they_run(
        self, environ: dict[str, str], file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        start.load_config(environ, file.parent)
        start.settle(environ, file.parent)
        self.keep_later(file, environ, "Director: {FilteredServers: [A, B]}", monkeypatch)
        file.write_text("Director: [")

        assert start.load_config(environ, file.parent).filtered_servers == ("A", "B")
        reading = start.reading()
        assert reading is not None
        assert reading.get().filtered_servers == ("A", "B")

    def test_unless_it_is_wrong_by_now(
        self, environ: dict[str, str], file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys = file.with_name("keys.json")
        keys.write_text("{}")
        good = start.load_config(environ, file.parent)
        start.settle(environ, file.parent)
        self.keep_later(file, environ, "Server: {IssuerJwks: keys.json}", monkeypatch)
        keys.unlink()

        assert start.load_config(environ, file.parent) is good

    def test_a_worker_that_is_started_begins_with_what_the_master_has_read(
        self, environ: dict[str, str], file: Path
    ) -> None:
        config = start.load_config(environ, file.parent)
        reading = start.reading()

        assert reading is not None
        assert reading.config is config
        assert load_settings(reading.settings, environ, file.parent) == config
        assert reading.hash


class TestWhatTheWatcherCompletes:
    """From a configuration that leaves something to the discovery URL."""

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        asked: list[str] = []

        def fetch(config: Config) -> discovery.Document:
            asked.append(config.discovery_url)
            if "away" in config.discovery_url:
                raise discovery.DiscoveryFailed("refused")
            return discovery.Document(
                registry_url="https://told.example.org", director_url="", jwk_url="", broker_url=""
            )

        monkeypatch.setattr(discovery, "fetch_once", fetch)
        return asked

    def configured(self, url: str, directory: Path, **more: str) -> Config:
        return load({"PELICAN_FEDERATION_DISCOVERYURL": url} | more, directory)

    def test_what_the_master_was_told_is_not_asked_again(self, asked: list[str], tmp_path: Path) -> None:
        environ = {"PELICAN_FEDERATION_DISCOVERYURL": "https://f.example.org"}
        start.load_config(environ, tmp_path)
        assert start.complete(self.configured("https://f.example.org", tmp_path)) == start.worker_config(
            environ, tmp_path
        )
        assert len(asked) == 1

    def test_another_host_is_asked_once(self, asked: list[str], tmp_path: Path) -> None:
        for _ in range(2):
            config = start.complete(self.configured("https://g.example.org", tmp_path))
            assert config.registry_url == "https://told.example.org"
        assert asked == ["https://g.example.org"]

    def test_without_an_answer_it_is_wrong(self, asked: list[str], tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="refused"):
            start.complete(self.configured("https://away.example.org", tmp_path))
        nothing = self.configured("https://away.example.org", tmp_path, **GOOD)
        with pytest.raises(ConfigError):
            start.complete(nothing)
        whole = load(GOOD, tmp_path)
        assert start.complete(whole) is whole


class TestDiscoveryHostIsAway:
    """At a start, which nobody hands anything on to."""

    TOLD = discovery.Document(
        registry_url="https://registry.example.org",
        director_url="",
        jwk_url="https://j.example.org/jwks",
        broker_url="",
    )

    @pytest.fixture
    def environ(self, tmp_path: Path) -> dict[str, str]:
        return {
            "PELICAN_FEDERATION_DISCOVERYURL": "https://federation.example.org",
            "PELICAN_DIRECTOR_STATELOCATION": str(tmp_path / "state"),
        }

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[discovery.Document | discovery.DiscoveryFailed]:
        """What the host answers, one after the other; what is left has not been asked for."""
        answers: list[discovery.Document | discovery.DiscoveryFailed] = []

        def fetch(_: object) -> discovery.Document:
            answer = answers.pop(0)
            if isinstance(answer, discovery.DiscoveryFailed):
                raise answer
            return answer

        monkeypatch.setattr(discovery, "fetch_once", fetch)
        monkeypatch.setattr(discovery, "_pause", lambda _: None)
        return answers

    def restart(self, environ: dict[str, str], directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        start.load_config(environ, directory)
        start.settle(environ, directory)
        monkeypatch.setattr(start, "_memory", start._Memory())

    def test_what_it_told_the_director_before_is_in_force_after_one_try(
        self,
        environ: dict[str, str],
        asked: list[discovery.Document | discovery.DiscoveryFailed],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        asked += [self.TOLD, discovery.DiscoveryFailed("connection refused")]
        self.restart(environ, tmp_path, monkeypatch)

        config = start.load_config(environ, tmp_path)

        assert (config.registry_url, config.jwk_url) == (self.TOLD.registry_url, self.TOLD.jwk_url)
        assert "DiscoveryUrl does not answer" in start.complaint()
        assert asked == []

    def test_what_it_says_now_is_not_made_up_for(
        self,
        environ: dict[str, str],
        asked: list[discovery.Document | discovery.DiscoveryFailed],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        asked += [self.TOLD, discovery.DiscoveryFailed("it answered 410", is_final=True)]
        self.restart(environ, tmp_path, monkeypatch)

        with pytest.raises(ConfigError, match="it answered 410"):
            start.load_config(environ, tmp_path)

    def test_what_another_host_told_is_no_answer(
        self,
        environ: dict[str, str],
        asked: list[discovery.Document | discovery.DiscoveryFailed],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        asked += [self.TOLD, *[discovery.DiscoveryFailed("connection refused")] * discovery.TRIES]
        self.restart(environ, tmp_path, monkeypatch)

        with pytest.raises(ConfigError, match="connection refused"):
            start.load_config(environ | {"PELICAN_FEDERATION_DISCOVERYURL": "https://other.example.org"}, tmp_path)
        assert asked == []


def test_a_worker_counts_with_the_threads_it_has(tmp_path: Path) -> None:
    assert start.worker_config(GOOD, tmp_path).threads == 32
    start.use_threads(11)
    assert start.worker_config(GOOD, tmp_path).threads == 11


def test_the_address_is_that_of_the_first_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = start.load_config(GOOD | {"PELICAN_SERVER_WEBHOST": "::"}, tmp_path)
    moved = start.load_config(GOOD | {"PELICAN_SERVER_WEBPORT": "1234"}, tmp_path)

    assert start.address(first) == "[::]:8444"
    assert start.address(moved) == "[::]:8444"
    assert "0.0.0.0:1234 takes effect with a restart" in caplog.text


def test_the_instant_of_the_first_start_is_noted_once() -> None:
    clock = FakeClock(50.25)
    environ: dict[str, str] = {}

    assert start.first_start_at(environ, clock) == 50.25
    clock.advance(100)
    assert start.first_start_at(environ, clock) == 50.25


@pytest.mark.parametrize("noted", ["", "soon", "nan", "inf", "-1", "50.5"])
def test_what_is_no_instant_of_the_past_is_replaced(noted: str) -> None:
    environ = {start.FIRST_START: noted}

    assert start.first_start_at(environ, FakeClock(50.0)) == 50.0
    assert environ[start.FIRST_START] == "50.0"


def test_a_refusal_is_a_line_for_each_problem(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        start.refuse(("one", "two"), 7)

    assert ending.value.code == 7
    assert capsys.readouterr().err == "director_wsgi: one\ndirector_wsgi: two\n"


def test_the_first_worker_of_a_start_and_of_each_reload_speaks_for_all(tmp_path: Path) -> None:
    spoke = []
    for workers in (3, 2, 1):
        start.load_config(GOOD, tmp_path)
        for _ in range(workers):
            start.count_worker()
            spoke.append(start.speaks_for_all())

    assert spoke == [True, False, False, True, False, True]
    start.count_worker()
    assert not start.speaks_for_all(), "the replacement of one says nothing new"


# -- what a worker may start with instead of what the master has read

STATED = GOOD | {"PELICAN_DIRECTOR_STATTIMEOUT": "1s", "PELICAN_DIRECTOR_THREADS": "20"}
LATER = GOOD | {"PELICAN_DIRECTOR_STATTIMEOUT": "3s", "PELICAN_DIRECTOR_THREADS": "40"}


def started(tmp_path: Path, *, workers: int = 2) -> None:
    """A master that has read `STATED`, and keeps a copy; some workers have been forked."""
    environ = STATED | {"PELICAN_DIRECTOR_STATELOCATION": str(tmp_path / "state")}
    start.load_config(environ, tmp_path)
    start.settle(environ, tmp_path)
    for _ in range(workers):
        start.count_worker()


def test_a_later_worker_may_start_with_what_others_have_put_in_force_then_with_the_sources(tmp_path: Path) -> None:
    started(tmp_path)
    environ = GOOD | {
        "PELICAN_DIRECTOR_STATTIMEOUT": "2500ms",
        "PELICAN_DIRECTOR_STATELOCATION": str(tmp_path / "state"),
    }
    start.keep(start.Sources(tmp_path).read(environ), tmp_path)
    read_at = start.read_at()
    start.use_threads(7)

    offered = []
    for config in start.later_configs(LATER, tmp_path):
        reading = start.reading()
        assert reading is not None
        assert dataclasses.replace(reading.get(), threads=7) == config
        assert reading.get().threads == 20  # takes a restart
        offered.append((config.stat_timeout_s, config.threads))
    assert offered == [(2.5, 7), (3.0, 7)]
    assert start.read_at() == read_at


def test_a_copy_of_what_the_master_has_read_is_no_other_configuration(tmp_path: Path) -> None:
    started(tmp_path)

    assert [config.stat_timeout_s for config in start.later_configs(STATED, tmp_path)] == [1.0, 1.0]


def test_sources_that_are_wrong_are_passed_over(tmp_path: Path) -> None:
    started(tmp_path)

    assert [config.stat_timeout_s for config in start.later_configs(BROKEN, tmp_path)] == [1.0]


def test_with_a_first_worker_a_mistake_is_to_show(tmp_path: Path) -> None:
    started(tmp_path, workers=1)

    assert not list(start.later_configs(LATER, tmp_path))
