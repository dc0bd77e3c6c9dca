"""The parts of the stat benchmarks measure what they say, and would notice if it were otherwise."""

import math
import ssl
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks import stats_flock, stats_scene
from benchmarks.origins import Origins, serving_origins
from benchmarks.server import cores, serving
from benchmarks.stats_hang import hang_figures
from benchmarks.stats_play import Cycle, Event, Request, Requests, play
from benchmarks.stats_scene import SICK, SPREAD, TOUCHED, UNTOUCHED, Source, arrivals, objects, prefix_of, target
from benchmarks.stats_watch import guesses, scrape, watching
from director_wsgi.demo.scene import holder

pytestmark = pytest.mark.process


def request(
    at: float,
    latency_s: float = 0.01,
    *,
    prefix: str = TOUCHED,
    held_by: int = 1,
    status: int = 307,
    right: bool = True,
) -> Request:
    return Request(
        due_at=at,
        prefix=prefix,
        holder=held_by,
        is_served=status == 307,
        is_wrong_404=status == 404,
        is_led_to_holder=right,
        latency_s=latency_s,
        lateness_s=0.0,
    )


def test_the_p99_is_the_slowest_of_few_and_an_error_counts_as_a_time_out() -> None:
    assert Requests(request(0, n / 1000) for n in range(1, 101)).p99_ms == pytest.approx(99)
    assert Requests([request(0, 0.001), request(0, 0.5)]).p99_ms == pytest.approx(500)
    assert Requests([request(0, 0.001, status=503)]).p99_ms == pytest.approx(10_000)
    assert math.isnan(Requests([]).p99_ms)


def test_what_was_late_or_refused_is_not_in_time() -> None:
    some = Requests([request(0, 0.9), request(0, 1.2), request(0, 0.1, status=404), request(0, 0.1)])
    assert some.share_in_time(1.0) == 0.5
    assert some.wrong_404s == 1


def test_requests_due_at_the_edge_of_a_change_belong_to_neither_side() -> None:
    some = Requests(request(at) for at in (0.0, 0.85, 0.95, 1.0))
    assert len(some.between(0.0, 1.0)) == 2
    assert len(some.between(1.0, 2.0)) == 1


class _Blind:
    """A watch that never saw a breaker open."""

    def open_from(self, url: str, since: float) -> None: ...

    def closed_until(self, url: str, since: float) -> None: ...


def test_a_director_that_only_guesses_misses_its_aims() -> None:
    """Answers everything at once, right or wrong: latencies are perfect, and that is not enough."""
    namespaces = [SPREAD, TOUCHED, *UNTOUCHED]
    some = [request(n / 100, prefix=namespaces[n % 5], held_by=n % 4, right=n % 4 == 0) for n in range(1000)]
    event = Event(began_at=0.0, hung_at=5.0, healed_at=10.0, first_answer_at=18.0)
    made = {
        one.name: one
        for one in hang_figures(Requests(some), [event], _Blind(), ["https://a"] * 4, deadline_s=1.0)  # type: ignore[arg-type]
    }
    missed = {name for name, one in made.items() if one.met is False}
    assert missed == {
        "first server has the object, at 1 of 4, all well",
        "first server has the object, at 1 of 4, another one hung",
        "recovery: a healed origin is asked again, slowest of 1",
    }
    assert "NEVER KNEW" in made["touched namespace, after the breaker knew, p99"].note


def test_the_load_is_the_same_each_time_and_asks_for_nothing_twice() -> None:
    sources = (Source(TOUCHED, 50), Source(SPREAD, 20))
    made = arrivals(sources, lasts_s=2.0, run="x")
    assert made == arrivals(sources, lasts_s=2.0, run="x")
    assert len({one.target for one in made}) == len(made) == 140
    assert [one.at_s for one in made] == sorted(one.at_s for one in made)
    assert {holder(one.target) for one in made if prefix_of(one.target) == TOUCHED} == {0, 1}


def head(origins: Origins, number: int, path: str, timeout_s: float = 5.0) -> int:
    address = urlsplit(origins.base_urls[number])
    context = ssl.create_default_context(cafile=origins.ca_file)
    connection = HTTPSConnection(str(address.hostname), address.port, timeout=timeout_s, context=context)
    try:
        connection.request("HEAD", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_an_origin_has_its_own_objects_hangs_heals_and_counts(tmp_path: Path) -> None:
    with serving_origins(2, tmp_path, cores()[1]) as origins:
        assert head(origins, 0, "/x/held-by-0/1.dat") == 200
        assert head(origins, 1, "/x/held-by-0/1.dat") == 404
        origins.hang(0)
        with pytest.raises(TimeoutError):
            head(origins, 0, "/x/held-by-0/1.dat", timeout_s=0.3)
        assert head(origins, 1, "/x/held-by-1/1.dat") == 200
        origins.heal(0)
        assert origins.told()[0].first_answer_at is None
        assert head(origins, 0, "/x/held-by-0/1.dat") == 200
        told = origins.told()
        assert [one.heads for one in told] == [3, 2]
        assert told[0].first_answer_at is not None


def test_the_load_meets_a_real_director_that_leads_to_the_holders(tmp_path: Path) -> None:
    own = tmp_path / "director"
    own.mkdir()
    processors = cores()[1]
    with serving_origins(stats_scene.MANY, tmp_path, processors) as origins:
        environment = {
            "DIRECTOR_BENCHMARK_ORIGINS": str(origins.base_urls).replace("'", '"'),
            "PELICAN_SERVER_TLSCACERTIFICATEFILE": str(origins.ca_file),
            "PELICAN_MONITORING_METRICAUTHORIZATION": "false",
        }
        with (
            serving("benchmarks.stats_prefilled:application", own, environment) as server,
            watching(server, processors) as watch,
        ):
            _, decided = guesses(scrape(server))
            requests, (event,) = play(
                server,
                origins,
                (Source(SPREAD, 20), Source(UNTOUCHED[0], 20)),
                Cycle(healthy_s=1.0, hang_s=0.5, recovery_s=0.5),
                cycles=1,
                warm_up_s=0.2,
                run="test",
                processors=processors,
            )
            assert len(requests) == 88
            assert event.began_at < event.hung_at < event.healed_at
            assert requests.wrong_404s == 0
            assert requests.of(UNTOUCHED[0]).share_led_to_holder() == 1.0
            assert requests.held_by_sick(False).share_in_time(5.0) == 1.0
            one = target(SPREAD, 0, holder=3, run="one")
            heads = [told.heads for told in origins.told()]
            done = stats_flock.run(
                stats_flock.Order(
                    port=server.port,
                    connections=80,
                    targets=[one],
                    requests=320,
                    each=4,
                    base_urls=origins.base_urls,
                ),
                processors,
            )
            assert done.statuses == {307: 320}
            assert done.led_to_holder == 320
            asked = [told.heads - before for told, before in zip(origins.told(), heads, strict=True)]
            assert asked[3] == 1
            assert sum(asked[4:]) == 0
            _, decisions = guesses(scrape(server))
            assert decisions - decided == 320 + 88
        assert watch.threads > 4
        assert watch.closed_until(origins.base_urls[SICK], 0.0) is not None


def test_objects_of_a_namespace_are_held_by_its_origins_in_turn() -> None:
    targets = [next(found) for found in [objects(SPREAD, "x")] for _ in range(5)]
    assert [holder(one) for one in targets] == [0, 1, 2, 3, 0]
