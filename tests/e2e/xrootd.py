"""Debian's XRootD as an HTTPS data server, one process per origin.

It is a plain `xrootd` with the HTTP plug-in and no authorization library, so everybody may read, list and write:
who may do what is the advertisement's to say, and these tests are about redirects.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from director_wsgi.demo.certificates import TlsFiles
from tests.e2e.programs import absent, program

START_LIMIT_S = 20.0
STOP_LIMIT_S = 5.0
USER = "xrootd"

_READY = re.compile(r"^------ xrootd \S+:(\d+) initialization completed\.", re.MULTILINE)
_FAILED = re.compile(r"initialization failed", re.MULTILINE)

_CONFIGURATION = """\
xrd.port any
xrd.protocol http libXrdHttp.so
# Who connects is of no interest, and a look-up of names could wait for a resolver that does not answer.
xrd.network nodnr
xrd.tls {base}/tls.crt {base}/tls.key
xrd.tlsca certfile {base}/ca.crt
all.adminpath {base}/admin
all.pidpath {base}/run
oss.localroot {base}/storage
{exports}
http.listingdeny no
http.desthttps yes
http.selfhttps2http no
"""


class XrootdOrigin:
    """A running XRootD server.

    Attributes:
        url: `https://localhost:PORT`, without a slash at the end.
        storage: The directory that holds its objects: `storage / "ns/x"` is `/ns/x`.
    """

    def __init__(self, url: str, storage: Path) -> None:
        self.url = url
        self.storage = storage

    def write(self, path: str, data: bytes) -> None:
        """Put an object into the storage, behind the server's back, with the directories above it."""
        target = self._local(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        _hand_over(self.storage)

    def read(self, path: str) -> bytes | None:
        """Return an object's bytes as the storage holds them, or None if it has no such object."""
        target = self._local(path)
        return target.read_bytes() if target.is_file() else None

    def _local(self, path: str) -> Path:
        return self.storage / path.removeprefix("/")


@contextmanager
def xrootd_origin(tls: TlsFiles, exports: Sequence[str]) -> Iterator[XrootdOrigin]:
    """Run an XRootD server that exports the prefixes, writable, until the block is left.

    Args:
        tls: Its certificate.
        exports: Absolute paths.
    """
    executable = program("xrootd", package="xrootd-server")
    if not any(Path("/usr/lib").glob("*/libXrdHttp-*.so")):
        absent("XRootD's HTTP plug-in is not installed (Debian package xrootd-server-plugins)")
    # Not pytest's directory: that one is closed to the user that the server has to run as.
    base = Path(tempfile.mkdtemp(prefix="xrootd-origin-"))
    try:
        configuration = _lay_out(base, tls, exports)
        log = base / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [executable, "-c", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=base,
                start_new_session=True,
                **_user(),
            )
        try:
            port = _wait_until_ready(process, log)
            yield XrootdOrigin(f"https://localhost:{port}", base / "storage")
        finally:
            _stop(process)
    finally:
        shutil.rmtree(base)


def _lay_out(base: Path, tls: TlsFiles, exports: Sequence[str]) -> Path:
    base.chmod(0o755)
    for name in ("admin", "run", "storage"):
        (base / name).mkdir()
    for prefix in exports:
        (base / "storage" / prefix.removeprefix("/")).mkdir(parents=True)
    shutil.copy(tls.certificate, base / "tls.crt")
    shutil.copy(tls.key, base / "tls.key")
    shutil.copy(tls.ca, base / "ca.crt")
    (base / "tls.key").chmod(0o400)
    configuration = base / "xrootd.cfg"
    lines = "\n".join(f"all.export {prefix} r/w" for prefix in exports)
    configuration.write_text(_CONFIGURATION.format(base=base, exports=lines))
    _hand_over(base)
    return configuration


def _hand_over(directory: Path) -> None:
    """Give what root wrote to the user that the server runs as."""
    if os.geteuid() != 0:
        return
    for path in (directory, *directory.rglob("*")):
        shutil.chown(path, USER, USER)


def _user() -> dict[str, Any]:
    # xrootd refuses to run as root.
    return {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> int:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end:
        text = log.read_text(errors="replace")
        if ready := _READY.search(text):
            return int(ready[1])
        if process.poll() is not None or _FAILED.search(text):
            break
        time.sleep(0.02)
    raise RuntimeError(f"xrootd did not start:\n{log.read_text(errors='replace')}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_LIMIT_S)
