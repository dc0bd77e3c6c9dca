"""What is known of one object at one server, and the table that remembers it."""

import enum
import random
from dataclasses import dataclass, replace
from typing import NamedTuple

from director_wsgi.limits.deadline import Clock, monotonic
from director_wsgi.limits.ttl import TTLTable


class Presence(enum.Enum):
    """Whether a server has an object. Slow is not absent: whatever is no clear answer is UNKNOWN."""

    PRESENT = "present"
    ABSENT = "absent"
    DENIED = "denied"
    UNKNOWN = "unknown"


class Reason(enum.Enum):
    """Why nothing is known."""

    NOT_ASKED = "not asked"
    TIMED_OUT = "timed out"
    NO_SLOT = "no slot"
    NO_THREAD = "no thread"
    CIRCUIT_OPEN = "circuit open"
    NAME = "name not resolved"
    REFUSED = "refused"
    TLS = "TLS failed"
    CUT_OFF = "connection cut off"
    REDIRECTED = "redirected"
    NO_LENGTH = "no length"
    FAILED = "failed"
    FORBIDDEN_ADDRESS = "forbidden address"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One answer, or why there is none.

    Attributes:
        presence: The verdict.
        reason: Set if and only if `presence` is UNKNOWN.
        status: HTTP status of the answer; None if there was none.
        length_bytes: Size of the object; set if and only if PRESENT.
        age_s: Seconds since a cache stored its copy (RFC 9111 5.1); None if not said.
        stale_s: Seconds since it was learned, if it holds no more and stands in for an answer that is not to be had.
    """

    presence: Presence
    reason: Reason | None = None
    status: int | None = None
    length_bytes: int | None = None
    age_s: int | None = None
    stale_s: float | None = None

    @classmethod
    def unknown(cls, reason: Reason, status: int | None = None) -> "Evidence":
        """Nothing is known, for this reason."""
        return cls(presence=Presence.UNKNOWN, reason=reason, status=status)


JITTER = 0.1
"""By how much a lifetime may be shortened."""

REFRESH_AT = 0.8
"""At which part of its life a presence is asked for again, in the background."""

PUBLIC = "public"
"""The authority of whoever asks without a token."""

DENIED_TTL_S = 2.0
"""How long a refusal is remembered: the rights of a token may be mended at the server at any moment."""

_OUR_OWN_DOING = frozenset({Reason.NOT_ASKED, Reason.NO_SLOT, Reason.NO_THREAD, Reason.CIRCUIT_OPEN, Reason.CLOSED})
"""Reasons that say something of this director and nothing of the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long evidence holds, by what it says; seconds, 0 for what is not to be remembered.

    Attributes:
        stale_s: How much longer a presence is kept for when its server cannot be asked.
    """

    presence_s: float = 60.0
    absence_s: float = 10.0
    failure_s: float = 1.0
    stale_s: float = 600.0

    def of(self, evidence: Evidence) -> float:
        """How long this piece of evidence holds."""
        match evidence.presence:
            case Presence.PRESENT:
                return self.presence_s
            case Presence.ABSENT:
                return self.absence_s
            case Presence.DENIED:
                return DENIED_TTL_S
            case Presence.UNKNOWN:
                return 0.0 if evidence.reason in _OUR_OWN_DOING else self.failure_s


class _Kept(NamedTuple):
    """A piece of evidence in the table, with its instants on the monotonic clock."""

    evidence: Evidence
    learned_at: float
    refresh_at: float
    stale_at: float


class Recalled(NamedTuple):
    """What is remembered.

    Attributes:
        evidence: Holds still.
        is_due: So near its end that it is time to ask again.
    """

    evidence: Evidence
    is_due: bool


class EvidenceTable:
    """What one server was found to have, for a while. Any number of threads at once.

    What was learned with one token is told to nobody who comes with another one, or with none: evidence is kept under
    path *and* authority, since the answer to one client may be the secret of another.

    That an object is there is kept longer than it holds, for the time in which the server cannot be asked. Lifetimes
    are shortened at random by up to `JITTER`, so that what was learned at once does not end at once.

    Args:
        capacity: Most pieces of evidence kept; the least recently used makes room.
        lifetimes: How long each kind holds.
        generator: Randomness for the jitter.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        capacity: int,
        lifetimes: Lifetimes,
        generator: random.Random | None = None,
        clock: Clock = monotonic,
    ) -> None:
        self._lifetimes = lifetimes
        self._generator = generator or random.Random()
        self._clock = clock
        self._table: TTLTable[tuple[str, str], _Kept] = TTLTable(capacity, clock)
        self._public: str | None = None  # replaced by whoever learns; any recent one will do

    def adopt(self, lifetimes: Lifetimes, capacity: int) -> None:
        """Remember so long, and so much, from now on. What was learned before keeps its lifetime.

        If there is less room, the least recently used goes. The same again changes nothing.
        """
        self._lifetimes = lifetimes
        if capacity != self._table.capacity:
            self._table.resize(capacity)

    @property
    def lifetimes(self) -> Lifetimes:
        """How long each kind holds that is learned now."""
        return self._lifetimes

    def recall(self, path: str, authority: str) -> Recalled | None:
        """What is known of `path` by this authority and still holds; None if nothing."""
        kept = self._table.get((path, authority))
        if kept is None:
            return None
        now = self._clock()
        if now >= kept.stale_at:
            return None
        return Recalled(kept.evidence, now >= kept.refresh_at)

    def recall_stale(self, path: str, authority: str) -> Evidence | None:
        """That `path` was there, as far as this authority knew, with its age; for when the server cannot be asked."""
        kept = self._table.get((path, authority))
        if kept is None or kept.evidence.presence is not Presence.PRESENT:
            return None
        return replace(kept.evidence, stale_s=self._clock() - kept.learned_at)

    def remember(
        self,
        path: str,
        authority: str,
        evidence: Evidence,
        *,
        is_public: bool = False,
        asked_under: Lifetimes | None = None,
    ) -> None:
        """Keep it for as long as such evidence holds, in place of what was there.

        That the server could not be asked does not take the place of a presence that may still have to serve.

        Args:
            path: The object's.
            authority: Whose evidence it is.
            evidence: What was learned.
            is_public: It was asked without a token.
            asked_under: The lifetimes when it was asked, if they may have been others: then it holds for the shorter
                of the two, since whoever disbelieves old answers for a while could not know of a longer one.
        """
        lifetimes = self._lifetimes
        longest_s = lifetimes.of(evidence)
        if asked_under is not None and asked_under is not lifetimes:
            longest_s = min(longest_s, asked_under.of(evidence))
        ttl_s = longest_s * (1 - JITTER * self._generator.random())
        if ttl_s <= 0:
            return
        is_present = evidence.presence is Presence.PRESENT
        if evidence.presence is Presence.UNKNOWN and self.recall_stale(path, authority) is not None:
            return
        if is_present and is_public:
            self._public = path
        now = self._clock()
        kept = _Kept(evidence, now, now + ttl_s * (REFRESH_AT if is_present else 2.0), now + ttl_s)
        self._table.put((path, authority), kept, ttl_s + (lifetimes.stale_s if is_present else 0.0))

    def __len__(self) -> int:
        """Pieces of evidence kept, those included that hold no more and may have to serve."""
        return len(self._table)

    @property
    def public_path(self) -> str | None:
        """An object that was there for everybody not long ago; None if there is none."""
        return self._public
