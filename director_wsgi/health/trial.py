"""A decision that nobody asked for, made every few seconds: does the director still decide in time?

It takes the way of a request through the resolver, without its door, its counters and its questions to servers. So it
fails for what is wrong with the director, not for what is wrong with a server: a lock that is not given back, a defect,
a process that gets no time.
"""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from director_wsgi.errors import DirectorError
from director_wsgi.federation.models import Coordinate
from director_wsgi.federation.snapshot import Snapshot
from director_wsgi.limits.deadline import Clock, Deadline
from director_wsgi.redirect.request import Endpoint, ObjectRequest, Redirection

INTERVAL_S: Final = 5.0
"""Between two, while all is well."""

RETRY_S: Final = 1.0
"""Between two, while it is not: what is over shall not be held against the director for long."""

LEAST_DEADLINE_S: Final = 1.0
"""However soon an operator wants redirects: a process that had no time for a moment is not one that is stuck."""

_NAME: Final = "director-trial"
_SOMEWHERE: Final = Coordinate(latitude=0.0, longitude=0.0)  # so that nobody looks a place up

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known; replaced as a whole.

    Attributes:
        began_at: When the decision that is under way began; None if none is.
        took_s: How long the last one took.
        has_failed: It ended in a way in which no decision may end.
    """

    began_at: float | None = None
    took_s: float = 0.0
    has_failed: bool = False


class Trial:
    """Makes one decision after the other, on one thread, and tells any thread whether that works.

    Args:
        resolve: `Resolver.resolve`.
        snapshot: The federation now; a path below one of its prefixes is decided on, or, as long as there is none, any.
        deadline_s: How long a decision may take.
        generator: Randomness for which prefix.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        resolve: Callable[[ObjectRequest], Redirection],
        snapshot: Callable[[], Snapshot],
        deadline_s: float,
        generator: random.Random,
        clock: Clock,
    ) -> None:
        self._resolve = resolve
        self._snapshot = snapshot
        self._deadline_s = max(deadline_s, LEAST_DEADLINE_S)
        self._generator = generator
        self._clock = clock
        self._seen = _Seen()

    def adopt(self, *, deadline_s: float) -> None:
        """Judge by this from now on, the last decision too."""
        self._deadline_s = max(deadline_s, LEAST_DEADLINE_S)

    def run(self) -> None:
        """Make one. Always on the same thread; if it never comes back, `trouble` says so."""
        last = self._seen
        began_at = self._clock()
        self._seen = _Seen(began_at, last.took_s, last.has_failed)
        has_failed = False
        try:
            self._resolve(self._request())
        except DirectorError:
            pass  # that there is nowhere to go is a decision, too
        except Exception:  # whatever it is, every request may meet it
            has_failed = True
            if not last.has_failed:
                log.exception("A decision fails that should not")
        self._seen = _Seen(None, self._clock() - began_at, has_failed)

    def trouble(self) -> str:
        """What is wrong, for operators; empty if nothing is."""
        seen = self._seen
        if seen.has_failed:
            return "Decisions fail; the log says why"
        if self.took_s > self._deadline_s:
            return f"A decision takes longer than {self._deadline_s:g} s"
        return ""

    @property
    def took_s(self) -> float:
        """How long the last decision took, or the one under way has taken so far, whichever is more."""
        seen = self._seen
        return seen.took_s if seen.began_at is None else max(seen.took_s, self._clock() - seen.began_at)

    def next_in_s(self) -> float:
        """How long to wait before the next."""
        return RETRY_S if self.trouble() else INTERVAL_S

    def _request(self) -> ObjectRequest:
        prefixes = tuple(self._snapshot().prefixes)
        prefix = self._generator.choice(prefixes).rstrip("/") if prefixes else ""
        return ObjectRequest(
            method="GET",
            endpoint=Endpoint.OBJECT,
            path=f"{prefix}/{_NAME}",
            skip_stat=True,
            coordinate=_SOMEWHERE,
            user_agent=_NAME,
            job_id=_NAME,
            deadline=Deadline.after(self._deadline_s, self._clock),
        )
