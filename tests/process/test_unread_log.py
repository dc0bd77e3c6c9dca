"""Whoever was to read the log has stopped: requests, workers and the master go on."""

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process import inventory
from tests.process.child import SETTINGS, Child, exchange, free_port, get, parse, run, wait_for_others, wait_until
from tests.process.conftest import ENVIRON
from tests.process.soaked import ONE_OF_EACH, SERVERS_VARIABLE

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]

THREADS = 8
ENOUGH = 1_000
"""Lines, of which each has a hundred bytes and more, are too many for a pipe, which holds 64 KiB."""

REDIRECT = b"GET /a/object HTTP/1.1\r\nHost: localhost\r\n\r\n"
NONSENSE = b"nonsense\r\n\r\n"


class Unread:
    """A director, one of whose standard streams is a pipe that is read when the test says so."""

    def __init__(self, directory: Path, stream: int, stack: contextlib.ExitStack) -> None:
        path = directory / inventory.UNREAD
        os.mkfifo(path)
        self._reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        stack.callback(os.close, self._reader)
        self.port = free_port()
        self.child: Child = stack.enter_context(
            run(
                directory,
                *("-c", str(SETTINGS), "--threads", str(THREADS), "--access-logfile", "-"),
                *("-b", f"127.0.0.1:{self.port}", "tests.process.soaked:application"),
                environ=ENVIRON
                | {
                    SERVERS_VARIABLE: json.dumps(ONE_OF_EACH),
                    "PELICAN_DIRECTOR_STARTUPWINDOW": "0s",
                    "PELICAN_MONITORING_METRICAUTHORIZATION": "false",
                },
                under=("sh", "-c", f'exec "$@" {stream}>{path}', "sh"),
            )
        )
        wait_until(lambda: self.answers() or not self.child.is_running(), "an answer")
        assert self.child.is_running(), self.child.output + self.read()

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.ask(get("/a/object")) == 307
        return False

    def ask(self, request: bytes) -> int:
        return parse(exchange(self.port, request, timeout_s=5.0)).status

    def lost(self) -> float:
        lines = parse(exchange(self.port, get("/metrics"))).body.decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("director_wsgi_log_lines_lost_total"))

    def read(self) -> str:
        parts = []
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self._reader, 1 << 16):
                parts.append(part)
        return b"".join(parts).decode()


@contextlib.contextmanager
def unread(directory: Path, stream: int) -> Iterator[Unread]:
    with contextlib.ExitStack() as stack:
        yield Unread(directory, stream, stack)


def ask_often(port: int) -> None:
    """On one connection, which the main thread answers by itself."""
    with socket.create_connection(("127.0.0.1", port), timeout=5.0) as connection, connection.makefile("rb") as answers:
        for _ in range(ENOUGH):
            connection.sendall(REDIRECT)
            assert answers.readline().startswith(b"HTTP/1.1 307 ")
            length = 0
            while (line := answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split()[1])
            answers.read(length)


def test_an_access_log_that_nobody_reads_holds_up_no_answer(tmp_path: Path) -> None:
    with unread(tmp_path, 1) as director:
        ask_often(director.port)
        for _ in range(2 * THREADS):  # each on a connection of its own, so by a thread
            assert director.answers()
        lost = director.lost()
        assert lost > 2 * THREADS
        assert director.read().count("\n") > ENOUGH / 10
        assert director.answers()
        assert "Nobody read the log: " in director.read()
        assert director.lost() <= lost + 2  # the scrapes themselves


def test_a_log_that_nobody_reads_holds_up_neither_requests_nor_reloads(tmp_path: Path) -> None:
    """A client needs nothing but nonsense to have lines written."""
    with unread(tmp_path, 2) as director:
        for _ in range(ENOUGH):
            assert director.ask(NONSENSE) == 400
        assert director.answers()
        lost = director.lost()
        assert lost > 2 * THREADS
        old = director.child.workers()
        director.child.signal(signal.SIGHUP)
        wait_for_others(director.child, old)
        wait_until(director.answers, "an answer of the new worker")
        wait_until(lambda: director.lost() >= lost, "what the old worker had lost")
        assert "not valid HTTP" in director.read()
        assert director.ask(NONSENSE) == 400
        assert "Nobody read the log: " in director.read()
        director.child.signal(signal.SIGTERM)
        assert director.child.wait_for_end() == 0
