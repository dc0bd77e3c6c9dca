"""Laws of idle connections: the newest is used first, the oldest makes room, and many cost no more than few."""

from typing import Any

import pytest

from director_wsgi.outbound import transport
from director_wsgi.outbound.transport import IdleConnections, Peer
from tests.fakes import FakeClock

A, B = (Peer(is_tls=True, host=host, port=443) for host in ("a", "b"))


class FakeConnection:
    """Something that can be closed."""

    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class Watched(Peer):
    """Counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Watched.compared += 1
        return super().__eq__(other)

    __hash__ = Peer.__hash__


@pytest.fixture(autouse=True)
def all_look_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_is_quiet", lambda _connection: True)


def put(idle: IdleConnections, *peers: Peer) -> list[Any]:
    made: list[Any] = [FakeConnection() for _ in peers]
    for peer, connection in zip(peers, made, strict=True):
        idle.put(peer, connection)
    return made


def test_the_newest_of_a_peer_is_used_first(clock: FakeClock) -> None:
    idle = IdleConnections(10, 30.0, clock)
    first, other, second = put(idle, A, B, A)

    assert [idle.take(A), idle.take(A), idle.take(A)] == [second, first, None]
    assert idle.take(B) is other
    assert len(idle) == 0


def test_the_oldest_makes_room_whomever_it_leads_to(clock: FakeClock) -> None:
    idle = IdleConnections(2, 30.0, clock)
    oldest, *kept = put(idle, A, B, B)

    assert oldest.is_closed
    assert not any(connection.is_closed for connection in kept)
    assert idle.take(A) is None
    assert len(idle) == 2


def test_what_is_too_old_is_closed_by_the_next_that_comes_and_never_used(clock: FakeClock) -> None:
    idle = IdleConnections(10, 30.0, clock)
    (old, _) = put(idle, A, A)
    clock.advance(31.0)
    assert idle.take(A) is None

    (old, left) = put(idle, A, A)
    clock.advance(31.0)
    (new,) = put(idle, B)

    assert old.is_closed
    assert left.is_closed
    assert not new.is_closed
    assert len(idle) == 1


def test_after_the_end_nothing_is_kept(clock: FakeClock) -> None:
    idle = IdleConnections(10, 30.0, clock)
    before = put(idle, A, B, A)
    idle.close()
    after = put(idle, A)

    assert all(connection.is_closed for connection in (*before, *after))
    assert idle.take(A) is None
    assert len(idle) == 0


def test_none_is_kept_where_there_is_no_room(clock: FakeClock) -> None:
    idle = IdleConnections(0, 30.0, clock)
    assert put(idle, A)[0].is_closed
    assert len(idle) == 0


def test_to_find_one_costs_the_same_however_many_there_are(clock: FakeClock) -> None:
    idle = IdleConnections(1000, 30.0, clock)
    peers = [Watched(is_tls=True, host=f"h{number}", port=443) for number in range(1000)]
    first, *_ = put(idle, *peers)
    Watched.compared = 0

    assert idle.take(Watched(is_tls=True, host="h0", port=443)) is first
    assert Watched.compared < 10
