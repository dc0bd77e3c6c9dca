from pathlib import Path

import pytest

from director_wsgi.demo.copies import Copies, Key
from director_wsgi.demo.multistatus import Resource
from tests.fakes import FakeClock


def key(name: str) -> Key:
    return (f"/{name}", "")


def put(copies: Copies, name: str, *chunks: bytes, length: int | None = None) -> None:
    said = sum(map(len, chunks)) if length is None else length
    resource = Resource(path=f"/{name}", is_collection=False, length_bytes=said, modified_at=1.0, etag='"e"')
    copies.store(key(name), resource, chunks)


def read(copies: Copies, name: str) -> tuple[bytes, int] | None:
    found = copies.open(key(name))
    if found is None:
        return None
    copy, age_s = found
    with copy.file:
        return copy.file.read(), age_s


def test_a_copy_is_what_was_stored_and_ages(tmp_path: Path, clock: FakeClock) -> None:
    copies = Copies(tmp_path, clock=clock)
    put(copies, "x", b"ab", b"c")
    clock.advance(7.9)
    assert read(copies, "x") == (b"abc", 7)


@pytest.mark.parametrize("length", [2, 4])
def test_what_is_not_as_long_as_it_should_be_is_not_kept(tmp_path: Path, length: int) -> None:
    copies = Copies(tmp_path)
    with pytest.raises(OSError, match="not as long"):
        put(copies, "x", b"abc", length=length)
    assert read(copies, "x") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("max_bytes", "max_copies"), [(6, 100), (100, 2)])
def test_beyond_the_bound_the_least_recently_used_goes(tmp_path: Path, max_bytes: int, max_copies: int) -> None:
    copies = Copies(tmp_path, max_bytes=max_bytes, max_copies=max_copies)
    put(copies, "a", b"aaa")
    put(copies, "b", b"bbb")
    assert read(copies, "a")
    put(copies, "c", b"ccc")
    assert (read(copies, "b"), len(copies), len(list(tmp_path.iterdir()))) == (None, 2, 2)
    assert read(copies, "a")
    assert read(copies, "c")


def test_one_that_is_larger_than_the_bound_is_kept_alone(tmp_path: Path) -> None:
    copies = Copies(tmp_path, max_bytes=2)
    put(copies, "a", b"a")
    put(copies, "b", b"bbb")
    assert (len(copies), key("b") in copies) == (1, True)


def test_storing_again_replaces_and_leaves_no_file_behind(tmp_path: Path) -> None:
    copies = Copies(tmp_path)
    put(copies, "x", b"old")
    put(copies, "x", b"newer")
    assert read(copies, "x") == (b"newer", 0)
    assert len(list(tmp_path.iterdir())) == 1


def test_who_reads_a_copy_reads_it_to_its_end_although_it_is_forgotten(tmp_path: Path) -> None:
    copies = Copies(tmp_path)
    put(copies, "x", b"abc")
    found = copies.open(key("x"))
    assert found is not None
    copies.forget(key("x"))
    with found[0].file as file:
        assert file.read() == b"abc"
    assert read(copies, "x") is None


def test_a_copy_whose_file_vanished_counts_as_none(tmp_path: Path) -> None:
    copies = Copies(tmp_path)
    put(copies, "x", b"abc")
    next(tmp_path.iterdir()).unlink()
    assert read(copies, "x") is None
    assert len(copies) == 0
