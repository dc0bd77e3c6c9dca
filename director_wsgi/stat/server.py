"""What belongs to one server: its slots, its threads, its connections."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from director_wsgi.limits.deadline import Clock, Deadline, monotonic
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
        most: How many questions may ever be in flight; `slots` may be fewer for a while.
    """

    # _lock guards every attribute that changes. Under it an executor is made, asked to run a job and told to end, but
    # never waited for; nothing else is called. _idle is notified when no flight is left.

    def __init__(
        self,
        name: str,
        *,
        slots: int,
        client: Client,
        threads: threading.BoundedSemaphore | None = None,
        clock: Clock = monotonic,
    ) -> None:
        self.slots = Slots(slots)
        self._name = name
        self.most = slots
        self._client = client
        self._worker_threads = threads
        self._clock = clock
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._executor: ThreadPoolExecutor | None = None
        self._used_at = clock()
        self._flights: set[Cancellation] = set()
        self._is_closed = False

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
        if self._worker_threads is not None and not self._worker_threads.acquire(blocking=False):
            self.slots.release()
            tell(Evidence.unknown(Reason.NO_THREAD))
            return flight
        future, reason = self._submit(job, flight)
        if future is not None:
            future.add_done_callback(partial(self._land, flight, tell))
        else:
            # A job that could not get a thread stands in the executor's queue all the same: it must not run later.
            flight.cancel()
            self._end(flight, Evidence.unknown(reason), tell)
        return flight

    def _submit(self, job: Job, flight: Cancellation) -> tuple[Future[Evidence] | None, Reason]:
        with self._lock:
            self._flights.add(flight)
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
        if self._worker_threads is not None:
            self._worker_threads.release()
        with self._idle:
            self._used_at = self._clock()
            self._flights.discard(flight)
            if not self._flights:
                self._idle.notify_all()
        self.slots.release()
        tell(evidence)

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

    def give_threads_back(self, idle_s: float = IDLE_S) -> None:
        """End the threads if there has been nothing to ask for a while: an executor never shrinks by itself."""
        with self._lock:
            is_idle = not self._flights and self._clock() - self._used_at >= idle_s
            executor = self._executor if is_idle else None
            if executor is not None:
                self._executor = None
        if executor is not None:
            executor.shutdown(wait=False)  # its threads have nothing to do, and end at once

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
        return has_ended

    def __repr__(self) -> str:
        return f"<Bulkhead {self._name}: {self.in_flight}/{self.most} slots>"
