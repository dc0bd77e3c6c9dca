"""The federation at one moment: an immutable value with a prefix index. Pure.

Each snapshot is made from the one before, touching only what changed: what was derived for a prefix lives until one of
its servers changes. Finding the servers for a path costs one look-up for each of its components (at most as many as the
deepest advertised prefix has), whatever the number of servers and namespaces.

Source: matching rules, Pelican `director/sort.go:getAdsForPath`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from director_wsgi.federation.models import NamespaceAd, ServerAd, ServerKind

T = TypeVar("T")

MAX_MEMO = 1024
"""How many derived values one group remembers before it starts anew."""


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

    def in_order(self) -> list[ServerAd]:
        """Every server, in the order of names; those of one name in that of their data URLs."""
        return sorted(self.servers.values(), key=_order)

    def origins(self) -> Iterator[ServerAd]:
        """Every origin, in the same order."""
        return (server for server in self.in_order() if server.kind is ServerKind.ORIGIN)

    def changed(
        self,
        *,
        old: ServerAd | None = None,
        new: ServerAd | None = None,
        before: frozenset[str] = frozenset(),
        after: frozenset[str] = frozenset(),
    ) -> "Snapshot":
        """The next snapshot; this one, if nothing changes.

        Args:
            old: The server that goes, if one does.
            new: The one that comes, possibly in its place.
            before: Names of servers that are filtered in this snapshot.
            after: Names of those that are to be in the next one.
        """
        turned = _of_names(self, before ^ after, besides=old) if before is not after else []
        if not turned and old is None and new is None:
            return self
        prefixes = dict(self.prefixes)
        for server in turned:
            _index(prefixes, server, add=server.name not in after)
        if old is not None and old.name not in before:
            _index(prefixes, old, add=False)
        if new is not None and new.name not in after:
            _index(prefixes, new, add=True)
        return Snapshot(
            servers=_replaced(self.servers, old, new),
            prefixes=prefixes,
            deepest=max(map(_depth, prefixes), default=0),
        )

    def without(self, gone: Collection[ServerAd]) -> "Snapshot":
        """The next snapshot, in which these servers are no more; this one, if they are none.

        They are taken out together, however many have gone in the same moment: one after the other, a thousand caches
        of thousands of namespaces would take seconds.
        """
        if not gone:
            return self
        urls = frozenset(server.data_url for server in gone)
        prefixes = dict(_remaining(self.prefixes, urls))
        return Snapshot(
            servers=MappingProxyType({url: server for url, server in self.servers.items() if url not in urls}),
            prefixes=prefixes,
            deepest=max(map(_depth, prefixes), default=0),
        )


def _remaining(prefixes: Mapping[str, PrefixEntry], gone: frozenset[str]) -> Iterator[tuple[str, PrefixEntry]]:
    """The index without the servers of these data URLs; what has none of them stays as it is."""
    changed: dict[Group[ServerAd], Group[ServerAd]] = {}
    equal: dict[tuple[str, ...], Group[ServerAd]] = {}
    for prefix, entry in prefixes.items():
        origins, caches = entry.origins, entry.caches
        if any(source.server.data_url in gone for source in origins):
            origins = Group(tuple(source for source in origins if source.server.data_url not in gone))
        if caches not in changed:
            left = tuple(server for server in caches if server.data_url not in gone)
            urls = tuple(server.data_url for server in left)
            changed[caches] = equal.setdefault(urls, caches if len(left) == len(caches) else Group(left))
        caches = changed[caches]
        if origins is entry.origins and caches is entry.caches:
            yield prefix, entry
        elif origins.members or caches.members:
            yield prefix, PrefixEntry(prefix, origins, caches)


def _replaced(servers: Mapping[str, ServerAd], old: ServerAd | None, new: ServerAd | None) -> Mapping[str, ServerAd]:
    if old is None and new is None:
        return servers
    kept = dict(servers)
    if old is not None:
        kept.pop(old.data_url, None)
    if new is not None:
        kept[new.data_url] = new
    return MappingProxyType(kept)


def _of_names(snapshot: Snapshot, names: frozenset[str], *, besides: ServerAd | None) -> list[ServerAd]:
    """The servers of these names, without one."""
    return [server for server in snapshot.servers.values() if server.name in names and server is not besides]


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
