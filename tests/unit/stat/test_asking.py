import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty

import pytest

from director_wsgi.limits.coalesce import LOST
from director_wsgi.limits.deadline import Deadline
from director_wsgi.stat.asking import (
    GRACE_FACTOR,
    LEAST_GRACE_S,
    MOST_GRACE_S,
    USUAL_FACTOR,
    Inbox,
    Terms,
    WaitingLanes,
    is_there,
    wait_for_answers,
)
from director_wsgi.stat.evidence import Evidence, Presence, Reason
from director_wsgi.stat.patience import Patience
from tests.fakes import FakeClock
from tests.unit.stat.fakes import LONG_S, Someone

FOUND = Evidence(presence=Presence.PRESENT, status=200, length_bytes=1)
STALE = Evidence(presence=Presence.PRESENT, status=200, length_bytes=1, stale_s=99.0)
GONE = Evidence(presence=Presence.ABSENT, status=404)
FAILED = Evidence.unknown(Reason.FAILED)


class Script(Inbox):
    """An inbox in which answers arrive at known instants of a clock that moves only while somebody waits.

    Args:
        clock: Moved to each arrival, or by the whole timeout.
        arrivals: Seconds from now, index, answer; in their order.
    """

    def __init__(self, clock: FakeClock, *arrivals: tuple[float, int, Evidence]) -> None:
        super().__init__()
        self._clock = clock
        self._arrivals = [(clock.now + after_s, index, answer) for after_s, index, answer in arrivals]

    def get(self, timeout_s: float) -> tuple[int, Evidence] | None:
        ends_at = self._clock.now + timeout_s
        if not self._arrivals or self._arrivals[0][0] > ends_at:
            self._clock.now = ends_at
            raise Empty
        self._clock.now, index, answer = self._arrivals.pop(0)
        return index, answer

    def get_nowait(self) -> tuple[int, Evidence] | None:
        return self.get(0.0)


class Asker:
    """One asker on a fake clock, who may wait if he is let."""

    def __init__(self, clock: FakeClock, *, patience: Patience = Patience.BEST, deadline_s: float = 1.0) -> None:
        self.clock = clock
        self.lanes = WaitingLanes(1)
        self.began_at = clock.now
        self.answers: dict[int, Evidence] = {}
        self.terms = Terms(Deadline.after(deadline_s, clock), "/ns", patience, None)

    def wait(self, inbox: Inbox, *pending: int, usual_s: float = 0.0) -> bool:
        return wait_for_answers(
            inbox,
            self.answers,
            pending=set(pending),
            began_at=self.began_at,
            usual_s=usual_s,
            terms=self.terms,
            lanes=self.lanes,
            clock=self.clock,
        )

    @property
    def waited_s(self) -> float:
        return self.clock.now - self.began_at


def test_with_nobody_to_wait_for_there_is_no_wait_and_no_permit_is_taken(clock):
    asker = Asker(clock)
    assert not asker.wait(Script(clock))
    assert (asker.answers, asker.lanes.all.statistics().taken) == ({}, 0)


def test_answers_stand_under_their_own_number_in_whatever_order_they_come(clock):
    asker = Asker(clock)
    asker.wait(Script(clock, (0.1, 7, GONE), (0.2, 3, FAILED)), 3, 7)
    assert asker.answers == {3: FAILED, 7: GONE}
    assert asker.waited_s == pytest.approx(0.2)


def test_the_wait_ends_at_the_deadline_with_what_has_come(clock):
    asker = Asker(clock)
    assert not asker.wait(Script(clock, (0.1, 0, GONE), (1.1, 1, FOUND)), 0, 1)
    assert asker.answers == {0: GONE}
    assert asker.waited_s == pytest.approx(1.0)


def test_what_has_arrived_needs_no_wait_and_no_permit(clock):
    asker = Asker(clock)
    asker.wait(Script(clock, (0, 0, GONE), (0, 1, GONE)), 0, 1)
    assert (asker.answers, asker.lanes.all.statistics().taken) == ({0: GONE, 1: GONE}, 0)


def test_without_a_permit_what_has_arrived_counts_and_nothing_is_waited_for(clock):
    asker = Asker(clock)
    with asker.lanes.take_nowait():
        assert not asker.wait(Script(clock, (0, 0, GONE), (0.1, 1, FOUND)), 0, 1)
    assert (asker.answers, asker.waited_s) == ({0: GONE}, 0)


@pytest.mark.parametrize("arrivals", [[(0.1, 0, FOUND)], [], [(0.1, 0, FAILED), (0.2, 1, GONE)]])
def test_the_permit_comes_back_however_the_wait_ends(clock, arrivals):
    asker = Asker(clock)
    asker.wait(Script(clock, *arrivals), 0, 1)
    assert (asker.lanes.all.statistics().taken, asker.lanes.all.statistics().in_use) == (1, 0)


def test_the_permit_comes_back_if_the_client_cannot_be_watched(clock):
    class Broken:
        def watching(self, _tell: Callable[[], object]):
            raise OSError

    asker = Asker(clock)
    asker.terms = Terms(asker.terms.deadline, "/ns", Patience.BEST, Broken())
    with pytest.raises(OSError):  # noqa: PT011, there is nothing to match
        asker.wait(Script(clock), 0)
    assert (asker.lanes.all.statistics().taken, asker.lanes.all.statistics().in_use) == (1, 0)


