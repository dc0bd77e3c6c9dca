"""Who is advertised now.

Two things make this room: a TTL table of advertisements, and an immutable snapshot with a prefix index made from it.
Requests read the snapshot by one assignment's worth of work and without a lock; whoever records an advertisement makes
the next snapshot from the last one, touching only what changed. An advertisement that says what its predecessor said
renews its lifetime and changes no snapshot at all.

Finding the servers for a path costs one look-up for each of its components (at most as many as the deepest advertised
prefix has), whatever the number of servers and namespaces.

Source: matching rules, Pelican `director/sort.go:getAdsForPath`; lifetimes, `director/cache_ads.go:recordAd`.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from cachetools import TLRUCache

from director_wsgi.errors import AdRejected
from director_wsgi.federation.models import NamespaceAd, ServerAd, ServerKind
from director_wsgi.federation.status import StatusWeight
from director_wsgi.limits.deadline import Clock, monotonic

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_MEMO = 1024
"""How many derived values one group remembers before it starts anew."""


class DirectoryFull(AdRejected):
    """The directory knows as many servers as it may."""


class Group(Generic[T]):
    """Servers that serve the same prefix in the same role; immutable, compared by identity.

    A group lives until one of its members changes, and so does what was derived from it: a filtered group, an order of
    its members for one place. Deriving twice at the same time is harmless: both results are equal.
    """

    __slots__ = ("_memo", "members")

    def __init__(self, members: tuple[T, ...] = ()) -> None:
        self.members = members
        self._memo: dict[Any, Any] = {}

    def derive(self, key: object, build: Callable[[tuple[T, ...]], Any]) -> Any:
        """What `build` makes of the members, made once for each key; `build` must be pure."""
        found = self._memo.get(key)
        if found is None:
            found = build(self.members)
            if len(self._memo) >= MAX_MEMO:
                self._memo.clear()
            self._memo[key] = found
        return found

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[T]:
        return iter(self.members)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """An origin together with its own copy of the namespace."""

    server: ServerAd
    namespace: NamespaceAd


NO_SOURCES: Group[Source] = Group()
NO_CACHES: Group[ServerAd] = Group()


@dataclass(frozen=True, slots=True, eq=False)
class PrefixEntry:
    """Who serves one prefix. Both groups are in the order of the servers' names.

    Thousands of prefixes that are served by the same caches share one group.
    """

    prefix: str
    origins: Group[Source] = NO_SOURCES
    caches: Group[ServerAd] = NO_CACHES


def _order(server: ServerAd) -> tuple[str, str]:
    return server.name, server.data_url


def _depth(prefix: str) -> int:
    return 0 if prefix == "/" else prefix.count("/")


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The federation at one moment.

    Attributes:
        servers: Every server advertised, filtered ones included, by data URL.
        prefixes: Every prefix served by an unfiltered server.
        deepest: Number of components of the longest prefix.
    """

    servers: Mapping[str, ServerAd] = field(default_factory=dict)
    prefixes: Mapping[str, PrefixEntry] = field(default_factory=dict)
    deepest: int = 0

    def match(self, path: str) -> PrefixEntry | None:
        """The entry of the longest prefix of `path` that an origin serves; None if there is none.

        Caches have no say in it, so that one which still lists a namespace whose origin has gone hides nobody else.

        Args:
            path: Absolute, clean, decoded.
        """
        best = self.prefixes.get("/")
        if best is not None and not best.origins.members:
            best = None
        end = 0
        for _ in range(self.deepest):
            end = path.find("/", end + 1)
            prefix = path if end < 0 else path[:end]
            entry = self.prefixes.get(prefix)
            if entry is not None and entry.origins.members:
                best = entry
            if end < 0:
                break
        return best

    def origins(self) -> Iterator[ServerAd]:
        """Every origin, in the order of names."""
        return iter(sorted((s for s in self.servers.values() if s.kind is ServerKind.ORIGIN), key=_order))


