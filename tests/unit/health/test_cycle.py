"""What one server sees of a test: the calls, in their order, and what is concluded from their answers."""

import pytest

from director_wsgi.health.status import HealthStatus, ReportStatus
from director_wsgi.outbound.client import Failure
from tests.unit.health.world import (
    CONTENT,
    FEDERATION,
    HANG,
    HOSTNAME,
    INTERVAL_S,
    WEB,
    a_cache,
    an_origin,
    answer,
)

FILE = "/pelican/monitoring/directorTest/director-test-2026-01-24T12:16:59Z.txt"
AT_CACHE = f"/pelican/monitoring/directorTest/{HOSTNAME}/2026-01-24/director-test-2026-01-24T12:16:59Z.txt"
WHERE = "https://o.example.org:8443"
FAILED = f"Director file transfer test cycle failed for server: {WHERE} test file transfer failed during"
TRANSFER = {"sub": WEB, "aud": [WHERE, WHERE], "scope": "storage.read:/ storage.modify:/", "lifetime_s": 60}


def claims(call):
    """What a token was asked for with, by the names of the claims."""
    token = call.token
    return {
        "iss": token["issuer"],
        "sub": token["subject"],
        "aud": token["audience"],
        "scope": token["scope"],
        "lifetime_s": token["lifetime_s"],
    }


@pytest.fixture
def tested(world):
    """Tests one server once; gives the world, and the result."""

    def begin(server, **told):
        world.servers.told.update(told)
        world.advertise(server)
        world.tick()
        return world, world.tests.last_of(server.data_url)

    return begin


def told_to(world, server):
    """What the server was told at last."""
    return world.servers.reports(server)[-1].json


# -- origins


def test_an_origin_is_written_to_read_and_cleaned_up(tested):
    world, result = tested(an_origin())
    put, get, delete, report = world.servers.calls
    assert [(call.method, call.url) for call in (put, get, delete)] == [
        ("PUT", WHERE + FILE),
        ("GET", WHERE + FILE),
        ("DELETE", WHERE + FILE),
    ]
    assert put.body == CONTENT
    assert len(CONTENT) == 66
    assert world.servers.stored == {}
    assert all(claims(call) == {"iss": FEDERATION, **TRANSFER} for call in (put, get, delete))
    assert result.status is HealthStatus.OK
    assert (report.method, report.url) == ("POST", "https://o-web.example.org/api/v1.0/origin/directorTest")


def test_the_report_is_upstreams_and_signed_for_the_server(tested):
    world, _ = tested(an_origin())
    report = world.servers.calls[-1]
    assert report.json == {
        "status": "ok",
        "message": "Director test cycle succeeded at 2026-01-24T12:16:59Z",
        "timestamp": 1769257019,
    }
    assert report.headers["Content-Type"] == "application/json"
    assert claims(report) == {
        "iss": FEDERATION,
        "sub": "director",
        "aud": ["https://o-web.example.org"],
        "scope": "pelican.director_test_report",
        "lifetime_s": 60,
    }


def test_a_refused_step_is_tried_again_in_the_directors_own_name(tested):
    """Each step, as upstream; what is refused twice has failed."""
    world, result = tested(an_origin(), **{"o.example.org": answer(403)})
    assert [(call.method, call.token["issuer"]) for call in world.servers.calls if not call.is_report] == [
        ("PUT", FEDERATION),
        ("PUT", WEB),
    ]
    assert result.status is HealthStatus.ERROR
    assert result.message == f"{FAILED} upload: error response 403 from test file upload: 403 Forbidden"


def test_the_name_that_was_obeyed_is_used_for_the_rest(world):
    server = an_origin()
    send = world.servers.send

    def picky(method, url, *, headers, **options):
        usual = send(method, url, headers=headers, **options)
        return answer(403) if FEDERATION in headers["Authorization"] and "directorTest/" in url else usual

    world.servers.send = picky
    world.advertise(server)
    world.tick()
    assert [(call.method, call.token["issuer"]) for call in world.servers.calls if not call.is_report] == [
        ("PUT", FEDERATION),
        ("PUT", WEB),
        ("GET", WEB),
        ("DELETE", WEB),
    ]
    assert world.tests.status_of(server) is HealthStatus.OK


def test_an_origin_without_a_place_for_tests_answers_and_fails(tested):
    """Storage type posixv2 has none: an error in listings, but nothing that keeps clients away."""
    _, result = tested(an_origin(), **{"PUT o.example.org": answer(404)})
    assert result.message == f"{FAILED} upload: error response 404 from test file upload: 404 Not Found"
    assert result.failure is None
    assert not result.is_unanswered


