import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.limits.slots import Slots

LONG_S = 30.0


def test_no_more_are_taken_than_there_are():
    slots = Slots(2)
    assert [slots.acquire(blocking=False) for _ in range(3)] == [True, True, False]


def test_a_slot_given_back_can_be_taken_again():
    slots = Slots(1)
    slots.acquire()
    slots.release()
    assert slots.acquire(blocking=False)


def test_giving_back_more_than_was_taken_raises():
    slots = Slots(1)
    with pytest.raises(ValueError, match="released too many times"):
        slots.release()


@pytest.mark.parametrize("count", [0, -1])
def test_giving_back_none_raises(count):
    with pytest.raises(ValueError, match="one or more"):
        Slots(1).release(count)


def test_giving_back_too_many_at_once_still_tells_those_who_were_granted_one():
    slots = Slots(1)
    slots.acquire()
    told = []
    slots.queue_up(lambda: told.append("first"))
    with pytest.raises(ValueError, match="released too many times"):
        slots.release(3)
    assert told == ["first"]


def test_waiters_are_served_in_the_order_of_their_arrival():
    slots = Slots(1)
    slots.acquire()
    told = []
    for name in "abc":
        slots.queue_up(lambda name=name: told.append(name))
    for _ in range(3):
        slots.release()
    assert told == ["a", "b", "c"]


def test_nobody_overtakes_the_one_a_slot_was_given_to():
    slots = Slots(1)
    slots.acquire()
    place = slots.queue_up(lambda: None)
    slots.release()
    assert not slots.acquire(blocking=False)
    assert slots.leave(place)


def test_a_place_at_an_open_door_is_granted_at_once():
    slots = Slots(1)
    told = []
    place = slots.queue_up(lambda: told.append("open"))
    assert (told, place.is_granted, slots.waiting) == (["open"], True, 0)


def test_a_place_granted_while_it_is_being_taken_is_told_once():
    """Queueing up 1. finds no slot and takes a place, a release 2. grants it, queueing up 3. goes on."""
    slots = Slots(1)
    slots.acquire()
    told = []
    lock = slots._queue_lock

    class LockThenRelease:
        def __enter__(self) -> None:
            lock.acquire()

        def __exit__(self, *_: object) -> None:
            lock.release()
            slots._queue_lock = lock
            slots.release()

    slots._queue_lock = LockThenRelease()
    place = slots.queue_up(lambda: told.append("granted"))
    assert told == ["granted"]
    assert slots.leave(place)


def test_whoever_leaves_is_passed_over():
    slots = Slots(1)
    slots.acquire()
    told = []
    first = slots.queue_up(lambda: told.append("first"))
    slots.queue_up(lambda: told.append("second"))
    assert not slots.leave(first)
    slots.release()
    assert told == ["second"]


def test_leaving_twice_is_harmless():
    slots = Slots(1)
    slots.acquire()
    place = slots.queue_up(lambda: None)
    assert [slots.leave(place), slots.leave(place)] == [False, False]


@pytest.mark.parametrize("timeout", [-1.0, 0.0, 0.001])
def test_waiting_ends_at_the_timeout_and_leaves_no_place_behind(timeout):
    slots = Slots(1)
    slots.acquire()
    assert not slots.acquire(timeout=timeout)
    assert slots.waiting == 0


def test_a_waiting_thread_gets_the_slot_that_is_given_back():
    slots = Slots(1)
    slots.acquire()
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(slots.acquire, timeout=LONG_S)
        while not slots.waiting:
            threading.Event().wait(0.001)
        slots.release()
        assert waiter.result(LONG_S)
    assert not slots.acquire(blocking=False)


def test_a_timeout_without_waiting_is_refused():
    with pytest.raises(ValueError, match="timeout"):
        Slots(1).acquire(blocking=False, timeout=1.0)


def test_the_context_manager_queues_up_and_gives_back():
    slots = Slots(1)

    def work() -> None:
        with slots:
            assert not slots.acquire(blocking=False)

    with ThreadPoolExecutor(1) as pool, slots:
        waiter = pool.submit(work)
        while not slots.waiting:
            threading.Event().wait(0.001)
        slots.release()
        waiter.result(LONG_S)
        assert slots.acquire(blocking=False)


