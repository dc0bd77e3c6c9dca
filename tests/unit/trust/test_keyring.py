"""Laws of the keys of a running director: which are published, which one signs, and what a broken file changes."""

import json
import logging
from pathlib import Path

import pytest

from director_wsgi.errors import ConfigError
from director_wsgi.trust import keyring
from director_wsgi.trust.keyring import HELD_S, PUBLISHING_S, REFRESH_S, KeyRing
from tests.fakes import FakeClock
from tests.unit.trust.forge import Key, jwks
from tests.unit.trust.rings import add
from tests.unit.trust.test_issuer import write


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def ring(directory: Path | None, wall: FakeClock, **more: Path) -> KeyRing:
    return KeyRing(directory=directory, wall=wall, **more)


def signing(ring: KeyRing) -> str | None:
    key = ring.signing_key()
    return None if key is None else key.source.name


def published(ring: KeyRing) -> list[str]:
    return [key.kid for key in ring.key_set().keys]


class TestWhichKeySigns:
    def test_the_first_by_name_of_those_that_have_been_there_long_enough(
        self, directory: Path, wall: FakeClock
    ) -> None:
        for name in ("b.pem", "a.pem", "c.pem"):
            add(directory / name)
        assert signing(ring(directory, wall)) == "a.pem"

    def test_the_single_file_only_while_the_directory_has_none(
        self, directory: Path, wall: FakeClock, tmp_path: Path
    ) -> None:
        single = add(tmp_path / "0.pem")
        assert signing(ring(directory, wall, single=single)) == "0.pem"
        add(directory / "z.pem")
        assert signing(ring(directory, wall, single=single)) == "z.pem"

    def test_a_new_one_only_when_nobody_can_hold_a_key_set_without_it(self, directory: Path, wall: FakeClock) -> None:
        add(directory / "b.pem")
        add(directory / "a.pem", at=wall())
        keys = ring(directory, wall)
        assert (signing(keys), len(published(keys))) == ("b.pem", 2)
        wall.advance(PUBLISHING_S - 1)
        assert signing(keys) == "b.pem"
        wall.advance(1)
        assert signing(keys) == "a.pem"

    def test_that_time_covers_what_servers_hold_and_our_own_refresh(self) -> None:
        assert PUBLISHING_S >= HELD_S + 2 * REFRESH_S

    def test_a_new_one_at_once_if_it_is_the_only_one(self, directory: Path, wall: FakeClock) -> None:
        add(directory / "a.pem", at=wall())
        assert signing(ring(directory, wall)) == "a.pem"

    def test_the_oldest_if_all_are_new(self, directory: Path, wall: FakeClock) -> None:
        add(directory / "a.pem", at=wall() - 10)
        add(directory / "b.pem", at=wall() - 20)
        assert signing(ring(directory, wall)) == "b.pem"

    def test_a_file_from_the_future_is_new(self, directory: Path, wall: FakeClock) -> None:
        add(directory / "a.pem", at=wall() + 1e6)
        add(directory / "b.pem", at=wall() - 1)
        assert signing(ring(directory, wall)) == "b.pem"

    def test_none_if_there_is_none(self, directory: Path, wall: FakeClock) -> None:
        keys = ring(directory, wall)
        assert (keys.signing_key(), keys.jwks(), keys.outlook()) == (None, None, ())

    def test_the_outlook_tells_what_will_be(self, directory: Path, wall: FakeClock) -> None:
        add(directory / "a.pem", at=wall() - 60)
        add(directory / "b.pem", at=wall() - 120)
        add(directory / "c.pem")
        add(directory / "d.pem", at=wall())
        keys = ring(directory, wall)
        told = {one.key.source.name: (one.signs, one.signs_at) for one in keys.outlook()}
        assert told == {
            "a.pem": (False, wall() - 60 + PUBLISHING_S),
            "b.pem": (False, wall() - 120 + PUBLISHING_S),
            "c.pem": (True, None),
            "d.pem": (False, None),
        }
        for name in ("b.pem", "a.pem"):
            wall.now = told[name][1] or 0.0
            assert signing(keys) == name


