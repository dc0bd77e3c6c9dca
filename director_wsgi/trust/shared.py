"""What the registry has told one worker, all workers believe, and so does the director that is started next.

An answer is as old as it is, wherever it is read: when it was given is what the record's end says, less its length. So
an answer that was fresh stays so for what is left, and one that was stale is asked for again behind the first
advertisement. Nothing in memory ends with its record: the end only bounds how old an answer may be that a director
believes which has just been started.

What is told belongs to the place that was asked: another registry's approvals are nobody's here.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

from director_wsgi.federation.alone import Alone
from director_wsgi.federation.downtimes import Downtime, downtimes_of_registry
from director_wsgi.federation.replica import Replica
from director_wsgi.federation.store.records import Entry, Record, Renewal
from director_wsgi.limits.deadline import WallClock, wall
from director_wsgi.trust.keys import KeySet, key_set_document, parse_key_set

log = logging.getLogger(__name__)

V = TypeVar("V")
V_contra = TypeVar("V_contra", contravariant=True)

LIFETIME_S: Final = 7 * 86_400.0
"""So long after it was given an answer can be taken over by a director that is started."""

_TOLERANCE_S: Final = 1.0
"""A record may be from so far ahead: clocks are set right by a little all the time."""


@dataclass(frozen=True, slots=True)
class Codec(Generic[V]):
    """Answers of one kind as bytes, and back.

    Attributes:
        encode: Makes bytes of an answer.
        decode: Gives an equal one back; raises ValueError for what `encode` did not make.
    """

    encode: Callable[[V], bytes]
    decode: Callable[[bytes], V]


class Memory(Protocol[V_contra]):
    """Where answers are kept. Safe between threads, and never waits; an older answer replaces no newer one."""

    def learn(self, key: str, value: V_contra, age_s: float, /) -> None:
        """Keep an answer that was given to another worker, so long ago."""
        ...

    def renew(self, key: str, age_s: float, /) -> bool:
        """The answer was given anew so long ago. Whether there is one."""
        ...

    def forget(self, key: str, /) -> None:
        """Keep the answer no longer."""
        ...


@dataclass(frozen=True, slots=True)
class Sharing:
    """With whom answers are shared.

    Attributes:
        replica: Not started yet.
        wall: Seconds since the Unix epoch: the clock of those who publish.
    """

    replica: Replica | Alone
    wall: WallClock = wall


ALONE: Final = Sharing(Alone())
"""With nobody."""


class SharedAnswers(Generic[V]):
    """Answers to one kind of question: publishes one's own, and takes over those of others as a `Follower`.

    `answered` and `refused` may be called by any thread and do not wait; the rest is called by the replica's.
    """

    def __init__(
        self,
        kind: str,
        place: str,
        *,
        codec: Codec[V],
        memory: Memory[V],
        sharing: Sharing,
        lifetime_s: float = LIFETIME_S,
    ) -> None:
        """Follow what others publish.

        Args:
            kind: What was asked for, in a word.
            place: URL of whoever was asked.
            codec: Of the answers.
            memory: Takes those of others.
            sharing: With whom.
            lifetime_s: How old an answer may be to be taken over.
        """
        self._kind = f"{kind} {place}"
        self._codec = codec
        self._memory = memory
        self._replica = sharing.replica
        self._wall = sharing.wall
        self._lifetime_s = lifetime_s
        sharing.replica.follow(self._kind, self)

    def answered(self, key: str, value: V) -> None:
        """Let others know an answer that has just come. One that is the same as before costs no more than its date."""
        self._replica.publish(
            self._kind, key, partial(self._codec.encode, value), lifetime_s=self._lifetime_s, token=value
        )

    def refused(self, key: str) -> None:
        """Let others know that what was answered before holds no longer."""
        if _is_text(key):  # else nothing was ever published of it
            self._replica.drop(self._kind, key)

    def took(self, record: Record) -> V | None:
        """See `Follower.took`."""
        if record.remaining_s(self._wall()) <= 0:
            return None
        try:
            value = self._codec.decode(record.body)
        except (ValueError, RecursionError) as error:
            log.debug("of another version, or broken: %s", error)
            return None
        self._memory.learn(record.key, value, self._age_s(record))
        return value

    def renewed(self, renewal: Renewal) -> bool:
        """See `Follower.renewed`."""
        return self._memory.renew(renewal.key, self._age_s(renewal))

    def dropped(self, key: str) -> None:
        """See `Follower.dropped`."""
        self._memory.forget(key)

    def _age_s(self, entry: Entry) -> float:
        """How long ago the answer was given; as long as can be, if that lies ahead, since the clock was set back.

        How old it is nobody can tell then. It must not stay fresh until the clock has come so far again.
        """
        now = self._wall()
        if entry.expires_at - now > entry.granted_s + _TOLERANCE_S:
            return entry.granted_s
        return entry.granted_s - entry.remaining_s(now)


def _is_text(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, as JSON allows
        return False
    return True


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _flag(body: bytes) -> bool:
    value = json.loads(body)
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")  # noqa: TRY004, all that cannot be read is one error
    return value


def _name(body: bytes) -> str:
    value = json.loads(body)
    if not isinstance(value, str) or not value:
        raise ValueError("not a name")
    return value


def _rows(body: bytes, wanted: type) -> Any:
    value = json.loads(body)
    if type(value) is not wanted:
        raise ValueError(f"not a {wanted.__name__}")
    return value


def _table(body: bytes) -> dict[str, frozenset[str]]:
    rows: dict[str, object] = _rows(body, dict)
    return {name: frozenset(_strings(prefixes)) for name, prefixes in rows.items()}


def _strings(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("not a list of texts")
    return value


def _downtimes(body: bytes) -> tuple[Downtime, ...]:
    downtimes, unreadable = downtimes_of_registry(_rows(body, list))
    if unreadable:
        raise ValueError("not a list of downtimes")
    return downtimes


FLAGS: Final[Codec[bool]] = Codec(_dump, _flag)
NAMES: Final[Codec[str]] = Codec(_dump, _name)
KEY_SETS: Final[Codec[KeySet]] = Codec(key_set_document, parse_key_set)
TABLES: Final[Codec[dict[str, frozenset[str]]]] = Codec(
    lambda table: _dump({name: sorted(prefixes) for name, prefixes in table.items()}), _table
)
DOWNTIMES: Final[Codec[tuple[Downtime, ...]]] = Codec(lambda found: _dump([one.wire() for one in found]), _downtimes)
