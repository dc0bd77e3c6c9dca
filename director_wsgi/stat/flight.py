"""One HEAD, from the question to everybody who wants the answer: the last two gates.

A flight is shared by all who ask the same at the same time. It waits at its server's door for a slot, becomes a HEAD on
one of the server's threads, and ends as evidence. It has an end of its own: who leaves at a deadline does not end it,
and its answer serves the next one. It is ended early in two cases: nobody is left while it still waits for a slot; or
it is under way and every asker's client has gone. Neither says anything of the server.
"""

import enum
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from director_wsgi.federation.models import ServerAd
from director_wsgi.limits.breaker import Pass, State
from director_wsgi.limits.coalesce import Flight
from director_wsgi.limits.deadline import Clock, Deadline
from director_wsgi.limits.slots import Place
from director_wsgi.outbound.client import Cancellation
from director_wsgi.runtime.tracing.span import OFF, Trace
from director_wsgi.stat.evidence import Evidence, EvidenceTable, Lifetimes, Reason
from director_wsgi.stat.head import Client, head
from director_wsgi.stat.health import ServerHealth
from director_wsgi.stat.results import Results
from director_wsgi.stat.server import Bulkhead
from director_wsgi.stat.telling import begun, ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, and as whom.

    Attributes:
        path: Object path, decoded.
        bearer: Token to ask with; None to ask as the public.
        authority: Under whose name the answer is kept.
        after: The last write of the object that was let through before it was asked, if that was not long ago: an
            answer to who asked before the write is none to who asks after it.
        trace: On whose behalf; of several who share a HEAD, the one who asked first.
    """

    path: str
    bearer: str | None = field(repr=False)
    authority: str = field(repr=False)
    after: object | None = field(default=None, repr=False)
    trace: Trace = field(default=OFF, repr=False, compare=False)


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """One server that has been asked: how it is reached, how well it answers, what it has said."""

    bulkhead: Bulkhead
    health: ServerHealth
    evidence: EvidenceTable
    results: Results = field(default_factory=Results)

    def heed_limit(self) -> None:
        """Have as many slots as the limit says; to be called by whoever may have changed it.

        Several may do so at once: who set a number that has been overtaken meanwhile sees that afterwards, and goes on.
        """
        slots = self.bulkhead.slots
        while (limit := self.health.limit.limit) != slots.limit:
            slots.resize(limit)


CIRCUIT_OPEN = Evidence.unknown(Reason.CIRCUIT_OPEN)
"""The server is not asked for now."""


class _State(enum.Enum):
    WAITING = enum.auto()  # for a slot
    ASKING = enum.auto()
    ENDED = enum.auto()


FlightKey = tuple[str, str, str, object]
"""Data URL, path, authority, and the last write: who has the same wants the same answer."""

Shared = Flight[FlightKey, Evidence]


class HeadFlight:
    """One HEAD that may be shared. `launch` is what a `Coalescer` calls.

    Args:
        known: The server.
        server: Its advertisement.
        question: What to ask it.
        pass_: The breaker's leave to ask.
        timeout_s: Longest life of the HEAD, from slot to answer.
        clock: Monotonic seconds.
        count: Told once when the HEAD begins.
        detached: Why it is made, if nobody waits for it: `refresh`, `probe`.
    """

    # _lock guards _state, _place, _cancellation and _is_unwanted; nothing is called under it.

    def __init__(
        self,
        known: Known,
        server: ServerAd,
        question: Question,
        pass_: Pass,
        *,
        timeout_s: float,
        clock: Clock,
        count: Callable[[], None],
        detached: str = "",
    ) -> None:
        self._known = known
        self._server = server
        self._question = question
        self._pass = pass_
        self._timeout_s = timeout_s
        self._clock = clock
        self._count = count
        self._detached = detached
        self._span = OFF
        self._asked_at = clock()
        self._lock = threading.Lock()
        self._state = _State.WAITING
        self._place: Place | None = None
        self._cancellation: Cancellation | None = None
        self._is_unwanted = False
        self._began_at = 0.0
        self._asked_under: Lifetimes | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it has no slot yet."""
        return self._state is _State.WAITING

    def launch(self, flight: Shared) -> None:
        """Take a slot, or a place in the queue for one; does not wait."""
        self._flight = flight
        flight.on_abandoned = self._abandoned
        slots = self._known.bulkhead.slots
        if slots.acquire(blocking=False):
            self._granted()
        else:
            self._place = slots.queue_up(self._granted)

    def launch_nowait(self, flight: Shared) -> None:
        """The same if a slot is free; else there is no flight, unless somebody has joined it in this moment."""
        self._flight = flight
        if self._known.bulkhead.slots.acquire(blocking=False):
            self._granted()
        elif flight.drop():
            self._state = _State.ENDED
            self._known.health.breaker.undecided(self._pass)
        else:
            self.launch(flight)

    def give_up(self) -> None:
        """It is not launched after all."""
        self._known.health.breaker.undecided(self._pass)

    def _granted(self) -> None:
        """A slot is there; on the thread that gave it back, or that of `launch`."""
        with self._lock:
            is_wanted = self._state is _State.WAITING
            if is_wanted:
                self._state = _State.ASKING
        if not is_wanted:
            self._known.bulkhead.slots.release()
            return
        if self._place is not None and self._is_off():
            self._known.bulkhead.slots.release()
            self._landed(CIRCUIT_OPEN)
            return
        self._count()
        self._asked_under = self._known.evidence.lifetimes
        self._began_at = self._clock()
        waited_s = self._began_at - self._asked_at
        self._span = begun(self._question.trace, self._server, self._detached, queued_s=waited_s)
        cancellation = self._known.bulkhead.start(self._ask, self._landed)
        with self._lock:
            self._cancellation = cancellation
            is_unwanted = self._is_unwanted
        if is_unwanted:
            cancellation.cancel()

    def _is_off(self) -> bool:
        """Whether the breaker has opened while the flight stood in the queue: then nobody shall wait for it."""
        return not self._pass.is_probe and self._known.health.breaker.snapshot().state is not State.CLOSED

    def _ask(self, client: Client, cancellation: Cancellation) -> Evidence:
        """Runs on a thread of the server."""
        return head(
            client,
            self._server.base_url,
            self._question.path,
            bearer=self._question.bearer,
            deadline=Deadline(self._began_at + self._timeout_s, self._clock),
            cancellation=cancellation,
            trace=self._span.headers(),
        )

    def _landed(self, evidence: Evidence) -> None:
        """Runs on a thread of the server, mostly; the answer is remembered whether or not anybody waits for it."""
        with self._lock:
            self._state = _State.ENDED
        known, question = self._known, self._question
        took_s = self._clock() - self._began_at
        ended(self._span, evidence)
        try:
            known.health.learned(self._pass, evidence, took_s=took_s, in_flight=known.bulkhead.in_flight + 1)
            known.heed_limit()
            known.results.count(evidence, is_cached=False)
            known.evidence.remember(
                question.path,
                question.authority,
                evidence,
                is_public=question.bearer is None,
                asked_under=self._asked_under,
            )
        finally:
            # A flight that is never settled would be joined for ever.
            self._flight.settle(evidence)

    def _abandoned(self, all_gone: bool) -> None:
        """Nobody wants the answer any more; on the thread of the last who did."""
        with self._lock:
            is_asking = self._state is _State.ASKING
        if is_asking:
            if all_gone and self._flight.drop():
                self._cancel()
            return
        if not self._flight.drop():
            return  # somebody came just now, or the answer did
        with self._lock:
            is_waiting = self._state is _State.WAITING
            if is_waiting:
                self._state = _State.ENDED
        if is_waiting and self._place is not None:
            self._known.health.breaker.undecided(self._pass)
            # If it was granted in this very moment, `_granted` finds that it is not wanted and gives the slot on.
            self._known.bulkhead.slots.leave(self._place)

    def _cancel(self) -> None:
        with self._lock:
            self._is_unwanted = True
            cancellation = self._cancellation
        if cancellation is not None:  # else `_granted` is about to have it, and finds that it is not wanted
            cancellation.cancel()
