"""Where the configuration comes from, which source wins, and what whoever watches them is told."""

import os
from collections.abc import Callable, Container, Mapping
from pathlib import Path

import pytest
from requests.structures import CaseInsensitiveDict

from director_wsgi.errors import ConfigError
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, Failure, OutboundError
from director_wsgi.runtime import local_files, sources
from director_wsgi.runtime.config import Config, load_settings
from director_wsgi.runtime.reading import Reading
from director_wsgi.runtime.remote import COPY_NAME, Remote
from director_wsgi.runtime.sources import FIRST_PAUSE_S, RESTLESS_LOOKS, RETRY_S, TRIES, WARN_LOOKS, Sources
from director_wsgi.runtime.yaml_file import Setting
from tests.fakes import FakeClock
from tests.unit.runtime.test_config_files import certificate, write

pytestmark = pytest.mark.unit

URL = "https://config.example.org/director.yaml"
NEVER = Deadline(float("inf"))


class Host:
    """Answers at `Director.ConfigUrl` as it is told; knows its document again by its content."""

    def __init__(self) -> None:
        self.body: bytes | OutboundError = b"{}"
        self.asked: list[Mapping[str, str]] = []

    def __call__(self, config: Config, headers: Mapping[str, str], deadline: Deadline) -> Answer:
        self.asked.append(headers)
        if isinstance(self.body, OutboundError):
            raise self.body
        etag = f'"{hash(self.body)}"'
        is_known = headers.get("If-None-Match") == etag
        body = b"" if is_known else self.body
        said = CaseInsensitiveDict({"ETag": etag, "Content-Length": str(len(body))})
        return Answer(304 if is_known else 200, said, body)

    def says(self, text: str) -> None:
        self.body = text.encode()

    def is_away(self) -> None:
        self.body = OutboundError(Failure.REFUSED, "config.example.org:443: refused")


class Place:
    """A directory with a configuration in it, and whoever watches it."""

    def __init__(self, path: Path, clock: FakeClock) -> None:
        self.path = path
        self.clock = clock
        self.host = Host()
        self.environ = {
            "PELICAN_CONFIGBASE": str(path / "base"),
            "PELICAN_DIRECTOR_STATELOCATION": str(path / "state"),
            "PELICAN_FEDERATION_REGISTRYURL": "https://registry.example.org",
        }
        self.sources = self.another()

    def another(self) -> Sources:
        """What another process has."""
        remote = Remote(clock=self.clock, wall=self.clock, jitter=lambda: 0.5, send=self.host)
        return Sources(self.path, clock=self.clock, remote=remote)

    def write(self, text: str, name: str = "pelican.yaml") -> None:
        """As a careful writer does: whole, under the name it has, at once."""
        file = self.path / name
        file.parent.mkdir(exist_ok=True)
        other = file.with_name(".new")
        other.write_text(text)
        other.rename(file)

    def read(self, **variables: str) -> Config:
        return self.sources.read(self.environ | variables, pause=lambda _: None).get()

    def problems(self, **variables: str) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            self.read(**variables)
        return caught.value.problems

    def look(self) -> Reading | None:
        self.clock.advance(1.0)
        return self.sources.look(self.environ, NEVER)

    def looks(self, times: int = 3) -> list[Reading]:
        """What that many looks tell."""
        return [reading for _ in range(times) if (reading := self.look()) is not None]

    def told(self) -> Reading:
        """The one thing that a few looks tell."""
        (reading,) = self.looks()
        return reading


@pytest.fixture
def place(tmp_path: Path, clock: FakeClock) -> Place:
    return Place(tmp_path, clock)


def fetched(place: Place) -> Place:
    place.environ["PELICAN_DIRECTOR_CONFIGURL"] = URL
    return place


