"""What a director knows beyond one worker: the replica, and the copy on disk."""

import logging
import os
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from director_wsgi.federation.alone import Alone
from director_wsgi.federation.backup import Backup
from director_wsgi.federation.replica import HOST, WORKER, Replica
from director_wsgi.federation.store.files import SHARED_MEMORY, bus_path
from director_wsgi.federation.store.mirror import Mirror
from director_wsgi.federation.store.sqlite import SqliteStore
from director_wsgi.limits.deadline import Clock, Deadline, WallClock, monotonic, wall

log = logging.getLogger(__name__)

RESTORE_S: Final = 3.0
"""How long a start waits for the disk."""

READ_S: Final = 5.0
"""How long it waits for what other workers know."""

BACKUP_NAME: Final = "director-state.sqlite"
"""The copy's name, in the directory of the state."""


@dataclass(frozen=True, slots=True)
class State:
    """The two, in the order in which they begin and end.

    Attributes:
        folder: Private, and shared by the workers of the host, which may share other things there; None: they share
            nothing. It need not be there before the state has been started.
    """

    replica: Replica | Alone
    backup: Backup | None = None
    folder: Path | None = None

    @classmethod
    def none(cls) -> Self:
        """Of a worker that shares nothing."""
        return cls(Alone())

    @classmethod
    def at(
        cls,
        directory: Path,
        *,
        clock: Clock = monotonic,
        wall: WallClock = wall,
        passing: Collection[str] = (),
        shared_memory: Path = SHARED_MEMORY,
    ) -> Self:
        """That of the director whose state lies in `directory`; all its workers on this host share it.

        Opens nothing yet, and raises nothing: what cannot be opened later is trouble, told by `Replica.trouble` and
        `Backup.trouble`.

        Args:
            directory: Of the copy on disk; made if need be.
            clock: Monotonic seconds, the same for all workers.
            wall: Unix seconds.
            passing: Kinds of records that nobody misses after a reboot, and that are not copied therefore.
            shared_memory: Where workers share it.
        """
        holder = f"{os.getpid()}-{secrets.token_hex(4)}"
        bus = bus_path(directory, shared_memory)
        replica = Replica(SqliteStore(bus, clock=clock, wall=wall), holder=holder, clock=clock, wall=wall)
        replica.contend(HOST)
        # A connection of its own to the bus: neither waits for the other.
        stores = SqliteStore(bus, clock=clock, wall=wall), SqliteStore(directory / BACKUP_NAME, clock=clock, wall=wall)
        mirror = Mirror(*stores, holder=holder, wall=wall, passing={WORKER, *passing})
        return cls(replica, Backup(mirror, *stores, clock=clock), bus.parent)

    def start(self, clock: Clock = monotonic) -> bool:
        """Begin to share, and wait, not for long, until what is known from before has been taken over.

        Returns:
            Whether it has been.
        """
        is_restored = self.backup is None or self.backup.start(Deadline.after(RESTORE_S, clock))
        has_read = self.replica.start(Deadline.after(READ_S, clock))
        if not (is_restored and has_read):
            log.warning("what is known from before could not be read yet; serving without it until it can")
        return is_restored and has_read

    def stop(self, deadline: Deadline) -> bool:
        """End both; what was published is copied last. Harmless if never started.

        Returns:
            Whether they had ended by the deadline.
        """
        has_ended = self.replica.stop(deadline)
        return (self.backup is None or self.backup.stop(deadline)) and has_ended
