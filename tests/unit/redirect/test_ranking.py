"""Laws that every ranking keeps, and the order that each one means."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.federation.models import Coordinate
from director_wsgi.federation.snapshot import Group
from director_wsgi.redirect.nearest import Orders
from director_wsgi.redirect.ranking import CACHE_SORT_METHODS, rank
from tests.make import at

MADISON = at(43.07, -89.40)
NOWHERE = at(0, 0)
CHICAGO, NEW_YORK, LOS_ANGELES = at(41.88, -87.63), at(40.71, -74.01), at(34.05, -118.24)

Server = tuple[int, Coordinate | None]


def place_of(server: Server) -> Coordinate | None:
    return server[1]


def ranked(method: str, group: Group[Server], client: Coordinate | None = MADISON, seed: int = 1) -> tuple[Server, ...]:
    return rank(group, method, place_of, client or NOWHERE, random.Random(seed), orders=Orders())


def group_of(*places: Coordinate | None) -> Group[Server]:
    return Group(tuple(enumerate(places)))


coordinates = st.none() | st.builds(at, st.floats(-90, 90), st.floats(-180, 180))


@pytest.mark.parametrize("method", CACHE_SORT_METHODS)
class TestLaws:
    @given(places=st.lists(coordinates, max_size=8), client=coordinates)
    def test_nobody_is_lost_and_nobody_is_added(
        self, method: str, places: list[Coordinate | None], client: Coordinate | None
    ) -> None:
        group = group_of(*places)
        assert sorted(ranked(method, group, client), key=lambda s: s[0]) == list(group.members)

    def test_the_same_seed_gives_the_same_order(self, method: str) -> None:
        places = (CHICAGO, None, LOS_ANGELES, NEW_YORK)
        assert ranked(method, group_of(*places)) == ranked(method, group_of(*places))

    def test_one_or_none_is_fine(self, method: str) -> None:
        assert ranked(method, group_of()) == ()
        assert len(ranked(method, group_of(CHICAGO))) == 1


@pytest.mark.parametrize("method", ["distance", "distanceAndLoad", "adaptive"])
def test_distance_puts_the_nearest_first(method: str) -> None:
    order = [number for number, _ in ranked(method, group_of(LOS_ANGELES, NEW_YORK, CHICAGO))]
    assert order == [2, 1, 0]


def test_equals_keep_their_order() -> None:
    assert [n for n, _ in ranked("distance", group_of(CHICAGO, CHICAGO, CHICAGO))] == [0, 1, 2]


def test_who_cannot_be_placed_stands_in_the_middle() -> None:
    assert [n for n, _ in ranked("distance", group_of(LOS_ANGELES, None, CHICAGO, NEW_YORK))] == [2, 1, 3, 0]


def test_a_client_that_cannot_be_placed_meets_the_order_of_the_group() -> None:
    assert [n for n, _ in ranked("distance", group_of(LOS_ANGELES, CHICAGO, NEW_YORK), NOWHERE)] == [0, 1, 2]


def test_one_server_needs_no_memory_of_its_order() -> None:
    orders = Orders()
    rank(group_of(CHICAGO), "distance", place_of, MADISON, random.Random(1), orders=orders)
    assert len(orders) == 0


def test_random_leads_everybody_to_the_front_in_turn() -> None:
    group = group_of(CHICAGO, NEW_YORK, LOS_ANGELES)
    generator = random.Random(3)
    orders = Orders()
    firsts = [rank(group, "random", place_of, MADISON, generator, orders=orders)[0][0] for _ in range(300)]
    assert all(firsts.count(number) > 60 for number in range(3))
