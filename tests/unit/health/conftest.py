"""Fixtures of director tests."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from director_wsgi.limits.deadline import Deadline
from tests.unit.health import world as worlds


@pytest.fixture
def make_world() -> Iterator[Callable[..., worlds.World]]:
    """Makes director tests, and ends them after the test."""
    made: list[worlds.World] = []

    def make(**options: Any) -> worlds.World:
        made.append(worlds.make_world(**options))
        return made[-1]

    yield make
    assert all(world.tests.stop(Deadline.after(worlds.LONG_S)) for world in made)


@pytest.fixture
def host(make_world: Callable[..., worlds.World]) -> worlds.Host:
    return worlds.Host(make_world)


@pytest.fixture
def world(make_world: Callable[..., worlds.World]) -> worlds.World:
    return make_world()
