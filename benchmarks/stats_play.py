"""An open load on a director while one of its origins hangs and is well again, and what became of every request."""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.origins import Origins
from benchmarks.server import Server, confined
from benchmarks.stats_scene import SICK, Source, arrivals, prefix_of
from director_wsgi.demo.openloop import Load, Order, Outcome
from director_wsgi.demo.scene import holder
from director_wsgi.limits.deadline import monotonic

LEAD_S = 1.5
"""From ordering the load to its first request: its process has to start."""

CLIENT_TIMEOUT_S = 10.0
"""When a client gives up; it counts with this latency."""

EDGE_S = 0.1
"""Requests that are due so shortly before a change belong to neither side of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """What happens, again and again: all is well, an origin hangs, all is well again."""

    healthy_s: float
    hang_s: float
    recovery_s: float

    @property
    def lasts_s(self) -> float:
        return self.healthy_s + self.hang_s + self.recovery_s


@dataclass(frozen=True, slots=True)
class Event:
    """When one cycle's changes happened, on the machine's monotonic clock.

    Attributes:
        first_answer_at: When the healed origin first answered; None if it was not asked before the next cycle.
    """

    began_at: float
    hung_at: float
    healed_at: float
    first_answer_at: float | None


@dataclass(frozen=True, slots=True)
class Request:
    """One request and what became of it; `due_at` on the machine's monotonic clock."""

    due_at: float
    prefix: str
    holder: int
    is_served: bool
    is_wrong_404: bool
    is_led_to_holder: bool
    latency_s: float
    lateness_s: float


class Requests:
    """Some of the requests of a load."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self._all = tuple(requests)

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._all)

    def between(self, begin_at: float, end_at: float) -> "Requests":
        """Those that were due from `begin_at` on, and not later than `EDGE_S` before `end_at`."""
        return Requests(r for r in self._all if begin_at <= r.due_at < end_at - EDGE_S)

    def of(self, *prefixes: str) -> "Requests":
        """Those for objects of these namespaces."""
        return Requests(r for r in self._all if r.prefix in prefixes)

    def held_by_sick(self, yes: bool) -> "Requests":
        """Those for objects that the hanging origin holds, or the others."""
        return Requests(r for r in self._all if (r.holder == SICK) is yes)

    def quantile_ms(self, share: float) -> float:
        """The latency that this share of them did not exceed (nearest rank); an error counts as a time-out."""
        waits = sorted(r.latency_s if r.is_served or r.is_wrong_404 else CLIENT_TIMEOUT_S for r in self._all)
        return waits[math.ceil(share * len(waits)) - 1] * 1e3 if waits else math.nan

    @property
    def p99_ms(self) -> float:
        return self.quantile_ms(0.99)

    @property
    def wrong_404s(self) -> int:
        return sum(r.is_wrong_404 for r in self._all)

    @property
    def lateness_ms(self) -> float:
        """By how much the generator itself was late, at worst."""
        return max((r.lateness_s for r in self._all), default=0.0) * 1e3

    def share_in_time(self, limit_s: float) -> float:
        """Of all, those that were sent to some server within the limit."""
        return sum(r.is_served and r.latency_s <= limit_s for r in self._all) / len(self._all) if self._all else 0.0

    def share_led_to_holder(self) -> float:
        """Of those that were sent somewhere, those whose first server has the object."""
        served = [r for r in self._all if r.is_served]
        return sum(r.is_led_to_holder for r in served) / len(served) if served else 0.0


def play(
    server: Server,
    origins: Origins,
    sources: Sequence[Source],
    cycle: Cycle,
    *,
    cycles: int,
    warm_up_s: float,
    run: str,
    processors: set[int],
) -> tuple[Requests, list[Event]]:
    """Put the load on the director while origin `SICK` hangs and heals.

    Args:
        server: The director.
        origins: What it asks.
        sources: The load.
        cycle: What happens.
        cycles: How often.
        warm_up_s: Of the load, before the first cycle.
        run: Makes the objects others than those of any other call.
        processors: What the load generator may run on.

    Returns:
        What became of the requests, and when what happened.

    Raises:
        LoadFailedError: The generator failed.
        ServerFailedError: The origins have ended.
    """
    asked = arrivals(sources, lasts_s=warm_up_s + cycles * cycle.lasts_s, run=run)
    order = Order(port=server.port, starts_at=monotonic() + LEAD_S, timeout_s=CLIENT_TIMEOUT_S, arrivals=asked)
    with confined(processors):
        load = Load(order)
    with load:
        events = [
            _happen(origins, order.starts_at + warm_up_s + number * cycle.lasts_s, cycle) for number in range(cycles)
        ]
        outcomes = load.outcomes()
    requests = (
        _judged(order.starts_at + arrival.at_s, arrival.target, outcome, origins.base_urls)
        for arrival, outcome in zip(asked, outcomes, strict=True)
    )
    return Requests(requests), events


def _happen(origins: Origins, began_at: float, cycle: Cycle) -> Event:
    _sleep_until(began_at + cycle.healthy_s)
    hung_at = monotonic()
    origins.hang(SICK)
    try:
        _sleep_until(began_at + cycle.healthy_s + cycle.hang_s)
    finally:
        healed_at = monotonic()
        origins.heal(SICK)
    _sleep_until(began_at + cycle.lasts_s)
    return Event(began_at, hung_at, healed_at, origins.told()[SICK].first_answer_at)


def _sleep_until(instant: float) -> None:
    time.sleep(max(0.0, instant - monotonic()))


def _judged(due_at: float, target: str, outcome: Outcome, base_urls: Sequence[str]) -> Request:
    which = holder(target)
    return Request(
        due_at=due_at,
        prefix=prefix_of(target),
        holder=which,
        is_served=outcome.status == 307,
        is_wrong_404=outcome.status == 404,
        is_led_to_holder=outcome.location.startswith(base_urls[which] + "/"),
        latency_s=outcome.latency_s,
        lateness_s=outcome.lateness_s,
    )
