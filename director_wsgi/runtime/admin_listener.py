"""Where operators and load balancers are listened to: a socket of its own, beside the one for clients.

The master opens it once, before it has workers, and every worker inherits it over the fork. It stays the same over
HUP, and over USR2, too: the new master finds its number in the environment, as gunicorn's own sockets are handed on. So
there is no moment at which nobody listens there.
"""

import contextlib
import logging
import os
import socket
import stat
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

from director_wsgi.runtime.kinds import UNIX, split_bind

INHERITED: Final = "DIRECTOR_WSGI_ADMIN_LISTENER"
"""The environment variable by which a master hands the socket on: the process it is meant for, and its number there."""

BACKLOG: Final = 512
"""Connections that may wait to be taken."""

IN_USE_S: Final = 1.0
"""How long it may take to find out whether somebody listens at a socket file."""

_logger = logging.getLogger(__name__)


class AdminListener:
    """The socket, in the master; for its main thread. Without a place to listen at there is none.

    Attributes:
        bind: Where it listens: `host:port`, `unix:/path`, or empty.
        socket: It; to be inherited by workers.
    """

    def __init__(self) -> None:
        self.bind = ""
        self.socket: socket.socket | None = None

    def open(self, bind: str, environ: MutableMapping[str, str]) -> None:
        """Listen at `bind`: with the socket that another master has handed on, if that is the place, else a new one.

        Args:
            bind: As in the configuration, checked.
            environ: The environment; what was handed on is taken out.

        Raises:
            OSError: It is not possible to listen there.
        """
        inherited = _inherited(environ.pop(INHERITED, ""))
        if inherited is not None and not _listens_at(inherited, bind):
            inherited.close()  # in this process: the master before this one goes on with it
            inherited = None
        self.socket = inherited or (_listen(bind) if bind else None)
        self.bind = bind

    def stay(self, bind: str) -> None:
        """Note, after a reload, where it should listen now; it goes on where it is."""
        if bind != self.bind:
            where = self.bind or "nowhere"
            _logger.warning("Director.AdminBind: still %s; %s takes effect with a restart", where, bind or "nowhere")

    def hand_on(self, environ: MutableMapping[str, str]) -> None:
        """In the process that is about to become the new master, by `exec`: let it have the socket.

        Args:
            environ: The environment that it will have.
        """
        environ.pop(INHERITED, None)
        if self.socket is not None:
            self.socket.set_inheritable(True)
            environ[INHERITED] = f"{os.getpid()}:{self.socket.fileno()}"

    def close(self, *, is_last: bool) -> None:
        """Listen no more.

        Args:
            is_last: No other master goes on with the socket: its file, if it has one, is removed.
        """
        if self.socket is None:
            return
        self.socket.close()
        self.socket = None
        if is_last and self.bind.startswith(UNIX):
            Path(self.bind.removeprefix(UNIX)).unlink(missing_ok=True)


def _inherited(told: str) -> socket.socket | None:
    """The socket of which the environment tells; None if it does not, or if it is meant for another process."""
    process, _, number = told.partition(":")
    if process != str(os.getpid()) or not number.isdigit():
        return None
    try:
        inherited = socket.socket(fileno=int(number))
        os.set_inheritable(inherited.fileno(), False)
        if inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return inherited
    except OSError:
        return None
    inherited.detach()  # whatever it is, it is not ours to close
    return None


def _listens_at(listener: socket.socket, bind: str) -> bool:
    if not bind:
        return False
    place = split_bind(bind)
    if isinstance(place, Path):
        return listener.family == socket.AF_UNIX and listener.getsockname() == str(place)
    if listener.family == socket.AF_UNIX:
        return False
    return any(listener.getsockname()[:2] == address[:2] for _family, address in _addresses(*place))


def _addresses(host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [(family, address) for family, _type, _protocol, _name, address in found]


def _listen(bind: str) -> socket.socket:
    place = split_bind(bind)
    if isinstance(place, Path):
        _remove_left_over(place)
        family, address = int(socket.AF_UNIX), str(place)
    else:
        family, address = _addresses(*place)[0]  # type: ignore[assignment]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _remove_left_over(path: Path) -> None:
    """Remove the file of a socket at which nobody listens any more: a master that was killed leaves it behind."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return  # binding will say so
    except OSError:
        return
    with socket.socket(socket.AF_UNIX) as caller, contextlib.suppress(OSError):
        caller.settimeout(IN_USE_S)
        try:
            caller.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()


admin_listener = AdminListener()
"""That of this process. It stands here because the settings file is run again on every HUP."""
