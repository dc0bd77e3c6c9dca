"""Who is advertised now.

A TTL table of advertisements, and the snapshot made from it. Requests read the snapshot by one assignment's worth of
work and without a lock; whoever records an advertisement makes the next snapshot from the last one. An advertisement
that says what its predecessor said renews its lifetime and changes no snapshot at all.

Source: lifetimes, Pelican `director/cache_ads.go:recordAd`.
"""

import logging
import threading
from collections import Counter, deque
from dataclasses import replace
from typing import Final

from cachetools import TLRUCache

from director_wsgi.errors import AdForbidden, AdRejected
from director_wsgi.federation.filters import Filtered
from director_wsgi.federation.models import ServerAd, ServerKind
from director_wsgi.federation.snapshot import Snapshot
from director_wsgi.federation.status import StatusWeight, TestVerdict
from director_wsgi.limits.deadline import Clock, monotonic

log = logging.getLogger(__name__)


MAX_OF_ONE_REGISTRATION: Final = 100
"""Servers that may be advertised under one registry prefix, so that nobody fills the directory alone. It is one, as a
rule."""


SHARED_WITH: Final = 8
"""How many caches beside a new one are looked at for the same list of namespaces."""


class DirectoryFull(AdRejected):
    """The directory knows as many servers as it may.

    Attributes:
        retry_after_s: When to come again: about when one that has gone is forgotten.
    """

    retry_after_s = 60


