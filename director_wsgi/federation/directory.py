"""Who is advertised now.

A TTL table of advertisements, and the snapshot made from it. Requests read the snapshot by one assignment's worth of
work and never wait: neither for a lock nor for another snapshot to be made. Whoever changes something makes it, from
the last one, with all that others have changed meanwhile; and a thread of its own takes out what has expired (`sweep`).
An advertisement that says what its predecessor said renews its lifetime and changes no snapshot at all.

Source: lifetimes, Pelican `director/cache_ads.go:recordAd`.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
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
"""How many caches that serve what a new one serves, and how many that have just come, are looked at for the same list
of namespaces."""


SWEEP_S: Final = 1.0
"""How often to look at least whether something has expired, so that what lives for less ends in time, too."""

SWEPT_LATELY_S: Final = 5.0
"""Who sweeps comes in time if he was there in the last so many seconds; else requests see to it, and the first that
notices takes out what has expired."""


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
        # What the next snapshot is to show: what has changed by data URL, and whose servers are filtered.
        self._changes: dict[str, ServerAd | None] = {}
        self._filtered = Filtered()
        # The present one, and what is filtered in it: replaced by whoever holds `_making`, read by anybody. Nothing in
        # it expires before the instant, which is changed under the lock.
        self._making = threading.Lock()
        self._snapshot = Snapshot()
        self._shown = self._filtered
        self._expires_at = float("inf")
        self._swept_at = -float("inf")

    def adopt(self, *, status_time_constant_s: float) -> None:
        """Forget so slowly from now on what a server says of its health; what has been worked out of it stays."""
        self._status_time_constant_s = status_time_constant_s

    def snapshot(self) -> Snapshot:
        """The federation now, without waiting."""
        now = self._clock()
        if (
            now >= self._expires_at
            and now >= self._swept_at + SWEPT_LATELY_S
            and self._making.acquire(blocking=False)  # else somebody is about to show what has changed
        ):
            try:
                self._take_out()
            finally:
                self._making.release()
        return self._snapshot

    def sweep(self) -> None:
        """Take out what has expired. To be called again and again, by a thread that no request waits for."""
        if self._clock() >= self._expires_at:
            with self._making:
                self._take_out()
        self._swept_at = self._clock()

    def sweep_in_s(self) -> float:
        """When to sweep next, in seconds from now."""
        return min(SWEEP_S, self._expires_at - self._clock())

    def record(
        self, ad: ServerAd, lifetime_s: float, filtered: Filtered | None = None, *, at_once: bool = True
    ) -> ServerAd:
        """Take an advertisement, in place of the one before from the same data URL.

        Args:
            ad: Checked and admitted.
            lifetime_s: How long it shall live; one that has expired already is ignored, as upstream does.
            filtered: What follows from it for the filters, if anything does: no snapshot shows the one without the
                other. See `set_filtered`.
            at_once: Whether snapshots are to show it when this returns. If not, `show` has to be called.

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
            if known is not None and known == ad:
                ad = known  # keep the object that the snapshot and what was derived from it hold
            else:
                ad = self._changes[ad.data_url] = _sharing(ad, (known, *self._beside(ad)))
            self._hold(ad, lifetime_s)
            self._heed(filtered)
            has_changed = self._has_changed()
        if has_changed and at_once:
            self.show()
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
        with self._lock:
            self._expire()
            stored = self._ads.get(data_url)
            if stored is not None and lifetime_s > 0:
                self._hold(stored[0], lifetime_s)
        return stored is not None

    def show(self) -> None:
        """See to it that snapshots show all that has changed so far.

        Whoever comes while one is being made waits, and the first of them makes the next one for all.
        """
        with self._making:
            self._make()

    def set_filtered(self, filtered: Filtered) -> None:
        """List the servers of these names, but choose none of them; choose the others again.

        One of an older revision than was set before is ignored: threads may be overtaken between asking the filters and
        telling the directory.
        """
        if filtered is self._shown:  # as it nearly always is
            return
        with self._lock:
            self._heed(filtered)
        self.show()

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
                self._changes[data_url] = None
        self.show()

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

    def _beside(self, ad: ServerAd) -> Iterator[ServerAd | None]:
        """Who may have the same list of namespaces as a cache; the lock is held."""
        if ad.kind is ServerKind.CACHE and ad.namespaces:
            yield from islice(reversed(self._changes.values()), SHARED_WITH)
            there = self._snapshot.prefixes.get(ad.namespaces[0].path)
            if there is not None:
                yield from there.caches.members[:SHARED_WITH]

    def _hold(self, ad: ServerAd, lifetime_s: float) -> None:
        """Let an advertisement live for so long from now on; the lock is held."""
        expires_at = self._now + lifetime_s
        self._ads[ad.data_url] = (ad, expires_at)
        self._expires_at = min(self._expires_at, expires_at)
        weight = self._status_weights.get(ad.data_url)
        self._status_weights[ad.data_url] = (
            weight.told(ad, self._now, self._status_time_constant_s) if weight else StatusWeight.first(ad, self._now)
        )

    def _expire(self) -> None:
        """Take what has expired out of the table; the lock is held."""
        self._now = self._clock()
        if self._now < self._expires_at:
            return
        for url, (ad, _at) in self._ads.expire():
            self._expired.append((ad.name, url))
            self._status_weights.pop(url, None)
            self._count(ad, -1)
            self._changes[url] = None

    def _heed(self, filtered: Filtered | None) -> None:
        """Let the next snapshot heed filters, unless they are older than those that are heeded; the lock is held."""
        if filtered is not None and filtered.revision >= self._filtered.revision:
            self._filtered = filtered

    def _has_changed(self) -> bool:
        """Whether there is anything that the present snapshot does not show; the lock is held."""
        return bool(self._changes) or self._filtered is not self._shown

    def _take_out(self) -> None:
        """Show a federation without what has expired; `_making` is held."""
        with self._lock:
            self._expire()
        self._make()

    def _make(self) -> None:
        """Make a snapshot that shows all that has changed so far; `_making` is held."""
        with self._lock:
            if not self._has_changed() and self._clock() < self._expires_at:
                return
            changes, self._changes = self._changes, {}
            filtered = self._filtered
        snapshot = self._snapshot.changed(changes=changes, before=self._shown.names, after=filtered.names)
        with self._lock:
            self._snapshot, self._shown = snapshot, filtered
            if self._clock() >= self._expires_at and not self._changes:
                self._expires_at = min((at for _ad, at in dict(self._ads).values()), default=float("inf"))


def _sharing(ad: ServerAd, others: Iterable[ServerAd | None]) -> ServerAd:
    """The same, with the list of namespaces of another, if one is equal.

    Caches serve what all of them serve. A thousand lists of three thousand elements are three million references, which
    the garbage collector would follow in one go, and every thread would wait for it meanwhile: 60 ms, again and again.
    """
    for other in others:
        if other is not None and other.namespaces == ad.namespaces:
            return replace(ad, namespaces=other.namespaces)
    return ad
