"""A line that nobody reads is lost after a moment, told of later, and holds up nobody."""

import io
import logging
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from director_wsgi.runtime import outlet
from director_wsgi.runtime.outlet import Outlet
from tests.descriptors import open_files
from tests.fakes import FakeClock

LINE = "a line of the log, of no great length\n"
LONG = f"{'x' * 65_000}\n"


class Sink:
    """Something to write to, whose reader reads when told to."""

    def __init__(self, kind: str, stack: ExitStack) -> None:
        if kind == "socket":
            ours, theirs = socket.socketpair()
            stack.callback(theirs.close)
            self._reader, self.descriptor = ours.detach(), theirs.fileno()
        else:
            self._reader, self.descriptor = os.openpty() if kind == "terminal" else os.pipe()
            stack.callback(os.close, self.descriptor)
        stack.callback(self.leave)
        os.set_blocking(self._reader, False)

    def read(self) -> str:
        """All that was written and not read yet."""
        parts = []
        with suppress(BlockingIOError):
            while part := os.read(self._reader, 1 << 16):
                parts.append(part)
        return b"".join(parts).decode().replace("\r\n", "\n")

    def leave(self) -> None:
        """The reader closes its end."""
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1


@pytest.fixture(params=["pipe", "socket", "terminal"])
def sink(request: pytest.FixtureRequest) -> Iterator[Sink]:
    with ExitStack() as stack:
        yield Sink(request.param, stack)


@pytest.fixture
def pipe() -> Iterator[Sink]:
    with ExitStack() as stack:
        yield Sink("pipe", stack)


def tell(lines: int) -> str:
    return f"{lines} lost\n"


def fill(out: Outlet, line: str = LINE) -> int:
    """Write until one line is lost; how many are not."""
    written = 0
    while out.lost == 0:
        out.write(line)
        written += 1
        assert written < 100_000
    return written - 1


def test_what_is_read_arrives_in_order(sink: Sink) -> None:
    out = Outlet(sink.descriptor, tell)
    for number in range(3):
        assert out.write(f"{number}\n") == 2
        out.flush()
    assert (sink.read(), out.lost) == ("0\n1\n2\n", 0)


def test_what_nobody_reads_is_lost_and_told_of_once_somebody_reads_again(sink: Sink) -> None:
    out = Outlet(sink.descriptor, tell)
    kept = fill(out)
    for _ in range(1000):
        out.write(LINE)
    assert out.lost == 1001
    first = sink.read()
    out.write("again\n")
    out.write("and again\n")
    assert first + sink.read() == LINE * kept + "1001 lost\nagain\nand again\n"
    assert out.lost == 1001


def test_a_reader_that_is_slow_does_not_set_the_pace(pipe: Sink) -> None:
    """However much room there is now and then, lines wait once in a while."""
    clock = FakeClock()
    out = Outlet(pipe.descriptor, tell, clock)
    waits: list[float] = []
    room = out._room
    out._room = SimpleNamespace(poll=lambda ms: waits.append(ms) or (room.poll(0) if ms == 0 else []))  # type: ignore[assignment]
    fill(out)
    assert waits[-1] == pytest.approx(outlet.PATIENCE_S * 1000)
    for _ in range(10):
        pipe.read()
        waits.clear()
        lost = out.lost
        while out.lost == lost:
            out.write(LINE)
        assert set(waits) == {0.0}
    clock.advance(outlet.REST_S)
    out.write(LINE)
    assert waits[-1] == pytest.approx(outlet.PATIENCE_S * 1000)


def test_a_line_that_was_begun_is_ended_before_the_next(sink: Sink) -> None:
    out = Outlet(sink.descriptor, tell)
    fill(out, LONG)
    read = sink.read()
    while out.write("end\n") and (more := sink.read()):
        read += more
        if read.endswith("end\n"):
            break
    assert set(read.splitlines()) == {LONG.strip(), f"{out.lost} lost", "end"}


def test_what_is_left_of_a_line_is_written_as_soon_as_there_is_room(pipe: Sink) -> None:
    """The last line of a process has none behind it."""
    out = Outlet(pipe.descriptor, tell)
    first, last = f"{'x' * 60_000}\n", f"{'y' * 9_000}\n"
    out.write(first)
    out.write(last)  # there is room for a part of it
    read = pipe.read()
    assert read != first + last
    out.flush()
    assert read + pipe.read() == first + last
    assert out.lost == 0


def test_a_child_does_not_end_what_its_parent_began(pipe: Sink) -> None:
    out = Outlet(pipe.descriptor, tell)
    out.write(LONG + LONG)
    pipe.read()
    out.begin_anew()
    out.flush()
    assert pipe.read() == ""


