"""What is known of one object at one server, and the table that remembers it."""

import enum
from dataclasses import dataclass

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
    """

    presence: Presence
    reason: Reason | None = None
    status: int | None = None
    length_bytes: int | None = None
    age_s: int | None = None

    @classmethod
    def unknown(cls, reason: Reason, status: int | None = None) -> "Evidence":
        """Nothing is known, for this reason."""
        return cls(presence=Presence.UNKNOWN, reason=reason, status=status)


DENIED_TTL_S = 2.0
"""How long a refusal is remembered: the rights of a token may be mended at the server at any moment."""

_OUR_OWN_DOING = frozenset({Reason.NOT_ASKED, Reason.NO_SLOT, Reason.CLOSED})
"""Reasons that say something of this director and nothing of the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long evidence holds, by what it says; seconds, 0 for what is not to be remembered."""

    presence_s: float = 60.0
    absence_s: float = 10.0
    failure_s: float = 1.0

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


class EvidenceTable:
    """What one server was found to have, for a while. Any number of threads at once.

    What was learned with one token is told to nobody who comes with another one, or with none: evidence is kept under
    path *and* authority, since the answer to one client may be the secret of another.

    Args:
        capacity: Most pieces of evidence kept; the least recently used makes room.
        lifetimes: How long each kind holds.
        clock: Monotonic seconds.
    """

    def __init__(self, *, capacity: int, lifetimes: Lifetimes, clock: Clock = monotonic) -> None:
        self._lifetimes = lifetimes
        self._table: TTLTable[tuple[str, str], Evidence] = TTLTable(capacity, clock)

    def recall(self, path: str, authority: str) -> Evidence | None:
        """What is known of `path` by this authority and still holds; None if nothing."""
        return self._table.get((path, authority))

    def remember(self, path: str, authority: str, evidence: Evidence) -> None:
        """Keep it for as long as such evidence holds, in place of what was there."""
        ttl_s = self._lifetimes.of(evidence)
        if ttl_s > 0:
            self._table.put((path, authority), evidence, ttl_s)
