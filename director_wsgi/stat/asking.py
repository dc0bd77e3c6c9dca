"""One asker's wait for several servers.

An asker waits at one place only, its inbox. Answers arrive there in the order in which they come about, and so does the
news that the client has gone. So no server is waited for while another has answered, and the wait ends at the first of:
enough known, the deadline, nobody there any more.
"""

import math
from contextlib import nullcontext
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from director_wsgi.limits.coalesce import Lost
from director_wsgi.limits.deadline import Clock, Deadline
from director_wsgi.limits.lanes import Lanes, Permit
from director_wsgi.runtime.clients import Watchable
from director_wsgi.stat.evidence import Evidence, Presence, Reason
from director_wsgi.stat.patience import Patience

GRACE_FACTOR = 1.0
"""How long stragglers are waited for, in proportion to what the answers took that are there."""

USUAL_FACTOR = 2.0
"""How much longer than usual those who are missing may take, from when they were asked."""

SHORT_FACTOR = 3.0
LEAST_SHORT_S = 0.03
MOST_SHORT_S = 0.25
"""How long the wait for servers is that is open to all: so many times what they take usually, within bounds."""

LEAST_GRACE_S = 0.01
MOST_GRACE_S = 0.1

_LOST = Evidence.unknown(Reason.CLOSED)


class WaitingLanes:
    """The right of a handler thread to wait for servers, in two steps.

    As long as servers take usually, whoever finds a permit may wait: that costs little, and an answer without it would
    be a guess although the right server is well. Whoever waits longer, waits for somebody sick: for that there are
    fewer permits, shared fairly between namespaces, so that neither a sick server nor the namespace it serves takes
    what the others need. Any number of threads at once.

    Args:
        permits: Handler threads that may wait at one moment.

    Attributes:
        all: Who waits.
        long: Of these, who waits longer than usual.
    """

    def __init__(self, permits: int) -> None:
        self.all = Lanes(permits)
        self.long = Lanes(max(1, permits * 3 // 4))

    def take_nowait(self) -> Permit | None:
        """The right to wait for a moment."""
        return self.all.take_nowait(object())  # no share: every wait is a key of its own

    def take_long_nowait(self, namespace: str) -> Permit | None:
        """The right to go on waiting, besides the first."""
        return self.long.take_nowait(namespace)


@dataclass(frozen=True, slots=True)
class Terms:
    """Until when an asker waits, and for whom.

    Attributes:
        deadline: When to leave.
        namespace: Whom the wait is charged to.
        patience: How much has to be known before that.
        client: By which its going is noticed; None if that can't be told.
    """

    deadline: Deadline
    namespace: str
    patience: Patience
    client: Watchable | None


class Inbox:
    """Where what an asker waits for arrives, from any thread."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[int, Evidence] | None] = SimpleQueue()

    def put(self, index: int, answer: Evidence | Lost) -> None:
        """An answer has come."""
        self._queue.put((index, _LOST if isinstance(answer, Lost) else answer))

    def put_gone(self) -> None:
        """The client has gone."""
        self._queue.put(None)

    def get(self, timeout_s: float) -> tuple[int, Evidence] | None:
        """The next arrival, None for a client that has gone; raises `queue.Empty` if there is none in time."""
        return self._queue.get(timeout=timeout_s)

    def get_nowait(self) -> tuple[int, Evidence] | None:
        """The same, without waiting."""
        return self._queue.get_nowait()


def wait_for_answers(
    inbox: Inbox,
    answers: dict[int, Evidence],
    *,
    pending: set[int],
    began_at: float,
    usual_s: float | None = None,
    terms: Terms,
    lanes: WaitingLanes,
    clock: Clock,
) -> bool:
    """Wait until enough is known, the deadline has passed, or the client has gone.

    Args:
        inbox: Where the answers of those asked arrive.
        answers: What is known already; what arrives is added.
        pending: Who is being asked; emptied as they answer.
        began_at: When they were asked, on `clock`.
        usual_s: How long the slowest of them takes usually; None if one has never answered.
        terms: Until when, and for whom.
        lanes: Give the right to wait; without it only what has arrived by now counts.
        clock: Monotonic seconds.

    Returns:
        Whether the client has gone.
    """
    wait = _Wait(inbox, answers, pending, terms, began_at=began_at, usual_s=usual_s, clock=clock)
    if wait.take_what_is_there():
        return False
    lane = lanes.take_nowait()
    if lane is None:
        return False
    with lane, nullcontext() if terms.client is None else terms.client.watching(inbox.put_gone):
        if wait.take_what_comes(at_most_s=_moment_s(usual_s)):
            return True
        if wait.is_over():
            return False
        long_lane = lanes.take_long_nowait(terms.namespace)
        if long_lane is None:
            return False
        with long_lane:
            return wait.take_what_comes()


def _moment_s(usual_s: float | None) -> float:
    """How long the wait is that is open to all."""
    return MOST_SHORT_S if usual_s is None else min(max(usual_s * SHORT_FACTOR, LEAST_SHORT_S), MOST_SHORT_S)


class _Wait:
    """The state of one wait; used by one thread."""

    def __init__(
        self,
        inbox: Inbox,
        answers: dict[int, Evidence],
        pending: set[int],
        terms: Terms,
        *,
        began_at: float,
        usual_s: float | None,
        clock: Clock,
    ) -> None:
        self._inbox = inbox
        self._answers = answers
        self._pending = pending
        self._began_at = began_at
        self._usual_s = usual_s or 0.0
        self._deadline = terms.deadline
        self._patience = terms.patience
        self._clock = clock
        self._has_grace = False

    def take_what_is_there(self) -> bool:
        """Whether nothing is left to wait for."""
        try:
            while self._pending:
                self._take(self._inbox.get_nowait())
        except Empty:
            pass
        return not self._pending or self._is_enough()

    def take_what_comes(self, *, at_most_s: float = math.inf) -> bool:
        """Whether the client has gone."""
        until = self._deadline.at_most(at_most_s)
        try:
            while not self.is_over():  # which may bring the deadline forward
                remaining_s = min(until.remaining_s(), self._deadline.remaining_s())
                if self._take(self._inbox.get(remaining_s)):
                    return True
        except Empty:
            pass
        return False

    def is_over(self) -> bool:
        """Whether there is nothing left to wait for."""
        return not self._pending or self._deadline.has_passed() or self._is_enough()

    def _take(self, arrival: tuple[int, Evidence] | None) -> bool:
        if arrival is None:
            return True
        index, answer = arrival
        self._pending.discard(index)
        self._answers[index] = answer
        return False

    def _is_enough(self) -> bool:
        """Whether the answer may go out; the first presence starts the stragglers' grace.

        The grace is taken from the answers that came, and from what those who are missing take usually: whoever needs
        much longer than that is not worth waiting for.
        """
        if not any(is_there(answer) for answer in self._answers.values()):
            return False
        if self._patience is Patience.FIRST:
            return True
        if not self._has_grace:
            self._has_grace = True
            took_s = self._clock() - self._began_at
            missing_s = self._usual_s * USUAL_FACTOR - took_s
            grace_s = max(took_s * GRACE_FACTOR, missing_s, LEAST_GRACE_S)
            self._deadline = self._deadline.at_most(min(grace_s, MOST_GRACE_S))
        return self._deadline.has_passed()


def is_there(answer: Evidence) -> bool:
    """Whether a server is known to have the object now, by an answer that holds."""
    return answer.presence is Presence.PRESENT and answer.stale_s is None
