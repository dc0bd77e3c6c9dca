"""Where the files of a store lie, who may read them, and what becomes of one that cannot be used.

SQLite holds its locks through file descriptors, and whichever of a process's descriptors of a file is closed first
takes all of them along: nothing here opens a database.
"""

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from director_wsgi.federation.store.errors import StoreBusy, StoreError, StoreFull, StoreUnwritable
from director_wsgi.limits.deadline import Deadline, WallClock

log = logging.getLogger(__name__)

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108, what is made there is checked
BROKEN_KEPT: Final = 3
"""Damaged files kept beside a store: the newest. Others' files, and those of a newer version, are all kept."""

Identity = tuple[int, int]
"""Device and inode: which file a name stands for."""

_PARTS: Final = ("", "-wal", "-shm")  # a database and what SQLite keeps beside it
_LOOK_AGAIN_S: Final = 0.005
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def bus_path(state_location: Path, shared_memory: Path = SHARED_MEMORY) -> Path:
    """The file that the workers of one director share, by the place of its state and by the user it runs as.

    It lies in shared memory, in a directory of its own that nobody else can enter. Anybody may make directories there:
    if one of that name is not ours and private, or none can be made or written, the file lies with the state.
    """
    location = os.path.realpath(state_location)
    name = f"director-wsgi-{os.geteuid()}-{hashlib.sha256(location.encode()).hexdigest()[:16]}"
    directory = shared_memory / name
    try:
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        found = directory.lstat()
    except OSError as error:
        why = error.strerror
    else:
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            why = "it is not a directory that is ours alone"
        elif not os.access(directory, os.W_OK):
            why = "it cannot be written"
        else:
            return directory / "bus.sqlite"
    log.warning("workers share their state in %s, since %s cannot be used: %s", state_location, directory, why)
    return state_location / "bus.sqlite"


def identity(path: Path) -> Identity | None:
    """Which file a path leads to; None if there is none or it cannot be seen."""
    try:
        found = os.stat(path)  # noqa: PTH116, asked fifty times a second
    except OSError:
        return None
    return found.st_dev, found.st_ino


def make_private(path: Path) -> None:
    """Make the file if there is none, and let nobody else read it. The lock of `opening` is held.

    Raises:
        StoreError: It cannot be made.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        with contextlib.suppress(OSError):  # whose file it is will show when it is opened
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)
    except OSError as error:
        raise os_error(path, error) from None


@contextlib.contextmanager
def opening(path: Path, deadline: Deadline) -> Iterator[None]:
    """While one process opens a store or sets it aside, others wait to do so. The directory is made if need be.

    Raises:
        StoreError: The directory cannot be made or written, or the deadline has passed.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise os_error(lock, error) from None
    try:
        _lock(descriptor, path, deadline)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, deadline: Deadline) -> None:
    pause = threading.Event()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if deadline.has_passed():
                raise StoreBusy(f"{path} is being opened by another process") from None
            pause.wait(min(_LOOK_AGAIN_S, deadline.remaining_s()))
        except OSError as error:
            raise os_error(path, error) from None
        else:
            return


def set_aside(path: Path, word: str, why: str, wall: WallClock) -> None:
    """Give a file that cannot be used another name. The lock of `opening` is held.

    Raises:
        StoreUnwritable: It cannot be renamed.
    """
    stamp = datetime.fromtimestamp(wall(), UTC).strftime("%Y%m%dT%H%M%SZ")
    target = path.with_name(f"{path.name}.{word}-{stamp}")
    number = 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.{word}-{stamp}-{number}")
    try:
        for part in _PARTS:
            with contextlib.suppress(FileNotFoundError):
                Path(f"{path}{part}").rename(f"{target}{part}")
    except OSError as error:
        raise os_error(path, error) from None
    log.error("the state in %s cannot be used and is now %s; starting without it: %s", path, target.name, why)
    _remove_oldest(path)


def _remove_oldest(path: Path) -> None:
    """Keep no more damaged files than `BROKEN_KEPT`."""
    with contextlib.suppress(OSError):
        found = [file for file in path.parent.glob(f"{path.name}.broken-*") if not file.name.endswith(_PARTS[1:])]
        found.sort(key=lambda file: (file.stat().st_ctime_ns, file.name))
        for file in found[:-BROKEN_KEPT]:
            for part in _PARTS:
                Path(f"{file}{part}").unlink(missing_ok=True)


def os_error(path: Path, error: OSError) -> StoreError:
    """What an error of the operating system means for a store."""
    kind = StoreFull if error.errno in _NO_ROOM else StoreUnwritable
    return kind(f"{path}: {error.strerror}")
