"""Namespaces that many servers repeat: equal ones are one object, and long lists are recognised by their bytes.

A cache sends the namespaces of the whole federation once a minute, and nearly always the same bytes: a megabyte and a
half for three thousand. Their digest tells in half a millisecond, and without the interpreter lock, what reading them
element by element tells in five. A digest is as good as the bytes themselves (SHA-256), so nothing is taken on trust.

A list is known for as long as somebody holds all of its namespaces: the directory, that is.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary, ref

from director_wsgi.federation.models import NamespaceAd

LONG_BYTES: Final = 16 << 10
"""A shorter list is read as fast as it would be recognised."""

CAPACITY: Final = 64
"""Lists known at once; the one that was learned first makes room. Caches of one federation have a few, since some may
not serve everything, and twice as many while one is changing."""

_END: Final = b"}]"
"""How a list ends that no blanks were put into."""

by_text: WeakValueDictionary[str, NamespaceAd] = WeakValueDictionary()
"""Namespaces by the JSON that they were sent as, and that they are given back as, for as long as anybody holds them."""


def interned(namespace: NamespaceAd) -> NamespaceAd:
    """The one object that stands for all that are equal to this."""
    known = by_text.setdefault(namespace.wire, namespace)
    return known if known == namespace else namespace


@dataclass(frozen=True, slots=True)
class ListKey:
    """Stands for the bytes of one list."""

    length: int
    digest: bytes

    @classmethod
    def of(cls, text: bytes | memoryview) -> "ListKey":
        """That of these bytes. Other threads may run meanwhile."""
        return cls(len(text), hashlib.sha256(text).digest())


class KnownLists:
    """Lists by their bytes. Any number of threads may ask and tell."""

    # Replaced as a whole. Of two that tell at the same time one may be passed over; it will tell again.

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._lists: dict[ListKey, tuple[ref[NamespaceAd], ...]] = {}
        self._lengths: tuple[int, ...] = ()  # ascending

    def __len__(self) -> int:
        return len(self._lists)

    def learn(self, key: ListKey, namespaces: Iterable[NamespaceAd]) -> None:
        """Recognise the list from now on.

        To be called for what comes from somebody known: others would push out what is of use.
        """
        others = [(known, refs) for known, refs in self._lists.items() if known != key]
        self._lists = dict([*others[-self._capacity + 1 :], (key, tuple(map(ref, namespaces)))])
        self._lengths = tuple(sorted({known.length for known in self._lists}))

    def get(self, key: ListKey) -> tuple[NamespaceAd, ...] | None:
        """The list; None if it is not known, or not any more."""
        refs = self._lists.get(key)
        if refs is None:
            return None
        found = [namespace for one in refs if (namespace := one()) is not None]
        return tuple(found) if len(found) == len(refs) else None

    def find(self, body: bytes, at: int) -> tuple[tuple[NamespaceAd, ...], int] | None:
        """The known list that begins at a byte of `body`, and its length in bytes; None if none does.

        No whole list is the beginning of another, so at most one is right. No byte is looked at twice, whatever ends
        may be feigned.
        """
        view = memoryview(body)
        digest, done = hashlib.sha256(), 0
        for length in self._lengths:
            if body.startswith(_END, at + length - len(_END)):
                digest.update(view[at + done : at + length])
                done = length
                namespaces = self.get(ListKey(length, digest.digest()))
                if namespaces is not None:
                    return namespaces, length
        return None
