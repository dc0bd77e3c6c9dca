"""The pipeline under the ranking `adaptive`, a seed, and what a debug answer shows of them."""

import math
from collections import Counter
from typing import Any

import pytest

from director_wsgi.errors import ObjectNotFound
from director_wsgi.federation.models import ServerAd
from director_wsgi.limits.breaker import State
from director_wsgi.redirect.request import ObjectRequest, Token
from director_wsgi.redirect.weights import Health
from director_wsgi.stat.evidence import Evidence, Presence
from director_wsgi.stat.patience import Patience
from tests.make import READS, asks, cache, namespace, origin
from tests.unit.redirect.federation import (
    ABSENT,
    COPY,
    DENIED,
    FAR,
    FARTHER,
    NEAR,
    PRESENT,
    UNKNOWN,
    Federation,
    at_origin,
)


def adaptive(*ads: ServerAd, **more: object) -> Federation:
    return Federation(*ads, cache_sort_method="adaptive", **more)  # type: ignore[arg-type]


def firsts(federation: Federation, request: ObjectRequest, times: int, **answers: Evidence) -> Counter[str]:
    return Counter(federation.order(request, **answers)[0] for _ in range(times))


class TestAdaptive:
    """Counts of random draws: the bounds lie at least five standard deviations away from what is expected."""

    CACHES = tuple(cache(f"K{n}", "/x", coordinate=NEAR) for n in range(3))

    def test_origins_and_caches_are_asked_at_once(self) -> None:
        federation = adaptive(origin("A", "/x"), origin("B", "/x"), *self.CACHES)
        federation.resolve(asks("/x/f"), A=PRESENT, B=ABSENT, K0=COPY, K1=ABSENT, K2=ABSENT)
        assert [servers for servers, *_ in federation.ask.asked] == [("A", "B", "K0", "K1", "K2")]
        assert federation.ask.patience == [Patience.BEST]

    def test_caches_are_asked_although_the_only_origin_need_not_be(self) -> None:
        federation = adaptive(origin("A", "/x"), *self.CACHES)
        federation.resolve(asks("/x/f"), K0=COPY, K1=ABSENT, K2=ABSENT)
        assert [servers for servers, *_ in federation.ask.asked] == [("K0", "K1", "K2")]

    def test_only_the_nearest_few_are_looked_at_and_named(self) -> None:
        caches = [cache("FAR", "/x", coordinate=FARTHER), cache("FAIR", "/x", coordinate=FAR), *self.CACHES]
        federation = adaptive(origin("A", "/x"), *caches, adaptive_truncate=3)
        named = federation.order(asks("/x/f"), K0=COPY, K1=COPY, K2=COPY)
        assert sorted(named) == ["K0", "K1", "K2"]
        assert federation.ask.asked[0][0] == ("K0", "K1", "K2")

    @pytest.mark.parametrize(
        ("policy", "request_"),
        [
            ({"check_cache_presence": False}, asks("/x/f")),
            ({}, asks("/x/f", skip_stat=True, query=(("skipstat", ""),))),
            ({}, asks("/x/f", direct_read=True, query=(("directread", ""),))),
            ({}, at_origin()),
            ({}, at_origin(method="PUT")),
            ({}, at_origin(method="PROPFIND")),
        ],
    )
    def test_caches_are_not_asked_where_it_is_not_wanted_or_they_are_not_named(
        self, policy: dict[str, object], request_: ObjectRequest
    ) -> None:
        federation = adaptive(origin("A", "/x"), *self.CACHES, **policy)
        federation.resolve(request_)
        assert federation.ask.asked == []

    def test_a_protected_namespace_is_asked_only_with_a_token(self) -> None:
        federation = adaptive(origin("A", namespace("/x", READS)), *self.CACHES)
        federation.resolve(asks("/x/f"))
        assert federation.ask.asked == []
        federation.resolve(asks("/x/f", token=Token(value="T", authority="d")), K0=DENIED, K1=COPY, K2=ABSENT)
        assert federation.ask.asked == [(("K0", "K1", "K2"), "/x/f", "T", "d")]

    def test_nothing_depends_on_what_a_single_cache_says(self) -> None:
        federation = adaptive(origin("A", "/x"), origin("B", "/x"), cache("K", "/x"))
        assert federation.order(asks("/x/f"), A=PRESENT, B=ABSENT) == ["K"]
        assert federation.ask.asked[0][0] == ("A", "B")
        assert federation.ask.patience == [Patience.FIRST]

    def test_chained_caches_are_asked_too(self) -> None:
        federation = adaptive(origin("A", "/x"), *self.CACHES, caches_pull_from_caches=True)
        request = at_origin(prefer_cached=True, query=(("prefercached", ""),))
        named = federation.order(request, K0=COPY, K1=ABSENT, K2=ABSENT)
        assert federation.ask.asked[0][0] == ("K0", "K1", "K2")
        assert (sorted(named[:3]), named[3:]) == (["K0", "K1", "K2"], ["A"])

    def test_a_cache_that_holds_the_object_has_four_times_the_chance_of_one_that_would_fetch_it(self) -> None:
        federation = adaptive(origin("A", "/x"), *self.CACHES[:2])
        fresh = Evidence(presence=Presence.PRESENT, length_bytes=5, status=200, age_s=0)
        counted = firsts(federation, asks("/x/f"), 2000, K0=COPY, K1=fresh)
        assert abs(counted["K0"] - 1600) < 90

    def test_one_that_said_nothing_or_no_weighs_as_the_median(self) -> None:
        federation = adaptive(origin("A", "/x"), *self.CACHES[:2])
        counted = firsts(federation, asks("/x/f"), 2000, K0=COPY, K1=UNKNOWN)
        assert abs(counted["K0"] - 1000) < 112
        counted = firsts(federation, asks("/x/f"), 2000, K0=ABSENT, K1=COPY)
        assert abs(counted["K0"] - 1000) < 112

    def test_the_near_one_has_the_better_chance(self) -> None:
        federation = adaptive(origin("A", "/x"), cache("N", "/x", coordinate=NEAR), cache("F", "/x", coordinate=FAR))
        counted = firsts(federation, asks("/x/f"), 2000, N=COPY, F=COPY)
        assert abs(counted["N"] - 1830) < 63  # 0.655 against 0.061

    @pytest.mark.parametrize(
        ("health", "expected"),
        [
            (Health(breaker=State.OPEN), 20),
            (Health(breaker=State.HALF_OPEN), 182),
            (Health(latency_s=0.45), 400),
            (Health(status_weight=0.01), 20),
            (Health(), 1000),
        ],
    )
    def test_the_sick_and_the_slow_have_the_worse_chance(self, health: Health, expected: int) -> None:
        others = Health(status_weight=1.0)
        federation = adaptive(origin("A", "/x"), *self.CACHES[:2], health={"K0": health, "K1": others})
        counted = firsts(federation, asks("/x/f"), 2000, K0=COPY, K1=COPY)
        assert abs(counted["K0"] - expected) < 5 * math.sqrt(expected)

    def test_every_cache_of_the_working_set_is_named_however_sick(self) -> None:
        sick = Health(breaker=State.OPEN, latency_s=9.0, status_weight=0.01)
        federation = adaptive(origin("A", "/x"), *self.CACHES, health=dict.fromkeys(("K0", "K1", "K2"), sick))
        assert sorted(federation.order(asks("/x/f"), K0=UNKNOWN, K1=UNKNOWN, K2=UNKNOWN)) == ["K0", "K1", "K2"]

    def test_caches_of_doubtful_version_come_last_and_are_not_asked(self) -> None:
        federation = adaptive(
            origin("A", "/x", required_features=("CacheAuthz",)), *self.CACHES, cache("V", "/x", version="unknown")
        )
        assert federation.order(asks("/x/f"), K0=COPY, K1=COPY, K2=COPY)[-1] == "V"
        assert federation.ask.asked[0][0] == ("K0", "K1", "K2")

    def test_dice_never_put_an_origin_that_may_have_it_before_one_that_has_it(self) -> None:
        federation = adaptive(
            origin("A", "/x", coordinate=FARTHER),
            origin("B", "/x", coordinate=NEAR),
            origin("C", "/x", coordinate=NEAR),
        )
        orders = [federation.order(at_origin(), A=PRESENT, B=UNKNOWN, C=UNKNOWN) for _ in range(50)]
        assert {order[0] for order in orders} == {"A"}
        assert {order[1] for order in orders} == {"B", "C"}

    def test_the_only_holder_is_named_however_far_it_is(self) -> None:
        near = [origin(f"N{n}", "/x", coordinate=NEAR) for n in range(6)]
        federation = adaptive(*near, origin("Z", "/x", coordinate=FARTHER))
        unknown = {f"N{n}": UNKNOWN for n in range(6)}
        assert federation.order(at_origin(), **unknown, Z=PRESENT)[0] == "Z"
        absent = {f"N{n}": ABSENT for n in range(6)}
        assert federation.order(at_origin(), **absent, Z=PRESENT) == ["Z"]

    def test_all_absent_is_not_found_whatever_caches_say(self) -> None:
        federation = adaptive(origin("A", "/x"), origin("B", "/x"), *self.CACHES)
        with pytest.raises(ObjectNotFound):
            federation.resolve(asks("/x/f"), A=ABSENT, B=ABSENT, K0=UNKNOWN, K1=ABSENT, K2=ABSENT)


