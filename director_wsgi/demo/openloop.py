"""Open-loop load: every request is sent at its instant, whether or not earlier ones have been answered.

That is how jobs arrive. A generator that waits for answers before it asks again asks a hung server less, and so
measures a hang as if it were a pause (coordinated omission); here latency counts from the instant that was scheduled.

Run as a child (`python -m director_wsgi.demo.openloop`), so that the load shares no interpreter with what it measures:
an order as one JSON document on standard input, the answers as one on standard output.
"""

import asyncio
import json
import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Final, Self

from director_wsgi.demo.scene import Arrival

TIMED_OUT: Final = "timed out"
CUT_OFF: Final = "cut off"
MALFORMED: Final = "malformed"

END_S: Final = 20.0
"""How long the child may take beyond the last request's timeout; it may be slow to write, not to wait."""

_OPEN_FILES = 8192
_LOCATION = re.compile(rb"\r\nlocation: *([^\r\n]*)\r\n", re.IGNORECASE)


class LoadFailedError(Exception):
    """The load generator ended without its answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to ask for.

    Attributes:
        port: Where the server listens, on 127.0.0.1.
        starts_at: The instant that arrivals are counted from, in seconds of the machine's monotonic clock.
        timeout_s: When a client gives up, counted from its scheduled instant.
    """

    port: int
    starts_at: float
    timeout_s: float
    arrivals: Sequence[Arrival]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request.

    Attributes:
        status: Of the answer; 0 if there was none.
        latency_s: From the scheduled instant to the end of the answer's head, or to giving up.
        location: Where it sends the client; empty if nowhere.
        failure: `TIMED_OUT`, `CUT_OFF`, `MALFORMED`, or empty.
        lateness_s: By how much the generator itself sent it too late.
    """

    status: int
    latency_s: float
    location: str = ""
    failure: str = ""
    lateness_s: float = 0.0


class Load:
    """The generator in a child process of its own, which begins at once; ended by `__exit__` at the latest."""

    def __init__(self, order: Order) -> None:
        self._last_s = order.arrivals[-1].at_s + order.timeout_s if order.arrivals else 0.0
        self._child = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            assert self._child.stdin is not None
            self._child.stdin.write(json.dumps(asdict(order)))
            self._child.stdin.close()
            self._child.stdin = None
        except BaseException:
            self._end()
            raise

    def has_ended(self) -> bool:
        """Whether the child is not running any more; as long as it has answers to write, it runs."""
        return self._child.poll() is not None

    def outcomes(self) -> list[Outcome]:
        """What became of the requests, in the order of the arrivals; waits for the last one.

        Raises:
            LoadFailedError: The child ended without an answer, or did not end.
        """
        try:
            written, _ = self._child.communicate(timeout=self._last_s + END_S)
            return [Outcome(*row) for row in json.loads(written)]
        except (subprocess.TimeoutExpired, ValueError) as error:
            raise LoadFailedError(f"the load generator failed, with status {self._child.poll()}") from error

    def _end(self) -> None:
        self._child.kill()
        self._child.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()


async def run(order: Order) -> list[Outcome]:
    """Make every request of an order in this process; what became of them, in the same order."""
    clock = asyncio.get_running_loop().time  # the monotonic clock, one for all processes of a machine
    asked = []
    for arrival in order.arrivals:
        scheduled_at = order.starts_at + arrival.at_s
        await asyncio.sleep(max(0.0, scheduled_at - clock()))
        lateness_s = max(0.0, clock() - scheduled_at)
        asked.append(asyncio.create_task(_ask(order, arrival.target, scheduled_at, lateness_s)))
    return list(await asyncio.gather(*asked))


async def _ask(order: Order, target: str, scheduled_at: float, lateness_s: float) -> Outcome:
    clock = asyncio.get_running_loop().time
    writer = None
    try:
        async with asyncio.timeout_at(scheduled_at + order.timeout_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", order.port)
            writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
        latency_s = clock() - scheduled_at
        return _read(head, latency_s, lateness_s)
    except TimeoutError:
        return Outcome(0, clock() - scheduled_at, failure=TIMED_OUT, lateness_s=lateness_s)
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return Outcome(0, clock() - scheduled_at, failure=CUT_OFF, lateness_s=lateness_s)
    finally:
        if writer is not None:
            writer.close()


def _read(head: bytes, latency_s: float, lateness_s: float) -> Outcome:
    """The outcome that an answer's head tells of."""
    words = head.split(b" ", 2)
    if len(words) < 3 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        return Outcome(0, latency_s, failure=MALFORMED, lateness_s=lateness_s)
    found = _LOCATION.search(head)
    location = found[1].decode("latin-1").strip() if found else ""
    return Outcome(int(words[1]), latency_s, location=location, lateness_s=lateness_s)


def _parse(written: dict[str, Any]) -> Order:
    return Order(**{**written, "arrivals": [Arrival(**arrival) for arrival in written["arrivals"]]})


def main() -> None:
    """Obey one order."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    outcomes = asyncio.run(run(_parse(json.load(sys.stdin))))
    json.dump([(o.status, o.latency_s, o.location, o.failure, o.lateness_s) for o in outcomes], sys.stdout)


if __name__ == "__main__":
    main()
