"""Which prefixes each cache may serve: a table of the registry's, fetched as a whole in the background.

Source: Pelican `director/registry_periodic_query.go`, `director/director.go:registerServerAd`.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from director_wsgi.federation.models import NamespaceAd
from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.trust.registry import Registry, RegistryError

log = logging.getLogger(__name__)

MAX_AGE_S: Final = 900.0
"""A table this old is not trusted any more."""

RETRY_S: Final = 1.0
"""Between two tries while there is no table to be trusted."""

_ALWAYS_ALLOWED: Final = "/pelican/"


@dataclass(frozen=True, slots=True)
class _Table:
    fetched_at: float = -math.inf
    by_host: Mapping[str, frozenset[str]] = field(default_factory=dict)


class AllowedPrefixes:
    """The table. One thread refreshes it; any thread reads it, without a lock and without waiting."""

    def __init__(self, registry: Registry, *, clock: Clock = monotonic) -> None:
        self._registry = registry
        self._clock = clock
        self._table = _Table()
        self._failed = False

    @property
    def loaded(self) -> bool:
        """Whether the table was ever fetched."""
        return self._table.fetched_at > -math.inf

    @property
    def age_s(self) -> float:
        """Seconds since it was last fetched; infinite if it never was."""
        return self._clock() - self._table.fetched_at

    @property
    def is_stale(self) -> bool:
        """Whether it is too old to be trusted, or was never fetched."""
        return self.age_s >= MAX_AGE_S

    def refresh(self, deadline: Deadline) -> bool:
        """Fetch the table; keep the old one if that fails, which is logged once. Whether it was fetched."""
        try:
            by_host = self._registry.allowed_prefixes(deadline)
        except RegistryError as error:
            if not self._failed:
                log.warning("cannot refresh what caches may serve: %s", error)
            self._failed = True
            return False
        if self._failed or not self.loaded:
            log.info("fetched what caches may serve: %d caches are restricted", len(by_host))
        self._failed = False
        self._table = _Table(self._clock(), by_host)
        return True

    def next_refresh_in_s(self, interval_s: float) -> float:
        """How long to wait before the next `refresh`: a second at most while there is nothing to be trusted."""
        return min(interval_s, RETRY_S) if self.is_stale else interval_s

    def for_host(self, host: str) -> frozenset[str] | None:
        """What the cache with this host name may serve; None if it is not restricted."""
        return self._table.by_host.get(host.lower())

    def permitted(self, host: str, namespaces: tuple[NamespaceAd, ...]) -> tuple[NamespaceAd, ...]:
        """Those namespaces that the cache may serve. Everything below `/pelican/` belongs to the federation itself."""
        allowed = self.for_host(host)
        if allowed is None:
            return namespaces
        return tuple(n for n in namespaces if n.path in allowed or n.path.startswith(_ALWAYS_ALLOWED))
