"""What became of advertisements, counted. Bounded, whatever senders call themselves.

Source: Pelican `metrics/director.go`, `director/director.go:registerServerAd`.
"""

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Final, TypeVar

from director_wsgi.federation.models import NamespaceAd, ServerAd

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


Sender = tuple[str, str, str, str]
"""The same without the prefix."""


class _Rows:
    """Namespaces in advertisements by `Received`. Beyond a number of rows, which never sink again, all are `other`."""

    def __init__(self) -> None:
        self.counts: Counter[Received] = Counter()
        self._senders: set[Sender] = set()  # that have rows of their own

    def add(self, sender: Sender, namespaces: tuple[NamespaceAd, ...], bound: int) -> None:
        """Count each namespace once.

        A hundred caches repeat thousands of them all the time: those that have no row of their own are quick.
        """
        if not namespaces:
            return
        _name, _web_url, kind, status = sender
        other = OTHER, OTHER, kind, status, OTHER
        if len(self.counts) >= bound and sender not in self._senders:
            self.counts[other] += len(namespaces)
            return
        self._senders.add(sender)
        for namespace in namespaces:
            _add(self.counts, (*sender, namespace.path), bound, other)


class AdCounts:
    """Any number of threads may count and read. One lock, held for additions only."""

    # The lock guards all four.

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outcomes: Counter[str] = Counter()
        self._accepted = _Rows()
        self._refused = _Rows()
        self._rejected: Counter[str] = Counter()

    def ended(self, outcome: str) -> None:
        """Count an advertisement by what became of it; there are few words for that."""
        with self._lock:
            self._outcomes[outcome] += 1

    def answered(self, ad: ServerAd, status: int) -> None:
        """Count an advertisement that could be read, once for each of its namespaces, by how it was answered."""
        sender = ad.name, ad.web_url, ad.kind.value, str(status)
        with self._lock:
            rows, bound = (self._accepted, MAX_ACCEPTED) if status == _OK else (self._refused, MAX_REFUSED)
            rows.add(sender, ad.namespaces, bound)

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
            return {**self._accepted.counts, **self._refused.counts}

    @property
    def rejected(self) -> Mapping[str, int]:
        """Refused advertisements by name; beyond the bound `other`."""
        with self._lock:
            return dict(self._rejected)


def _add(table: Counter[K], key: K, bound: int, other: K) -> None:
    table[key if key in table or len(table) < bound else other] += 1
