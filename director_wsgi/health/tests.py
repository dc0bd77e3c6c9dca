"""Director tests: each origin and cache is tried out again and again, and told how it went.

One thread looks at the schedule several times a second and starts threads for tests that are due; such a thread goes on
with the next test that is due, and ends when there is none. What bounds the harm of servers that hang:

- A cycle has an end on the clock on the wall, and a server has one cycle at a time.
- At most half of the threads are for servers that hung in their last test, and one of them is theirs if they need it.
- Where servers have begun to hang since, all at once and more than there are threads, the tests of those that have
  been silent for longest are broken off when others wait. Nothing is concluded from that: they are tested anew, as
  suspects, and with all the time that suspects have.

So whoever answers is tested and told in time, however many do not answer.

Of the workers of a host one tests, and the others hear from it how the tests end (`sharing`). When it is another's
turn, that one goes on from there, and nothing is concluded from what was under way.

Source: Pelican `director/monitor.go:LaunchPeriodicDirectorTest`, which has a goroutine for each server.
"""

import logging
import random
import threading
from collections.abc import Callable, Mapping
from typing import Final

from director_wsgi.federation.models import ServerAd
from director_wsgi.health.calls import Client
from director_wsgi.health.complaints import Complaints
from director_wsgi.health.cycle import Cycle, Ended, Trade
from director_wsgi.health.schedule import Entry, Schedule
from director_wsgi.health.sharing import Heard, News
from director_wsgi.health.status import DirectorTestStatistics, HealthStatus, Result, ServerTests
from director_wsgi.health.tokens import Tokens
from director_wsgi.limits.deadline import Clock, Deadline, WallClock, monotonic, wall
from director_wsgi.runtime.periodic import PeriodicJob

__all__ = ["DirectorTestStatistics", "DirectorTests", "HealthStatus", "Result", "ServerTests"]

TICK_S: Final = 0.25
"""How often the schedule is looked at, and thus how late a test may begin where threads are free."""

SILENCE_S: Final = 1.5
"""A test may be broken off in favour of others when a call of it has gone without an answer for so long."""

OVERSLEPT_S: Final = 5.0
"""When nobody has looked at the schedule for so long, servers are not being tested."""

UNHEARD_S: Final = 30.0
"""When another worker should test servers and nothing was heard of any for an interval and so long, they are not being
tested."""

log = logging.getLogger(__name__)


