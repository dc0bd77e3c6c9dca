"""Sockets towards clients: how long a silent one is waited for, and one TLS context instead of one per connection.

Requests are waited for elsewhere (`runtime.slow_clients`); a thread that sends an answer waits for its client here.
gunicorn does so without end. Options of the listener, which Linux copies to every accepted socket, put a bound on each
wait. They do not reach through TLS (OpenSSL asks again), so there the socket class does the same. Either bounds one
wait, not the whole.
"""

import fcntl
import logging
import os
import socket
import ssl
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from gunicorn import systemd

SILENCE_S = 5
"""How long one wait for a client may last, whole seconds; as long as gunicorn waits for the first byte."""

_logger = logging.getLogger(__name__)


class InvalidBody(OSError):
    """The body that a client sends is not framed as HTTP wants it."""


GIVEN_UP = (BlockingIOError, TimeoutError, InvalidBody)
"""How reading from, or writing to, a client fails when the client is to blame and still there."""


def bound_silence(listeners: Iterable[Any]) -> None:
    """Let no read from, or write to, a client accepted from `listeners` wait longer than `SILENCE_S`.

    The wait ends as a `BlockingIOError` in the thread that waits.
    """
    bound = struct.pack("ll", SILENCE_S, 0)
    for listener in listeners:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bound)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bound)


def number_for_systemd(listeners: Iterable[Any]) -> None:
    """In the process that is about to become the new master by `exec`: put systemd's sockets where it looks for them.

    gunicorn tells the new master that they are there, but keeps copies of them elsewhere and closes the originals.
    What took their numbers meanwhile is lost to this process, which needs nothing any more.
    """
    sockets = [listener.fileno() for listener in listeners]
    first = systemd.SD_LISTEN_FDS_START
    # Out of each other's way at first.
    copies = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, first + len(sockets)) for number in sockets]
    for number, copy in enumerate(copies, start=first):
        os.dup2(copy, number, inheritable=True)


class BoundedTlsSocket(ssl.SSLSocket):
    """A TLS socket on which "blocking" means "for `SILENCE_S` at most". The wait ends as a `TimeoutError`."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands; unlike a single read, the whole handshake is bounded."""
        self.settimeout(SILENCE_S)
        super().do_handshake(block)

    def setblocking(self, flag: bool) -> None:
        """Wait up to `SILENCE_S` instead of without end."""
        self.settimeout(SILENCE_S if flag else 0.0)


class _Built(NamedTuple):
    state: tuple[object, ...]
    context: ssl.SSLContext


class ServerContext:
    """The TLS context of the listeners, built anew when its files have changed.

    gunicorn builds one for every connection: that reads and parses the key each time, and no client can ever resume
    a session. Kept, it is cheaper and lets them. The master builds the first one, so that a worker forked while the
    files are broken inherits one that works.

    Safe to use from any thread: what it holds is replaced as a whole; two threads that notice a change at the same
    time both build, and either result will do.
    """

    def __init__(self) -> None:
        self._built: _Built | None = None

    def get(self, settings: Any, build: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        """The context for `settings`, gunicorn's configuration, built by `build` if need be.

        A certificate and key that have become unusable leave the last good pair in use, with one line in the log.

        Raises:
            OSError: The first pair is unusable (`ssl.SSLError` is one).
        """
        state = _state(settings)
        built = self._built
        if built is not None and built.state == state:
            return built.context
        try:
            context = build()
        except OSError as error:
            if built is None:
                raise
            _logger.error("The TLS certificate or key cannot be used, the last good ones stay: %s", error)  # noqa: TRY400, expected
            context = built.context
        context.sslsocket_class = BoundedTlsSocket
        self._built = _Built(state, context)
        return context


def _state(settings: Any) -> tuple[object, ...]:
    names = (settings.certfile, settings.keyfile, settings.ca_certs)
    return (names, settings.cert_reqs, settings.ciphers, tuple(_stamp(Path(name)) for name in names if name))


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns)


server_context = ServerContext()
"""That of this process. It stands here because the settings file is run again on every HUP."""
