"""All servers together: who is tested when, on which threads, and what those that hang cost the others."""

import itertools
import threading
from dataclasses import replace

import pytest

from director_wsgi.health import complaints
from director_wsgi.health import tests as director_tests
from director_wsgi.health.status import HealthStatus, ReportStatus
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Failure
from tests.unit.health.world import HANG, INTERVAL_S, LONG_S, a_cache, an_origin, answer, eventually, make_world

CRITICAL_S = 30.0
"""A server that is told nothing for so long calls itself critical."""


def gaps(world, server):
    """Seconds between the reports to a server, the time before the first and after the last one included."""
    times = [1000.0, *(call.at for call in world.servers.reports(server)), world.clock()]
    return [later - earlier for earlier, later in itertools.pairwise(times)]


# -- who, and when


def test_a_server_is_tested_at_once_and_then_in_every_interval(world):
    world.advertise(an_origin(), a_cache())
    world.tick()
    assert len(world.servers.reports(an_origin())) == 1
    world.run_for(10 * INTERVAL_S)
    for server in (an_origin(), a_cache()):
        assert 10 <= len(world.servers.reports(server)) <= 12
        assert max(gaps(world, server)) <= INTERVAL_S + director_tests.TICK_S


def test_a_server_that_is_filtered_is_not_tested_and_keeps_its_last_status(world):
    world.advertise(an_origin("O"), an_origin("P"))
    world.tick()
    world.run_for(1)
    world.filtered = frozenset({"O"})
    before = len(world.servers.reports(an_origin("O")))
    world.run_for(3 * INTERVAL_S)
    assert len(world.servers.reports(an_origin("O"))) == before
    assert len(world.servers.reports(an_origin("P"))) > before
    assert world.tests.status_of(an_origin("O")) is HealthStatus.OK


def test_a_server_that_is_filtered_no_more_is_tested_soon(world):
    world.filtered = frozenset({"O"})
    world.advertise(an_origin())
    world.run_for(3 * INTERVAL_S)
    assert world.servers.calls == []
    world.filtered = frozenset()
    world.run_for(1.5)
    assert len(world.servers.reports(an_origin())) == 1


def test_who_wants_no_tests_has_none(world):
    server = an_origin(director_test_disabled=True)
    world.advertise(server)
    world.run_for(INTERVAL_S)
    assert world.servers.calls == []
    assert world.tests.status_of(server) is HealthStatus.DISABLED


def test_who_wants_no_tests_any_more_has_none_any_more(world):
    """Upstream goes on until the advertisement ends."""
    world.advertise(an_origin())
    world.tick()
    world.advertise(an_origin(director_test_disabled=True))
    before = len(world.servers.calls)
    world.run_for(3 * INTERVAL_S)
    assert len(world.servers.calls) == before


def test_behind_a_broker_nobody_is_tested_and_nothing_is_claimed(world):
    server = an_origin(broker_url="https://broker.example.org")
    world.advertise(server)
    world.run_for(INTERVAL_S)
    assert world.servers.calls == []
    assert world.tests.status_of(server) is HealthStatus.UNKNOWN
    assert world.tests.last_of(server.data_url) is None


def test_when_the_advertisement_has_gone_so_have_the_test_and_all_that_was_counted(world):
    world.advertise(an_origin())
    world.tick()
    world.retire(an_origin())
    before = len(world.servers.calls)
    world.run_for(3 * INTERVAL_S)
    assert len(world.servers.calls) == before
    assert world.tests.statistics().servers == ()
    assert world.tests.status_of(an_origin()) is HealthStatus.UNKNOWN


def test_a_test_under_way_is_broken_off_when_its_server_goes_and_nothing_comes_of_it(world):
    world.servers.told["o.example.org"] = HANG
    world.advertise(an_origin())
    world.tick()
    world.retire(an_origin())
    world.tick()
    assert world.servers.hanging == 0
    assert world.results == []
    assert world.servers.reports(an_origin()) == []
    assert world.tests.statistics().put_off == 0


def test_before_the_first_result_a_server_is_initializing(world):
    world.servers.told["o.example.org"] = HANG
    world.advertise(an_origin())
    world.tick()
    assert world.tests.status_of(an_origin()) is HealthStatus.INITIALIZING


def test_a_server_has_one_test_at_a_time(world):
    world.servers.told["o.example.org"] = HANG
    world.advertise(an_origin())
    for _ in range(9):
        world.servers.pass_time(1.0)
        world.tick()
        assert len(world.servers.calls) == 1


