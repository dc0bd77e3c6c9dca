"""How the workers of a director tell each other what they count.

Each has a page in a folder that they share, and a socket beside it, which is its door bell. Whoever wants to know
rings at all doors; a worker whose bell rings writes its page anew and says so; then the pages are read. So what one
worker was ever told of another is in that one's page, whatever becomes of it: a worker that hangs, and one that has
ended, are told as they were last. No sum falls; one that does is to Prometheus one that began again at 0.

Nobody listens at the door of a worker that has ended. Whoever finds that adds its page to the one of all that have
ended. What it had counted since it was last asked is lost if it was killed; a worker that ends in order tells it.
"""

import contextlib
import logging
import os
import select
import selectors
import socket
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.runtime.page_folder import PageFolder
from director_wsgi.runtime.pages import Family, Page, Server

GRACE_S: Final = 0.5
"""So much longer than one's own page may those of others take. That of a worker that hangs does not come at all."""

OWN_S: Final = 5.0
"""How long one's own page may take."""

MAX_ASKING: Final = 64
"""Who may wait at a door at the same time."""

SHORTAGE_PAUSE_S: Final = 0.1
"""Until the next try, if a connection cannot be taken."""

_DONE: Final = b"1"
_NOT_DONE: Final = b"0"

log = logging.getLogger(__name__)

Tell = Callable[[], Iterable[Family]]
"""Says what this worker counts, now. Must not wait."""


class Siblings:
    """One worker's door, and its way to the others'. Any number of threads may `gather`.

    Args:
        folder: That they share; made if need be, with its parent there.
        holder: Name of this process, as no other is called; fit for a file's name.
        clock: Monotonic seconds.
    """

    # The thread alone writes the page and `_last`, so that none ever replaces a newer one.

    def __init__(self, folder: Path, holder: str, *, clock: Clock = monotonic) -> None:
        self._place = folder
        self._holder = holder
        self._clock = clock
        self._tell: Tell = tuple
        self._folder: PageFolder | None = None
        self._last: Page | None = None
        self._has_ended = False
        self._wake, self._woken = -1, threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self, tell: Tell) -> None:
        """Begin to answer. If the folder cannot be used, nobody hears of this worker, nor it of others."""
        self._tell = tell
        try:
            folder = PageFolder(self._place)
            listener = _listen(str(folder.bell(self._holder)))
            self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        except OSError as error:
            log.warning("/metrics tells of one worker only: %s: %s", self._place, error.strerror or error)
            return
        # Only now: a page without a bell is that of a worker that has ended.
        folder.write(self._holder, Page(worker=str(os.getpid()), families={}))
        self._folder = folder
        arguments = folder, listener
        self._thread = threading.Thread(target=self._run, args=arguments, name="director-metrics", daemon=True)
        self._thread.start()

    def stop(self, deadline: Deadline) -> bool:
        """Tell for the last time, and close the door. Harmless if never started.

        Returns:
            Whether that is done by the deadline.
        """
        if self._thread is None:
            return True
        with self._woken:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)
        self._thread.join(deadline.remaining_s())
        return not self._thread.is_alive()

    def gather(self, advertised: Collection[Server] | None) -> list[Page]:
        """The pages of all workers, and of those that have ended, as new as possible; none once this one has ended.

        Takes as long as this worker takes for its own, and as the slowest does if that is not `GRACE_S` longer.

        Args:
            advertised: What is kept of other servers is given up; None: nothing is.
        """
        if self._has_ended:
            return []
        folder = self._folder
        if folder is None:
            return [self._fresh()]
        holders = sorted({*folder.holders(), self._holder})
        heard, gone = _Round(folder, self._holder, self._clock).ring(holders)
        pages = {holder: page for holder in holders if (page := self._page(folder, holder, is_live=holder in heard))}
        ended = folder.ended()  # last: see `page_folder`
        if gone or ended.tells_of_strays(advertised):
            folder.keep(gone, advertised)
        return [*(page for holder, page in pages.items() if holder not in ended.kept), ended]

    def _page(self, folder: PageFolder, holder: str, *, is_live: bool) -> Page | None:
        if holder == self._holder:
            return self._last if is_live and self._last is not None else self._fresh()
        page = folder.read(holder)
        return None if page is None else replace(page, is_live=is_live)

    def _fresh(self) -> Page:
        return Page(worker=str(os.getpid()), families={family.name: family for family in self._tell()})

    # -- the thread

    def _run(self, folder: PageFolder, listener: socket.socket) -> None:
        bell = select.poll()
        for descriptor in (listener.fileno(), self._wake):
            bell.register(descriptor, select.POLLIN)
        while self._wake not in [descriptor for descriptor, _ in bell.poll()]:
            with contextlib.ExitStack() as stack:
                asking = [stack.enter_context(one) for one in _accepted(listener)]
                word = _DONE if self._renew(folder) else _NOT_DONE
                for one in asking:
                    with contextlib.suppress(OSError):  # whoever asked does not wait any more
                        one.send(word)
        self._renew(folder)
        self._has_ended = True  # before somebody can find the door closed
        listener.close()
        with contextlib.suppress(OSError):
            folder.bell(self._holder).unlink()
        with self._woken:
            os.close(self._wake)
            self._wake = -1

    def _renew(self, folder: PageFolder) -> bool:
        """Write the page anew; whether it could be."""
        try:
            page = self._fresh()
        except Exception:  # the next time may be better; without this thread nobody would hear of the worker
            log.exception("Cannot say what this worker counts")
            return False
        is_written = folder.write(self._holder, page)
        self._last = page  # in this order: what is told is written
        return is_written


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        listener.listen(MAX_ASKING)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _accepted(listener: socket.socket) -> list[socket.socket]:
    """Everybody who waits at the door now."""
    found: list[socket.socket] = []
    while len(found) < MAX_ASKING:
        try:
            accepted, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            break
        except OSError:  # there is nothing to hold it with
            threading.Event().wait(SHORTAGE_PAUSE_S)
            break
        accepted.setblocking(False)
        found.append(accepted)
    return found


