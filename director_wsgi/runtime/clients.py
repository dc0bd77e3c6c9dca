"""Clients that have gone: whoever waits on behalf of one is told.

A handler thread that waits for servers does not see its client close the connection, and would wait for nobody. One
thread watches the connections of those who wait, and of nobody else.

It looks for the end of what the client sends (EPOLLRDHUP, epoll_ctl(2)) without reading: that works under TLS, too,
and takes nothing away from a request that follows on the same connection. A client that shuts down its sending half
only and still reads looks the same. So "gone" means *probably gone*: stop what costs, but still write an answer.
Behind a proxy, the client is the proxy: it tells if it closes its side when its own client goes.
"""

import logging
import os
import select
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Protocol, Self

from director_wsgi.limits.deadline import Deadline

THREAD_NAME = "director-clients"

# One event, then silence until it is asked for again: a client that has gone stays gone, and must not spin the thread.
_EVENTS = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR | select.EPOLLONESHOT
_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR

_log = logging.getLogger(__name__)


class Connection(Protocol):
    """What is watched: a stream socket, TLS or not."""

    def fileno(self) -> int:
        """The descriptor; negative once it is closed."""
        ...


class _Watch:
    """One wait for one client's going, from entering the context to leaving it."""

    __slots__ = ("_clients", "connection", "fd", "is_told", "tell")

    def __init__(self, clients: "ClientWatch", connection: Connection, tell: Callable[[], object]) -> None:
        self._clients = clients
        self.connection = connection
        self.fd = -1  # the table's key, while it is in the table
        self.is_told = False
        self.tell = tell

    def __enter__(self) -> Self:
        self._clients._add(self)  # noqa: SLF001, one class in three parts
        return self

    def __exit__(self, *_: object) -> None:
        self._clients._remove(self)  # noqa: SLF001


class Watchable:
    """One request's client, made by `ClientWatch.of`."""

    __slots__ = ("_clients", "_connection")

    def __init__(self, clients: "ClientWatch", connection: Connection) -> None:
        self._clients = clients
        self._connection = connection

    def watching(self, tell: Callable[[], object]) -> _Watch:
        """A context in which the client is watched, to be entered once and left before the request ends.

        Args:
            tell: Called once if the client goes, or had gone before, by the watching thread. It must not block. It
                may still come at the moment in which the context is left, never for another client.
        """
        return _Watch(self._clients, self._connection, tell)

    def __repr__(self) -> str:
        return "<Watchable>"


class ClientWatch:
    """Tells those who wait on behalf of a client when it has gone.

    Costs two system calls per wait and no thread's attention until a client goes. A connection that is closed on this
    side is not watched any more: nobody is told. Nor is anybody before `start` or after `stop`.

    Any number of threads at once.
    """

    # _lock guards all attributes below and _Watch.fd and .is_told. epoll_ctl(2) is called under it, which does not
    # wait; epoll_wait(2) and `tell` are not.
    #
    # A descriptor's number says nothing about whose it is: it may be closed and given to another connection between
    # an event and the look at the table. So an event is only a hint. Whoever is found in the table is asked about
    # (poll(2), without waiting), and told if he is still there afterwards: he was there all the time, then, and the
    # number was his.

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: dict[int, set[_Watch]] = {}
        self._epoll: select.epoll | None = None  # None before the start and after the end
        self._wake_fd = -1  # written to in order to end the thread
        self._thread: threading.Thread | None = None
        self._gone = 0

    def start(self) -> None:
        """Begin to watch, on a thread of its own. Must be called after a fork, not before.

        Raises:
            RuntimeError: It has been started before; what was stopped stays so.
            OSError: There is no descriptor left. Nothing was started.
        """
        with self._lock, ExitStack() as undo:
            if self._thread is not None:
                raise RuntimeError("a client watch can be started once")
            epoll = undo.enter_context(select.epoll())
            read_fd, write_fd = os.pipe()
            undo.callback(os.close, read_fd)
            undo.callback(os.close, write_fd)
            epoll.register(read_fd, select.EPOLLIN)
            thread = threading.Thread(target=self._run, args=(epoll, read_fd), name=THREAD_NAME, daemon=True)
            thread.start()
            undo.pop_all()  # the thread closes them
            self._thread, self._epoll, self._wake_fd = thread, epoll, write_fd

    def stop(self, deadline: Deadline) -> bool:
        """Watch no more, and close what was opened. May be called again, or without `start`.

        Returns:
            Whether the thread has ended by the deadline.
        """
        with self._lock:
            if self._thread is None:
                return True
            if self._wake_fd >= 0:
                with suppress(OSError):  # the thread has ended by itself
                    os.write(self._wake_fd, b"!")  # closing is not enough if a forked child has the same end
                os.close(self._wake_fd)
                self._wake_fd = -1
        if self._thread is not threading.current_thread():
            self._thread.join(deadline.remaining_s())
        return not self._thread.is_alive()

    def of(self, connection: Connection) -> Watchable:
        """The client at the other end of `connection`. Touches nothing yet."""
        return Watchable(self, connection)

    @property
    def watched(self) -> int:
        """How many waits are being watched."""
        with self._lock:
            return sum(len(watches) for watches in self._watches.values())

    @property
    def gone(self) -> int:
        """How many waits were told that their client has gone, ever."""
        with self._lock:
            return self._gone

    def _add(self, watch: _Watch) -> None:
        with self._lock:
            fd = watch.connection.fileno()
            if self._epoll is None or fd < 0:
                return
            try:
                _arm(self._epoll, fd)
            except OSError:  # no room in the kernel, or nothing that can be watched: a wait like any other, then
                return
            watch.fd = fd
            self._watches.setdefault(fd, set()).add(watch)

    def _remove(self, watch: _Watch) -> None:
        with self._lock:
            watches = self._watches.get(watch.fd)
            if watches is None or watch not in watches:
                return
            watches.remove(watch)
            if watches:
                return
            del self._watches[watch.fd]
            if self._epoll is not None:
                with suppress(OSError):  # closed in the meantime: then the kernel has forgotten it by itself
                    self._epoll.unregister(watch.fd)

    def _run(self, epoll: select.epoll, read_fd: int) -> None:
        try:
            while True:
                for fd, _events in epoll.poll():
                    if fd == read_fd:
                        return
                    self._tell_if_gone(fd)
        finally:
            with self._lock:
                self._epoll = None
                self._watches.clear()
            epoll.close()
            os.close(read_fd)

    def _tell_if_gone(self, fd: int) -> None:
        with self._lock:
            asked_about = [watch for watch in self._watches.get(fd, ()) if not watch.is_told]
        if not asked_about or not _has_gone(fd):
            return
        with self._lock:
            there = self._watches.get(fd, set())
            told = [watch for watch in asked_about if watch in there and watch.connection.fileno() == fd]
            for watch in told:
                watch.is_told = True
            self._gone += len(told)
        for watch in told:
            try:
                watch.tell()
            except Exception:  # noqa: BLE001, one request's mistake must not leave all the others unwatched
                _log.exception("telling a waiting request that its client has gone failed")


def _arm(epoll: select.epoll, fd: int) -> None:
    try:
        epoll.register(fd, _EVENTS)
    except FileExistsError:  # watched twice: there is one registration for both, which may have been used up
        epoll.modify(fd, _EVENTS)


def _has_gone(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, _GONE)
    return any(events & _GONE for _fd, events in poll.poll(0))
