"""Who is nearest, of few and of many: the order that distances give, and how much of it is remembered."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.federation.models import Coordinate
from director_wsgi.federation.snapshot import Group
from director_wsgi.redirect.geo import distance_miles, is_known
from director_wsgi.redirect.nearest import CROWD, FIELD_DEGREES, LONGEST, Orders, around
from tests.make import at

MADISON = at(43.07, -89.40)
CHICAGO, NEW_YORK, LOS_ANGELES = at(41.88, -87.63), at(40.71, -74.01), at(34.05, -118.24)
MOST = 6

Server = tuple[int, Coordinate | None]


def place_of(server: Server) -> Coordinate | None:
    return server[1]


def group_of(*places: Coordinate | None) -> Group[Server]:
    return Group(tuple(enumerate(places)))


known = st.builds(at, st.floats(-90, 90), st.floats(-180, 180)).filter(is_known)
edges = st.sampled_from([-90.0, -FIELD_DEGREES, 0.0, FIELD_DEGREES, 87.5, 90.0])
on_an_edge = st.builds(at, edges, st.sampled_from([-180.0, -177.5, 0.0, 1.25, 2.5, 180.0])).filter(is_known)
sites = st.lists(known | on_an_edge, min_size=1, max_size=80)
"""Places of servers; fewer than servers, so that some stand at the same."""


@given(places=st.lists(known, min_size=2, max_size=8), client=known)
def test_the_order_is_that_of_distances_on_the_sphere(places: list[Coordinate], client: Coordinate) -> None:
    ordered = Orders().nearest(group_of(*places), place_of, client)
    distances = [distance_miles(client, place) for _, place in ordered if place]
    assert all(nearer <= farther + 0.1 for nearer, farther in pairwise(distances))  # rounding: some hundred yards


@given(sites=sites, clients=st.lists(known | on_an_edge, min_size=1, max_size=5), seed=st.integers(0, 99))
def test_the_nearest_of_a_crowd_begin_the_order_of_all(
    sites: list[Coordinate], clients: list[Coordinate], seed: int
) -> None:
    generator = random.Random(seed)
    group = group_of(*generator.choices(sites, k=CROWD * MOST + generator.randrange(80)))
    orders = Orders()
    for client in clients:
        assert orders.nearest(group, place_of, client, MOST) == orders.nearest(group, place_of, client)[:MOST]


@pytest.mark.parametrize("spread_degrees", [0.001, 0.1, 3.0, 25.0])
def test_the_nearest_of_a_crowd_around_the_client_begin_the_order_of_all(spread_degrees: float) -> None:
    generator, orders = random.Random(7), Orders()

    def near(latitude: float, longitude: float) -> Coordinate:
        north, east = generator.uniform(-1, 1) * spread_degrees, generator.uniform(-1, 1) * spread_degrees
        return at(max(-90, min(90, latitude + north)), max(-180, min(180, longitude + east)))

    for latitude, longitude in ((43.0, -89.4), (0.0, 2.5), (89.9, 10.0), (-90.0, 0.0), (12.5, 180.0), (12.5, -180.0)):
        group = group_of(*(near(latitude, longitude) for _ in range(200)))
        for _ in range(50):
            client = near(latitude, longitude)
            assert orders.nearest(group, place_of, client, MOST) == orders.nearest(group, place_of, client)[:MOST]


def test_of_a_crowd_only_those_are_compared_who_can_be_near() -> None:
    """What a field remembers is what each new place in it has to be compared with."""
    generator = random.Random(3)
    group = group_of(*(at(generator.uniform(25, 50), generator.uniform(-125, -65)) for _ in range(1000)))
    members, vectors = around(group, place_of, MOST, (17, -36))
    assert MOST <= len(members) == len(vectors) < 100


def test_an_order_is_remembered_for_an_exact_place() -> None:
    group, orders = group_of(LOS_ANGELES, CHICAGO), Orders()
    assert orders.nearest(group, place_of, MADISON) is orders.nearest(group, place_of, at(43.07, -89.40))
    assert orders.nearest(group, place_of, at(43.07, -89.41)) is not orders.nearest(group, place_of, MADISON)
    assert orders.nearest(group, place_of, MADISON, 1) == ((1, CHICAGO),)


def test_orders_are_remembered_up_to_a_bound_and_long_ones_not_at_all() -> None:
    orders = Orders(capacity=10)
    for longitude in range(100):
        orders.nearest(group_of(CHICAGO, NEW_YORK), place_of, at(10, longitude))
    assert len(orders) == 10
    many = group_of(*[CHICAGO] * (LONGEST + 1))
    assert len(orders.nearest(many, place_of, MADISON)) == LONGEST + 1
    assert orders.nearest(many, place_of, MADISON) is not orders.nearest(many, place_of, MADISON)
    assert orders.nearest(many, place_of, MADISON, MOST) is orders.nearest(many, place_of, MADISON, MOST)
