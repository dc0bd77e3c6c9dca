"""When each server's turn comes."""

import random

import pytest

from director_wsgi.health.schedule import JITTER, RECHECK_S, SPREAD_S, Schedule
from tests.make import cache, origin

INTERVAL_S = 15.0
NOBODY = frozenset()


@pytest.fixture
def schedule():
    return Schedule(INTERVAL_S, random.Random(1))


def ads(count):
    made = [origin(f"O{number}", "/a") for number in range(count)]
    return {ad.data_url: ad for ad in made}


def due(schedule, now, *, suspects=False, filtered=NOBODY):
    """Takes everybody who is due, and gives their names."""
    schedule.look(now, filtered)
    names = []
    while (entry := schedule.take(suspects=suspects)) is not None:
        names.append(entry.server.name)
    return names


def test_who_has_just_appeared_is_due_at_once(schedule):
    schedule.keep_to(ads(1), 100.0)
    assert due(schedule, 100.0) == ["O0"]


def test_a_few_that_appear_together_are_spread_by_moments(schedule):
    schedule.keep_to(ads(10), 0.0)
    assert due(schedule, 0.0) == ["O0"]
    assert len(due(schedule, 9 * SPREAD_S)) == 9


def test_many_that_appear_together_are_all_due_within_half_an_interval_and_evenly(schedule):
    schedule.keep_to(ads(1100), 0.0)
    counts = [len(due(schedule, quarter * INTERVAL_S / 8)) for quarter in range(5)]
    assert sum(counts) == 1100
    assert max(counts) <= 1100 / 4 + 2


def test_nobody_is_due_twice_in_one_interval_nor_much_earlier(schedule):
    servers = ads(1)
    schedule.keep_to(servers, 0.0)
    began_at = 0.0
    for _ in range(50):
        schedule.look(began_at, NOBODY)
        entry = schedule.take(suspects=False)
        schedule.put_back(entry, began_at=began_at, now=began_at + 1.0)
        earliest, latest = began_at + INTERVAL_S * (1 - JITTER), began_at + INTERVAL_S
        schedule.look(earliest - 1e-6, NOBODY)
        assert schedule.waiting() == (0, 0)
        schedule.look(latest, NOBODY)
        assert schedule.waiting() == (1, 0)
        began_at = latest


def test_a_cycle_that_took_longer_than_the_interval_is_followed_at_once(schedule):
    schedule.keep_to(ads(1), 0.0)
    schedule.look(0.0, NOBODY)
    entry = schedule.take(suspects=False)
    schedule.put_back(entry, began_at=0.0, now=40.0)
    assert due(schedule, 40.0) == ["O0"]


def test_while_under_way_nobody_is_due(schedule):
    schedule.keep_to(ads(1), 0.0)
    schedule.look(0.0, NOBODY)
    schedule.take(suspects=False)
    assert due(schedule, 1000.0) == []


def test_a_filtered_server_is_not_due_until_soon_after_it_is_filtered_no_more(schedule):
    schedule.keep_to(ads(1), 0.0)
    for now in range(100):
        assert due(schedule, float(now), filtered=frozenset({"O0"})) == []
    assert due(schedule, 99.0 + RECHECK_S) == ["O0"]


def test_suspects_stand_in_a_queue_of_their_own(schedule):
    schedule.keep_to(ads(2), 0.0)
    schedule.look(1.0, NOBODY)
    entry = schedule.take(suspects=False)
    entry.is_suspect = True
    schedule.put_back(entry, began_at=1.0, now=1.0, at_once=True)
    schedule.look(1.0, NOBODY)
    assert schedule.waiting() == (1, 1)
    assert schedule.take(suspects=True) is entry


@pytest.mark.parametrize("disabled", [{"director_test_disabled": True}, {"broker_url": "https://b.example.org"}])
def test_who_wants_no_test_or_cannot_be_reached_is_never_due(schedule, disabled):
    ad = origin("O", "/a", **disabled)
    schedule.keep_to({ad.data_url: ad}, 0.0)
    assert due(schedule, 1000.0) == []
    assert len(schedule) == 0


def test_who_has_gone_is_due_no_more_and_leaves_nothing(schedule):
    servers = ads(3)
    for now in range(100):
        schedule.keep_to(servers, float(now))
        gone = schedule.keep_to({}, float(now))
        assert len(gone) == 3
        assert all(entry.is_gone for entry in gone)
    assert due(schedule, 1000.0) == []
    assert schedule._later == []


def test_who_went_while_under_way_is_not_put_back(schedule):
    schedule.keep_to(ads(1), 0.0)
    schedule.look(0.0, NOBODY)
    entry = schedule.take(suspects=False)
    schedule.keep_to({}, 1.0)
    schedule.put_back(entry, began_at=0.0, now=2.0)
    assert due(schedule, 1000.0) == []


def test_a_new_advertisement_takes_the_place_of_the_old_one_and_changes_no_time(schedule):
    servers = ads(1)
    [url] = servers
    schedule.keep_to(servers, 0.0)
    schedule.look(0.0, NOBODY)
    entry = schedule.take(suspects=False)
    newer = {url: origin("O0", "/a", "/b")}
    assert schedule.keep_to(newer, 1.0) == []
    assert entry.server is newer[url]
    assert due(schedule, 1.0) == []


