"""What each weight is, and that it is neutral where nothing is known."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.federation.models import Coordinate
from director_wsgi.limits.breaker import State
from director_wsgi.redirect.adaptive import draw
from director_wsgi.redirect.weights import (
    Health,
    distance_weights,
    io_load_weight,
    latency_weight,
    weigh,
    with_median,
)
from tests.make import at, cache

MADISON = at(43.07, -89.40)
CHICAGO, NEW_YORK, LOS_ANGELES = at(41.88, -87.63), at(40.71, -74.01), at(34.05, -118.24)


def test_a_server_nobody_can_place_weighs_as_the_median() -> None:
    weights = distance_weights([CHICAGO, None, LOS_ANGELES, NEW_YORK, at(0, 0)], MADISON)

    assert weights[0] == pytest.approx(0.6550045739686163, abs=1e-9)
    assert weights[3] == pytest.approx(0.06095372485864298, abs=1e-9)
    assert weights[1] == weights[4] == weights[3]


@pytest.mark.parametrize("client", [None, at(0, 0)])
def test_a_client_nobody_can_place_weighs_all_alike(client: Coordinate | None) -> None:
    assert distance_weights([CHICAGO, None], client) == [1.0, 1.0]


class TestMedian:
    @pytest.mark.parametrize(
        ("values", "filled"),
        [
            ([], []),
            ([None, None], [1.0, 1.0]),
            ([None, 0.5, 2.0, 0.5], [0.5, 0.5, 2.0, 0.5]),
            ([0.5, None, 2.0], [0.5, 1.25, 2.0]),  # of an even number, the mean of the two in the middle
        ],
    )
    def test_the_unknown_get_the_median_of_the_known(self, values: list[float | None], filled: list[float]) -> None:
        assert with_median(values) == filled

    @given(st.lists(st.none() | st.floats(0.001, 2)))
    def test_the_known_are_left_alone(self, values: list[float | None]) -> None:
        filled = with_median(values)
        assert [new for new, old in zip(filled, values, strict=True) if old is not None] == [
            value for value in values if value is not None
        ]


@pytest.mark.parametrize(
    ("latency_s", "weight"),
    [(None, 1.0), (0.0, 1.0), (0.05, 1.0), (0.25, 0.5), (0.45, 0.25), (2.0, 0.1), (math.inf, 0.1)],
)
def test_latency_halves_every_fifth_of_a_second_down_to_a_tenth(latency_s: float | None, weight: float) -> None:
    assert latency_weight(latency_s) == pytest.approx(weight)


@pytest.mark.parametrize(
    ("load", "weight"),
    [(0.0, 1.0), (100.0, 1.0), (300.0, 0.5), (500.0, 0.25), (101.0, 2 ** (-1 / 200)), (None, None), (-1.0, None)],
)
def test_load_halves_every_two_hundred_above_one_hundred(load: float | None, weight: float | None) -> None:
    assert io_load_weight(load) == (None if weight is None else pytest.approx(weight, abs=1e-12))


@pytest.mark.parametrize("load", [1e5, 1e300, math.inf])
def test_no_load_takes_the_whole_weight(load: float) -> None:
    health = Health(io_load=load, breaker=State.OPEN, latency_s=9.0, status_weight=0.01)
    (weights,) = weigh([cache("C", "/x", coordinate=at(-43.07, 90.60))], MADISON, [False], [health])
    for seed in range(100):
        assert draw([weights.product], random.Random(seed)) == [0]


def test_a_server_whose_load_nobody_knows_weighs_as_the_median() -> None:
    loads = (300.0, None, 500.0, 0.0, math.nan)
    weights = weigh([cache(name, "/x") for name in "ABCDE"], None, [None] * 5, [Health(io_load=one) for one in loads])
    assert [one.io_load for one in weights] == [0.5, 0.5, 0.25, 1.0, 0.5]


@pytest.mark.parametrize(
    ("breaker", "weight"), [(None, 1.0), (State.CLOSED, 1.0), (State.HALF_OPEN, 0.1), (State.OPEN, 0.01)]
)
def test_a_breaker_that_is_not_closed_takes_weight_away(breaker: State | None, weight: float) -> None:
    (weights,) = weigh([cache("C", "/x")], MADISON, [None], [Health(breaker=breaker)])
    assert weights.breaker == weight


def test_the_product_is_of_all() -> None:
    (weights,) = weigh(
        [cache("C", "/x", coordinate=CHICAGO)],
        MADISON,
        [False],
        [Health(breaker=State.HALF_OPEN, latency_s=0.25, status_weight=0.8, io_load=500.0)],
    )
    assert weights.product == pytest.approx(0.6550045739686163 * 0.25 * 0.8 * 0.5 * 0.1 * 0.5)


def test_availability_is_two_or_a_half_and_the_median_for_the_silent() -> None:
    caches = [cache(name, "/x") for name in "ABCD"]
    weights = weigh(caches, MADISON, [True, False, None, False], [Health()] * 4)
    assert [one.availability for one in weights] == [2.0, 0.5, 0.5, 0.5]


def test_where_nothing_is_known_all_weigh_one() -> None:
    (weights,) = weigh([cache("C", "/x")], None, [None], [Health()])
    assert weights.product == 1
