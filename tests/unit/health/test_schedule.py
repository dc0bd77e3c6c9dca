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
