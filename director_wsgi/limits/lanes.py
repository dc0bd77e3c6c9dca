"""Lanes: many keys share few permits, and the busiest leaves room for the others.

A fixed share for each key wastes what the others do not use, and none at all lets one key take everything. Here a key
may have more the more is free: it takes another permit while it has fewer than `alpha` times what is left (the dynamic
threshold of Choudhury and Hahne for shared packet buffers, IEEE/ACM Transactions on Networking 6(2), 1998). A key that
is alone ends at `alpha / (1 + alpha)` of the permits, n busy keys at `alpha / (1 + n * alpha)` each, and what remains
free is for the next key that comes. Nothing has to be known of the keys beforehand.
"""

# ruff: noqa: SLF001, permit and lanes are one class in two parts

import threading
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Self


class Permit:
    """One of the permits, until `release`; made by `Lanes.take_nowait`.

    Any thread may release it. As a context manager it is released at the end of the block.
    """

    __slots__ = ("_is_out", "_lanes", "key")

    def __init__(self, lanes: "Lanes", key: Hashable) -> None:
        self._lanes = lanes
        self._is_out = True
        self.key = key

    def release(self) -> None:
        """Give it back. Harmless if done before."""
        self._lanes._give_back(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<Permit{'' if self._is_out else ', released'}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class LanesStatistics:
    """The counts of one moment.

    Attributes:
        permits: How many there are.
        in_use: How many are out.
        most_in_use: How many were out at the same time at most, ever.
        keys: Keys that have at least one.
        taken: Permits ever given.
        refused_full: How often none was left.
        refused_share: How often some were left, but for other keys.
    """

    permits: int
    in_use: int
    most_in_use: int
    keys: int
    taken: int
    refused_full: int
    refused_share: int


class Lanes:
    """A number of permits, shared fairly between keys that come and go.

    - Never more than `permits` are out, unless there were more of them before (`resize`).
    - A key that has none gets one whenever one is free.
    - No key ever holds all of them, if there are at least two: the last one free is for a key that has none.
    - A key is remembered only while it has a permit.

    Any number of threads at once; no method waits.

    Args:
        permits: How many there are.
        alpha: A key may have up to this many times what is free. 2.0 leaves a key that is alone two thirds.

    Raises:
        ValueError: `permits` is below 1, or `alpha` not above 0.
    """

    # _lock guards all attributes below and every Permit._is_out. It is held for a few instructions.

    def __init__(self, permits: int, alpha: float = 2.0) -> None:
        if permits < 1:
            raise ValueError("lanes need at least one permit")
        if not alpha > 0:
            raise ValueError("a share must be above 0")
        self._permits = permits
        self._alpha = alpha
        self._lock = threading.Lock()
        self._in_use: dict[Hashable, int] = {}
        self._total = 0
        self._most = 0
        self._taken = 0
        self._refused_full = 0
        self._refused_share = 0

    def take_nowait(self, key: Hashable) -> Permit | None:
        """A permit for `key`, if one is free and `key` has not its share already; else None."""
        with self._lock:
            free = self._permits - self._total
            held = self._in_use.get(key, 0)
            if free < 1:
                self._refused_full += 1
                return None
            if held and (free == 1 or held >= self._alpha * free):
                self._refused_share += 1
                return None
            self._in_use[key] = held + 1
            self._total += 1
            self._taken += 1
            self._most = max(self._most, self._total)
            return Permit(self, key)

    def resize(self, permits: int) -> None:
        """Change how many there are, now. If fewer: nobody loses one, and there is none until enough came back.

        Raises:
            ValueError: `permits` is below 1.
        """
        if permits < 1:
            raise ValueError("lanes need at least one permit")
        with self._lock:
            self._permits = permits

    @property
    def excess(self) -> int:
        """How many are out beyond `permits`, since these became fewer."""
        with self._lock:
            return max(0, self._total - self._permits)

    def in_use(self, key: Hashable) -> int:
        """How many permits `key` has."""
        with self._lock:
            return self._in_use.get(key, 0)

    def statistics(self) -> LanesStatistics:
        """The counts of this moment."""
        with self._lock:
            return LanesStatistics(
                permits=self._permits,
                in_use=self._total,
                most_in_use=self._most,
                keys=len(self._in_use),
                taken=self._taken,
                refused_full=self._refused_full,
                refused_share=self._refused_share,
            )

    def _give_back(self, permit: Permit) -> None:
        with self._lock:
            if not permit._is_out:
                return
            permit._is_out = False
            self._total -= 1
            held = self._in_use[permit.key] - 1
            if held:
                self._in_use[permit.key] = held
            else:
                del self._in_use[permit.key]
