"""Which prefixes each cache may serve: a table of the registry's, fetched as a whole in the background.

Pelican's director trusts no table older than 15 minutes, and takes in no cache then. Here an old table counts for as
long as the registry gives no new one.

Source: Pelican `director/registry_periodic_query.go`, `director/director.go:registerServerAd`.
"""

from typing import Final

from director_wsgi.federation.models import NamespaceAd
from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.trust.poll import Poll
from director_wsgi.trust.registry import Registry
from director_wsgi.trust.shared import ALONE, TABLES, Sharing

_ALWAYS_ALLOWED: Final = "/pelican/"


class AllowedPrefixes:
    """The table. One thread refreshes it; any thread reads it, without a lock and without waiting."""

    def __init__(self, registry: Registry, *, sharing: Sharing = ALONE, clock: Clock = monotonic) -> None:
        """Nothing has been fetched yet.

        Args:
            registry: Has the table.
            sharing: With whom it is shared.
            clock: Monotonic seconds.
        """
        self._table: Poll[dict[str, frozenset[str]]] = Poll(
            "what caches may serve", registry.allowed_prefixes, nothing={}, clock=clock
        )
        self._table.share("prefixes", registry.url, codec=TABLES, sharing=sharing)

    @property
    def loaded(self) -> bool:
        """Whether the table was ever fetched, by whichever worker."""
        return self._table.loaded

    @property
    def age_s(self) -> float:
        """Seconds since it was last fetched; infinite if it never was."""
        return self._table.age_s

    def refresh(self, deadline: Deadline) -> bool:
        """Fetch the table; keep the old one if that fails, which is logged once. Whether it was fetched."""
        return self._table.refresh(deadline)

    def is_due(self, interval_s: float) -> bool:
        """Whether nobody has fetched it for so long."""
        return self._table.is_due(interval_s)

    def next_refresh_in_s(self, interval_s: float) -> float:
        """How long to wait before the next `refresh`; see `Poll.next_refresh_in_s`."""
        return self._table.next_refresh_in_s(interval_s)

    def for_host(self, host: str) -> frozenset[str] | None:
        """What the cache may serve that the registry calls so; None if it is not restricted.

        The registry's names are what follows `/caches/` in registrations: names of sites, or host names.

        Args:
            host: In any case. Admissions know the cache's host name and its registered one, requests for a federation
                token the latter.
        """
        return self._table.value.get(host.lower())

    def permitted(self, host: str, namespaces: tuple[NamespaceAd, ...]) -> tuple[NamespaceAd, ...]:
        """Those namespaces that the cache may serve. Everything below `/pelican/` belongs to the federation itself."""
        allowed = self.for_host(host)
        if allowed is None:
            return namespaces
        return tuple(n for n in namespaces if n.path in allowed or n.path.startswith(_ALWAYS_ALLOWED))