class Directory:
    """Who is advertised now.

    Any number of threads may record and read at once.
    """

    def __init__(
        self,
        *,
        clock: Clock = monotonic,
        capacity: int = 10_000,
        filtered_names: Iterable[str] = (),
        status_time_constant_s: float = 300.0,
    ) -> None:
        """Make an empty directory.

        Args:
            clock: Seconds, monotonic.
            capacity: How many servers may be known at once; one more is refused, none is pushed out.
            filtered_names: Servers that are listed, but never chosen (`Director.FilteredServers`).
            status_time_constant_s: How slowly what a server says of its health is forgotten
                (`Director.AdaptiveSortEWMATimeConstant`).
        """
        self._clock = clock
        self._capacity = capacity
        self._filtered = frozenset(filtered_names)
        self._status_time_constant_s = status_time_constant_s
        self._lock = threading.Lock()
        # Under the lock: the table and the instant at which it is being looked at. One instant for a whole operation,
        # so that nothing expires between two steps of it without being taken out of the snapshot as well.
        self._now = clock()
        self._ads: TLRUCache[str, tuple[ServerAd, float], float] = TLRUCache(
            maxsize=capacity, ttu=lambda _key, value, _now: value[1], timer=lambda: self._now
        )
        self._status_weights: dict[str, StatusWeight] = {}
        # Replaced under the lock, read without it. Nothing expires before the instant.
        self._current: tuple[Snapshot, float] = (Snapshot(), float("inf"))

    def snapshot(self) -> Snapshot:
        """The federation now. Takes the lock only when an advertisement may have expired since the last call."""
        current, expires_at = self._current
        if self._clock() < expires_at:
            return current
        with self._lock:
            self._expire()
            return self._current[0]

    def record(self, ad: ServerAd, lifetime_s: float) -> None:
        """Take an advertisement, in place of the one before from the same data URL.

        Args:
            ad: Checked and admitted.
            lifetime_s: How long it shall live; one that has expired already is ignored, as upstream does.

        Raises:
            DirectoryFull: It is a new server and there is no room for another.
        """
        if not lifetime_s > 0:
            return
        with self._lock:
            self._expire()
            stored = self._ads.get(ad.data_url)
            if stored is None and len(self._ads) >= self._capacity:
                raise DirectoryFull(f"This director knows {self._capacity} servers already and takes no other.")
            known = stored[0] if stored else None
            expires_at = self._now + lifetime_s
            snapshot, first_expiry_at = self._current
            if known is not None and known == ad:
                ad = known  # keep the object that the snapshot and what was derived from it hold
            else:
                snapshot = self._replaced(snapshot, known, ad)
            self._ads[ad.data_url] = (ad, expires_at)
            weight = self._status_weights.get(ad.data_url)
            self._status_weights[ad.data_url] = (
                weight.then(ad.status, self._now, self._status_time_constant_s)
                if weight
                else StatusWeight.first(ad.status, self._now)
            )
            self._current = (snapshot, min(first_expiry_at, expires_at))

    def status_weight(self, data_url: str) -> float | None:
        """What a server has said of its own health lately, in (0, 1]; None if it is not advertised."""
        weight = self._status_weights.get(data_url)
        return weight.value if weight else None

    def remove(self, data_url: str) -> None:
        """Forget a server; nothing happens if it is not known."""
        with self._lock:
            self._expire()
            stored = self._ads.pop(data_url, None)
            self._status_weights.pop(data_url, None)
            if stored is not None:
                snapshot, expires_at = self._current
                self._current = (self._replaced(snapshot, stored[0], None), expires_at)

    def _expire(self) -> None:
        """Take out what has expired; the lock is held."""
        self._now = self._clock()
        snapshot, expires_at = self._current
        if self._now < expires_at:
            return
        for _key, (ad, _at) in self._ads.expire():
            log.info("advertisement of %s (%s) has expired", ad.name, ad.data_url)
            self._status_weights.pop(ad.data_url, None)
            snapshot = self._replaced(snapshot, ad, None)
        first = min((at for _ad, at in dict(self._ads).values()), default=float("inf"))
        self._current = (snapshot, first)

    def _replaced(self, snapshot: Snapshot, old: ServerAd | None, new: ServerAd | None) -> Snapshot:
        servers = dict(snapshot.servers)
        if old is not None:
            servers.pop(old.data_url, None)
        if new is not None:
            servers[new.data_url] = new
        prefixes = dict(snapshot.prefixes)
        if old is not None and old.name not in self._filtered:
            _index(prefixes, old, add=False)
        if new is not None and new.name not in self._filtered:
            _index(prefixes, new, add=True)
        return Snapshot(
            servers=MappingProxyType(servers),
            prefixes=prefixes,
            deepest=max(map(_depth, prefixes), default=0),
        )


def _index(prefixes: dict[str, PrefixEntry], server: ServerAd, *, add: bool) -> None:
    """Put a server into the index, or take it out."""
    # A cache lists thousands of namespaces that share a handful of groups: each is made anew once, and groups that have
    # become equal become one.
    changed: dict[Group[ServerAd], Group[ServerAd]] = {}
    equal: dict[tuple[str, ...], Group[ServerAd]] = {}
    for namespace in server.namespaces:
        entry = prefixes.get(namespace.path) or PrefixEntry(namespace.path)
        origins, caches = entry.origins, entry.caches
        if server.kind is ServerKind.ORIGIN:
            kept = tuple(s for s in origins if s.server.data_url != server.data_url)
            more = (Source(server, namespace),) if add else ()
            origins = Group(tuple(sorted(kept + more, key=lambda s: _order(s.server))))
        else:
            if caches not in changed:
                others = tuple(s for s in caches if s.data_url != server.data_url)
                members = tuple(sorted((*others, *((server,) if add else ())), key=_order))
                changed[caches] = equal.setdefault(tuple(s.data_url for s in members), Group(members))
            caches = changed[caches]
        if origins.members or caches.members:
            prefixes[namespace.path] = PrefixEntry(namespace.path, origins, caches)
        else:
            prefixes.pop(namespace.path, None)