class TestWhichWins:
    def test_each_source_over_the_one_before(self, place: Place) -> None:
        names = ("Threads", "MaxServers", "HealthTestThreads", "StatConcurrencyLimit", "StatThreads")

        def setting(*those: str, to: int) -> str:
            return f"Director: {{{', '.join(f'{name}: {to}' for name in those)}}}\n"

        place.write(setting(*names[:4], to=11) + "ConfigLocations: [config.d]")
        place.write(setting(*names[:3], to=12), "config.d/10.yaml")
        fetched(place).host.says(setting(*names[:2], to=13))
        config = place.read(PELICAN_DIRECTOR_THREADS="14")
        values = config.threads, config.max_servers, config.health_test_threads, config.stat_concurrency_limit
        assert (*values, config.stat_threads) == (14, 13, 12, 11, 256)
        attributes = ("threads", "max_servers", "health_test_threads", "stat_concurrency_limit")
        assert [config.sources[one] for one in attributes] == [
            "PELICAN_DIRECTOR_THREADS",
            f"{URL}:1",
            "config.d/10.yaml:1",
            "pelican.yaml:1",
        ]

    def test_an_empty_value_sets_nothing(self, place: Place) -> None:
        place.write("Director: {Threads: 11, MaxServers: 12}\nConfigLocations: config.d")
        place.write("Director: {Threads: , MaxServers: ''}", "config.d/10.yaml")
        config = place.read()
        assert (config.threads, config.max_servers) == (11, 12)

    def test_but_its_name_must_be_right(self, place: Place) -> None:
        place.write("ConfigLocations: config.d")
        place.write("Director: {Thread: }", "config.d/10.yaml")
        assert "there is no such parameter" in place.problems()[0]

    def test_a_list_replaces_a_list(self, place: Place) -> None:
        place.write("Director: {FilteredServers: [A, B]}\nConfigLocations: config.d")
        place.write("Director: {FilteredServers: [C]}", "config.d/10.yaml")
        assert place.read().filtered_servers == ("C",)


