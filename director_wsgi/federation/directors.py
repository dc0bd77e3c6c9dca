"""The directors of this federation, as the listing shows them.

One director for now: this one. Its entry lives in a TTL table that the listing reads, and is renewed by whoever finds
it a third of its life old, so that the listing is never empty and never shows an entry that is about to expire. Which
worker renews it makes no difference. How the director is stands beside it, in a table of its own: it is told every few
seconds, and forgotten when nobody tells it.

Source: Pelican `director/director_advertise.go:listDirectors`.
"""

import datetime as dt
import threading
import uuid
from collections.abc import Mapping

from cachetools import TTLCache

from director_wsgi.limits.deadline import Clock, WallClock, monotonic, wall
from director_wsgi.limits.ttl import TTLTable

MAX_DIRECTORS = 100

FIRST_GENERATION = 2
"""As upstream counts."""


class Directors:
    """A TTL table of directors. Safe between threads.

    Args:
        name, advertise_url, version: What the entry says.
        lifetime_s: How long it may be believed.
        started_at: When the director was first started, on `clock`; None: now. All processes of a director that are
            told the same make the same entry, and are the same instance.
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
        self._started_at = clock() if started_at is None else started_at
        told = str(uuid.uuid4()) if started_at is None else f"{name} {started_at!r}"
        self._instance_id = str(uuid.uuid5(uuid.NAMESPACE_URL, told))
        self._start_time = round(wall_clock() - (clock() - self._started_at))
        self._renew_at = -float("inf")
        self._table: TTLCache[str, dict[str, object], float] = TTLCache(
            maxsize=MAX_DIRECTORS, ttl=lifetime_s, timer=clock
        )
        self._health: TTLTable[str, Mapping[str, object]] = TTLTable(MAX_DIRECTORS, clock)

    def adopt(self, *, advertise_url: str, lifetime_s: float) -> None:
        """Say this from now on, beginning with the next listing. It stays the same instance.

        How often an entry is renewed follows from how long it may be believed, and so does the number of its
        generation: a longer life makes the number smaller, for all workers alike. The same again changes nothing.
        """
        with self._lock:
            if (advertise_url, lifetime_s) == (self._advertise_url, self._lifetime_s):
                return
            self._advertise_url, self._lifetime_s = advertise_url, lifetime_s
            self._table = TTLCache(maxsize=MAX_DIRECTORS, ttl=lifetime_s, timer=self._clock)
            self._renew_at = -float("inf")

    def tell_health(self, health: Mapping[str, object], lifetime_s: float) -> None:
        """Say how this director is.

        Args:
            health: A JSON object, as it shall be shown; not to be changed any more.
            lifetime_s: How long that holds.
        """
        self._health.put(self._name, health, lifetime_s)

    def listing(self) -> list[dict[str, object]]:
        """Every director that has not expired, as JSON objects, in the order of their names.

        Beside Pelican's fields an entry has `health`, if its director has said lately how it is.
        """
        with self._lock:
            if self._clock() >= self._renew_at:
                self._renew()
            entries = sorted(self._table.values(), key=lambda entry: str(entry["name"]))
        return [self._with_health(entry) for entry in entries]

    def _with_health(self, entry: dict[str, object]) -> dict[str, object]:
        health = self._health.get(str(entry["name"]))
        return entry if health is None else {**entry, "health": health}

    def _renew(self) -> None:
        # In steps counted from the first start, so that every worker tells the same.
        now, step_s = self._clock(), self._lifetime_s / 3
        steps = int((now - self._started_at) / step_s)
        began_at = self._started_at + steps * step_s
        self._renew_at = began_at + step_s
        expiry = dt.datetime.fromtimestamp(round(self._wall() - (now - began_at) + self._lifetime_s), dt.UTC)
        self._table[self._name] = {
            "name": self._name,
            "startTime": self._start_time,
            "instanceID": self._instance_id,
            "generationID": FIRST_GENERATION + steps,
            "version": self._version,
            "expiry": expiry.isoformat().replace("+00:00", "Z"),
            "advertise_url": self._advertise_url,
        }
