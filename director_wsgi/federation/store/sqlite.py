"""A store in one SQLite file, for all processes of one host.

Two connections, so that nobody who reads waits behind somebody who waits to write: in WAL mode SQLite's readers and
its writer do not meet. Nothing is opened before it is first needed, nor kept over a fork.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from director_wsgi.federation.store.connection import Connection
from director_wsgi.federation.store.records import Changes, Drop, Put, Record, Renewal, Written
from director_wsgi.federation.store.schema import transaction
from director_wsgi.limits.deadline import Clock, Deadline, WallClock, monotonic, wall

READ_WITHIN_S: Final = 1.0
"""How long a reader may wait for other readers of its process, or for the file to be opened."""

LEASE_WITHIN_S: Final = 1.0
"""How long a lease may be waited for while others write."""

DROPS_KEPT: Final = 100_000
"""Revisions for which a drop is remembered. Whoever asks from further back is given the whole."""

ENDED_KEPT_S: Final = 600.0
"""How long what has ended is kept: a wall clock that jumped ahead may be set right again.

No longer than it had lived, though. A server may say that it lives for a second, and have another name in the next: of
such records there are never more than twice as many as may live at once.
"""

PURGED_AT_ONCE: Final = 64
"""What one `put` removes at most of what is no longer needed, of each sort."""

_RECORDS: Final = """
    SELECT kind, key, expires_at, granted_s, revision, body FROM records JOIN bodies USING (id)