@pytest.mark.parametrize("body", [b"", CONTENT + b"\n", CONTENT[:-1] + b"x"])
def test_what_comes_back_must_be_what_was_written_to_the_byte(tested, body):
    world, result = tested(an_origin(), **{"GET o.example.org": answer(200, body)})
    assert f"{FAILED} download: contents of test file transfer body do not match upload" in result.message
    assert world.servers.stored == {}, "nothing is left behind"
    assert told_to(world, an_origin())["status"] == "error"


def test_a_file_that_cannot_be_read_is_deleted_all_the_same(tested):
    world, result = tested(an_origin(), **{"GET o.example.org": answer(500)})
    assert [method for method, _ in world.servers.steps("o.example.org")] == ["PUT", "GET", "GET", "DELETE"]
    assert f"{FAILED} download: error response 500" in result.message


def test_a_failed_deletion_is_a_failed_test(tested):
    _, result = tested(an_origin(), **{"DELETE o.example.org": answer(500)})
    why = "error response 500 from test file transfer deletion: 500 Internal Server Error"
    assert result.message == f"{FAILED} delete: {why}"


def test_a_file_that_may_be_left_is_used_again_until_it_is_gone(tested):
    """However long an origin cannot delete, it keeps one file of ours."""
    world, _ = tested(an_origin(), **{"DELETE o.example.org": answer(500)})
    world.run_for(3 * INTERVAL_S)
    assert len(world.servers.stored) == 1
    del world.servers.told["DELETE o.example.org"]
    world.run_for(INTERVAL_S)
    assert world.servers.stored == {}
    world.run_for(INTERVAL_S)
    assert {url for method, url in world.servers.steps() if method == "PUT"} > {WHERE + FILE}


def test_a_left_file_that_stands_in_the_way_is_given_up(tested):
    """An origin that overwrites nothing must not fail for ever."""
    world, _ = tested(an_origin(), **{"DELETE o.example.org": Failure.CUT_OFF})
    world.servers.told["PUT o.example.org"] = answer(409)
    world.run_for(INTERVAL_S)
    world.servers.told.clear()
    world.run_for(INTERVAL_S)
    assert world.tests.status_of(an_origin()) is HealthStatus.OK
    puts = [url for method, url in world.servers.steps() if method == "PUT"]
    assert puts[0] == puts[1] != puts[-1]


@pytest.mark.parametrize(
    "failure", [Failure.REFUSED, Failure.NAME, Failure.TLS, Failure.CUT_OFF, Failure.FORBIDDEN_ADDRESS]
)
def test_who_is_not_reached_has_not_answered(tested, failure):
    world, result = tested(an_origin(), **{"o.example.org": failure})
    assert result.is_unanswered
    assert result.failure is failure
    assert f"{FAILED} upload: failed to upload test file: o.example.org: {failure.value}" in result.message
    assert told_to(world, an_origin())["message"] == result.message


@pytest.mark.parametrize("failure", [Failure.MALFORMED, Failure.TOO_LARGE, Failure.OTHER])
def test_an_answer_that_makes_no_sense_is_an_answer(tested, failure):
    _, result = tested(an_origin(), **{"o.example.org": failure})
    assert result.status is HealthStatus.ERROR
    assert not result.is_unanswered


# -- caches


def test_a_cache_is_read_from_without_a_token(tested):
    world, result = tested(a_cache())
    get, report = world.servers.calls
    assert (get.method, get.url, get.token) == ("GET", "https://c.example.org:8443" + AT_CACHE, None)
    assert report.url == "https://c-web.example.org/api/v1.0/cache/directorTest"
    assert result.status is HealthStatus.OK


@pytest.mark.parametrize("body", [CONTENT, CONTENT + b"\n"])
def test_one_newline_at_the_end_of_what_a_cache_gives_does_not_matter(tested, body):
    _, result = tested(a_cache(), **{"c.example.org": answer(200, body)})
    assert result.passed


@pytest.mark.parametrize(
    "told", [answer(200, b""), answer(200, CONTENT + b"\n\n"), answer(206, CONTENT), answer(404), answer(504)]
)
def test_anything_else_from_a_cache_is_a_failure(tested, told):
    world, result = tested(a_cache(), **{"c.example.org": told})
    assert result.status is HealthStatus.ERROR
    assert told_to(world, a_cache())["status"] == "error"


def test_after_a_success_the_file_before_is_evicted_before_the_report(tested):
    world, _ = tested(a_cache())
    world.run_for(INTERVAL_S)
    *_, get, evict, report = world.servers.calls
    assert (evict.method, evict.url) == ("POST", "https://c-web.example.org/api/v1.0/cache/evictTestFile")
    assert evict.json == {"path": AT_CACHE}
    assert claims(evict) == claims(report)
    assert get.path != AT_CACHE
    assert report.is_report


