"""Laws of the weighted draw."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.redirect.adaptive import draw

weights_lists = st.lists(st.floats(1e-25, 2), max_size=9)


@given(weights_lists, st.integers())
def test_everybody_has_one_place(weights: list[float], seed: int) -> None:
    assert sorted(draw(weights, random.Random(seed))) == list(range(len(weights)))


@given(weights_lists, st.text())
def test_the_same_seed_draws_the_same_order(weights: list[float], seed: str) -> None:
    assert draw(weights, random.Random(seed)) == draw(weights, random.Random(seed))


def test_chances_to_be_first_are_in_proportion_to_the_weights() -> None:
    generator = random.Random(7)
    firsts = Counter(draw([2.0, 1.0, 1.0], generator)[0] for _ in range(8000))
    # A share of one half of 8000 draws has a standard deviation of 45, one of a quarter 39: five of them.
    assert abs(firsts[0] - 4000) < 225
    assert abs(firsts[1] - 2000) < 195


def test_so_are_those_of_the_rest_for_every_later_position() -> None:
    generator = random.Random(7)
    orders = [draw([1.0, 3.0, 1.0], generator) for _ in range(8000)]
    seconds = Counter(order[1] for order in orders if order[0] == 0)
    share = seconds[1] / seconds.total()
    assert 0.70 < share < 0.80  # three quarters; about 1600 draws, whose share deviates by 0.011


def test_a_hundredth_of_the_weight_is_hardly_ever_first_but_never_lost() -> None:
    generator = random.Random(7)
    orders = [draw([0.01, 1.0, 1.0, 1.0], generator) for _ in range(3000)]
    assert 0 < sum(order[0] == 0 for order in orders) < 30
    assert all(0 in order for order in orders)