def test_no_slot_is_lost_or_doubled_between_threads_that_give_up_and_threads_that_release():
    """Giving up at the very moment of being served is the race that loses a slot."""
    slots, threads, rounds = Slots(3), 8, 300
    holding, most, guard = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal holding, most
        for turn in range(rounds):
            if not slots.acquire(timeout=(0.0, 0.00001, 0.0001)[turn % 3]):
                continue
            with guard:
                holding += 1
                most = max(most, holding)
            with guard:
                holding -= 1
            slots.release()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(work) for _ in range(threads)]:
                done.result(LONG_S)
    finally:
        sys.setswitchinterval(interval)
    assert most <= 3
    assert [slots.acquire(blocking=False) for _ in range(4)] == [True, True, True, False]


# Closed loop: threads that come again as soon as they have released, as the handler threads of a server do.


def test_in_a_closed_loop_everybody_is_served_in_turn():
    """Whoever holds the slot gives it back only while all the others wait, and comes again at once.

    Nothing is left to the scheduler: the order in which they first came is the order of every round.
    """
    threads, rounds = 6, 20
    slots = Slots(1)
    turns: list[int] = []

    def work(which: int) -> None:
        for _ in range(rounds):
            assert slots.acquire(timeout=LONG_S)
            turns.append(which)
            while slots.waiting + rounds_over(turns) < threads - 1:
                threading.Event().wait(0.0005)
            slots.release()

    def rounds_over(turns: list[int]) -> int:
        """How many have had their last turn and do not come again."""
        return max(0, len(turns) - threads * (rounds - 1) - 1)

    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, which) for which in range(threads)]:
            done.result(LONG_S)
    first_round = turns[:threads]
    assert sorted(first_round) == list(range(threads))
    assert turns == first_round * rounds