def test_a_server_that_comes_back_does_not_overlap_with_its_past(world):
    """Nothing ends at once; that the old test has been told to end is not enough."""
    world.servers.told["o.example.org"] = HANG
    world.advertise(an_origin())
    world.tick()
    [cycle] = world.tests._running
    cycle.calls.cut = lambda: None  # as if it took its time
    world.retire(an_origin())
    world.tick()
    world.advertise(an_origin())
    world.tick()
    assert len(world.servers.calls) == 1
    world.servers.pass_time(10.0)
    world.settle()
    world.run_for(INTERVAL_S)
    assert [method for method, _ in world.servers.steps()].count("PUT") == 2


def test_the_newest_advertisement_is_what_is_tested_and_told(world):
    world.advertise(an_origin())
    world.tick()
    world.advertise(replace(an_origin(), web_url="https://new.example.org"))
    world.run_for(INTERVAL_S)
    assert world.servers.calls[-1].url == "https://new.example.org/api/v1.0/origin/directorTest"


# -- what comes of it


def test_every_result_is_passed_on_before_the_server_is_told(world):
    world.servers.told["o-web.example.org"] = HANG
    world.advertise(an_origin())
    world.tick()
    assert [(server.name, result.passed) for server, result in world.results] == [("O", True)]
    assert world.tests.status_of(an_origin()) is HealthStatus.OK


def test_tests_are_counted_by_how_they_and_their_reports_ended(world):
    world.servers.told["PUT o.example.org"] = answer(500)
    world.advertise(an_origin(), a_cache())
    world.tick()
    world.run_for(1)
    world.servers.told["o-web.example.org"] = answer(501)
    world.run_for(INTERVAL_S)
    assert world.told(an_origin()).runs == {(False, ReportStatus.SUCCEEDED): 1, (False, ReportStatus.FAILED): 1}
    assert world.told(a_cache()).runs == {(True, ReportStatus.SUCCEEDED): 2}


def test_the_log_says_once_in_a_while_what_is_wrong_and_that_it_is_well_again(world, caplog):
    caplog.set_level("INFO")
    world.servers.told["o-web.example.org"] = answer(501)
    world.advertise(an_origin())
    world.run_for(complaints.COMPLAINT_S - 2)
    assert [record.message for record in caplog.records] == [
        "O: the report of its test was not taken: 501 Not Implemented"
    ]
    world.run_for(2 * INTERVAL_S)
    assert len(caplog.records) == 2
    world.servers.told.clear()
    world.run_for(2 * INTERVAL_S)
    assert [record.message for record in caplog.records][2:] == ["O: the director test is well again"]


def test_a_server_that_flaps_does_not_flood_the_log(world, caplog):
    caplog.set_level("INFO")
    world.advertise(an_origin())
    for number in range(16):
        world.servers.told["o.example.org"] = answer(500) if number % 2 else answer(201)
        world.run_for(INTERVAL_S)
    assert len(caplog.records) <= 2


def test_no_token_is_in_a_message_a_result_or_the_log(world, caplog):
    caplog.set_level("DEBUG")
    world.servers.told |= {"o.example.org": answer(403), "c-web.example.org": answer(403)}
    world.advertise(an_origin(), a_cache())
    world.run_for(2 * INTERVAL_S)
    said = [record.getMessage() for record in caplog.records]
    said += [repr(world.tests.statistics()), repr(world.results)]
    assert not [text for text in said if "storage.read" in text or "director_test_report" in text]


# -- threads


def test_there_are_no_more_threads_than_allowed_and_none_without_work(make_world):
    world = make_world(threads=4)
    world.servers.told = {f"o{number}.example.org": HANG for number in range(10)}
    world.advertise(*(an_origin(f"O{number}") for number in range(10)))
    world.run_for(1)
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith("director-test-")]
    assert len(names) == 4
    world.retire(*(an_origin(f"O{number}") for number in range(10)))
    world.tick()
    assert eventually(lambda: not any(thread.name.startswith("director-test-") for thread in threading.enumerate()))


def test_one_thread_does_the_tests_of_many_servers(make_world, monkeypatch):
    """A thread goes on with what is due instead of ending."""
    world = make_world(threads=2)
    world.advertise(*(an_origin(f"O{number}") for number in range(20)))
    monkeypatch.setattr(world.tests, "_most", 1)
    world.run_for(2)
    world.run_for(INTERVAL_S)
    assert min(len(world.servers.reports(an_origin(f"O{number}"))) for number in range(20)) >= 1


