"""Laws of one kind of question: asked once at a time, by threads of the pool, for anybody who waits."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.trust.pool import Pool
from director_wsgi.trust.questions import RETRY_S, Questions
from director_wsgi.trust.registry import BadAnswer, Closed, NoAnswer
from director_wsgi.trust.remembered import Remembered
from director_wsgi.trust.silence import LONGEST_PAUSE_S, Silence
from tests.fakes import FakeClock
from tests.unit.trust.registries import HandPool

WAIT_S = 10.0
LIFETIME_S = 60.0


class Source:
    """Answers with the number of the question."""

    def __init__(self) -> None:
        self.count = 0
        self.threads: set[str] = set()
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Semaphore(0)

    def __call__(self, key: str, deadline: Deadline) -> int:
        self.count += 1
        count = self.count
        self.threads.add(threading.current_thread().name)
        self.arrived.release()
        assert self.gate.wait(WAIT_S)
        if self.error is not None:
            raise self.error
        return count


@pytest.fixture
def source() -> Source:
    return Source()


def questions(source: Source, pool: Pool, clock: Clock = monotonic) -> Questions[int]:
    return Questions(
        "number",
        source,
        answers=Remembered(lifetime_s=lambda _: LIFETIME_S, capacity=10, clock=clock),
        pool=pool,
        silence=Silence(longest_question_s=5, generator=random.Random(1), clock=clock),
        timeout_s=5,
        clock=clock,
    )


@pytest.fixture
def threads() -> Iterator[Pool]:
    pool = Pool()
    pool.start()
    yield pool
    assert pool.stop(Deadline.after(WAIT_S))


def test_an_answer_is_remembered(source: Source, clock: FakeClock) -> None:
    asked = questions(source, Pool(), clock)
    assert asked.ask("a", Deadline.after(1, clock)) == 1
    entry = asked.answers.known("a")
    assert entry is not None
    assert entry.value == 1


def test_after_the_deadline_nothing_is_asked(source: Source, clock: FakeClock) -> None:
    with pytest.raises(NoAnswer, match="timed out"):
        questions(source, Pool(), clock).ask("a", Deadline.after(0, clock))
    assert source.count == 0


def test_an_answer_is_renewed_behind_once_it_is_stale_and_once_at_a_time(source: Source, clock: FakeClock) -> None:
    pool = HandPool()
    asked = questions(source, pool, clock)
    asked.ask("a", Deadline.after(1, clock))
    pool.start()
    entry = asked.answers.known("a")
    assert entry is not None
    asked.renew_if_stale("a", entry)
    assert pool.waiting == 0
    clock.advance(LIFETIME_S)
    for _ in range(5):
        asked.renew_if_stale("a", entry)
    assert pool.run() == 1
    assert source.count == 2


def test_a_renewal_that_failed_is_not_tried_again_at_once(source: Source, clock: FakeClock) -> None:
    asked = questions(source, Pool(), clock)
    asked.ask("a", Deadline.after(1, clock))
    clock.advance(LIFETIME_S)
    source.error = BadAnswer("senseless", settles=False)

    def renew() -> None:
        entry = asked.answers.known("a")
        assert entry is not None
        assert entry.value == 1
        asked.renew_if_stale("a", entry)

    for _ in range(5):
        renew()
    clock.advance(LONGEST_PAUSE_S)  # others may ask
    renew()
    assert source.count == 2
    clock.advance(RETRY_S - LONGEST_PAUSE_S)
    renew()
    assert source.count == 3


def test_the_end_of_the_director_is_no_silence(
    source: Source, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    asked = questions(source, Pool(), clock)
    asked.ask("a", Deadline.after(1, clock))
    source.error = Closed("closed")
    for _ in range(3):
        with pytest.raises(NoAnswer, match="closed"):
            asked.ask("a", Deadline.after(1, clock))
    assert source.count == 4
    assert not caplog.records


def test_what_stands_in_line_when_the_registry_falls_silent_is_not_asked(source: Source, clock: FakeClock) -> None:
    pool = HandPool()
    asked = questions(source, pool, clock)
    entries = {}
    for key in "abcdef":
        asked.ask(key, Deadline.after(1, clock))
        entries[key] = asked.answers.known(key)
    pool.start()
    clock.advance(LIFETIME_S)
    for key, entry in entries.items():
        assert entry is not None
        asked.renew_if_stale(key, entry)
    source.count = 0
    source.error = NoAnswer("away", is_general=True)
    assert pool.run() == 6
    assert source.count == 1
    after = [asked.answers.known(key) for key in "abcdef"]
    assert [entry is not None and asked.may_retry(entry) for entry in after] == [False] + [True] * 5


def test_while_the_registry_is_silent_nothing_stands_in_line_and_nobody_waits(source: Source, clock: FakeClock) -> None:
    pool = HandPool()
    asked = questions(source, pool, clock)
    source.error = NoAnswer("away", is_general=True)
    with pytest.raises(NoAnswer, match="away"):
        asked.ask("a", Deadline.after(1, clock))
    pool.start()  # whoever waited now would wait until the deadline: there is no thread
    for key in "abc":
        asked.ask_behind(key)
        with pytest.raises(NoAnswer, match="just given no answer"):
            asked.ask(key, Deadline.after(WAIT_S, clock))
    assert pool.waiting == 0


def test_a_question_in_line_that_somebody_waits_for_now_goes_first(source: Source) -> None:
    pool = Pool(threads=1)
    asked = questions(source, pool)
    pool.start()
    source.gate.clear()
    for key in "abcd":
        asked.ask_behind(key)
    assert source.arrived.acquire(timeout=WAIT_S)
    with ThreadPoolExecutor(1) as askers:
        waiting = askers.submit(asked.ask, "d", Deadline.after(WAIT_S))
        while asked._flights.statistics().followers < 1 or next(iter(pool._urgent), None) is None:
            assert not waiting.done()
            threading.Event().wait(0.001)
        source.gate.set()
        assert waiting.result(WAIT_S) == 2
    assert pool.stop(Deadline.after(WAIT_S))


def test_equal_questions_are_asked_once_on_a_thread_of_the_pool(source: Source, threads: Pool) -> None:
    asked = questions(source, threads)
    source.gate.clear()
    with ThreadPoolExecutor(8) as askers:
        first = askers.submit(asked.ask, "a", Deadline.after(WAIT_S))
        assert source.arrived.acquire(timeout=WAIT_S)
        others = [askers.submit(asked.ask, "a", Deadline.after(WAIT_S)) for _ in range(7)]
        while asked._flights.statistics().followers < 7:
            threading.Event().wait(0.001)
        source.gate.set()
        assert [future.result(WAIT_S) for future in (first, *others)] == [1] * 8
    assert source.threads <= {"director-registry-0", "director-registry-1"}


def test_an_asker_leaves_at_its_own_deadline_and_the_question_goes_on(source: Source, threads: Pool) -> None:
    asked = questions(source, threads)
    source.gate.clear()
    with pytest.raises(NoAnswer, match="timed out"):
        asked.ask("a", Deadline.after(0.02))
    with ThreadPoolExecutor(1) as askers:
        next_one = askers.submit(asked.ask, "a", Deadline.after(WAIT_S))
        source.gate.set()
        assert next_one.result(WAIT_S) == 1
    assert source.count == 1


@pytest.mark.parametrize("error", [NoAnswer("away"), BadAnswer("senseless", settles=False), ZeroDivisionError()])
def test_a_failure_is_shared_and_leaves_neither_a_flight_nor_a_dead_thread_behind(
    source: Source, threads: Pool, error: Exception
) -> None:
    asked = questions(source, threads)
    source.error = error
    source.gate.clear()
    with ThreadPoolExecutor(2) as askers:
        first = askers.submit(asked.ask, "a", Deadline.after(WAIT_S))
        assert source.arrived.acquire(timeout=WAIT_S)
        second = askers.submit(asked.ask, "a", Deadline.after(WAIT_S))
        while asked._flights.statistics().followers < 1:
            threading.Event().wait(0.001)
        source.gate.set()
        for future in (first, second):
            with pytest.raises((NoAnswer, BadAnswer)):
                future.result(WAIT_S)
    assert source.count == 1
    source.error = None
    for number in range(2, 6):
        assert asked.ask(f"{number}", Deadline.after(WAIT_S)) == number


def test_those_who_wait_are_told_at_the_end_of_the_pool(source: Source) -> None:
    pool = Pool(threads=1)
    pool.start()
    asked = questions(source, pool)
    source.gate.clear()
    with ThreadPoolExecutor(2) as askers:
        running = askers.submit(asked.ask, "a", Deadline.after(WAIT_S))
        assert source.arrived.acquire(timeout=WAIT_S)
        waiting = askers.submit(asked.ask, "b", Deadline.after(WAIT_S))
        while pool.waiting < 1:
            threading.Event().wait(0.001)
        assert not pool.stop(Deadline.after(0))
        with pytest.raises(NoAnswer, match="closing"):
            waiting.result(WAIT_S)
        source.gate.set()
        assert running.result(WAIT_S) == 1
    assert pool.stop(Deadline.after(WAIT_S))
    with pytest.raises(NoAnswer):
        asked.ask("c", Deadline.after(WAIT_S))
