"""A closed load: many connections, each of which asks again as soon as it has its answer.

For what is not about latency: how much the machine can do, and how many HEADs a flock costs. Run as a child
(`python -m benchmarks.stats_flock`): an order as one JSON document on standard input, what came of it on standard
output.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle

from benchmarks.load import WrongAnswerError
from benchmarks.server import confined
from director_wsgi.demo.scene import holder

ANSWER_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to ask for.

    Attributes:
        port: Where the server listens, on 127.0.0.1.
        connections: How many at once.
        targets: Asked for in this order, over and over, by whichever connection is free.
        requests: How many in total.
        keep_alive: Whether a connection serves more than one request.
        each: How many requests one kept-alive connection is used for.
        at_most_s: No request is sent later than this after the first.
        base_urls: Of the origins, in their order, so that it can be told who was led to one that has the object.
    """

    port: int
    connections: int
    targets: Sequence[str]
    requests: int
    keep_alive: bool = True
    each: int = 1
    at_most_s: float = 60.0
    base_urls: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of it.

    Attributes:
        statuses: How often each status was answered; 0 for a connection that was closed without an answer.
        led_to_holder: How many answers named a server first that has the object.
        lasted_s: From the first request to the last answer.
    """

    statuses: dict[int, int]
    led_to_holder: int
    lasted_s: float

    @property
    def answers(self) -> int:
        """Requests that were answered."""
        return sum(times for status, times in self.statuses.items() if status)


class _Flock:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._targets: Iterator[str] = cycle(order.targets)
        self._left = order.requests
        self.statuses: Counter[int] = Counter()
        self.led_to_holder = 0

    async def run(self) -> None:
        self._until = time.monotonic() + self._order.at_most_s
        await asyncio.gather(*(self._member() for _ in range(self._order.connections)))

    async def _member(self) -> None:
        while self._may_go_on():
            with contextlib.suppress(OSError):
                await self._connection()

    def _may_go_on(self) -> bool:
        return self._left > 0 and time.monotonic() < self._until

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._order.port)
        try:
            for _ in range(self._order.each if self._order.keep_alive else 1):
                if not self._may_go_on():
                    return
                self._left -= 1
                status, is_kept = await self._ask(reader, writer)
                self.statuses[status] += 1
                if not is_kept:
                    return
        finally:
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bool]:
        """The status, and whether the connection may be used again."""
        close = "" if self._order.keep_alive else "Connection: close\r\n"
        target = next(self._targets)
        writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{close}\r\n".encode())
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                at = head.index(b"\r\ncontent-length:") + 17
                await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
        except (OSError, EOFError, ValueError, TimeoutError):
            return 0, False
        if self._order.base_urls:
            self.led_to_holder += f"\r\nlocation: {self._order.base_urls[holder(target)]}/".encode() in head
        return int(head.split(b" ", 2)[1]), b"\r\nconnection: close\r\n" not in head


def run(order: Order, processors: set[int]) -> Done:
    """Have it asked for, by a child process on these processors.

    Raises:
        WrongAnswerError: The child failed.
    """
    with confined(processors):
        child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.stats_flock"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    try:
        written, _ = child.communicate(json.dumps(asdict(order)), timeout=order.at_most_s + ANSWER_TIMEOUT_S + 10)
        told = json.loads(written)
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise WrongAnswerError("the load generator failed") from error
    finally:
        child.kill()
        child.communicate()
    told["statuses"] = {int(status): times for status, times in told["statuses"].items()}
    return Done(**told)


def main() -> None:
    """Obey one order."""
    flock = _Flock(Order(**json.load(sys.stdin)))
    began_at = time.monotonic()
    asyncio.run(flock.run())
    lasted_s = time.monotonic() - began_at
    json.dump({"statuses": flock.statuses, "led_to_holder": flock.led_to_holder, "lasted_s": lasted_s}, sys.stdout)


if __name__ == "__main__":
    main()
