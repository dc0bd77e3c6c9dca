"""The registry's list of downtimes, fetched in the background and handed to the filters.

Source: Pelican `director/cache_ads.go:updateDowntimeFromRegistry`. There, one entry that cannot be read makes the whole
list worthless; here it is left out.
"""

import logging
from collections.abc import Callable

from director_wsgi.federation.downtimes import Downtime, downtimes_of_registry
from director_wsgi.federation.filters import Filters
from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.trust.poll import Poll
from director_wsgi.trust.registry import Registry
from director_wsgi.trust.shared import ALONE, DOWNTIMES, Sharing

log = logging.getLogger(__name__)


class RegistryDowntimes:
    """The list. One thread refreshes it; what was fetched last counts for as long as nothing new comes."""

    def __init__(
        self,
        registry: Registry,
        filters: Filters,
        *,
        sharing: Sharing = ALONE,
        on_filtered: Callable[[], object] = lambda: None,
        clock: Clock = monotonic,
    ) -> None:
        """Nothing has been fetched yet.

        Args:
            registry: Has the list.
            filters: Told of each list.
            sharing: With whom it is shared.
            on_filtered: Called when the filters have been told, on the thread that brings the list; it must not wait.
            clock: Monotonic seconds.
        """
        self._registry = registry
        self._filters = filters
        self._unreadable = 0
        self._on_filtered = on_filtered
        self._list: Poll[tuple[Downtime, ...]] = Poll(
            "downtimes", self._fetched, nothing=(), on_value=self._heed, clock=clock
        )
        self._list.share("downtimes", registry.url, codec=DOWNTIMES, sharing=sharing)

    def refresh(self, deadline: Deadline) -> bool:
        """Fetch the list; keep the old one if that fails, which is logged once. Whether it was fetched."""
        return self._list.refresh(deadline)

    def is_due(self, interval_s: float) -> bool:
        """Whether nobody has fetched it for so long."""
        return self._list.is_due(interval_s)

    def next_refresh_in_s(self, interval_s: float) -> float:
        """How long to wait before the next `refresh`; see `Poll.next_refresh_in_s`."""
        return self._list.next_refresh_in_s(interval_s)

    def _heed(self, downtimes: tuple[Downtime, ...]) -> None:
        self._filters.registry_said(downtimes)
        self._on_filtered()

    def _fetched(self, deadline: Deadline) -> tuple[Downtime, ...]:
        downtimes, unreadable = downtimes_of_registry(self._registry.downtimes(deadline))
        if unreadable > self._unreadable:
            log.warning("%d of the registry's downtimes cannot be read and are not heeded", unreadable)
        self._unreadable = unreadable
        return downtimes
