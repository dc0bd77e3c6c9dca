"""Every server that has been asked, and what belongs to it."""

import random
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import urlsplit

from director_wsgi.federation.models import ServerAd
from director_wsgi.limits.adaptive import AdaptiveLimit
from director_wsgi.limits.breaker import Breaker
from director_wsgi.limits.deadline import Clock, Deadline
from director_wsgi.runtime.leases import Lease, LeaseError, Leases
from director_wsgi.stat.evidence import EvidenceTable
from director_wsgi.stat.flight import Known
from director_wsgi.stat.head import Client
from director_wsgi.stat.health import ServerHealth
from director_wsgi.stat.policy import StatPolicy, share_of
from director_wsgi.stat.report import ServerState
from director_wsgi.stat.server import Bulkhead, Threads

LEAST_SLOTS = 4
"""What a server is given at once by a worker, if that is not beyond its share, however sick it was: with fewer, a
relapse would take long to be noticed, and each worker notices by itself."""

INITIAL_SLOTS = 16
"""What a server that has not been asked before is given at once, by all workers, if its concurrency adapts."""


Fit = Callable[[AdaptiveLimit, int, int], None]
"""How a limit takes new bounds, the least and the most."""


@dataclass(frozen=True, slots=True)
class _Held:
    """What is held of one server."""

    known: Known
    lease: Lease[Bulkhead]


@dataclass(frozen=True, slots=True, eq=False)
class _Terms:
    """What holds now of all servers; replaced as a whole."""

    policy: StatPolicy
    workers: int

    @property
    def threads(self) -> int:
        """How many threads this worker may have."""
        return share_of(self.policy.threads, self.workers)

    @property
    def bounds(self) -> tuple[int, int]:
        """Between how many slots this worker gives to one server."""
        most = share_of(self.policy.slots, self.workers)
        return min(LEAST_SLOTS, most) if self.policy.adapts else most, most

    @property
    def initial(self) -> int:
        """How many slots it gives to a server that has not been asked before."""
        least, most = self.bounds
        return min(max(least, share_of(INITIAL_SLOTS, self.workers)), most)


