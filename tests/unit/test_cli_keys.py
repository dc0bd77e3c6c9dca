"""`director-wsgi keys`: what is shown, what a rotation says, and what is refused."""

import json
import os
from pathlib import Path

import pytest

from director_wsgi import cli, cli_keys
from director_wsgi.trust.keyring import PUBLISHING_S, KeyRing
from tests.fakes import FakeClock
from tests.unit.trust.forge import Key, jwks
from tests.unit.trust.rings import add
from tests.unit.trust.test_issuer import write

Said = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("PELICAN_", "DIRECTOR_WSGI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PELICAN_CONFIGBASE", str(tmp_path))
    monkeypatch.setenv("PELICAN_FEDERATION_REGISTRYURL", "https://registry.example.org")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "issuer-keys"


def keys(*words: str) -> int:
    return cli.main(["keys", *words])


def rows(said: Said) -> list[dict[str, object]]:
    assert keys("--json") == 0
    told: list[dict[str, object]] = json.loads(said.readouterr().out)
    return told


def kid_of(file: Path) -> str:
    return KeyRing(directory=None, single=file).outlook()[0].key.kid


@pytest.mark.parametrize("words", [["--help"], ["list", "--help"], ["rotate", "-h"], ["retire", "--help"]])
def test_help_is_a_success(words: list[str], capsys: Said) -> None:
    assert keys(*words) == 0
    assert capsys.readouterr().out.startswith("usage: director-wsgi keys")


@pytest.mark.parametrize("words", [["frob"], ["retire"], ["rotate", "x"], ["retire", "a", "b"], ["--frob"]])
def test_a_wrong_command_is_status_2(words: list[str]) -> None:
    assert keys(*words) == 2


@pytest.mark.parametrize("words", [[], ["list"], ["rotate"], ["retire", "x"]])
def test_a_broken_key_is_one_message_without_its_content(directory: Path, capsys: Said, words: list[str]) -> None:
    add(directory / "b.pem")
    (directory / "a.pem").write_text("SECRET")
    assert keys(*words) == 2
    said = capsys.readouterr()
    assert said.err.startswith("director-wsgi: the configuration cannot be used:\n  IssuerKeysDirectory: ")
    assert "SECRET" not in said.err + said.out
    assert sorted(file.name for file in directory.iterdir()) == ["a.pem", "b.pem"]


