"""What the workers of a host tell each other, through the store they share.

Whoever learns something publishes it: from then on a thread of its own does the rest, so that no request waits for a
store, unless it wants to, and then not for long. The same thread follows what others have published, and hands it to
whoever follows its kind. It also says that this worker is alive, counts the others, and contends for the leases under
which one worker does a thing for all.
"""

import logging
import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from director_wsgi.federation.duties import Duties
from director_wsgi.federation.outbox import TAKEN_BACK, Key, Outbox, lasting
from director_wsgi.federation.store.errors import StoreError
from director_wsgi.federation.store.records import Changes, Record, Renewal, Store
from director_wsgi.limits.deadline import Clock, Deadline, WallClock, monotonic, wall

log = logging.getLogger(__name__)

HOST: Final = "host"
"""The lease under which one worker does what is done once for all workers of a host."""

POLL_S: Final = 0.02
"""How often others' changes are looked for, and so about how late they come."""

ALONE_S: Final = 0.1
"""The same while there is no other worker: each look costs a fifth of a millisecond of a processor that sleeps."""

BEAT_S: Final = 1.0
"""How often this worker says that it is alive, and renews its leases."""

ALIVE_S: Final = 3.0
"""So long after its last word a worker counts as dead."""

FORGET_EVERY_S: Final = 60.0
"""How often what has ended is given up."""

WARN_EVERY_S: Final = 60.0
"""How often trouble is logged at most."""

WORKER: Final = "worker"
"""The kind of the records by which workers are counted; their keys are the names of holders."""


class Follower(Protocol):
    """Told what others have published of one kind; on the replica's thread, where it must not wait."""

    def took(self, record: Record) -> object:
        """Something new; it may have ended already (`Record.remaining_s`), and its body may be anything.

        Returns:
            The token under which this worker would publish just this; None if it would not.
        """
        ...

    def renewed(self, renewal: Renewal) -> bool | None:
        """Something that was told before lives on.

        Returns:
            False if it is not known here any more; then the record is told.
        """
        ...

    def dropped(self, key: str) -> None:
        """Something is taken back."""
        ...


@dataclass(frozen=True, slots=True)
class Sharing:
    """How it goes.

    Attributes:
        workers: Of this director that are alive, this one included.
        pending: Things that wait to be written.
        lost: Things that were pushed out or could not be encoded, so far.
        late: How often `has_shared` has waited in vain.
        revision: The newest that was read; 0 before the first.
        leases: The names of those that this worker holds.
    """

    workers: int
    pending: int
    lost: int
    late: int
    revision: int
    leases: tuple[str, ...]


