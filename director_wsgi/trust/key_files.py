"""Making and retiring the files of this director's keys.

Nothing here is called while the director serves: the first key is made when it starts, the others by
`director-wsgi keys`.
"""

import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from director_wsgi.errors import ConfigError
from director_wsgi.limits.deadline import WallClock, wall
from director_wsgi.trust.issuer import key_files

FIRST_NAME: Final = "issuer.pem"
"""Of the first key: always the same, so that of two processes that make it at once only one does."""

RETIRED: Final = ".retired"
"""Appended to the name of a file whose key is used no more."""

_END_OF_TIME: Final = 9_999_999_999
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class NameTaken(Exception):
    """There is a file of that name."""


def ensure_key(directory: Path | None, single: Path | None = None) -> Path | None:
    """Make a first key if there is none.

    Any number of processes may call this at once: all end up with the same key.

    Args:
        directory: `IssuerKeysDirectory`; made if it does not exist. None: no key is made.
        single: `IssuerKey`.

    Returns:
        The file of the new key; None if there was one already.

    Raises:
        ConfigError: There is none, and none can be made there.
    """
    if directory is None or key_files(directory, single):
        return None
    try:
        return _add(directory, FIRST_NAME)
    except NameTaken:
        return None
    except OSError as error:
        problem = (
            f"IssuerKeysDirectory: {directory}: there is no key yet, and none can be made there: {error.strerror}. "
            "Give the directory to the user that the director runs as (install -d -m 700 -o USER DIRECTORY), set "
            "IssuerKeysDirectory to another one, or set IssuerKey to the file of a private key in PEM form"
        )
        raise ConfigError((problem,)) from None


def add_key(directory: Path, *, wall: WallClock = wall) -> Path:
    """Make one more key whose file comes before all others, so that it will sign.

    Returns:
        Its file.

    Raises:
        NameTaken: A key has been made within this second.
        ConfigError: The directory cannot be read, or the name of some file comes before any that a new one would get.
        OSError: The file cannot be written.
    """
    name = f"0-issuer-{_END_OF_TIME - int(wall())}.pem"  # the later, the earlier by name
    first = next((file.name for _, file in key_files(directory)), None)
    if first is not None and first <= name:
        if first == name:
            raise NameTaken(name)
        problem = (
            f"IssuerKeysDirectory: {directory / first}: its name comes before that of the new key, which would be "
            f"{name}, so that one would never sign. Rename it, such as to 1-{first.lstrip('-.!#')}"
        )
        raise ConfigError((problem,))
    return _add(directory, name)


def retire_key(file: Path) -> Path:
    """Rename the file of a key so that it is neither published nor used.

    Returns:
        Its new name.

    Raises:
        NameTaken: One of that name was retired before.
        OSError: It cannot be renamed.
    """
    retired = file.with_name(file.name + RETIRED)
    if retired.exists():
        raise NameTaken(retired.name)
    return file.rename(retired)


def loose_permissions(directory: Path | None) -> str | None:
    """What is wrong with the permissions of the directory of the keys, as a sentence; None if nothing is."""
    try:
        mode = stat.S_IMODE(directory.stat().st_mode) if directory is not None else 0
    except OSError:
        return None
    if not mode & _OTHERS:
        return None
    return f"IssuerKeysDirectory: {directory}: others than its owner have access (mode {mode:04o}); expected 0700"


def _add(directory: Path, name: str) -> Path:
    """Write a new key in full before it has its name: who looks into the directory sees all of it or nothing.

    Raises:
        NameTaken: There is a file of that name.
        OSError: It cannot be written.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp makes it readable by its owner only.
    descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=".issuer-", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as writing:
            writing.write(_new_pem())
            writing.flush()
            _give_to_owner(writing.fileno(), directory)
            os.fsync(writing.fileno())
        file = directory / name
        try:
            os.link(temporary, file)  # unlike a rename, it takes no other file's place
        except FileExistsError:
            raise NameTaken(name) from None
    finally:
        Path(temporary).unlink()
    _sync(directory)
    return file


def _give_to_owner(descriptor: int, directory: Path) -> None:
    """What root makes belongs to the user whose directory it is, or the director could not read it."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _new_pem() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
