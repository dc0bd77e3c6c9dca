"""Worlds, and what holds of each of them at its end."""

from dataclasses import replace

import pytest

from director_wsgi.stat import asking, roster
from director_wsgi.stat.engine import StatPolicy
from tests.unit.stat.fakes import (
    LONG_S,
    Books,
    eventually,
)
from tests.unit.stat.world import POLICY, World


@pytest.fixture
def books(monkeypatch):
    """After every test: each pass came back once, each slot, each permit of the lane, each right to a thread."""
    books = Books()
    monkeypatch.setattr(roster, "Breaker", books.breaker)
    monkeypatch.setattr(roster, "Bulkhead", books.bulkhead_class())
    yield books
    assert eventually(books.balance)


@pytest.fixture
def long_grace(monkeypatch):
    """Whoever chooses waits for all; how long the grace is otherwise is the wait's own test."""
    monkeypatch.setattr(asking, "LEAST_GRACE_S", LONG_S)
    monkeypatch.setattr(asking, "MOST_GRACE_S", LONG_S)


@pytest.fixture
def make_world(books, long_grace):
    worlds = []

    def make(policy: StatPolicy = POLICY, **changes) -> World:
        worlds.append(World(replace(policy, **changes)))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()
        assert eventually(lambda: world.engine._roster._threads.statistics().in_use == 0)  # noqa: B023
        assert (world.engine.lanes.all.statistics().in_use, len(world.engine._flights)) == (0, 0)


@pytest.fixture
def world(make_world):
    return make_world()