def test_what_is_evicted_is_the_file_of_the_last_success(tested):
    world, _ = tested(a_cache())
    world.servers.told["c.example.org"] = answer(500)
    world.run_for(INTERVAL_S)
    assert not [call for call in world.servers.calls if call.path.endswith("evictTestFile")]
    del world.servers.told["c.example.org"]
    world.run_for(INTERVAL_S)
    [evict] = [call for call in world.servers.calls if call.path.endswith("evictTestFile")]
    assert evict.json == {"path": AT_CACHE}


def test_a_cache_that_evicts_nothing_has_passed_all_the_same(world):
    server = a_cache()
    send = world.servers.send

    def stubborn(method, url, **options):
        usual = send(method, url, **options)
        return answer(404) if url.endswith("evictTestFile") else usual

    world.servers.send = stubborn
    world.advertise(server)
    world.tick()
    world.run_for(2 * INTERVAL_S)
    assert world.tests.status_of(server) is HealthStatus.OK
    assert {call.json["status"] for call in world.servers.reports(server)} == {"ok"}


# -- reports


def test_without_a_web_url_there_is_a_test_and_no_report(tested):
    world, result = tested(an_origin(web_url=""))
    assert result.passed
    assert [method for method, _ in world.servers.steps()] == ["PUT", "GET", "DELETE"]
    assert world.told(an_origin()).runs == {(True, ReportStatus.NOT_SENT): 1}


@pytest.mark.parametrize("told", [answer(501), answer(403), answer(204), Failure.REFUSED, Failure.TIMED_OUT])
def test_a_report_that_is_not_taken_leaves_the_result_as_it_is(tested, told):
    world, result = tested(an_origin(), **{"o-web.example.org": told})
    assert result.passed
    assert world.tests.status_of(an_origin()) is HealthStatus.OK
    assert world.told(an_origin()).runs == {(True, ReportStatus.FAILED): 1}


def test_a_report_that_met_a_closed_connection_is_sent_again_once(tested):
    world, _ = tested(an_origin(), **{"o-web.example.org": Failure.CUT_OFF})
    assert len(world.servers.reports(an_origin())) == 2


@pytest.mark.parametrize(
    ("web_url", "base"),
    [
        ("https://o.example.org:8447/", "https://o.example.org:8447"),
        ("https://o.example.org:8447/pelican/?x=1#y", "https://o.example.org:8447/pelican"),
    ],
)
def test_reports_go_below_the_web_url_however_it_is_written(tested, web_url, base):
    world, _ = tested(an_origin(web_url=web_url))
    assert world.servers.calls[-1].url == f"{base}/api/v1.0/origin/directorTest"


# -- time


def test_a_test_has_ten_seconds_for_all_its_steps_and_the_report_five(tested):
    world, _ = tested(an_origin(), **{"o.example.org": HANG})
    world.servers.pass_time(10)
    world.settle()
    put, report = world.servers.calls
    assert put.within_s == 10
    assert report.within_s == 5
    assert world.tests.last_of(an_origin().data_url).failure is Failure.TIMED_OUT
    assert told_to(world, an_origin())["status"] == "error"


def test_a_cycle_ends_within_the_interval_whatever_hangs(tested):
    world, _ = tested(an_origin(), **{"GET o.example.org": HANG, "DELETE o.example.org": HANG})
    world.servers.told["o-web.example.org"] = HANG
    for _ in range(round(INTERVAL_S)):
        world.servers.pass_time(1)
        world.settle()
    assert world.tests.statistics().running == 0
    assert [call.method for call in world.servers.calls] == ["PUT", "GET", "DELETE", "POST"]


# -- our own key


def test_without_a_key_no_origin_is_tested_and_nothing_concluded(world, caplog):
    world.minter.has_key = False
    world.advertise(an_origin(), an_origin("O2"))
    world.run_for(3 * INTERVAL_S)
    assert world.servers.calls == []
    assert world.results == []
    assert world.tests.status_of(an_origin()) is HealthStatus.UNKNOWN
    assert "no key" in world.tests.last_of(an_origin().data_url).message
    assert world.told(an_origin()).runs == {}
    assert len([record for record in caplog.records if "no key" in record.message]) == 1


def test_without_a_key_caches_are_tested_and_not_told(world):
    world.minter.has_key = False
    world.advertise(a_cache())
    world.tick()
    assert world.tests.status_of(a_cache()) is HealthStatus.OK
    assert [call.method for call in world.servers.calls] == ["GET"]
    assert world.told(a_cache()).runs == {(True, ReportStatus.NOT_SENT): 1}
