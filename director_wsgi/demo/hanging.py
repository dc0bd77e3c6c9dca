"""Origins that answer HEAD at once, and hang when told to. Plain HTTP on loopback, all on one thread."""

import asyncio
import threading
from functools import partial
from types import TracebackType
from typing import Final, Self

from director_wsgi.demo.scene import holder
from director_wsgi.limits.deadline import Clock, monotonic

START_S: Final = 10.0
STOP_S: Final = 5.0
_BACKLOG: Final = 512
_POLL_S: Final = 0.02
_HAS: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n"
_HAS_NOT: Final = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_FAILURES = (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError)


class HangingOrigins:
    """Origin number n has the objects whose path says so. Listens from construction to `close`.

    An origin that hangs accepts connections, reads requests and never answers them; what it was sent while it hung
    stays unanswered when it is well again, as after a restart of the storage behind it.
    """

    def __init__(self, number: int, clock: Clock = monotonic) -> None:
        """Listen, each origin at a port of its own.

        Raises:
            OSError: There is no free port.
        """
        self._clock = clock
        self._hangs = [False] * number
        self._first_answer_at: list[float | None] = [None] * number
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="demo-origins", daemon=True)
        self._thread.start()
        try:
            starting = asyncio.run_coroutine_threadsafe(self._listen(), self._loop)
            self.ports = starting.result(START_S)
        except BaseException:
            self.close()
            raise

    def hang(self, which: int) -> None:
        """From now on this origin answers nothing."""
        self._hangs[which] = True

    def heal(self, which: int) -> None:
        """From now on it answers what it is asked."""
        self._first_answer_at[which] = None
        self._hangs[which] = False

    def first_answer_at(self, which: int) -> float | None:
        """When this origin first answered after it was healed, on the clock; None if it has not."""
        return self._first_answer_at[which]

    def close(self) -> None:
        """Stop listening, cut every connection, and end the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._end())
            self._loop.close()

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        # Cut off rather than cancelled, which asyncio's streams would log as an error: so each ends by itself. Again
        # and again, since some may only now be about to begin.
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.wait(tasks, timeout=_POLL_S)

    async def _listen(self) -> list[int]:
        for which in range(len(self._hangs)):
            serve = partial(self._serve, which)
            self._servers.append(await asyncio.start_server(serve, "127.0.0.1", 0, backlog=_BACKLOG))
        return [server.sockets[0].getsockname()[1] for server in self._servers]

    async def _serve(self, which: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if self._hangs[which]:
                    await reader.read()  # until the other side gives up
                    return
                self._first_answer_at[which] = self._first_answer_at[which] or self._clock()
                writer.write(_HAS if _is_held(head, which) else _HAS_NOT)
                await writer.drain()
        except _FAILURES:
            return
        finally:
            self._writers.discard(writer)
            writer.close()


def _is_held(head: bytes, which: int) -> bool:
    """Whether the object of a request's head is held by this origin."""
    try:
        return holder(head.split(b" ", 2)[1].decode("latin-1")) == which
    except (ValueError, IndexError):
        return False
