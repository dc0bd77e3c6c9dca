"""xrdcp through XRootD's client plug-in for HTTP, which davix carries out.

Reading only: davix 0.8 follows no redirect of a PUT that it streams, and xrdcp ends with 0 all the same.
"""

import subprocess
from pathlib import Path

import pytest

from tests.e2e.federation import AWKWARD_NAME, QUESTION_NAME, Federation
from tests.e2e.programs import absent, program, run, sha256_of

PLUG_IN = """\
url = http://*;https://*
lib = libXrdClHttp.so
enable = true
"""


class Xrdcp:
    """Runs xrdcp with the HTTP plug-in and the test authority."""

    def __init__(self, federation: Federation) -> None:
        self._program = program("xrdcp", package="xrootd-client")
        if not any(Path("/usr/lib").glob("*/libXrdClHttp-*.so")):
            absent("the HTTP plug-in of xrdcp is not installed (Debian package xrootd-client-http-plugins)")
        self._home = federation.home
        plug_ins = federation.home / "plug-ins"
        plug_ins.mkdir()
        (plug_ins / "http.conf").write_text(PLUG_IN)
        # davix finds authorities in a directory of links named after the hashes of their subjects.
        authorities = federation.home / "authorities"
        authorities.mkdir()
        (authorities / "ca.pem").write_bytes(federation.ca.read_bytes())
        run([program("openssl", package="openssl"), "rehash", str(authorities)], home=federation.home)
        self._environment = {
            "XRD_PLUGINCONFDIR": str(plug_ins),
            "X509_CERT_DIR": str(authorities),
            "XRD_LOGLEVEL": "Warning",
        }

    def __call__(self, source: str, target: str, *, expect: int | None = 0) -> subprocess.CompletedProcess[bytes]:
        """Copy, overwriting what is there."""
        return run(
            [self._program, "--allow-http", "--nopbar", "--force", source, target],
            home=self._home,
            environment=self._environment,
            expect=expect,
        )


@pytest.fixture(scope="module")
def xrdcp(federation: Federation) -> Xrdcp:
    return Xrdcp(federation)


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
