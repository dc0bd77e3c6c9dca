"""Several workers of a host: one tests, the others know what it found, and each can go on for it."""

import itertools

import pytest

from director_wsgi.health import schedule
from director_wsgi.health import tests as director_tests
from director_wsgi.health.status import HealthStatus, ReportStatus
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Failure
from tests.unit.health.world import HANG, INTERVAL_S, LONG_S, Host, a_cache, an_origin, answer, eventually

LEASE_S = 5.0
"""The longest that a turn takes to move when a worker has died."""

CRITICAL_S = 30.0


def statuses(host, server):
    return [worker.tests.status_of(server) for worker in host.workers]


# -- one tests, all know


def test_only_the_worker_whose_turn_it_is_tests(host):
    host.turn = 1
    host.advertise(an_origin())
    host.run_for(3 * INTERVAL_S)
    assert 3 <= len(host.servers.reports(an_origin())) <= 4
    host.turn = None
    before = len(host.servers.calls)
    host.run_for(3 * INTERVAL_S)
    assert len(host.servers.calls) == before


def test_what_one_finds_all_say(host):
    host.servers.told["c.example.org"] = answer(500)
    host.advertise(an_origin(), a_cache())
    host.run_for(1)
    assert statuses(host, an_origin()) == [HealthStatus.OK] * 2
    assert statuses(host, a_cache()) == [HealthStatus.ERROR] * 2
    one, other = host.workers
    for server in (an_origin(), a_cache()):
        assert other.tests.last_of(server.data_url) == one.tests.last_of(server.data_url)
        assert other.told(server).runs == one.told(server).runs


def test_what_one_finds_changes_how_all_rank_and_spare_a_server_once(host):
    host.servers.told["o.example.org"] = Failure.REFUSED
    host.advertise(an_origin())
    host.run_for(2 * INTERVAL_S)
    one, other = host.workers
    assert len(one.results) >= 2
    assert [result for _, result in other.results] == [result for _, result in one.results]
    assert other.results[0][1].is_unanswered


def test_a_result_is_known_to_all_before_the_report_has_been_taken(host):
    host.servers.told["o-web.example.org"] = HANG
    host.advertise(an_origin())
    host.tick()
    assert statuses(host, an_origin()) == [HealthStatus.OK] * 2
    assert host.workers[1].told(an_origin()).runs == {}
    host.servers.pass_time(5)
    host.settle()
    host.tick(1)
    assert host.workers[1].told(an_origin()).runs == {(True, ReportStatus.FAILED): 1}
    assert len(host.workers[1].results) == 1, "it is the same result"


def test_news_of_a_server_that_is_not_known_yet_waits_for_it(host):
    one, other = host.workers
    one.advertise(an_origin())
    host.run_for(10)
    assert other.tests.last_of(an_origin().data_url) is None
    other.advertise(an_origin())
    host.tick(1)
    assert other.tests.status_of(an_origin()) is HealthStatus.OK
    assert len(other.results) == 1


def test_where_nothing_can_be_signed_nothing_is_said_of_servers(host):
    host.workers[0].minter.has_key = False
    host.advertise(an_origin())
    host.run_for(1)
    assert statuses(host, an_origin()) == [HealthStatus.UNKNOWN] * 2
    assert host.workers[1].results == []


def test_who_tests_does_not_heed_what_others_say(host):
    host.advertise(an_origin())
    host.run_for(1)
    [(data_url, news), *_] = host.published
    last = host.workers[0].tests.last_of(data_url)
    host.servers.told["o.example.org"] = answer(500)
    host.run_for(INTERVAL_S)
    host.workers[0].tests.heard(data_url, news)
    host.run_for(1)
    assert host.workers[0].tests.last_of(data_url) != last
    assert host.workers[0].tests.status_of(an_origin()) is HealthStatus.ERROR


# -- a turn moves


@pytest.mark.parametrize("died_after_s", [0.5, 7.0, 14.75])
def test_when_the_one_that_tests_has_died_no_server_turns_critical(make_world, died_after_s):
    host = Host(make_world)
    servers = [(an_origin, a_cache)[number % 2](f"S{number}") for number in range(40)]
    host.advertise(*servers)
    host.run_for(2 * INTERVAL_S + died_after_s)
    host.turn = None
    host.run_for(LEASE_S, 1)
    host.turn = 1
    host.run_for(3 * INTERVAL_S, 1)
    for server in servers:
        times = [call.at for call in host.servers.reports(server)]
        assert max(later - earlier for earlier, later in itertools.pairwise(times)) < CRITICAL_S


