"""How questions to one server ended, in Pelican's words.

Source: Pelican `metrics/director.go:PelicanDirectorStatTotal`.
"""

import threading
from collections import Counter
from collections.abc import Mapping

from director_wsgi.stat.evidence import Evidence, Presence, Reason

_NOT_ASKED = frozenset({Reason.NOT_ASKED, Reason.NO_SLOT, Reason.NO_THREAD, Reason.CIRCUIT_OPEN})


class Results:
    """One server's counts. Any number of threads at once."""

    # _lock guards _counts; nothing is called under it.

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, bool]] = Counter()

    def count(self, evidence: Evidence, *, is_cached: bool) -> None:
        """Count an answer, if it is one: that the server was not asked is none.

        Args:
            evidence: What it says.
            is_cached: Whether it came from memory.
        """
        result = _result(evidence)
        if result:
            with self._lock:
                self._counts[result, is_cached] += 1

    def counts(self) -> Mapping[tuple[str, bool], int]:
        """By result and whether it came from memory."""
        with self._lock:
            return dict(self._counts)


def _result(evidence: Evidence) -> str:
    presence = evidence.presence  # compared one by one: the hash of an enum's member costs more than all of it
    if presence is Presence.PRESENT:
        return "Succeeded"
    if presence is Presence.ABSENT:
        return "NotFound"
    if presence is Presence.DENIED:
        return "Forbidden"
    reason = evidence.reason
    if reason is Reason.TIMED_OUT:
        return "Timeout"
    if reason is Reason.CLOSED:
        return "Cancelled"
    return "" if reason in _NOT_ASKED else "UnknownErr"
