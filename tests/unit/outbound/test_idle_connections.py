"""Laws of idle connections: the newest is used first, the oldest makes room, and many cost no more than few."""

from dataclasses import replace
from typing import Any

import pytest

from director_wsgi.outbound import transport
from director_wsgi.outbound.address_rules import AddressRules
from director_wsgi.outbound.sockets import Terms, TlsTrust
from director_wsgi.outbound.transport import IdleConnections, Peer
from tests.fakes import FakeClock

A, B = (Peer(is_tls=True, host=host, port=443) for host in ("a", "b"))


TERMS = Terms(trust=TlsTrust())


class FakeConnection:
    """Something that can be closed."""

    def __init__(self, terms: Terms = TERMS) -> None:
        self.terms = terms
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

    assert [idle.take(A, TERMS), idle.take(A, TERMS), idle.take(A, TERMS)] == [second, first, None]
    assert idle.take(B, TERMS) is other
    assert len(idle) == 0


def test_the_oldest_makes_room_whomever_it_leads_to(clock: FakeClock) -> None:
    idle = IdleConnections(2, 30.0, clock)
    oldest, *kept = put(idle, A, B, B)

    assert oldest.is_closed
    assert not any(connection.is_closed for connection in kept)
    assert idle.take(A, TERMS) is None
    assert len(idle) == 2


def test_what_is_too_old_is_closed_by_the_next_that_comes_and_never_used(clock: FakeClock) -> None:
    idle = IdleConnections(10, 30.0, clock)
    (old, _) = put(idle, A, A)
    clock.advance(31.0)
    assert idle.take(A, TERMS) is None

    (old, left) = put(idle, A, A)
    clock.advance(31.0)
    (new,) = put(idle, B)

    assert old.is_closed
    assert left.is_closed
    assert not new.is_closed
    assert len(idle) == 1


def test_what_is_too_old_is_closed_although_none_comes(clock: FakeClock) -> None:
    idle = IdleConnections(10, 30.0, clock)
    (old, _) = put(idle, A, B)
    clock.advance(20.0)
    (young,) = put(idle, A)
    clock.advance(10.0)
    idle.trim()
    assert len(idle) == 3
    clock.advance(0.001)
    idle.trim()
    assert (len(idle), old.is_closed, young.is_closed) == (1, True, False)
    assert idle.take(A, TERMS) is young


def test_after_the_end_nothing_is_kept(clock: FakeClock) -> None:
    idle = IdleConnections(10, 30.0, clock)
    before = put(idle, A, B, A)
    idle.close()
    after = put(idle, A)

    assert all(connection.is_closed for connection in (*before, *after))
    assert idle.take(A, TERMS) is None
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

    assert idle.take(Watched(is_tls=True, host="h0", port=443), TERMS) is first
    assert Watched.compared < 10


def test_what_was_made_under_other_terms_is_closed_and_not_used(clock: FakeClock) -> None:
    idle = IdleConnections(10, 30.0, clock)
    (before,) = put(idle, A)
    other = replace(TERMS, trust=TlsTrust(skip_verify=True))
    after: Any = FakeConnection(other)
    idle.put(A, after)
    (newest,) = put(idle, A)

    assert idle.take(A, other) is after
    assert newest.is_closed
    assert idle.take(A, other) is None
    assert before.is_closed


@pytest.mark.parametrize(
    ("other", "suits"),
    [
        (Terms(trust=TlsTrust()), True),
        (Terms(trust=TlsTrust(), connect_timeout_s=1.0), True),
        (Terms(trust=TlsTrust(skip_verify=True)), False),
        (Terms(trust=TlsTrust(digest="other")), False),
        (Terms(trust=TlsTrust(), rules=AddressRules()), False),
    ],
)
def test_terms_suit_if_they_are_the_same_in_what_matters_to_a_connection(other: Terms, suits: bool) -> None:
    assert other.suit(TERMS) is TERMS.suit(other) is suits


def test_fewer_are_kept_from_the_next_one_on(clock: FakeClock) -> None:
    idle = IdleConnections(10, 30.0, clock)
    before = put(idle, A, B, A)
    idle.keep(2)
    (after,) = put(idle, B)

    assert [connection.is_closed for connection in (*before, after)] == [True, True, False, False]


def test_more_are_kept_from_the_next_one_on(clock: FakeClock) -> None:
    idle = IdleConnections(1, 30.0, clock)
    idle.keep(3)
    assert not any(connection.is_closed for connection in put(idle, A, B, A))
