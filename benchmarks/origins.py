"""Origins that answer HEAD over TLS, hang and heal when told to, and count what they were asked.

Run as a child (`python -m benchmarks.origins`): all of them in one process and one thread, so that they take little of
the machine from what is measured. Which origins hold an object can be read off its path (`demo.scene.holder`). Orders
come as lines on standard input, each answered with one line; the process ends with its input.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.server import ServerFailedError, confined
from director_wsgi.demo.certificates import Authority, TlsFiles
from director_wsgi.demo.scene import holder
from director_wsgi.limits.deadline import monotonic

_BACKLOG = 512
_HAS = b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n"
_HAS_NOT = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


@dataclass(slots=True)
class Told:
    """What one origin tells of itself.

    Attributes:
        heads: HEADs that have come, answered or not.
        first_answer_at: When it first answered after it was last healed, on the machine's monotonic clock.
    """

    heads: int = 0
    first_answer_at: float | None = None


# -- the child


class _Origin:
    """One origin's state; used by the loop's thread only."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.told = Told()
        self.hangs = False
        self.delay_s = 0.0

    def answer(self, head: bytes, transport: asyncio.Transport) -> None:
        """Answer one request, at once, later or never."""
        self.told.heads += 1
        if self.hangs:
            return
        if self.told.first_answer_at is None:
            self.told.first_answer_at = monotonic()
        answer = _HAS if _is_held(head, self.number) else _HAS_NOT
        if self.delay_s:
            asyncio.get_running_loop().call_later(self.delay_s, _write, transport, answer)
        else:
            transport.write(answer)


def _write(transport: asyncio.Transport, answer: bytes) -> None:
    if not transport.is_closing():
        transport.write(answer)


def _is_held(head: bytes, number: int) -> bool:
    try:
        return holder(head.split(b" ", 2)[1].decode("latin-1")) == number
    except (ValueError, IndexError):
        return False


class _Connection(asyncio.Protocol):
    """One connection, kept alive."""

    def __init__(self, origin: _Origin) -> None:
        self._origin = origin
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *heads, self._received = (self._received + data).split(b"\r\n\r\n")
        for head in heads:
            self._origin.answer(head, self._transport)


def _obey(origins: list[_Origin], order: dict[str, Any]) -> Any:
    match order:
        case {"hang": number}:
            origins[number].hangs = True
        case {"heal": number}:
            # What came while it hung stays unanswered, as after a restart of the storage behind it.
            origins[number].told.first_answer_at = None
            origins[number].hangs = False
        case {"delay_s": delay_s}:
            for origin in origins:
                origin.delay_s = delay_s
    return [asdict(origin.told) for origin in origins]


async def _serve(number: int, files: TlsFiles) -> None:
    loop = asyncio.get_running_loop()
    origins = [_Origin(n) for n in range(number)]
    context = files.server_context()
    ports = []
    for origin in origins:
        server = await loop.create_server(partial(_Connection, origin), "127.0.0.1", 0, ssl=context, backlog=_BACKLOG)
        ports.append(server.sockets[0].getsockname()[1])
    print(json.dumps(ports), flush=True)
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        print(json.dumps(_obey(origins, json.loads(line))), flush=True)


def main() -> None:
    """Serve until the input ends."""
    number, certificate, key, ca = sys.argv[1:]
    files = TlsFiles(certificate=Path(certificate), key=Path(key), ca=Path(ca))
    asyncio.run(_serve(int(number), files))


# -- the parent


class Origins:
    """The origins in a child process of their own; made by `serving_origins`.

    Attributes:
        base_urls: Of the origins, in their order.
        ca_file: The authority that signed their certificates.
    """

    def __init__(self, child: "subprocess.Popen[str]", ca_file: Path) -> None:
        self._child = child
        self.ca_file = ca_file
        self.base_urls = [f"https://127.0.0.1:{port}" for port in self._read()]

    def hang(self, number: int) -> None:
        """From now on this origin takes questions and answers none."""
        self._order({"hang": number})

    def heal(self, number: int) -> None:
        """From now on it answers what it is asked."""
        self._order({"heal": number})

    def delay(self, seconds: float) -> None:
        """From now on every origin takes this long for an answer."""
        self._order({"delay_s": seconds})

    def told(self) -> list[Told]:
        """What the origins tell of themselves now."""
        return [Told(**one) for one in self._order({})]

    def _order(self, order: dict[str, object]) -> Any:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(order) + "\n")
            self._child.stdin.flush()
        except BrokenPipeError as error:
            raise ServerFailedError("the origins have ended") from error
        return self._read()

    def _read(self) -> Any:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise ServerFailedError("the origins have ended")
        return json.loads(line)


@contextmanager
def serving_origins(number: int, folder: Path, processors: set[int]) -> Iterator[Origins]:
    """This many origins on these processors, until the block ends.

    Args:
        number: How many.
        folder: An existing folder, for the certificates.
        processors: What they may run on.

    Raises:
        ServerFailedError: They did not come up.
    """
    files = Authority(folder).issue()
    command = [sys.executable, "-m", "benchmarks.origins", str(number)]
    with confined(processors):
        child = subprocess.Popen(
            [*command, str(files.certificate), str(files.key), str(files.ca)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    try:
        yield Origins(child, files.ca)
    finally:
        child.kill()
        child.communicate()


if __name__ == "__main__":
    main()
