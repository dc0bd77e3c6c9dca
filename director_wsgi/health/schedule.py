"""Whose turn it is to be tested.

A server that has just appeared is due at once; many that appear in the same moment are spread, and chance takes a
little off every interval, so that they stay spread. Servers that hung in their last test are *suspects*: they stand in
a queue of their own, so that, however many they are, nobody else waits behind them.
"""

import heapq
import random
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Final

from director_wsgi.federation.models import ServerAd
from director_wsgi.health.cycle import Notes
from director_wsgi.health.sharing import News
from director_wsgi.health.status import ReportStatus, Result, ServerTests

JITTER: Final = 0.1
"""Share of an interval that chance may take off."""

SPREAD_S: Final = 0.05
"""Between the first tests of servers that appear in the same moment, at most."""

RECHECK_S: Final = 1.0
"""How often it is looked at whether a filtered server may be tested again."""


class Entry:
    """One server that is tested. Belongs to who owns the schedule; `notes` to the thread of the cycle under way.

    Attributes:
        is_running: Whether a cycle of it is under way; it stands in no queue then.
        is_gone: Whether it is tested no more; it may still stand in a queue.
        due_at: When its turn comes, or came.
        complained_at: When the log last said that something is wrong with it; None if never.
        is_complained: Whether that has not been taken back.
    """

    __slots__ = (
        "complained_at",
        "due_at",
        "is_complained",
        "is_gone",
        "is_running",
        "is_suspect",
        "last",
        "notes",
        "runs",
        "server",
    )

    def __init__(self, server: ServerAd) -> None:
        self.server = server
        self.notes = Notes()
        self.last: Result | None = None
        self.runs: Counter[tuple[bool, ReportStatus]] = Counter()
        self.is_running = False
        self.is_suspect = False
        self.is_gone = False
        self.due_at = 0.0
        self.complained_at: float | None = None
        self.is_complained = False

    def heed(self, news: News) -> None:
        """Know what another worker has found out. No count falls, whatever was lost on the way."""
        self.last = news.result
        self.runs |= Counter(news.runs)
        self.is_suspect = news.is_suspect
        self.notes = Notes(left_behind=news.left_behind, evictable=news.evictable)

    def told(self) -> ServerTests:
        """As others may see it."""
        return ServerTests(
            server=self.server,
            runs=dict(self.runs),
            is_running=self.is_running,
            is_suspect=self.is_suspect,
            last=self.last,
        )


def is_testable(server: ServerAd) -> bool:
    """Whether a server can be tested, and wants to be. One behind a broker cannot be reached."""
    return not (server.director_test_disabled or server.broker_url)


