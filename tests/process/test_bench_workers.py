"""The benchmark of several workers runs and judges the answers; its figures are for `make bench`."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks import workers
from tests.process.fleet import Fleet

pytestmark = [pytest.mark.process, pytest.mark.slow]


def test_every_figure_of_a_fleet_can_be_taken(tmp_path: Path) -> None:
    with ExitStack() as stack:
        fleet = Fleet(tmp_path, stack, 2)
        servers = fleet.servers(2)
        seen = workers.visibility(fleet, 5)
        recovery, refused = workers.deaths(fleet, servers, 1)
        (lost,) = workers.reloads(fleet, servers, 1)

    assert 0 < seen.median < workers.GIVE_UP_S * 1e3
    assert 0 < recovery.median < workers.GIVE_UP_S
    assert refused.median == lost.median == 0
    assert refused.met
    assert lost.met


def test_the_spread_of_clients_can_be_taken(tmp_path: Path) -> None:
    at_once, after = workers.spread(tmp_path, 2, 1)
    assert 1 <= at_once.median <= 2
    assert 0 < after.median < 2 * workers.GIVE_UP_S
