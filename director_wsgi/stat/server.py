"""What belongs to one server: its slots, its threads, its connections."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from director_wsgi.limits.deadline import Deadline
from director_wsgi.limits.slots import Slots
from director_wsgi.outbound.client import Cancellation
from director_wsgi.stat.evidence import Evidence, Reason
from director_wsgi.stat.head import Client

Job = Callable[[Client, Cancellation], Evidence]
"""One question to the server; it ends by a deadline of its own, and soon after it is cancelled."""

Tell = Callable[[Evidence], object]
"""Who wants to know; it must neither block nor raise."""

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

    Attributes:
        slots: The door. Whoever has taken a slot hands it over by `start`, or releases it.
    """

    # _lock guards _flights and _is_closed; nothing is called under it. _idle is notified when no flight is left.

    def __init__(self, name: str, *, slots: int, client: Client) -> None:
        self.slots = Slots(slots)
        self._name = name
        self._limit = slots
        self._client = client
        self._executor = ThreadPoolExecutor(max_workers=slots, thread_name_prefix=f"director-stat-{name}")
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._flights: set[Cancellation] = set()
        self._is_closed = False

    def start(self, job: Job, tell: Tell) -> None:
        """Begin a job on a thread of this server; does not wait.

        Args:
            job: What is done there.
            tell: Told the outcome, once, whatever happens; by then the slot is free again. Called on a thread of the
                server, or by `start` itself if the job could not begin.
        """
        flight = Cancellation()
        with self._lock:
            is_closed = self._is_closed
            self._flights.add(flight)
        if is_closed:
            self._end(flight, Evidence.unknown(Reason.CLOSED), tell)
            return
        try:
            future = self._executor.submit(self._run, job, flight)
        except RuntimeError:  # closed just now, or the system gives no more threads
            # In the latter case the job stands in the executor's queue all the same: it must not run without a slot.
            flight.cancel()
            with self._lock:
                reason = Reason.CLOSED if self._is_closed else Reason.NO_SLOT
            self._end(flight, Evidence.unknown(reason), tell)
            return
        future.add_done_callback(partial(self._land, flight, tell))

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
        self.slots.release()
        with self._idle:
            self._flights.discard(flight)
            if not self._flights:
                self._idle.notify_all()
        tell(evidence)

    @property
    def in_flight(self) -> int:
        """How many questions the server has not answered yet."""
        with self._lock:
            return len(self._flights)

    def close(self, deadline: Deadline) -> bool:
        """Begin nothing any more, end what is in flight, give threads and connections back. May be called again.

        Returns:
            Whether every thread had ended by the deadline. One that had not ends with its own job.
        """
        with self._lock:
            self._is_closed = True
            flights = tuple(self._flights)
        self._executor.shutdown(wait=False, cancel_futures=True)
        for flight in flights:
            flight.cancel()
        self._client.close()
        with self._idle:
            has_ended = self._idle.wait_for(lambda: not self._flights, deadline.remaining_s())
        if has_ended:
            self._executor.shutdown(wait=True)  # no thread has anything left to do
        else:
            _log.warning("%s: still being asked after its end: %d", self._name, self.in_flight)
        return has_ended

    def __repr__(self) -> str:
        return f"<Bulkhead {self._name}: {self.in_flight}/{self._limit} slots>"
