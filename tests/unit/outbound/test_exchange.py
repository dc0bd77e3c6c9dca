"""The laws of an exchange's budget, and of aborting it."""

import socket
import threading

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.exchange import MAX_HEADER_BYTES, Cancellation, Exchange
from director_wsgi.outbound.failures import Failure, OutboundError
from tests.fakes import FakeClock


@pytest.fixture
def exchange(clock: FakeClock) -> Exchange:
    return Exchange("origin.example:8443", Deadline.after(2.0, clock), max_bytes=1000)


class SocketDouble:
    """Counts makefile() and what is closed; stands in for a socket."""

    def __init__(self) -> None:
        self.held = 0

    def makefile(self, *_: object, **__: object) -> "SocketDouble":
        self.held += 1
        return self

    def close(self) -> None:
        self.held -= 1


@pytest.fixture
def shut_down(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The sockets shut down, in order."""
    seen: list[object] = []
    monkeypatch.setattr(socket.socket, "shutdown", lambda sock, _how: seen.append(sock))
    return seen


def failure(call: object, *arguments: object) -> Failure:
    assert callable(call)
    with pytest.raises(OutboundError) as failed:
        call(*arguments)
    return failed.value.failure


def test_a_step_takes_what_remains(exchange: Exchange, clock: FakeClock) -> None:
    assert exchange.remaining_s() == 2.0
    clock.advance(1.5)
    assert exchange.remaining_s() == 0.5
    clock.advance(0.5)
    assert failure(exchange.remaining_s) is Failure.TIMED_OUT


def test_headers_end_with_a_blank_line_or_are_cut_off(exchange: Exchange) -> None:
    exchange.expect_headers()
    exchange.note_received(1)
    assert failure(exchange.note_received, 0) is Failure.CUT_OFF


def test_any_byte_makes_it_answered(exchange: Exchange) -> None:
    seen = [exchange.answered]
    exchange.note_received(1)
    exchange.expect_body(ended_by_eof=True)
    exchange.note_received(0)
    assert [*seen, exchange.answered] == [False, True]


def test_headers_are_bounded(exchange: Exchange) -> None:
    exchange.expect_headers()
    exchange.note_received(MAX_HEADER_BYTES)
    assert failure(exchange.note_received, 1) is Failure.TOO_LARGE
    exchange.expect_headers()
    exchange.note_received(MAX_HEADER_BYTES)


def test_a_body_is_bounded(exchange: Exchange) -> None:
    exchange.expect_body(ended_by_eof=False)
    exchange.note_received(1000)
    assert failure(exchange.note_received, 1) is Failure.TOO_LARGE


def test_chunks_leave_room_for_their_framing_and_no_more(exchange: Exchange) -> None:
    exchange.expect_body(ended_by_eof=False, in_chunks=True)
    exchange.note_received(8 * 1000 + MAX_HEADER_BYTES)
    assert failure(exchange.note_received, 1) is Failure.TOO_LARGE


def test_only_a_body_without_length_ends_with_the_stream(exchange: Exchange) -> None:
    exchange.expect_body(ended_by_eof=True)
    exchange.note_received(0)
    exchange.expect_body(ended_by_eof=False)
    assert failure(exchange.note_received, 0) is Failure.CUT_OFF


def test_an_abort_shuts_down_the_socket_in_use_once(exchange: Exchange, shut_down: list[object]) -> None:
    first, second = SocketDouble(), SocketDouble()
    exchange.attach(first)  # type: ignore[arg-type]
    exchange.attach(second)  # type: ignore[arg-type]
    exchange.abort(Failure.CANCELLED)
    exchange.abort(Failure.CLOSED)
    assert shut_down == [second]
    assert (first.held, second.held) == (0, 1), "held until detached, so that its number cannot be given away"
    assert failure(exchange.remaining_s) is Failure.CANCELLED
    assert failure(exchange.finish) is Failure.CANCELLED
    assert second.held == 0


def test_an_abort_never_touches_a_socket_let_go(exchange: Exchange, shut_down: list[object]) -> None:
    exchange.attach(SocketDouble())  # type: ignore[arg-type]
    exchange.finish()
    exchange.abort(Failure.CANCELLED)
    assert shut_down == []


def test_an_aborted_exchange_takes_no_socket(exchange: Exchange, shut_down: list[object]) -> None:
    sock = SocketDouble()
    exchange.abort(Failure.CANCELLED)
    assert failure(exchange.attach, sock) is Failure.CANCELLED
    assert sock.held == 0
    assert shut_down == []


def test_an_abort_wakes_who_waits_without_a_socket(exchange: Exchange) -> None:
    waiter = exchange.waiter()
    assert not waiter.is_set()
    exchange.abort(Failure.CANCELLED)
    assert waiter.is_set()
    assert exchange.waiter().is_set()


def test_a_switch_ends_what_it_covers_now_and_later_and_nothing_released(clock: FakeClock) -> None:
    def new() -> Exchange:
        return Exchange("a:1", Deadline.after(2.0, clock), 1)

    now, later, released = new(), new(), new()
    switch = Cancellation(Failure.CLOSED)
    switch.cover(now)
    switch.cover(released)
    switch.release(released)
    thrown = [switch.is_cancelled]
    switch.cancel()
    switch.cancel()
    switch.cover(later)
    assert [*thrown, switch.is_cancelled] == [False, True]
    assert failure(now.raise_if_aborted) is Failure.CLOSED
    assert failure(later.raise_if_aborted) is Failure.CLOSED
    released.raise_if_aborted()


def test_a_switch_remembers_nothing_released(clock: FakeClock) -> None:
    switch = Cancellation()
    for _ in range(100):
        exchange = Exchange("a:1", Deadline.after(2.0, clock), 1)
        switch.cover(exchange)
        switch.release(exchange)
    assert switch._exchanges == set()


def test_the_first_abort_counts_among_many_threads(exchange: Exchange) -> None:
    threads = [threading.Thread(target=exchange.abort, args=(failure,)) for failure in Failure]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failure(exchange.finish) is failure(exchange.finish)


def test_messages_name_the_peer(exchange: Exchange) -> None:
    assert str(exchange.error(Failure.CUT_OFF)) == "origin.example:8443: cut off"
    assert str(exchange.error(Failure.TLS, "bad")) == "origin.example:8443: TLS failed (bad)"
