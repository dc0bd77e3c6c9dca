"""An engine, the servers it asks, and a clock that moves only when told to."""

import random
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from director_wsgi.limits.breaker import BreakerSettings, State
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Failure, OutboundError
from director_wsgi.runtime.leases import Leases
from director_wsgi.stat.engine import StatEngine, StatPolicy
from director_wsgi.stat.evidence import Evidence, Lifetimes, Presence, Reason
from tests.fakes import FakeClock
from tests.unit.stat.fakes import (
    LONG_S,
    Call,
    Servers,
    eventually,
    server_ad,
)

A, B, C = server_ad("a"), server_ad("b"), server_ad("c")
GONE = Evidence(presence=Presence.ABSENT, status=404)
LEFT = Evidence.unknown(Reason.TIMED_OUT)
CIRCUIT_OPEN = Evidence.unknown(Reason.CIRCUIT_OPEN)
REFUSED = OutboundError(Failure.REFUSED)
TIMEOUT_S = 2.0
POLICY = StatPolicy(
    timeout_s=TIMEOUT_S,
    slots=2,
    adapts=False,
    lifetimes=Lifetimes(presence_s=60, absence_s=10, failure_s=1, stale_s=600),
)
TRIPS = 3
TOUCHY = replace(
    POLICY,
    slots=4,
    breaker=BreakerSettings(minimum_volume=TRIPS, window_s=1000, jitter=0, first_backoff_s=1, backoff_cap_s=4),
)
"""A breaker that opens at the third failure, for exactly a second at first."""

DUE_S = 50.0
"""After the first 0.8 and before the last 0.1 of a presence's life, however chance shortens it."""

OVER_S = 61.0


def found(length: int = 7) -> Evidence:
    return Evidence(presence=Presence.PRESENT, status=200, length_bytes=length)


class World:
    """An engine, the servers it asks, a clock, and the books."""

    def __init__(self, policy: StatPolicy = POLICY) -> None:
        self.clock = FakeClock()
        self.servers = Servers()
        self.leases = Leases()
        self.engine = StatEngine(
            policy=policy,
            build_client=self.servers.client,
            leases=self.leases,
            generator=random.Random(1),
            clock=self.clock,
        )
        self.pool = ThreadPoolExecutor(8)

    def ask(self, *servers, path="/x", bearer=None, authority="public", deadline=None, **about):
        return self.engine.ask(
            servers, path, bearer=bearer, authority=authority, deadline=deadline or Deadline.after(LONG_S), **about
        )

    def begin(self, *servers, **about) -> Future:
        """Ask on another thread."""
        return self.pool.submit(self.ask, *servers, **about)

    def asked(self, *servers, **about) -> tuple[Future, list[Call]]:
        """Ask on another thread, and wait until the HEADs have arrived."""
        before = len(self.servers.calls)
        asking = self.begin(*servers, **about)
        return asking, self.servers.wait_for(before + len(servers))[before:]

    def until(self, **counts: int) -> None:
        """Wait until the statistics say so."""
        assert eventually(
            lambda: all(getattr(self.engine.statistics(), gate) == count for gate, count in counts.items())
        ), self.engine.statistics()

    def slots(self, server):
        return self.engine._roster.get(server.data_url).bulkhead.slots

    def state(self, server):
        [state] = [state for state in self.engine.servers() if state.data_url == server.data_url]
        return state

    def breaker(self, server):
        return self.engine.health_of(server.data_url).breaker.snapshot()

    def trip(self, server, told=REFUSED) -> None:
        """Let it fail until its breaker opens."""
        self.servers.answers[server.name] = told
        for number in range(TRIPS):
            self.ask(server, path=f"/trip/{number}")
            if self.breaker(server).state is State.OPEN:
                return
        pytest.fail("still closed")

    def close(self) -> None:
        self.engine.close()
        assert self.leases.close(Deadline.after(LONG_S))
        self.pool.shutdown()


def at_once() -> Deadline:
    """A deadline that has not passed for those who look, and passes while they wait: 1 ms of real time."""
    return Deadline.after(0.001, FakeClock())
