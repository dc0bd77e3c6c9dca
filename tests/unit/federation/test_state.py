"""Laws of what a director knows beyond one worker."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from director_wsgi.federation.state import State
from director_wsgi.limits.deadline import Deadline

SOON_S = 5.0


@pytest.fixture
def shared_memory(tmp_path: Path) -> Path:
    folder = tmp_path / "shm"
    folder.mkdir()
    return folder


@pytest.fixture
def states(tmp_path: Path, shared_memory: Path) -> Iterator[list[State]]:
    """Those of two workers of one director."""
    states = [State.at(tmp_path / "state", shared_memory=shared_memory) for _ in range(2)]
    yield states
    for state in states:
        assert state.stop(Deadline.after(SOON_S))


def test_nothing_is_opened_before_it_starts(states: list[State], tmp_path: Path, shared_memory: Path) -> None:
    assert not (tmp_path / "state").exists()
    assert [list(folder.iterdir()) for folder in shared_memory.iterdir()] == [[]]


def test_no_two_workers_have_one_name(states: list[State]) -> None:
    assert states[0].replica.holder != states[1].replica.holder


def test_what_one_has_said_the_next_knows_when_it_has_started(states: list[State]) -> None:
    told: list[bytes] = []

    class Notes:
        def took(self, record: object) -> None:
            told.append(record.body)  # type: ignore[attr-defined]

        def renewed(self, renewal: object) -> None: ...

        def dropped(self, key: str) -> None: ...

    one, two = states
    assert one.start()
    one.replica.publish("thing", "a", lambda: b"1", lifetime_s=60.0, token=None)
    assert one.stop(Deadline.after(SOON_S))
    two.replica.follow("thing", Notes())
    assert two.start()
    assert told == [b"1"]


def test_one_that_cannot_be_kept_anywhere_holds_up_no_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    no_folder = tmp_path / "file"
    no_folder.touch()
    state = State.at(no_folder / "state", shared_memory=no_folder)
    assert not state.start()
    assert "serving without it" in caplog.text
    assert state.replica.trouble is not None
    assert state.stop(Deadline.after(SOON_S))


def test_to_have_none_is_to_be_ready_at_once() -> None:
    state = State.none()
    assert state.start()
    assert state.stop(Deadline.after(0.0))
