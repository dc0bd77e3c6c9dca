"""Workers that tell each other what they count, over real sockets: several in one process, each with its own door."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime import siblings as module
from director_wsgi.runtime.pages import Across, Family, together
from director_wsgi.runtime.siblings import Siblings


class Worker:
    """One worker with one counter."""

    def __init__(self, folder: Path, holder: str) -> None:
        self.count = 0.0
        self.holder = holder
        self.hangs = threading.Event()
        self.goes_on = threading.Event()
        self.siblings = Siblings(folder, holder)
        self.siblings.start(self.tell)

    def tell(self) -> list[Family]:
        if self.hangs.is_set():
            self.goes_on.wait(20)
        rows = {("f_total", ()): self.count}
        return [
            Family(name="f", kind="counter", text="", across=Across.COUNTED, labels={"f_total": ()}, rows=dict(rows))
        ]

    def sum(self) -> float:
        """What this one says of all."""
        (shown,) = together(self.siblings.gather(None), None)
        return shown.rows["f_total", ()]

    def end(self) -> bool:
        return self.siblings.stop(Deadline.after(5))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "metrics"


@pytest.fixture
def worker(folder: Path) -> Iterator[Callable[[str], Worker]]:
    with ExitStack() as stack:

        def make(holder: str) -> Worker:
            made = Worker(folder, holder)
            stack.callback(made.end)
            stack.callback(made.goes_on.set)
            return made

        yield make


def test_whichever_worker_is_asked_says_the_same(worker: Callable[[str], Worker]) -> None:
    workers = [worker(holder) for holder in "abc"]
    for index, one in enumerate(workers, start=1):
        one.count = index
    assert [one.sum() for one in workers] == [6, 6, 6]
    workers[0].count += 10
    assert [one.sum() for one in workers] == [16, 16, 16]


def test_a_worker_that_ends_in_order_takes_nothing_with_it(worker: Callable[[str], Worker], folder: Path) -> None:
    stays, goes = worker("a"), worker("b")
    assert stays.sum() == 0
    stays.count, goes.count = 1, 41
    assert goes.end()
    assert [stays.sum() for _ in range(3)] == [42, 42, 42]
    assert worker("c").sum() == 42
    assert sorted(path.name for path in folder.iterdir() if path.suffix == ".page") == [
        "a.page",
        "c.page",
        "ended.page",
    ]


def test_of_a_worker_that_was_killed_counts_what_it_was_asked_for_last(
    worker: Callable[[str], Worker], folder: Path
) -> None:
    stays = worker("a")
    # What a process that is killed leaves: its page, and a socket at which nobody listens.
    killed = worker("b")
    killed.count = 5
    assert stays.sum() == 5
    left = (folder / "b.page").read_bytes()
    killed.end()
    (folder / "b.page").write_bytes(left)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "b.bell"))
    assert [stays.sum(), stays.sum()] == [5, 5]
    assert not (folder / "b.page").exists()


def test_a_worker_that_hangs_is_told_as_it_was_and_holds_nobody_up_for_long(
    worker: Callable[[str], Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.05)
    well, hung = worker("a"), worker("b")
    hung.count = 3
    assert well.sum() == 3
    hung.count = 4
    hung.hangs.set()
    assert well.sum() == 3
    hung.goes_on.set()
    hung.hangs.clear()
    monkeypatch.setattr(module, "GRACE_S", 5.0)
    assert well.sum() == 4


def test_many_who_ask_at_once_are_all_told(worker: Callable[[str], Worker]) -> None:
    one, other = worker("a"), worker("b")
    one.count = other.count = 1
    told: list[float] = []
    threads = [threading.Thread(target=lambda: told.append(one.sum()), name=f"asker-{index}") for index in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert told == [2] * 20


def test_a_page_that_is_broken_costs_nothing_but_itself(worker: Callable[[str], Worker], folder: Path) -> None:
    one = worker("a")
    one.count = 1
    (folder / "z.page").write_bytes(b"\x00 no page")
    (folder / "ended.page").write_bytes(b"nor this")
    assert one.sum() == 1


def test_a_folder_that_cannot_be_used_leaves_a_worker_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    alone = Worker(tmp_path / "file" / "metrics", "a")
    alone.count = 7
    assert alone.sum() == 7
    assert alone.end()
