"""`/livez`, `/readyz` and `health` in the listing, of a whole director: true, cheap, and nobody else's business."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from director_wsgi.federation.store.errors import StoreError
from director_wsgi.health.trial import Trial
from director_wsgi.outbound.client import Failure
from director_wsgi.runtime.admin import Asked
from director_wsgi.web.probes import Probes
from tests.unit.conformance.conftest import World

MakeWorld = Callable[..., World]


def trial_of(world: World) -> Trial:
    return world.director.readiness._trial


def ready(world: World) -> tuple[int, Any]:
    answer = world.call("GET", "/readyz?verbose")
    return answer.status_code, json.loads(answer.data)


def numbers(world: World) -> dict[str, float]:
    """What the metrics say of requests, servers and places."""
    probes: Probes = world.client.application.extensions["probes"]  # type: ignore[attr-defined]
    text = probes.metrics.text().decode()
    names = (
        "director_wsgi_decisions",
        "director_wsgi_redirect",
        "pelican_director",
        "director_wsgi_places",
        "stat_gate",
    )
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if any(name in sample.name for name in names)
    }


def test_a_director_nobody_has_advertised_to_is_alive_and_ready(make_world: MakeWorld) -> None:
    world = make_world(ads={}, age_s=0)
    trial_of(world).run()
    assert world.call("GET", "/livez").status_code == 200
    status, body = ready(world)
    assert (status, body["status"]) == (200, "ready")
    assert {check["status"] for check in body["checks"].values()} == {"ok"}


@pytest.mark.parametrize("method", ["distance", "random", "adaptive"])
@pytest.mark.parametrize("when_unknown", ["redirect", "retry"])
def test_a_trial_asks_no_server_and_is_counted_nowhere(make_world: MakeWorld, method: str, when_unknown: str) -> None:
    world = make_world(cache_sort_method=method, when_unknown=when_unknown)
    before = numbers(world)
    for _ in range(30):  # every namespace has its turn
        trial_of(world).run()
    assert trial_of(world).trouble() == ""
    assert world.network.heads == []
    assert numbers(world) == before
    assert before


def test_sick_servers_do_not_make_a_director_unready(make_world: MakeWorld) -> None:
    world = make_world()
    world.network.behaviours = dict.fromkeys(("o1", "o2", "o3", "o4"), Failure.REFUSED)
    for _ in range(20):
        world.call("GET", "/multi/f")
        world.clock.advance(5)
    trial_of(world).run()
    assert ready(world)[0] == 200


def test_a_defect_in_decisions_is_503_at_both_doors(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world()

    def fail(_self: object, _request: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr("director_wsgi.redirect.resolver.Resolver._match", fail)
        trial_of(world).run()
    status, body = ready(world)
    assert (status, body["checks"]["decisions"]["status"]) == (503, "failed")
    probes: Probes = world.client.application.extensions["probes"]  # type: ignore[attr-defined]
    told = probes.answer(Asked(path="/readyz", query="verbose"))
    assert (told.status, json.loads(told.body)) == (status, body)
    trial_of(world).run()
    assert ready(world)[0] == 200


def test_lanes_that_stay_exhausted_are_503_until_some_have_been_left_for_a_while(make_world: MakeWorld) -> None:
    world = make_world()
    lanes = world.director.engine.lanes
    permits = [permit for _ in range(28) if (permit := lanes.take_nowait())]

    def seconds_until(status: int) -> int:
        for second in range(60):
            world.director.vitals.refresh()
            if ready(world)[0] == status:
                return second
            world.clock.advance(1.0)
        raise AssertionError(f"never {status}")

    assert seconds_until(503) == 10
    assert ready(world)[1]["checks"]["waiting"]["status"] == "failed"
    permits[0].release()
    assert seconds_until(200) == 5


def test_before_what_is_stored_is_read_it_is_503_and_trouble_with_the_store_is_not(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    monkeypatch.setattr(type(world.director.replica), "has_read", False)
    status, body = ready(world)
    assert (status, body["checks"]["stored"]["status"]) == (503, "failed")
    monkeypatch.setattr(type(world.director.replica), "trouble", StoreError("/var/lib/canary"))
    answer = world.call("GET", "/readyz")
    assert (answer.status_code, list(json.loads(answer.data)["checks"])) == (200, ["store"])
    assert b"canary" not in answer.data


def test_the_listing_says_how_the_director_is(make_world: MakeWorld) -> None:
    world = make_world()
    world.network.behaviours = {"o3": Failure.REFUSED, "o4": (200, {"Content-Length": "5"})}
    (entry,) = json.loads(world.call("GET", "/api/v1.0/director/directors").data)
    assert "health" not in entry  # nobody has looked yet
    for number in range(20):
        world.call("GET", f"/api/v1.0/director/origin/multi/{number}")
    world.director.vitals.refresh()
    (entry,) = json.loads(world.call("GET", "/api/v1.0/director/directors").data)
    assert entry["health"] == {
        "status": "ok",
        "since": "2026-01-01T00:00:00Z",
        "servers": {"ok": 1, "refusing": 1, "unknown": 5},
        "lanes": {"inUse": 0, "limit": 28},
    }


def test_nobody_is_asked_how_things_are_by_who_reads_the_listing(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    world.director.vitals.refresh()
    monkeypatch.setattr(type(world.director.vitals), "_health", None)
    monkeypatch.setattr(type(world.director.readiness), "checks", None)
    (entry,) = json.loads(world.call("GET", "/api/v1.0/director/directors").data)
    assert entry["health"]["status"] == "ok"


def test_only_reading_is_a_probe(make_world: MakeWorld) -> None:
    world = make_world(ads={})
    assert world.call("HEAD", "/livez").status_code == 200
    assert world.call("PUT", "/livez").status_code == 404  # an object like any other
    assert world.call("GET", "/livez/x").status_code == 404
