"""One kind of question to the registry: its answers, and how a new one is come by.

The question goes out on a thread of the pool, and never twice at the same time. Whoever needs the answer may wait for
it, with a deadline of its own, and go; the question goes on, and what it brings is there for the next.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final, Generic, TypeVar

from director_wsgi.limits.coalesce import LOST, Coalescer, Flight, Lost
from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.trust.pool import CAPACITY as QUEUED
from director_wsgi.trust.pool import THREADS, Errand, Pool
from director_wsgi.trust.registry import BadAnswer, Closed, NoAnswer, RegistryError
from director_wsgi.trust.remembered import Entry, Remembered
from director_wsgi.trust.shared import SharedAnswers
from director_wsgi.trust.silence import Silence

log = logging.getLogger(__name__)

V = TypeVar("V")

RETRY_S: Final = 10.0
"""An answer that could not be renewed is not asked for again within this time."""

_CLOSING: Final = "the registry could not be asked: the director is closing"


class _Wait(Generic[V]):
    """One thread's wait for an answer."""

    __slots__ = ("_done", "_outcome")

    def __init__(self) -> None:
        self._done = threading.Event()
        self._outcome: V | RegistryError | Lost = LOST

    def tell(self, outcome: V | RegistryError | Lost) -> None:
        self._outcome = outcome
        self._done.set()

    def outcome(self, deadline: Deadline) -> V | RegistryError | None:
        """What was told; None at the deadline."""
        if not self._done.wait(deadline.remaining_s()):
            return None
        return NoAnswer("the registry could not be asked") if isinstance(self._outcome, Lost) else self._outcome


class Questions(Generic[V]):
    """Any number of threads may ask; only `ask` waits.

    Attributes:
        answers: What has been answered.
    """

    def __init__(
        self,
        name: str,
        fetch: Callable[[str, Deadline], V],
        *,
        answers: Remembered[V],
        shared: SharedAnswers[V] | None = None,
        pool: Pool,
        silence: Silence,
        timeout_s: float,
        clock: Clock = monotonic,
    ) -> None:
        """Nothing has been asked yet.

        Args:
            name: What is asked for, in one word; unique in the pool.
            fetch: Asks the registry; raises `RegistryError` only.
            answers: Where they are kept. Never None: a None that was fetched could not be told from a deadline.
            shared: Told of each answer, and of each refusal.
            pool: Whose threads ask.
            silence: Whether the registry answers at all.
            timeout_s: How long one question may take.
            clock: Monotonic seconds.
        """
        self.answers = answers
        self._shared = shared
        self._name = name
        self._fetch = fetch
        self._pool = pool
        self._silence = silence
        self._timeout_s = timeout_s
        self._clock = clock
        self._flights: Coalescer[str, V | RegistryError] = Coalescer(2 * QUEUED + THREADS)
        self._counts: Counter[str] = Counter()
        self._counts_lock = threading.Lock()

    def adopt(self, *, timeout_s: float) -> None:
        """Let one question take so long, from the next one that goes out on."""
        self._timeout_s = timeout_s

    @property
    def counts(self) -> Mapping[str, int]:
        """Questions that went out, by what came of them: `answered`, `refused`, `senseless`, `silent`, `failed`."""
        with self._counts_lock:
            return dict(self._counts)

    def may_retry(self, entry: Entry[V]) -> bool:
        """Whether a try to renew this answer has not just failed."""
        return self._clock() - entry.failed_at >= RETRY_S

    def renew_if_stale(self, key: str, entry: Entry[V]) -> None:
        """Ask behind the caller's back, if there is need to and no try has just failed."""
        if not self.answers.is_fresh(entry) and self.may_retry(entry):
            self.ask_behind(key)

    def ask_behind(self, key: str) -> None:
        """Ask behind the caller's back, if it is possible now; if not, the next caller will try."""
        with suppress(NoAnswer):
            self._flights.launch_detached(key, partial(self._launch, is_urgent=False))

    def ask(self, key: str, deadline: Deadline) -> V:
        """Wait for an answer that is asked for now, or was already.

        Raises:
            NoAnswer: There is none, by the deadline, or because the registry is silent and was tried a moment ago.
            BadAnswer: What came is none.
        """
        if deadline.has_passed():
            raise NoAnswer("the registry could not be asked: timed out")
        wait: _Wait[V] = _Wait()
        seat = self._flights.join(key, wait.tell, partial(self._launch, is_urgent=True))
        if not seat.is_leader:
            self._pool.hurry((self._name, key))
        outcome = wait.outcome(deadline)
        if outcome is None:
            seat.leave()
            raise NoAnswer("the registry could not be asked: timed out")
        if isinstance(outcome, RegistryError):
            raise outcome.with_traceback(None)  # shared by all who waited
        return outcome

    def _launch(self, flight: Flight[str, V | RegistryError], *, is_urgent: bool) -> None:
        if self._silence.is_quiet:
            raise NoAnswer("the registry has just given no answer")
        errand = Errand(run=lambda: self._run(flight), drop=lambda: flight.settle(NoAnswer(_CLOSING)))
        if not self._pool.submit((self._name, flight.key), errand, is_urgent=is_urgent):
            raise NoAnswer("too many questions wait for the registry")

    # -- on a thread of the pool

    def _run(self, flight: Flight[str, V | RegistryError]) -> None:
        if self._silence.may_ask():
            flight.settle(self._outcome(flight.key))
        else:  # it fell silent while this one stood in line
            flight.settle(NoAnswer("the registry has just given no answer"))

    def _outcome(self, key: str) -> V | RegistryError:
        """Ask, and take down what came of it."""
        error: RegistryError
        try:
            value = self._fetch(key, Deadline.after(self._timeout_s, self._clock))
        except BadAnswer as bad:
            error = bad
            self._count("refused" if bad.settles else "senseless")
        except NoAnswer as none:
            error = none
            self._count("silent")
        except (
            Exception
        ):  # a mistake of ours: it must neither end the thread nor leave those who wait without an answer
            log.exception("asking the registry failed")
            error = NoAnswer("the registry could not be asked")
            self._count("failed")
        else:
            self._count("answered")
            self._keep(key, value)
            self._silence.heard()
            return value
        self._note(key, error)
        return error

    def _note(self, key: str, error: RegistryError) -> None:
        if isinstance(error, Closed):
            return
        if isinstance(error, BadAnswer) and error.settles:
            self._forget(key)
            self._silence.heard()
            return
        # What was answered before and is not now is the registry's fault. A question that never had an answer may be
        # one that has none, and whoever likes can make a server ask it.
        is_certain = error.is_general or self.answers.known(key) is not None
        self.answers.failed(key)
        self._silence.missed(error, is_certain=is_certain)

    def _keep(self, key: str, value: V) -> None:
        self.answers.put(key, value)
        if self._shared is not None:
            self._shared.answered(key, value)

    def _forget(self, key: str) -> None:
        self.answers.forget(key)
        if self._shared is not None:
            self._shared.refused(key)

    def _count(self, outcome: str) -> None:
        with self._counts_lock:
            self._counts[outcome] += 1
