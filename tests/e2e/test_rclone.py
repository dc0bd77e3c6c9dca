"""rclone's WebDAV remote with the director as its root: it lists by PROPFIND and reads by GET, through every redirect."""

from pathlib import Path

import pytest

from tests.e2e.federation import TREE, Federation
from tests.e2e.programs import program, run, sha256_of


class Rclone:
    """Runs rclone on a remote rooted at a prefix of the federation."""

    def __init__(self, federation: Federation) -> None:
        self._program = program("rclone", package="rclone")
        self._federation = federation

    def __call__(self, command: str, prefix: str, *arguments: str) -> str:
        """Run a command on the remote and return what it printed."""
        options = ["--config", str(self._federation.home / "rclone.conf"), "--ca-cert", str(self._federation.ca)]
        options += ["--webdav-url", self._federation.url(prefix), "--webdav-vendor", "other"]
        options += ["--retries", "1", "--low-level-retries", "1"]
        done = run([self._program, command, *options, ":webdav:", *arguments], home=self._federation.home)
        return done.stdout.decode()


@pytest.fixture(scope="module")
def rclone(federation: Federation) -> Rclone:
    (federation.home / "rclone.conf").touch()
    return Rclone(federation)


def test_lsf_lists_the_whole_tree(rclone: Rclone, federation: Federation) -> None:
    listed = rclone("lsf", "/shared/tree", "--recursive", "--files-only").splitlines()
    assert {f"/shared/tree/{name}" for name in listed} == set(TREE)


def test_copy_of_a_collection_is_byte_for_byte(rclone: Rclone, federation: Federation, tmp_path: Path) -> None:
    rclone("copy", "/shared/tree", str(tmp_path))
    copied = {f"/shared/tree/{path.relative_to(tmp_path)}": path for path in tmp_path.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in copied.items()} == TREE


def test_copy_of_a_large_object_is_byte_for_byte(rclone: Rclone, federation: Federation, tmp_path: Path) -> None:
    rclone("copy", "/shared", str(tmp_path), "--include", "/large.bin")
    assert sha256_of(tmp_path / "large.bin") == federation.large_sha256


def test_awkward_names_come_through_the_loopback_server(rclone: Rclone, federation: Federation, tmp_path: Path) -> None:
    """Not from XRootD: 5.5 writes names unescaped into its listings, and rclone cannot read those."""
    rclone("copy", "/dav", str(tmp_path))
    copied = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert copied == federation.dav_objects
