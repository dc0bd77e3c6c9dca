"""The store that the workers of a host share, and its copy on disk.

Workers share the *bus*, which lies in shared memory, so that no disk, full, slow or read-only, ever stands between
them. It outlives every process, but not a reboot; the *backup* does. One process at a time copies what is new. The
backup itself remembers how far that went, so whoever copies next goes on from there.

What disk trouble costs is what a reboot meanwhile would forget, nothing else: it is logged once, shown by `trouble`,
and tried again with the next copy.
"""

import logging
import threading
from collections.abc import Collection, Sequence
from typing import Final

from director_wsgi.federation.store.errors import StoreBusy, StoreError
from director_wsgi.federation.store.records import Changes, Drop, Put, Record, Store
from director_wsgi.limits.deadline import Deadline, WallClock, wall

log = logging.getLogger(__name__)

KIND: Final = "mirror"
"""Of the records that a mirror keeps for itself: on the bus that it was filled, in the backup how far it goes."""

LEASE_S: Final = 5.0
"""So long after the death of whoever copies, or restores, another process does it."""

_RESTORED: Final = "restored"
_COPIED: Final = "copied"
_COPY_LEASE: Final = "backup"
_RESTORE_LEASE: Final = "restore"
_FOREVER: Final = float("inf")
_LOOK_AGAIN_S: Final = 0.02


class Mirror:
    """The bus and its backup, as one process sees them.

    `restore` and `copy` may run in any thread, each in one at a time; any number of processes may call them at once.
    """

    def __init__(
        self, bus: Store, backup: Store, *, holder: str, wall: WallClock = wall, passing: Collection[str] = ()
    ) -> None:
        """Nothing is read yet.

        Args:
            bus: What workers share.
            backup: What a reboot leaves.
            holder: Name of this process, in leases; no two have the same.
            wall: Which records of the backup have ended.
            passing: Kinds that are not copied, since nobody would miss them: else a disk would be written every second
                for those who say that they are alive.
        """
        self._bus = bus
        self._backup = backup
        self._holder = holder
        self._wall = wall
        self._not_copied = frozenset({KIND, *passing})
        self._trouble: StoreError | None = None

    @property
    def trouble(self) -> StoreError | None:
        """Why the backup could not be read or written when this process last tried; None if it could, or leaves it."""
        return self._trouble

    def restore(self, deadline: Deadline) -> bool:
        """Fill the bus with what the backup holds, unless that has been done. Other processes wait for the first.

        What the bus knows already is newer, whether it was put or dropped, and stays. A backup that cannot be read
        counts as an empty one.

        Returns:
            Whether the bus has been filled, by whichever process. False if the one that does it is not ready by the
            deadline; then the bus can be used as it is, and this be tried again.

        Raises:
            StoreError: Of the bus.
        """
        pause = threading.Event()
        while self._bus.get(KIND, _RESTORED) is None:
            if self._bus.take_lease(_RESTORE_LEASE, self._holder, LEASE_S):
                return self._fill(deadline)
            if deadline.has_passed():
                return False
            pause.wait(min(_LOOK_AGAIN_S, deadline.remaining_s()))
        return True

    def copy(self, deadline: Deadline) -> bool:
        """Bring the backup up to date, if this is the process that does it.

        Call it every second or so, and `restore` before it: a bus that was lost is filled again. A process holds the
        lease for `LEASE_S` after each call; see `leave`.

        Returns:
            Whether this process does it, and the backup is up to date.

        Raises:
            StoreError: Of the bus; trouble with the backup raises nothing.
        """
        if not self._bus.take_lease(_COPY_LEASE, self._holder, LEASE_S):
            self._trouble = None  # another process tells how it goes from now on
            return False
        try:
            since = self._copied_up_to()
        except StoreError as error:
            return self._failed(error)
        if since == self._bus.revision():
            return self._succeeded()
        changes = self._bus.changes(since)
        try:
            is_complete = self._write(changes, deadline)
        except StoreError as error:
            return self._failed(error)
        return self._succeeded() and is_complete

    def leave(self) -> None:
        """Let another process copy at once: this one ends.

        Raises:
            StoreError: Of the bus.
        """
        self._bus.leave(_COPY_LEASE, self._holder)

    def _fill(self, deadline: Deadline) -> bool:
        now = self._wall()
        try:
            records = self._backup.changes(0).records
        except StoreBusy as error:
            self._failed(error)
            return False
        except StoreError as error:
            self._failed(error)
            records = ()
        living = [
            Put(
                kind=record.kind,
                key=record.key,
                body=record.body,
                expires_at=record.expires_at,
                granted_s=record.granted_s,
                unless_known=True,
            )
            for record in records
            if record.kind != KIND and record.remaining_s(now) > 0
        ]
        self._bus.put([*living, _note(_RESTORED, b"")], deadline)
        self._bus.leave(_RESTORE_LEASE, self._holder)
        log.info("%d of %d stored records are still valid and were restored", len(living), len(records))
        return True

    def _copied_up_to(self) -> int:
        """The revision of the bus that the backup has; 0 if that is not known."""
        note = self._backup.get(KIND, _COPIED)
        return int(note.body) if note and note.body.isdigit() else 0

    def _write(self, changes: Changes, deadline: Deadline) -> bool:
        """Put into the backup what is new on the bus.

        Returns:
            Whether the backup had all that was merely renewed. If not, it was emptied, or a wall clock has jumped: the
            next copy is one of everything.
        """
        puts = self._as_puts(changes)
        if not (puts or changes.is_whole):
            return True
        missing = self._backup.put(puts, deadline).missing
        # Apart, and later: whoever dies in between leaves work to be done twice, not undone.
        revision = 0 if missing else changes.revision
        self._backup.put([_note(_COPIED, str(revision).encode())], deadline)
        return not missing

    def _as_puts(self, changes: Changes) -> Sequence[Put | Drop]:
        """The same changes, for the backup."""
        put = [
            Put(
                kind=change.kind,
                key=change.key,
                body=change.body if isinstance(change, Record) else None,
                expires_at=change.expires_at,
                granted_s=change.granted_s,
            )
            for change in (*changes.records, *changes.renewed)
            if change.kind not in self._not_copied
        ]
        dropped = (Drop(kind=kind, key=key) for kind, key in changes.dropped if kind not in self._not_copied)
        return [*put, *dropped]

    def _failed(self, error: StoreError) -> bool:
        if type(error) is not type(self._trouble):
            log.warning("the state on disk is not kept up to date, which matters at the next reboot only: %s", error)
        self._trouble = error
        return False

    def _succeeded(self) -> bool:
        if self._trouble is not None:
            log.info("the state on disk is up to date again")
        self._trouble = None
        return True


def _note(key: str, body: bytes) -> Put:
    return Put(kind=KIND, key=key, body=body, expires_at=_FOREVER, granted_s=_FOREVER)
