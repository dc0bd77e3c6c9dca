"""Whether the registry answers at all, and when to try again if it does not.

While it is silent only one question at a time goes out, after a pause that grows; the rest is decided from what is
known. So an outage costs the registry's host one question every few seconds, whatever the federation's size, and the
first answer ends it for everybody.
"""

import logging
import math
import random
import threading
from typing import Final

from director_wsgi.limits.deadline import Clock, monotonic
from director_wsgi.trust.registry import RegistryError

log = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 5.0
"""Also how long it may take until the return of the registry is noticed, if somebody wants to know something then."""

JITTER: Final = 0.5
"""A pause is shortened by up to this share of it: several directors do not come back at the same moment."""


class Silence:
    """Safe between threads; nothing here waits."""

    # _lock guards everything that changes.

    def __init__(self, *, longest_question_s: float, generator: random.Random, clock: Clock = monotonic) -> None:
        """The registry is taken to answer until it has not.

        Args:
            longest_question_s: How long one question may take: so long the outcome of a probe is waited for.
            generator: Of the jitter.
            clock: Monotonic seconds.
        """
        self._longest_question_s = longest_question_s
        self._generator = generator
        self._clock = clock
        self._lock = threading.Lock()
        self._silent_since: float | None = None
        self._pause_s = 0.0
        self._probe_at = -math.inf

    def adopt(self, *, longest_question_s: float) -> None:
        """Wait so long for the outcome of the next probe; a pause under way stays as it is."""
        self._longest_question_s = longest_question_s

    @property
    def length_s(self) -> float:
        """Seconds since it was found silent; 0.0 while it answers."""
        since = self._silent_since
        return 0.0 if since is None else self._clock() - since

    @property
    def is_quiet(self) -> bool:
        """Whether it is silent and not to be tried now."""
        with self._lock:
            return self._silent_since is not None and self._clock() < self._probe_at

    def may_ask(self) -> bool:
        """Whether a question may go out now. True commits: `heard` or `missed` shall follow."""
        with self._lock:
            if self._silent_since is None:
                return True
            now = self._clock()
            if now < self._probe_at:
                return False
            self._probe_at = now + self._longest_question_s
            return True

    def heard(self) -> None:
        """It has answered."""
        with self._lock:
            since, self._silent_since = self._silent_since, None
            self._pause_s = 0.0
        if since is not None:
            log.info("the registry answers again, after %.0f s", self._clock() - since)

    def missed(self, error: RegistryError, *, is_certain: bool) -> None:
        """It has not answered.

        Args:
            error: What came instead.
            is_certain: Whether that says something of the registry and not only of the question.
        """
        with self._lock:
            is_new = self._silent_since is None
            if is_new and not is_certain:
                return
            now = self._clock()
            if self._silent_since is None:
                self._silent_since = now
            self._pause_s = min(self._pause_s * 2 or FIRST_PAUSE_S, LONGEST_PAUSE_S)
            self._probe_at = now + self._pause_s * (1 - JITTER * self._generator.random())
        if is_new:
            log.warning("%s; what is known of servers is used meanwhile", error)
