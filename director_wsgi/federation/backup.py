"""Keeps the copy on disk of what workers share: a thread that no disk can take along but itself."""

import logging
import threading
from typing import Final

from director_wsgi.federation.store.errors import StoreError
from director_wsgi.federation.store.mirror import Mirror
from director_wsgi.federation.store.records import Store
from director_wsgi.limits.deadline import Clock, Deadline, monotonic

log = logging.getLogger(__name__)

INTERVAL_S: Final = 1.0
"""How often what is new is copied."""

COPY_S: Final = 5.0
"""How long one turn may wait for others that write."""

LAST_COPY_S: Final = 1.0
"""The same for the one with which a worker ends."""


class Backup:
    """The thread `director-backup` of a worker.

    Any number of workers may have one; one at a time copies, see `Mirror`.

    Args:
        mirror: What restores and copies.
        stores: Closed when the thread ends.
        clock: Monotonic seconds.
    """

    def __init__(self, mirror: Mirror, *stores: Store, clock: Clock = monotonic) -> None:
        self._mirror = mirror
        self._stores = stores
        self._clock = clock
        self._copied_at: float | None = None
        self._restored = threading.Event()
        self._is_restored = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="director-backup", daemon=True)

    @property
    def trouble(self) -> StoreError | None:
        """Why the copy on disk could not be read or written when that was last tried; None if it could."""
        return self._mirror.trouble

    @property
    def age_s(self) -> float | None:
        """Seconds since this worker last brought the copy up to date; None if it never did: another does."""
        copied_at = self._copied_at
        return None if copied_at is None else self._clock() - copied_at

    def start(self, deadline: Deadline) -> bool:
        """Begin, and wait until what the disk holds has been restored, by this worker or another.

        Returns:
            Whether it was by the deadline. If not, it comes later: a disk that hangs holds nobody up.
        """
        self._thread.start()
        return self._restored.wait(deadline.remaining_s()) and self._is_restored

    def stop(self, deadline: Deadline) -> bool:
        """Copy once more, let another worker go on, and end. Harmless if never started.

        Returns:
            Whether it had ended by the deadline.
        """
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(deadline.remaining_s())
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._turn(COPY_S)
            self._restored.set()
            self._stopping.wait(INTERVAL_S)
        self._turn(LAST_COPY_S)
        self._leave()
        for store in self._stores:
            store.close()

    def _turn(self, within_s: float) -> None:
        deadline = Deadline.after(within_s, self._clock)
        try:
            self._is_restored = self._mirror.restore(deadline)
            self._restored.set()  # before the disk is written: whoever waits does so for this
            if self._mirror.copy(deadline):
                self._copied_at = self._clock()
        except StoreError as error:
            log.debug("what workers share cannot be copied: %s", error)  # the replica tells of the same trouble
        except Exception:  # the next turn may do better; a thread that ended would tell nobody
            log.exception("what workers share could not be copied, for a reason unforeseen")

    def _leave(self) -> None:
        try:
            self._mirror.leave()
        except StoreError as error:
            log.debug("another worker goes on with the copy when the lease ends: %s", error)
