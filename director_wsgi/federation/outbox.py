"""What one worker has to tell the others, until it stands in the store."""

import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from director_wsgi.federation.store.errors import StoreError
from director_wsgi.federation.store.records import Drop, Put, Record, Store
from director_wsgi.limits.deadline import Clock, Deadline, WallClock

log = logging.getLogger(__name__)

WRITE_S: Final = 2.0
"""The longest that one turn may wait for the store."""

LATE_S: Final = 1.0
"""A word that has waited for longer may have been overtaken by another worker's on the same thing."""

PENDING: Final = 50_000
"""Things that wait to be written, and things that are known to be written; one more pushes out the oldest."""

Key = tuple[str, str]
"""Kind and key of a record."""


@dataclass(frozen=True, slots=True)
class Word:
    """Something to be published or, without `encode`, to be taken back."""

    encode: Callable[[], bytes] | None = field(repr=False)
    token: object
    expires_at: float
    granted_s: float

    @property
    def said_at(self) -> float:
        """Unix seconds; NaN for what takes something back, which is never late."""
        return self.expires_at - self.granted_s


@dataclass(frozen=True, slots=True)
class _Known:
    """What the store holds, as far as this worker knows."""

    token: object
    expires_at: float


class Outbox:
    """Words that wait, and what is known to be written, so that what merely lives on is not written anew.

    `say` and `is_written` may be called by any thread; the rest belongs to one.
    """

    # _lock guards _waiting, `lost`, `late` and the three counts; nothing is called under it.

    def __init__(self, store: Store, *, clock: Clock, wall: WallClock) -> None:
        self.lost = 0
        self.late = 0
        self._store = store
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._tried = threading.Condition(self._lock)
        self._said = self._written = self._failures = 0  # words said, how many of them are done with, failed writes
        self._waiting: OrderedDict[Key, Word] = OrderedDict()
        self._known: OrderedDict[Key, _Known] = OrderedDict()
        self._own: dict[Key, tuple[int, bool]] = {}  # revision, and whether the body was written with it

    def __len__(self) -> int:
        """How many words wait."""
        return len(self._waiting)

    def say(self, key: Key, word: Word) -> None:
        """Let it be written next, in place of an older word on the same thing."""
        with self._lock:
            self._waiting[key] = word
            self._waiting.move_to_end(key)
            self._said += 1
            self._push_out()

    def is_written(self, within_s: float) -> bool:
        """Wait until all that was said before stands in the store, or a write has failed.

        Returns:
            Whether it does; what cannot be written at all is not waited for. If not, that is counted as `late`.
        """
        with self._tried:
            said, failures = self._said, self._failures
            self._tried.wait_for(lambda: self._written >= said or self._failures != failures, within_s)
            is_written = self._written >= said
            self.late += not is_written
            return is_written

    def is_waiting(self, key: Key) -> bool:
        """Whether there is a word on this that nobody has seen yet."""
        return key in self._waiting

    def write(self) -> Sequence[Record]:
        """Write all that waits, as one change; but not what others have overtaken, while the store could not be used.

        Returns:
            What stands in the store in place of words that came too late.

        Raises:
            StoreError: Nothing was written, and it waits on.
        """
        with self._lock:
            words, self._waiting = self._waiting, OrderedDict()
            said = self._said
        if not words:
            return ()
        deadline = Deadline.after(WRITE_S, self._clock)
        try:
            newer = self._overtaken(words)
            late = {(record.kind, record.key) for record in newer}
            missing = self._put(OrderedDict(item for item in words.items() if item[0] not in late), deadline)
            if missing:  # the store was emptied, or has forgotten what had ended
                self._put(missing, deadline)
        except StoreError:
            with self._tried:  # what has been said since is newer
                self._waiting = OrderedDict(words | self._waiting)
                self._push_out()
                self._failures += 1
                self._tried.notify_all()
            raise
        except Exception:
            with self._tried:
                self.lost += len(words)  # tried again, they might fail for ever, and whatever came later with them
                self._failures += 1
                self._tried.notify_all()
            raise
        with self._tried:
            self._written = said
            self._tried.notify_all()
        return newer

    def learned(self, key: Key, token: object, expires_at: float) -> None:
        """Another has written what this worker would publish under that token; None for what it would not."""
        self._known.pop(key, None)
        if token is not None:
            self._known[key] = _Known(token, expires_at)

    def wrote(self, key: Key, revision: int) -> bool:
        """Whether a change is one's own."""
        return self._own.get(key, (0, False))[0] == revision

    def wrote_body(self, key: Key, revision: int) -> bool:
        """Whether the body that came with a change is one's own."""
        return self._own.get(key) == (revision, True)

    def has_read(self) -> None:
        """All that was written so far has been seen again."""
        self._own.clear()

    def forget_ended(self) -> None:
        """Give up the tokens of what has ended."""
        now = self._wall()
        for key in [key for key, known in self._known.items() if known.expires_at <= now]:
            del self._known[key]

    def _push_out(self) -> None:
        while len(self._waiting) > PENDING:
            self._waiting.popitem(last=False)
            self.lost += 1

    def _overtaken(self, words: OrderedDict[Key, Word]) -> list[Record]:
        """Records of what others have said later than one of these was said: who was halted has older words."""
        late_before = self._wall() - LATE_S
        newer = []
        for key, word in words.items():
            if word.said_at < late_before:
                record = self._store.get(*key)
                if record is not None and record.expires_at - record.granted_s > word.said_at:
                    newer.append(record)
        return newer

    def _put(self, words: OrderedDict[Key, Word], deadline: Deadline) -> OrderedDict[Key, Word]:
        """Write them; gives those back whose bodies turned out to be needed."""
        drops = [Drop(kind=kind, key=key) for (kind, key), word in words.items() if word.encode is None]
        puts = [put for key, word in words.items() if (put := self._as_put(key, word)) is not None]
        written = self._store.put([*drops, *puts], deadline)
        missing = {(put.kind, put.key) for put in written.missing}
        done = [put for put in puts if (put.kind, put.key) not in missing]
        self._note(words, done, written.revision)
        for key in (*missing, *((drop.kind, drop.key) for drop in drops)):
            self._known.pop(key, None)
        return OrderedDict((key, words[key]) for key in words if key in missing)

    def _note(self, words: OrderedDict[Key, Word], done: Sequence[Put], revision: int) -> None:
        """Take down what was written. The changes of one `put` have revisions that follow each other."""
        for number, put in enumerate(done, revision - len(done) + 1):
            key = put.kind, put.key
            self._own[key] = number, put.body is not None
            self._known.pop(key, None)
            self._known[key] = _Known(words[key].token, put.expires_at)
        while len(self._known) > PENDING:
            self._known.popitem(last=False)

    def _as_put(self, key: Key, word: Word) -> Put | None:
        """What to write; None for what needs not, or cannot, be written."""
        if word.encode is None or word.expires_at <= self._wall():
            return None
        known = self._known.get(key)
        try:
            key[1].encode()  # half of a surrogate pair would spoil what is written with it
            is_written = known is not None and word.token is not None and known.token == word.token
            body = None if is_written else word.encode()
            return Put(kind=key[0], key=key[1], body=body, expires_at=word.expires_at, granted_s=word.granted_s)
        except Exception:  # a mistake of ours in one word must not keep the others from being written
            log.exception("what was learned of kind %r cannot be published", key[0])
            self.lost += 1
            return None


def lasting(encode: Callable[[], bytes], token: object, *, lifetime_s: float, now: float) -> Word:
    """A word that holds for `lifetime_s` seconds from `now`, a wall clock's."""
    return Word(encode, token, now + lifetime_s, lifetime_s)


TAKEN_BACK: Final = Word(None, None, math.inf, math.inf)
