"""What became of spans: counted over all tracers of a process, which come and go."""

import threading
from collections.abc import Mapping
from typing import Final

EXPORTED: Final = "exported"
REJECTED: Final = "rejected"
FAILED: Final = "failed"
OVERFLOW: Final = "overflow"
CLOSED: Final = "closed"
"""REJECTED by the collector for what they are; FAILED to arrive; OVERFLOW, there was no room for more that wait;
CLOSED, the tracer ended first."""

OUTCOMES: Final = (EXPORTED, REJECTED, FAILED, OVERFLOW, CLOSED)


class SpanCounts:
    """Counts of spans by what became of them. Any number of threads at once."""

    # _lock guards _counts; nothing is called under it.

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(OUTCOMES, 0)

    def add(self, outcome: str, spans: int = 1) -> None:
        """Count so many more."""
        with self._lock:
            self._counts[outcome] += spans

    def counts(self) -> Mapping[str, int]:
        """All of them, by outcome."""
        with self._lock:
            return dict(self._counts)