def test_who_takes_over_tests_nobody_earlier_than_the_one_before_would_have(host):
    servers = [an_origin(f"O{number}") for number in range(10)]
    host.advertise(*servers)
    host.run_for(1)
    host.turn = 1
    host.run_for(INTERVAL_S * (1 - schedule.JITTER) - 2)
    assert all(len(host.servers.reports(server)) == 1 for server in servers)
    host.run_for(4)
    assert all(len(host.servers.reports(server)) == 2 for server in servers)


def test_who_takes_over_and_has_heard_nothing_tests_all_but_not_all_at_once(make_world):
    host = Host(make_world, threads=64)
    host.deaf = {1}
    servers = [an_origin(f"O{number}") for number in range(40)]
    host.advertise(*servers)
    host.run_for(3)
    host.turn = 1
    before = len(host.servers.calls)
    host.tick()
    assert len(host.servers.calls) - before < 40
    host.run_for(40 * schedule.SPREAD_S + director_tests.TICK_S)
    assert all(len(host.servers.reports(server)) == 2 for server in servers)


def test_a_count_goes_on_where_the_one_before_has_left_off(host):
    host.advertise(an_origin())
    host.run_for(2 * INTERVAL_S)
    [runs] = host.workers[0].told(an_origin()).runs.values()
    host.turn = 1
    host.run_for(INTERVAL_S)
    assert host.workers[1].told(an_origin()).runs == {(True, ReportStatus.SUCCEEDED): runs + 1}
    assert host.workers[0].told(an_origin()).runs == {(True, ReportStatus.SUCCEEDED): runs + 1}


def test_a_suspect_stays_one(make_world):
    host = Host(make_world, threads=2)
    host.servers.told["o.example.org"] = HANG
    host.advertise(an_origin())
    host.run_for(11)
    assert host.workers[1].told(an_origin()).is_suspect
    host.turn = 1
    host.run_for(5)
    assert host.workers[1].tests.statistics().running_suspects == 1


def test_a_cache_drops_the_file_of_the_last_test_whoever_made_it(host):
    host.advertise(a_cache())
    host.run_for(1)
    [path] = [call.path for call in host.servers.calls if call.method == "GET"]
    host.turn = 1
    host.run_for(INTERVAL_S)
    [eviction] = [call for call in host.servers.calls if call.path.endswith("/evictTestFile")]
    assert eviction.json == {"path": path}


def test_a_file_that_may_be_left_at_an_origin_is_used_again_whoever_left_it(host):
    host.servers.told["DELETE o.example.org"] = answer(500)
    host.advertise(an_origin())
    host.run_for(1)
    host.turn = 1
    host.run_for(INTERVAL_S)
    urls = [call.url for call in host.servers.calls if call.method == "PUT"]
    assert len(urls) == 2
    assert len(set(urls)) == 1


# -- a turn is lost


def test_what_is_under_way_when_a_turn_is_lost_is_broken_off_and_says_nothing(host):
    host.servers.told["o.example.org"] = HANG
    host.advertise(an_origin())
    host.tick()
    host.turn = 1
    host.tick(0)
    assert host.servers.hanging == 0
    assert host.workers[0].results == []
    assert host.published == []
    statistics = host.workers[0].tests.statistics()
    assert (statistics.running, statistics.put_off, statistics.waiting) == (0, 0, 0)
    assert not host.workers[0].told(an_origin()).is_suspect


def test_a_report_under_way_when_a_turn_is_lost_is_not_counted(host):
    host.servers.told["o-web.example.org"] = HANG
    host.advertise(an_origin())
    host.tick()
    host.turn = None
    host.tick(0)
    assert host.servers.hanging == 0
    assert host.workers[0].told(an_origin()).runs == {}
    assert host.workers[0].told(an_origin()).last.passed, "it ended while the turn was this worker's"


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_who_was_stopped_in_the_midst_of_a_test_sends_nothing_any_more(host, calls):
    """As SIGSTOP does it: no thread runs; and when they run again the one that looks may be the last to do so."""
    methods = ["PUT", "GET", "DELETE", "POST"]
    host.servers.told[f"{methods[calls - 1]} o.example.org"] = HANG
    host.advertise(an_origin())
    host.tick()
    assert len(host.servers.calls) == calls
    host.turn = 1
    answer_what_hangs(host)
    host.settle()
    assert [call.method for call in host.servers.calls] == methods[:calls]
    assert host.workers[0].results == []
    assert host.published == []


