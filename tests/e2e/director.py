"""The director as it is deployed: gunicorn as a process of its own, configured by the environment alone."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from director_wsgi.demo.certificates import TlsFiles, trusting
from tests.e2e.programs import REPOSITORY
from tests.process.child import forget_bus

LOG = "director.log"
"""What the log is called in the director's directory."""

START_LIMIT_S = 30.0
STOP_LIMIT_S = 15.0


@dataclass(frozen=True, slots=True)
class Director:
    """A running director.

    Attributes:
        url: Its own, without a slash at its end; also where a proxy in front reaches it.
        log: What it and gunicorn write.
    """

    url: str
    log: Path
    _process: subprocess.Popen[bytes]

    def reload(self) -> None:
        """Send HUP, and wait until a new worker serves."""
        before = self._workers()
        self._process.send_signal(signal.SIGHUP)
        end = time.monotonic() + START_LIMIT_S
        while self._workers() == before:
            if time.monotonic() > end:
                raise RuntimeError(f"no new worker:\n{self.log.read_text(errors='replace')}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it for good."""
        _stop(self._process)

    def _workers(self) -> int:
        return self.log.read_text(errors="replace").count("Worker ready")


@contextmanager
def director(
    tls: TlsFiles,
    directory: Path,
    *,
    registry_url: str,
    environment: Mapping[str, str] | None = None,
    proxy_url: str | None = None,
) -> Iterator[Director]:
    """Run a director until the block is left.

    Everything is as an operator gets it but for three things: no start-up window, so that what nobody advertises is
    404 at once; a longer deadline, so that a machine which is busy with something else does not change an answer; and
    what is in `directory` instead of `/etc/pelican`.

    Args:
        tls: Its certificate, and the authority of everybody else's.
        directory: For its keys and its log.
        registry_url: The federation's registry.
        environment: Further variables; `{port}` in a value becomes the port that it listens on.
        proxy_url: How the world reaches it through a proxy that ends TLS; it speaks plain HTTP then.
    """
    # The socket is made here and handed down: nobody can take the port in between.
    with socket.create_server(("127.0.0.1", 0)) as listener, (directory / LOG).open("wb") as log:
        port = listener.getsockname()[1]
        own_url = f"https://localhost:{port}" if proxy_url is None else f"http://127.0.0.1:{port}"
        certificate = {
            "PELICAN_SERVER_TLSCERTIFICATECHAIN": str(tls.certificate),
            "PELICAN_SERVER_TLSKEY": str(tls.key),
        }
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "--config", "gunicorn.conf.py"),
                *("--bind", f"fd://{listener.fileno()}", "director_wsgi.wsgi:application"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(directory),
                "PELICAN_CONFIGBASE": str(directory),
                "PELICAN_FEDERATION_REGISTRYURL": registry_url,
                "PELICAN_SERVER_EXTERNALWEBURL": proxy_url or own_url,
                "PELICAN_SERVER_TLSCACERTIFICATEFILE": str(tls.ca),
                "PELICAN_DIRECTOR_STARTUPWINDOW": "0s",
                "PELICAN_DIRECTOR_STATTIMEOUT": "10s",
                "PELICAN_DIRECTOR_REDIRECTDEADLINE": "10s",
                **(certificate if proxy_url is None else {}),
                **{name: value.format(port=port) for name, value in (environment or {}).items()},
            },
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
        listener.close()  # ours; when the director has gone, nobody shall seem to listen
        try:
            _wait_until_ready(own_url, process, tls, Path(log.name))
            yield Director(own_url, Path(log.name), process)
        finally:
            _stop(process)
            forget_bus(directory / "director")


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], tls: TlsFiles, log: Path) -> None:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with urlopen(f"{url}/.well-known/pelican-configuration", timeout=1.0, context=trusting(tls.ca)):
                return
        except (URLError, TimeoutError):
            time.sleep(0.05)
    raise RuntimeError(f"the director did not start:\n{log.read_text(errors='replace')}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_LIMIT_S)