class SlowToWake:
    """The lock inside a semaphore, for a waiter that the scheduler lets run again only once it is told to.

    `Condition` takes it by `with` on behalf of those who come, and by `acquire` on behalf of one that was woken.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.is_asleep = threading.Semaphore(0)
        self.may_run = threading.Semaphore(0)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def acquire(self, blocking: bool = True) -> bool:
        if blocking:
            assert self.may_run.acquire(timeout=LONG_S)
        return self._lock.acquire(blocking)

    def release(self) -> None:
        self._lock.release()
        self.is_asleep.release()


def test_in_a_closed_loop_the_stock_semaphore_lets_one_thread_starve():
    """Why `Slots` exists: a release wakes the waiter, and the releasing thread takes the slot before it runs."""
    rounds, lock = 50, SlowToWake()
    semaphore = threading.BoundedSemaphore(1)
    semaphore._cond = threading.Condition(lock)
    acquired: Counter[str] = Counter()

    def wait() -> None:
        semaphore.acquire()
        acquired["waiter"] += 1

    semaphore.acquire()
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(wait)
        for _ in range(rounds):
            assert lock.is_asleep.acquire(timeout=LONG_S)
            semaphore.release()
            acquired["comes again"] += semaphore.acquire(blocking=False)
            lock.may_run.release()
        assert lock.is_asleep.acquire(timeout=LONG_S)
        starved = dict(acquired)
        semaphore.release()
        lock.may_run.release()
        waiter.result(LONG_S)
    assert starved == {"comes again": rounds}


def test_in_the_same_closed_loop_slots_serve_the_waiter_first():
    """However long the waiter takes to run, the slot is its own from the moment of the release."""
    slots = Slots(1)
    slots.acquire()
    waiter = slots.queue_up(lambda: None)
    slots.release()
    assert [slots.acquire(blocking=False) for _ in range(50)] == [False] * 50
    assert slots.leave(waiter)


# Resizing


def test_growing_adds_slots():
    slots = Slots(1)
    slots.acquire()
    slots.resize(3)
    assert [slots.acquire(blocking=False) for _ in range(3)] == [True, True, False]
    assert (slots.limit, slots.in_use) == (3, 3)


def test_growing_serves_those_who_wait_at_once_oldest_first():
    slots = Slots(1)
    slots.acquire()
    told = []
    for name in "abc":
        slots.queue_up(lambda name=name: told.append(name))
    slots.resize(3)
    assert (told, slots.waiting) == (["a", "b"], 1)
    assert not slots.acquire(blocking=False)


def test_growing_wakes_a_waiting_thread():
    slots = Slots(1)
    slots.acquire()
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(slots.acquire, timeout=LONG_S)
        while not slots.waiting:
            threading.Event().wait(0.001)
        slots.resize(2)
        assert waiter.result(LONG_S)


def test_shrinking_takes_free_slots_away_at_once():
    slots = Slots(3)
    slots.acquire()
    slots.resize(2)
    assert [slots.acquire(blocking=False) for _ in range(2)] == [True, False]


def test_shrinking_absorbs_releases_until_no_more_are_in_use_than_there_are():
    slots = Slots(4)
    slots.acquire()
    slots.acquire()
    slots.acquire()
    slots.resize(1)
    assert (slots.limit, slots.in_use) == (1, 3)
    free = []
    for _ in range(3):
        slots.release()
        free.append(slots.acquire(blocking=False))
    assert free == [False, False, True]


def test_shrinking_lets_those_who_wait_wait_until_there_is_room():
    slots = Slots(2)
    slots.acquire()
    slots.acquire()
    told = []
    slots.queue_up(lambda: told.append("first"))
    slots.resize(1)
    slots.release()
    after_one = list(told)
    slots.release()
    assert (after_one, told) == ([], ["first"])


def test_growing_after_shrinking_first_makes_up_for_what_is_in_use():
    slots = Slots(3)
    for _ in range(3):
        slots.acquire()
    told = []
    slots.queue_up(lambda: told.append("first"))
    slots.resize(1)
    slots.resize(3)
    assert told == []
    slots.resize(4)
    assert told == ["first"]


@pytest.mark.parametrize("sizes", [(5,), (2,), (1, 3), (5, 2), (1, 5, 1, 3)])
def test_giving_back_more_than_was_taken_raises_after_any_resize(sizes):
    slots = Slots(3)
    slots.acquire()
    slots.acquire()
    for size in sizes:
        slots.resize(size)
    slots.release()
    slots.release()
    with pytest.raises(ValueError, match="released too many times"):
        slots.release()


@pytest.mark.parametrize("value", [0, -1])
def test_there_is_always_at_least_one_slot(value):
    slots = Slots(2)
    with pytest.raises(ValueError, match="at least one"):
        slots.resize(value)
    assert slots.limit == 2


@given(
    first=st.integers(1, 4),
    steps=st.lists(
        st.one_of(
            st.sampled_from(["acquire", "queue up", "leave", "release"]),
            st.integers(1, 5),
        ),
        max_size=60,
    ),
)
def test_whatever_happens_no_slot_is_lost_and_none_is_given_beyond_the_limit(first, steps):
    """Numbers resize. The model: how many are held, and who waits, in order."""
    slots, limit, held = Slots(first), first, 0
    waiting: list[int] = []
    told: list[int] = []
    places = {}

    def serve() -> list[int]:
        """Whom the model serves now."""
        nonlocal held
        served = []
        while waiting and held < limit:
            served.append(waiting.pop(0))
            held += 1
        return served

    for step_number, step in enumerate(steps):
        expected = []
        if step == "acquire":
            is_free = held < limit
            assert slots.acquire(blocking=False) is is_free
            held += is_free
        elif step == "queue up":
            waiting.append(step_number)
            expected = serve()
            places[step_number] = slots.queue_up(lambda n=step_number: told.append(n))
        elif step == "leave":
            if waiting:
                assert slots.leave(places[waiting.pop()]) is False
        elif step == "release":
            if held:
                held -= 1
                expected = serve()
                slots.release()
            else:
                with pytest.raises(ValueError, match="too many"):
                    slots.release()
        else:
            limit = step
            expected = serve()
            slots.resize(step)
        assert told == expected
        told.clear()
        assert (slots.limit, slots.in_use, slots.waiting) == (limit, held, len(waiting))


def test_no_slot_is_lost_or_doubled_while_the_number_of_slots_changes():
    slots, threads, rounds = Slots(3), 8, 200
    is_over = threading.Event()

    def work() -> None:
        for turn in range(rounds):
            if slots.acquire(timeout=(0.0, 0.00001, 0.0001)[turn % 3]):
                slots.release()

    def resize() -> None:
        turn = 0
        while not is_over.is_set():
            slots.resize((1, 5, 2, 8)[turn % 4])
            turn += 1

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(threads + 1) as pool:
            resizer = pool.submit(resize)
            try:
                for done in [pool.submit(work) for _ in range(threads)]:
                    done.result(LONG_S)
            finally:
                is_over.set()
            resizer.result(LONG_S)
    finally:
        sys.setswitchinterval(interval)
    slots.resize(4)
    assert (slots.in_use, slots.waiting) == (0, 0)
    assert [slots.acquire(blocking=False) for _ in range(5)] == [True, True, True, True, False]


def test_a_long_queue_of_those_who_have_no_use_for_their_slot_empties_without_recursion():
    slots, told = Slots(1), []
    slots.acquire()

    def give_on() -> None:
        told.append(slots.waiting)
        slots.release()

    for _ in range(5000):
        slots.queue_up(give_on)
    slots.release()
    assert told == list(range(4999, -1, -1))
    assert (slots.in_use, slots.acquire(blocking=False)) == (0, True)
