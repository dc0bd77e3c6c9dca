"""What the registry says of a prefix: whether it is approved, and whose keys sign for it.

Handler threads ask, so how many may do so at once is bounded, and an advertisement whose sender is known never
depends on the registry being there:

- What is fresh is used without asking.
- What is stale is asked for again if one of the few permits is free and the registry has not just failed to answer;
  otherwise, and if it gives no usable answer, the stale answer counts. An outage empties no federation.
- What was never answered needs a permit and an answer. Without either the sender is told to come again.
- A no acts at once and is never fresh: the next advertisement asks again.
"""

import logging
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from director_wsgi.errors import RegistryUnavailable
from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.trust.keys import KeySet
from director_wsgi.trust.registry import BadAnswer, NoAnswer, Registry
from director_wsgi.trust.remembered import Remembered

log = logging.getLogger(__name__)

V = TypeVar("V")

PERMITS: Final = 2
"""Handler threads that may wait for the registry at once."""

APPROVAL_LIFETIME_S: Final = 300.0
KEYS_LIFETIME_S: Final = 900.0
REFETCH_INTERVAL_S: Final = 10.0
"""A key set that lacks a token's key is fetched again, but no more often than this."""

QUIET_S: Final = 5.0
"""How long what is stale is used without asking after the registry gave no answer."""

CAPACITY: Final = 20_000
"""Prefixes remembered."""

_COME_AGAIN: Final = "The Director could not ask the Registry about this server in time; please retry shortly."


class Inquiries:
    """The registry as admissions see it. One for the whole process; safe between threads."""

    def __init__(self, registry: Registry, *, timeout_s: float, clock: Clock = monotonic) -> None:
        """Remember nothing yet.

        Args:
            registry: Answers.
            timeout_s: How long one admission may spend on all its questions together (`Director.RegistryTimeout`).
            clock: Monotonic seconds.
        """
        self._timeout_s = timeout_s
        self._clock = clock
        self.permits = threading.BoundedSemaphore(PERMITS)
        self.approvals: Remembered[bool] = Remembered(
            registry.is_approved,
            lifetime_s=lambda approved: APPROVAL_LIFETIME_S if approved else 0.0,
            capacity=CAPACITY,
            clock=clock,
        )
        self.key_sets: Remembered[KeySet] = Remembered(
            registry.key_set, lifetime_s=lambda _: KEYS_LIFETIME_S, capacity=CAPACITY, clock=clock
        )
        self._quiet_until = -math.inf  # written by any thread, without a lock: the last one is right enough

    @contextmanager
    def open(self, deadline: Deadline) -> Iterator["Inquiry"]:
        """The questions of one admission; what it holds is given back at the end."""
        inquiry = Inquiry(self, deadline.at_most(self._timeout_s))
        try:
            yield inquiry
        finally:
            inquiry.close()

    @property
    def permits_in_use(self) -> int:
        """How many threads may be waiting for the registry now."""
        return PERMITS - self.permits._value  # noqa: SLF001, it has no reader of its own

    def has_just_failed(self) -> bool:
        """Whether the registry gave no answer when it was last asked, a moment ago."""
        return self._clock() < self._quiet_until

    def note(self, failure: NoAnswer | None) -> None:
        """Take down how the last question ended."""
        if failure is None:
            self._quiet_until = -math.inf
        else:
            if not self.has_just_failed():
                log.warning("%s; what is known of servers is used meanwhile", failure)
            self._quiet_until = self._clock() + QUIET_S


class Inquiry:
    """The questions of one admission, asked one after another. For one thread.

    Raises (both questions):
        RegistryUnavailable: Nothing is known, and no answer is to be had now.
        BadAnswer: The registry does not know the prefix, or says nothing that makes sense.
    """

    def __init__(self, shared: Inquiries, deadline: Deadline) -> None:
        self._shared = shared
        self._deadline = deadline
        self._has_permit = False

    def is_approved(self, prefix: str) -> bool:
        """Whether an administrator approved the prefix."""
        return self._value(self._shared.approvals, prefix, lambda _: True)

    def key_set(self, prefix: str, kid: str) -> KeySet:
        """The keys registered for the prefix; asked for again at once if none is called `kid`, at a bounded rate."""
        return self._value(self._shared.key_sets, prefix, lambda keys: bool(keys.with_id(kid)))

    def _value(self, table: Remembered[V], prefix: str, is_enough: Callable[[V], bool]) -> V:
        entry = table.known(prefix)
        if entry is not None:
            if table.is_fresh(entry) and (
                is_enough(entry.value) or table.age_of_last_try_s(entry) < REFETCH_INTERVAL_S
            ):
                return entry.value
            if self._shared.has_just_failed() or not self._take_permit():
                return entry.value
        elif not self._take_permit():
            raise RegistryUnavailable(_COME_AGAIN)
        try:
            value = table.ask(prefix, self._deadline)
        except NoAnswer as error:
            self._shared.note(error)
            if entry is None:
                raise RegistryUnavailable(_COME_AGAIN) from None
            return entry.value
        except BadAnswer as error:
            if error.settles:
                table.forget(prefix)
            elif entry is not None:
                return entry.value
            raise
        self._shared.note(None)
        return value

    def _take_permit(self) -> bool:
        """Hold a permit until the end of this admission; False, at once, if there is none left."""
        if not self._has_permit:
            self._has_permit = self._shared.permits.acquire(blocking=False)
        return self._has_permit

    def close(self) -> None:
        """Give the permit back."""
        if self._has_permit:
            self._has_permit = False
            self._shared.permits.release()
