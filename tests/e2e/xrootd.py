"""Debian's XRootD as an HTTPS data server, one process per server: origins, and a disk cache.

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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from director_wsgi.demo.certificates import TlsFiles
from tests.e2e.programs import absent, http_plug_in, program, trust_directory

START_LIMIT_S = 20.0
STOP_LIMIT_S = 5.0
USER = "xrootd"

_READY = re.compile(r"^------ xrootd \S+:(\d+) initialization completed\.", re.MULTILINE)
_FAILED = re.compile(r"initialization failed", re.MULTILINE)

_HEADER_LINE = re.compile(r"^\S+ \S+ (\d+) \S*http_Protocol: +rc:\d+ got hdr line: (.*)$", re.MULTILINE)

_SERVER = """\
xrd.port any
xrd.protocol http libXrdHttp.so
# Who connects is of no interest, and a look-up of names could wait for a resolver that does not answer.
xrd.network nodnr
xrd.tls {base}/tls.crt {base}/tls.key
xrd.tlsca certfile {base}/ca.crt
all.adminpath {base}/admin
all.pidpath {base}/run
oss.localroot {base}/storage
http.listingdeny no
http.desthttps yes
http.selfhttps2http no
"""

# Through the HTTP plug-in of XRootD's client, which goes where the director sends it. 1 GiB is the least that `pfc.ram`
# takes; it is a bound, not what is used.
_CACHE = """ofs.osslib libXrdPss.so
pss.cachelib libXrdPfc.so
pss.origin {director_url}
pfc.ram 1g
pfc.blocksize 1m
pfc.prefetch 0
"""


class XrootdServer:
    """A running XRootD server.

    Attributes:
        url: `https://localhost:PORT`, without a slash at the end.
        storage: The directory that holds its objects: `storage / "ns/x"` is `/ns/x`. A cache's copies lie there alike.
        log: What it writes.
    """

    def __init__(self, url: str, storage: Path, log: Path, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self.storage = storage
        self.log = log
        self._process = process

    def stop(self) -> None:
        """End it for good."""
        _stop(self._process)

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

    def requests(self) -> list[tuple[str, dict[str, str]]]:
        """Return the request lines of a traced server, without protocol, each with its header in lower case."""
        # The lines of several requests mix; each thread writes those of one at a time.
        heads: dict[str, list[str]] = {}
        requests = []
        for thread, line in _HEADER_LINE.findall(self.log.read_text(errors="replace")):
            if line.strip():
                heads.setdefault(thread, []).append(line.strip())
            elif first := heads.pop(thread, None):
                fields = (field.partition(":") for field in first[1:])
                header = {name.lower(): value.strip() for name, _, value in fields}
                requests.append((first[0].rpartition(" ")[0], header))
        return requests

    def _local(self, path: str) -> Path:
        return self.storage / path.removeprefix("/")


@contextmanager
def xrootd_origin(tls: TlsFiles, exports: Sequence[str], *, traced: bool = False) -> Iterator[XrootdServer]:
    """Run an XRootD server that exports the prefixes, writable, until the block is left.

    Args:
        tls: Its certificate.
        exports: Absolute paths.
        traced: Write down every request, for `XrootdServer.requests`.
    """
    lines = [f"all.export {prefix} r/w" for prefix in exports]
    if traced:
        lines.append("http.trace all")
    with _served(tls, "\n".join(lines), {}) as server:
        for prefix in exports:
            (server.storage / prefix.removeprefix("/")).mkdir(parents=True)
        _hand_over(server.storage)
        yield server


@contextmanager
def xrootd_cache(tls: TlsFiles, exports: Sequence[str], *, director_url: str) -> Iterator[XrootdServer]:
    """Run an XRootD disk cache until the block is left: what it does not hold it asks the director for, over HTTPS.

    It asks for the path that it was asked for itself; who is to be sent to an origin has to be told by that, or by the
    name under which the cache knows the director.

    Args:
        tls: Its certificate, and the authority of everybody else's.
        exports: Absolute paths.
        director_url: Where it looks for what it does not hold: scheme, host and port.
    """
    plug_in = http_plug_in()
    if not any(Path("/usr/lib").glob("*/libXrdPfc-*.so")):
        absent("XRootD's disk cache is not installed (Debian package xrootd-server)")
    with tempfile.TemporaryDirectory(prefix="xrootd-client-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "http.conf").write_text(plug_in)
        authorities = trust_directory(tls.ca, directory)
        lines = [*(f"all.export {prefix}" for prefix in exports), _CACHE.format(director_url=director_url)]
        environment = {"XRD_PLUGINCONFDIR": str(directory), "X509_CERT_DIR": str(authorities)}
        with _served(tls, "\n".join(lines), environment) as server:
            yield server


@contextmanager
def _served(tls: TlsFiles, lines: str, environment: Mapping[str, str]) -> Iterator[XrootdServer]:
    executable = program("xrootd", package="xrootd-server")
    if not any(Path("/usr/lib").glob("*/libXrdHttp-*.so")):
        absent("XRootD's HTTP plug-in is not installed (Debian package xrootd-server-plugins)")
    # Not pytest's directory: that one is closed to the user that the server has to run as.
    base = Path(tempfile.mkdtemp(prefix="xrootd-server-"))
    try:
        configuration = _lay_out(base, tls, lines)
        log = base / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [executable, "-c", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=base,
                env={"PATH": os.environ["PATH"], "HOME": str(base), **environment},
                start_new_session=True,
                **_user(),
            )
        try:
            port = _wait_until_ready(process, log)
            yield XrootdServer(f"https://localhost:{port}", base / "storage", log, process)
        finally:
            _stop(process)
    finally:
        shutil.rmtree(base)


def _lay_out(base: Path, tls: TlsFiles, lines: str) -> Path:
    base.chmod(0o755)
    for name in ("admin", "run", "storage"):
        (base / name).mkdir()
    shutil.copy(tls.certificate, base / "tls.crt")
    shutil.copy(tls.key, base / "tls.key")
    shutil.copy(tls.ca, base / "ca.crt")
    (base / "tls.key").chmod(0o400)
    configuration = base / "xrootd.cfg"
    configuration.write_text(_SERVER.format(base=base) + lines + "\n")
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