class TestSeed:
    CACHES = tuple(cache(f"K{n}", "/x", coordinate=NEAR) for n in range(5))

    @pytest.mark.parametrize("method", ["adaptive", "random"])
    def test_a_request_replays_in_another_process_and_after_others(self, method: str) -> None:
        def order(federation: Federation, job_id: str) -> list[str]:
            return federation.order(asks("/x/f", job_id=job_id, skip_stat=True))

        def director(seed: str) -> Federation:
            return Federation(origin("A", "/x"), *self.CACHES, cache_sort_method=method, ranking_seed=seed)

        first, second = director("s"), director("s")
        jobs = [f"job-{n}" for n in range(20)]
        orders = [order(first, job) for job in jobs]
        assert [order(second, job) for job in reversed(jobs)] == orders[::-1]
        assert len({tuple(one) for one in orders}) > 10  # it is not the same order for everybody
        assert [order(director("other"), job) for job in jobs] != orders

    def test_a_path_that_is_no_utf_8_can_be_drawn_for(self) -> None:
        federation = adaptive(origin("A", "/x"), *self.CACHES, ranking_seed="s")
        assert len(federation.order(asks("/x/\udcff", skip_stat=True))) == 5

    def test_without_a_seed_all_requests_share_the_dice(self) -> None:
        federation = adaptive(origin("A", "/x"), *self.CACHES)
        request = asks("/x/f", skip_stat=True)
        assert len({tuple(federation.order(request)) for _ in range(20)}) > 10


