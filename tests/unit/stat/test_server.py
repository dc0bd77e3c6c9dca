import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Cancellation
from director_wsgi.stat.evidence import Evidence, Presence, Reason
from director_wsgi.stat.server import IDLE_S, Bulkhead, Threads
from tests.fakes import FakeClock
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


def test_a_start_that_meets_the_end_of_its_executor_gives_its_slot_back(bulkhead):
    """As when the interpreter ends while somebody still asks."""
    assert start(bulkhead, lambda _client, _flight: FOUND).came.wait(LONG_S)
    bulkhead._executor.shutdown(wait=True)
    told = start(bulkhead, lambda _client, _flight: FOUND)
    assert told.evidence == [Evidence.unknown(Reason.NO_THREAD)]
    assert all_slots_are_free_once(bulkhead)


def test_without_a_thread_to_be_had_the_slot_comes_back_and_the_job_never_runs(bulkhead, monkeypatch):
    """The executor queues the job before it fails to start a thread; the next thread finds it there."""
    ran = []

    def no_thread(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        told = start(bulkhead, lambda _client, _flight: ran.append("unwanted") or FOUND)
    assert told.evidence == [Evidence.unknown(Reason.NO_THREAD)]
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


def test_a_job_can_be_ended_early_by_who_began_it(bulkhead):
    assert bulkhead.slots.acquire(blocking=False)
    told = Told(bulkhead)
    bulkhead.start(until_cancelled, told).cancel()
    assert told.came.wait(LONG_S)
    assert told.evidence == [Evidence.unknown(Reason.CLOSED)]
    assert all_slots_are_free_once(bulkhead)


def test_a_job_ended_before_its_thread_ran_is_not_begun(bulkhead):
    ran = []
    told = Told(bulkhead)
    submit = bulkhead._submit

    def submit_late(job, flight):
        flight.cancel()
        return submit(job, flight)

    bulkhead._submit = submit_late
    assert bulkhead.slots.acquire(blocking=False)
    bulkhead.start(lambda _client, _flight: ran.append("unwanted") or FOUND, told)
    assert told.came.wait(LONG_S)
    assert (ran, told.evidence) == ([], [Evidence.unknown(Reason.CLOSED)])


def test_a_job_that_no_thread_has_taken_up_is_told_of_the_end(bulkhead):
    """There are as many threads as slots, but one may still be on its way when the end comes."""
    bulkhead._executor = ThreadPoolExecutor(1)
    running = start(bulkhead, until_cancelled)
    ran = []
    waiting = Told(bulkhead)
    bulkhead.slots.resize(2)
    assert bulkhead.slots.acquire(blocking=False)
    bulkhead.start(lambda _client, _flight: ran.append("unwanted") or FOUND, waiting)
    assert bulkhead.close(Deadline.after(LONG_S))
    assert running.came.wait(LONG_S)
    assert (ran, waiting.evidence, running.evidence) == ([], *[[Evidence.unknown(Reason.CLOSED)]] * 2)


# -- threads, which all servers share


class Pair:
    """Two servers that share the right to `threads` threads."""

    def __init__(self, threads: int) -> None:
        self.threads = Threads(threads, lambda: (self.a, self.b))
        self.release = threading.Event()
        self.a, self.b = (
            Bulkhead(f"{name}.test:1", slots=9, client=Servers().client(9), threads=self.threads) for name in "ab"
        )

    def begin(self, bulkhead: Bulkhead) -> Told:
        return start(bulkhead, lambda _client, _flight: self.release.wait(LONG_S) and FOUND)

    def close(self) -> None:
        self.release.set()
        for bulkhead in (self.a, self.b):
            assert bulkhead.close(Deadline.after(LONG_S))


@pytest.fixture
def pair():
    pair = Pair(4)
    yield pair
    pair.close()
    assert pair.threads.statistics().in_use == 0


def test_beyond_the_threads_of_the_worker_nothing_begins_and_the_slot_comes_back(pair):
    taken = [pair.threads.take(other) for other in "cd"]
    pair.begin(pair.a)
    taken.append(pair.threads.take("e"))
    told = pair.begin(pair.b)
    assert told.evidence == [Evidence.unknown(Reason.NO_THREAD)]
    assert (pair.b.slots.in_use, pair.threads.statistics().in_use) == (0, 4)
    for permit in taken:
        permit.release()


def test_threads_that_have_nothing_to_do_are_ended_for_those_who_have(pair):
    """Else servers that were asked once keep the threads that the others need, and all of them grow without bound."""
    assert start(pair.a, lambda _client, _flight: FOUND).came.wait(LONG_S)
    taken = [pair.threads.take(other) for other in "cde"]
    assert pair.threads.statistics().in_use == 4
    assert pair.begin(pair.b).evidence == []
    assert (pair.a.threads, pair.b.threads, pair.threads.statistics().in_use) == (0, 1, 4)
    for permit in taken:
        permit.release()


def test_busy_threads_are_not_ended_for_others(pair):
    told = pair.begin(pair.a)
    taken = [pair.threads.take(other) for other in "cde"]
    assert pair.begin(pair.b).evidence == [Evidence.unknown(Reason.NO_THREAD)]
    assert told.evidence == []
    for permit in taken:
        permit.release()


def test_a_server_that_hangs_leaves_threads_for_the_others(pair):
    tolds = [pair.begin(pair.a) for _ in range(4)]
    assert [told.evidence for told in tolds] == [[], [], *[[Evidence.unknown(Reason.NO_THREAD)]] * 2]
    assert pair.begin(pair.b).evidence == []


def test_with_more_threads_another_job_can_begin_at_once(pair):
    pair.threads.resize(1)
    pair.begin(pair.a)
    assert pair.begin(pair.b).evidence == [Evidence.unknown(Reason.NO_THREAD)]
    pair.threads.resize(2)
    assert pair.begin(pair.b).evidence == []


def test_with_fewer_threads_those_end_at_once_that_have_nothing_to_do(pair):
    """Else the next jobs would find them there, and there would be more jobs than there may be."""
    first = [pair.begin(pair.a), pair.begin(pair.a), pair.begin(pair.b)]
    pair.release.set()
    assert all(told.came.wait(LONG_S) for told in first)
    pair.release.clear()
    pair.threads.resize(1)
    assert pair.threads.statistics().in_use <= 1
    tolds = [pair.begin(bulkhead) for bulkhead in (pair.a, pair.a, pair.b, pair.b)]
    assert [told.evidence for told in tolds].count([]) == 1
    assert not pair.threads.are_too_many


def test_with_fewer_threads_jobs_go_on_and_none_begins_until_enough_have_ended(pair):
    releases = [threading.Event() for _ in range(3)]
    running = [
        start(bulkhead, lambda _client, _flight, done=done: done.wait(LONG_S) and FOUND)
        for bulkhead, done in zip((pair.a, pair.b, pair.b), releases, strict=True)
    ]
    pair.threads.resize(1)
    refused = []
    for told, done in zip(running[1:], releases[1:], strict=True):
        refused.append(pair.begin(pair.b).evidence)
        assert told.evidence == []
        done.set()
        assert told.came.wait(LONG_S)
        assert told.evidence == [FOUND]
    assert refused == [[Evidence.unknown(Reason.NO_THREAD)]] * 2
    assert (pair.threads.statistics().in_use, pair.threads.are_too_many) == (1, False)
    assert pair.begin(pair.b).evidence == [Evidence.unknown(Reason.NO_THREAD)]
    releases[0].set()
    assert running[0].came.wait(LONG_S)
    assert pair.begin(pair.b).evidence == []


def test_the_threads_that_a_burst_left_behind_end_although_the_server_is_still_asked():
    """Else a server that is asked now and then keeps for ever what it once needed."""
    bulkhead = Bulkhead("a.test:1", slots=9, client=Servers().client(9), threads=Threads(99, lambda: ()))
    release = threading.Event()
    burst = [start(bulkhead, lambda _client, _flight: release.wait(LONG_S) and FOUND) for _ in range(9)]
    bulkhead.trim()
    assert bulkhead.threads == 9
    release.set()
    assert all(told.came.wait(LONG_S) for told in burst)
    bulkhead.trim()  # of the time since the last one, the burst was part
    assert start(bulkhead, lambda _client, _flight: FOUND).came.wait(LONG_S)
    assert bulkhead.threads >= 9
    bulkhead.trim()
    assert bulkhead.threads == 0
    assert start(bulkhead, lambda _client, _flight: FOUND).came.wait(LONG_S)
    assert bulkhead.threads == 1
    assert bulkhead.close(Deadline.after(LONG_S))


@pytest.mark.parametrize("error", [None, RuntimeError, MemoryError, SystemExit])
def test_the_right_to_a_thread_is_kept_with_the_thread_and_comes_back_with_it(pair, error):
    def job(_client, _flight):
        if error is not None:
            raise error
        return FOUND

    assert start(pair.a, job).came.wait(LONG_S)
    assert pair.threads.statistics().in_use == pair.a.threads == 1
    pair.a.give_threads_back()
    assert (pair.threads.statistics().in_use, pair.a.threads) == (0, 0)
    assert start(pair.a, job).came.wait(LONG_S)


def test_the_right_to_a_thread_comes_back_where_none_could_be_had(pair, monkeypatch):
    def no_thread(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        assert start(pair.a, lambda _client, _flight: FOUND).evidence == [Evidence.unknown(Reason.NO_THREAD)]
    assert pair.threads.statistics().in_use == 0


def test_the_right_to_a_thread_comes_back_from_what_begins_after_the_end(pair):
    pair.a.close(Deadline.after(LONG_S))
    assert start(pair.a, lambda _client, _flight: FOUND).evidence == [Evidence.unknown(Reason.CLOSED)]
    assert pair.threads.statistics().in_use == 0


def test_however_many_wait_for_a_slot_they_are_all_told_of_the_end():
    """Each slot that comes back goes to the next one in the queue, who has no use for it either."""
    bulkhead = Bulkhead("a.test:1", slots=1, client=Servers().client(1))
    running = start(bulkhead, until_cancelled)
    told = []
    for _ in range(2000):
        bulkhead.slots.queue_up(lambda: bulkhead.start(until_cancelled, told.append))
    assert bulkhead.close(Deadline.after(LONG_S))
    assert running.came.wait(LONG_S)
    assert eventually(lambda: told == [Evidence.unknown(Reason.CLOSED)] * 2000)
    assert all_slots_are_free_once(bulkhead)


# -- threads given back


@pytest.fixture
def idle(clock):
    """A server that was asked once, and its clock."""
    bulkhead = Bulkhead("a.test:8443", slots=1, client=Servers().client(1), clock=clock)
    assert start(bulkhead, lambda _client, _flight: FOUND).came.wait(LONG_S)
    assert bulkhead.threads == 1
    yield bulkhead
    assert bulkhead.close(Deadline.after(LONG_S))


def test_a_server_that_was_never_asked_has_no_thread(bulkhead):
    bulkhead.give_threads_back(0)
    assert bulkhead.threads == 0


def test_threads_that_have_had_nothing_to_do_for_a_while_end(idle, clock):
    [thread] = [thread for thread in threading.enumerate() if "a.test:8443" in thread.name]
    clock.advance(IDLE_S)
    idle.give_threads_back(IDLE_S)
    assert idle.threads == 0
    thread.join(LONG_S)
    assert not thread.is_alive()


def test_threads_that_were_used_a_moment_ago_are_kept(idle, clock):
    clock.advance(IDLE_S - 0.001)
    idle.give_threads_back(IDLE_S)
    assert idle.threads == 1


def test_threads_at_work_are_kept_however_long_it_lasts(idle, clock: FakeClock):
    release = threading.Event()
    told = start(idle, lambda _client, _flight: release.wait(LONG_S) and FOUND)
    clock.advance(10 * IDLE_S)
    idle.give_threads_back(IDLE_S)
    assert idle.threads == 1
    release.set()
    assert told.came.wait(LONG_S)


def test_after_threads_were_given_back_there_are_new_ones_for_the_next(idle, clock):
    clock.advance(IDLE_S)
    idle.give_threads_back(IDLE_S)
    again = start(idle, lambda _client, _flight: FOUND)
    assert again.came.wait(LONG_S)
    assert (again.evidence, idle.threads) == ([FOUND], 1)
