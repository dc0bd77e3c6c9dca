"""Asking servers: the gates, in their order.

1. Remembered? Then that is the answer; near its end it is asked for again in the background.
2. Breaker closed? An open one costs a look-up, no wait: the answer is what was known before, or nothing. When its
   back-off is over, a probe goes out in the background, for an object that the server had not long ago if one is known.
3. Being asked already? Then that flight is joined.
4. A slot free? All servers are asked before any is waited for.
5. `HEAD`, with an end of its own.

Then there is one wait for all, and only for who holds a permit of the lane: until enough is known, the deadline, or the
client is gone.
"""

import math
import random
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial

from director_wsgi.federation.models import ServerAd
from director_wsgi.limits.breaker import Pass
from director_wsgi.limits.coalesce import Coalescer, Seat
from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.limits.ttl import TTLTable
from director_wsgi.outbound.client import Failure
from director_wsgi.runtime.clients import Watchable
from director_wsgi.runtime.leases import LeaseError, Leases
from director_wsgi.runtime.tracing import attributes as say
from director_wsgi.runtime.tracing.span import OFF, Trace
from director_wsgi.stat import telling
from director_wsgi.stat.asking import Inbox, Terms, WaitingLanes, is_there, wait_for_answers
from director_wsgi.stat.evidence import PUBLIC, Evidence, Presence, Reason, Recalled
from director_wsgi.stat.flight import CIRCUIT_OPEN, FlightKey, HeadFlight, Known, Question, Shared
from director_wsgi.stat.head import REASON_OF, Client
from director_wsgi.stat.health import ServerHealth, says_nothing, sickness
from director_wsgi.stat.patience import Patience
from director_wsgi.stat.policy import StatPolicy
from director_wsgi.stat.report import GATES, ServerState, StatStatistics
from director_wsgi.stat.roster import Roster

__all__ = ["Patience", "ServerState", "StatEngine", "StatPolicy", "StatStatistics"]

WRITES_REMEMBERED = 10_000
"""Paths whose absence is not believed for a moment; the oldest makes room."""

MAX_FLIGHTS = 10_000
"""HEADs that may be shared at once; one more is made, but not shared."""

_NOT_ASKED = Evidence.unknown(Reason.NOT_ASKED)
_NO_SLOT = Evidence.unknown(Reason.NO_SLOT)
_TIMED_OUT = Evidence.unknown(Reason.TIMED_OUT)
_CLOSED = Evidence.unknown(Reason.CLOSED)


