"""Where a thread that must not wait leaves what takes a while, and fetches it when it is done."""

import contextlib
import queue
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from director_wsgi.limits.deadline import Deadline

K = TypeVar("K")
V = TypeVar("V")


class Desk(Generic[K, V]):
    """Does one thing after the other, on a thread of its own. Holds as much as it is given: whoever gives bounds that.

    Args:
        name: Of the thread.

    Attributes:
        bell: Readable when something is done; for a selector. There from `start` on, and closed by whoever uses the
            desk, when that is over.
    """

    bell: socket.socket
    _rings: socket.socket

    def __init__(self, name: str) -> None:
        self._wanted: queue.SimpleQueue[tuple[K, Callable[[], V]] | None] = queue.SimpleQueue()
        self._done: deque[tuple[K, V]] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin.

        Raises:
            OSError: There are no descriptors left.
        """
        self.bell, self._rings = socket.socketpair()
        for end in (self.bell, self._rings):
            end.setblocking(False)
        self._thread.start()

    def put(self, key: K, make: Callable[[], V]) -> None:
        """Have something made; does not wait.

        Args:
            key: To know it by.
            make: Must not raise.
        """
        self._wanted.put((key, make))

    def done(self) -> list[tuple[K, V]]:
        """What has been made since the last time; does not wait."""
        with contextlib.suppress(BlockingIOError):
            while self.bell.recv(64):
                pass
        return [self._done.popleft() for _ in range(len(self._done))]

    def stop(self, deadline: Deadline) -> bool:
        """Begin nothing more.

        Returns:
            Whether what was being made is made by the deadline.
        """
        self._stopping.set()
        self._wanted.put(None)
        if self._thread.ident is not None:
            self._thread.join(deadline.remaining_s())
        return not self._thread.is_alive()

    def _run(self) -> None:
        with self._rings:
            while (wanted := self._wanted.get()) is not None and not self._stopping.is_set():
                key, make = wanted
                self._done.append((key, make()))
                with contextlib.suppress(OSError):  # it is ringing already, or nobody is there any more
                    self._rings.send(b"1")
