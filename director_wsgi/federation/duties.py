"""What one worker does for all of its host: whose turn it is, by leases in the store they share."""

import math
from typing import Final

from director_wsgi.federation.store.records import Store
from director_wsgi.limits.deadline import Clock

LEASE_S: Final = 3.5
"""So long after a worker's last word its leases are free."""

MARGIN_S: Final = 0.5
"""How much earlier a worker stops to believe that it holds a lease."""


class Duties:
    """The leases for which one worker contends. Any thread may ask; the rest belongs to one.

    Args:
        store: Of the leases.
        holder: Name of this process; no two have the same.
        clock: The store's.
    """

    def __init__(self, store: Store, *, holder: str, clock: Clock) -> None:
        self._store = store
        self._holder = holder
        self._clock = clock
        self._until: dict[str, float] = {}
        self._apart_from = math.inf

    def contend(self, name: str) -> None:
        """Take the lease whenever it is free; said before the first `renew`."""
        self._until.setdefault(name, -math.inf)

    def holds(self, name: str) -> bool:
        """See `Replica.holds`."""
        until = self._until.get(name)
        if until is None:
            return False
        now = self._clock()
        return now < until or now >= self._apart_from

    def held(self) -> tuple[str, ...]:
        """Names of those that this worker holds."""
        return tuple(name for name in self._until if self.holds(name))

    def renew(self) -> None:
        """Renew what this worker holds, and take what is free; often enough within `LEASE_S`.

        Raises:
            StoreError: The rest was neither renewed nor taken.
        """
        for name in self._until:
            # The store reads the same clock, but later: what is believed here ends first.
            now = self._clock()
            is_mine = self._store.take_lease(name, self._holder, LEASE_S)
            self._until[name] = now + LEASE_S - MARGIN_S if is_mine else -math.inf

    def give_back(self) -> None:
        """Let others do it at once.

        Raises:
            StoreError: Some leases end by themselves instead.
        """
        for name in self._until:
            self._until[name] = -math.inf
            self._store.leave(name, self._holder)

    def go_apart(self) -> None:
        """Nobody can take a lease any more: everybody does all of it, when no other can have one still."""
        self._apart_from = self._clock() + LEASE_S

    def come_back(self) -> None:
        """Leases can be taken again."""
        self._apart_from = math.inf
