"""Laws of the files of keys: made in full or not at all, once, and for nobody else to read."""

import os
import stat
import threading
from pathlib import Path

import pytest

from director_wsgi.errors import ConfigError
from director_wsgi.trust.issuer import load_issuer_keys
from director_wsgi.trust.key_files import FIRST_NAME, NameTaken, add_key, ensure_key, loose_permissions, retire_key
from tests.fakes import FakeClock
from tests.unit.trust.test_issuer import write


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "base" / "issuer-keys"


def names(directory: Path) -> list[str]:
    return [file.name for file in directory.iterdir()]


def modes(*files: Path) -> list[str]:
    return [oct(stat.S_IMODE(file.stat().st_mode)) for file in files]


class TestTheFirstKey:
    def test_is_made_for_its_owner_alone(self, directory: Path) -> None:
        file = ensure_key(directory)
        assert file == directory / FIRST_NAME
        assert modes(directory, file) == ["0o700", "0o600"]
        (key,) = load_issuer_keys(directory)
        assert key.algorithm == "ES256"
        assert b"BEGIN PRIVATE KEY" in file.read_bytes()
        assert names(directory) == [FIRST_NAME]

    def test_is_made_once(self, directory: Path) -> None:
        assert ensure_key(directory) is not None
        before = load_issuer_keys(directory)[0].kid
        assert ensure_key(directory) is None
        assert [key.kid for key in load_issuer_keys(directory)] == [before]

    @pytest.mark.parametrize("name", ["mine.pem", "single"])
    def test_is_not_made_beside_another(self, directory: Path, name: str) -> None:
        directory.mkdir(parents=True)
        mine = write(directory / name)
        assert ensure_key(directory, None if name.endswith(".pem") else mine) is None
        assert names(directory) == [name]

    def test_is_one_however_many_make_it_at_once(self, directory: Path) -> None:
        together = threading.Barrier(8)
        made: list[Path | None] = []

        def make() -> None:
            together.wait(10)
            made.append(ensure_key(directory))

        threads = [threading.Thread(target=make) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(made) == 8
        assert made.count(directory / FIRST_NAME) == 1
        assert names(directory) == [FIRST_NAME]

    def test_that_came_between_the_look_and_the_making_is_taken(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ensure_key(directory)
        before = (directory / FIRST_NAME).read_bytes()
        monkeypatch.setattr("director_wsgi.trust.key_files.key_files", lambda *_: ())
        assert ensure_key(directory) is None
        assert (directory / FIRST_NAME).read_bytes() == before
        assert names(directory) == [FIRST_NAME]

    def test_is_not_asked_for_where_there_is_no_directory(self) -> None:
        assert ensure_key(None) is None

    def test_that_cannot_be_made_is_one_error_that_says_what_to_do(self) -> None:
        with pytest.raises(ConfigError) as caught:
            ensure_key(Path("/proc/none/keys"))
        (problem,) = caught.value.problems
        assert problem.startswith("IssuerKeysDirectory: /proc/none/keys: there is no key yet, and none can be made")
        assert "install -d -m 700" in problem
        assert "set IssuerKey " in problem

    def test_leaves_nothing_behind_if_it_cannot_be_written(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(ConfigError, match="No space left"):
            ensure_key(directory)
        assert names(directory) == []


class TestAFurtherKey:
    def test_comes_before_all_others(self, directory: Path, wall: FakeClock) -> None:
        ensure_key(directory)
        write(directory / "0.pem")
        write(directory / "00.pem")
        made = []
        for _ in range(3):
            made.append(add_key(directory, wall=wall))
            assert load_issuer_keys(directory)[0].source == made[-1]
            wall.advance(1)
        assert len(set(made)) == 3
        assert modes(made[0]) == ["0o600"]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file that belongs to somebody else")
    def test_belongs_to_whom_the_directory_belongs_to(self, directory: Path, wall: FakeClock) -> None:
        ensure_key(directory)
        os.chown(directory, 4711, 4712)
        status = add_key(directory, wall=wall).stat()
        assert (status.st_uid, status.st_gid) == (4711, 4712)

    def test_is_refused_within_the_second_of_another(self, directory: Path, wall: FakeClock) -> None:
        add_key(directory, wall=wall)
        with pytest.raises(NameTaken):
            add_key(directory, wall=wall)
        assert len(load_issuer_keys(directory)) == 1

    def test_is_refused_if_it_would_never_sign(self, directory: Path, wall: FakeClock) -> None:
        directory.mkdir(parents=True)
        write(directory / "!.pem")
        with pytest.raises(ConfigError, match=r"!\.pem.*Rename it"):
            add_key(directory, wall=wall)
        assert names(directory) == ["!.pem"]


class TestARetiredKey:
    def test_is_no_key_any_more_and_is_still_there(self, directory: Path) -> None:
        file = ensure_key(directory)
        assert file is not None
        pem = file.read_bytes()
        retired = retire_key(file)
        assert load_issuer_keys(directory) == ()
        assert retired.read_bytes() == pem

    def test_takes_no_other_ones_place(self, directory: Path) -> None:
        for _ in range(2):
            file = ensure_key(directory)
        assert file is None
        retire_key(directory / FIRST_NAME)
        file = ensure_key(directory)
        assert file is not None
        with pytest.raises(NameTaken):
            retire_key(file)
        assert file.exists()


@pytest.mark.parametrize(("mode", "is_loose"), [(0o700, False), (0o500, False), (0o750, True), (0o701, True)])
def test_a_directory_that_others_have_access_to_is_told(tmp_path: Path, mode: int, is_loose: bool) -> None:
    tmp_path.chmod(mode)
    told = loose_permissions(tmp_path)
    assert (told is not None) == is_loose
    assert told is None or f"{mode:04o}" in told


def test_no_directory_is_not_loose(tmp_path: Path) -> None:
    assert loose_permissions(None) is None
    assert loose_permissions(tmp_path / "missing") is None
