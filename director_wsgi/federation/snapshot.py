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
NO_CHANGES: Mapping[str, ServerAd | None] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class PrefixEntry:
    """Who serves one prefix. Both groups are in the order of the servers' names.

    Thousands of prefixes that are served by the same caches share one group.
    """

    prefix: str
    origins: Group[Source] = NO_SOURCES
    caches: Group[ServerAd] = NO_CACHES


_NOBODY = PrefixEntry("")


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

    def changed(
        self,
        *,
        changes: Mapping[str, ServerAd | None] = NO_CHANGES,
        before: frozenset[str] = frozenset(),
        after: frozenset[str] = frozenset(),
    ) -> "Snapshot":
        """The next snapshot; this one, if nothing changes.

        Any number of servers may come and go at once: a thousand caches of thousands of namespaces cost little more
        than one of them. One after the other they would take seconds.

        Args:
            changes: Who is advertised at a data URL from now on; None for nobody.
            before: Names of servers that are filtered in this snapshot.
            after: Names of those that are to be in the next one.
        """
        old = [server for url in changes if (server := self.servers.get(url)) is not None]
        gone = [server for server in old if server.name not in before]
        come = [server for server in changes.values() if server is not None and server.name not in after]
        if before is not after:
            turned = before ^ after
            for url, server in self.servers.items():
                if server.name in turned and url not in changes:
                    (gone if server.name in after else come).append(server)
        if not (changes or gone or come):
            return self
        prefixes = dict(self.prefixes)
        for prefix, entry in _changed_entries(self.prefixes, gone, come):
            if entry is None:
                prefixes.pop(prefix, None)
            else:
                prefixes[prefix] = entry
        return Snapshot(
            servers=_changed_servers(self.servers, changes), prefixes=prefixes, deepest=_deepest(self, prefixes)
        )


def _changed_servers(servers: Mapping[str, ServerAd], changes: Mapping[str, ServerAd | None]) -> Mapping[str, ServerAd]:
    if not changes:
        return servers
    kept = {url: server for url, server in servers.items() if url not in changes}
    kept.update((url, server) for url, server in changes.items() if server is not None)
    return MappingProxyType(kept)


def _deepest(before: Snapshot, prefixes: Mapping[str, PrefixEntry]) -> int:
    """The number of components of the longest prefix; looks at those only that have come or gone, as a rule."""
    come = max(map(_depth, prefixes.keys() - before.prefixes.keys()), default=0)
    gone = max(map(_depth, before.prefixes.keys() - prefixes.keys()), default=0)
    if gone == before.deepest:
        return max(map(_depth, prefixes), default=0)
    return max(come, before.deepest)


def _changed_entries(
    prefixes: Mapping[str, PrefixEntry], gone: Collection[ServerAd], come: Collection[ServerAd]
) -> Iterator[tuple[str, PrefixEntry | None]]:
    """The entries that change if some servers go and others come, each once; None for what nobody serves then."""
    origins_gone, caches_gone = (
        frozenset(server.data_url for server in gone if server.kind is kind)
        for kind in (ServerKind.ORIGIN, ServerKind.CACHE)
    )
    sources: dict[str, list[Source]] = {}
    for server in come:
        if server.kind is ServerKind.ORIGIN:
            for namespace in server.namespaces:
                sources.setdefault(namespace.path, []).append(Source(server, namespace))
    groups = _CacheGroups(caches_gone, [server for server in come if server.kind is ServerKind.CACHE])
    lists = {id(server.namespaces): server.namespaces for server in (*gone, *come)}
    for prefix in {namespace.path: None for namespaces in lists.values() for namespace in namespaces}:
        entry = prefixes.get(prefix, _NOBODY)
        origins = _with(entry.origins, origins_gone, sources.get(prefix, ()))
        caches = groups.next(prefix, entry.caches)
        if not (origins.members or caches.members):
            yield prefix, None
        elif origins is not entry.origins or caches is not entry.caches:
            yield prefix, PrefixEntry(prefix, origins, caches)


def _with(origins: Group[Source], gone: frozenset[str], come: Collection[Source]) -> Group[Source]:
    """The group without the servers of these data URLs, and with others; the same if that changes nothing."""
    if not come and not (gone and any(source.server.data_url in gone for source in origins)):
        return origins
    kept = (source for source in origins if source.server.data_url not in gone)
    return Group(tuple(sorted((*kept, *come), key=lambda source: _order(source.server))))


class _CacheGroups:
    """The groups of caches in the next snapshot. Each is made once, and those that have become equal become one."""

    def __init__(self, gone: frozenset[str], come: Collection[ServerAd]) -> None:
        self._gone = gone
        # Caches come with a few lists between them. Each has a bit, and a prefix those of the lists that it is in.
        self._come: list[list[ServerAd]] = []
        self._bits: dict[str, int] = {}
        numbers: dict[int, int] = {}
        for server in come:
            number = numbers.setdefault(id(server.namespaces), len(numbers))
            if number == len(self._come):
                self._come.append([])
                for namespace in server.namespaces:
                    self._bits[namespace.path] = self._bits.get(namespace.path, 0) | 1 << number
            self._come[number].append(server)
        self._made: dict[tuple[Group[ServerAd], int], Group[ServerAd]] = {}
        self._equal: dict[tuple[str, ...], Group[ServerAd]] = {}

    def next(self, prefix: str, group: Group[ServerAd]) -> Group[ServerAd]:
        """What becomes of the group that serves a prefix."""
        bits = self._bits.get(prefix, 0)
        made = self._made.get((group, bits))
        if made is None:
            made = self._made[group, bits] = self._make(group, bits)
        return made

    def _make(self, group: Group[ServerAd], bits: int) -> Group[ServerAd]:
        members = [server for server in group if server.data_url not in self._gone]
        is_same = not bits and len(members) == len(group)
        for number, servers in enumerate(self._come):
            if bits >> number & 1:
                members += servers
        members.sort(key=_order)
        urls = tuple(server.data_url for server in members)
        return self._equal.setdefault(urls, group if is_same else Group(tuple(members)))
