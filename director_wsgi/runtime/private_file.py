"""Small files that are this user's alone: written whole or not at all, and believed only if nobody else could write."""

import contextlib
import os
import stat
import tempfile
from pathlib import Path


def write(directory: Path, name: str, text: str) -> Path:
    """Put a file in the place of the one before; only its owner may read it.

    Args:
        directory: Where it is to lie; made if there is none.
        name: Its name there.
        text: What it is to hold.

    Returns:
        Where it lies.

    Raises:
        OSError: It cannot be written. The one before stays.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Nobody else may read it from the first moment on: mkstemp makes it 0600.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}-", dir=directory)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return Path(temporary).replace(directory / name)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def read(path: Path, max_bytes: int) -> bytes | None:
    """What a file holds; None if there is none, it is longer, or others could have read or written it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
                return None
            content = file.read(max_bytes + 1)
    except OSError:
        return None
    return content if len(content) <= max_bytes else None
