"""One question and many who ask it: for its answer, for a slot, and while their clients go."""

import pytest

from director_wsgi.stat.evidence import Evidence, Lifetimes, Reason
from tests.unit.stat.fakes import (
    ABSENT,
    LONG_S,
    Call,
    Someone,
    eventually,
    present,
)
from tests.unit.stat.world import GONE, LEFT, POLICY, REFUSED, TOUCHY, A, B, World, at_once, found

# -- one question, many who ask it


def test_who_asks_the_same_at_the_same_time_shares_one_head(world):
    first, [call] = world.asked(A)
    others = [world.begin(A) for _ in range(5)]
    world.until(joined=5)
    call.answer(present())
    assert [one.result(LONG_S) for one in (first, *others)] == [(found(),)] * 6
    assert (len(world.servers.calls), world.engine.statistics().asked) == (1, 1)


def test_who_asks_as_somebody_else_shares_nothing(world):
    asking = [world.asked(A, bearer=who, authority=who) for who in ("a", "b")]
    for _, [call] in asking:
        call.answer(present(len(call.headers["Authorization"])))
    assert [call.headers["Authorization"] for _, [call] in asking] == ["Bearer a", "Bearer b"]
    assert all(one.result(LONG_S) == (found(8),) for one, _ in asking)
    assert world.engine.statistics().joined == 0


def test_a_follower_that_leaves_takes_nothing_from_the_others(world):
    leader, [call] = world.asked(A)
    assert world.ask(A, deadline=at_once()) == (LEFT,)
    call.answer(present())
    assert leader.result(LONG_S) == (found(),)
    assert len(world.servers.calls) == 1


def test_a_leader_that_leaves_takes_nothing_from_the_others(world):
    someone = Someone()
    leader, [call] = world.asked(A, client=someone)
    follower = world.begin(A)
    world.until(joined=1)
    someone.go()
    assert leader.result(LONG_S) == (LEFT,)
    assert not call.is_aborted
    call.answer(present())
    assert follower.result(LONG_S) == (found(),)


def test_a_head_that_all_have_left_can_be_joined_again(world):
    world.ask(A, deadline=at_once())
    [call] = world.servers.wait_for(1)
    again = world.begin(A)
    world.until(joined=1)
    call.answer(present())
    assert again.result(LONG_S) == (found(),)
    assert len(world.servers.calls) == 1


def test_a_failure_is_shared_and_tried_again_by_nobody(make_world):
    world = make_world(lifetimes=Lifetimes(failure_s=0))
    first, [call] = world.asked(A)
    others = [world.begin(A) for _ in range(3)]
    world.until(joined=3)
    call.answer(REFUSED)
    assert [one.result(LONG_S) for one in (first, *others)] == [(Evidence.unknown(Reason.REFUSED),)] * 4
    assert len(world.servers.calls) == 1


def test_all_who_share_a_head_are_told_when_its_server_is_gone(world):
    first, _ = world.asked(A)
    other = world.begin(A)
    world.until(joined=1)
    world.engine.retain([])
    assert [one.result(LONG_S) for one in (first, other)] == [(Evidence.unknown(Reason.CLOSED),)] * 2


def test_who_asks_after_a_write_does_not_share_what_was_asked_before_it(world):
    """The HEAD 1. begins, a write 2. is let through, somebody 3. asks for what was written, the old answer 4. comes."""
    before, [old] = world.asked(A)
    world.engine.forget_absence("/x")
    after, [new] = world.asked(A)
    old.answer(ABSENT)
    assert before.result(LONG_S) == (GONE,)
    new.answer(present())
    assert after.result(LONG_S) == (found(),)


def test_an_error_while_asking_leaves_no_seat_behind(world):
    """The second server cannot be met; the first one's HEAD goes on by itself."""

    def broken(connections: int):
        if world.servers.clients:
            raise OSError("no more files")
        return world.servers.client(connections)

    world.engine._roster._build_client = broken
    with pytest.raises(OSError, match="no more files"):
        world.ask(A, B)
    [call] = world.servers.wait_for(1)
    [flight] = world.engine._flights._flights.values()
    assert flight.seats == 0
    call.answer(present())


# -- for a slot


def fill(world: World, server) -> list[Call]:
    """Take all its slots, by askers that have left."""
    for number in range(POLICY.slots):
        world.ask(server, path=f"/fill/{number}", deadline=at_once())
    return world.servers.wait_for(POLICY.slots)


def test_a_head_that_waits_for_a_slot_is_dropped_when_its_last_asker_leaves(world):
    calls = fill(world, A)
    patient = world.begin(A)
    assert eventually(lambda: world.slots(A).waiting == 1)
    assert world.ask(A, deadline=at_once()) == (LEFT,)
    assert world.slots(A).waiting == 1
    for number in range(3):
        assert world.ask(A, path=f"/{number}", deadline=at_once()) == (Evidence.unknown(Reason.NO_SLOT),)
        assert world.slots(A).waiting == 1
    for call in calls:
        call.answer(ABSENT)
    world.servers.wait_for(3)[2].answer(present())
    assert patient.result(LONG_S) == (found(),)
    assert [call.path for call in world.servers.calls] == ["/fill/0", "/fill/1", "/x"]


def test_a_head_that_waits_for_a_slot_is_dropped_when_its_client_goes(world):
    someone = Someone()
    fill(world, A)
    asking = world.begin(A, client=someone)
    assert eventually(lambda: world.slots(A).waiting == 1)
    someone.go()
    assert asking.result(LONG_S) == (Evidence.unknown(Reason.NO_SLOT),)
    assert world.slots(A).waiting == 0


# -- clients that go


def test_a_head_ends_when_all_its_clients_have_gone_and_marks_nothing(make_world):
    world = make_world(TOUCHY)
    clients = [Someone() for _ in range(2)]
    first, [call] = world.asked(A, client=clients[0])
    other = world.begin(A, client=clients[1])
    world.until(joined=1)
    clients[0].go()
    assert first.result(LONG_S) == (LEFT,)
    assert not call.is_aborted
    clients[1].go()
    assert other.result(LONG_S) == (LEFT,)
    assert call.is_aborted
    world.until(in_flight=0, gone=2)
    assert world.breaker(A).volume == 0
    world.servers.answers["a"] = present()
    assert world.ask(A) == (found(),)
    assert len(world.servers.calls) == 2


def test_a_head_goes_on_if_one_of_its_askers_only_ran_out_of_time(world):
    someone = Someone()
    asking, [call] = world.asked(A, client=someone)
    assert world.ask(A, deadline=at_once()) == (LEFT,)
    someone.go()
    assert asking.result(LONG_S) == (LEFT,)
    assert not call.is_aborted
    call.answer(present())
    world.until(in_flight=0)
    assert world.ask(A) == (found(),)
    assert len(world.servers.calls) == 1


def test_a_client_is_watched_only_while_its_request_waits(world):
    someone = Someone()
    world.servers.answers["a"] = present()
    world.ask(A)
    world.ask(A, client=someone)
    assert not someone.is_watched.is_set()
    asking, [call] = world.asked(B, client=someone)
    assert someone.is_watched.wait(LONG_S)
    call.answer(present())
    asking.result(LONG_S)
    assert someone.was_left
