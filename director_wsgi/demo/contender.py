"""One of the designs that are compared: gunicorn in a child process, with the director's own settings, one worker."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import urllib3
from urllib3.exceptions import HTTPError

from director_wsgi.demo.director import DirectorFailedError
from director_wsgi.demo.scene import LISTING
from director_wsgi.limits.deadline import Deadline

STOP_S: Final = 1.5
"""How long it may take to end by itself: one that waits for a hung origin cannot."""

KILL_S: Final = 5.0
_BACKLOG: Final = 2048
_LOG_LINES: Final = 20
_POLL_S: Final = 0.05
_THREADS = re.compile(r"^Threads:\s*(\d+)$", re.MULTILINE)
_FOREIGN = ("PELICAN_", "DIRECTOR_WSGI_", "GUNICORN_", "WEB_CONCURRENCY")


class Contender:
    """A design that is served, until `close`. A Ctrl-C at the terminal reaches it by `close` only.

    Attributes:
        port: On 127.0.0.1; plain HTTP.
    """

    def __init__(self, application: str, folder: Path, environment: Mapping[str, str]) -> None:
        """Start it; it need not answer yet.

        Args:
            application: `module:variable`, for gunicorn.
            folder: An existing folder of its own: it runs there and leaves its log there.
            environment: Added to this process's environment, less what would steer a director or gunicorn.
        """
        self._log = folder / "log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        command = [sys.executable, "-m", "gunicorn", "-c", "python:director_wsgi.runtime.process", "--workers", "1"]
        with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listener, self._log.open("wb") as log:
            self.port: int = listener.getsockname()[1]
            self._master = subprocess.Popen(
                [*command, "--bind", f"fd://{listener.fileno()}", application],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**inherited, **environment},
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )

    def wait_until_ready(self, deadline: Deadline) -> None:
        """Wait until it answers.

        Raises:
            DirectorFailedError: It ended, or the deadline passed first; says what it wrote last.
        """
        while not self._answers():
            if self._master.poll() is not None or deadline.has_passed():
                lines = self._log.read_text(errors="replace").splitlines()
                raise DirectorFailedError("\n".join(["gunicorn does not come up:", *lines[-_LOG_LINES:]]))
            try:
                self._master.wait(_POLL_S)
            except subprocess.TimeoutExpired:
                continue

    def threads(self) -> int:
        """Threads of the worker now; 0 between the end of one worker and the start of the next."""
        try:
            children = Path(f"/proc/{self._master.pid}/task/{self._master.pid}/children").read_text().split()
            found = _THREADS.search(Path(f"/proc/{children[0]}/status").read_text())
        except (OSError, IndexError):
            return 0
        return int(found[1]) if found else 0

    def close(self) -> None:
        """End it, by force if it does not end by itself in time; nothing of it is left."""
        self._master.terminate()
        try:
            self._master.wait(STOP_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            # Of its group, which may hold a worker whose master was killed.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._master.pid, signal.SIGKILL)
            self._master.wait(KILL_S)

    def _answers(self) -> bool:
        with urllib3.PoolManager() as pool:
            try:
                url = f"http://127.0.0.1:{self.port}{LISTING}"
                return pool.request("GET", url, timeout=1.0, retries=False).status == 200
            except HTTPError:
                return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
