"""`Director.CacheSortMethod: adaptive`, a ranking seed and `Director.WhenUnknown`, through the whole application.

What random draws come to is counted in the tests of `redirect`; here a debug answer tells the weights.
"""

import json
import re
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Failure
from director_wsgi.policies import BREAKER_ROW
from director_wsgi.redirect.request import PUBLIC
from director_wsgi.stat.evidence import Reason
from tests.make import at, cache
from tests.unit.conformance.conftest import Behaviour, World, example_ads

COPY: Behaviour = (200, {"Content-Length": "5", "Age": "30"})
FRESH: Behaviour = (200, {"Content-Length": "5"})
MISSING: Behaviour = (404, {})
REFUSED: Behaviour = (403, {})
SILENT: Behaviour = Failure.TIMED_OUT

MakeWorld = Callable[..., World]


@pytest.fixture
def adaptive(make_world: MakeWorld) -> World:
    return make_world(cache_sort_method="adaptive")


def learn(world: World, path: str, **behaviours: Behaviour) -> None:
    """Let these servers, and no others, be asked for a path, until all that they say is remembered.

    An answer goes out as soon as enough is known, so that the first one may not have heard every server.
    """
    world.network.behaviours = {name.lower(): behaviour for name, behaviour in behaviours.items()}
    servers = tuple(world.ads[name] for name in behaviours)
    world.director.engine.ask(servers, path, bearer=None, authority=PUBLIC, deadline=Deadline.after(5.0, world.clock))
    passed = Deadline.after(0.0, world.clock)
    give_up_at = time.monotonic() + 10
    while any(
        told.reason is Reason.NOT_ASKED
        for told in world.director.engine.ask(servers, path, bearer=None, authority=PUBLIC, deadline=passed)
    ):
        assert time.monotonic() < give_up_at
        time.sleep(0.001)
    world.network.heads.clear()


def weights(world: World, target: str, **headers: str) -> dict[str, dict[str, float]]:
    """What spoke for each server, by its short name."""
    body: Any = json.loads(world.call("GET", target, X_Pelican_Debug="true", **headers).data)
    assert body["directorSortMethod"] == "adaptive"
    return {
        url.split("//")[1].split(".")[0].upper(): info["RedirectWeights"] for url, info in body["serversInfo"].items()
    }


def availability(world: World, target: str, **headers: str) -> dict[str, float]:
    return {name: each["availabilityWeight"] for name, each in weights(world, target, **headers).items()}


def order(world: World, target: str, **headers: str) -> list[str]:
    link = world.call("GET", target, **headers).headers["Link"]
    return [name.upper() for name in re.findall(r"<https://(\w+)\.", link)]


def hosts_asked(world: World, count: int) -> list[str]:
    """Who has been asked, once so many have been: a HEAD may begin after the answer has gone out."""
    give_up_at = time.monotonic() + 10
    while len(world.network.heads) < count:
        assert time.monotonic() < give_up_at
        time.sleep(0.001)
    return sorted(url.split("//")[1].split(".")[0].upper() for url, _headers in world.network.heads)


class TestWhoIsAsked:
    def test_caches_of_the_working_set_with_the_client_s_token(self, adaptive: World) -> None:
        adaptive.network.behaviours = {"c1": COPY, "c2": MISSING, "c3": SILENT}

        response = adaptive.call("GET", "/ro/x", Authorization="Bearer T")

        assert response.status_code == 307
        assert hosts_asked(adaptive, 3) == ["C1", "C2", "C3"]
        assert {headers["Authorization"] for _url, headers in adaptive.network.heads} == {"Bearer T"}

    def test_origins_and_caches_are_asked_together(self, adaptive: World) -> None:
        adaptive.network.behaviours = {"o3": FRESH, "o4": MISSING, "c1": COPY, "c2": COPY, "c3": COPY}
        adaptive.call("GET", "/multi/x")
        assert hosts_asked(adaptive, 5) == ["C1", "C2", "C3", "O3", "O4"]

    @pytest.mark.parametrize(
        ("method", "target"),
        [
            ("GET", "/demo/x?skipstat"),
            ("GET", "/demo/x?directread"),
            ("GET", "/ro/x"),  # protected, and no token
            ("GET", "/api/v1.0/director/origin/demo/x"),
            ("PUT", "/demo/x"),
            ("DELETE", "/demo/x"),
            ("PROPFIND", "/demo/x"),
        ],
    )
    def test_nobody_is(self, adaptive: World, method: str, target: str) -> None:
        assert adaptive.call(method, target).status_code == 307
        assert adaptive.network.heads == []

    @pytest.mark.parametrize("settings", [{"check_cache_presence": False}, {"cache_sort_method": "distance"}])
    def test_nor_if_the_operator_does_not_want_it(self, make_world: MakeWorld, settings: dict[str, Any]) -> None:
        world = make_world(**{"cache_sort_method": "adaptive", **settings})
        assert world.call("GET", "/demo/x").status_code == 307
        assert world.network.heads == []

    def test_the_nearest_few_make_the_working_set(self, make_world: MakeWorld) -> None:
        world = make_world(cache_sort_method="adaptive", adaptive_truncate=3)
        far = cache("CACHE_BER", "/demo", data_url="https://c9.example.org", base_url="https://c9.example.org")
        world.director.directory.record(far, 600)  # nobody knows where it is: it weighs as the median
        near = cache(
            "CACHE_MSN",
            "/demo",
            coordinate=at(43.07, -89.40),
            data_url="https://c8.example.org",
            base_url="https://c8.example.org",
        )
        world.director.directory.record(near, 600)
        world.network.behaviours = dict.fromkeys(("c1", "c8", "c9"), COPY)

        assert sorted(order(world, "/demo/x")) == ["C1", "C8", "C9"]
        assert hosts_asked(world, 3) == ["C1", "C8", "C9"]


