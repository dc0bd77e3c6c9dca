"""What belongs to one server: its slots, its threads, its connections."""

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.limits.lanes import Lanes, LanesStatistics, Permit
from director_wsgi.limits.slots import Slots
from director_wsgi.outbound.client import Cancellation
from director_wsgi.stat.evidence import Evidence, Reason
from director_wsgi.stat.head import Client

Job = Callable[[Client, Cancellation], Evidence]
"""One question to the server; it ends by a deadline of its own, and soon after it is cancelled."""

Tell = Callable[[Evidence], object]
"""Who wants to know; it must neither block nor raise."""

IDLE_S = 30.0
"""How long a server's threads are kept when there is nothing to ask it."""

_log = logging.getLogger(__name__)


class Threads:
    """The right to a thread, shared by the servers of one process, and fairly: those which hang leave some to others.

    The right is kept as long as the thread, busy or not. When none is left, threads that have nothing to do are ended,
    those first that have been idle longest. Any number of threads at once.

    Args:
        most: How many there may be.
        bulkheads: Who may have threads to spare.
    """

    def __init__(self, most: int, bulkheads: Callable[[], Iterable["Bulkhead"]]) -> None:
        self._lanes = Lanes(most, alpha=1.0)
        self._bulkheads = bulkheads

    def take(self, name: str) -> Permit | None:
        """The right to one more thread for a server; None if there is none."""
        permit = self._lanes.take_nowait(name)
        if permit is not None:
            return permit
        for bulkhead in self._longest_idle():
            bulkhead.give_threads_back()
            permit = self._lanes.take_nowait(name)
            if permit is not None:
                return permit
        return None

    def resize(self, most: int) -> None:
        """Change how many there may be, now. If fewer: idle ones end at once, others with their job, until it is so.

        Raises:
            ValueError: `most` is below 1.
        """
        self._lanes.resize(most)
        for bulkhead in self._longest_idle():
            if not self.are_too_many:
                return
            bulkhead.give_threads_back()

    @property
    def are_too_many(self) -> bool:
        """Whether there are more than there may be, since that became fewer: then who gets idle gives his back."""
        return self._lanes.excess > 0

    def _longest_idle(self) -> list["Bulkhead"]:
        """Who has threads to spare, in the order in which they are to be ended."""
        idle = [(since, bulkhead) for bulkhead in self._bulkheads() if (since := bulkhead.idle_since) is not None]
        return [bulkhead for _since, bulkhead in sorted(idle, key=lambda pair: pair[0])]

    def statistics(self) -> LanesStatistics:
        """How many are out."""
        return self._lanes.statistics()


