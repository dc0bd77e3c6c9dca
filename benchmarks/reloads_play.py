"""Rounds of load with and without reloads, and what the workers hold before and after."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.load import process_cpu_s
from benchmarks.reloads_scene import CLIENT_TIMEOUT_S, Scene
from benchmarks.stats_watch import scrape
from director_wsgi.demo.openloop import Load, Outcome
from director_wsgi.demo.scene import ORIGIN_ENDPOINT, Arrival
from director_wsgi.limits.deadline import monotonic
from tests.process.census import thread_names

EVERY = 3
"""After so many new configurations comes one that says the same, and one that is wrong."""

REST_S = 30.0
"""How long what is not needed any more may take to end."""

_HANDLER = "handler"
"""Threads that answer requests: as many as there ever were requests at once, and they stay."""

_ASKER = "director-stat"
"""Threads that ask servers; those that have nothing to do end after a while."""


@dataclass(slots=True)
class Round:
    """One round of load.

    Attributes:
        arrivals: The targets, and when.
        outcomes: What became of them.
        reloads: How many new configurations came into force meanwhile.
        cpu_s: Of all workers.
    """

    arrivals: Sequence[Arrival]
    outcomes: list[Outcome] = field(default_factory=list)
    reloads: int = 0
    cpu_s: float = 0.0

    def quantile_ms(self, share: float) -> float:
        """The latency that this share did not exceed; an answer that is no redirect counts as a time-out."""
        return _quantile(share, (one.latency_s if one.status == 307 else CLIENT_TIMEOUT_S for one in self.outcomes))

    @property
    def lateness_ms(self) -> float:
        """By how much the generator itself was late, p99."""
        return _quantile(0.99, (one.lateness_s for one in self.outcomes))

    @property
    def lost(self) -> int:
        """Clients that were not sent where the object may be."""
        return sum(
            not is_right(arrival.target, outcome) for arrival, outcome in zip(self.arrivals, self.outcomes, strict=True)
        )


def _quantile(share: float, seconds: Iterable[float]) -> float:
    waits = sorted(seconds)
    return waits[min(int(len(waits) * share), len(waits) - 1)] * 1e3


def is_right(target: str, outcome: Outcome) -> bool:
    """Whether a client was sent to some server for the path that it asked for."""
    return outcome.status == 307 and urlsplit(outcome.location).path == target.removeprefix(ORIGIN_ENDPOINT)


def play(scene: Scene, seconds: float, *, most: int = 0) -> Round:
    """Put the load on the director, and meanwhile new configurations in force, one after the other.

    Args:
        scene: The director.
        seconds: How long.
        most: How many new configurations at most.

    Raises:
        LoadFailedError, ServerFailedError: There is nothing to be measured.
    """
    order = scene.order(seconds)
    made = Round(order.arrivals)
    ends_at = order.starts_at + seconds
    with Load(order) as load:
        time.sleep(max(0.0, order.starts_at - monotonic()))
        cpu_s = _cpu_s(scene)
        while made.reloads < most and monotonic() < ends_at:
            scene.change()
            made.reloads += 1
            if scene.changes % EVERY == 0:
                scene.repeat()
                scene.spoil()
        time.sleep(max(0.0, ends_at - monotonic()))
        made.cpu_s = _cpu_s(scene) - cpu_s
        made.outcomes = load.outcomes()
    return made


def _cpu_s(scene: Scene) -> float:
    return sum(map(process_cpu_s, scene.workers))


@dataclass(frozen=True, slots=True)
class Held:
    """What all workers together hold at one moment.

    Attributes:
        threads: But for those that answer requests.
        askers: Of these, those that ask servers.
        files: Open descriptors, but for connections to origins: those are kept by need.
        leases: Live resources, and those about to end.
        builds: Of resources, since the start.
        rss_mb: Resident memory.
    """

    threads: int
    askers: int
    files: int
    leases: float
    builds: float
    rss_mb: float

    def is_within(self, other: "Held") -> bool:
        """Whether there is no more of anything."""
        return self.threads <= other.threads and self.files <= other.files and self.leases <= other.leases


def held(scene: Scene) -> Held:
    """What there is now."""
    names: Counter[str] = Counter()
    for pid in scene.workers:
        names += thread_names(pid, scene.folder)
    told = scrape(scene.server)
    ports = {urlsplit(url).port for url in scene.origins.base_urls}
    return Held(
        threads=names.total() - names[_HANDLER],
        askers=sum(number for name, number in names.items() if name.startswith(_ASKER)),
        files=sum(_files(pid, ports) for pid in scene.workers),
        leases=sum(value for (name, _), value in told.items() if name == "director_wsgi_leases"),
        builds=told["director_wsgi_lease_builds_total", ()],
        rss_mb=scene.server.memory_mb(),
    )


def _files(pid: int, ports: set[int | None]) -> int:
    """Open descriptors of a process but for connections to these ports; `/proc/net/tcp`, proc(5)."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    left_out = {f"socket:[{row[9]}]" for row in rows if int(row[2].rpartition(":")[2], 16) in ports}
    number = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            number += str(descriptor.readlink()) not in left_out
        except FileNotFoundError:
            continue  # closed meanwhile
    return number


def at_rest(scene: Scene, before: Held | None = None) -> Held:
    """What there is when nothing has been asked for a while, or at last no more than before."""
    give_up_at = monotonic() + REST_S
    while True:
        now = held(scene)
        is_at_rest = now.askers == 0 and (before is None or now.is_within(before))
        if is_at_rest or monotonic() > give_up_at:
            return now
        time.sleep(0.5)