def test_where_the_system_gives_no_thread_the_server_is_tested_next_time(world, monkeypatch):
    def no_thread(_thread):
        raise RuntimeError("can't start new thread")

    world.advertise(an_origin())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError):
            world.tests.tick()
    assert world.tests.statistics().running == 0
    world.run_for(INTERVAL_S)
    assert len(world.servers.reports(an_origin())) == 1


def test_a_mistake_of_ours_costs_one_test(world, monkeypatch, caplog):
    with monkeypatch.context() as patched:
        patched.setattr("director_wsgi.health.cycle.files.path_at_origin", lambda _now: 1 / 0)
        world.advertise(an_origin())
        world.run_for(INTERVAL_S - 2)
    assert "unforeseen" in caplog.text
    world.run_for(INTERVAL_S)
    assert world.tests.status_of(an_origin()) is HealthStatus.OK


def test_the_end_ends_what_hangs_and_concludes_nothing(make_world):
    world = make_world()
    world.servers.told["o.example.org"] = HANG
    world.advertise(an_origin())
    world.tests.start()
    world.servers.wait_for(1)
    assert world.tests.stop(Deadline.after(LONG_S))
    assert world.servers.is_closed
    assert world.results == []
    assert world.tests.stop(Deadline.after(LONG_S))


def test_whether_servers_are_tested_is_told_by_what_is_done(world, monkeypatch):
    assert not world.tests.are_running
    looks = threading.Semaphore(0)
    monkeypatch.setattr(world.tests, "_servers", lambda: looks.release() or {})
    world.tests.start()
    assert looks.acquire(timeout=LONG_S)
    assert world.tests.are_running
    monkeypatch.setattr(world.tests, "_servers", lambda: 1 / 0)
    assert eventually(lambda: not world.tests.are_running or world.clock.advance(1))
    assert world.tests.stop(Deadline.after(LONG_S))
    assert not world.tests.are_running


# -- servers that hang


def hung(count):
    return [an_origin(f"HUNG{number}") for number in range(count)]


def well(count):
    return [(an_origin, a_cache)[number % 2](f"WELL{number}") for number in range(count)]


def test_with_more_hung_servers_than_threads_healthy_ones_are_reported_to_in_every_interval(make_world):
    """All appear at once, and nothing is known of anybody: the worst that can be."""
    world = make_world(threads=4)
    sick, healthy = hung(20), well(6)
    world.servers.told = {f"{server.name.lower()}.example.org": HANG for server in sick}
    world.advertise(*sick, *healthy)
    world.tick()
    world.run_for(120)
    for server in healthy:
        assert max(gaps(world, server)) < CRITICAL_S, server.name
        assert max(gaps(world, server)[1:]) <= INTERVAL_S + 2 * director_tests.TICK_S, (
            "once the sick ones are known, nobody waits"
        )
        assert world.tests.status_of(server) is HealthStatus.OK


def test_when_many_begin_to_hang_at_once_healthy_ones_are_told_before_they_turn_critical(make_world):
    """Sixty-four threads and five hundred servers, as at a site with a dead network."""
    world = make_world(threads=64)
    sick, healthy = hung(500), well(10)
    world.advertise(*sick, *healthy)
    world.tick()
    world.run_for(2 * INTERVAL_S, step_s=0.5)
    world.servers.told = {f"{server.name.lower()}.example.org": HANG for server in sick}
    world.run_for(5 * INTERVAL_S, step_s=0.5)
    assert max(gap for server in healthy for gap in gaps(world, server)) < CRITICAL_S
    assert {world.tests.status_of(server) for server in healthy} == {HealthStatus.OK}


def test_servers_that_hung_have_at_most_half_of_the_threads(make_world):
    world = make_world(threads=6)
    sick = hung(20)
    world.servers.told = {f"{server.name.lower()}.example.org": HANG for server in sick}
    world.advertise(*sick)
    world.run_for(40)
    for _ in range(100):
        world.run_for(0.25)
        assert world.tests.statistics().running_suspects <= 3
    assert world.tests.statistics().running_suspects == 3


def test_every_server_that_hangs_is_tested_again_and_found_to_be_in_error(make_world):
    world = make_world(threads=4)
    sick = hung(12)
    world.servers.told = {f"{server.name.lower()}.example.org": HANG for server in sick}
    world.advertise(*sick)
    world.run_for(90)
    assert {world.tests.status_of(server) for server in sick} == {HealthStatus.ERROR}
    assert all(world.tests.last_of(server.data_url).failure is Failure.TIMED_OUT for server in sick)
    assert all(world.servers.reports(server) for server in sick), "its web API may be well"


