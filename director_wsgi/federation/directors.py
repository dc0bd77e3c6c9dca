"""The directors of this federation, as the listing shows them.

One director for now: this one. Its entry lives in a TTL table that the listing reads, and is renewed by whoever finds
it a third of its life old, so that the listing is never empty and never shows an entry that is about to expire.

Source: Pelican `director/director_advertise.go:listDirectors`.
"""

import datetime as dt
import threading
import uuid

from cachetools import TTLCache

from director_wsgi.limits.deadline import Clock, WallClock, monotonic, wall

MAX_DIRECTORS = 100


class Directors:
    """A TTL table of directors. Safe between threads.

    Args:
        name, advertise_url, version: What the entry says.
        lifetime_s: How long it may be believed.
        started_at: When the director was started, on `clock`; None: now.
        clock: Monotonic seconds.
        wall_clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        name: str,
        advertise_url: str,
        version: str,
        lifetime_s: float,
        started_at: float | None = None,
        clock: Clock = monotonic,
        wall_clock: WallClock = wall,
    ) -> None:
        self._name = name
        self._advertise_url = advertise_url
        self._version = version
        self._lifetime_s = lifetime_s
        self._wall = wall_clock
        self._clock = clock
        self._lock = threading.Lock()
        self._instance_id = str(uuid.uuid4())
        self._start_time = int(wall_clock() - (0.0 if started_at is None else clock() - started_at))
        self._generation = 1
        self._renew_at = -float("inf")
        self._table: TTLCache[str, dict[str, object], float] = TTLCache(
            maxsize=MAX_DIRECTORS, ttl=lifetime_s, timer=clock
        )

    def listing(self) -> list[dict[str, object]]:
        """Every director that has not expired, as JSON objects, in the order of their names."""
        with self._lock:
            if self._clock() >= self._renew_at:
                self._renew()
            return sorted(self._table.values(), key=lambda entry: str(entry["name"]))

    def _renew(self) -> None:
        self._renew_at = self._clock() + self._lifetime_s / 3
        self._generation += 1
        expiry = dt.datetime.fromtimestamp(self._wall() + self._lifetime_s, dt.UTC)
        self._table[self._name] = {
            "name": self._name,
            "startTime": self._start_time,
            "instanceID": self._instance_id,
            "generationID": self._generation,
            "version": self._version,
            "expiry": expiry.isoformat().replace("+00:00", "Z"),
            "advertise_url": self._advertise_url,
        }