def test_an_origin_that_becomes_a_cache_begins_anew(schedule):
    servers = ads(1)
    [url] = servers
    schedule.keep_to(servers, 0.0)
    assert len(schedule.keep_to({url: cache("O0", "/a")}, 1.0)) == 1
    assert due(schedule, 1.0) == ["O0"]


# -- another interval


NOW = INTERVAL_S * (1 - JITTER)
"""When nobody is due yet."""


def all_have_been_tested(schedule, count):
    """So many, one after the other since 0.0, who wait for their next turn."""
    schedule.keep_to(ads(count), -1000.0)
    schedule.look(0.0, NOBODY)
    for position in range(count):
        entry = schedule.take(suspects=False)
        entry.last = object()
        schedule.put_back(entry, began_at=position * NOW / count, now=NOW)


def begun_in(schedule, begin_at, length_s, step_s=0.25):
    """How many turns come in each step of so long, and are over at once."""
    counts = []
    for step in range(1, round(length_s / step_s) + 1):
        now = begin_at + step * step_s
        schedule.look(now, NOBODY)
        count = 0
        while (entry := schedule.take(suspects=False)) is not None:
            entry.last = object()
            schedule.put_back(entry, began_at=now, now=now)
            count += 1
        counts.append(count)
    return counts


@pytest.mark.parametrize("shorter_s", [10.0, 5.0, 1.0])
def test_with_a_shorter_interval_everybody_has_a_turn_within_it_and_they_do_not_come_all_at_once(schedule, shorter_s):
    all_have_been_tested(schedule, 400)
    schedule.adopt(shorter_s, NOW)
    counts = begun_in(schedule, NOW, shorter_s)
    assert sum(counts) >= 400
    # No more than twice what there is if they are spread evenly.
    assert max(counts) <= 2 * 400 * 0.25 / shorter_s


def test_with_a_shorter_interval_they_keep_their_order_and_the_next_turn_goes_by_it(schedule):
    all_have_been_tested(schedule, 5)
    order = [entry.server.name for entry in sorted(schedule, key=lambda entry: entry.due_at)]
    schedule.adopt(5.0, NOW)
    schedule.look(NOW + 5.0, NOBODY)
    taken = [schedule.take(suspects=False) for _ in order]
    assert [entry.server.name for entry in taken] == order
    schedule.put_back(taken[0], began_at=NOW + 5.0, now=NOW + 5.0)
    assert 5.0 * (1 - JITTER) <= taken[0].due_at - (NOW + 5.0) <= 5.0


def test_with_a_longer_interval_everybody_has_his_turn_when_it_was_due_and_then_waits_longer(schedule):
    all_have_been_tested(schedule, 50)
    before = {entry.server.name: entry.due_at for entry in schedule}
    schedule.adopt(60.0, NOW)
    assert {entry.server.name: entry.due_at for entry in schedule} == before
    assert sum(begun_in(schedule, NOW, INTERVAL_S)) == 50
    assert sum(begun_in(schedule, NOW + INTERVAL_S, 60.0 * (1 - JITTER) - INTERVAL_S)) == 0


def test_who_is_due_or_has_never_been_tested_keeps_his_turn(schedule):
    all_have_been_tested(schedule, 1)
    schedule.look(2 * INTERVAL_S, NOBODY)
    schedule.keep_to(ads(40), 2 * INTERVAL_S)
    schedule.adopt(1.0, 2 * INTERVAL_S)
    assert due(schedule, 2 * INTERVAL_S) == ["O0", "O1"]
    assert len(due(schedule, 2 * INTERVAL_S + SPREAD_S)) == 1


def test_one_under_way_has_its_next_turn_by_the_new_interval(schedule):
    schedule.keep_to(ads(1), 0.0)
    schedule.look(0.0, NOBODY)
    entry = schedule.take(suspects=False)
    schedule.adopt(5.0, 1.0)
    schedule.put_back(entry, began_at=0.0, now=2.0)
    assert 5.0 * (1 - JITTER) <= entry.due_at <= 5.0


def test_who_is_tested_elsewhere_has_its_turn_by_the_new_interval_too(schedule):
    """Another worker takes over later: it must not wait for what was long ago."""
    long = Schedule(3600.0, random.Random(1))
    long.keep_to(ads(1), 0.0)
    entry = next(iter(long))
    entry.last = object()
    long.tested_elsewhere(entry, ago_s=0.0, now=0.0)
    long.adopt(15.0, 0.0)
    long.regroup(0.0)
    assert due(long, 15.0) == ["O0"]


def test_the_same_interval_again_moves_nobody(schedule):
    all_have_been_tested(schedule, 20)
    before = list(schedule._later)
    schedule.adopt(INTERVAL_S, NOW)
    assert schedule._later == before


def test_back_and_forth_nobody_is_tested_much_more_often_than_the_shorter_one_says(schedule):
    all_have_been_tested(schedule, 100)
    turns, now = 0, NOW
    for step in range(60):
        schedule.adopt(15.0 if step % 2 else 10.0, now)
        turns += sum(begun_in(schedule, now, 1.0))
        now += 1.0
    assert turns <= 100 * 60 / 10 * 2
