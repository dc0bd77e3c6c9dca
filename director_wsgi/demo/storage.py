"""A folder of objects: decoded object paths in, files out, and no way out of the folder."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from director_wsgi.demo.exchange import CHUNK_BYTES, BodyReader
from director_wsgi.demo.multistatus import Resource

NAME_BYTES = 255
"""The longest name of a file that Linux knows."""


class NotThereError(Exception):
    """There is no such object or collection."""


class IsCollectionError(Exception):
    """The path names a collection where an object is needed."""


class ConflictError(Exception):
    """The collection above is missing, or this one is not empty."""


class TooLargeError(Exception):
    """The object is larger than the storage takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenObject:
    """An object, open for reading; whoever gets it closes `file`."""

    file: BinaryIO
    resource: Resource


class Storage:
    """Objects in a folder. A write is seen whole or not at all; a reader keeps the bytes it began with."""

    def __init__(self, folder: Path, *, max_object_bytes: int = 1 << 30) -> None:
        """Lay the folder out; nothing that it already holds is touched.

        Args:
            folder: Its own; `objects` in it is what is served, `incoming` what is not complete yet.
            max_object_bytes: The largest object that `write` takes.
        """
        self._root = (folder / "objects").resolve()
        self._incoming = (folder / "incoming").resolve()
        self._max_object_bytes = max_object_bytes
        self._root.mkdir(parents=True, exist_ok=True)
        self._incoming.mkdir(exist_ok=True)

    def open(self, path: str) -> OpenObject:
        """Open an object.

        Raises:
            NotThereError: Or its path cannot be one.
            IsCollectionError: It is a collection.
        """
        file = self._local(path)
        try:
            opened = file.open("rb")
        except IsADirectoryError as error:
            raise IsCollectionError(path) from error
        except OSError as error:
            raise NotThereError(path) from error
        return OpenObject(file=opened, resource=_resource(path, os.fstat(opened.fileno()), is_collection=False))

    def look(self, path: str) -> Resource:
        """What an object or a collection is, without opening it.

        Raises:
            NotThereError: There is none.
        """
        file = self._local(path)
        try:
            return _resource(path, file.stat(), is_collection=file.is_dir())
        except OSError as error:
            raise NotThereError(path) from error

    def members(self, path: str) -> Iterator[Resource]:
        """What is directly in a collection, by name; nothing for an object."""
        folder = self._local(path)
        try:
            names = sorted(entry.name for entry in folder.iterdir())
        except OSError:
            return
        for name in names:
            # One that vanished meanwhile, or whose name is not UTF-8, is not listed.
            with contextlib.suppress(NotThereError, UnicodeEncodeError):
                name.encode()
                yield self.look(f"{path.rstrip('/')}/{name}")

    def write(self, path: str, body: BodyReader) -> bool:
        """Write an object, with the collections above it; whether it is a new one.

        Raises:
            NotThereError: Its path cannot be one.
            IsCollectionError: There is a collection of that name.
            ConflictError: A part of its path is an object.
            TooLargeError: It is; nothing has changed.
            OSError: Its body cannot be read; nothing has changed.
        """
        target = self._local(path)
        if target.is_dir():
            raise IsCollectionError(path)
        with tempfile.NamedTemporaryFile(dir=self._incoming, delete=False) as incoming:
            try:
                self._copy(body, incoming)
                incoming.close()
                return self._settle(Path(incoming.name), target)
            except BaseException:
                Path(incoming.name).unlink(missing_ok=True)
                raise

    def delete(self, path: str) -> None:
        """Remove an object, or a collection that is empty.

        Raises:
            NotThereError: There is none, or it is the root.
            ConflictError: The collection is not empty.
        """
        target = self._local(path)
        if target == self._root:
            raise NotThereError(path)
        try:
            target.unlink()
        except IsADirectoryError:
            try:
                target.rmdir()
            except OSError as error:
                raise ConflictError(path) from error
        except OSError as error:
            raise NotThereError(path) from error

    def make_collection(self, path: str) -> bool:
        """Make a collection; False if something of that name is there.

        Raises:
            NotThereError: Its path cannot be one.
            ConflictError: The collection above is missing.
        """
        try:
            self._local(path).mkdir()
        except FileExistsError:
            return False
        except OSError as error:
            raise ConflictError(path) from error
        return True

    def _local(self, path: str) -> Path:
        parts = [part for part in path.split("/") if part]
        if any(part in (".", "..") or len(part.encode()) > NAME_BYTES for part in parts):
            raise NotThereError(path)
        # Symbolic links that lead out of the folder are followed to their end, and refused there.
        try:
            local = self._root.joinpath(*parts).resolve()
        except (OSError, RuntimeError) as error:
            raise NotThereError(path) from error
        if not local.is_relative_to(self._root):
            raise NotThereError(path)
        return local

    def _copy(self, body: BodyReader, target: "tempfile._TemporaryFileWrapper[bytes]") -> None:
        size = 0
        while chunk := body.read(CHUNK_BYTES):
            size += len(chunk)
            if size > self._max_object_bytes:
                raise TooLargeError
            target.write(chunk)

    def _settle(self, incoming: Path, target: Path) -> bool:
        is_new = not target.exists()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            incoming.replace(target)
        except OSError as error:
            raise ConflictError(str(target.relative_to(self._root))) from error
        return is_new


def _resource(path: str, stat: os.stat_result, *, is_collection: bool) -> Resource:
    return Resource(
        path=path,
        is_collection=is_collection,
        length_bytes=0 if is_collection else stat.st_size,
        modified_at=stat.st_mtime,
        etag=f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"',
    )