# -- how much is enough


def test_for_who_wants_the_first_one_presence_is_enough(clock):
    asker = Asker(clock, patience=Patience.FIRST)
    asker.wait(Script(clock, (0.1, 0, GONE), (0.2, 1, FOUND), (0.201, 2, FOUND)), 0, 1, 2)
    assert asker.answers == {0: GONE, 1: FOUND}
    assert asker.waited_s == pytest.approx(0.2)


@pytest.mark.parametrize("answer", [GONE, FAILED, STALE])
@pytest.mark.parametrize("patience", Patience)
def test_what_is_no_presence_that_holds_is_never_enough(clock, patience, answer):
    asker = Asker(clock, patience=patience)
    asker.wait(Script(clock, (0.1, 0, answer)), 0, 1)
    assert asker.waited_s == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("took_s", "grace_s"),
    [(0.001, LEAST_GRACE_S), (0.05, 0.05 * GRACE_FACTOR), (0.5, MOST_GRACE_S), (0.95, 0.05)],
    ids=["at least", "as long again", "at most", "never beyond the deadline"],
)
def test_who_chooses_gives_the_others_a_grace_taken_from_the_answer_that_came(clock, took_s, grace_s):
    asker = Asker(clock)
    asker.wait(Script(clock, (took_s, 0, FOUND)), 0, 1)
    assert asker.waited_s == pytest.approx(took_s + grace_s)


@pytest.mark.parametrize(
    ("usual_s", "grace_s"),
    [(0.03, USUAL_FACTOR * 0.03 - 0.02), (0.01, 0.02 * GRACE_FACTOR), (9.0, MOST_GRACE_S)],
    ids=["what is missing of the usual", "not less for a quick one", "at most"],
)
def test_who_takes_longer_usually_is_given_more_grace_within_bounds(clock, usual_s, grace_s):
    asker = Asker(clock)
    asker.wait(Script(clock, (0.02, 0, FOUND)), 0, 1, usual_s=usual_s)
    assert asker.waited_s == pytest.approx(0.02 + grace_s)


def test_within_the_grace_stragglers_count_and_do_not_lengthen_it(clock):
    asker = Asker(clock)
    asker.wait(Script(clock, (0.05, 0, FOUND), (0.09, 1, FOUND), (0.11, 2, FOUND)), 0, 1, 2)
    assert asker.answers == {0: FOUND, 1: FOUND}
    assert asker.waited_s == pytest.approx(0.1)


def test_the_wait_ends_within_the_grace_once_everybody_has_answered(clock):
    asker = Asker(clock)
    asker.wait(Script(clock, (0.05, 0, FOUND), (0.06, 1, GONE)), 0, 1)
    assert asker.waited_s == pytest.approx(0.06)


def test_a_presence_that_is_remembered_starts_the_grace_at_once(clock):
    asker = Asker(clock)
    asker.answers[9] = FOUND
    asker.wait(Script(clock), 0)
    assert asker.waited_s == pytest.approx(LEAST_GRACE_S)


def test_only_a_presence_that_holds_counts_as_there():
    assert [is_there(answer) for answer in (FOUND, STALE, GONE, FAILED)] == [True, False, False, False]


# -- what arrives from other threads


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def begin(pool: ThreadPoolExecutor, inbox: Inbox, answers: dict[int, Evidence], client: Someone | None = None):
    """Wait for 0 and 1 on another thread, for long."""
    terms = Terms(Deadline.after(LONG_S), "", Patience.BEST, client)
    lanes = WaitingLanes(1)
    return pool.submit(
        wait_for_answers,
        inbox,
        answers,
        pending={0, 1},
        began_at=0.0,
        terms=terms,
        lanes=lanes,
        clock=FakeClock(),
    )


def test_who_waits_is_woken_by_each_answer(pool):
    inbox, answers = Inbox(), {}
    waiting = begin(pool, inbox, answers)
    inbox.put(1, GONE)
    inbox.put(0, FAILED)
    assert not waiting.result(LONG_S)
    assert answers == {0: FAILED, 1: GONE}


def test_the_wait_ends_when_the_client_goes_and_keeps_what_has_come(pool):
    inbox, answers, client = Inbox(), {}, Someone()
    waiting = begin(pool, inbox, answers, client)
    client.is_watched.wait(LONG_S)
    inbox.put(0, GONE)
    client.go()
    assert waiting.result(LONG_S)
    assert answers == {0: GONE}
    assert client.was_left


def test_a_flight_that_was_lost_is_an_unknown_and_not_an_error(pool):
    inbox, answers = Inbox(), {}
    waiting = begin(pool, inbox, answers)
    inbox.put(0, LOST)
    inbox.put(1, LOST)
    assert not waiting.result(LONG_S)
    assert answers == dict.fromkeys([0, 1], Evidence.unknown(Reason.CLOSED))


def test_answers_after_the_wait_disturb_nobody(clock):
    asker, inbox = Asker(clock, deadline_s=-1), Inbox()
    asker.wait(inbox, 0)
    putting = threading.Thread(target=inbox.put, args=(0, FOUND))
    putting.start()
    putting.join(LONG_S)
    assert asker.answers == {}
