import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

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
