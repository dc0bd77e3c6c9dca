"""Asking servers: the gates, in their order.

1. Remembered? Evidence that still holds answers, and nobody is asked.
2. A slot free? First at every server, without waiting; then places are taken at all doors still shut (`asking`).
3. HEAD, on the server's own threads, with an end of its own. An asker leaves at its deadline; the HEAD goes on, and
   what it finds is evidence for the next one.
"""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

from director_wsgi.federation.models import ServerAd
from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.limits.ttl import TTLTable
from director_wsgi.outbound.client import Cancellation
from director_wsgi.runtime.leases import Lease, LeaseError, Leases
from director_wsgi.stat.asking import LEFT, NO_SLOT, Errand, ask_all
from director_wsgi.stat.evidence import Evidence, EvidenceTable, Lifetimes, Presence, Reason
from director_wsgi.stat.head import Client, head
from director_wsgi.stat.server import Bulkhead, Tell

WRITES_REMEMBERED = 10_000
"""Paths of which it is remembered that they were written; beyond that the oldest are forgotten early."""

_NOT_ASKED = Evidence.unknown(Reason.NOT_ASKED)
_CLOSED = Evidence.unknown(Reason.CLOSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatPolicy:
    """What the operator decides about asking servers.

    Attributes:
        timeout_s: Longest life of one HEAD by the clock on the wall, from slot to answer.
        slots: Most HEADs in flight to one server.
        lifetimes: How long evidence holds.
        capacity: Most pieces of evidence kept of one server.
    """

    timeout_s: float = 2.0
    slots: int = 100
    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    capacity: int = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class StatStatistics:
    """How often each gate answered since the start, once per server and ask, and what there is now.

    Attributes:
        remembered: Answered from memory.
        not_asked: Can only be reached through a broker, or the deadline had passed already.
        asked: HEADs begun.
        no_slot: Doors that were shut until the deadline.
        left: HEADs still under way when their asker left.
        in_flight: HEADs under way now.
        servers: Servers for which slots and threads are held now.
    """

    remembered: int
    not_asked: int
    asked: int
    no_slot: int
    left: int
    in_flight: int
    servers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What one ask wants to know, and as whom."""

    path: str
    bearer: str | None = field(repr=False)
    authority: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Known:
    """One server: what it has said, and how it is asked."""

    evidence: EvidenceTable
    lease: Lease[Bulkhead]


class StatEngine:
    """Asks servers whether they have an object, and remembers what they said. Any number of threads at once.

    It promises to every asker that its wait ends at its deadline, whatever servers do; to every server, never more
    HEADs at once than it has slots; to every client, that what was learned with its token is told to nobody else.

    Args:
        policy: What the operator decided.
        build_client: Makes the client of one server, given how many connections it may keep.
        leases: Owner of slots, threads and connections; whoever made it closes it, after this.
        clock: Monotonic seconds.
    """

    # _lock guards _known, _counts and _is_closed; nothing is called under it.

    def __init__(
        self,
        *,
        policy: StatPolicy,
        build_client: Callable[[int], Client],
        leases: Leases,
        clock: Clock = monotonic,
    ) -> None:
        self._policy = policy
        self._build_client = build_client
        self._leases = leases
        self._clock = clock
        self._written: TTLTable[str, bool] = TTLTable(WRITES_REMEMBERED, clock)
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._counts = {"remembered": 0, "not_asked": 0, "asked": 0, "no_slot": 0, "left": 0}
        self._is_closed = False

    def ask(
        self, servers: tuple[ServerAd, ...], path: str, *, bearer: str | None, authority: str, deadline: Deadline
    ) -> tuple[Evidence, ...]:
        """Ask each server whether it has the object.

        Args:
            servers: Whom to ask; none twice, may be empty.
            path: Absolute object path, decoded.
            bearer: Token to ask with; None to ask as the public.
            authority: Under whose name answers are kept and recalled; the same for nobody but the holders of one
                token.
            deadline: When to stop waiting. If it has passed already, only what is remembered answers.

        Returns:
            `results[i]` is what is known of the object at `servers[i]`. Who has not answered is UNKNOWN: TIMED_OUT
            if it is still being asked, NO_SLOT if it was too busy to be asked, NOT_ASKED if it was not to be asked.
            Nothing a server does raises.
        """
        question = _Question(path=path, bearer=bearer, authority=authority)
        answers = self._recall(servers, question)
        self._count(remembered=len(answers))
        if len(answers) < len(servers) and not deadline.has_passed():
            answers |= self._ask_others(servers, answers, question, deadline)
        self._count(not_asked=len(servers) - len(answers))
        return tuple(answers.get(index, _NOT_ASKED) for index in range(len(servers)))

    def forget_absence(self, path: str) -> None:
        """A write of `path` has been let through: that it is absent is not believed any more without asking.

        Holds for all servers and all authorities, and for every HEAD that is under way, since an answer from before
        the write may arrive after it: for as long as such an answer could be remembered.
        """
        self._written.put(path, True, self._policy.lifetimes.absence_s + self._policy.timeout_s)

    def retain(self, data_urls: Collection[str]) -> None:
        """Give back what belongs to servers other than these. Does not wait."""
        kept = frozenset(data_urls)
        with self._lock:
            gone = [self._known.pop(data_url) for data_url in self._known.keys() - kept]
        for known in gone:
            known.lease.release()

    def close(self) -> None:
        """Ask nobody any more, and give everything back. Does not wait: `Leases.close` does."""
        with self._lock:
            self._is_closed = True
        self.retain(())

    def statistics(self) -> StatStatistics:
        """The counts and states of this moment."""
        with self._lock:
            counts = dict(self._counts)
            bulkheads = [known.lease.value for known in self._known.values()]
        return StatStatistics(
            **counts, in_flight=sum(bulkhead.in_flight for bulkhead in bulkheads), servers=len(bulkheads)
        )

    # -- first gate

    def _recall(self, servers: tuple[ServerAd, ...], question: _Question) -> dict[int, Evidence]:
        """What is remembered, by the server's index."""
        with self._lock:
            known = [self._known.get(server.data_url) for server in servers]
        may_have_come = question.path in self._written
        answers = {}
        for index, one in enumerate(known):
            answer = one.evidence.recall(question.path, question.authority) if one is not None else None
            if answer is not None and not (may_have_come and answer.presence is Presence.ABSENT):
                answers[index] = answer
        return answers

    # -- second and third gate

    def _ask_others(
        self, servers: tuple[ServerAd, ...], answers: dict[int, Evidence], question: _Question, deadline: Deadline
    ) -> dict[int, Evidence]:
        """Ask those without an answer, by their index; those that can't be asked are missing in what is returned."""
        closed: dict[int, Evidence] = {}
        errands: dict[int, Errand] = {}
        for index, server in enumerate(servers):
            if index in answers or server.broker_url:
                continue
            try:
                known = self._know(server, deadline)
            except LeaseError:
                closed[index] = _CLOSED
                continue
            errands[index] = Errand(known.lease.value.slots, partial(self._start, known, server, question))
        told = ask_all(errands, deadline)
        self._count(
            no_slot=sum(answer is NO_SLOT for answer in told.values()),
            left=sum(answer is LEFT for answer in told.values()),
        )
        return closed | told

    def _know(self, server: ServerAd, deadline: Deadline) -> _Known:
        """The server's memory, slots and threads; made if it has not been asked before.

        Raises:
            LeaseError: This engine is closed, or another asker was still building it at the deadline.
        """
        with self._lock:
            known = self._known.get(server.data_url)
        if known is not None:
            return known
        lease = self._leases.acquire(
            ("stat", server.data_url, self._policy.slots, self._build_client),
            partial(self._build, server),
            Bulkhead.close,
            deadline=deadline,
        )
        evidence = EvidenceTable(capacity=self._policy.capacity, lifetimes=self._policy.lifetimes, clock=self._clock)
        made = _Known(evidence, lease)
        with self._lock:
            # Another asker may have been faster, or `close`.
            known = None if self._is_closed else self._known.setdefault(server.data_url, made)
        if known is not made:
            lease.release()
        if known is None:
            raise LeaseError("closed")
        return known

    def _build(self, server: ServerAd) -> Bulkhead:
        host = urlsplit(server.base_url).netloc.rpartition("@")[2]
        return Bulkhead(host, slots=self._policy.slots, client=self._build_client(self._policy.slots))

    def _start(self, known: _Known, server: ServerAd, question: _Question, tell: Tell) -> None:
        self._count(asked=1)
        end = Deadline.after(self._policy.timeout_s, self._clock)

        def ask(client: Client, cancellation: Cancellation) -> Evidence:
            """Runs on a thread of the server; the answer is remembered whether or not anybody still waits for it."""
            answer = head(
                client,
                server.base_url,
                question.path,
                bearer=question.bearer,
                deadline=end,
                cancellation=cancellation,
            )
            known.evidence.remember(question.path, question.authority, answer)
            return answer

        known.lease.value.start(ask, tell)

    def _count(self, **gates: int) -> None:
        with self._lock:
            for gate, times in gates.items():
                self._counts[gate] += times
