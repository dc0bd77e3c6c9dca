"""What the master tells systemd: that it serves, that it reloads, that it ends, and that it is alive.

gunicorn says READY as soon as it listens. Here that waits for a worker that serves, so gunicorn is not given the
address to say it at. The rest gunicorn does not say at all.

All of it happens in the main thread of the master: when a signal arrives, and on a timer that interrupts whatever the
master does, since gunicorn offers no hook that would be called now and then, and a thread in a process that forks is
asking for trouble. A master that hangs outside of Python, or is stopped, is not interrupted, and so falls silent.

Source: sd_notify(3), systemd.service(5).
"""

import contextlib
import math
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from types import FrameType
from typing import Any, Final

from director_wsgi.limits.deadline import Clock, monotonic

ADDRESS: Final = "NOTIFY_SOCKET"
WATCHDOG: Final = "WATCHDOG_USEC"
WATCHDOG_PROCESS: Final = "WATCHDOG_PID"

WAITING_S: Final = 0.05
"""How often the master looks whether a worker serves, while systemd waits for that."""

MOST_ALIVE_S: Final = 5.0
"""How often it says that it is alive, at least."""

_STOPPING: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})

Status = Callable[[], str]
"""Tells operators (`systemctl status`) in a line how it goes."""


class Notifier:
    """Says it. For the master's main thread and, but for `take_over`, without effect if nobody listens.

    Args:
        clock: The one of gunicorn's heartbeats: monotonic seconds.
    """

    def __init__(self, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._process = 0
        self._address = ""
        self._alive_every_s = 0.0
        # How many reloads have been asked for and have begun, and after how many of them systemd was told READY.
        self._asked = self._begun = 0
        self._told = -1
        self._youngest_before = 0
        self._is_stopping = False
        self._alive_at = math.inf  # when it was said last; before the first READY nobody waits for it

    @property
    def is_awaited(self) -> bool:
        """Whether systemd waits for READY."""
        return self._told != self._asked and not self._is_stopping

    @property
    def interval_s(self) -> float:
        """How long until the master looks again; 0 for never."""
        if not self._address:
            return 0.0
        return WAITING_S if self.is_awaited else self._alive_every_s

    def take_over(self, environ: MutableMapping[str, str]) -> None:
        """Before gunicorn listens: note where to say it, and take that out of the environment."""
        self._process = os.getpid()
        self._address = environ.pop(ADDRESS, "")
        if environ.get(WATCHDOG_PROCESS, str(self._process)) == str(self._process):
            self._alive_every_s = _half_of(environ.get(WATCHDOG, ""))

    def hand_on(self, environ: MutableMapping[str, str]) -> None:
        """In the process that is about to become the new master by `exec`, and keeps its number: let it say it too.

        Args:
            environ: The environment that it will have.
        """
        if self._address:
            environ[ADDRESS] = self._address
            environ[WATCHDOG_PROCESS] = str(os.getpid())

    def watch(self, server: Any, status: Status) -> None:
        """Once gunicorn has its signals: hear those that matter, and look from now on."""
        if not self._address:
            return
        for number in (signal.SIGHUP, *_STOPPING):
            self._hear(number, server)

        def look(_number: int, _frame: FrameType | None) -> None:
            if os.getpid() == self._process:  # a worker has inherited this function, too
                with _undisturbed():
                    self.look(server, status)
                    _again(self.interval_s)

        signal.signal(signal.SIGALRM, look)
        _again(self.interval_s)

    def _hear(self, number: signal.Signals, server: Any) -> None:
        gunicorns: Any = signal.getsignal(number)

        def heard(number: int, frame: FrameType | None) -> None:
            if os.getpid() == self._process:
                with _undisturbed():
                    self.heard(number, server)
                    _again(self.interval_s)
            gunicorns(number, frame)

        signal.signal(number, heard)

    def heard(self, number: int, server: Any) -> None:
        """The master has been sent a signal, and will act upon it."""
        if number == signal.SIGHUP:
            self._asked += 1
            self._say("RELOADING=1", f"MONOTONIC_USEC={int(self._clock() * 1_000_000)}")
        elif server.reexec_pid:
            # It ends because another has taken over: the service goes on.
            self._say(f"MAINPID={server.reexec_pid}")
        else:
            self.stopping()

    def reloading(self, server: Any) -> None:
        """A reload has begun: only workers that come now work by the new configuration."""
        self._begun += 1
        self._youngest_before = server.worker_age

    def stopping(self) -> None:
        """The service ends."""
        if not self._is_stopping:
            self._is_stopping = True
            self._say("STOPPING=1")

    def look(self, server: Any, status: Status) -> None:
        """Look how the workers are, and say what follows."""
        beating = list(self._ages(server.WORKERS.values(), server.timeout))
        if self._alive_every_s and beating and self._clock() - self._alive_at >= self._alive_every_s:
            self._say_alive()
        begun = self._begun
        can_be_ready = self.is_awaited and begun >= self._asked
        if can_be_ready and max(beating, default=0) > self._youngest_before:
            # What could not be sent is sent at the next look.
            if self._say("READY=1", f"STATUS={status()}"):
                self._told = begun
            self._say_alive()

    def _say_alive(self) -> None:
        if self._alive_every_s and self._say("WATCHDOG=1"):
            self._alive_at = self._clock()

    def _ages(self, workers: Iterable[Any], most_s: float) -> Iterator[int]:
        """The numbers of the workers whose main thread runs."""
        now = self._clock()
        for worker in workers:
            with contextlib.suppress(OSError, ValueError):  # it has just ended
                # The file is made with a time stamp of the calendar, which is one of the far future here.
                if 0.0 <= now - worker.tmp.last_update() <= most_s:
                    yield worker.age

    def _say(self, *lines: str) -> bool:
        """Send one message, without waiting; whether it was sent. In a signal handler: no locks, so no log."""
        if not self._address:
            return False
        # "@": a name without a file.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as talker:
                talker.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, address)
        except OSError:
            return False
        return True


def _half_of(microseconds: str) -> float:
    """How often to say that one is alive, in seconds, where silence for so long would be the end."""
    try:
        return min(MOST_ALIVE_S, max(0, int(microseconds)) / 2_000_000)
    except ValueError:
        return 0.0


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no signal be heard in the middle of what follows from another one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGALRM, *_STOPPING})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _again(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, seconds)


notifier: Final = Notifier()
"""This master's: gunicorn runs its settings again on HUP, and this outlives that."""
