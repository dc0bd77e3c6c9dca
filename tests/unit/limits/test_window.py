import pytest

from director_wsgi.limits.window import OutcomeWindow


@pytest.fixture
def window() -> OutcomeWindow:
    return OutcomeWindow(10.0)


def counts(window: OutcomeWindow) -> tuple[int, int, int]:
    return window.volume, window.failures, window.slow


def test_a_new_window_is_empty(window):
    assert counts(window) == (0, 0, 0)
    assert window.main_reason() is None


def test_every_call_counts_by_how_it_ended(window):
    window.succeeded(0.0, is_slow=False)
    window.succeeded(3.0, is_slow=True)
    window.failed(6.0, "refused", is_slow=False)
    window.failed(9.0, "timed out", is_slow=True)
    assert counts(window) == (4, 2, 2)


def test_the_main_reason_is_that_of_most_failures_in_the_whole_window(window):
    for now, reason in enumerate(["refused", "refused", "timed out", "name", "timed out", "timed out"]):
        window.failed(float(now), reason, is_slow=False)
    assert window.main_reason() == "timed out"


def test_what_is_forgotten_is_forgotten_in_every_count(window):
    window.failed(0.0, "refused", is_slow=True)
    window.failed(0.0, "refused", is_slow=True)
    window.failed(5.0, "timed out", is_slow=False)
    window.forget(10.0)
    assert counts(window) == (1, 1, 0)
    assert window.main_reason() == "timed out"


def test_a_new_call_makes_the_old_ones_forgotten(window):
    window.failed(0.0, "refused", is_slow=True)
    window.succeeded(10.0, is_slow=False)
    assert counts(window) == (1, 0, 0)


@pytest.mark.parametrize("later", [0.0, 0.5, 0.99, 1.0, 1.9, 3.5])
def test_a_call_counts_for_nine_tenths_of_the_window_at_least_and_never_longer_than_all_of_it(window, later):
    """Whatever bucket an earlier call has begun."""
    window.failed(0.0, "refused", is_slow=False)
    window.succeeded(later, is_slow=True)
    window.forget(later + 8.99)
    before = window.slow
    window.forget(later + 10.0)
    assert (before, window.slow) == (1, 0)


def test_clearing_forgets_everything(window):
    window.failed(0.0, "refused", is_slow=True)
    window.clear()
    assert counts(window) == (0, 0, 0)
    assert window.main_reason() is None


def test_memory_does_not_grow_with_the_number_of_calls(window):
    for tick in range(5000):
        window.succeeded(tick / 100, is_slow=False)
    assert window.volume >= 900
    assert len(window._buckets) <= 11


def test_with_another_length_calls_that_were_counted_count_for_as_long(window):
    window.succeeded(0.0, is_slow=False)
    window.failed(6.0, "refused", is_slow=False)
    window.resize(4.0)
    window.forget(9.0)
    assert counts(window) == (1, 1, 0)
    window.resize(100.0)
    window.forget(100.0)
    assert counts(window) == (1, 1, 0)
