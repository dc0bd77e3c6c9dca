"""What the workers of a director tell each other of themselves, so that each can answer for all.

A load balancer asks whichever worker is the first to take its connection. The director is not ready if at least half of
its workers say so of themselves; if fewer do, that is a warning. Only that nothing stored is read yet must be said by
all: a worker that has just been started is not missed while the others serve.
"""

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from director_wsgi.federation.store.records import Record, Renewal
from director_wsgi.health.checks import STORED, Check, Verdict
from director_wsgi.limits.deadline import Clock, WallClock

KIND: Final = "report"
"""Under which they are published, by holder."""

LIFETIME_S: Final = 8.0
"""How long a report may be believed; it is renewed more often."""

MAX_WORKERS: Final = 256
"""Whose reports are kept."""

MAX_CHECKS: Final = 16
MAX_TEXT: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One worker's.

    Attributes:
        checks: Each check once.
        in_use, limit: Threads that wait for servers, and how many may.
    """

    checks: tuple[Check, ...]
    in_use: int
    limit: int

    def encode(self) -> bytes:
        """As it is published."""
        checks = [[check.name, int(check.verdict), check.message] for check in self.checks]
        return json.dumps({"checks": checks, "inUse": self.in_use, "limit": self.limit}).encode()


def decode(body: bytes) -> Report:
    """The report in a body.

    Raises:
        ValueError: There is none.
    """
    try:
        told: Any = json.loads(body)
        checks = tuple(
            Check(str(name)[:MAX_TEXT], Verdict(verdict), str(message)[:MAX_TEXT])
            for name, verdict, message in told["checks"][:MAX_CHECKS]
        )
        return Report(checks=checks, in_use=int(told["inUse"]), limit=int(told["limit"]))
    except (LookupError, TypeError, OverflowError, RecursionError, ValueError) as error:
        raise ValueError("no report of a worker") from error


class Reports:
    """Those of the other workers; a `federation.replica.Follower`. Any number of threads may ask.

    Args:
        clock: Monotonic seconds.
        wall: Unix seconds, by which they end.
    """

    # _lock guards _of; nothing is called under it.

    def __init__(self, *, clock: Clock, wall: WallClock) -> None:
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._of: dict[str, tuple[Report, float]] = {}

    def took(self, record: Record) -> None:
        """A worker says something else than before."""
        try:
            report = decode(record.body)
        except ValueError:
            return
        self._keep(record.key, report, record.remaining_s(self._wall()))

    def renewed(self, renewal: Renewal) -> bool:
        """A worker says the same as before."""
        with self._lock:
            known = self._of.get(renewal.key)
        if known is None:
            return False
        self._keep(renewal.key, known[0], renewal.remaining_s(self._wall()))
        return True

    def dropped(self, key: str) -> None:
        """A worker has ended."""
        with self._lock:
            self._of.pop(key, None)

    def of_others(self) -> tuple[Report, ...]:
        """What they say now."""
        now = self._clock()
        with self._lock:
            return tuple(report for report, until in self._of.values() if until > now)

    def _keep(self, key: str, report: Report, lifetime_s: float) -> None:
        now = self._clock()
        with self._lock:
            self._of.pop(key, None)
            for old in [old for old, (_, until) in self._of.items() if until <= now]:
                del self._of[old]
            if len(self._of) < MAX_WORKERS:
                self._of[key] = report, now + min(lifetime_s, LIFETIME_S)


def together(own: Report, others: Sequence[Report]) -> tuple[Check, ...]:
    """What follows for the director: each check of one's own, with what the others say of it."""
    return tuple(_agreed(check, [_named(report, check.name) for report in others]) for check in own.checks)


def _named(report: Report, name: str) -> Check:
    return next((check for check in report.checks if check.name == name), Check(name))


def _agreed(own: Check, others: Sequence[Check]) -> Check:
    said = (own, *others)
    failed = [check for check in said if check.verdict is Verdict.FAILED]
    needed = len(said) if own.name == STORED else -(-len(said) // 2)
    if failed and len(failed) < needed:
        if own.name == STORED:
            return Check(own.name)
        return Check(own.name, Verdict.WARNING, f"{failed[0].message} ({len(failed)} of {len(said)} workers)")
    return max(said, key=lambda check: check.verdict)


Told = Callable[[], tuple[Report, ...]]
"""Tells the reports of the other workers."""
