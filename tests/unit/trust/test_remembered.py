"""Laws of the table of answers."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.trust.registry import NoAnswer
from director_wsgi.trust.remembered import Remembered
from tests.fakes import FakeClock


class Source:
    """Answers with the number of the question."""

    def __init__(self) -> None:
        self.count = 0
        self.error: Exception | None = None
        self.gate: threading.Event | None = None
        self.entered = threading.Semaphore(0)

    def __call__(self, key: str, deadline: Deadline) -> int:
        self.count += 1
        self.entered.release()
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return self.count


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def table(source: Source, clock: FakeClock) -> Remembered[int]:
    return Remembered(source, lifetime_s=lambda value: 10.0 if value != 2 else 0.0, capacity=2, clock=clock)


@pytest.fixture
def deadline(clock: FakeClock) -> Deadline:
    return Deadline.after(5, clock)


def test_nothing_is_known_before_it_was_asked(table: Remembered[int]) -> None:
    assert table.known("a") is None


def test_an_answer_turns_stale_but_stays(table: Remembered[int], clock: FakeClock, deadline: Deadline) -> None:
    assert table.ask("a", deadline) == 1
    entry = table.known("a")
    assert entry is not None
    assert table.is_fresh(entry)
    clock.advance(9.9)
    assert table.is_fresh(entry)
    clock.advance(1e9)
    assert table.known("a") is entry
    assert not table.is_fresh(entry)


def test_an_answer_without_lifetime_is_known_but_never_fresh(table: Remembered[int], deadline: Deadline) -> None:
    table.ask("a", deadline)
    table.ask("a", deadline)
    entry = table.known("a")
    assert entry is not None
    assert entry.value == 2
    assert not table.is_fresh(entry)


def test_a_failure_keeps_the_old_answer_and_counts_as_a_try(
    table: Remembered[int], source: Source, clock: FakeClock, deadline: Deadline
) -> None:
    table.ask("a", deadline)
    clock.advance(30)
    source.error = NoAnswer("away")
    with pytest.raises(NoAnswer, match="away"):
        table.ask("a", deadline)
    entry = table.known("a")
    assert entry is not None
    assert entry.value == 1
    assert table.age_of_last_try_s(entry) == 0
    assert not table.is_fresh(entry)


def test_the_least_recently_used_makes_room(table: Remembered[int], deadline: Deadline) -> None:
    for key in "abc":
        table.ask(key, deadline)
    assert table.known("a") is None
    assert table.known("c") is not None


def test_what_is_forgotten_is_not_known(table: Remembered[int], deadline: Deadline) -> None:
    table.ask("a", deadline)
    table.forget("a")
    table.forget("never there")
    assert table.known("a") is None


def test_equal_questions_in_flight_are_asked_once(source: Source) -> None:
    table = Remembered(source, lifetime_s=lambda _: 10.0, capacity=2)
    source.gate = threading.Event()
    deadline = Deadline.after(10)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(table.ask, "a", deadline) for _ in range(8)]
        assert source.entered.acquire(timeout=10)
        source.gate.set()
        answers = [future.result(10) for future in futures]
    assert set(answers) <= set(range(1, source.count + 1))
    assert table.ask("a", deadline) == source.count  # whoever came after the flight flew anew; nothing is stuck


def test_a_follower_leaves_at_its_own_deadline_and_the_flight_goes_on(source: Source, clock: FakeClock) -> None:
    table = Remembered(source, lifetime_s=lambda _: 10.0, capacity=2)
    source.gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(table.ask, "a", Deadline.after(10))
        assert source.entered.acquire(timeout=10)
        with pytest.raises(NoAnswer, match="timed out"):
            table.ask("a", Deadline.after(0))
        assert source.count == 1
        source.gate.set()
        assert leader.result(10) == 1


def test_followers_share_a_failure(source: Source) -> None:
    table = Remembered(source, lifetime_s=lambda _: 10.0, capacity=2)
    source.gate = threading.Event()
    source.error = NoAnswer("away")
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(table.ask, "a", Deadline.after(10))
        assert source.entered.acquire(timeout=10)
        follower = pool.submit(table.ask, "a", Deadline.after(10))
        source.gate.set()
        for future in (leader, follower):
            with pytest.raises(NoAnswer, match="away"):
                future.result(10)


def test_a_bug_in_the_question_leaves_no_flight_behind(
    table: Remembered[int], source: Source, deadline: Deadline
) -> None:
    source.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        table.ask("a", deadline)
    source.error = None
    assert table.ask("a", deadline) == 2
