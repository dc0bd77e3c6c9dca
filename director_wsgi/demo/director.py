"""The director as a process of its own, as it is deployed: gunicorn, configured by the environment alone."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from director_wsgi.demo.certificates import TlsFiles, trusting
from director_wsgi.demo.tokens import SigningKey
from director_wsgi.limits.deadline import Deadline

PORT = 8444
"""Pelican's port of a director; taken if it is free."""

ISSUER_KEY = "issuer.pem"
"""What the director signs its own tokens with, in its folder."""

STOP_S = 1.5
"""How long it may take to end by itself."""

KILL_S = 5.0
LOG_LINES = 20
LOG_COLUMNS = 1000
_POLL_S = 0.05


class DirectorFailedError(Exception):
    """The director ended, or gives no answer; says what it wrote last."""


def listen(port: int | None = None) -> socket.socket:
    """A listening socket for a director: at `port`, or, if None, at `PORT` if that is free and else anywhere.

    It is made before the director is started, so that its URL is known and nobody else can get the port.

    Raises:
        OSError: `port` is taken.
    """
    if port is not None:
        return socket.create_server(("127.0.0.1", port), backlog=512)
    try:
        return socket.create_server(("127.0.0.1", PORT), backlog=512)
    except OSError:
        return socket.create_server(("127.0.0.1", 0), backlog=512)


def environment(folder: Path, *, url: str, registry_url: str, tls: TlsFiles) -> dict[str, str]:
    """The environment of a director in a federation on loopback.

    What the person's own environment says of a director or of gunicorn is left out, and no proxy is asked for what is
    on loopback.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PELICAN_", "DIRECTOR_WSGI_")) and name not in ("GUNICORN_CMD_ARGS", "WEB_CONCURRENCY")
    }
    return {
        **inherited,
        "NO_PROXY": "localhost,127.0.0.1",
        "no_proxy": "localhost,127.0.0.1",
        "PELICAN_CONFIGBASE": str(folder),
        "PELICAN_DIRECTOR_STATELOCATION": ":memory:",
        "PELICAN_ISSUERKEY": str(folder / ISSUER_KEY),
        "PELICAN_FEDERATION_REGISTRYURL": registry_url,
        "PELICAN_SERVER_EXTERNALWEBURL": url,
        "PELICAN_SERVER_HOSTNAME": "localhost",
        "PELICAN_SERVER_WEBHOST": "127.0.0.1",
        "PELICAN_SERVER_WEBPORT": str(urlsplit(url).port or 443),
        "PELICAN_SERVER_TLSCERTIFICATECHAIN": str(tls.certificate),
        "PELICAN_SERVER_TLSKEY": str(tls.key),
        "PELICAN_SERVER_TLSCACERTIFICATEFILE": str(tls.ca),
        "PELICAN_DIRECTOR_GRACEFULTIMEOUT": "1s",
        # Whoever is missing is missing: all servers are told of before anybody asks.
        "PELICAN_DIRECTOR_STARTUPWINDOW": "0s",
    }


class DirectorProcess:
    """gunicorn and its worker, in a session of their own: a Ctrl-C at the terminal reaches them by `close` only."""

    def __init__(
        self,
        folder: Path,
        *,
        listener: socket.socket,
        registry_url: str,
        tls: TlsFiles,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        """Start it; it need not answer yet.

        Args:
            folder: Its working directory; `director.log` and its key are written there.
            listener: Where it listens. It gets a descriptor of its own; this one is the caller's to close.
            registry_url: The federation's registry.
            tls: Its certificate, and whom it trusts.
            extra: Environment variables that win over the usual ones.
        """
        self.url = f"https://localhost:{listener.getsockname()[1]}"
        self.log = folder / "director.log"
        self._trust = trusting(tls.ca)
        SigningKey().save(folder / ISSUER_KEY)
        command = [sys.executable, "-m", "gunicorn", "-c", "python:director_wsgi.runtime.process"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--bind", f"fd://{listener.fileno()}", "director_wsgi.wsgi:application"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**environment(folder, url=self.url, registry_url=registry_url, tls=tls), **(extra or {})},
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id of gunicorn's master, and of its process group."""
        return self._process.pid

    def has_ended(self) -> bool:
        """Whether it is not running any more."""
        return self._process.poll() is not None

    def last_words(self) -> str:
        """The last lines of its log, each cut to a length that can be read."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(line[:LOG_COLUMNS] for line in lines[-LOG_LINES:])

    def answers(self) -> bool:
        """Whether it answers now, with a discovery document."""
        with urllib3.PoolManager(ssl_context=self._trust) as pool:
            try:
                reply = pool.request("GET", f"{self.url}/.well-known/pelican-configuration", timeout=1.0, retries=False)
            except HTTPError:
                return False
            return reply.status == 200

    def wait_until_ready(self, deadline: Deadline) -> None:
        """Wait until it answers.

        Raises:
            DirectorFailedError: It ended, or the deadline passed first.
        """
        while not self.answers():
            if self.has_ended():
                raise DirectorFailedError(f"the director ended with status {self._process.returncode}")
            if deadline.has_passed():
                raise DirectorFailedError("the director does not answer")
            try:
                self._process.wait(min(_POLL_S, deadline.remaining_s()))
            except subprocess.TimeoutExpired:
                continue

    def wait(self) -> None:
        """Wait, without end, until it has ended."""
        self._process.wait()

    def close(self) -> None:
        """End it, by force if it does not end by itself in time; nothing of it is left."""
        if not self.has_ended():
            self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            # Of its group, which may hold a worker whose master was killed.
            self._kill()
        self._process.wait(KILL_S)

    def _kill(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
