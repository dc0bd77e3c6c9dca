"""What can be seen of the asking: counts of the gates, and how each server is doing."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from director_wsgi.limits.breaker import BreakerSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class StatStatistics:
    """How often each gate answered since the start, once per server and ask, and what there is now.

    Attributes:
        remembered: Answered from memory.
        refreshed: Asked again in the background, before memory ended.
        circuit_open: Not asked since the breaker is open.
        stale: Of these, answered by what was known before.
        probed: Asked in the background to find out whether the server is well again.
        joined: Being asked already.
        asked: HEADs begun.
        no_slot: Doors that were shut until the asker left.
        left: HEADs still under way when their asker left.
        gone: Asks whose client had gone.
        not_asked: Can only be reached through a broker, or the deadline had passed already.
        in_flight: HEADs under way now.
        servers: Servers for which slots and threads are held now.
        thread_limit: HEADs that this worker may have under way now: its share.
    """

    remembered: int = 0
    refreshed: int = 0
    circuit_open: int = 0
    stale: int = 0
    probed: int = 0
    joined: int = 0
    asked: int = 0
    no_slot: int = 0
    left: int = 0
    gone: int = 0
    not_asked: int = 0
    in_flight: int = 0
    servers: int = 0
    thread_limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """How one server is doing.

    Attributes:
        data_url: Which one.
        host: Its `host:port`.
        breaker: State, reason, since when, next probe.
        slots_in_use, slot_limit, waiting: HEADs in flight, how many may be, how many want to be.
        threads: Threads that it has now, busy or not.
        latency_s: Moving average of what its answers took; None if it has not answered yet.
        evidence: Pieces of evidence kept of it.
        results: How often questions to it ended how, and whether from memory: see `stat.results`.
    """

    data_url: str
    host: str
    breaker: BreakerSnapshot
    slots_in_use: int
    slot_limit: int
    waiting: int
    threads: int
    latency_s: float | None
    evidence: int = 0
    results: Mapping[tuple[str, bool], int] = field(default_factory=dict)


_OF_NOW = {"in_flight", "servers", "thread_limit"}

GATES = tuple(field.name for field in dataclasses.fields(StatStatistics) if field.name not in _OF_NOW)
"""Names of what is counted."""
