"""What became of advertisements, counted. Bounded, whatever senders call themselves.

Source: Pelican `metrics/director.go`, `director/director.go:registerServerAd`.
"""

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Final, TypeVar

from director_wsgi.federation.models import ServerAd

K = TypeVar("K")

Received = tuple[str, str, str, str, str]
"""Name, web URL, kind, HTTP status, prefix of a namespace."""

OTHER: Final = "other"
UNVERIFIED: Final = "unverified"
"""Stands for the name of a sender that was refused before anything about it was looked at."""

MAX_ACCEPTED: Final = 10_000
"""Series of advertisements that were accepted: their senders are registered."""

MAX_REFUSED: Final = 500
"""Series of those that were not: anybody may send them."""

MAX_REJECTED: Final = 200
"""Names of senders that were refused."""

_OK: Final = 200


class AdCounts:
    """Any number of threads may count and read. One lock, held for additions only."""

    # The lock guards all four.

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outcomes: Counter[str] = Counter()
        self._accepted: Counter[Received] = Counter()
        self._refused: Counter[Received] = Counter()
        self._rejected: Counter[str] = Counter()

    def ended(self, outcome: str) -> None:
        """Count an advertisement by what became of it; there are few words for that."""
        with self._lock:
            self._outcomes[outcome] += 1

    def answered(self, ad: ServerAd, status: int) -> None:
        """Count an advertisement that could be read, once for each of its namespaces, by how it was answered."""
        sender = ad.name, ad.web_url, ad.kind.value, str(status)
        other = OTHER, OTHER, ad.kind.value, str(status), OTHER
        with self._lock:
            table, bound = (self._accepted, MAX_ACCEPTED) if status == _OK else (self._refused, MAX_REFUSED)
            for namespace in ad.namespaces:
                _add(table, (*sender, namespace.path), bound, other)

    def rejected_sender(self, name: str) -> None:
        """Count an advertisement whose sender may not advertise it."""
        with self._lock:
            _add(self._rejected, name, MAX_REJECTED, OTHER)

    @property
    def outcomes(self) -> Mapping[str, int]:
        """Advertisements by outcome."""
        with self._lock:
            return dict(self._outcomes)

    @property
    def received(self) -> Mapping[Received, int]:
        """Namespaces in advertisements; beyond the bounds, name, web URL and prefix are `other`."""
        with self._lock:
            return {**self._accepted, **self._refused}

    @property
    def rejected(self) -> Mapping[str, int]:
        """Refused advertisements by name; beyond the bound `other`."""
        with self._lock:
            return dict(self._rejected)


def _add(table: Counter[K], key: K, bound: int, other: K) -> None:
    table[key if key in table or len(table) < bound else other] += 1
