"""Where clients are, and servers that do not say.

A server tells its place in its advertisement; for one that does not, the operator's word on its address counts
(`GeoIPOverrides`). A client's place is what it says itself (`X-Pelican-Coordinate`); else what the operator says of its
network; else a random place that it keeps for twenty minutes, so that a client nobody can place stays with the same
caches meanwhile.

Source: Pelican `director/sort_utilities.go:getClientCoordinate`, `getServerCoordinate`.
"""

import random
import threading

from cachetools import TTLCache

from director_wsgi.federation.models import Coordinate
from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.outbound.client import NameResolver, OutboundError
from director_wsgi.redirect.geo import Overrides, somewhere
from director_wsgi.redirect.request import ObjectRequest

KEPT_S = 20 * 60
MAX_CLIENTS = 10_000


class ClientPlaces:
    """Tells where clients are. Safe between threads.

    Args:
        overrides: What the operator says of networks.
        generator: Randomness for those that nobody can place.
        clock: Monotonic seconds.
        seed: If not empty, an address has the same random place in every process and always.
    """

    def __init__(
        self, overrides: Overrides, *, generator: random.Random, clock: Clock = monotonic, seed: str = ""
    ) -> None:
        self._overrides = overrides
        self._generator = generator
        self._seed = seed
        self._lock = threading.Lock()
        self._given: TTLCache[str, Coordinate, float] = TTLCache(maxsize=MAX_CLIENTS, ttl=KEPT_S, timer=clock)

    def of(self, request: ObjectRequest) -> Coordinate:
        """The client's place."""
        return request.coordinate or self._overrides.place_of(request.address) or self._given_to(request.address)

    def _given_to(self, address: str) -> Coordinate:
        with self._lock:
            place = self._given.get(address)
            if place is None:
                dice = random.Random(f"{self._seed} {address}") if self._seed else self._generator
                place = self._given[address] = somewhere(dice)
            return place


SERVER_LOOK_UP_S = 1.0
"""The longest that finding a server's address may hold its advertisement up."""


class ServerPlaces:
    """Tells where servers are that do not say it themselves. Safe between threads."""

    def __init__(self, overrides: Overrides, names: NameResolver) -> None:
        self._overrides = overrides
        self._names = names

    def of(self, host: str, deadline: Deadline) -> Coordinate | None:
        """The place of a server, by its first address; None if it has none or nobody knows. Waits for name resolution.

        Args:
            host: Name or address.
            deadline: For the look-up.
        """
        if not self._overrides:
            return None
        try:
            addresses = self._names.resolve(host, 443, deadline.at_most(SERVER_LOOK_UP_S))
        except OutboundError:
            return None
        return self._overrides.place_of(addresses[0].ip)
