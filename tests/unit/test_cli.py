"""The command `director-wsgi`: statuses, and one clear message instead of a traceback."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import jwt
import pytest

from director_wsgi import __version__, cli
from director_wsgi.trust.keyring import KeyRing
from director_wsgi.trust.self_issued import DISCOVER, SCRAPE, Guard, Issuer
from tests.unit.trust.test_issuer import write


@pytest.fixture(autouse=True)
def _no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("PELICAN_", "DIRECTOR_WSGI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PELICAN_CONFIGBASE", str(tmp_path / "base"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "my.yaml"
    file.write_text("Federation: {RegistryUrl: https://registry.example.org}\nOrigin: {Port: 1}\n")
    return file


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have replaced this program."""
    seen: list[list[str]] = []

    def execv(path: str, words: list[str]) -> None:
        assert path == words[0]
        seen.append(words)
        raise SystemExit(0)

    monkeypatch.setattr("os.execv", execv)
    return seen


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"director-wsgi {__version__}\n"


@pytest.mark.parametrize("words", [["--help"], ["check-config", "--help"], ["params", "-h"], ["run", "--help"]])
def test_help_is_a_success(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    assert capsys.readouterr().out.startswith("usage: director-wsgi")


@pytest.mark.parametrize("words", [[], ["frob"], ["--frob"], ["params", "x"], ["check-config", "a", "b"]])
def test_a_wrong_command_is_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    assert "usage: director-wsgi" in capsys.readouterr().err


class TestCheckConfig:
    def test_a_right_one_is_ok(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["check-config", str(file)]) == 0
        out = capsys.readouterr().out
        assert "no effect here: Origin.Port\n" in out
        assert out.splitlines()[-1].startswith("ok: https://")

    def test_a_wrong_one_is_status_1_and_all_its_problems(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file.write_text("Director: {StatTimeout: 3, Treads: 4}")
        assert cli.main(["check-config", str(file)]) == 1
        said = capsys.readouterr()
        assert said.err.startswith("3 problems:\n  ")
        assert said.out == ""

    def test_a_file_that_is_none_is_one_message(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["check-config", "none.yaml"]) == 1
        assert capsys.readouterr().err == "1 problem:\n  none.yaml: cannot be read: No such file or directory\n"

    def test_without_a_file_the_environment_may_be_enough(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert cli.main(["check-config"]) == 1
        monkeypatch.setenv("PELICAN_FEDERATION_REGISTRYURL", "https://registry.example.org")
        assert cli.main(["check-config"]) == 0

    def test_show_says_where_values_come_from(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["check-config", "--show", str(file)]) == 0
        out = capsys.readouterr().out
        assert f"Federation.RegistryUrl = https://registry.example.org  # {file}:1\n" in out
        assert "Director.StatTimeout = 2s  # default\n" in out

    def test_show_prints_no_files_content(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (file.parent / "key.pem").write_text("SECRET")
        with file.open("a") as more:
            more.write("IssuerKey: key.pem\n")
        assert cli.main(["check-config", "--show", str(file)]) == 0
        assert "SECRET" not in capsys.readouterr().out


class TestRun:
    def test_a_wrong_configuration_is_status_2_and_starts_nothing(
        self, executed: list[list[str]], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["run"]) == 2
        assert executed == []
        err = capsys.readouterr().err
        assert err.startswith("director-wsgi: the configuration cannot be used:\n  Federation.RegistryUrl")

    def test_everything_after_run_reaches_gunicorn_untouched(
        self, executed: list[list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PELICAN_FEDERATION_REGISTRYURL", "https://registry.example.org")
        words = ["--bind", "127.0.0.1:1", "-w", "1", "--", "--version", "--help"]
        with pytest.raises(SystemExit):
            cli.main(["run", *words])
        ((program, flag, settings, *rest),) = executed
        assert program == str(Path(sys.executable).with_name("gunicorn"))
        assert (flag, Path(settings)) == ("-c", Path(cli.__file__).with_name("runtime") / "process.py")
        assert Path(settings).is_file()
        assert rest == ["director_wsgi.wsgi:application", *words]


class TestToken:
    WEB = "https://director.example.org"
    WORDS = ("token", "--scope", "monitoring.scrape")

    @pytest.fixture(autouse=True)
    def _configuration(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PELICAN_FEDERATION_REGISTRYURL", "https://registry.example.org")
        monkeypatch.setenv("PELICAN_SERVER_EXTERNALWEBURL", self.WEB)

    @pytest.fixture
    def ring(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeyRing:
        file = write(tmp_path / "key.pem")
        monkeypatch.setenv("PELICAN_ISSUERKEY", str(file))
        return KeyRing(directory=None, single=file)

    @pytest.mark.parametrize(("words", "lifetime_s"), [((), 3600), (("--lifetime", "90m"), 5400)])
    def test_it_opens_the_door_it_is_for_until_it_expires(
        self, ring: KeyRing, words: tuple[str, ...], lifetime_s: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main([*self.WORDS, *words]) == 0
        token = capsys.readouterr().out.removesuffix("\n")
        Guard([Issuer(self.WEB, ring.key_set)], scope=SCRAPE).check(token)
        claims = jwt.decode(token, options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == lifetime_s

    def test_there_is_one_for_service_discovery_too(self, ring: KeyRing, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["token", "--scope", "pelican.director_service_discovery"]) == 0
        token = capsys.readouterr().out.removesuffix("\n")
        Guard([Issuer(self.WEB, ring.key_set)], scope=DISCOVER).check(token)

    def test_without_a_key_it_says_what_to_set_and_makes_none(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main([*self.WORDS]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert f"no signing key in {tmp_path}/base/issuer-keys; set IssuerKey or IssuerKeysDirectory" in said.err
        assert not (tmp_path / "base").exists()

    def test_a_broken_key_is_one_message_without_its_content(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "key.pem").write_text("SECRET")
        monkeypatch.setenv("PELICAN_ISSUERKEY", "key.pem")
        assert cli.main([*self.WORDS]) == 2
        said = capsys.readouterr()
        assert said.err.startswith("director-wsgi: the configuration cannot be used:\n  IssuerKey: ")
        assert "SECRET" not in said.out + said.err

    @pytest.mark.parametrize("lifetime", ["5", "0s", "-1h", "soon", "999999999h"])
    def test_a_lifetime_that_is_none_is_refused(
        self, ring: KeyRing, lifetime: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main([*self.WORDS, f"--lifetime={lifetime}"]) == 2
        assert f"--lifetime {lifetime}: " in capsys.readouterr().err

    def test_only_scopes_of_the_directors_own_doors(self, ring: KeyRing, capsys: pytest.CaptureFixture[str]) -> None:
        """The same key speaks for the federation: no token for its storage is to be had here."""
        assert cli.main(["token", "--scope", "storage.read:/"]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert "expected monitoring.scrape or pelican.director_service_discovery" in said.err


def test_demo_hands_on_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def demo(words: list[str]) -> int:
        seen.append(words)
        return 7

    command = ModuleType("director_wsgi.demo.command")
    command.main = demo  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "director_wsgi.demo.command", command)
    assert cli.main(["demo", "--seconds", "3", "-h"]) == 7
    assert seen == [["--seconds", "3", "-h"]]


def test_an_interrupt_is_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_params", interrupted)
    assert cli.main(["params"]) == 130


def test_a_reader_that_has_gone_is_status_141_and_no_traceback() -> None:
    """As in `director-wsgi params | head -1`; here nobody reads at all."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", "import sys; from director_wsgi.cli import main; sys.exit(main(['params']))"],
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_only_the_standard_library_is_loaded_before_a_command_is_known() -> None:
    """Otherwise `director-wsgi --help` would take as long as starting the director."""
    program = (
        "import sys; from director_wsgi.cli import main; main(['--version']);"
        "print(sorted({'yaml', 'flask', 'gunicorn', 'requests', 'ssl', 'dataclasses'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"
