"""xrdcp through XRootD's client plug-in for HTTP, which davix carries out."""

from pathlib import Path

import pytest

from tests.e2e.federation import AWKWARD_NAME, QUESTION_NAME, Federation
from tests.e2e.programs import sha256_of
from tests.e2e.xrdcp import Xrdcp


@pytest.fixture(scope="module")
def xrdcp(federation: Federation) -> Xrdcp:
    return Xrdcp(federation.ca, federation.home)


def test_copy_of_a_large_object_is_byte_for_byte(xrdcp: Xrdcp, federation: Federation, tmp_path: Path) -> None:
    xrdcp(federation.url("/shared/large.bin"), str(tmp_path / "copy"))
    assert sha256_of(tmp_path / "copy") == federation.large_sha256


def test_copy_of_a_name_with_everything_in_it(xrdcp: Xrdcp, federation: Federation, tmp_path: Path) -> None:
    path = f"/shared/names/{AWKWARD_NAME}"
    xrdcp(federation.url(path), str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == federation.south.read(path)


def test_copy_of_a_name_with_a_question_mark(xrdcp: Xrdcp, federation: Federation, tmp_path: Path) -> None:
    xrdcp(federation.url(f"/dav/{QUESTION_NAME}"), str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == federation.dav_objects[QUESTION_NAME]


@pytest.mark.parametrize("holder", ["north", "south"])
def test_object_at_one_of_two_origins_is_found_there(
    xrdcp: Xrdcp, federation: Federation, tmp_path: Path, holder: str
) -> None:
    path = f"/shared/only-{holder}.txt"
    xrdcp(federation.url(path), str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == getattr(federation, holder).read(path)


def test_object_of_no_origin_is_an_error(xrdcp: Xrdcp, federation: Federation, tmp_path: Path) -> None:
    done = xrdcp(federation.url("/shared/no such object"), str(tmp_path / "copy"), expect=None)
    assert done.returncode != 0
    assert b"not found" in done.stderr.lower() or b"no such file" in done.stderr.lower()
    assert not (tmp_path / "copy").exists()
