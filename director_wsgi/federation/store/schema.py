"""The tables of a store in SQLite, and how older ones become newer ones.

A file of ours says so (`application_id`) and says which version of the tables it holds (`user_version`). During an
upgrade processes of the version before work on the same file: a migration only adds, and adds nothing without which
what they write makes no sense. What cannot be done that way needs a new file name.

Bodies lie in a table of their own, since most changes are renewals, and SQLite rewrites a row as a whole. No statement
needs a newer SQLite than 3.24.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

APPLICATION_ID: Final = 0x70646972
"""`pdir`, where `file(1)` and SQLite look for whose file this is."""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE counters (
            only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
            revision INTEGER NOT NULL CHECK (typeof(revision) = 'integer'),
            forgotten INTEGER NOT NULL CHECK (typeof(forgotten) = 'integer')
        )""",
        """CREATE TABLE records (
            id INTEGER PRIMARY KEY,
            kind TEXT NOT NULL CHECK (typeof(kind) = 'text'),
            key TEXT NOT NULL CHECK (typeof(key) = 'text'),
            expires_at REAL NOT NULL CHECK (typeof(expires_at) = 'real'),
            granted_s REAL NOT NULL CHECK (typeof(granted_s) = 'real'),
            revision INTEGER NOT NULL UNIQUE CHECK (typeof(revision) = 'integer'),
            body_revision INTEGER NOT NULL CHECK (typeof(body_revision) = 'integer'),
            UNIQUE (kind, key)
        )""",
        "CREATE INDEX records_by_end ON records (expires_at)",
        "CREATE TABLE bodies (id INTEGER PRIMARY KEY, body BLOB NOT NULL CHECK (typeof(body) = 'blob'))",
        """CREATE TABLE dropped (
            kind TEXT NOT NULL CHECK (typeof(kind) = 'text'),
            key TEXT NOT NULL CHECK (typeof(key) = 'text'),
            revision INTEGER NOT NULL UNIQUE CHECK (typeof(revision) = 'integer'),
            PRIMARY KEY (kind, key)
        ) WITHOUT ROWID""",
        """CREATE TABLE leases (
            name TEXT PRIMARY KEY NOT NULL,
            holder TEXT NOT NULL CHECK (typeof(holder) = 'text'),
            ends_at REAL NOT NULL CHECK (typeof(ends_at) = 'real'),
            ttl_s REAL NOT NULL CHECK (typeof(ttl_s) = 'real')
        ) WITHOUT ROWID""",
    ),
)
"""The statements that lead from each version to the next; the first from an empty file to version 1."""


class Refused(Exception):
    """A database that cannot be used.

    Attributes:
        word: What is wrong, for the name under which it is set aside.
    """

    def __init__(self, word: str, why: str) -> None:
        self.word = word
        super().__init__(why)


@contextmanager
def transaction(connection: sqlite3.Connection, how: str = "IMMEDIATE") -> Iterator[None]:
    """All of it or nothing."""
    connection.execute(f"BEGIN {how}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some errors have rolled it back already
            connection.execute("ROLLBACK")
        raise


def prepare(connection: sqlite3.Connection, first_revision: int) -> None:
    """Bring a database, which may be new, to the present version, and make sure that it is whole.

    Args:
        connection: In autocommit mode.
        first_revision: Where a new store begins.

    Raises:
        Refused: It is somebody else's, or newer than this program, or damaged.
        sqlite3.Error: It cannot be read or written.
    """
    version = own_or_empty(connection)
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise Refused("broken", f"it is damaged: {found}")
    if version < len(MIGRATIONS):  # and only then wait for whoever is writing
        with transaction(connection):
            _migrate(connection, first_revision)
    if connection.execute("SELECT count(*) FROM counters").fetchone() != (1,):
        raise Refused("broken", "it is damaged: its counters are missing")


def _migrate(connection: sqlite3.Connection, first_revision: int) -> None:
    version = own_or_empty(connection)
    for migration in MIGRATIONS[version:]:
        for statement in migration:
            connection.execute(statement)
    if version == 0:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("INSERT INTO counters VALUES (1, ?, ?)", (first_revision, first_revision))
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def own_or_empty(connection: sqlite3.Connection) -> int:
    """The version of the tables; 0 if there are none yet. Writes nothing.

    Raises:
        Refused: The database is somebody else's, or newer than this program.
        sqlite3.Error: It cannot be read.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application or version or tables:
            raise Refused("foreign", "it is the database of another program")
        return 0
    if version > len(MIGRATIONS):
        raise Refused("newer", f"it is of version {version}, and this program knows {len(MIGRATIONS)} at most")
    if version < 1:
        raise Refused("broken", f"it is damaged: it says that it is of version {version}")
    return int(version)
