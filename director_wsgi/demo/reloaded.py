"""A process that reloads, seen from outside: what it is told to do, and what the kernel says that it holds."""

import contextlib
import json
import os
import re
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from director_wsgi.demo import reloader
from director_wsgi.demo.reloader import Order, Told

ANSWER_S: Final = 30.0
END_S: Final = 2.0
_LOG_LINES: Final = 20
_FOREIGN: Final = ("OTEL_", "PELICAN_", "DIRECTOR_WSGI_")
_STATUS: Final = re.compile(r"^(Threads|VmRSS):\s*(\d+)", re.MULTILINE)


class ReloaderFailedError(Exception):
    """The process ended, or did not answer; says what it wrote last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What a process held at one moment.

    Attributes:
        threads: By the kernel's count.
        files: Open descriptors.
        memory_kib: Resident.
        builds: Tracers, or what they are made of, that were ever built.
        exporters: Of which so many live.
    """

    threads: int
    files: int
    memory_kib: int
    builds: int
    exporters: int


class Reloaded:
    """The process, until `close`. A Ctrl-C at the terminal reaches it by that only.

    Args:
        holder: One of `reloader`'s names.
        endpoint: Where its spans go.
        folder: An existing folder, of its own, for its log.
    """

    def __init__(self, holder: str, endpoint: str, folder: Path) -> None:
        self._log = folder / "log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", reloader.__name__, holder, endpoint],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**inherited, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
                start_new_session=True,
            )

    def reload(self, service: str, *, is_wrong: bool = False) -> Holding:
        """Have it load another configuration and use what is in force then; see `reloader.Holder`.

        Raises:
            ReloaderFailedError: It took a wrong one, or refused a right one, or see `settle`.
        """
        told = self._order(Order(does="reload", service=service, is_wrong=is_wrong))
        if told.was_refused != is_wrong:
            raise ReloaderFailedError(f"{service} was {'refused' if told.was_refused else 'taken'}")
        return self._holding(told)

    def settle(self) -> Holding:
        """Have it wait for what ends by itself.

        Raises:
            ReloaderFailedError: It does not answer.
        """
        return self._holding(self._order(Order(does="settle")))

    def give_back(self) -> Holding:
        """Have its last configuration go; what it holds now is lost.

        Raises:
            ReloaderFailedError: It does not answer.
        """
        return self._holding(self._order(Order(does="close")))

    def _order(self, order: Order) -> Told:
        writing, reading = self._child.stdin, self._child.stdout
        assert writing is not None
        assert reading is not None
        try:
            writing.write(reloader.written(order))
            writing.flush()
            ready, _, _ = select.select([reading], [], [], ANSWER_S)
            return Told(**json.loads(reading.readline() if ready else ""))
        except (OSError, ValueError) as error:
            self.close()
            lines = self._log.read_text(errors="replace").splitlines()
            raise ReloaderFailedError("\n".join(["a process that reloads failed:", *lines[-_LOG_LINES:]])) from error

    def _holding(self, told: Told) -> Holding:
        process = Path("/proc", str(self._child.pid))
        said = {name: int(number) for name, number in _STATUS.findall((process / "status").read_text())}
        return Holding(
            threads=said["Threads"],
            files=sum(1 for _ in (process / "fd").iterdir()),
            memory_kib=said["VmRSS"],
            builds=told.builds,
            exporters=told.exporters,
        )

    def close(self) -> None:
        """End it, by force if it does not end by itself. May be called again."""
        for end in (self._child.stdin, self._child.stdout):
            with contextlib.suppress(OSError):  # an order that nobody has read
                if end is not None:
                    end.close()
        try:
            self._child.wait(END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(END_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
