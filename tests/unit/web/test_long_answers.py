"""Laws of long answers: how many at once, how long, and that nothing of them is left."""

from collections.abc import Iterator
from typing import Any

import pytest

from director_wsgi.limits.lanes import Lanes
from director_wsgi.web.addresses import TrustedProxies
from director_wsgi.web.long_answers import LONGEST_S, SHORT_BYTES, LongAnswers, share_of
from tests.fakes import FakeClock

LONG = bytes(3 * SHORT_BYTES)


class Body:
    """What an application returns."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts
        self.is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.parts)

    def close(self) -> None:
        self.is_closed = True


class World:
    """An application behind the middleware, and what a server sees of it."""

    def __init__(self, permits: int = 1) -> None:
        self.clock = FakeClock()
        self.lanes = Lanes(permits)
        self.body = Body(LONG)
        self.headers = [("Content-Type", "text/plain")]
        self.status = ""
        self.seen: list[tuple[str, str]] = []
        self.fails = False

        def app(_environ: Any, start: Any) -> Body:
            start("200 OK", self.headers)
            return self.body

        self._middleware = LongAnswers(app, lanes=self.lanes, proxies=TrustedProxies(()), clock=self.clock)

    def start(self, status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
        if self.fails:
            raise ValueError("no header")
        self.status, self.seen = status, headers
        return lambda data: data

    def ask(self, method: str = "GET", address: str = "192.0.2.1") -> Any:
        return self._middleware({"REQUEST_METHOD": method, "REMOTE_ADDR": address, "QUERY_STRING": ""}, self.start)

    @property
    def in_use(self) -> int:
        return self.lanes.statistics().in_use


def test_a_short_answer_needs_no_permit() -> None:
    world = World()
    world.headers = [("Content-Length", str(SHORT_BYTES))]
    world.lanes.take_nowait("somebody")
    assert world.ask() is world.body
    assert world.status == "200 OK"


@pytest.mark.parametrize("headers", [[], [("content-length", str(SHORT_BYTES + 1))]], ids=["unknown", "long"])
def test_a_long_one_holds_a_permit_until_its_last_piece_is_taken(headers: list[tuple[str, str]]) -> None:
    world = World()
    world.headers = headers
    sending = world.ask()
    pieces = iter(sending)
    assert b"".join(next(pieces) for _ in range(3)) == LONG
    assert world.in_use == 1
    assert next(pieces, None) is None
    assert world.in_use == 0
    sending.close()
    assert world.body.is_closed


def test_one_that_is_closed_before_its_end_gives_its_permit_back() -> None:
    world = World()
    sending = world.ask()
    next(iter(sending))
    sending.close()
    assert world.in_use == 0
    assert world.body.is_closed


def test_without_a_permit_it_is_not_sent_and_closed_unread() -> None:
    world = World()
    world.lanes.take_nowait("somebody")
    assert b"".join(world.ask()).startswith(b'{"status":"error"')
    assert world.status.startswith("503")
    assert dict(world.seen)["Retry-After"] == "5"
    assert world.body.is_closed


def test_one_network_leaves_room_for_others() -> None:
    world = World(permits=4)
    answers = [world.ask(address=f"192.0.2.{number}") for number in range(9)]
    assert world.in_use < 4
    answers.append(world.ask(address="198.51.100.1"))
    assert world.status == "200 OK"


def test_it_goes_out_in_short_pieces_and_ends_in_time() -> None:
    world = World()
    pieces = iter(world.ask())
    assert len(next(pieces)) == SHORT_BYTES
    world.clock.advance(LONGEST_S)
    with pytest.raises(TimeoutError):
        next(pieces)


def test_a_head_has_no_body_to_wait_for() -> None:
    world = World()
    assert world.ask("HEAD") is world.body
    assert world.in_use == 0


def test_a_server_that_takes_no_headers_leaves_no_permit_behind() -> None:
    world = World()
    world.fails = True
    with pytest.raises(ValueError, match="no header"):
        world.ask()
    assert world.in_use == 0
    assert world.body.is_closed


def test_a_quarter_of_the_threads_at_least_one() -> None:
    assert [share_of(threads) for threads in (1, 4, 8, 32)] == [1, 1, 2, 8]
