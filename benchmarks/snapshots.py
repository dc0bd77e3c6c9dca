"""What a federation costs when it changes: new snapshots, a restart, and how long garbage collection stops everything.

In this process, without Flask and gunicorn. As in a worker, what was there before any advertisement is out of the
garbage collector's sight.
"""

import gc
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from benchmarks import federations
from benchmarks.federations import Size
from benchmarks.figures import Figure, figure
from director_wsgi.federation.ads import parse_ad
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.models import ServerAd, ServerKind
from director_wsgi.federation.store.codec import decode_ad, encode_ad

LIFETIME_S = federations.AD_LIFETIME.total_seconds()
CHANGES = 20
"""Caches whose lists change, one after the other, while the garbage collector is watched."""


def measure(say: Callable[[str], None], *, rounds: int = 7, size: Size = federations.LARGE) -> list[Figure]:
    """Take the figures.

    Args:
        say: Told what is going on.
        rounds: Of each.
        size: Of the federation. Each cache has a list of namespaces of its own, which is the worst case: one of the
            federation's is missing in each.
    """
    say("snapshots: making the advertisements")
    origins = [parse_ad(federations.encode(ad), ServerKind.ORIGIN).ad for ad in federations.origin_ads(size)]
    whole = parse_ad(federations.encode(federations.cache_ad(size, 0)), ServerKind.CACHE).ad
    caches = [_own(whole, number) for number in range(size.caches)]
    stored = [encode_ad(ad) for ad in (*origins, *(replace(ad, namespaces=whole.namespaces) for ad in caches))]
    stops: list[float] = []
    costs: dict[str, list[float]] = {}
    with _frozen():
        for number in range(rounds):
            say(f"snapshots: round {number + 1} of {rounds}")
            directory = Directory()
            with _watched() as found:
                _record(directory, (*origins, *caches))
                for cache in caches[:CHANGES]:
                    _record(directory, [replace(cache, namespaces=cache.namespaces[:-1])])
            stops.append(max(found, default=0.0) * 1e3)
            for name, cost_ms in _changes(directory, origins, caches):
                costs.setdefault(name, []).append(cost_ms)
            costs.setdefault("restart, reading all advertisements from the store", []).append(_restart(stored))
    entries = sum(len(ad.namespaces) for ad in (*origins, *caches))
    return [
        figure(f"longest stop of the garbage collector, {entries:,} entries", "ms", stops),
        *(figure(name, "ms CPU", cost) for name, cost in costs.items()),
    ]


def _own(whole: ServerAd, number: int) -> ServerAd:
    """A cache that serves all but one of the namespaces."""
    missing = number % len(whole.namespaces)
    url = federations.base_url("cache", number)
    namespaces = whole.namespaces[:missing] + whole.namespaces[missing + 1 :]
    return replace(whole, name=f"cache-{number:04}", data_url=url, base_url=url, namespaces=namespaces)


def _record(directory: Directory, ads: Iterable[ServerAd]) -> None:
    for ad in ads:
        directory.record(ad, LIFETIME_S)


def _changes(directory: Directory, origins: list[ServerAd], caches: list[ServerAd]) -> Iterator[tuple[str, float]]:
    """Snapshots in which something has changed: name and cost, ms. The last one leaves nobody."""
    yield "snapshot, one origin has changed", _ms(lambda: directory.record(replace(origins[0], status="w"), LIFETIME_S))
    yield "snapshot, one cache has changed", _ms(lambda: directory.record(replace(caches[0], status="w"), LIFETIME_S))
    snapshot = directory.snapshot()
    gone = dict.fromkeys(snapshot.servers)
    yield "snapshot, all servers have expired at once", _ms(lambda: snapshot.changed(changes=gone))


def _restart(stored: list[bytes]) -> float:
    """What it costs to take over what is stored, ms. Namespaces are known already in every round but the first."""

    def read() -> None:
        directory = Directory()
        for body in stored:
            directory.record(decode_ad(body), LIFETIME_S, at_once=False)
        directory.show()

    return _ms(read)


def _ms(do: Callable[[], object]) -> float:
    began = time.thread_time()
    do()
    return (time.thread_time() - began) * 1e3


@contextmanager
def _frozen() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def _watched() -> Iterator[list[float]]:
    """How long each collection takes until the block ends, seconds."""
    found: list[float] = []
    began = 0.0

    def watch(phase: str, _info: dict[str, Any]) -> None:
        nonlocal began
        if phase == "start":
            began = time.perf_counter()
        else:
            found.append(time.perf_counter() - began)

    gc.callbacks.append(watch)
    try:
        yield found
    finally:
        gc.callbacks.remove(watch)
