"""Where a client is.

In this order: what it says itself (`X-Pelican-Coordinate`), what the operator says of its network
(`GeoIPOverrides`), and else a random place that it keeps for twenty minutes, so that a client nobody can place stays
with the same caches meanwhile.

Source: Pelican `director/sort_utilities.go:getClientCoordinate`.
"""

import random
import threading

from cachetools import TTLCache

from director_wsgi.federation.models import Coordinate
from director_wsgi.limits.deadline import Clock, monotonic
from director_wsgi.redirect.geo import Overrides, somewhere
from director_wsgi.redirect.request import ObjectRequest

KEPT_S = 20 * 60
MAX_CLIENTS = 10_000


class ClientPlaces:
    """Tells where clients are. Safe between threads."""

    def __init__(self, overrides: Overrides, *, generator: random.Random, clock: Clock = monotonic) -> None:
        self._overrides = overrides
        self._generator = generator
        self._lock = threading.Lock()
        self._given: TTLCache[str, Coordinate, float] = TTLCache(maxsize=MAX_CLIENTS, ttl=KEPT_S, timer=clock)

    def of(self, request: ObjectRequest) -> Coordinate:
        """The client's place."""
        return request.coordinate or self._overrides.place_of(request.address) or self._given_to(request.address)

    def _given_to(self, address: str) -> Coordinate:
        with self._lock:
            place = self._given.get(address)
            if place is None:
                place = self._given[address] = somewhere(self._generator)
            return place
