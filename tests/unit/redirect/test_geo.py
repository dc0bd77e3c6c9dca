"""Places and distances."""

import ipaddress
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.redirect.geo import Overrides, distance_miles, is_known, parse_coordinate, somewhere
from tests.make import at

MADISON = at(43.07, -89.40)


@pytest.mark.parametrize(
    ("place", "miles"),
    [
        (at(41.88, -87.63), 122.08),
        (at(40.81, -96.70), 406.33),
        (at(40.71, -74.01), 807.23),
        (at(34.05, -118.24), 1668.31),
    ],
)
def test_distances_are_upstreams(place: object, miles: float) -> None:
    assert distance_miles(MADISON, place) == pytest.approx(miles, abs=0.005)  # type: ignore[arg-type]


degrees = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


@given(degrees, degrees)
def test_a_distance_is_finite_symmetric_and_at_most_half_way_round(
    one: tuple[float, float], other: tuple[float, float]
) -> None:
    there = distance_miles(at(*one), at(*other))

    assert 0 <= there <= math.pi * 3960 + 1e-6
    assert there == pytest.approx(distance_miles(at(*other), at(*one)), abs=1e-3)


@pytest.mark.parametrize(
    ("header", "place"),
    [
        ("lat=43.07,long=-89.40", MADISON),
        (" lat = 43.07 , long = -89.40 ", MADISON),
        ("x=1,long=-89.40,lat=43.07", MADISON),
        ("lat=0,long=0", at(0, 0)),
        ("LAT=1,LONG=2", None),
        ("lat=1;long=2", None),
        ("lat=1", None),
        ("lat=91,long=0", None),
        ("lat=0,long=180.1", None),
        ("lat=nan,long=0", None),
        ("lat=inf,long=0", None),
        ("lat=a,long=0", None),
        ("", None),
    ],
)
def test_a_malformed_coordinate_has_no_effect(header: str, place: object) -> None:
    assert parse_coordinate(header) == place


@given(st.text(max_size=40))
def test_no_coordinate_header_raises(header: str) -> None:
    place = parse_coordinate(header)
    assert place is None or abs(place.latitude) <= 90


def test_zero_zero_is_nowhere() -> None:
    assert not is_known(at(0, 0))
    assert not is_known(None)
    assert is_known(at(0, 1))


def overrides() -> Overrides:
    return Overrides(
        [
            (ipaddress.ip_network("192.0.2.0/25"), 1.0, 2.0),
            (ipaddress.ip_network("192.0.2.0/24"), 3.0, 4.0),
            (ipaddress.ip_network("2001:db8::/32"), 5.0, 6.0),
        ]
    )


def test_the_first_network_that_holds_an_address_tells_its_place() -> None:
    rows = overrides()
    for address, latitude in (("192.0.2.1", 1), ("192.0.2.200", 3), ("::ffff:192.0.2.1", 1), ("2001:db8::1", 5)):
        place = rows.place_of(address)
        assert place is not None
        assert (place.latitude, place.source) == (latitude, "override")
    assert rows.place_of("198.51.100.1") is None
    assert rows.place_of("unix:") is None


def test_somewhere_is_replayable() -> None:
    assert somewhere(random.Random(7)) == somewhere(random.Random(7))