class Schedule:
    """The servers that are tested, and when. Not for several threads at once: its owner has a lock.

    Args:
        interval_s: Between the beginnings of two tests of one server.
        generator: Draws the jitter.
    """

    def __init__(self, interval_s: float, generator: random.Random) -> None:
        self._interval_s = interval_s
        self._generator = generator
        self._entries: dict[str, Entry] = {}
        self._later: list[tuple[float, int, Entry]] = []  # a heap; the number settles ties
        self._numbers = 0
        self._due: deque[Entry] = deque()
        self._due_suspects: deque[Entry] = deque()

    def __iter__(self) -> Iterator[Entry]:
        """Every server that is tested."""
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, data_url: str) -> Entry | None:
        """One server; None if it is not tested."""
        return self._entries.get(data_url)

    def waiting(self) -> tuple[int, int]:
        """How many are due: usual ones, suspects."""
        return len(self._due), len(self._due_suspects)

    def keep_to(self, servers: Mapping[str, ServerAd], now: float) -> list[Entry]:
        """Test these and no others, as far as they can be tested.

        Returns:
            Those that are tested no more.
        """
        wanted = {url: server for url, server in servers.items() if is_testable(server)}
        gone = [
            entry
            for url, entry in self._entries.items()
            if url not in wanted or wanted[url].kind is not entry.server.kind
        ]
        for entry in gone:
            entry.is_gone = True
            del self._entries[entry.server.data_url]
        if gone:
            self._forget_gone()
        for url in wanted.keys() & self._entries.keys():
            self._entries[url].server = wanted[url]
        new = [Entry(server) for url, server in wanted.items() if url not in self._entries]
        self._entries |= {entry.server.data_url: entry for entry in new}
        self._spread(new, now)
        return gone

    def adopt(self, interval_s: float, now: float) -> None:
        """Test at other intervals from now on.

        Longer: whoever is waiting has its turn when it was due, and only then waits longer. Shorter: whoever is waiting
        for another test waits that much less from now on. So nobody waits longer than a new interval, their order
        stays, and those who were spread over the old one are spread over the new one. Who has never been tested, or is
        due, keeps its turn. The same interval again changes nothing.
        """
        shrunk = interval_s / self._interval_s
        self._interval_s = interval_s
        if shrunk >= 1:
            return
        waiting = [entry for _at, _number, entry in self._later if not entry.is_gone]
        for entry in self:
            if entry.last is not None and entry.due_at > now:
                entry.due_at = now + (entry.due_at - now) * shrunk
        self._later.clear()
        for entry in waiting:
            self._put(entry, entry.due_at)

    def tested_elsewhere(self, entry: Entry, *, ago_s: float, now: float) -> None:
        """Somebody else has tested it: its turn is an interval later. Counts from the next `regroup` on.

        Args:
            entry: It.
            ago_s: How long ago that began.
            now: This moment.
        """
        self._draw(entry, now - min(max(ago_s, 0.0), self._interval_s))

    def regroup(self, now: float) -> None:
        """Empty the queues: whoever is not under way is due when its turn comes; who has missed it is spread."""
        idle = sorted((entry for entry in self if not entry.is_running), key=lambda entry: entry.due_at)
        self._later.clear()
        self._due.clear()
        self._due_suspects.clear()
        for entry in idle:
            if entry.due_at > now:
                self._put(entry, entry.due_at)
        self._spread([entry for entry in idle if entry.due_at <= now], now)

    def look(self, now: float, filtered_names: frozenset[str]) -> None:
        """Put those whose time has come into the queues; the filtered ones are looked at again a little later."""
        while self._later and self._later[0][0] <= now:
            entry = heapq.heappop(self._later)[2]
            if entry.server.name in filtered_names:
                self._put(entry, now + min(RECHECK_S, self._interval_s))
            elif entry.is_suspect:
                self._due_suspects.append(entry)
            else:
                self._due.append(entry)

    def take(self, *, suspects: bool) -> Entry | None:
        """The first of a queue, which stands in none then, until `put_back`; None if nobody is due."""
        queue = self._due_suspects if suspects else self._due
        if not queue:
            return None
        entry = queue.popleft()
        entry.is_running = True
        return entry

    def put_back(self, entry: Entry, *, began_at: float, now: float, at_once: bool = False) -> None:
        """A cycle has ended: the next one begins an interval after this one began, if that has not passed already.

        Args:
            entry: As `take` gave it.
            began_at: When the cycle began.
            now: When it ended.
            at_once: The next one is due now: this one was broken off.
        """
        entry.is_running = False
        if entry.is_gone:
            return
        if not at_once:
            self._draw(entry, began_at)
        self._put(entry, now if at_once else max(now, entry.due_at))

    def _draw(self, entry: Entry, began_at: float) -> None:
        """When its turn comes after a test that began then."""
        entry.due_at = began_at + self._interval_s * (1 - JITTER * self._generator.random())

    def _spread(self, entries: list[Entry], now: float) -> None:
        """From now on, one shortly after the other."""
        gap_s = min(SPREAD_S, self._interval_s / 2 / len(entries)) if entries else 0.0
        for position, entry in enumerate(entries):
            self._put(entry, now + position * gap_s)

    def _put(self, entry: Entry, due_at: float) -> None:
        entry.due_at = due_at
        self._numbers += 1
        heapq.heappush(self._later, (due_at, self._numbers, entry))

    def _forget_gone(self) -> None:
        """So that servers which come and go again and again do not pile up in the queues."""
        self._later = [item for item in self._later if not item[2].is_gone]
        heapq.heapify(self._later)
        self._due = deque(entry for entry in self._due if not entry.is_gone)
        self._due_suspects = deque(entry for entry in self._due_suspects if not entry.is_gone)
