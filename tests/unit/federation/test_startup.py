"""Laws of the time in which a director may not know everybody."""

import pytest

from director_wsgi.federation.startup import StartupWindow
from tests.fakes import FakeClock


@pytest.fixture
def window(clock: FakeClock) -> StartupWindow:
    """Of a worker that begins a hundred seconds after its director."""
    return StartupWindow(300.0, started_at=clock(), first_started_at=clock() - 100.0, clock=clock)


def test_it_begins_with_a_worker_that_knows_nobody(window: StartupWindow, clock: FakeClock) -> None:
    clock.advance(300.0)
    assert window.is_open()
    clock.advance(0.1)
    assert not window.is_open()


def test_it_began_with_the_director_for_a_worker_that_knows_what_was_known(
    window: StartupWindow, clock: FakeClock
) -> None:
    window.caught_up()
    clock.advance(200.0)
    assert window.is_open()
    clock.advance(0.1)
    assert not window.is_open()