class Directory:
    """Who is advertised now.

    Any number of threads may record and read at once.
    """

    def __init__(
        self,
        *,
        clock: Clock = monotonic,
        capacity: int = 10_000,
        status_time_constant_s: float = 300.0,
    ) -> None:
        """Make an empty directory.

        Args:
            clock: Seconds, monotonic.
            capacity: How many servers may be known at once; one more is refused, none is pushed out.
            status_time_constant_s: How slowly what a server says of its health is forgotten
                (`Director.AdaptiveSortEWMATimeConstant`).
        """
        self._clock = clock
        self._capacity = capacity
        self._status_time_constant_s = status_time_constant_s
        self._lock = threading.Lock()
        # Under the lock: the table and the instant at which it is being looked at. One instant for a whole operation,
        # so that nothing expires between two steps of it without being taken out of the snapshot as well.
        self._now = clock()
        self._ads: TLRUCache[str, tuple[ServerAd, float], float] = TLRUCache(
            maxsize=capacity, ttu=lambda _key, value, _now: value[1], timer=lambda: self._now
        )
        self._status_weights: dict[str, StatusWeight] = {}
        self._expired: deque[tuple[str, str]] = deque(maxlen=capacity)  # names and data URLs, for `tell_expired`
        self._of_registration: Counter[str] = Counter()  # servers by registry prefix
        self._filtered = Filtered()
        # Replaced under the lock, read without it. Nothing expires before the instant.
        self._current: tuple[Snapshot, float] = (Snapshot(), float("inf"))

    def adopt(self, *, status_time_constant_s: float) -> None:
        """Forget so slowly from now on what a server says of its health; what has been worked out of it stays."""
        self._status_time_constant_s = status_time_constant_s

    def snapshot(self) -> Snapshot:
        """The federation now. Takes the lock only when an advertisement may have expired since the last call."""
        current, expires_at = self._current
        if self._clock() < expires_at:
            return current
        with self._lock:
            self._expire()
            return self._current[0]

    def record(self, ad: ServerAd, lifetime_s: float, filtered: Filtered | None = None) -> ServerAd:
        """Take an advertisement, in place of the one before from the same data URL.

        Args:
            ad: Checked and admitted.
            lifetime_s: How long it shall live; one that has expired already is ignored, as upstream does.
            filtered: What follows from it for the filters, if anything does: no snapshot shows the one without the
                other. See `set_filtered`.

        Returns:
            The object that is held now: the one of before, if it says the same.

        Raises:
            DirectoryFull: It is a new server and there is no room for another.
            AdForbidden: It is a new server, and enough are advertised under its registry prefix.
        """
        if not lifetime_s > 0:
            return ad
        usurped = None
        with self._lock:
            self._expire()
            stored = self._ads.get(ad.data_url)
            if stored is None and len(self._ads) >= self._capacity:
                raise DirectoryFull(f"This director knows {self._capacity} servers already and takes no other.")
            known = stored[0] if stored else None
            if known is None or known.registry_prefix != ad.registry_prefix:
                self._check_registration(ad)
                usurped = known
            self._count(known, -1)
            self._count(ad, +1)
            expires_at = self._now + lifetime_s
            snapshot, first_expiry_at = self._current
            if known is not None and known == ad:
                ad = known  # keep the object that the snapshot and what was derived from it hold
                snapshot = self._changed(snapshot, filtered=filtered)
            else:
                ad = _sharing(ad, known, snapshot)
                snapshot = self._changed(snapshot, old=known, new=ad, filtered=filtered)
            self._ads[ad.data_url] = (ad, expires_at)
            weight = self._status_weights.get(ad.data_url)
            self._status_weights[ad.data_url] = (
                weight.told(ad, self._now, self._status_time_constant_s)
                if weight
                else StatusWeight.first(ad, self._now)
            )
            self._current = (snapshot, min(first_expiry_at, expires_at))
        if usurped is not None:
            log.warning(
                "%s, which %s advertised, is now advertised by %s: one of them is wrong, unless it was registered anew",
                ad.data_url,
                usurped.registry_prefix,
                ad.registry_prefix,
            )
        return ad

    def renew(self, data_url: str, lifetime_s: float) -> bool:
        """The server has said again, to another worker, what it said before.

        Returns:
            Whether it is known.
        """
        ad = self.snapshot().servers.get(data_url)
        if ad is None:
            return False
        self.record(ad, lifetime_s)
        return True

    def set_filtered(self, filtered: Filtered) -> None:
        """List the servers of these names, but choose none of them; choose the others again.

        One of an older revision than was set before is ignored: threads may be overtaken between asking the filters and
        telling the directory.
        """
        if filtered is self._filtered:  # as it nearly always is
            return
        with self._lock:
            self._expire()
            snapshot, expires_at = self._current
            self._current = (self._changed(snapshot, filtered=filtered), expires_at)

    def tested(self, data_url: str, verdict: TestVerdict) -> None:
        """Take down how a director test of a server went; nothing happens if it is not advertised."""
        with self._lock:
            self._now = self._clock()
            weight = self._status_weights.get(data_url)
            if weight is not None:
                self._status_weights[data_url] = weight.tested(verdict, self._now, self._status_time_constant_s)

    def status_weight(self, data_url: str) -> float | None:
        """How a server has said that it is, and has done in tests, lately, in (0, 1]; None if it is not advertised."""
        weight = self._status_weights.get(data_url)
        return weight.value if weight else None

    def status_age_s(self, data_url: str) -> float | None:
        """Seconds since `status_weight` was last brought up to date; None if the server is not advertised."""
        weight = self._status_weights.get(data_url)
        return self._clock() - weight.at if weight else None

    def remove(self, data_url: str) -> None:
        """Forget a server; nothing happens if it is not known."""
        with self._lock:
            self._expire()
            stored = self._ads.pop(data_url, None)
            self._status_weights.pop(data_url, None)
            if stored is not None:
                self._count(stored[0], -1)
                snapshot, expires_at = self._current
                self._current = (self._changed(snapshot, old=stored[0]), expires_at)

    def tell_expired(self) -> None:
        """Log whose advertisements have expired since the last call.

        Not done as soon as it is noticed: that may be in a request, others wait for the lock meanwhile, and whoever
        reads the log may be slow.
        """
        while self._expired:
            log.info("advertisement of %s (%s) has expired", *self._expired.popleft())

    def _check_registration(self, ad: ServerAd) -> None:
        if ad.registry_prefix and self._of_registration[ad.registry_prefix] >= MAX_OF_ONE_REGISTRATION:
            raise AdForbidden(
                f"{ad.kind.value} advertisement rejected: {MAX_OF_ONE_REGISTRATION} servers are advertised under the "
                f'registry prefix "{ad.registry_prefix}" already'
            )

    def _count(self, ad: ServerAd | None, change: int) -> None:
        """Keep the books on who advertises how many; the lock is held."""
        if ad is not None and ad.registry_prefix:
            self._of_registration[ad.registry_prefix] += change
            if not self._of_registration[ad.registry_prefix]:
                del self._of_registration[ad.registry_prefix]

    def _expire(self) -> None:
        """Take out what has expired; the lock is held."""
        self._now = self._clock()
        snapshot, expires_at = self._current
        if self._now < expires_at:
            return
        gone = [ad for _key, (ad, _at) in self._ads.expire()]
        for ad in gone:
            self._expired.append((ad.name, ad.data_url))
            self._status_weights.pop(ad.data_url, None)
            self._count(ad, -1)
        first = min((at for _ad, at in dict(self._ads).values()), default=float("inf"))
        self._current = (snapshot.without(gone), first)

    def _changed(
        self,
        snapshot: Snapshot,
        *,
        old: ServerAd | None = None,
        new: ServerAd | None = None,
        filtered: Filtered | None = None,
    ) -> Snapshot:
        """The next snapshot, in which `filtered` holds unless it is older than what holds now; the lock is held."""
        before = self._filtered.names
        if filtered is not None and filtered.revision >= self._filtered.revision:
            self._filtered = filtered
        return snapshot.changed(old=old, new=new, before=before, after=self._filtered.names)


def _sharing(ad: ServerAd, known: ServerAd | None, snapshot: Snapshot) -> ServerAd:
    """The same, with a list of namespaces that is there already, if one is equal.

    Caches serve what all of them serve. A thousand lists of three thousand elements are three million references, which
    the garbage collector would follow in one go, and every thread would wait for it meanwhile: 60 ms, again and again.
    """
    beside = snapshot.prefixes.get(ad.namespaces[0].path) if ad.namespaces else None
    others = beside.caches.members[:SHARED_WITH] if beside and ad.kind is ServerKind.CACHE else ()
    for other in (known, *others):
        if other is not None and other.namespaces == ad.namespaces:
            return replace(ad, namespaces=other.namespaces)
    return ad
