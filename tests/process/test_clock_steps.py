"""A wall clock that is set while the director runs: what is known stays known, by whatever the clock says.

`faketime` is preloaded, and takes what the clock says from a file. It fakes the wall clock alone: the monotonic one
cannot be set, in the world either.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.programs import absent
from tests.process import census
from tests.process.child import REPOSITORY, get, kill_worker, wait_until
from tests.process.fleet import Fleet
from tests.process.inventory import NAMES

pytestmark = pytest.mark.process

HOUR_S = 3600
DAY_S = 24 * HOUR_S
STEPS = (-HOUR_S, HOUR_S, -DAY_S, DAY_S)

# Sleeping until an instant of the monotonic clock, as Python does, is what libfaketime 0.9.10 cannot do.
SLEEP = f"""
import runpy
import select
import time

runpy.run_path({str(NAMES / "sitecustomize.py")!r})  # which this one hides
time.sleep = lambda seconds: select.select((), (), (), seconds) and None
"""


class Clock:
    """The wall clock of a director."""

    def __init__(self, folder: Path) -> None:
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not libraries:
            absent("libfaketime is not installed (Debian package faketime)")
        self._file = folder / "clock"
        self.set(0)
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(SLEEP)
        self.environ = {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{folder / 'site'}",
        }

    def set(self, ahead_s: int) -> None:
        """From now on it is ahead by so much, or behind."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead_s:+d}\n")
        new.replace(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def fleet(tmp_path: Path, clock: Clock) -> Iterator[Fleet]:
    with contextlib.ExitStack() as stack:
        made = Fleet(tmp_path, stack, 2, environ=clock.environ)
        yield made
    for file in Path("/dev/shm").glob(f"*faketime_*_{made.child.pid}"):
        file.unlink()  # a master that is killed leaves them


def day(fleet: Fleet) -> str:
    """The day that it is for the director, from the header of an answer."""
    return fleet.child.ask(get("/api/v1.0/health")).all("Date")[0][:16]


def test_known_servers_stay_known_and_the_director_ready_however_the_clock_is_set(fleet: Fleet, clock: Clock) -> None:
    servers = fleet.servers(3)
    wait_until(lambda: fleet.all_know(servers), "all know all")
    for ahead_s in STEPS:
        clock.set(ahead_s)
        assert fleet.all_know(servers)
        assert fleet.child.ask(get("/readyz")).status == 200
    clock.set(0)

    others = fleet.servers(2)
    wait_until(lambda: fleet.all_know([*servers, *others]), "what is advertised afterwards is shared")
    assert "Traceback" not in fleet.child.output
    census.end(fleet.child)


def test_a_worker_that_starts_while_the_clock_is_behind_knows_all(fleet: Fleet, clock: Clock) -> None:
    servers = fleet.servers(3)
    wait_until(lambda: fleet.all_know(servers), "all know all")
    today = day(fleet)
    clock.set(-DAY_S)
    assert day(fleet) != today
    kill_worker(fleet.child, fleet.child.workers()[0])

    assert fleet.all_know(servers)
