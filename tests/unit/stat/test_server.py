import threading

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Cancellation
from director_wsgi.stat.evidence import Evidence, Presence, Reason
from director_wsgi.stat.server import Bulkhead
from tests.unit.stat.fakes import LONG_S, Client, Servers, eventually

FOUND = Evidence(presence=Presence.PRESENT, status=200, length_bytes=1)


class Told:
    """Keeps what it is told, and how many slots were free then."""

    def __init__(self, bulkhead: Bulkhead) -> None:
        self.evidence: list[Evidence] = []
        self.was_free: list[bool] = []
        self.came = threading.Event()
        self._bulkhead = bulkhead

    def __call__(self, evidence: Evidence) -> None:
        self.was_free.append(self._bulkhead.slots.acquire(blocking=False))
        if self.was_free[-1]:
            self._bulkhead.slots.release()
        self.evidence.append(evidence)
        self.came.set()


@pytest.fixture
def bulkhead():
    bulkhead = Bulkhead("a.test:8443", slots=1, client=Servers().client(1))
    yield bulkhead
    assert bulkhead.close(Deadline.after(LONG_S))


def start(bulkhead: Bulkhead, job) -> Told:
    assert bulkhead.slots.acquire(blocking=False)
    told = Told(bulkhead)
    bulkhead.start(job, told)
    return told


def all_slots_are_free_once(bulkhead: Bulkhead) -> bool:
    if not bulkhead.slots.acquire(blocking=False):
        return False
    bulkhead.slots.release()
    with pytest.raises(ValueError, match="too many"):
        bulkhead.slots.release()
    return True


def until_cancelled(_client: Client, flight: Cancellation) -> Evidence:
    assert eventually(lambda: flight.is_cancelled)
    return Evidence.unknown(Reason.CLOSED)


def test_the_slot_is_free_again_before_anybody_is_told(bulkhead):
    told = start(bulkhead, lambda _client, _flight: FOUND)
    assert told.came.wait(LONG_S)
    assert (told.evidence, told.was_free) == ([FOUND], [True])


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, KeyboardInterrupt, SystemExit])
def test_a_job_that_raises_gives_its_slot_back_and_is_told_as_failed(bulkhead, error):
    def job(_client, _flight):
        raise error

    told = start(bulkhead, job)
    assert told.came.wait(LONG_S)
    assert told.evidence == [Evidence.unknown(Reason.FAILED)]
    assert all_slots_are_free_once(bulkhead)


def test_jobs_run_on_threads_that_tell_whom_they_ask(bulkhead):
    names = []
    told = start(bulkhead, lambda _client, _flight: names.append(threading.current_thread().name) or FOUND)
    assert told.came.wait(LONG_S)
    assert names[0].startswith("director-stat-a.test:8443_")


def test_after_its_end_nothing_begins_and_the_slot_comes_back(bulkhead):
    bulkhead.close(Deadline.after(LONG_S))
    told = start(bulkhead, lambda _client, _flight: FOUND)
    assert told.evidence == [Evidence.unknown(Reason.CLOSED)]
    assert all_slots_are_free_once(bulkhead)


def test_a_start_that_meets_the_end_half_way_gives_its_slot_back(bulkhead):
    """The asker 1. finds the bulkhead open, another thread 2. shuts the executor down, the asker 3. submits."""
    bulkhead._executor.shutdown(wait=True)
    told = start(bulkhead, lambda _client, _flight: FOUND)
    assert told.evidence == [Evidence.unknown(Reason.NO_SLOT)]
    assert all_slots_are_free_once(bulkhead)


def test_without_a_thread_to_be_had_the_slot_comes_back_and_the_job_never_runs(bulkhead, monkeypatch):
    """The executor queues the job before it fails to start a thread; the next thread finds it there."""
    ran = []

    def no_thread(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        told = start(bulkhead, lambda _client, _flight: ran.append("unwanted") or FOUND)
    assert told.evidence == [Evidence.unknown(Reason.NO_SLOT)]
    again = start(bulkhead, lambda _client, _flight: ran.append("wanted") or FOUND)
    assert again.came.wait(LONG_S)
    assert ran == ["wanted"]
    assert len(told.evidence) == 1
    assert all_slots_are_free_once(bulkhead)


def test_its_end_ends_what_is_in_flight_and_gives_threads_and_connections_back():
    servers = Servers()
    bulkhead = Bulkhead("b.test:1", slots=2, client=servers.client(2))
    tolds = [start(bulkhead, until_cancelled) for _ in range(2)]
    assert bulkhead.in_flight == 2
    assert bulkhead.close(Deadline.after(LONG_S))
    assert [told.evidence for told in tolds] == [[Evidence.unknown(Reason.CLOSED)]] * 2
    assert not [thread for thread in threading.enumerate() if "b.test:1" in thread.name]
    assert servers.clients[0].is_closed
    assert bulkhead.in_flight == 0


def test_its_end_waits_no_longer_than_its_deadline_for_a_job_that_does_not_end():
    release = threading.Event()
    bulkhead = Bulkhead("c.test:1", slots=1, client=Servers().client(1))
    told = start(bulkhead, lambda _client, _flight: release.wait(LONG_S) and FOUND)
    assert not bulkhead.close(Deadline.after(-1))
    assert told.evidence == []
    release.set()
    assert bulkhead.close(Deadline.after(LONG_S))
    assert told.evidence == [FOUND]


def test_it_says_how_many_slots_are_in_use(bulkhead):
    assert repr(bulkhead) == "<Bulkhead a.test:8443: 0/1 slots>"