class TestList:
    def test_without_a_key_it_says_who_makes_one(self, directory: Path, capsys: Said) -> None:
        assert keys() == 0
        assert f"There is no key. A director that starts makes one in {directory}" in capsys.readouterr().out
        assert not directory.exists()
        assert rows(capsys) == []

    def test_every_published_key_has_a_line(
        self, directory: Path, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old, spare = add(directory / "b.pem"), add(directory / "c.pem", Key("", "ES384"))
        new = write(directory / "a.pem")
        (tmp_path / "extra.jwks").write_bytes(jwks(Key("friend")))
        monkeypatch.setenv("PELICAN_SERVER_ISSUERJWKS", str(tmp_path / "extra.jwks"))
        directory.chmod(0o700)
        for words in ([], ["list"]):
            assert keys(*words) == 0
            heading, *lines = capsys.readouterr().out.splitlines()
            assert heading.split() == ["KID", "ALGORITHM", "STATE", "FILE"]
            assert [line.split()[0] for line in lines] == [kid_of(new), kid_of(old), kid_of(spare), "friend"]
            told = [" ".join(line.split()[1:]) for line in lines]
            assert told[0].startswith("ES256 published, will sign at 20")
            assert told[1:] == [
                f"ES256 signs {old}",
                f"ES384 published only {spare}",
                f"ES256 published only {tmp_path}/extra.jwks",
            ]

    @pytest.mark.parametrize("words", [["--json"], ["list", "--json"]])
    def test_as_json(self, directory: Path, capsys: Said, words: list[str]) -> None:
        file = add(directory / "a.pem")
        assert keys(*words) == 0
        assert json.loads(capsys.readouterr().out) == [
            {"kid": kid_of(file), "algorithm": "ES256", "file": str(file), "signs": True, "signs_at": None}
        ]

    def test_a_directory_that_others_may_read_is_a_warning(self, directory: Path, capsys: Said) -> None:
        add(directory / "a.pem")
        directory.chmod(0o755)
        assert keys() == 0
        assert "warning: IssuerKeysDirectory" in capsys.readouterr().out


class TestRotate:
    def test_the_first_key_signs_at_once(self, capsys: Said) -> None:
        assert keys("rotate") == 0
        assert "as soon as it is published" in capsys.readouterr().out
        (row,) = rows(capsys)
        assert row["signs"] is True

    def test_the_next_one_is_published_and_signs_later(self, directory: Path, capsys: Said) -> None:
        old = add(directory / "issuer.pem")
        assert keys("rotate") == 0
        said = capsys.readouterr().out
        new, other = rows(capsys)
        assert (new["signs"], other["signs"], other["kid"]) == (False, True, kid_of(old))
        assert f"added     {new['kid']} ({new['file']})" in said
        assert f"signs     from {new['signs_at']} on" in said
        assert f"until then {kid_of(old)} does" in said
        assert f"director-wsgi keys retire {kid_of(old)}" in said

    def test_what_it_says_comes_true(self, directory: Path, tmp_path: Path, wall: FakeClock) -> None:
        add(directory / "issuer.pem")
        said = cli_keys.rotated(os.environ, tmp_path, wall=wall)
        new = next(file for file in directory.iterdir() if file.name != "issuer.pem")
        os.utime(new, (wall(), wall()))
        ring = KeyRing(directory=directory, wall=wall)
        for after_s, name in ((PUBLISHING_S - 1, "issuer.pem"), (1, new.name)):
            wall.advance(after_s)
            signing = ring.signing_key()
            assert signing is not None
            assert signing.source.name == name
        assert kid_of(new) in said

    def test_twice_within_a_second_is_refused(self, directory: Path, tmp_path: Path, wall: FakeClock) -> None:
        cli_keys.rotated(os.environ, tmp_path, wall=wall)
        with pytest.raises(cli_keys.KeysError, match="within this second"):
            cli_keys.rotated(os.environ, tmp_path, wall=wall)
        assert len(list(directory.iterdir())) == 1

    def test_a_directory_that_cannot_be_written_is_one_message(
        self, directory: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add(directory / "a.pem")

        def refuse(**_options: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("tempfile.mkstemp", refuse)
        assert keys("rotate") == 1
        assert capsys.readouterr().err.startswith("director-wsgi: nothing was changed:\n")


class TestRetire:
    def test_the_key_is_no_more_and_its_file_is_kept(self, directory: Path, capsys: Said) -> None:
        add(directory / "a.pem")
        old = add(directory / "b.pem")
        kid = kid_of(old)
        assert keys("retire", kid) == 0
        said = capsys.readouterr().out
        assert f"retired   {kid} ({old}.retired)" in said
        assert "warning" not in said
        assert [row["kid"] for row in rows(capsys)] == [kid_of(directory / "a.pem")]
        assert (directory / "b.pem.retired").exists()

    def test_a_file_may_be_named_instead(self, directory: Path) -> None:
        add(directory / "a.pem")
        for name in ("b.pem", "c.pem"):
            add(directory / name)
        assert keys("retire", "b.pem") == 0
        assert keys("retire", str(directory / "c.pem")) == 0
        assert sorted(file.name for file in directory.iterdir()) == ["a.pem", "b.pem.retired", "c.pem.retired"]

    def test_a_kid_may_begin_like_an_option(self, directory: Path, capsys: Said) -> None:
        add(directory / "a.pem")
        assert keys("retire", "-" * 43) == 1
        assert f"there is no key {'-' * 43}" in capsys.readouterr().err

    def test_not_the_key_that_signs(self, directory: Path, capsys: Said) -> None:
        file = add(directory / "a.pem")
        write(directory / "0.pem")
        assert keys("retire", kid_of(file)) == 1
        assert "signs; `director-wsgi keys rotate`" in capsys.readouterr().err
        assert file.exists()

    def test_not_what_stands_elsewhere(
        self, directory: Path, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add(directory / "a.pem")
        single = add(tmp_path / "issuer.jwk")
        (tmp_path / "extra.jwks").write_bytes(jwks(Key("friend")))
        monkeypatch.setenv("PELICAN_SERVER_ISSUERJWKS", str(tmp_path / "extra.jwks"))
        assert keys("retire", kid_of(single)) == 1
        assert "is IssuerKey" in capsys.readouterr().err
        assert keys("retire", "friend") == 1
        assert "Server.IssuerJwks" in capsys.readouterr().err
        assert single.exists()

    def test_what_was_retired_before_is_not_written_over(self, directory: Path, capsys: Said) -> None:
        add(directory / "a.pem")
        add(directory / "b.pem")
        (directory / "b.pem.retired").write_text("older")
        assert keys("retire", "b.pem") == 1
        assert "move it away" in capsys.readouterr().err
        assert (directory / "b.pem.retired").read_text() == "older"

    def test_it_warns_while_tokens_that_it_signed_live(self, directory: Path, tmp_path: Path, wall: FakeClock) -> None:
        began = wall()
        for lives_s, is_warned in ((PUBLISHING_S + 959, True), (PUBLISHING_S + 961, False)):
            add(directory / "b.pem")
            add(directory / "a.pem", at=began)
            (directory / "b.pem.retired").unlink(missing_ok=True)
            wall.now = began + lives_s
            said = cli_keys.retired(os.environ, tmp_path, "b.pem", wall=wall)
            assert ("warning: tokens that it signed live until" in said) == is_warned

    def test_a_key_that_has_signed_nothing_yet_goes_without_warning(
        self, directory: Path, tmp_path: Path, wall: FakeClock
    ) -> None:
        add(directory / "b.pem")
        add(directory / "a.pem", at=wall())
        assert "warning" not in cli_keys.retired(os.environ, tmp_path, "a.pem", wall=wall)