"""


class SqliteStore:
    """A `Store` in a file. Any thread may call any method; a second instance on the same file is another process's."""

    def __init__(self, path: Path, *, clock: Clock = monotonic, wall: WallClock = wall) -> None:
        """Nothing is opened yet.

        Args:
            path: The file. It is made, private to this user, with its directory, if there is none. SQLite keeps two
                more beside it, and there is a lock file.
            clock: Ends of leases are instants of this clock: it must be the same for all processes, as the monotonic
                clock is on one host.
            wall: Which records have ended long ago.
        """
        self.path = path
        self._clock = clock
        self._wall = wall
        self._reader = Connection(path, wall)
        self._writer = Connection(path, wall)
        # Touched under the reader's lock: the connection, its `data_version`, and the revision that goes with it.
        self._seen: tuple[sqlite3.Connection | None, int, int] = (None, 0, 0)

    def put(self, changes: Sequence[Put | Drop], deadline: Deadline) -> Written:
        """See `Store.put`. Waits for other processes that write, and for threads of this one, up to the deadline."""
        with self._writer.use(deadline) as connection, transaction(connection):
            return _Writing(connection).all(changes, self._wall())

    def get(self, kind: str, key: str) -> Record | None:
        """See `Store.get`."""
        with self._reading() as connection:
            row = connection.execute(f"{_RECORDS} WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return _record(row) if row else None

    def changes(self, since: int) -> Changes:
        """See `Store.changes`."""
        with self._reading() as connection, transaction(connection, "DEFERRED"):
            revision, forgotten = _counters(connection)
            if since == revision:
                return Changes(revision=revision)
            is_whole = not max(1, forgotten) <= since < revision
            if is_whole:
                since = 0
            records = connection.execute(f"{_RECORDS} WHERE body_revision > ? ORDER BY revision", (since,)).fetchall()
            renewed, dropped = ([], []) if is_whole else _without_bodies(connection, since)
        return Changes(
            records=tuple(map(_record, records)),
            renewed=tuple(map(_renewal, renewed)),
            dropped=tuple(dropped),
            revision=revision,
            is_whole=is_whole,
        )

    def revision(self) -> int:
        """See `Store.revision`. Reads nothing of the file if no process has changed it since the last call."""
        with self._reading() as connection:
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            seen_on, seen_version, revision = self._seen
            if connection is not seen_on or version != seen_version:
                revision, _ = _counters(connection)
                self._seen = (connection, version, revision)
            return revision

    def take_lease(self, name: str, holder: str, ttl_s: float) -> bool:
        """See `Store.take_lease`. One that another holds is only read, so those who wait for it disturb no writer."""
        if self.holder(name) not in {None, holder}:
            return False
        with self._writer.use(Deadline.after(LEASE_WITHIN_S, self._clock)) as connection, transaction(connection):
            now = self._clock()
            if _holder(connection, name, now) not in {None, holder}:
                return False
            connection.execute(
                "INSERT OR REPLACE INTO leases (name, holder, ends_at, ttl_s) VALUES (?, ?, ?, ?)",
                (name, holder, now + ttl_s, float(ttl_s)),
            )
        return True

    def leave(self, name: str, holder: str) -> None:
        """See `Store.leave`."""
        with self._writer.use(Deadline.after(LEASE_WITHIN_S, self._clock)) as connection:
            connection.execute("DELETE FROM leases WHERE name = ? AND holder = ?", (name, holder))

    def holder(self, name: str) -> str | None:
        """See `Store.holder`."""
        with self._reading() as connection:
            return _holder(connection, name, self._clock())

    def close(self) -> None:
        """See `Store.close`. Whoever closes a file last brings it into one piece, which may take a disk's time."""
        self._writer.close()
        self._reader.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._reader.use(Deadline.after(READ_WITHIN_S, self._clock)) as connection:
            yield connection

    def __repr__(self) -> str:
        return f"<SqliteStore {self.path}>"


class _Writing:
    """One transaction's worth of changes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._run = connection.execute
        self._revision, self._forgotten = _counters(connection)
        self._missing: list[Put] = []

    def all(self, changes: Sequence[Put | Drop], now: float) -> Written:
        for change in changes:
            if isinstance(change, Drop):
                self._drop(change)
            elif change.body is None:
                self._renew(change)
            else:
                self._put(change, change.body)
        self._purge(now)
        self._run("UPDATE counters SET revision = ?, forgotten = ?", (self._revision, self._forgotten))
        return Written(revision=self._revision, missing=tuple(self._missing))

    def _next(self) -> int:
        self._revision += 1
        return self._revision

    def _id(self, change: Put | Drop) -> int | None:
        row = self._run("SELECT id FROM records WHERE kind = ? AND key = ?", (change.kind, change.key)).fetchone()
        return row[0] if row else None

    def _put(self, put: Put, body: bytes) -> None:
        number = self._id(put)
        if put.unless_known and (number is not None or self._was_dropped(put)):
            return
        revision = self._next()
        life = (float(put.expires_at), float(put.granted_s), revision, revision)
        if number is None:
            self._run("DELETE FROM dropped WHERE kind = ? AND key = ?", (put.kind, put.key))
            number = self._run(
                "INSERT INTO records (expires_at, granted_s, revision, body_revision, kind, key) VALUES (?,?,?,?,?,?)",
                (*life, put.kind, put.key),
            ).lastrowid
        else:
            self._run(
                "UPDATE records SET expires_at = ?, granted_s = ?, revision = ?, body_revision = ? WHERE id = ?",
                (*life, number),
            )
        self._run("INSERT OR REPLACE INTO bodies (id, body) VALUES (?, ?)", (number, body))

    def _was_dropped(self, put: Put) -> bool:
        return bool(self._run("SELECT 1 FROM dropped WHERE kind = ? AND key = ?", (put.kind, put.key)).fetchone())

    def _renew(self, put: Put) -> None:
        number = self._id(put)
        if number is None:
            self._missing.append(put)
            return
        self._run(
            "UPDATE records SET expires_at = ?, granted_s = ?, revision = ? WHERE id = ?",
            (float(put.expires_at), float(put.granted_s), self._next(), number),
        )

    def _drop(self, drop: Drop) -> None:
        number = self._id(drop)
        if number is None:
            return
        self._remove(number)
        self._run("INSERT INTO dropped (kind, key, revision) VALUES (?, ?, ?)", (drop.kind, drop.key, self._next()))

    def _remove(self, number: int) -> None:
        self._run("DELETE FROM bodies WHERE id = ?", (number,))
        self._run("DELETE FROM records WHERE id = ?", (number,))

    def _purge(self, now: float) -> None:
        """Remove some of what nobody needs any more."""
        ended = self._run(
            "SELECT id FROM records WHERE expires_at < ? AND expires_at + min(granted_s, ?) < ?"
            " ORDER BY expires_at LIMIT ?",
            (now, ENDED_KEPT_S, now, PURGED_AT_ONCE),
        ).fetchall()
        for (number,) in ended:
            self._remove(number)
        old = self._run(
            "SELECT revision FROM dropped WHERE revision <= ? ORDER BY revision LIMIT ?",
            (self._revision - DROPS_KEPT, PURGED_AT_ONCE),
        ).fetchall()
        if old:
            self._forgotten = old[-1][0]
            self._run("DELETE FROM dropped WHERE revision <= ?", (self._forgotten,))


def _counters(connection: sqlite3.Connection) -> tuple[int, int]:
    """The newest revision, and the newest of those whose drops are no longer known."""
    for revision, forgotten in connection.execute("SELECT revision, forgotten FROM counters"):
        return revision, forgotten
    raise sqlite3.DatabaseError("the counters are missing")


def _without_bodies(
    connection: sqlite3.Connection, since: int
) -> tuple[list[tuple[str, str, float, float, int]], list[tuple[str, str]]]:
    """What was renewed, and what was dropped, after a revision."""
    renewed = connection.execute(
        "SELECT kind, key, expires_at, granted_s, revision FROM records"
        " WHERE revision > ? AND body_revision <= ? ORDER BY revision",
        (since, since),
    ).fetchall()
    dropped = connection.execute(
        "SELECT kind, key FROM dropped WHERE revision > ? ORDER BY revision", (since,)
    ).fetchall()
    return renewed, dropped


def _record(row: tuple[str, str, float, float, int, bytes]) -> Record:
    kind, key, expires_at, granted_s, revision, body = row
    return Record(kind=kind, key=key, body=body, expires_at=expires_at, granted_s=granted_s, revision=revision)


def _renewal(row: tuple[str, str, float, float, int]) -> Renewal:
    kind, key, expires_at, granted_s, revision = row
    return Renewal(kind=kind, key=key, expires_at=expires_at, granted_s=granted_s, revision=revision)


def _holder(connection: sqlite3.Connection, name: str, now: float) -> str | None:
    row = connection.execute("SELECT holder, ends_at, ttl_s FROM leases WHERE name = ?", (name,)).fetchone()
    if row is None:
        return None
    holder, ends_at, ttl_s = row
    # The monotonic clock begins anew at a reboot: one that ends later than it can was taken before.
    return holder if now < ends_at <= now + ttl_s else None
