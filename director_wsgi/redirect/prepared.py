"""Prepared, not computed: what many redirects have in common is made once, and forgotten with the snapshot.

Who of a prefix may serve a kind of request, and who is nearest to a place, depends on nothing but the federation at one
moment. A redirect looks that up; what is left to do is its path.
"""

from functools import lru_cache
from typing import Final

from director_wsgi.federation.snapshot import PrefixEntry, Snapshot
from director_wsgi.redirect.matching import Match, Need, match
from director_wsgi.redirect.nearest import Orders

MATCHES: Final = 8_192
"""Prefixes, and kinds of requests for each, that are remembered; the least recently used is forgotten."""


class Prepared:
    """For one snapshot. Any number of threads at once.

    Args:
        snapshot: The federation at one moment.
        filter_errors: See `matching.match`.

    Attributes:
        snapshot: The same.
        orders: Who is nearest to whom.
    """

    __slots__ = ("_matched", "orders", "snapshot")

    def __init__(self, snapshot: Snapshot, *, filter_errors: bool) -> None:
        self.snapshot = snapshot
        self.orders = Orders()

        def matched(entry: PrefixEntry, need: int) -> Match:
            return match(entry, Need(need), filter_errors=filter_errors)

        self._matched = lru_cache(MATCHES)(matched)

    def match(self, entry: PrefixEntry, need: Need) -> Match:
        """Who of a prefix of this snapshot may serve a request that needs this of its origins."""
        return self._matched(entry, need.value)
