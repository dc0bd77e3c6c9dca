"""The copies a cache holds: files in a folder, bounded in bytes and in number; the least recently used go first."""

import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from director_wsgi.demo.multistatus import Resource
from director_wsgi.demo.storage import OpenObject
from director_wsgi.limits.deadline import Clock, monotonic

Key = tuple[str, str]
"""Object path, and a digest of the token it was fetched with: a copy is for those who may read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One copy, described as the origin described it.

    Attributes:
        stored_at: Instant on the clock of `Copies`.
    """

    file: Path
    resource: Resource
    stored_at: float


class Copies:
    """Safe to use from many threads. A copy that is being sent stays readable after it has gone from here."""

    def __init__(
        self, folder: Path, *, max_bytes: int = 2 << 30, max_copies: int = 10_000, clock: Clock = monotonic
    ) -> None:
        """Hold copies in `folder`, which is the cache's own and is made if need be."""
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._max_bytes = max_bytes
        self._max_copies = max_copies
        self._clock = clock
        self._lock = threading.Lock()
        self._copies: OrderedDict[Key, Copy] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        with self._lock:
            return len(self._copies)

    def __contains__(self, key: Key) -> bool:
        with self._lock:
            return key in self._copies

    def open(self, key: Key) -> tuple[OpenObject, int] | None:
        """A copy, open for reading, and its age in whole seconds; None if there is none."""
        with self._lock:
            copy = self._copies.get(key)
            if copy is None:
                return None
            self._copies.move_to_end(key)
        try:
            file = copy.file.open("rb")
        except OSError:
            self.forget(key)
            return None
        return OpenObject(file=file, resource=copy.resource), int(self._clock() - copy.stored_at)

    def store(self, key: Key, resource: Resource, chunks: Iterable[bytes]) -> None:
        """Take a copy; it can be had once all of it is here.

        Raises:
            OSError: The bytes are not as many as `resource` says, or cannot be written. Nothing has changed.
        """
        file = self._folder / uuid.uuid4().hex
        try:
            _write(file, chunks, resource.length_bytes)
        except BaseException:
            file.unlink(missing_ok=True)
            raise
        self._take(key, Copy(file=file, resource=resource, stored_at=self._clock()))

    def forget(self, key: Key) -> None:
        """Remove a copy, if it is there."""
        with self._lock:
            removed = self._remove(key)
        _unlink(removed)

    def _take(self, key: Key, copy: Copy) -> None:
        with self._lock:
            removed = self._remove(key)
            self._copies[key] = copy
            self._bytes += copy.resource.length_bytes
            while len(self._copies) > 1 and (self._bytes > self._max_bytes or len(self._copies) > self._max_copies):
                removed += self._remove(next(iter(self._copies)))
        _unlink(removed)

    def _remove(self, key: Key) -> list[Path]:
        copy = self._copies.pop(key, None)
        if copy is None:
            return []
        self._bytes -= copy.resource.length_bytes
        return [copy.file]


def _write(file: Path, chunks: Iterable[bytes], length: int) -> None:
    with file.open("xb") as target:
        for chunk in chunks:
            target.write(chunk)
        if target.tell() != length:
            raise OSError("the copy is not as long as the object")


def _unlink(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
