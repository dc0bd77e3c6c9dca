"""What the registry knows as a whole, such as a table of all caches: fetched again and again in the background.

An old table is worth having while there is no new one, however old.
"""

import logging
import math
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.trust.registry import Closed, RegistryError

log = logging.getLogger(__name__)

V = TypeVar("V")

RETRY_S: Final = 1.0
"""Between two tries while nothing was ever fetched; also the first pause after a failure."""


class Poll(Generic[V]):
    """The table. One thread refreshes it; any thread reads it, without a lock and without waiting."""

    def __init__(self, what: str, fetch: Callable[[Deadline], V], *, nothing: V, clock: Clock = monotonic) -> None:
        """Nothing has been fetched yet.

        Args:
            what: Names it in the log.
            fetch: Asks the registry; raises `RegistryError` only.
            nothing: Stands for it until it has been fetched.
            clock: Monotonic seconds.
        """
        self.value = nothing
        self._what = what
        self._fetch = fetch
        self._clock = clock
        self._fetched_at = -math.inf
        self._failures = 0  # in a row

    @property
    def loaded(self) -> bool:
        """Whether it was ever fetched."""
        return self._fetched_at > -math.inf

    @property
    def age_s(self) -> float:
        """Seconds since it was last fetched; infinite if it never was."""
        return self._clock() - self._fetched_at

    def refresh(self, deadline: Deadline) -> bool:
        """Fetch it; keep the old one if that fails, which is logged once. Whether it was fetched."""
        try:
            value = self._fetch(deadline)
        except Closed:
            return False
        except RegistryError as error:
            if not self._failures:
                log.warning("cannot refresh %s: %s", self._what, error)
            self._failures += 1
            return False
        if self._failures or not self.loaded:
            log.info("fetched %s", self._what)
        self._failures = 0
        self.value = value  # before it counts as loaded: a reader asks for that first
        self._fetched_at = self._clock()
        return True

    def next_refresh_in_s(self, interval_s: float) -> float:
        """How long to wait before the next `refresh`.

        Args:
            interval_s: What it is while all is well. After a failure it is less at first, and grows up to this; a
                second while nothing was ever fetched.
        """
        if not self.loaded:
            return min(interval_s, RETRY_S)
        if not self._failures:
            return interval_s
        return min(interval_s, RETRY_S * 2.0 ** min(self._failures - 1, 32))
