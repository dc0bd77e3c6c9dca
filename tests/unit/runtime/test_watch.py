"""Whether a file has changed, whichever way it was changed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from director_wsgi.runtime import watch
from director_wsgi.runtime.watch import TooManyEntries, mark, yaml_files

pytestmark = pytest.mark.unit


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "pelican.yaml"
    file.write_text("Director: {Threads: 8}")
    return file


def rewrite_in_place(file: Path) -> None:
    """With as many bytes, and the time of the last write set back."""
    before = file.stat()
    file.write_text("Director: {Threads: 9}")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_by_renaming(file: Path) -> None:
    other = file.with_name("other")
    other.write_text(file.read_text())
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.rename(file)


@pytest.mark.parametrize(
    "change",
    [rewrite_in_place, replace_by_renaming, Path.unlink, lambda file: file.chmod(0o000), lambda file: file.touch()],
    ids=["in place", "renamed over", "deleted", "made unreadable", "touched"],
)
def test_every_change_is_seen(file: Path, change: Callable[[Path], None]) -> None:
    before = mark(file)
    assert mark(file) == before
    change(file)
    assert mark(file) != before


def test_a_link_that_is_turned_on_the_way_is_a_change(tmp_path: Path) -> None:
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pelican.yaml").write_text("{}")
    data, link = tmp_path / "..data", tmp_path / "pelican.yaml"
    data.symlink_to("1")
    link.symlink_to("..data/pelican.yaml")
    before = mark(link)
    turned = tmp_path / "..data_tmp"
    turned.symlink_to("2")
    turned.rename(data)
    assert mark(link) != before


def test_what_is_not_there_has_a_mark_too(tmp_path: Path) -> None:
    assert mark(tmp_path / "none") == mark(tmp_path / "nor this") != mark(tmp_path)
    assert watch.size_bytes(mark(tmp_path / "none")) == 0
    assert mark(Path("a\x00b")) == (-1,)


def test_only_yaml_files_count_by_name_and_none_of_those_that_editors_and_packages_leave(tmp_path: Path) -> None:
    for name in ("20-b.yaml", "10-a.YML", "3.yaml", "Z.yaml"):
        (tmp_path / name).write_text("{}")
    for name in (
        ".20-b.yaml.swp",
        ".hidden.yaml",
        "20-b.yaml~",
        "#20-b.yaml#",
        "a.yaml.bak",
        "a.yaml.rpmsave",
        "README",
    ):
        (tmp_path / name).write_text("Director: [")
    (tmp_path / ".#20-b.yaml").symlink_to("somebody@somewhere.4711")
    (tmp_path / "below.yaml").mkdir()
    (tmp_path / "dangling.yaml").symlink_to("nowhere")
    assert [file.name for file in yaml_files(tmp_path)] == [
        "10-a.YML",
        "20-b.yaml",
        "3.yaml",
        "Z.yaml",
        "dangling.yaml",
    ]


def test_a_directory_of_something_else_is_not_gone_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MAX_ENTRIES", 2)
    for name in "abc":
        (tmp_path / name).touch()
    with pytest.raises(TooManyEntries):
        yaml_files(tmp_path)
