"""A store in a file of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from director_wsgi.federation.store.sqlite import SqliteStore
from tests.fakes import FakeClock

Opened = Callable[..., SqliteStore]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "private" / "store.sqlite"


@pytest.fixture
def opened(path: Path, clock: FakeClock, wall: FakeClock) -> Iterator[Opened]:
    """Makes stores, each as another process would have it: by default on the same file."""
    stores: list[SqliteStore] = []

    def make(at: Path = path) -> SqliteStore:
        stores.append(SqliteStore(at, clock=clock, wall=wall))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Opened) -> SqliteStore:
    return opened()
