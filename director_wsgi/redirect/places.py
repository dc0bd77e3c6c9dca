"""Where clients are, and servers that do not say.

A server tells its place in its advertisement; for one that does not, the operator's word on its address counts
(`GeoIPOverrides`), then the database's. A client's place is what it says itself (`X-Pelican-Coordinate`); else what the
operator says of its network; else what the database says of its address; else a random place that it keeps for twenty
minutes, so that a client nobody can place stays with the same caches meanwhile.

Source: Pelican `director/sort_utilities.go:getClientCoordinate`, `getServerCoordinate`;
`utils/utils.go:ExtractProjectFromUserAgent`.
"""

import random
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from cachetools import TTLCache

from director_wsgi.federation.models import Coordinate, ServerAd
from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.outbound.client import NameResolver, OutboundError
from director_wsgi.redirect.geo import Overrides, somewhere
from director_wsgi.redirect.maxmind import GeoDatabase
from director_wsgi.redirect.request import ObjectRequest
from director_wsgi.runtime.redirect_counters import network_of

KEPT_S = 20 * 60
MAX_CLIENTS = 10_000

MAX_TALLIES = 1_000
"""Pairs of labels that are told apart; clients come from anywhere and may name any project."""

OTHER = ("other", "other")


class Tally:
    """Counts events by two labels; beyond `MAX_TALLIES` pairs, new ones count as `OTHER`. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, first: str, second: str) -> None:
        """Count one."""
        with self._lock:
            pair = (first, second)
            if pair not in self._counts and len(self._counts) >= MAX_TALLIES:
                pair = OTHER
            self._counts[pair] += 1

    def counts(self) -> Mapping[tuple[str, str], int]:
        """All of them now; a copy."""
        with self._lock:
            return dict(self._counts)


class ClientPlaces:
    """Tells where clients are. Safe between threads.

    Args:
        overrides: What the operator says of networks.
        database: What is known of addresses.
        generator: Randomness for those that nobody can place.
        clock: Monotonic seconds.
        seed: If not empty, an address has the same random place in every process and always.

    Attributes:
        unplaced: How often a random place was given, by the client's network and the project it names.
    """

    def __init__(
        self,
        overrides: Overrides,
        database: GeoDatabase,
        *,
        generator: random.Random,
        clock: Clock = monotonic,
        seed: str = "",
    ) -> None:
        self.unplaced = Tally()
        self._overrides = overrides
        self._database = database
        self._generator = generator
        self._seed = seed
        self._lock = threading.Lock()
        self._given: TTLCache[str, Coordinate, float] = TTLCache(maxsize=MAX_CLIENTS, ttl=KEPT_S, timer=clock)

    def adopt(self, overrides: Overrides, database: GeoDatabase, seed: str) -> None:
        """Know this from now on. A random place that was given is kept for as long as it was given for."""
        self._overrides, self._database, self._seed = overrides, database, seed

    def of(self, request: ObjectRequest) -> Coordinate:
        """The client's place."""
        return (
            request.coordinate
            or self._overrides.place_of(request.address)
            or self._given_before(request.address)
            or self._look_up(request)
        )

    def _given_before(self, address: str) -> Coordinate | None:
        with self._lock:
            return self._given.get(address)

    def _look_up(self, request: ObjectRequest) -> Coordinate:
        found = self._database.place_of(request.address)
        if isinstance(found, Coordinate):
            return found
        self.unplaced.add(network_of(request.address), project_of(request.user_agent))
        return self._give(request.address)

    def _give(self, address: str) -> Coordinate:
        with self._lock:
            given = self._given.get(address)  # two requests of one client at once get the same
            if given is None:
                dice = random.Random(f"{self._seed} {address}") if self._seed else self._generator
                given = somewhere(dice)
                self._given[address] = replace(given, remembered=True)
            return given


def project_of(user_agent: str) -> str:
    """What stands behind `project/` in a User-Agent; empty if nothing does."""
    return next((word[len("project/") :] for word in user_agent.split(" ") if word.startswith("project/")), "")


SERVER_LOOK_UP_S = 1.0
"""The longest that finding a server's address may hold its advertisement up."""

LOOKING_UP = 2
"""Advertisements that may be held up so at once: with dead name servers they would take all handler threads."""


class ServerPlaces:
    """Tells where servers are that do not say it themselves. Safe between threads.

    Nothing is remembered: a server that cannot be placed today, for want of a database, can be at its next
    advertisement. So can one whose name is not known yet while others are waited for: it is looked up meanwhile.

    Attributes:
        unplaced: How often one could not be placed, by its network (empty if it has no address) and its name.
    """

    def __init__(self, overrides: Overrides, database: GeoDatabase, names: NameResolver) -> None:
        self.unplaced = Tally()
        self._overrides = overrides
        self._database = database
        self._names = names
        self._permits = threading.BoundedSemaphore(LOOKING_UP)

    def adopt(self, overrides: Overrides, database: GeoDatabase) -> None:
        """Know this from now on; a server that has been placed moves with its next advertisement."""
        self._overrides, self._database = overrides, database

    def of(self, server: ServerAd, deadline: Deadline) -> Coordinate | None:
        """The place of a server, by its first address; None if it has none or nobody knows. Waits for name resolution.

        Args:
            server: Its data URL names the host.
            deadline: For the look-up.
        """
        address = self._address_of(server, deadline)
        place = self._overrides.place_of(address) or self._database.place_of(address)
        if isinstance(place, Coordinate):
            return place
        self.unplaced.add(network_of(address), server.name)
        return None

    def _address_of(self, server: ServerAd, deadline: Deadline) -> str:
        if not (self._overrides or self._database.is_loaded):
            return ""  # nobody could do anything with it
        host = urlsplit(server.base_url).hostname or ""
        may_wait = self._permits.acquire(blocking=False)
        try:
            return self._names.resolve(host, 443, deadline.at_most(SERVER_LOOK_UP_S if may_wait else 0.0))[0].ip
        except OutboundError:
            return ""
        finally:
            if may_wait:
                self._permits.release()


@dataclass(slots=True, kw_only=True, eq=False)
class Places:
    """All that tells places, put together.

    Attributes:
        database: What is known of addresses now; replaced by `adopt`.
    """

    database: GeoDatabase
    clients: ClientPlaces
    servers: ServerPlaces

    def refresh(self) -> None:
        """Read the database again if its file is another by now; one thread at a time."""
        self.database.refresh()

    def adopt(self, overrides: Overrides, database: GeoDatabase, seed: str) -> None:
        """Know this from now on, of clients and of servers."""
        self.database = database
        self.clients.adopt(overrides, database, seed)
        self.servers.adopt(overrides, database)