def test_who_hung_and_is_well_again_is_found_to_be_so_among_others_that_hang(make_world):
    world = make_world(threads=4)
    sick = hung(8)
    world.servers.told = {f"{server.name.lower()}.example.org": HANG for server in sick}
    world.advertise(*sick)
    world.run_for(60)
    del world.servers.told["hung3.example.org"]
    world.run_for(45)
    assert world.tests.status_of(sick[3]) is HealthStatus.OK
    assert not world.told(sick[3]).is_suspect


def test_a_test_that_was_broken_off_for_others_says_nothing_and_is_made_anew(make_world):
    world = make_world(threads=2)
    sick = hung(2)
    world.servers.told = {f"{server.name.lower()}.example.org": HANG for server in sick}
    world.advertise(*sick)
    world.run_for(1)
    world.advertise(*well(1))
    world.run_for(2)
    assert world.tests.statistics().put_off == 1
    assert world.results[0][0].name == "WELL0"
    assert len(world.results) == 1, "nothing is concluded of who was broken off"
    world.servers.told.clear()
    world.run_for(20)
    assert world.tests.status_of(sick[0]) is HealthStatus.OK


def test_nobody_is_broken_off_as_long_as_there_are_threads(make_world):
    world = make_world(threads=4)
    sick = hung(3)
    world.servers.told = {f"{server.name.lower()}.example.org": HANG for server in sick}
    world.advertise(*sick, *well(3))
    world.run_for(9)
    assert world.tests.statistics().put_off == 0


def test_a_slow_server_that_goes_on_answering_is_not_broken_off(make_world):
    """What counts is the silence of one call, not how long all of them took."""
    world = make_world(threads=2)
    world.servers.told = {"slow0.example.org": HANG, "slow1.example.org": HANG}
    world.advertise(an_origin("SLOW0"), an_origin("SLOW1"), an_origin("WAITS"))
    world.tick()
    world.run_for(1)
    for _ in range(3):
        with world.servers._changed:
            for event in world.servers._hanging.values():
                event.set()  # each call is answered, after a second
        world.settle()
        world.run_for(1)
    assert world.tests.statistics().put_off == 0


def test_a_server_whose_report_hangs_is_a_suspect_too(world):
    world.servers.told["o-web.example.org"] = HANG
    world.advertise(an_origin())
    world.tick()
    world.servers.pass_time(5)
    world.settle()
    told = world.told(an_origin())
    assert told.is_suspect
    assert told.last.passed
    assert told.runs == {(True, ReportStatus.FAILED): 1}


# -- another interval


def test_another_interval_holds_for_the_next_tests_and_what_was_found_out_stays():
    world = make_world(interval_s=60.0)
    world.advertise(an_origin())
    world.tick()
    before = world.told(an_origin())
    assert sum(before.runs.values()) == 1
    world.tests.adopt(interval_s=5.0)
    assert world.told(an_origin()) == before
    world.run_for(5.0)
    assert sum(world.told(an_origin()).runs.values()) == 2
    world.run_for(20.0)
    assert 6 <= sum(world.told(an_origin()).runs.values()) <= 7


def test_a_shorter_interval_does_not_make_all_due_at_once():
    world = make_world(interval_s=600.0)
    servers = [an_origin(f"O{number}") for number in range(40)]
    world.advertise(*servers)
    world.run_for(60.0)
    done = len(world.results)
    assert done == 40
    world.tests.adopt(interval_s=10.0)
    world.tick()
    assert len(world.results) - done <= 4
    world.run_for(10.0)
    assert len(world.results) - done >= 40


def test_who_hears_of_a_shorter_interval_first_gives_the_worker_that_tests_time_to_hear_of_it_too():
    world = make_world(interval_s=600.0, is_ours=lambda: False)
    world.advertise(an_origin())
    world.tests.start()
    try:
        world.clock.advance(300.0)
        world.tick()
        assert world.tests.are_running
        world.tests.adopt(interval_s=15.0)
        assert world.tests.are_running
        world.clock.advance(director_tests.UNHEARD_S + 0.001)
        world.tick()
        assert not world.tests.are_running
        world.tests.adopt(interval_s=14.0)
        assert not world.tests.are_running
    finally:
        world.tests.stop(Deadline.after(LONG_S))
