"""What may be wrong with a store.

None of these ends a request: whoever uses a store goes on with what it knows, and tries again later.
"""


class StoreError(Exception):
    """The store could not do what it was asked; nothing of it was done. `str()` says why, without any record."""


class StoreBusy(StoreError):
    """Others were at it until the deadline passed."""


class StoreFull(StoreError):
    """There is no room: the disk, the shared memory, a quota, or the largest size that a file of ours may have."""


class StoreUnwritable(StoreError):
    """It cannot be opened or not be written: modes, a read-only file system, no such directory, a failing disk."""


class StoreBroken(StoreError):
    """Its content made no sense. It has been set aside, and the store is empty: the next call begins anew."""