class TestWeights:
    def test_availability_is_that_of_the_copy(self, adaptive: World) -> None:
        learn(adaptive, "/demo/x", C1=COPY, C2=FRESH, C3=MISSING)
        assert availability(adaptive, "/demo/x") == {"C1": 2.0, "C2": 0.5, "C3": 1.25}
        assert adaptive.network.heads == []  # all was remembered

    def test_a_cache_that_refuses_counts_as_having_it(self, adaptive: World) -> None:
        learn(adaptive, "/demo/x", C1=REFUSED, C2=FRESH, C3=SILENT)
        assert availability(adaptive, "/demo/x") == {"C1": 2.0, "C2": 0.5, "C3": 1.25}

    def test_all_without_the_object_weigh_one(self, adaptive: World) -> None:
        learn(adaptive, "/demo/x", C1=MISSING, C2=MISSING, C3=MISSING)
        assert availability(adaptive, "/demo/x") == dict.fromkeys(("C1", "C2", "C3"), 1.0)

    @pytest.mark.parametrize("target", ["/demo/x?skipstat", "/ro/x"])
    def test_all_weigh_two_if_nobody_was_asked(self, adaptive: World, target: str) -> None:
        assert availability(adaptive, target) == dict.fromkeys(("C1", "C2", "C3"), 2.0)

    def test_distance_load_status_breaker_and_latency(self, adaptive: World) -> None:
        shown = weights(adaptive, "/demo/x?skipstat")
        assert {name: each["distanceWeight"] for name, each in shown.items()} == pytest.approx(
            {"C1": 0.6550045739686163, "C2": 0.06095372485864298, "C3": 0.00308277442984135}, abs=1e-9
        )
        for each in shown.values():
            assert [each[f"{name}Weight"] for name in ("ioLoad", "status", "breaker", "latency")] == [1.0] * 4

    def test_a_cache_that_says_that_it_is_degraded(self, make_world: MakeWorld) -> None:
        ads = example_ads()
        ads["C1"] = cache(
            "CACHE_CHI", "/demo", data_url=ads["C1"].data_url, base_url=ads["C1"].base_url, status="degraded"
        )
        world = make_world(cache_sort_method="adaptive", ads=ads)
        assert weights(world, "/demo/x?skipstat")["C1"]["statusWeight"] == 0.01

    def test_a_cache_that_does_not_answer_loses_its_weight_and_stays_named(self, adaptive: World) -> None:
        for number in range(BREAKER_ROW):
            learn(adaptive, f"/demo/{number}", C1=SILENT)

        adaptive.network.behaviours = {"c2": COPY, "c3": COPY}  # c1 is not asked any more: that would raise
        assert weights(adaptive, "/demo/x")["C1"]["breakerWeight"] == 0.01
        assert sorted(order(adaptive, "/demo/x")) == ["C1", "C2", "C3"]

    def test_of_origins(self, adaptive: World) -> None:
        learn(adaptive, "/multi/x", O3=SILENT, O4=FRESH)
        target = "/api/v1.0/director/origin/multi/x"
        assert availability(adaptive, target) == {"O3": 2.0, "O4": 2.0}
        assert order(adaptive, target) == ["O4", "O3"]

    def test_an_origin_without_the_object_is_out(self, adaptive: World) -> None:
        learn(adaptive, "/multi/x", O3=MISSING, O4=FRESH)
        assert order(adaptive, "/api/v1.0/director/origin/multi/x") == ["O4"]


def test_the_object_is_not_there_if_every_origin_says_so_whatever_caches_say(adaptive: World) -> None:
    learn(adaptive, "/multi/x", O3=MISSING, O4=MISSING, C1=MISSING, C2=SILENT, C3=MISSING)
    response = adaptive.call("GET", "/multi/x")
    assert response.status_code == 404
    assert adaptive.message(response) == "All sources report object was not found"


class TestSeed:
    def orders(self, world: World) -> list[list[str]]:
        return [order(world, "/demo/x?skipstat", X_Pelican_JobId=str(UUID(int=number))) for number in range(40)]

    @pytest.mark.parametrize("method", ["adaptive", "random"])
    def test_the_same_requests_get_the_same_answers_from_another_director(
        self, make_world: MakeWorld, method: str
    ) -> None:
        first = self.orders(make_world(cache_sort_method=method, ranking_seed="s"))
        assert self.orders(make_world(cache_sort_method=method, ranking_seed="s")) == first
        assert len({tuple(one) for one in first}) > 1


class TestWhenUnknown:
    def test_retry_answers_429_and_when_to_come_again(self, make_world: MakeWorld) -> None:
        world = make_world(when_unknown="retry")
        learn(world, "/multi/x", O3=SILENT, O4=SILENT)

        response = world.call("GET", "/multi/x")

        assert response.status_code == 429
        assert response.headers["Retry-After"] == "1"
        assert response.headers["X-Pelican-JobId"]
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert "Location" not in response.headers
        assert world.message(response).startswith("no origin could tell in time whether it has the object '/multi/x'")

    def test_one_word_from_one_origin_is_enough_to_redirect(self, make_world: MakeWorld) -> None:
        world = make_world(when_unknown="retry")
        learn(world, "/multi/x", O3=SILENT, O4=REFUSED)
        assert order(world, "/api/v1.0/director/origin/multi/x") == ["O4", "O3"]

    def test_redirect_is_the_default(self, world: World) -> None:
        learn(world, "/multi/x", O3=SILENT, O4=SILENT)
        assert order(world, "/api/v1.0/director/origin/multi/x") == ["O3", "O4"]