class _Round:
    """One ringing at all doors; belongs to the thread that does it."""

    def __init__(self, folder: PageFolder, own: str, clock: Clock) -> None:
        self._folder = folder
        self._own = own
        self._clock = clock
        self._heard: set[str] = set()
        self._gone: set[str] = set()

    def ring(self, holders: Iterable[str]) -> tuple[set[str], set[str]]:
        """Ring, and wait.

        Returns:
            Who has written a new page, and who has ended.
        """
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:  # no descriptors: nobody is heard
            waiting = stack.enter_context(selectors.DefaultSelector())
            for holder in holders:
                caller = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                caller.setblocking(False)
                if self._reaches(caller, holder):
                    waiting.register(caller, selectors.EVENT_READ, holder)
            self._wait(waiting, OWN_S, lambda left: self._own in left)
            self._wait(waiting, GRACE_S, bool)
        return self._heard, self._gone

    def _reaches(self, caller: socket.socket, holder: str) -> bool:
        try:
            caller.connect(str(self._folder.bell(holder)))
        except (ConnectionRefusedError, FileNotFoundError):
            if holder != self._own:
                self._gone.add(holder)
            return False
        except OSError:  # too many wait at its door
            return False
        return True

    def _wait(self, waiting: selectors.BaseSelector, at_most_s: float, goes_on: Callable[[set[str]], bool]) -> None:
        deadline = Deadline.after(at_most_s, self._clock)
        left = {key.data for key in waiting.get_map().values()}
        while goes_on(left) and not deadline.has_passed():
            for key, _ in waiting.select(deadline.remaining_s()):
                waiting.unregister(key.fileobj)
                left.discard(key.data)
                with contextlib.suppress(OSError):
                    if key.fileobj.recv(1) == _DONE:  # type: ignore[union-attr]
                        self._heard.add(key.data)
