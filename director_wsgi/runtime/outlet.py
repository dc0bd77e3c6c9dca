"""Where log lines go: a log that nobody reads holds up nobody.

A pipe, a socket or a terminal has room for little. Once its reader stands still (a collector of logs that hangs, a
terminal stopped by Ctrl-S), a plain write waits for as long as that lasts, and everybody who has a line to write waits
behind it: one handler thread after another, until nothing answers. Here a line waits for a moment at most, and is lost
and counted if there is no room by then.

`O_NONBLOCK` belongs to what is open, which others share (the master, the shell, whoever is piped into). So a pipe or a
terminal is opened once more, for ourselves alone; a socket can be told with each call.
"""

import io
import logging
import math
import os
import select
import socket
import stat
import threading
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from director_wsgi.limits.deadline import Clock, Deadline, monotonic

PATIENCE_S: Final = 0.1
"""How long a line waits for room: long enough for a reader that was busy with something else."""

REST_S: Final = 1.0
"""How long no line waits after one that had to: who reads slowly must not set the pace."""

Tell = Callable[[int], str]
"""The line that says how many were lost before it."""


class Outlet:
    """A stream for `logging.StreamHandler`s; any number of threads.

    Lines that come while there is no room are lost. The next that finds room is preceded by one that says how many.

    Args:
        descriptor: What to write to; it stays the caller's, and open.
        tell: Writes that line.
        clock: Measures the patience.

    Attributes:
        lost: Lines lost by this process so far.
    """

    encoding = "utf-8"

    def __init__(self, descriptor: int, tell: Tell, clock: Clock = monotonic) -> None:
        self.lost = 0
        self._untold = 0
        self._rest = b""  # of a line that was begun
        self._lock = threading.Lock()  # a handler has one of its own, but several handlers may write here
        self._patient_from = -math.inf
        self._tell = tell
        self._clock = clock
        self._descriptor = descriptor
        self._send, close = _opened(descriptor)
        weakref.finalize(self, close)
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)

    def write(self, text: str) -> int:
        """Write a line, or lose it; never raises."""
        with self._lock:
            self._write(text.encode(errors="backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Write what is left of a line that was begun, as far as there is room."""
        with self._lock:
            self._rest = self._rest[self._sent_of(self._rest, 0.0) :]

    def _write(self, line: bytes) -> None:
        if self._untold:
            line = self._tell(self._untold).encode() + line
        waiting = self._rest + line
        sent = self._sent_of(waiting, 0.0)
        if sent < len(waiting) and self._clock() >= self._patient_from:
            sent += self._sent_of(waiting[sent:], PATIENCE_S)
            self._patient_from = self._clock() + REST_S
        if sent > len(self._rest) or not line:
            self._rest = waiting[sent:]
            self._untold = 0
        else:
            self._rest = self._rest[sent:]
            self._untold += 1
            self.lost += 1

    def fileno(self) -> int:
        """The caller's descriptor."""
        return self._descriptor

    def begin_anew(self) -> None:
        """In a child that was just forked: what its parent lost, or has begun, is the parent's."""
        self.lost = self._untold = 0
        self._rest = b""
        self._lock = threading.Lock()

    def _sent_of(self, data: bytes, patience_s: float) -> int:
        deadline = Deadline.after(patience_s, self._clock)
        sent = 0
        try:
            while sent < len(data) and self._room.poll(deadline.remaining_s() * 1000):
                try:
                    sent += self._send(data[sent:])
                except BlockingIOError:  # another process took the room
                    if deadline.has_passed():
                        break
        except OSError:  # nobody can read it any more, or the disk is full
            pass
        return sent


def _opened(descriptor: int) -> tuple[Callable[[bytes], int], Callable[[], None]]:
    """What sends as much as there is room for and returns how much that was, and what closes what that needs.

    Where there is no room, a BlockingIOError is raised.
    """
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        own_socket = socket.socket(fileno=os.dup(descriptor))
        return lambda data: own_socket.send(data, socket.MSG_DONTWAIT), own_socket.close
    if not (stat.S_ISFIFO(mode) or os.isatty(descriptor)):
        return partial(os.write, descriptor), _nothing
    try:
        own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:  # it is another user's: what poll says there is room for, though another process may take that
        return lambda data: os.write(descriptor, data[: select.PIPE_BUF]), _nothing
    return partial(os.write, own), partial(os.close, own)


def _nothing() -> None:
    pass


_standard: dict[int, Outlet] = {}


def fit(handlers: Iterable[logging.Handler], tell: Tell) -> None:
    """Let those of `handlers` that write to this process's standard output or error do so through an outlet.

    There is one for each of the two, however often this is called.
    """
    for handler in handlers:
        # A class derived from this one may have its own way with its stream.
        if type(handler) is logging.StreamHandler and (number := _number_of(handler.stream)) in {1, 2}:
            if number not in _standard:
                _standard[number] = Outlet(number, tell)
            handler.setStream(_standard[number])


def lost() -> int:
    """Lines lost by this process at its standard output and error."""
    return sum(outlet.lost for outlet in _standard.values())


def _begin_anew() -> None:
    for outlet in _standard.values():
        outlet.begin_anew()


os.register_at_fork(after_in_child=_begin_anew)


def _number_of(stream: object) -> int:
    """A stream's descriptor; -1 for what is no open file."""
    try:
        return stream.fileno() if isinstance(stream, io.TextIOWrapper) else -1
    except (OSError, ValueError):
        return -1