class Roster:
    """The servers. Any number of threads at once.

    Slots, threads and connections are leased; what a server has said and how well it answers belongs to it as long as
    it is advertised. Of slots and threads this is given the share of one worker. That may change at any time, and so
    may the policy.

    Args:
        policy: What the operator decided.
        build_client: Makes the client of one server, given how many connections it may keep.
        leases: Owner of slots, threads and connections.
        generator: Randomness for jitter.
        clock: Monotonic seconds.
    """

    # _lock guards _held, _terms and _is_closed; nothing is called under it. _terms is read without it: whoever has done
    # something by terms that were replaced meanwhile does it again, by those of now.

    def __init__(
        self,
        *,
        policy: StatPolicy,
        build_client: Callable[[int], Client],
        leases: Leases,
        generator: random.Random,
        clock: Clock,
    ) -> None:
        self._terms = _Terms(policy, workers=1)
        self._build_client = build_client
        self._leases = leases
        self._generator = generator
        self._clock = clock
        # Each server may have as many as are free: one that hangs ends at half of them, n of them leave 1 of n + 1.
        self._threads = Threads(policy.threads, self._bulkheads)
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._is_closed = False

    def get(self, data_url: str) -> Known | None:
        """What is held of a server; None if it has not been asked yet."""
        with self._lock:
            held = self._held.get(data_url)
        return None if held is None else held.known

    def get_all(self, servers: tuple[ServerAd, ...]) -> list[Known | None]:
        """The same for several, in their order."""
        with self._lock:
            held = [self._held.get(server.data_url) for server in servers]
        return [None if one is None else one.known for one in held]

    def meet(self, server: ServerAd, deadline: Deadline) -> Known:
        """What is held of a server; made if it has not been asked before.

        Raises:
            LeaseError: The roster is closed, or another thread was still building it at the deadline.
        """
        known = self.get(server.data_url)
        if known is not None:
            return known
        lease = self._leases.acquire(
            ("stat", server.data_url),
            partial(self._build, server),
            Bulkhead.close,
            deadline=deadline,
        )
        made = _Held(self._introduce(lease.value), lease)
        with self._lock:
            # Another thread may have been faster, or `close`.
            held = None if self._is_closed else self._held.setdefault(server.data_url, made)
        if held is not made:
            lease.release()
        if held is None:
            raise LeaseError("closed")
        if held is made:
            self._fit(held.known, AdaptiveLimit.rescale)  # the terms may have changed since it was built
        return held.known

    def share(self, workers: int) -> None:
        """Be one of so many; see `StatEngine.share`. For one thread at a time."""
        if workers < 1:
            raise ValueError("there is at least one worker")
        with self._lock:
            if workers == self._terms.workers:
                return
            self._terms = replace(self._terms, workers=workers)
        self._fit_all(AdaptiveLimit.rescale)

    def adopt(self, policy: StatPolicy) -> None:
        """Go by another policy; see `StatEngine.adopt`. For one thread at a time."""
        with self._lock:
            if policy == self._terms.policy:
                return
            self._terms = replace(self._terms, policy=policy)
        self._fit_all(AdaptiveLimit.bound)

    @property
    def thread_limit(self) -> int:
        """How many threads there may be now."""
        return self._threads.statistics().permits

    def retain(self, data_urls: Collection[str]) -> None:
        """Give back what belongs to servers other than these, and threads that have nothing to do. Does not wait."""
        kept = frozenset(data_urls)
        with self._lock:
            gone = [self._held.pop(data_url) for data_url in self._held.keys() - kept]
            stay = tuple(self._held.values())
        for held in gone:
            held.lease.release()
        for held in stay:
            held.known.bulkhead.trim()

    def close(self) -> None:
        """Meet nobody any more, and give everything back. Does not wait: `Leases.close` does."""
        with self._lock:
            self._is_closed = True
        self.retain(())

    def states(self) -> tuple[ServerState, ...]:
        """How every server is doing."""
        with self._lock:
            held = tuple(self._held.items())
        return tuple(state_of(data_url, one.known) for data_url, one in held)

    def _bulkheads(self) -> list[Bulkhead]:
        with self._lock:
            return [held.known.bulkhead for held in self._held.values()]

    def _introduce(self, bulkhead: Bulkhead) -> Known:
        terms, clock = self._terms, self._clock
        policy = terms.policy
        least, most = terms.bounds
        limit = AdaptiveLimit(least=least, initial=bulkhead.slots.limit, most=most, clock=clock)
        breaker = Breaker(policy.breaker, clock, random.Random(self._generator.random()))
        evidence = EvidenceTable(
            capacity=policy.capacity,
            lifetimes=policy.lifetimes,
            generator=random.Random(self._generator.random()),
            clock=clock,
        )
        return Known(bulkhead, ServerHealth(breaker, limit), evidence)

    def _build(self, server: ServerAd) -> Bulkhead:
        terms = self._terms
        slots = terms.policy.slots
        bulkhead = Bulkhead(
            _host(server.base_url),
            slots=slots,
            client=self._build_client(slots),
            threads=self._threads,
            clock=self._clock,
        )
        bulkhead.slots.resize(terms.initial)
        return bulkhead

    def _fit_all(self, fit: Fit) -> None:
        """Treat all servers by the terms of now; those that are met in this moment are treated by who meets them."""
        terms = None
        while terms is not self._terms:
            terms = self._terms
            self._threads.resize(terms.threads)
        with self._lock:
            held = tuple(self._held.values())
        for one in held:
            self._fit(one.known, fit)

    def _fit(self, known: Known, fit: Fit) -> None:
        """Treat a server by the terms of now, also if they change meanwhile."""
        terms = None
        while terms is not self._terms:
            terms = self._terms
            known.bulkhead.adopt(terms.policy.slots)
            fit(known.health.limit, *terms.bounds)
            known.heed_limit()
            known.health.breaker.adopt(terms.policy.breaker)
            known.evidence.adopt(terms.policy.lifetimes, terms.policy.capacity)


def state_of(data_url: str, known: Known) -> ServerState:
    """How one server is doing."""
    slots = known.bulkhead.slots
    return ServerState(
        data_url=data_url,
        host=_host(data_url),
        breaker=known.health.breaker.snapshot(),
        slots_in_use=known.bulkhead.in_flight,
        slot_limit=known.health.limit.limit,
        waiting=slots.waiting,
        threads=known.bulkhead.threads,
        latency_s=known.health.latency_s,
        evidence=len(known.evidence),
        results=known.results.counts(),
    )


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
