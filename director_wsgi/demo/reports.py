"""What a server concludes about itself from the director's reports on its tests.

Source: Pelican `server_utils/monitor.go`.
"""

import threading
from typing import Final

from director_wsgi.limits.deadline import Clock, monotonic

SILENCE_S: Final = 30.0
"""A server that the director tells nothing for so long takes itself to be cut off."""

STATUSES: Final = {"ok": "ok", "error": "critical"}
"""What a report may say, and what the server says of itself then."""


class Reports:
    """The last report, or that there is none. Any thread."""

    def __init__(self, clock: Clock = monotonic) -> None:
        """The time until the first report counts from now on."""
        self._clock = clock
        self._lock = threading.Lock()
        self._heard_at = clock()
        self._status = "warning"
        self._taken = 0

    def take(self, told: str) -> None:
        """Heed a report.

        Raises:
            KeyError: It says something else than `STATUSES` knows.
        """
        status = STATUSES[told]
        with self._lock:
            self._heard_at = self._clock()
            self._status = status
            self._taken += 1

    @property
    def status(self) -> str:
        """The server's health, for its next advertisement: a warning at first."""
        with self._lock:
            return "critical" if self._clock() - self._heard_at >= SILENCE_S else self._status

    @property
    def taken(self) -> int:
        """Reports so far."""
        with self._lock:
            return self._taken
