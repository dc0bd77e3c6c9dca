"""Filters: which servers are advertised and yet not to be used now, and why.

Filters go by the name of a server. What they are made of comes from three places: the configuration, the servers
themselves, the registry. What follows from it is worked out again whenever one of these has something new to say, and
whenever a downtime begins or ends.

Only servers whose name the registry vouches for may speak here: `trust.admission` sees to it. Each speaks for itself:
an origin and a cache of one name are both filtered while one of them says so, and neither ends what the other said. A
downtime of the registry is theirs by identifier, or by registry prefix; the identifier is the server's own word, so
whoever claims another's shares its downtimes and takes nothing from it.

Source: Pelican `director/cache_ads.go` (`applyServerDowntimes`, `formatServerDowntimes`, `applyDowntimeFilters`).
"""

import enum
import logging
import math
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final

from director_wsgi.federation.downtimes import Downtime, milliseconds
from director_wsgi.federation.models import ServerAd
from director_wsgi.limits.deadline import WallClock

log = logging.getLogger(__name__)

MAX_SERVERS: Final = 20_000
"""Servers that may have said something."""

_SHUTTING_DOWN: Final = "shutting down"


class FilterReason(enum.Enum):
    """Why a server is not used; the value is Pelican's text for it (`filteredType`).

    The first that applies is the reason, and stays it for as long as it applies.
    """

    PERMANENT = "Permanently Disabled via the director configuration"
    SERVER = "Temporarily disabled by the server admin"
    SHUTDOWN = "Disabled due to the server shutdown in progress"
    REGISTRY = "Temporarily disabled via the admin website"


@dataclass(frozen=True, slots=True)
class Filtered:
    """Whose servers are not to be used, at one moment.

    Attributes:
        names: Of the servers. The same object for as long as nothing changes.
        revision: Grows with every change. Of two of these the one with the greater revision knows more.
    """

    names: frozenset[str] = frozenset()
    revision: int = 0


@dataclass(frozen=True, slots=True)
class _Said:
    """What a server said of itself last."""

    name: str
    server_id: str
    downtimes: tuple[Downtime, ...]
    is_shutting_down: bool

    @property
    def is_of_interest(self) -> bool:
        """Whether it may be a reason for a filter, now or later."""
        return bool(self.downtimes) or self.is_shutting_down