class TestRefresh:
    def test_follows_what_comes_and_goes(self, directory: Path, wall: FakeClock) -> None:
        add(directory / "a.pem")
        keys = ring(directory, wall)
        first = published(keys)
        add(directory / "b.pem", at=wall())
        assert published(keys) == first
        keys.refresh()
        assert published(keys)[:1] == first
        assert len(published(keys)) == 2
        (directory / "a.pem").rename(directory / "a.pem.retired")
        keys.refresh()
        assert first[0] not in published(keys)
        assert signing(keys) == "b.pem"

    def test_reads_no_key_if_no_file_has_changed(
        self, directory: Path, wall: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add(directory / "a.pem")
        keys = ring(directory, wall)
        monkeypatch.delattr(keyring, "load_issuer_keys")
        keys.refresh()
        add(directory / "b.pem")
        with pytest.raises(NameError):
            keys.refresh()

    def test_a_key_that_is_written_again_is_as_old_as_before(self, directory: Path, wall: FakeClock) -> None:
        """Tools that copy all files anew would else let the new key sign at once: all would be equally young."""
        old = Key()
        add(directory / "b.pem", old)
        keys = ring(directory, wall)
        add(directory / "b.pem", old, at=wall())
        add(directory / "a.pem", at=wall())
        keys.refresh()
        assert signing(keys) == "b.pem"
        assert len(published(keys)) == 2

    def test_another_key_in_the_same_file_is_a_new_one(self, directory: Path, wall: FakeClock) -> None:
        add(directory / "a.pem")
        add(directory / "b.pem")
        keys = ring(directory, wall)
        add(directory / "a.pem", at=wall())
        keys.refresh()
        assert signing(keys) == "b.pem"

    @pytest.mark.parametrize("name", ["a.pem", "z.pem"])
    def test_a_broken_file_changes_nothing_and_is_logged_once(
        self, directory: Path, wall: FakeClock, caplog: pytest.LogCaptureFixture, name: str
    ) -> None:
        add(directory / "a.pem")
        keys = ring(directory, wall)
        before = published(keys), signing(keys)
        (directory / name).write_text("SECRET")
        for _ in range(3):
            keys.refresh()
        assert (published(keys), signing(keys)) == before
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        assert name in caplog.text
        assert "SECRET" not in caplog.text
        write(directory / name)
        with caplog.at_level(logging.INFO):
            keys.refresh()
        assert "in order again" in caplog.text
        assert published(keys) != before[0]

    def test_keys_that_are_gone_altogether_are_kept(
        self, directory: Path, wall: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A file system that is away is no rotation."""
        add(directory / "a.pem")
        keys = ring(directory, wall)
        (directory / "a.pem").unlink()
        directory.rmdir()
        keys.refresh()
        assert len(published(keys)) == 1
        assert "no key left" in caplog.text

    def test_a_file_that_cannot_be_read_any_more_is_read_when_it_can(self, directory: Path, wall: FakeClock) -> None:
        add(directory / "a.pem")
        keys = ring(directory, wall)
        (directory / "b.pem").symlink_to(directory / "elsewhere")
        keys.refresh()
        assert len(published(keys)) == 1
        add(directory / "elsewhere")
        keys.refresh()
        assert len(published(keys)) == 2


class TestWhatIsPublished:
    def test_every_key_and_the_extra_ones(self, directory: Path, wall: FakeClock, tmp_path: Path) -> None:
        add(directory / "a.pem")
        extra = tmp_path / "extra.jwks"
        extra.write_bytes(jwks(Key("friend")))
        keys = ring(directory, wall, extra=extra)
        assert published(keys)[1:] == ["friend"]
        assert json.loads(json.dumps(keys.jwks()))["keys"][1]["kid"] == "friend"
        extra.write_bytes(jwks(Key("friend"), Key("other")))
        keys.refresh()
        assert published(keys)[1:] == ["friend", "other"]

    def test_extra_ones_never_sign(self, directory: Path, wall: FakeClock, tmp_path: Path) -> None:
        extra = tmp_path / "extra.jwks"
        extra.write_bytes(jwks(Key("friend")))
        keys = ring(None, wall, extra=extra)
        assert (keys.signing_key(), published(keys)) == (None, ["friend"])


class TestStart:
    def test_what_is_broken_is_an_error_that_names_every_file(self, directory: Path, wall: FakeClock) -> None:
        add(directory / "a.pem")
        (directory / "b.pem").write_text("")
        (directory / "c.pem").write_text("")
        with pytest.raises(ConfigError) as caught:
            ring(directory, wall)
        assert len(caught.value.problems) == 2

    def test_of_a_service_that_runs_already_leaves_out_what_is_broken(
        self, directory: Path, wall: FakeClock, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        add(directory / "b.pem")
        (directory / "a.pem").write_text("SECRET")
        extra = tmp_path / "extra.jwks"
        extra.write_text("[]")
        keys = KeyRing(directory=directory, extra=extra, wall=wall, strict=False)
        assert (signing(keys), len(published(keys))) == ("b.pem", 1)
        assert "a.pem" in caplog.text
        extra.write_bytes(jwks(Key("friend")))
        add(directory / "a.pem")
        keys.refresh()
        assert (signing(keys), len(published(keys))) == ("a.pem", 3)

    def test_a_directory_that_cannot_be_read_is_named(self, tmp_path: Path, wall: FakeClock) -> None:
        file = tmp_path / "file"
        file.write_text("")
        with pytest.raises(ConfigError, match=r"IssuerKeysDirectory: .*file: cannot be read"):
            ring(file, wall)


def test_nothing_private_is_shown(directory: Path, wall: FakeClock) -> None:
    add(directory / "a.pem")
    keys = ring(directory, wall)
    for shown in (repr(keys), repr(keys.outlook()), repr(keys.signing_key()), json.dumps(keys.jwks())):
        assert "private=" not in shown
        assert '"d":' not in shown
