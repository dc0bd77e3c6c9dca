"""One connection to a database file, used by one thread at a time, opened when it is first needed.

A connection must not cross a fork, and the file may be replaced while it is open: set aside by another process, or
removed by an operator. Both are looked for before each use, and answered by opening anew.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from director_wsgi.federation.store.errors import StoreBroken, StoreBusy, StoreError, StoreFull, StoreUnwritable
from director_wsgi.federation.store.files import Identity, identity, make_private, opening, set_aside
from director_wsgi.federation.store.schema import Refused, own_or_empty, prepare
from director_wsgi.limits.deadline import Deadline, WallClock

_CLOSE_WITHIN_S: Final = 1.0

_SETTINGS: Final = (
    "PRAGMA journal_mode = WAL",  # readers never wait for writers; where it cannot be had, they do
    "PRAGMA synchronous = NORMAL",  # a power cut may cost the last changes, never the file
    "PRAGMA journal_size_limit = 4194304",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
)

_NO_ROOM: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE})
_DAMAGED: Final = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_CONSTRAINT}
)
_DAMAGED_ROWS: Final = frozenset({sqlite3.OperationalError, sqlite3.DatabaseError})
"""Raised by Python for text that is not UTF-8, and by us for what cannot be in our tables."""

_OTHERS_AT_IT: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_NO_WAY: Final = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOLFS,
    }
)

_inherited: list[sqlite3.Connection] = []
"""Connections of the process that this one was forked from. To close one here would be to meddle with its files."""


class Connection:
    """One connection, its lock, and the file it is open on. Any thread may use it, one at a time."""

    def __init__(self, path: Path, wall: WallClock) -> None:
        self._path = path
        self._wall = wall
        self._lock = threading.Lock()
        # Under the lock.
        self._open: sqlite3.Connection | None = None
        self._identity: Identity | None = None
        self._process = 0
        self._is_closed = False

    @contextmanager
    def use(self, deadline: Deadline) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread; whatever goes wrong with it comes out as a `StoreError`.

        A damaged file is set aside, and what follows starts with an empty one.
        """
        if not self._lock.acquire(timeout=min(deadline.remaining_s(), threading.TIMEOUT_MAX)):
            raise StoreBusy(f"{self._path}: other threads were at it for too long")
        try:
            yield self._current(deadline)
        except sqlite3.Error as error:
            meaning = _meaning(self._path, error)
            if isinstance(meaning, StoreBroken):
                self._set_aside(str(error), deadline)
            elif isinstance(meaning, StoreUnwritable):
                self._let_go()
            raise meaning from error
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close it for good. If a thread does not give it back in time, the end of the process closes it."""
        self._is_closed = True
        if self._lock.acquire(timeout=_CLOSE_WITHIN_S):
            try:
                self._let_go()
            finally:
                self._lock.release()

    def _current(self, deadline: Deadline) -> sqlite3.Connection:
        """The connection, open on the file that the path leads to now."""
        if self._is_closed:
            raise StoreError(f"{self._path} was closed")
        if self._open is not None and (self._process != os.getpid() or identity(self._path) != self._identity):
            self._let_go()
        if self._open is None:
            self._open = self._opened(deadline)
        self._open.execute(f"PRAGMA busy_timeout = {_milliseconds(deadline)}")
        return self._open

    def _opened(self, deadline: Deadline) -> sqlite3.Connection:
        with opening(self._path, deadline):
            try:
                return self._prepared(deadline)
            except Refused as refused:
                set_aside(self._path, refused.word, str(refused), self._wall)
            try:
                return self._prepared(deadline)
            except Refused as refused:
                raise StoreBroken(f"{self._path} cannot be used, though it is new: {refused}") from refused

    def _prepared(self, deadline: Deadline) -> sqlite3.Connection:
        make_private(self._path)
        # A file made later begins later: no revision stands for two different things.
        first_revision = max(1, int(self._wall() * 1e6))
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA busy_timeout = {_milliseconds(deadline)}")
            own_or_empty(connection)  # before anything is done to it
            for setting in _SETTINGS:
                connection.execute(setting)
            prepare(connection, first_revision)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error) and isinstance(_meaning(self._path, error), StoreBroken):
                word = "not-a-database" if _code(error) == sqlite3.SQLITE_NOTADB else "broken"
                raise Refused(word, str(error)) from error
            raise
        self._identity, self._process = identity(self._path), os.getpid()
        return connection

    def _set_aside(self, why: str, deadline: Deadline) -> None:
        """Put the damaged file away, unless another process has done so."""
        damaged = self._identity
        self._let_go()
        with opening(self._path, deadline):
            if damaged is not None and identity(self._path) == damaged:
                set_aside(self._path, "broken", why, self._wall)

    def _let_go(self) -> None:
        connection, self._open = self._open, None
        if connection is None:
            return
        if self._process == os.getpid():
            connection.close()
        else:
            _inherited.append(connection)


def _milliseconds(deadline: Deadline) -> int:
    """What SQLite may wait for another process: it takes a length, in whole milliseconds, and waits by itself."""
    return int(min(deadline.remaining_s() * 1000, 3_600_000))


def _code(error: sqlite3.Error) -> int | None:
    """SQLite's primary result code; None if the error is Python's own."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None


def _meaning(path: Path, error: sqlite3.Error) -> StoreError:
    code = _code(error)
    text = f"{path}: {error}"
    if code in _NO_ROOM or getattr(error, "sqlite_errorcode", None) in _NO_ROOM:
        return StoreFull(text)
    if code in _OTHERS_AT_IT:
        return StoreBusy(text)
    if code in _NO_WAY:
        return StoreUnwritable(text)
    if code in _DAMAGED or (code is None and type(error) in _DAMAGED_ROWS):
        return StoreBroken(text)
    return StoreError(text)
