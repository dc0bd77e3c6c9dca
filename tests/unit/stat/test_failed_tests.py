"""What a director test that met no answer tells the breaker."""

from dataclasses import replace

import pytest

from director_wsgi.limits.breaker import State
from director_wsgi.outbound.client import Failure
from director_wsgi.stat.health import Sickness
from tests.unit.stat.fakes import present
from tests.unit.stat.world import CIRCUIT_OPEN, TOUCHY, TRIPS, A


@pytest.fixture
def world(make_world):
    """A server that has been asked once, and is well."""
    world = make_world(replace(TOUCHY))
    world.servers.answers["a"] = present()
    world.ask(A)
    return world


def test_tests_without_an_answer_count_as_heads_without_one(world):
    for _ in range(TRIPS - 1):
        world.engine.failed_test(A.data_url, Failure.TIMED_OUT)
    assert world.breaker(A).state is State.OPEN
    assert world.breaker(A).reason is Sickness.STALLING
    assert world.ask(A, path="/other") == (CIRCUIT_OPEN,)


def test_our_own_doing_counts_as_nothing(world):
    for failure in (Failure.CANCELLED, Failure.CLOSED):
        world.engine.failed_test(A.data_url, failure)
    assert world.breaker(A).failures == 0


def test_a_server_that_was_never_asked_has_nothing_to_count_it(world):
    world.engine.failed_test("https://unknown.example.org", Failure.REFUSED)
    assert world.engine.health_of("https://unknown.example.org") is None