def test_who_was_stopped_in_the_midst_of_a_report_sends_no_second_one(host):
    host.servers.told["o-web.example.org"] = HANG
    host.advertise(an_origin())
    host.tick()
    host.turn = 1
    host.servers.told["o-web.example.org"] = Failure.CUT_OFF
    answer_what_hangs(host)
    host.settle()
    assert len(host.servers.reports(an_origin())) == 1


def test_a_thread_that_has_ended_a_test_begins_none_when_the_turn_is_lost(make_world, monkeypatch):
    host = Host(make_world, threads=2)
    host.servers.told["o0.example.org"] = HANG
    host.advertise(*(an_origin(f"O{number}") for number in range(4)))
    monkeypatch.setattr(host.workers[0].tests, "_most", 1)
    host.run_for(1, 0)
    assert host.workers[0].tests.statistics().waiting == 3
    host.turn = 1
    answer_what_hangs(host)
    host.settle()
    assert {call.host for call in host.servers.calls} == {"o0.example.org"}
    assert host.workers[0].tests.statistics().waiting == 3
    host.tick(0)
    assert host.workers[0].tests.statistics().waiting == 0, "not here"


def test_a_turn_that_was_lost_and_won_again_in_a_moment_leaves_no_false_result(host):
    """So it is after a stop where there is no other worker."""
    host.servers.told["PUT o.example.org"] = HANG
    host.advertise(an_origin())
    host.tick(0)
    host.turn = None
    [cycle] = host.workers[0].tests._running
    host.workers[0].tests.tick()
    host.turn = 0
    host.settle()
    host.servers.told.clear()
    host.run_for(INTERVAL_S + 1, 0)
    assert cycle.calls.is_void
    assert [result.passed for _, result in host.workers[0].results] == [True]


def test_two_workers_never_test_one_server_at_once_when_a_turn_moves_again_and_again(host):
    host.servers.told["o.example.org"] = HANG
    host.advertise(an_origin())
    for number in range(40):
        host.turn = (0, None, 1, None)[number % 4]
        host.run_for(1)
        assert host.servers.hanging <= 1
        assert sum(worker.tests.statistics().running for worker in host.workers) <= 1
    assert host.servers.calls


# -- whether servers are tested


@pytest.fixture
def listener(host):
    """The worker whose turn it is not, started, and ended after the test."""
    tests = host.workers[1].tests
    tests.start()
    yield tests
    assert tests.stop(Deadline.after(LONG_S))


def test_servers_are_tested_as_long_as_somebody_does(host, listener):
    host.advertise(an_origin())
    host.run_for(5 * INTERVAL_S)
    assert listener.are_running


def test_when_nobody_tests_all_say_so(host, listener):
    host.advertise(an_origin())
    host.run_for(INTERVAL_S)
    host.turn = None
    host.run_for(director_tests.UNHEARD_S + INTERVAL_S + 1)
    assert not listener.are_running
    host.turn = 0
    host.run_for(1)
    assert listener.are_running


def test_where_tests_are_rare_none_is_missing_too_soon(make_world):
    rare = make_world(is_ours=lambda: False, interval_s=60.0)
    rare.advertise(an_origin())
    rare.tests.start()
    rare.run_for(60 + director_tests.UNHEARD_S - 1)
    assert rare.tests.are_running


def test_where_there_is_nobody_to_test_nothing_is_missing(host, listener):
    host.turn = None
    host.run_for(4 * director_tests.UNHEARD_S)
    assert listener.are_running


def answer_what_hangs(host):
    """Let every call that hangs be answered."""
    host.servers.told = {key: told for key, told in host.servers.told.items() if told != HANG}
    with host.servers._changed:
        for event in host.servers._hanging.values():
            event.set()
    assert eventually(lambda: not host.servers._hanging)
