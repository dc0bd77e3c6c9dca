"""`director-wsgi demo reload-leak`: what leaks does leak, and the director's holder does not."""

from pathlib import Path

import pytest

from director_wsgi.demo.interruption import Signals
from director_wsgi.demo.reload_leak import compare
from director_wsgi.demo.reloaded import Reloaded, ReloaderFailedError
from tests.process.plays import ended_by_ctrl_c

EACH = 8
RELOADS = 3 * EACH


def test_one_holder_leaks_with_every_reload_and_the_other_with_none(tmp_path: Path) -> None:
    with Signals() as signals:
        leaking, leased = compare(EACH, tmp_path, signals)

    first = leaking.settled[0]
    assert [held.threads - first.threads for held in leaking.settled] == [0, EACH, 2 * EACH, RELOADS, RELOADS - 1]
    assert [held.exporters for held in leaking.settled] == [1, 1 + EACH, 1 + 2 * EACH, 1 + RELOADS, RELOADS]
    assert leaking.changes_in_force == 0

    assert [held.threads for held in leased.settled[:-1]] == [leased.settled[0].threads] * 4
    assert [held.exporters for held in leased.settled] == [1, 1, 1, 1, 0]
    assert {held.files - leased.settled[0].files for held in leased.settled} <= {0, 1}  # one to the collector
    assert [held.builds for held in leased.settled] == [1, 1, 1 + EACH, 1 + 2 * EACH, 1 + 2 * EACH]
    assert leased.changes_in_force == EACH

    for run in (leaking, leased):
        assert len(run.holdings) == RELOADS + 1
        assert run.refused_in_force == 0
        assert run.arrived == RELOADS + 1  # nobody has lost a span


def test_a_process_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    with (
        Reloaded("of another name", "http://127.0.0.1:9", tmp_path) as process,
        pytest.raises(ReloaderFailedError, match=r"(?s)a process that reloads failed:.*ValueError: of another name"),
    ):
        process.settle()


def test_ctrl_c_ends_everything_and_leaves_nothing(tmp_path: Path) -> None:
    processes = ended_by_ctrl_c(
        tmp_path,
        "reload-leak",
        "--each",
        "1000",
        until="that change nothing",
        environ={"OTEL_SDK_DISABLED": "true"},
    )
    assert processes == 2  # itself, and the one that reloads