class Filters:
    """Any number of threads may tell and ask. One lock, held for work in memory only."""

    # The lock guards everything. Told: _said (by registry prefix), _by_id (registry prefixes by identifier), _missing,
    # _registry. Worked out from it by `_work_out`: all the rest.

    def __init__(self, *, permanent: Iterable[str] = (), wall: WallClock) -> None:
        """Nobody has said anything yet.

        Args:
            permanent: Names that are filtered whatever anybody says (`Director.FilteredServers`).
            wall: Seconds since the Unix epoch; downtimes are dated by others.
        """
        self._permanent = frozenset(permanent)
        self._wall = wall
        self._lock = threading.Lock()
        self._said: dict[str, _Said] = {}
        self._by_id: dict[str, set[str]] = {}
        self._missing: frozenset[str] = frozenset()
        self._registry: tuple[Downtime, ...] = ()
        self._asked_for: frozenset[str] = frozenset()  # identifiers and registry prefixes that the registry names
        self._is_due = True
        self._since_ms = 0
        self._until_ms: float = 0
        self._own: dict[str, tuple[_Said, ...]] = {}
        self._by_name: dict[str, tuple[Downtime, ...]] = {}
        self._reasons: dict[str, FilterReason] = {}
        self._filtered = Filtered()

    def adopt(self, *, permanent: Iterable[str]) -> None:
        """Filter servers of these names, whatever anybody says, and no others for that reason.

        Holds for the next call of `filtered`, which the directory has to be told of. As always, a reason that applies
        already stays the reason. The same names again change nothing.
        """
        names = frozenset(permanent)
        with self._lock:
            if names != self._permanent:
                self._permanent = names
                self._is_due = True

    def server_said(self, ad: ServerAd) -> None:
        """Heed an advertisement. Its name must be the one that is registered for its registry prefix."""
        prefix = ad.registry_prefix
        with self._lock:
            before = self._said.get(prefix)
            is_heard = before is not None or len(self._said) < MAX_SERVERS
            if is_heard:
                self._missing -= {prefix}
                now = _Said(ad.name, ad.server_id, ad.downtimes, _is_shutting_down(ad.status, before))
                if now != before:
                    self._take(prefix, before, now)
        if not is_heard:
            log.warning("%d servers are known to filters already; downtimes of %s are not heeded", MAX_SERVERS, ad.name)

    def registry_said(self, downtimes: Iterable[Downtime]) -> None:
        """Heed the registry's whole list, in place of the one before."""
        with self._lock:
            now = tuple(downtimes)
            if now != self._registry:
                self._registry = now
                self._is_due = True

    def retain(self, prefixes: Collection[str]) -> None:
        """Forget what other servers said.

        One must be missing twice in a row: the first time it may just have spoken and be about to be listed.

        Args:
            prefixes: Registry prefixes of the servers that are advertised.
        """
        with self._lock:
            missing = frozenset(self._said.keys() - prefixes)
            for prefix in missing & self._missing:
                self._take(prefix, self._said[prefix], None)
            self._missing = missing & self._said.keys()

    def filtered(self) -> Filtered:
        """The names that are filtered now, with the revision that the directory wants to know."""
        with self._lock:
            self._work_out()
            return self._filtered

    def names(self) -> frozenset[str]:
        """The names that are filtered now, whether a server of that name is advertised or not."""
        return self.filtered().names

    def reason(self, name: str) -> FilterReason | None:
        """Why servers of this name are not used now; None if they may be."""
        with self._lock:
            self._work_out()
            return self._reasons.get(name)

    def downtimes(self, name: str | None = None) -> tuple[Downtime, ...]:
        """What is announced, past and to come included, for listings.

        Args:
            name: Of the server; None: everybody's, in the order of names.
        """
        with self._lock:
            self._work_out()
            names = sorted(self._own.keys() | self._by_name.keys()) if name is None else [name]
            return tuple(downtime for one in names for downtime in _without_copies(self._announced(one)))

    def _take(self, prefix: str, before: _Said | None, now: _Said | None) -> None:
        if before is not None:
            del self._said[prefix]
            self._by_id[before.server_id].discard(prefix)
            if not self._by_id[before.server_id]:
                del self._by_id[before.server_id]
        if now is not None:
            self._said[prefix] = now
            self._by_id.setdefault(now.server_id, set()).add(prefix)
        # Most servers never say anything of interest, and most are in no list of the registry's.
        both = [one for one in (before, now) if one is not None]
        self._is_due = self._is_due or any(
            one.is_of_interest or not self._asked_for.isdisjoint((one.server_id, prefix)) for one in both
        )

    def _work_out(self) -> None:
        """What follows from what was said, unless it is known and holds still."""
        now_s = self._wall()
        now_ms = milliseconds(now_s)
        if not self._is_due and self._since_ms <= now_ms < self._until_ms:
            return
        if self._is_due:
            self._sort_by_name()
        self._is_due = False
        self._reasons = self._decided(now_s)
        self._since_ms = now_ms
        announced = (one for name in self._own.keys() | self._by_name.keys() for one in self._announced(name))
        self._until_ms = min((edge for one in announced for edge in one.edges_ms() if edge > now_ms), default=math.inf)
        names = frozenset(self._reasons)
        if names != self._filtered.names:
            self._filtered = Filtered(names, self._filtered.revision + 1)

    def _sort_by_name(self) -> None:
        self._asked_for = frozenset(downtime.server_id or downtime.server_name for downtime in self._registry)
        by_name: dict[str, list[Downtime]] = {}
        for downtime in self._registry:
            for name in self._named(downtime):
                mine = downtime if name == downtime.server_name else replace(downtime, server_name=name)
                by_name.setdefault(name, []).append(mine)
        self._by_name = {name: tuple(downtimes) for name, downtimes in by_name.items()}
        own: dict[str, list[_Said]] = {}
        for said in self._said.values():
            if said.is_of_interest:
                own.setdefault(said.name, []).append(said)
        self._own = {name: tuple(words) for name, words in own.items()}

    def _named(self, downtime: Downtime) -> set[str]:
        """The names of the servers that a downtime of the registry is about."""
        if downtime.server_id:
            prefixes = self._by_id.get(downtime.server_id, set())
        else:
            prefixes = {downtime.server_name} & self._said.keys()
        return {self._said[prefix].name for prefix in prefixes} or {downtime.server_name}

    def _unknown_to_registry(self, name: str) -> list[Downtime]:
        """What servers announce of themselves that the registry does not; of what it knows, its copy counts."""
        known = {downtime.id for downtime in self._by_name.get(name, ()) if downtime.id}
        return [one for said in self._own.get(name, ()) for one in said.downtimes if one.id not in known]

    def _announced(self, name: str) -> list[Downtime]:
        return [*self._unknown_to_registry(name), *self._by_name.get(name, ())]

    def _decided(self, now_s: float) -> dict[str, FilterReason]:
        decided: dict[str, FilterReason] = {}
        for name in self._permanent | self._own.keys() | self._by_name.keys():
            applying = [reason for reason in FilterReason if self._applies(reason, name, now_s)]
            if applying:
                held = self._reasons.get(name)
                decided[name] = held if held in applying else applying[0]
        return decided

    def _applies(self, reason: FilterReason, name: str, now_s: float) -> bool:
        match reason:
            case FilterReason.PERMANENT:
                return name in self._permanent
            case FilterReason.SERVER:
                return any(downtime.is_active(now_s) for downtime in self._unknown_to_registry(name))
            case FilterReason.SHUTDOWN:
                return any(said.is_shutting_down for said in self._own.get(name, ()))
            case FilterReason.REGISTRY:
                return any(downtime.is_active(now_s) for downtime in self._by_name.get(name, ()))


def _is_shutting_down(status: str, before: _Said | None) -> bool:
    """A server that says nothing of its status takes back nothing."""
    return before is not None and before.is_shutting_down if not status else status == _SHUTTING_DOWN


def _without_copies(downtimes: Iterable[Downtime]) -> Iterable[Downtime]:
    """Each downtime of one server once; the first of several copies."""
    found: dict[object, Downtime] = {}
    for one in downtimes:
        found.setdefault(one.id or (one.source, one.starts_at_ms, one.ends_at_ms, one.created_at_ms), one)
    return found.values()