class Replica:
    """One worker's side of the store. Any number of threads may publish and ask; see `Follower` for the other way.

    Args:
        store: Shared by the workers of the host; the replica closes it.
        holder: Name of this process; no two have the same.
        clock: Monotonic seconds.
        wall: Unix seconds, for the ends of what is published.
    """

    # What changes here is changed by the replica's thread alone; others read single objects and numbers of it.

    def __init__(self, store: Store, *, holder: str, clock: Clock = monotonic, wall: WallClock = wall) -> None:
        self.holder = holder
        self._store = store
        self._clock = clock
        self._wall = wall
        self._outbox = Outbox(store, clock=clock, wall=wall)
        self._followers: dict[str, Follower] = {}
        self._after_telling: list[Callable[[], object]] = []
        self._seen = 0
        # What was told in the present and in the last beat.
        self._told: tuple[set[Key], set[Key]] = set(), set()
        self._others: dict[str, float] = {}
        self._duties = Duties(store, holder=holder, clock=clock)
        self._beat_at = self._forgot_at = -math.inf
        self._trouble: StoreError | None = None
        self._warned_at = -math.inf
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._first_turn = threading.Event()
        self._thread = threading.Thread(target=self._run, name="director-store", daemon=True)

    # -- before it is started

    def follow(self, kind: str, follower: Follower) -> None:
        """Hand what others publish of this kind to a follower; one for each kind."""
        self._followers[kind] = follower

    def after_telling(self, do: Callable[[], object]) -> None:
        """Call this when all that was new at one time has been told, so that a follower can take it over as a whole."""
        self._after_telling.append(do)

    def contend(self, name: str) -> None:
        """Take the lease whenever it is free."""
        self._duties.contend(name)

    # -- from any thread

    def publish(self, kind: str, key: str, encode: Callable[[], bytes], *, lifetime_s: float, token: object) -> None:
        """Let others know; does not wait. Of several words on one thing the last counts, for this worker as well.

        Args:
            kind: Of what.
            key: What.
            encode: Called on the replica's thread if the body has to be written.
            lifetime_s: How long it holds from now on.
            token: Equal to that of the last time for this key: only the life is renewed. None equals nothing.
        """
        self._outbox.say((kind, key), lasting(encode, token, lifetime_s=lifetime_s, now=self._wall()))
        self._woken.set()

    def drop(self, kind: str, key: str) -> None:
        """Take something back, for all; does not wait."""
        self._outbox.say((kind, key), TAKEN_BACK)
        self._woken.set()

    def has_shared(self, within_s: float) -> bool:
        """Wait until all that was published before this stands in the store: then no death of this worker undoes it.

        As a rule that takes a commit in memory. While the store is in trouble nothing is waited for.

        Args:
            within_s: The longest to wait.

        Returns:
            Whether it does. If not, it comes later, if the worker lives.
        """
        is_at_it = self._trouble is None and self._thread.is_alive()
        return self._outbox.is_written(within_s if is_at_it else 0.0)

    def holds(self, name: str) -> bool:
        """Whether this worker is the one that does it now.

        While the store cannot be used nobody can take a lease. Then every worker does it for itself: better twice than
        not at all.
        """
        return self._duties.holds(name)

    @property
    def workers(self) -> int:
        """How many workers of this director are alive; this one counts, whatever the store says."""
        now = self._clock()
        return 1 + sum(until > now for until in tuple(self._others.values()))

    @property
    def trouble(self) -> StoreError | None:
        """Why the store could not be used when that was last tried; None if it could."""
        return self._trouble

    @property
    def has_read(self) -> bool:
        """Whether what was there at the start has been taken over."""
        return self._seen > 0

    def statistics(self) -> Sharing:
        """How it goes, now."""
        return Sharing(
            workers=self.workers,
            pending=len(self._outbox),
            lost=self._outbox.lost,
            late=self._outbox.late,
            revision=self._seen,
            leases=self._duties.held(),
        )

    # -- its own life

    def start(self, deadline: Deadline) -> bool:
        """Go on in the background, and wait until all that is there has been taken over: whoever serves next knows it.

        Returns:
            Whether it was by the deadline. If not, it comes later.
        """
        self._thread.start()
        return self._first_turn.wait(deadline.remaining_s()) and self.has_read

    def stop(self, deadline: Deadline) -> bool:
        """Publish what is left, give leases back, and end. Harmless if never started.

        Returns:
            Whether it had ended by the deadline.
        """
        self._stopping.set()
        self._woken.set()
        if self._thread.ident is not None:
            self._thread.join(deadline.remaining_s())
        return not self._thread.is_alive()

    def _run(self) -> None:
        self.turn()
        self._first_turn.set()
        while not self._stopping.is_set():
            self._woken.wait(POLL_S if self._others else ALONE_S)
            self._woken.clear()
            self.turn()
        self._end()

    def turn(self) -> None:
        """Write, read, and now and then say that one is alive; a store that is full can still be read.

        Only for the replica's thread, which does this all the time.
        """
        troubles = [trouble for one in (self._write, self._read, self._beat) if (trouble := _tried(one))]
        if troubles:
            self._failed(troubles[0])
        elif self._trouble is not None:
            self._recovered()

    def _failed(self, trouble: StoreError) -> None:
        now = self._clock()
        if self._trouble is None:
            self._duties.go_apart()
        self._trouble = trouble
        if now - self._warned_at >= WARN_EVERY_S:
            self._warned_at = now
            log.warning("workers cannot share what they learn: %s", trouble)

    def _recovered(self) -> None:
        if self._clock() - self._warned_at < WARN_EVERY_S:
            log.info("workers share what they learn again")
        self._trouble = None
        self._duties.come_back()

    def _end(self) -> None:
        self._outbox.say((WORKER, self.holder), TAKEN_BACK)
        try:
            self._outbox.write()
            self._duties.give_back()
        except StoreError as error:
            log.debug("what this worker held ends by itself: %s", error)
        finally:
            self._store.close()

    # -- what others say

    def _write(self) -> None:
        overtaken = [record for record in self._outbox.write() if record.revision <= self._seen]
        for record in overtaken:  # they were passed over when they were read
            self._take(record)
        if overtaken:
            self._end_telling()

    def _read(self) -> None:
        if self._store.revision() == self._seen:
            return
        changes = self._store.changes(self._seen)
        for record in changes.records:
            self._take(record)
        for renewal in changes.renewed:
            if not self._outbox.wrote((renewal.kind, renewal.key), renewal.revision):
                self._renew(renewal)
        for kind, key in changes.dropped:
            if not self._outbox.is_waiting((kind, key)):
                self._outbox.learned((kind, key), None, 0.0)
                self._tell(kind, lambda follower, key=key: follower.dropped(key))  # type: ignore[misc]
        self._end_telling()
        self._count_workers(changes)
        self._seen = changes.revision
        self._outbox.has_read()

    def _take(self, record: Record) -> None:
        """Have a record taken over, unless it is one's own, or there is a newer word of one's own.

        One's own is told as well if another's was told a moment ago: which of them came last is for the store to say.
        """
        key = record.kind, record.key
        if self._outbox.is_waiting(key):
            return
        if self._outbox.wrote_body(key, record.revision) and not any(key in told for told in self._told):
            return
        self._told[0].add(key)
        token = self._tell(record.kind, lambda follower: follower.took(record))
        self._outbox.learned(key, token, record.expires_at)

    def _renew(self, renewal: Renewal) -> None:
        if self._tell(renewal.kind, lambda follower: follower.renewed(renewal)) is False:
            record = self._store.get(renewal.kind, renewal.key)
            if record is not None:
                self._take(record)

    def _end_telling(self) -> None:
        for do in self._after_telling:
            do()

    def _tell(self, kind: str, tell: Callable[[Follower], object]) -> object:
        follower = self._followers.get(kind)
        if follower is None:
            return None
        try:
            return tell(follower)
        except Exception:  # one follower's mistake, or one record's, must not keep the others from being told
            log.exception("what was learned of kind %r cannot be taken over", kind)
            return None

    def _count_workers(self, changes: Changes) -> None:
        now, unix = self._clock(), self._wall()
        others = {holder: until for holder, until in self._others.items() if until > now}
        words: Iterable[Record | Renewal] = (*changes.records, *changes.renewed)
        for word in words:
            if word.kind == WORKER and word.key != self.holder:
                others[word.key] = now + word.remaining_s(unix)
        for kind, key in changes.dropped:
            if kind == WORKER:
                others.pop(key, None)
        self._others = others

    # -- that one is alive

    def _beat(self) -> None:
        now = self._clock()
        if now - self._beat_at < BEAT_S:
            return
        self._beat_at = now
        self.publish(WORKER, self.holder, bytes, lifetime_s=ALIVE_S, token=WORKER)
        self._told = set(), self._told[0]
        if now - self._forgot_at >= FORGET_EVERY_S:
            self._forgot_at = now
            self._outbox.forget_ended()
        self._duties.renew()


def _tried(do: Callable[[], None]) -> StoreError | None:
    """Do a part of a turn; what was in its way. None if nothing was, or something unforeseen, which is logged."""
    try:
        do()
    except StoreError as error:
        return error
    except Exception:  # a mistake of ours in one turn must not end all others; followers are guarded one by one
        log.exception("a turn with the store failed in an unforeseen way")
    return None