class TestDirectories:
    def test_in_the_order_given_and_each_by_names(self, place: Place) -> None:
        place.write("ConfigLocations: [b.d, a.d]")
        place.write("Director: {Threads: 5, MaxServers: 5}", "b.d/2.yaml")
        place.write("Director: {Threads: 6, MaxServers: 6, StatThreads: 6}", "b.d/10.yaml")
        place.write("Director: {Threads: 7}", "a.d/1.yaml")
        config = place.read()
        assert (config.threads, config.max_servers, config.stat_threads) == (7, 5, 6)

    def test_the_environment_names_them_as_well(self, place: Place) -> None:
        place.write("ConfigLocations: [none.d]")
        place.write("Director: {Threads: 7}", "a.d/1.yaml")
        assert place.read(PELICAN_CONFIGLOCATIONS=f"{place.path / 'a.d'}").threads == 7

    def test_but_none_of_their_files_does(self, place: Place) -> None:
        place.write("ConfigLocations: [a.d]")
        place.write("ConfigLocations: [b.d]\nDirector: {Threads: 7}", "a.d/1.yaml")
        place.write("Director: {Threads: 8}", "b.d/1.yaml")
        config = place.read()
        assert config.threads == 7
        assert config.warnings == ("ConfigLocations (a.d/1.yaml:1) has no effect there; only in the main file",)

    def test_everything_that_is_wrong_is_said_at_once(self, place: Place) -> None:
        place.write("ConfigLocations: [a.d, none.d]")
        place.write("Director: [", "a.d/1.yaml")
        place.write("a: 1\nA: 2", "a.d/2.yaml")
        first, second, third = place.problems()
        assert first.startswith("ConfigLocations: none.d: expected a directory; No such file")
        assert second.startswith("a.d/1.yaml:")
        assert third == "a.d/2.yaml:2: 'A' has been set already, as 'a'"

    def test_a_wrong_value_names_the_file_that_won(self, place: Place) -> None:
        place.write("ConfigLocations: [a.d]\nDirector: {Threads: few}")
        place.write("Director: {Threads: many}", "a.d/1.yaml")
        assert place.problems() == ("Director.Threads = 'many' (a.d/1.yaml:1): expected a whole number",)

    def test_they_are_bounded(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        place.write("ConfigLocations: [a.d]")
        for number in range(3):
            place.write("Director: {Threads: 7}", f"a.d/{number}.yaml")
        monkeypatch.setattr(local_files, "MAX_BYTES", 60)
        assert place.problems() == ("ConfigLocations: the files are longer than 60 bytes together",)
        monkeypatch.setattr(local_files, "MAX_FILES", 2)
        assert place.problems() == ("ConfigLocations: 3 files, which is more than 2",)

    @pytest.mark.parametrize("value", ["{a: b}", "[[a]]"])
    def test_what_is_no_list_of_directories_is_said_once(self, place: Place, value: str) -> None:
        place.write(f"ConfigLocations: {value}")
        (problem,) = place.problems()
        assert problem.startswith("ConfigLocations")


class TestFetched:
    def test_it_may_be_all_there_is(self, place: Place) -> None:
        del fetched(place).environ["PELICAN_FEDERATION_REGISTRYURL"]
        place.host.says("Federation: {RegistryUrl: https://fetched.example.org}")
        assert place.read().registry_url == "https://fetched.example.org"

    def test_it_does_not_say_where_configuration_comes_from(self, place: Place) -> None:
        fetched(place).host.says(
            "ConfigLocations: [none.d]\nDirector:\n  ConfigUrl: http://elsewhere.example.org\n"
            "  ConfigTokenFile: /none\n  ConfigPollInterval: 1h\n  ConfigUrlAllowHttp: true\n  Threads: 9"
        )
        config = place.read()
        assert (config.threads, config.config_url, config.config_url_allow_http) == (9, URL, False)
        assert [warning.partition(" (")[0] for warning in config.warnings] == [
            "ConfigLocations",
            "Director.ConfigPollInterval",
            "Director.ConfigTokenFile",
            "Director.ConfigUrl",
            "Director.ConfigUrlAllowHttp",
        ]
        assert f"Director.ConfigUrl ({URL}:3) has no effect there" in config.warnings[3]

    def test_what_is_wrong_in_it_names_its_line(self, place: Place) -> None:
        fetched(place).host.says("\nDirector: {Threads: many, Thread: 1}")
        assert place.problems() == (
            f"Director.Threads = 'many' ({URL}:2): expected a whole number",
            f"Director.Thread ({URL}:2): there is no such parameter; the nearest is Director.Threads",
        )
        place.host.says("<html>")
        assert place.problems() == (f"{URL}: expected a mapping of sections, such as `Federation:`, at the top",)

    def test_https_unless_it_is_this_machine_or_the_operator_insists(self, place: Place) -> None:
        plain = "http://config.example.org/a"
        (problem,) = place.problems(PELICAN_DIRECTOR_CONFIGURL=plain, PELICAN_FEDERATION_REGISTRYURL="")
        assert problem.startswith(f"Director.ConfigUrl = '{plain}': expected https")
        insisting = {"PELICAN_DIRECTOR_CONFIGURL": plain, "PELICAN_DIRECTOR_CONFIGURLALLOWHTTP": "true"}
        assert place.read(**insisting).config_url == plain
        (place.path / "token").write_text("t")
        (problem,) = place.problems(**insisting, PELICAN_DIRECTOR_CONFIGTOKENFILE="token")
        assert "Director.ConfigTokenFile is set" in problem
        for own in ("http://127.0.0.1:1/a", "http://[::1]:1/a", "http://localhost/a"):
            assert place.read(PELICAN_DIRECTOR_CONFIGURL=own).config_url == own

    def test_a_wrong_url_is_one_problem_even_if_nothing_else_is_set(self, place: Place) -> None:
        (problem,) = place.problems(PELICAN_DIRECTOR_CONFIGURL="ftp://h/", PELICAN_FEDERATION_REGISTRYURL="")
        assert problem.startswith("Director.ConfigUrl = 'ftp://h/' (PELICAN_DIRECTOR_CONFIGURL)")
        assert place.host.asked == []

    def test_nobody_answers_and_nothing_is_known(self, place: Place) -> None:
        del fetched(place).environ["PELICAN_FEDERATION_REGISTRYURL"]
        place.host.is_away()
        place.write("Director: {Threads: many}")
        said = f"Director.ConfigUrl = '{URL}' (PELICAN_DIRECTOR_CONFIGURL): config.example.org:443: refused"
        assert place.problems() == (
            f"{said}; there is no copy of what it said",
            "Director.Threads = 'many' (pelican.yaml:1): expected a whole number",
        )

    def test_a_cold_start_perseveres_as_long_as_nothing_is_known(self, place: Place) -> None:
        fetched(place).host.is_away()
        pauses: list[float] = []
        assert place.sources.read(place.environ, tries=TRIES, pause=pauses.append).problems
        assert (len(place.host.asked), pauses) == (TRIES, [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S])

    def test_or_until_it_answers(self, place: Place) -> None:
        fetched(place).host.is_away()
        reading = place.sources.read(place.environ, tries=TRIES, pause=lambda _: place.host.says("{}"))
        assert reading.config is not None
        assert reading.config.warnings == ()
        assert len(place.host.asked) == 2

    def test_what_would_not_help_is_tried_once(self, place: Place) -> None:
        fetched(place).host.body = OutboundError(Failure.FORBIDDEN_ADDRESS, "h:443: forbidden address")
        assert place.sources.read(place.environ, tries=TRIES).problems
        assert len(place.host.asked) == 1

    def test_nobody_answers_but_what_was_said_is_known_from_an_earlier_start(self, place: Place) -> None:
        fetched(place).host.says("Director: {Threads: 9}")
        place.sources.keep(place.sources.read(place.environ))
        place.host.is_away()
        later = place.another().read(place.environ, tries=TRIES)
        assert later.get().threads == 9
        assert len(place.host.asked) == 2, "no patience is needed"
        (warning,) = later.get().warnings
        assert "refused; what it said at 1970-01-01T00:16:40Z is in force" in warning

    def test_what_was_said_elsewhere_is_no_copy_of_it(self, place: Place) -> None:
        fetched(place).host.says("Director: {Threads: 9}")
        place.sources.keep(place.sources.read(place.environ))
        place.host.is_away()
        place.sources = place.another()
        assert place.problems(PELICAN_DIRECTOR_CONFIGURL=URL + "2")

    def test_a_copy_is_not_taken_for_what_is_wrong_now(self, place: Place) -> None:
        fetched(place).host.says("Director: {Threads: 9}")
        place.sources.keep(place.sources.read(place.environ))
        place.host.says("Director: {Threads: many}")
        assert "expected a whole number" in place.another().read(place.environ).problems[0]

    def test_offline_nobody_is_asked(self, place: Place) -> None:
        del fetched(place).environ["PELICAN_FEDERATION_REGISTRYURL"]
        config = place.sources.read(place.environ, is_offline=True).get()
        assert "nobody was asked" in config.warnings[0]
        assert place.host.asked == []

    def test_offline_what_is_known_counts(self, place: Place) -> None:
        fetched(place).host.says("Director: {Threads: 9}")
        place.sources.keep(place.sources.read(place.environ))
        assert place.another().read(place.environ, is_offline=True).get().threads == 9
        place.environ["PELICAN_DIRECTOR_CONFIGURL"] = URL + "2"
        assert place.another().read(place.environ, is_offline=True).get().threads == 32
        assert len(place.host.asked) == 1


class TestWatching:
    def test_nothing_is_told_while_nothing_changes(self, place: Place) -> None:
        place.write("Director: {Threads: 8}")
        place.read()
        assert place.looks(10) == []

    def test_a_change_is_told_once_after_it_has_settled(self, place: Place) -> None:
        place.write("Director: {Threads: 8}")
        place.read()
        place.looks()
        place.write("Director: {Threads: 9}")
        assert place.look() is None, "it may still be written"
        reading = place.look()
        assert reading is not None
        assert reading.get().threads == 9
        assert place.looks() == []

    def test_a_file_that_is_being_written_is_left_alone(self, place: Place) -> None:
        place.write("Director: {Threads: 8}")
        place.read()
        place.looks()
        for number in range(5):
            (place.path / "pelican.yaml").write_text("Director: {Threads: 9, # " + number * "x")
            assert place.look() is None
        (place.path / "pelican.yaml").write_text("Director: {Threads: 9}")
        assert place.told().get().threads == 9

    def test_nor_is_one_believed_that_changes_while_it_is_read(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.write("Director: {Threads: 8}")
        place.read()
        place.looks()
        place.write("Director: {Threads: 9}")
        read = local_files.read_content

        def interrupted(path: Path, shown: str) -> bytes:
            content = read(path, shown)
            place.write("Director: {Threads: 10}")
            return content

        place.look()
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(local_files, "read_content", interrupted)
            assert place.look() is None
        assert place.told().get().threads == 10

    def test_what_says_the_same_in_other_words_is_no_change(self, place: Place) -> None:
        place.write("Director: {Threads: 8}")
        before = place.sources.read(place.environ)
        place.write("# eight\n\nDirector:\n  Threads: 8\n")
        assert place.looks() == []
        assert place.sources.read(place.environ).hash == before.hash
        place.write("Director: {Threads: 9}")
        assert place.sources.read(place.environ).hash != before.hash

    def test_a_link_turned_as_kubernetes_does_it(self, place: Place) -> None:
        for number in (8, 9):
            place.write(f"Director: {{Threads: {number}}}", f"..{number}/pelican.yaml")
        (place.path / "..data").symlink_to("..8")
        (place.path / "pelican.yaml").symlink_to("..data/pelican.yaml")
        assert place.read().threads == 8
        place.looks()
        (place.path / "..tmp").symlink_to("..9")
        (place.path / "..tmp").rename(place.path / "..data")
        assert place.told().get().threads == 9

    def test_files_that_come_change_and_go_in_a_directory(self, place: Place) -> None:
        place.write("ConfigLocations: [a.d]")
        (place.path / "a.d").mkdir()
        place.read()
        for text, threads in (("Director: {Threads: 8}", 8), ("Director: {Threads: 9}", 9)):
            place.write(text, "a.d/1.yaml")
            assert place.told().get().threads == threads
        place.write("Director: [", "a.d/1.yaml.swp")
        assert place.looks() == []
        (place.path / "a.d" / "1.yaml").unlink()
        assert place.told().get().threads == 32

    def test_a_directory_that_is_named_later_is_watched(self, place: Place) -> None:
        place.write("{}")
        place.read()
        place.write("Director: {Threads: 8}", "a.d/1.yaml")
        place.write("ConfigLocations: [a.d]")
        assert place.told().get().threads == 8
        place.write("Director: {Threads: 9}", "a.d/1.yaml")
        assert place.told().get().threads == 9

    def test_a_broken_one_is_told_once_for_each_content_and_then_the_mended_one(self, place: Place) -> None:
        place.write("Director: {Threads: 8}")
        good = place.sources.read(place.environ)
        place.write("Director: {Threads: many}")
        assert place.told().problems == ("Director.Threads = 'many' (pelican.yaml:1): expected a whole number",)
        assert place.looks(40) == [], "not even when it is judged again"
        place.write("Director: {Threads: more}")
        assert "'more'" in place.told().problems[0]
        place.write("Director: {Threads: 8}")
        mended = place.told()
        assert (mended.hash, mended.problems) == (good.hash, ())

    def test_the_file_is_deleted_and_comes_back(self, place: Place) -> None:
        place.write("Director: {Threads: 8}")
        place.read()
        file = place.path / "pelican.yaml"
        file.unlink()
        assert place.told().problems == ("pelican.yaml: cannot be read: No such file or directory",)
        assert place.problems() == ("pelican.yaml: cannot be read: No such file or directory",)
        place.write("Director: {Threads: 9}")
        assert place.told().get().threads == 9

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_the_file_becomes_unreadable_and_readable_again(self, place: Place) -> None:
        place.write("Director: {Threads: 8}")
        place.read()
        (place.path / "pelican.yaml").chmod(0o000)
        assert place.told().problems == ("pelican.yaml: cannot be read: Permission denied",)
        (place.path / "pelican.yaml").chmod(0o644)
        assert place.told().get().threads == 8

    @pytest.mark.parametrize(
        ("spoil", "problem"),
        [
            (lambda file: file.symlink_to(file), "pelican.yaml: cannot be read: Too many levels of symbolic links"),
            (lambda file: file.mkdir(), "pelican.yaml: expected a file"),
            (os.mkfifo, "pelican.yaml: expected a file"),
            (lambda file: file.write_bytes(b"Director: {Threads: \xff}"), "pelican.yaml:1: expected UTF-8"),
            (lambda file: file.write_bytes(b"x" * (1 << 20) + b"x"), "pelican.yaml: longer than 1048576 bytes"),
        ],
        ids=["a link to itself", "a directory", "a pipe", "no text", "too long"],
    )
    def test_something_else_takes_its_place(self, place: Place, spoil: Callable[[Path], object], problem: str) -> None:
        place.write("Director: {Threads: 8}")
        place.read()
        file = place.path / "pelican.yaml"
        file.unlink()
        spoil(file)
        assert place.told().problems == (problem,)
        file.rmdir() if file.is_dir() else file.unlink()
        place.write("Director: {Threads: 8}")
        assert place.told().get().threads == 8

    def test_what_could_not_be_read_for_a_moment_is_read_again_although_nothing_has_changed(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.write("Director: {Threads: 8}")
        place.read()
        place.looks()
        place.write("Director: {Threads: 9}")
        with monkeypatch.context() as short:

            def fail(*_: object) -> None:
                raise ConfigError(("pelican.yaml: cannot be read: Too many open files",))

            short.setattr(local_files, "read_content", fail)
            assert "Too many open files" in place.told().problems[0]
        place.clock.advance(RETRY_S)
        assert place.told().get().threads == 9

    def test_a_file_that_is_named_and_comes_later_is_found(self, place: Place) -> None:
        place.write("Server: {IssuerJwks: keys.json}")
        assert "there is no such file" in place.problems()[0]
        assert place.looks(3) == [], "told already, to whoever started"
        (place.path / "keys.json").write_text("{}")
        (reading,) = place.looks(int(RETRY_S) + 2)
        assert reading.config is not None

    def test_other_authorities_in_the_same_file_are_a_change(self, place: Place) -> None:
        place.write("{}")
        place.read()
        place.looks()
        (place.path / "base" / "certificates").mkdir(parents=True)
        first = place.path / "first"
        first.mkdir()
        write(first, certificate())
        for _ in range(2):
            second = place.path / "second"
            second.mkdir(exist_ok=True)
            write(second, certificate())
            (second / "tls.crt").rename(place.path / "base" / "certificates" / "tlsca.pem")
            reading = place.told()
            assert reading.get().tls_ca_certificate_file == place.path / "base" / "certificates" / "tlsca.pem"

    def test_a_long_file_that_is_wrong_is_not_taken_to_pieces_again_and_again(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parsed: list[str] = []
        parse = local_files.parse_settings

        def counted(content: bytes, shown: str, leaves: Container[str]) -> dict[str, Setting]:
            parsed.append(shown)
            return parse(content, shown, leaves)

        monkeypatch.setattr(local_files, "parse_settings", counted)
        place.write("ConfigLocations: [a.d]\nDirector: {Threads: many}")
        place.write("Director: [", "a.d/1.yaml")
        assert len(place.problems()) == 1
        place.looks(50)
        assert parsed == ["pelican.yaml", "a.d/1.yaml"]

    def test_a_first_file_that_comes_later_is_found(self, place: Place) -> None:
        place.read()
        place.looks()
        place.write("Director: {Threads: 8}")
        assert place.told().get().threads == 8

    def test_who_takes_over_is_told_what_there_is_even_if_it_is_what_was_there_at_the_start(self, place: Place) -> None:
        place.write("Director: {Threads: 8}")
        place.read()
        place.sources.start_afresh()
        assert place.told().get().threads == 8

    def test_who_begins_later_begins_with_what_there_is(self, place: Place) -> None:
        place.write("Director: {Threads: 8}")
        place.read()
        place.write("Director: {Threads: 9}")
        place.sources = place.another()
        assert place.told().get().threads == 9


class TestWatchingWhatIsFetched:
    @pytest.fixture
    def place(self, place: Place) -> Place:
        place.environ["PELICAN_DIRECTOR_CONFIGPOLLINTERVAL"] = "10s"
        fetched(place).host.says("Director: {Threads: 8}")
        assert place.read().threads == 8
        place.looks(2)  # the first poll of who begins to watch
        place.host.asked.clear()
        return place

    def test_it_is_polled_by_its_interval_and_asked_only_for_something_else(self, place: Place) -> None:
        assert place.looks(30) == []
        assert len(place.host.asked) == 3
        assert all(headers["If-None-Match"] for headers in place.host.asked)

    def test_a_change_is_told_once(self, place: Place) -> None:
        place.host.says("Director: {Threads: 9}")
        (reading,) = place.looks(30)
        assert reading.get().threads == 9
        assert reading.document is not None

    def test_a_broken_one_is_told_once_and_so_is_the_mended_one(self, place: Place) -> None:
        place.host.says("Director: {Threads: many}")
        (reading,) = place.looks(40)
        assert reading.problems == (f"Director.Threads = 'many' ({URL}:1): expected a whole number",)
        place.host.says("Director: {Threads: 8}")
        (reading,) = place.looks(40)
        assert reading.get().threads == 8

    def test_a_host_that_is_away_changes_nothing(self, place: Place, caplog: pytest.LogCaptureFixture) -> None:
        place.host.is_away()
        assert place.looks(40) == []
        assert caplog.text.count("refused") == 1
        assert "refused" in place.sources.remote_problem
        place.host.says("Director: {Threads: 9}")
        (reading,) = place.looks(20)
        assert (reading.get().threads, reading.get().warnings) == (9, ())
        assert place.sources.remote_problem == ""

    def test_a_change_of_files_does_not_wait_for_a_poll(self, place: Place) -> None:
        place.looks(8)
        place.write("Director: {MaxServers: 9}")
        place.look()
        assert place.host.asked == []
        reading = place.look()
        assert reading is not None
        assert reading.get().max_servers == 9
        assert place.host.asked == []
        place.look()
        assert len(place.host.asked) == 1, "it was due"

    def test_another_url_is_asked_at_once_and_then_by_the_interval(self, place: Place) -> None:
        place.host.is_away()
        place.environ["PELICAN_DIRECTOR_CONFIGURL"] = URL + "2"
        place.write("{}")
        assert "refused; there is no copy" in place.told().problems[0]
        before = len(place.host.asked)
        assert place.looks(40) == []
        assert len(place.host.asked) - before <= 4
        place.host.says("Director: {Threads: 9}")
        (reading,) = place.looks(20)
        assert reading.get().threads == 9

    def test_no_url_any_more(self, place: Place) -> None:
        del place.environ["PELICAN_DIRECTOR_CONFIGURL"]
        place.write("{}")
        reading = place.told()
        assert (reading.get().threads, reading.document) == (32, None)

    def test_who_takes_over_asks_before_it_believes_what_it_heard_long_ago(self, place: Place) -> None:
        place.environ["PELICAN_DIRECTOR_CONFIGPOLLINTERVAL"] = "1m"
        place.write("{}")
        place.looks(60)
        successor = place.another()
        successor.read(place.environ)
        place.host.says("Director: {Threads: 9}")
        assert len(place.looks(30)) <= 1
        place.sources = successor
        assert place.told().get().threads == 9

    def test_and_if_nobody_answers_believes_what_was_kept_meanwhile(self, place: Place) -> None:
        successor = place.another()
        successor.read(place.environ)
        place.host.says("Director: {Threads: 9}")
        (reading,) = place.looks(20)
        place.sources.keep(reading)
        place.host.is_away()
        place.sources = successor
        assert place.told().get().threads == 9

    def test_the_copy_is_nobody_elses(self, place: Place) -> None:
        place.sources.keep(place.sources.read(place.environ))
        copy = place.path / "state" / COPY_NAME
        assert copy.stat().st_mode & 0o777 == 0o600
        before = copy.stat().st_ino
        place.sources.keep(place.sources.read(place.environ))
        assert copy.stat().st_ino == before, "not written again for nothing"


class TestReading:
    def test_its_settings_make_the_same_configuration_elsewhere(self, place: Place) -> None:
        place.write("Director: {Threads: 8, FilteredServers: [A, B], EnableStat: false}\nConfigLocations: [a.d]")
        place.write(
            "GeoIPOverrides: [{IP: 10.0.0.0/8, Coordinate: {Lat: 1, Long: 2}}]\nServer: {Hostname: d}", "a.d/1.yaml"
        )
        reading = place.sources.read(place.environ)
        elsewhere = load_settings(reading.settings, {"PELICAN_DIRECTOR_THREADS": "9"}, place.path)
        assert elsewhere == reading.config
        assert elsewhere.sources == reading.get().sources

    def test_what_the_federation_told_is_among_them(self, place: Place) -> None:
        del place.environ["PELICAN_FEDERATION_REGISTRYURL"]
        place.environ["PELICAN_FEDERATION_DISCOVERYURL"] = "https://fed.example.org"
        place.read()
        told = {"registry_url": "https://told.example.org"}
        source = "https://fed.example.org/.well-known/pelican-configuration"

        def complete(config: Config) -> Config:
            values = {one: getattr(config, one) for one in config.__dataclass_fields__}
            return Config(**values | told | {"sources": {**config.sources, **dict.fromkeys(told, source)}})

        place.clock.advance(1)
        assert place.sources.look(place.environ, NEVER, complete) is None
        reading = place.sources.look(place.environ, NEVER, complete)
        assert reading is not None
        assert load_settings(reading.settings, {}, place.path).registry_url == "https://told.example.org"

    def test_what_it_does_not_tell_is_a_problem_that_is_tried_again(self, place: Place) -> None:
        place.write("{}")

        def fail(_: Config) -> Config:
            raise ConfigError(("nobody tells",))

        readings = [place.sources.look(place.environ, NEVER, fail) for _ in range(3)]
        assert [one.problems for one in readings if one is not None] == [("nobody tells",)]
        place.clock.advance(RETRY_S)
        assert place.told().config is not None


def test_a_program_that_reads_once_leaves_nothing_open(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    rested: list[bool] = []
    monkeypatch.setattr(sources.Sources, "rest", lambda _: rested.append(True))
    assert sources.load(place.environ, place.path).registry_url == "https://registry.example.org"
    with pytest.raises(ConfigError):
        sources.load({}, place.path)
    assert rested == [True, True]


# -- somebody who is never done


def test_files_that_are_touched_all_the_time_count_by_their_content(place: Place) -> None:
    place.write("Director: {StatTimeout: 1s}")
    place.told()
    said = []
    for number in range(2 * RESTLESS_LOOKS + 2):
        if number == 2:
            place.write("Director: {StatTimeout: 3s}")
        else:
            os.utime(place.path / "pelican.yaml", ns=(number, number))
        said += place.looks(1)

    assert [reading.get().stat_timeout_s for reading in said] == [3.0]


def test_and_are_polled_for_meanwhile(place: Place) -> None:
    fetched(place).write("Director: {StatTimeout: 1s}")
    place.told()
    asked = len(place.host.asked)
    for number in range(20):
        os.utime(place.path / "pelican.yaml", ns=(number, number))
        assert place.look() is None

    assert len(place.host.asked) > asked


def test_so_does_the_content_of_a_file_that_they_name(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(certificate()[0])
    place.write(f"Server: {{TLSCACertificateFile: {file}}}")
    place.told()
    said = []
    for number in range(2 * RESTLESS_LOOKS + 4):
        if number == RESTLESS_LOOKS + 1:
            file.write_bytes(certificate()[0])
        os.utime(place.path / "pelican.yaml", ns=(number, number))
        said += place.looks(1)

    assert len(said) == 1


def test_files_that_are_another_each_time_are_waited_for_with_a_word(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.write("Director: {StatTimeout: 1s}")
    place.told()
    for number in range(2 * WARN_LOOKS):
        place.write(f"Director: {{StatTimeout: {number + 2}s}}")
        assert place.look() is None

    assert [record.getMessage() for record in caplog.records if "all the time" in record.getMessage()] != []
    assert len(caplog.records) == 1
    assert place.told().get().stat_timeout_s == 2 * WARN_LOOKS + 1
