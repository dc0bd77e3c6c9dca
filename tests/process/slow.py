"""Clients that take their time."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def dripping(clients: Sequence[socket.socket], drop: bytes, every_s: float = 0.1) -> Iterator[None]:
    """Each of `clients` sends so little now and then, the first at once, whether or not it was let go."""
    has_ended = threading.Event()

    def drip() -> None:
        while True:
            for client in clients:
                with contextlib.suppress(OSError):
                    client.send(drop)
            if has_ended.wait(every_s):
                return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()