class Bulkhead:
    """Keeps what one server does to us away from all the others.

    A slot is the right to have one question in flight. It is taken before the question is handed to the threads, and
    there are as many threads and connections as slots; so no queue forms inside, where nobody would see it and
    nothing would bound it, and a server that hangs holds its slots and nothing else. The slot comes back exactly once:
    after an answer, an error, a cancellation, and where no thread could be had.

    Any number of threads at once.

    Args:
        name: `host:port` of the server; part of the names of its threads.
        slots: Most questions in flight, at least 1.
        client: What they are asked with; this owns it.
        threads: The right to a thread, shared by all servers of this process; None: no bound beyond the slots.
        clock: Monotonic seconds.

    Attributes:
        slots: The door. Whoever has taken a slot hands it over by `start`, or releases it.
        most: How many slots there may be at most; there may be fewer for a while.
    """

    # _lock guards every attribute that changes. Under it an executor is made, asked to run a job and told to end, but
    # never waited for; nothing else is called. _idle is notified when no flight is left.

    def __init__(
        self,
        name: str,
        *,
        slots: int,
        client: Client,
        threads: Threads | None = None,
        clock: Clock = monotonic,
    ) -> None:
        self.slots = Slots(slots)
        self._name = name
        self.most = slots
        self._client = client
        self._threads = threads
        self._permits: list[Permit] = []  # as many as the executor may have threads
        self._clock = clock
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._executor: ThreadPoolExecutor | None = None
        self._used_at = clock()
        self._flights: set[Cancellation] = set()
        self._peak = 0  # of flights since the last `trim`
        self._is_closed = False

    def adopt(self, most: int) -> None:
        """Let there be so many slots at most; to be called before `slots` become more than before.

        An executor that could not have as many threads is replaced: its idle threads end now, the others with their
        job. The same again changes nothing.
        """
        with self._lock:
            before, self.most = self.most, most
        if most != before:
            self._client.keep(most)
        if most > before:
            self.give_threads_back()

    def start(self, job: Job, tell: Tell) -> Cancellation:
        """Begin a job on a thread of this server; does not wait.

        Args:
            job: What is done there.
            tell: Told the outcome, once, whatever happens; by then the slot is free again. Called on a thread of the
                server, or by `start` itself if the job could not begin.

        Returns:
            By which the job can be ended early.
        """
        flight = Cancellation()
        if not self._has_thread_for(flight):
            self._end(flight, Evidence.unknown(Reason.NO_THREAD), tell)
            return flight
        future, reason = self._submit(job, flight)
        if future is not None:
            future.add_done_callback(partial(self._land, flight, tell))
        else:
            # A job that could not get a thread stands in the executor's queue all the same: it must not run later.
            flight.cancel()
            self._end(flight, Evidence.unknown(reason), tell)
        return flight

    def _has_thread_for(self, flight: Cancellation) -> bool:
        """Count the flight in, and see that there is the right to as many threads as flights."""
        with self._lock:
            self._flights.add(flight)
            self._peak = max(self._peak, len(self._flights))
            is_covered = self._is_closed or len(self._flights) <= len(self._permits)
        return is_covered or self._threads is None or self._take_permit(self._threads)

    def _take_permit(self, threads: Threads) -> bool:
        permit = threads.take(self._name)
        if permit is None:
            return False
        with self._lock:
            is_kept = not self._is_closed
            if is_kept:
                self._permits.append(permit)
        if not is_kept:
            permit.release()
        return True

    def _submit(self, job: Job, flight: Cancellation) -> tuple[Future[Evidence] | None, Reason]:
        with self._lock:
            if self._is_closed:
                return None, Reason.CLOSED
            if self._executor is None:
                self._executor = ThreadPoolExecutor(
                    max_workers=self.most, thread_name_prefix=f"director-stat-{self._name}"
                )
            try:
                return self._executor.submit(self._run, job, flight), Reason.CLOSED
            except RuntimeError:  # the system gives no more threads
                return None, Reason.NO_THREAD

    def _run(self, job: Job, flight: Cancellation) -> Evidence:
        """Runs on a thread of the server."""
        if flight.is_cancelled:
            return Evidence.unknown(Reason.CLOSED)
        return job(self._client, flight)

    def _land(self, flight: Cancellation, tell: Tell, future: Future[Evidence]) -> None:
        """Runs where the future ends: on a thread of the server, or on the one that closes."""
        if future.cancelled():
            evidence = Evidence.unknown(Reason.CLOSED)
        elif error := future.exception():  # a mistake of ours, since nothing a server does raises
            _log.error("asking %s failed", self._name, exc_info=error)
            evidence = Evidence.unknown(Reason.FAILED)
        else:
            evidence = future.result()
        self._end(flight, evidence, tell)

    def _end(self, flight: Cancellation, evidence: Evidence, tell: Tell) -> None:
        with self._lock:
            self._used_at = self._clock()
            self._flights.discard(flight)
            if not self._flights:
                self._idle.notify_all()
        self._account_for_threads()
        self.slots.release()
        tell(evidence)

    def _account_for_threads(self) -> None:
        """Have the right to every thread there is, and to no more.

        An executor makes a new one if the last one to end has not come back yet, although it is about to; and threads
        of an executor that was replaced end with their job.
        """
        if self._threads is None:
            return
        with self._lock:
            threads = 0 if self._executor is None else len(self._executor._threads)  # noqa: SLF001, see `threads`
            needed = max(threads, len(self._flights))
            permits = len(self._permits)
            is_short = threads > permits and not self._is_closed
            spare = self._permits[needed:] if needed < permits else ()
            del self._permits[needed:]
        for permit in spare:
            permit.release()
        if (is_short and not self._take_permit(self._threads)) or self._threads.are_too_many:
            self.give_threads_back()

    @property
    def in_flight(self) -> int:
        """How many questions the server has not answered yet."""
        with self._lock:
            return len(self._flights)

    @property
    def threads(self) -> int:
        """How many threads it has now, busy or not."""
        with self._lock:
            return 0 if self._executor is None else len(self._executor._threads)  # noqa: SLF001, told nowhere else

    @property
    def idle_since(self) -> float | None:
        """When it was last used, if it has threads that have nothing to do now; None if it has not."""
        with self._lock:
            return self._used_at if len(self._permits) > len(self._flights) else None

    def give_threads_back(self, idle_s: float = 0.0) -> None:
        """End the threads that have nothing to do: an executor never shrinks by itself, so it is replaced.

        Args:
            idle_s: Only if there has been nothing at all to ask for so long; 0: those that are busy end with their job.
        """
        with self._lock:
            is_due = idle_s <= 0 or (not self._flights and self._clock() - self._used_at >= idle_s)
            executor = self._executor if is_due else None
            spare: list[Permit] = []
            if executor is not None:
                self._executor = None
                spare = self._permits[len(self._flights) :]
                del self._permits[len(self._flights) :]
        if executor is not None:
            executor.shutdown(wait=False)
        for permit in spare:
            permit.release()

    def trim(self) -> None:
        """End the threads and close the connections that a burst has left behind; to be called now and then.

        Threads are kept for a while where there is nothing to ask at all, and as long as about half of them are used.
        """
        self._client.trim()
        with self._lock:
            peak, self._peak = self._peak, len(self._flights)
            is_oversized = len(self._permits) > 2 * peak + 2 and peak > 0
        self.give_threads_back(0.0 if is_oversized else IDLE_S)

    def close(self, deadline: Deadline) -> bool:
        """Begin nothing any more, end what is in flight, give threads and connections back. May be called again.

        Returns:
            Whether every thread had ended by the deadline. One that had not ends with its own job.
        """
        with self._lock:
            self._is_closed = True
            flights = tuple(self._flights)
            executor = self._executor
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)
        for flight in flights:
            flight.cancel()
        self._client.close()
        with self._idle:
            has_ended = self._idle.wait_for(lambda: not self._flights, deadline.remaining_s())
        if not has_ended:
            _log.warning("%s: still being asked after its end: %d", self._name, self.in_flight)
        elif executor is not None:
            executor.shutdown(wait=True)  # no thread has anything left to do
        with self._lock:
            permits, self._permits = self._permits, []
        for permit in permits:
            permit.release()
        return has_ended

    def __repr__(self) -> str:
        return f"<Bulkhead {self._name}: {self.in_flight}/{self.most} slots>"