class TestDebugBody:
    def weights(self, federation: Federation, request: ObjectRequest, **answers: Evidence) -> dict[str, Any]:
        body: Any = federation.resolve(request, **answers).debug
        return {
            url.split("://")[1].split(".")[0].upper(): info["RedirectWeights"]
            for url, info in body["serversInfo"].items()
        }

    def test_adaptive_shows_what_spoke_for_each_of_the_working_set(self) -> None:
        federation = adaptive(
            origin("A", "/x"),
            cache("K", "/x", coordinate=NEAR),
            cache("L", "/x", coordinate=NEAR),
            cache("M", "/x", coordinate=NEAR),
            cache("FAR", "/x", coordinate=FARTHER),
            adaptive_truncate=3,
            health={"K": Health(breaker=State.OPEN, latency_s=0.25, status_weight=0.5), "L": Health(status_weight=1.0)},
        )
        fresh = Evidence(presence=Presence.PRESENT, length_bytes=5, status=200)
        shown = self.weights(federation, asks("/x/f", debug=True), K=COPY, L=fresh, M=UNKNOWN)

        distance = pytest.approx(0.6550045739686163)
        assert shown == {
            "K": {
                "distanceWeight": distance,
                "ioLoadWeight": 1.0,
                "statusWeight": 0.5,
                "availabilityWeight": 2.0,
                "breakerWeight": 0.01,
                "latencyWeight": pytest.approx(0.5),
            },
            "L": {
                "distanceWeight": distance,
                "ioLoadWeight": 1.0,
                "statusWeight": 1.0,
                "availabilityWeight": 0.5,
                "breakerWeight": 1.0,
                "latencyWeight": 1.0,
            },
            "M": {
                "distanceWeight": distance,
                "ioLoadWeight": 1.0,
                "statusWeight": 0.75,
                "availabilityWeight": 1.25,
                "breakerWeight": 1.0,
                "latencyWeight": 1.0,
            },
        }

    def test_of_origins_likewise(self) -> None:
        federation = adaptive(origin("A", "/x"), origin("B", "/x"), origin("C", "/x"))
        shown = self.weights(federation, at_origin(debug=True), A=PRESENT, B=UNKNOWN, C=ABSENT)
        assert {name: weights["availabilityWeight"] for name, weights in shown.items()} == {"A": 2.0, "B": 2.0}

    def test_distance_shows_distances_and_random_nobody(self) -> None:
        ads = (origin("A", "/x"), cache("K", "/x", coordinate=NEAR))
        (weights,) = self.weights(Federation(*ads), asks("/x/f", debug=True)).values()
        assert weights["statusWeight"] == weights["availabilityWeight"] == weights["ioLoadWeight"] == 0
        assert self.weights(Federation(*ads, cache_sort_method="random"), asks("/x/f", debug=True)) == {}
