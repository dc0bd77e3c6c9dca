import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.limits.slots import Slots
from director_wsgi.stat.asking import LEFT, NO_SLOT, Errand, ask_all
from director_wsgi.stat.evidence import Evidence, Presence
from director_wsgi.stat.server import Tell
from tests.unit.stat.fakes import LONG_S, eventually

FOUND = Evidence(presence=Presence.PRESENT, status=200, length_bytes=1)


class Door:
    """A server with one slot; `start` keeps whom to tell, or tells at once."""

    def __init__(self, log: list[str], name: str, *, is_open: bool = True, answers: bool = False) -> None:
        self.slots = Slots(1)
        self.tell: Tell | None = None
        self.started = threading.Event()
        self._log, self._name, self._answers = log, name, answers
        if not is_open:
            self.slots.acquire()

    def start(self, tell: Tell) -> None:
        self._log.append(self._name)
        self.tell = tell
        if self._answers:
            self.answer()
        self.started.set()

    def answer(self) -> None:
        self.slots.release()
        self.tell(FOUND)

    @property
    def errand(self) -> Errand:
        return Errand(self.slots, self.start)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def now() -> Deadline:
    return Deadline.after(-1)


def later() -> Deadline:
    return Deadline.after(LONG_S)


def test_with_nobody_to_ask_there_is_nothing_to_wait_for():
    assert ask_all({}, later()) == {}


def test_answers_stand_under_the_number_of_their_errand():
    doors = {7: Door([], "a", answers=True), 3: Door([], "b", answers=True)}
    assert ask_all({which: door.errand for which, door in doors.items()}, later()) == {7: FOUND, 3: FOUND}


def test_whoever_has_room_is_asked_before_a_shut_door_is_waited_for(pool):
    log = []
    shut, open_ = Door(log, "shut", is_open=False), Door(log, "open")
    asking = pool.submit(ask_all, {0: shut.errand, 1: open_.errand}, later())
    assert open_.started.wait(LONG_S)
    assert log == ["open"]
    open_.answer()
    shut.slots.release()
    assert shut.started.wait(LONG_S)
    shut.answer()
    assert asking.result(LONG_S) == {0: FOUND, 1: FOUND}


@pytest.mark.parametrize("first", [0, 1])
def test_of_several_shut_doors_the_one_that_opens_is_entered(pool, first):
    """Waiting at one after the other would miss the second."""
    doors = [Door([], "a", is_open=False), Door([], "b", is_open=False)]
    asking = pool.submit(ask_all, {which: door.errand for which, door in enumerate(doors)}, later())
    assert eventually(lambda: all(door.slots.waiting for door in doors))
    for which in (first, 1 - first):
        doors[which].slots.release()
        assert doors[which].started.wait(LONG_S)
        doors[which].answer()
    assert asking.result(LONG_S) == {0: FOUND, 1: FOUND}


def test_at_the_deadline_the_asker_leaves_whatever_is_open():
    busy, shut, quick = Door([], "busy"), Door([], "shut", is_open=False), Door([], "quick", answers=True)
    told = ask_all({0: busy.errand, 1: shut.errand, 2: quick.errand}, now())
    assert (told[0], told[1], told[2]) == (LEFT, NO_SLOT, FOUND)
    assert told[0] is LEFT
    assert told[1] is NO_SLOT


def test_an_asker_that_left_holds_no_place_at_any_door():
    shut = Door([], "shut", is_open=False)
    ask_all({0: shut.errand}, now())
    shut.slots.release()
    assert shut.slots.acquire(blocking=False)


def test_an_answer_after_the_asker_has_left_disturbs_nobody():
    busy = Door([], "busy")
    ask_all({0: busy.errand}, now())
    busy.answer()
    assert busy.slots.acquire(blocking=False)


def test_a_slot_granted_to_an_asker_that_is_leaving_is_given_back():
    """The release 1. finds the asker in the queue, 2. grants it the slot; the asker 3. leaves."""

    class Race(Slots):
        def leave(self, place):
            self.release()
            return super().leave(place)

    shut = Door([], "shut")
    shut.slots = Race(1)
    shut.slots.acquire()
    assert ask_all({0: shut.errand}, now()) == {0: NO_SLOT}
    assert not shut.started.is_set()
    assert shut.slots.acquire(blocking=False)


def test_a_door_that_opens_between_trying_and_queueing_is_entered():
    class Race(Slots):
        def acquire(self, blocking=True, timeout=None):
            return False

    door = Door([], "door", answers=True)
    door.slots = Race(1)
    assert ask_all({0: door.errand}, later()) == {0: FOUND}