def test_several_handlers_may_write_at_once(pipe: Sink) -> None:
    out = Outlet(pipe.descriptor, tell)
    handlers = [logging.StreamHandler(out) for _ in range(4)]  # type: ignore[type-var]

    def write(handler: logging.Handler) -> None:
        for _ in range(200):
            handler.handle(logging.makeLogRecord({"msg": "x" * 200}))

    with ThreadPoolExecutor(4) as pool:
        ended = [pool.submit(write, handler) for handler in handlers]
        read = ""
        while not all(one.done() for one in ended):
            read += pipe.read()
        for one in ended:
            one.result()
    assert set((read + pipe.read()).splitlines()) - {f"{number} lost" for number in range(900)} == {"x" * 200}


def test_others_who_write_there_as_well_go_on_to_wait(pipe: Sink) -> None:
    """What they do not expect is an error instead."""
    fill(Outlet(pipe.descriptor, tell))
    assert os.get_blocking(pipe.descriptor)


@pytest.mark.parametrize("line", [LINE, LONG])
def test_a_pipe_of_another_user_is_written_to_as_it_is(pipe: Sink, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    def refuse(path: str, *_: object) -> int:
        raise PermissionError(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        out = Outlet(pipe.descriptor, tell)
    fill(out, line)
    out.write(line)
    read = pipe.read()
    out.write("end\n")
    assert (read + pipe.read()).endswith(f"{out.lost} lost\nend\n")


def test_a_reader_that_has_gone_raises_nothing(sink: Sink) -> None:
    out = Outlet(sink.descriptor, tell)
    out.write(LINE)
    sink.leave()
    for _ in range(3):
        out.write(LINE)
    assert out.lost == 3


def test_a_full_disk_raises_nothing() -> None:
    with Path("/dev/full").open("wb") as full:
        out = Outlet(full.fileno(), tell)
        out.write(LINE)
    assert out.lost == 1


def test_what_cannot_be_encoded_is_written_all_the_same(pipe: Sink) -> None:
    Outlet(pipe.descriptor, tell).write("a\udcff\n")
    assert pipe.read() == "a\\udcff\n"


def test_a_child_tells_of_its_own_losses_only(pipe: Sink) -> None:
    out = Outlet(pipe.descriptor, tell)
    fill(out)
    out.begin_anew()
    pipe.read()
    out.write("of the child\n")
    assert (pipe.read(), out.lost) == ("of the child\n", 0)


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch, pipe: Sink) -> Callable[[int], io.TextIOWrapper]:
    """Makes text streams to the pipe that say that they are of this descriptor."""
    monkeypatch.setattr(outlet, "_standard", {})
    monkeypatch.setattr(outlet, "Outlet", lambda _number, tell: Outlet(pipe.descriptor, tell))

    class Stream(io.TextIOWrapper):
        number: int

        def fileno(self) -> int:
            return self.number

    def make(number: int) -> io.TextIOWrapper:
        stream = Stream(io.BytesIO())
        stream.number = number
        return stream

    return make


def test_handlers_of_standard_output_and_error_get_one_outlet_each(
    streams: Callable[[int], io.TextIOWrapper], pipe: Sink
) -> None:
    files = []
    for _ in range(3):  # a reload makes new handlers
        handlers = [logging.StreamHandler(streams(number)) for number in (1, 2, 2)]
        outlet.fit(handlers, tell)
        outlet.fit(handlers, tell)
        seen = {id(handler.stream) for handler in handlers}
        assert len(seen) == 2
        files.append(open_files())
    assert max(files) == files[0]
    handlers[0].emit(logging.makeLogRecord({"msg": "hello"}))
    assert pipe.read() == "hello\n"
    assert outlet.lost() == 0


def test_other_handlers_stay_as_they_are(streams: Callable[[int], io.TextIOWrapper]) -> None:
    class Own(logging.StreamHandler):  # type: ignore[type-arg]
        pass

    closed = io.TextIOWrapper(io.BytesIO())
    closed.close()
    handlers = [
        Own(streams(2)),
        logging.StreamHandler(streams(7)),
        logging.StreamHandler(io.StringIO()),
        logging.StreamHandler(io.TextIOWrapper(io.BytesIO())),
        logging.StreamHandler(closed),
        logging.NullHandler(),
    ]
    before = [getattr(handler, "stream", None) for handler in handlers]
    outlet.fit(handlers, tell)
    assert [getattr(handler, "stream", None) for handler in handlers] == before