class DirectorTests:
    """Tests the servers that are advertised. Any number of threads may ask how they are.

    Args:
        servers: Who is advertised now, by data URL; the same object as long as nobody has changed.
        filtered_names: Whom not to test now, although advertised.
        on_result: Told the result of each test, on the thread that made it or, if another worker did, on the one that
            looks; must neither block nor raise.
        client: Sends; this owns it.
        tokens: What servers are asked and told with.
        hostname: This director's name in the paths of files at caches.
        interval_s: Between the beginnings of two tests of one server.
        threads: Most tests under way at once, at least 2.
        is_ours: Whether it is this worker that tests now. Asked again and again, by any thread; must not wait.
        publish: Told, by data URL, what other workers have to know of each test that this worker makes, and again when
            more is known; must neither block nor raise.
        generator: Randomness for jitter.
        clock: Monotonic seconds.
        wall: Unix seconds, for names of files and reports.
    """

    # _lock guards what changes, the schedule and its entries included; nothing is called under it that waits. Of a
    # cycle under way others touch its `Calls` only.

    def __init__(
        self,
        *,
        servers: Callable[[], Mapping[str, ServerAd]],
        filtered_names: Callable[[], frozenset[str]],
        on_result: Callable[[ServerAd, Result], object],
        client: Client,
        tokens: Tokens,
        hostname: str,
        interval_s: float,
        threads: int,
        is_ours: Callable[[], bool] = lambda: True,
        publish: Callable[[str, News], object] = lambda _data_url, _news: None,
        generator: random.Random | None = None,
        clock: Clock = monotonic,
        wall: WallClock = wall,
    ) -> None:
        self._servers = servers
        self._filtered_names = filtered_names
        self._on_result = on_result
        self._is_ours = is_ours
        self._publish = publish
        self._trade = Trade(client=client, tokens=tokens, hostname=hostname, clock=clock, wall=wall, is_ours=is_ours)
        self._clock = clock
        self._wall = wall
        self._most = threads
        self._unheard_s = interval_s + UNHEARD_S
        self._lock = threading.Lock()
        self._schedule = Schedule(interval_s, generator or random.Random())
        self._seen: Mapping[str, ServerAd] | None = None
        self._running: dict[Cycle, Entry] = {}
        self._threads: set[threading.Thread] = set()
        self._numbers = 0
        self._put_off = 0
        self._complaints = Complaints()
        self._is_stopping = False
        self._is_at_work = False  # whether it was ours when last looked
        self._news = Heard()
        self._looked_at = clock()
        self._heard_at = clock()
        self._job = PeriodicJob("director-tests", TICK_S, self.tick)

    def start(self) -> None:
        """Begin. Once, in the process that serves."""
        self._looked_at = self._heard_at = self._clock()
        self._job.start()

    def stop(self, deadline: Deadline) -> bool:
        """End every test under way, and begin none any more. Harmless if never started.

        Returns:
            Whether every thread had ended by the deadline; those that had not do nothing any more but end.
        """
        with self._lock:
            self._is_stopping = True
        self._trade.client.close()
        has_ended = self._job.stop(deadline)
        with self._lock:
            threads = tuple(self._threads)
        for thread in threads:
            if thread.ident is not None:
                thread.join(deadline.remaining_s())
        return has_ended and not any(thread.is_alive() for thread in threads)

    def adopt(self, *, interval_s: float) -> None:
        """Test each server at this interval from now on; see `Schedule.adopt`. Tests under way go on.

        Another worker that tests may hear of it later than this one, so for a while it is not held against it that it
        still does what was right before.
        """
        with self._lock:
            now = self._clock()
            is_heard = now - self._heard_at < self._unheard_s
            self._unheard_s = interval_s + UNHEARD_S
            if is_heard:
                self._heard_at = max(self._heard_at, now - interval_s)
            self._schedule.adopt(interval_s, now)

    # -- what is known

    @property
    def are_running(self) -> bool:
        """Whether servers are tested, by this worker or another: from `start` to `stop`, unless that fails."""
        now = self._clock()
        return self._job.is_running and now - self._looked_at < OVERSLEPT_S and now - self._heard_at < self._unheard_s

    def status_of(self, server: ServerAd) -> HealthStatus:
        """What listings say of a server."""
        if server.director_test_disabled:
            return HealthStatus.DISABLED
        with self._lock:
            entry = self._schedule.get(server.data_url)
            if entry is None:
                return HealthStatus.UNKNOWN
            return entry.last.status if entry.last else HealthStatus.INITIALIZING

    def last_of(self, data_url: str) -> Result | None:
        """How the last test of a server ended; None if none has, or it is not tested."""
        with self._lock:
            entry = self._schedule.get(data_url)
            return entry.last if entry else None

    def statistics(self) -> DirectorTestStatistics:
        """The counts and states of this moment."""
        with self._lock:
            return DirectorTestStatistics(
                servers=tuple(entry.told() for entry in self._schedule),
                threads=self._most,
                running=len(self._running),
                running_suspects=self._suspects_running(),
                waiting=sum(self._schedule.waiting()),
                put_off=self._put_off,
            )

    def heard(self, data_url: str, news: News) -> None:
        """Another worker has tested a server. Any thread; heeded when next looked at the schedule."""
        with self._lock:
            self._news.add(data_url, news, self._clock())

    # -- the thread that looks

    def tick(self) -> None:
        """Begin what is due. Called again and again by a thread of its own; does not wait."""
        servers, filtered_names, now = self._servers(), self._filtered_names(), self._clock()
        begun: list[tuple[threading.Thread, Cycle]] = []
        with self._lock:
            lost = self._keep_to(servers, now)
            is_ours = self._is_ours()
            results = self._heed_news(now, is_ours=is_ours)
            if is_ours is not self._is_at_work:
                self._is_at_work = is_ours
                self._schedule.regroup(now)
            silent = self._silent(now) if is_ours else []
            if is_ours:
                self._schedule.look(now, filtered_names)
                begun = self._begin(now)
            else:
                lost = list(self._running)
            if is_ours or all(entry.server.name in filtered_names for entry in self._schedule):
                self._heard_at = now
        for cycle in lost:
            cycle.calls.give_up()
        for cycle in silent:
            cycle.calls.cut()
        for server, result in results:
            self._on_result(server, result)
        self._start_all(begun)
        self._looked_at = self._clock()

    def _heed_news(self, now: float, *, is_ours: bool) -> list[tuple[ServerAd, Result]]:
        """Take over what others tell, until it is ours and has been before; what of it is new. The lock is held."""
        if is_ours and self._is_at_work:
            self._news.clear()  # who tests knows better
        results = []
        for entry, news in self._news.take(self._schedule.get, now):
            if entry.last != news.result and news.result.status is not HealthStatus.UNKNOWN:
                results.append((entry.server, news.result))
            self._schedule.tested_elsewhere(entry, ago_s=self._wall() - news.began_at, now=now)
            entry.heed(news)
            self._heard_at = now
        return results

    def _keep_to(self, servers: Mapping[str, ServerAd], now: float) -> list[Cycle]:
        """Follow the directory; the cycles of servers that are tested no more. The lock is held."""
        if servers is self._seen:
            return []
        self._seen = servers
        gone = self._schedule.keep_to(servers, now)
        return [cycle for cycle, entry in self._running.items() if entry.is_gone] if gone else []

    def _begin(self, now: float) -> list[tuple[threading.Thread, Cycle]]:
        """Threads for what is due, as far as there may be; the lock is held."""
        begun = []
        while len(self._threads) < self._most and (cycle := self._next(now)) is not None:
            self._numbers += 1
            name = f"director-test-{self._numbers}"
            thread = threading.Thread(target=self._work, args=(cycle,), name=name, daemon=True)
            self._threads.add(thread)
            begun.append((thread, cycle))
        return begun

    def _silent(self, now: float) -> list[Cycle]:
        """The tests to break off so that others can begin; the lock is held."""
        waiting, _ = self._schedule.waiting()
        silent = [
            (waited_s, cycle)
            for cycle in self._running
            if not (cycle.is_suspect or cycle.calls.is_cut) and (waited_s := cycle.calls.waited_s(now)) >= SILENCE_S
        ]
        silent.sort(key=lambda pair: pair[0], reverse=True)
        return [cycle for _, cycle in silent[:waiting]]

    def _start_all(self, begun: list[tuple[threading.Thread, Cycle]]) -> None:
        failed: RuntimeError | None = None
        for thread, cycle in begun:
            try:
                thread.start()
            except RuntimeError as error:  # the system gives no more threads
                failed = error
                with self._lock:
                    self._threads.discard(thread)
                    self._put_back(cycle, at_once=False)
        if failed is not None:
            raise failed

    # -- the threads that test

    def _work(self, cycle: Cycle) -> None:
        """One test after the other, as long as some are due."""
        after: Cycle | None = cycle
        while after is not None:
            after = self._finish(after, self._run(after))

    def _run(self, cycle: Cycle) -> Ended:
        try:
            return cycle.run(lambda result: self._record(cycle, result))
        except Exception:  # a mistake of ours; it must cost neither the thread nor the server its next test
            log.exception("the test of %s failed in an unforeseen way", cycle.server.name)
            return Ended(result=None)

    def _record(self, cycle: Cycle, result: Result) -> None:
        with self._lock:
            entry = self._running[cycle]
            if self._is_void(cycle):
                return
            entry.last = result
            news = self._news_of(cycle)
        if result.status is not HealthStatus.UNKNOWN:
            self._on_result(cycle.server, result)
        if news is not None:
            self._publish(cycle.server.data_url, news)

    def _finish(self, cycle: Cycle, ended: Ended) -> Cycle | None:
        """Take down how a cycle ended; the next one for this thread, if one is due."""
        with self._lock:
            entry, now = self._running[cycle], self._clock()
            is_void = self._is_void(cycle)
            is_put_off = not is_void and ended.result is None and cycle.calls.is_cut
            self._put_off += is_put_off
            lines, news = [], None
            if not is_void:
                entry.is_suspect = cycle.calls.has_hung
                if ended.result is not None:
                    if ended.result.status is not HealthStatus.UNKNOWN:
                        entry.runs[ended.result.passed, ended.report] += 1
                    lines = self._complaints.after(entry, ended, now)
                news = self._news_of(cycle)
            self._put_back(cycle, at_once=is_put_off)
            after = self._next(now)
            if after is None:
                self._threads.discard(threading.current_thread())
        if news is not None:
            self._publish(cycle.server.data_url, news)
        for level, text in lines:
            log.log(level, text)
        return after

    # -- called with the lock held

    def _next(self, now: float) -> Cycle | None:
        """What to begin next; None if nothing is due, or may be begun."""
        if self._is_stopping or not (self._is_at_work and self._is_ours()):
            return None
        suspects = self._suspects_running()
        order = (True, False) if suspects == 0 else (False, True) if suspects < self._most // 2 else (False,)
        for is_suspect in order:
            while (entry := self._schedule.take(suspects=is_suspect)) is not None:
                if any(other.server.data_url == entry.server.data_url for other in self._running):
                    # It went and came back; its old cycle is about to end.
                    self._schedule.put_back(entry, began_at=now, now=now)
                    continue
                cycle = Cycle(entry.server, entry.notes, self._trade, is_suspect=is_suspect)
                self._running[cycle] = entry
                return cycle
        return None

    def _is_void(self, cycle: Cycle) -> bool:
        """Whether nothing may be concluded from a cycle: nobody wants to know, or another worker finds out."""
        return self._running[cycle].is_gone or self._is_stopping or cycle.calls.is_void or not self._is_ours()

    def _news_of(self, cycle: Cycle) -> News | None:
        """What others have to know of a server after a cycle, or in it; None if it was never tested."""
        entry = self._running[cycle]
        if entry.last is None:
            return None
        return News(
            began_at=self._wall() - (self._clock() - cycle.began_at),
            result=entry.last,
            runs=dict(entry.runs),
            is_suspect=entry.is_suspect,
            left_behind=entry.notes.left_behind,
            evictable=entry.notes.evictable,
        )

    def _put_back(self, cycle: Cycle, *, at_once: bool) -> None:
        entry = self._running.pop(cycle)
        self._schedule.put_back(entry, began_at=cycle.began_at, now=self._clock(), at_once=at_once)

    def _suspects_running(self) -> int:
        return sum(cycle.is_suspect for cycle in self._running)