class StatEngine:
    """Asks servers whether they have an object, and remembers what they said. Any number of threads at once.

    It promises to every asker that its wait ends at its deadline, whatever servers do; to every server, never more
    HEADs at once than it has slots, from all workers together (`share`); to every client, that what was learned with
    its token is told to nobody else.

    Args:
        policy: What the operator decided.
        build_client: Makes the client of one server, given how many connections it may keep.
        leases: Owner of slots, threads and connections; whoever made it closes it, after this.
        generator: Randomness for jitter.
        clock: Monotonic seconds.

    Attributes:
        lanes: The right of a handler thread to wait.
    """

    # _lock guards _counts; nothing is called under it.

    def __init__(
        self,
        *,
        policy: StatPolicy,
        build_client: Callable[[int], Client],
        leases: Leases,
        generator: random.Random | None = None,
        clock: Clock = monotonic,
    ) -> None:
        self.lanes = WaitingLanes(policy.lanes)
        self._timeout_s = policy.timeout_s
        self._disbelief_s = policy.disbelief_s
        self._settled_at = -math.inf  # when the answers of earlier policies are forgotten
        self._clock = clock
        self._roster = Roster(
            policy=policy,
            build_client=build_client,
            leases=leases,
            generator=generator or random.Random(),
            clock=clock,
        )
        self._flights: Coalescer[FlightKey, Evidence] = Coalescer(MAX_FLIGHTS)
        self._written: TTLTable[str, object] = TTLTable(WRITES_REMEMBERED, clock)
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(GATES, 0)

    def ask(
        self,
        servers: tuple[ServerAd, ...],
        path: str,
        *,
        bearer: str | None,
        authority: str,
        deadline: Deadline,
        namespace: str = "",
        patience: Patience = Patience.BEST,
        client: Watchable | None = None,
        trace: Trace = OFF,
    ) -> tuple[Evidence, ...]:
        """Ask each server whether it has the object.

        Args:
            servers: Whom to ask; none twice, may be empty.
            path: Absolute object path, decoded.
            bearer: Token to ask with; None to ask as the public.
            authority: Under whose name answers are kept and recalled; the same for nobody but the holders of one
                token.
            deadline: When to stop waiting. If it has passed already, only what is remembered answers.
            namespace: Whom the wait is charged to, so that no namespace takes the whole lane.
            patience: How much has to be known before the answer may go out.
            client: By which the client's going is noticed; None if that can't be told.
            trace: Of the request. A part of it is begun if memory does not answer for all.

        Returns:
            `results[i]` is what is known of the object at `servers[i]`. Who has not answered is UNKNOWN: TIMED_OUT
            if it is still being asked, NO_SLOT if it was too busy to be asked, CIRCUIT_OPEN if it is not asked for
            now, NOT_ASKED if it was not to be asked. Nothing a server does raises.
        """
        question = Question(path=path, bearer=bearer, authority=authority, after=self._written.get(path), trace=trace)
        remembered = self._remembered(servers, question)
        answers = self._use(remembered, servers, question)
        if not _is_enough(answers.values(), servers, patience) and not deadline.has_passed():
            with trace.child("stat") as span:
                asked = replace(question, trace=span) if span.is_recorded else question
                self._ask_others(servers, answers, asked, Terms(deadline, namespace, patience, client))
        return self._in_order(servers, answers)

    def recall(
        self,
        servers: tuple[ServerAd, ...],
        path: str,
        *,
        bearer: str | None,
        authority: str,
        patience: Patience = Patience.BEST,
        trace: Trace = OFF,
    ) -> tuple[Evidence, ...] | None:
        """What `ask` would say at once, for whoever may not wait.

        Never waits, and asks nobody on behalf of the caller; what is near its end is asked for again in the
        background. For the arguments see `ask`.

        Returns:
            As `ask`; None if memory does not know enough. Then nothing has been counted, begun or told.
        """
        question = Question(path=path, bearer=bearer, authority=authority, after=self._written.get(path), trace=trace)
        remembered = self._remembered(servers, question)
        if not _is_enough((recalled.evidence for _, recalled in remembered.values()), servers, patience):
            return None
        return self._in_order(servers, self._use(remembered, servers, question))

    def _in_order(self, servers: tuple[ServerAd, ...], answers: dict[int, Evidence]) -> tuple[Evidence, ...]:
        self._count(not_asked=len(servers) - len(answers))
        return tuple([answers.get(index, _NOT_ASKED) for index in range(len(servers))])

    def forget_absence(self, path: str) -> None:
        """A write of `path` has been let through: that it is absent is not believed any more without asking.

        Holds for all servers and all authorities, and for every HEAD that is under way, since an answer from before
        the write may arrive after it: for as long as such an answer could be remembered. Whoever asks from now on
        does not join such a HEAD either.
        """
        self._written.put(path, object(), max(self._disbelief_s, self._settled_at - self._clock()))

    def heard_from(self, data_url: str) -> None:
        """The server has advertised itself, or passed a test: if it is not being asked for now, that is worth a try."""
        known = self._roster.get(data_url)
        if known is not None:
            known.health.breaker.hint_alive()

    def failed_test(self, data_url: str, failure: Failure) -> None:
        """The server gave no answer to a director test: to the breaker that is as much as one HEAD without an answer.

        Of a server that has never been asked nothing is kept. An answer to a test, whatever its status, is no reason to
        call this: it may refuse the test, and serve its clients well.

        Args:
            data_url: Of the server.
            failure: Why there was no answer.
        """
        known = self._roster.get(data_url)
        evidence = Evidence.unknown(REASON_OF[failure])
        what = sickness(evidence)
        if known is not None and what is not None and not says_nothing(evidence):
            known.health.breaker.hint_sick(what)

    def adopt(self, policy: StatPolicy) -> None:
        """Go by another policy from now on, in all but `lanes`, which is for good.

        What was learned stays: breakers keep their states, servers the number of slots that was found out to be right,
        as far as it is within the new bounds, and evidence its lifetime. HEADs under way end by their own timeout. If
        slots or threads become fewer, none under way is cut short, and none begins until enough have ended; if more,
        who waits for a slot gets one at once.

        The same policy again changes nothing and costs nothing. Any number of threads may ask meanwhile; for one thread
        at a time, besides that of `share`. Does not wait, and raises nothing.
        """
        before_s, self._disbelief_s = self._disbelief_s, max(self._disbelief_s, policy.disbelief_s)
        self._timeout_s = policy.timeout_s
        self._roster.adopt(policy)
        if before_s > policy.disbelief_s:
            self._settled_at = max(self._settled_at, self._clock() + before_s)
        self._disbelief_s = policy.disbelief_s

    def share(self, workers: int) -> None:
        """Be one of so many workers that ask the same servers: what the operator allows is meant for all together.

        More workers: HEADs under way are not cut short, and none begins until this worker is within its share. Fewer:
        who waits for a slot gets one of the new ones at once. Before the first call it is the only one. The same
        number again changes nothing and costs nothing. For one thread at a time.

        Args:
            workers: How many, at least 1.

        Raises:
            ValueError: There is none.
        """
        self._roster.share(workers)

    def retain(self, data_urls: Collection[str]) -> None:
        """Give back what belongs to servers other than these, and threads that have nothing to do. Does not wait."""
        self._roster.retain(data_urls)

    def close(self) -> None:
        """Ask nobody any more, and give everything back. Does not wait: `Leases.close` does."""
        self._roster.close()

    def statistics(self) -> StatStatistics:
        """The counts and states of this moment."""
        with self._lock:
            counts = dict(self._counts)
        states = self._roster.states()
        return StatStatistics(
            **counts,
            in_flight=sum(state.slots_in_use for state in states),
            servers=len(states),
            thread_limit=self._roster.thread_limit,
        )

    def servers(self) -> tuple[ServerState, ...]:
        """How every server that has been asked is doing."""
        return self._roster.states()

    def health_of(self, data_url: str) -> ServerHealth | None:
        """Breaker and latency of one server; None if it has not been asked yet."""
        known = self._roster.get(data_url)
        return None if known is None else known.health

    # -- first gate

    def _remembered(self, servers: tuple[ServerAd, ...], question: Question) -> dict[int, tuple[Known, Recalled]]:
        """Who is known to have said what, by the server's index. Touches nothing."""
        may_have_come = question.after is not None
        remembered: dict[int, tuple[Known, Recalled]] = {}
        for index, known in enumerate(self._roster.get_all(servers)):
            if known is None:
                continue
            recalled = known.evidence.recall(question.path, question.authority)
            if recalled is None or (may_have_come and recalled.evidence.presence is Presence.ABSENT):
                continue
            remembered[index] = known, recalled
        return remembered

    def _use(
        self, remembered: dict[int, tuple[Known, Recalled]], servers: tuple[ServerAd, ...], question: Question
    ) -> dict[int, Evidence]:
        """What is remembered, by the server's index: it is counted, told, and asked for again if it is time."""
        for index, (known, recalled) in remembered.items():
            known.results.count(recalled.evidence, is_cached=True)
            if recalled.is_due:
                self._refresh(known, servers[index], question)
        self._count(remembered=len(remembered))
        if remembered:
            question.trace.set(say.REMEMBERED, len(remembered))
        return {index: recalled.evidence for index, (_, recalled) in remembered.items()}

    def _refresh(self, known: Known, server: ServerAd, question: Question) -> None:
        """Ask again before memory ends; detached from the request that noticed."""
        pass_ = known.health.breaker.admit()
        if pass_ is not None:
            head = self._flight(known, server, question, pass_, detached="refresh", refreshed=1)
            self._detach(head, server, question, head.launch_nowait)

    # -- the other gates

    def _ask_others(
        self,
        servers: tuple[ServerAd, ...],
        answers: dict[int, Evidence],
        question: Question,
        terms: Terms,
    ) -> None:
        """Ask those without an answer, and put into `answers` what they say."""
        inbox = Inbox()
        seats: dict[int, Seat[Evidence]] = {}
        led: dict[int, HeadFlight] = {}
        began_at = self._clock()
        usual: list[float | None] = []
        is_gone = False
        try:
            for index, server in enumerate(servers):
                if index in answers or server.broker_url:
                    continue
                try:
                    known = self._roster.meet(server, terms.deadline)
                except LeaseError:
                    answers[index] = _CLOSED
                    continue
                pass_ = known.health.breaker.admit()
                if pass_ is None or pass_.is_probe:
                    if pass_ is not None:
                        self._probe(known, server, question, pass_)
                    answers[index] = self._without_asking(known, question)
                    continue
                usual.append(known.health.latency_s)
                head = self._flight(known, server, question, pass_)
                seats[index] = self._flights.join(_key(server, question), partial(inbox.put, index), head.launch)
                if seats[index].is_leader:
                    led[index] = head
                else:
                    known.health.breaker.undecided(pass_)
                    self._count(joined=1)
                    telling.joined(question.trace, server)
            is_gone = wait_for_answers(
                inbox,
                answers,
                pending=set(seats),
                began_at=began_at,
                usual_s=_slowest(usual),
                terms=terms,
                lanes=self.lanes,
                clock=self._clock,
            )
        finally:
            # Before the seats are left: a flight that nobody wants any more is dropped at the door.
            no_slot = [index for index, head in led.items() if index not in answers and head.is_waiting]
            for seat in seats.values():
                seat.leave(gone=is_gone)
        left = [index for index in seats if index not in answers and index not in no_slot]
        answers.update(dict.fromkeys(no_slot, _NO_SLOT) | dict.fromkeys(left, _TIMED_OUT))
        self._count(no_slot=len(no_slot), left=len(left), gone=int(is_gone))
        telling.gates(
            question.trace,
            answers.values(),
            asked=len(led),
            joined=len(seats) - len(led),
            no_slot=len(no_slot),
            left=len(left),
            is_gone=is_gone,
        )

    def _without_asking(self, known: Known, question: Question) -> Evidence:
        """What is said of a server that is not asked since its breaker is open."""
        stale = known.evidence.recall_stale(question.path, question.authority)
        self._count(circuit_open=1, stale=int(stale is not None))
        return stale or CIRCUIT_OPEN

    def _probe(self, known: Known, server: ServerAd, question: Question, pass_: Pass) -> None:
        """Find out whether the server is well again; detached, so that nobody's request waits for a sick server."""
        public_path = known.evidence.public_path
        if public_path is not None:
            question = Question(path=public_path, bearer=None, authority=PUBLIC, trace=question.trace)
        head = self._flight(known, server, question, pass_, detached="probe", probed=1)
        self._detach(head, server, question, head.launch)

    def _detach(
        self, head: HeadFlight, server: ServerAd, question: Question, launch: Callable[[Shared], object]
    ) -> None:
        is_launched = False
        try:
            is_launched = self._flights.launch_detached(_key(server, question), launch)
        finally:
            if not is_launched:
                head.give_up()

    def _flight(
        self, known: Known, server: ServerAd, question: Question, pass_: Pass, *, detached: str = "", **also_counts: int
    ) -> HeadFlight:
        return HeadFlight(
            known,
            server,
            question,
            pass_,
            timeout_s=self._timeout_s,
            clock=self._clock,
            count=partial(self._count, asked=1, **also_counts),
            detached=detached,
        )

    def _count(self, **gates: int) -> None:
        with self._lock:
            for gate, times in gates.items():
                self._counts[gate] += times


def _is_enough(answers: Iterable[Evidence], servers: tuple[ServerAd, ...], patience: Patience) -> bool:
    """Whether these answers of some of the servers will do."""
    answers = tuple(answers)
    return len(answers) == len(servers) or (patience is Patience.FIRST and any(map(is_there, answers)))


def _slowest(usual: list[float | None]) -> float | None:
    """The longest of what answers take usually; None if one of them is not known."""
    known = [latency_s for latency_s in usual if latency_s is not None]
    return max(known, default=0.0) if len(known) == len(usual) else None


def _key(server: ServerAd, question: Question) -> FlightKey:
    return server.data_url, question.path, question.authority, question.after
