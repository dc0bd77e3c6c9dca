"""The folder in which the workers of a director leave their pages, and the one of those that have ended.

A page is replaced by renaming, and whoever reads it reads the one of those that have ended after it: a page that is
added to that one is told there to have been added. So nothing counts twice and nothing is missed, without a lock.
"""

import contextlib
import fcntl
import logging
import os
import weakref
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from director_wsgi.runtime.pages import NOBODY, Page, Server, decode, encode, kept

_PAGE: Final = ".page"
_BELL: Final = ".bell"
_NEW: Final = ".new"
_LOCK: Final = ".lock"
_ENDED: Final = "ended"
_BUFFER_BYTES: Final = 1 << 20

log = logging.getLogger(__name__)


class PageFolder:
    """The folder as it was found: another one that is made in its place later is another one. For any thread.

    Raises:
        OSError: There is none, and none can be made.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, descriptor)  # not before the last thread that uses it is through
        # Short as well: of a socket's path the kernel takes 107 bytes.
        self._path = Path(f"/proc/self/fd/{descriptor}")
        self._known: tuple[tuple[int, int, int], Page] | None = None
        self._warned: set[str] = set()

    def bell(self, holder: str) -> Path:
        """Where a worker's socket is."""
        return self._path / f"{holder}{_BELL}"

    def holders(self) -> list[str]:
        """Whose pages there are."""
        try:
            names = [path.name for path in self._path.iterdir()]
        except OSError:
            return []
        return sorted({name.removesuffix(_PAGE) for name in names if name.endswith(_PAGE)} - {_ENDED})

    def write(self, holder: str, page: Page) -> bool:
        """Replace a worker's page; whether that was possible. One thread at a time for each."""
        try:
            self._write(holder, page)
        except OSError as error:
            self._warn("Other workers cannot be told what this one counts", error)
            return False
        return True

    def read(self, holder: str) -> Page | None:
        """A worker's page, as of one that has ended; None if there is none any more, or none that can be read."""
        try:
            return decode(self._file(holder, _PAGE).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._warn("What a worker counts cannot be read", error)
            return None

    def ended(self) -> Page:
        """What is kept of the workers that have ended."""
        try:
            found = self._file(_ENDED, _PAGE).stat()
        except OSError:
            return NOBODY
        which = found.st_dev, found.st_ino, found.st_mtime_ns
        known = self._known
        if known is not None and known[0] == which:
            return known[1]
        page = self.read(_ENDED) or NOBODY
        self._known = which, page
        return page

    def keep(self, gone: Collection[str], advertised: Collection[Server] | None) -> None:
        """Add the pages of workers that have ended; if another process is at it, nothing, and the next time will do.

        Args:
            gone: Their names; they write no more.
            advertised: As for `pages.kept`.
        """
        try:
            with self._locked():
                ended = self.ended()
                last = {name: page for name in gone if name not in ended.kept and (page := self.read(name))}
                self._write(_ENDED, kept(ended, last, advertised))
                for name in gone:
                    for suffix in (_BELL, _NEW, _PAGE):
                        self._file(name, suffix).unlink(missing_ok=True)
        except BlockingIOError:
            pass
        except OSError as error:
            self._warn("What workers had counted that have ended cannot be kept together", error)

    def _file(self, name: str, suffix: str) -> Path:
        return self._path / f"{name}{suffix}"

    def _write(self, name: str, page: Page) -> None:
        new = self._file(name, _NEW)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with os.fdopen(os.open(new, flags, 0o600), "wb", buffering=_BUFFER_BYTES) as file:
                file.writelines(encode(page))
            new.rename(self._file(name, _PAGE))
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink()
            raise

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        lock = os.open(self._file(_ENDED, _LOCK), flags, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(lock)

    def _warn(self, text: str, error: Exception) -> None:
        if text not in self._warned:  # once: the same would be said at each scrape
            self._warned.add(text)
            log.warning("%s: %s", text, error)
