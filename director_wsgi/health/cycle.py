"""One cycle: a server is tested, and told how it went."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from director_wsgi.federation.models import ServerAd, ServerKind
from director_wsgi.health import cache_test, files, report
from director_wsgi.health.calls import Calls, Client, ServerFailed
from director_wsgi.health.origin_test import OriginTest
from director_wsgi.health.status import HealthStatus, ReportStatus, Result
from director_wsgi.health.tokens import Tokens
from director_wsgi.limits.deadline import Clock, Deadline, WallClock
from director_wsgi.outbound.client import Failure
from director_wsgi.trust.minting import NoSigningKey

log = logging.getLogger(__name__)

NO_KEY: Final = "this director has no key to sign with"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How long the parts of a cycle may take, on the clock on the wall.

    Together the usual ones are one interval, so that a server which is slow in everything still hears in time.
    """

    cycle_s: float = 15.0
    test_s: float = 10.0
    eviction_s: float = 2.0
    report_s: float = 5.0


USUAL: Final = Bounds()
OF_SUSPECTS: Final = Bounds(cycle_s=7.5, test_s=5.0, eviction_s=1.0, report_s=2.5)
"""Of a server that hung in its last test: enough to show that it is well again."""


@dataclass(slots=True)
class Notes:
    """What one cycle leaves for the next of the same server; touched by the thread of a cycle, of which there is one.

    Attributes:
        left_behind: A file that may still be at the origin; the next test uses it again, so that never more than one
            is left, however long an origin cannot delete.
        evictable: The file of the last test that a cache passed.
    """

    left_behind: str | None = None
    evictable: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """What every cycle works with.

    Attributes:
        client: Sends.
        tokens: Authorise.
        hostname: This director's name in the paths of files at caches.
        is_ours: Whether it is for this worker to test servers; see `Calls`.
    """

    client: Client
    tokens: Tokens
    hostname: str
    clock: Clock
    wall: WallClock
    is_ours: Callable[[], bool] = lambda: True


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a cycle ended.

    Attributes:
        result: Of the test; None if it was broken off.
        report: What became of the report.
        complaint: What is wrong with the server, for the log; None if nothing is.
        lacks_key: Whether something could not be done since this director has no key.
    """

    result: Result | None
    report: ReportStatus = ReportStatus.NOT_SENT
    complaint: str | None = None
    lacks_key: bool = False


class Cycle:
    """One cycle of one server.

    `run` belongs to one thread; what it does may be watched and cut short from others through `calls`.

    Args:
        server: Whom to test.
        notes: Of this server.
        trade: The means.
        is_suspect: Whether it hung in its last test.
    """

    def __init__(self, server: ServerAd, notes: Notes, trade: Trade, *, is_suspect: bool) -> None:
        self.server = server
        self.is_suspect = is_suspect
        self.calls = Calls(trade.client, trade.clock, trade.is_ours)
        self.began_at = trade.clock()
        self._path = ""
        self._notes = notes
        self._trade = trade
        self._bounds = OF_SUSPECTS if is_suspect else USUAL

    def run(self, tell: Callable[[Result], object]) -> Ended:
        """Test and report; blocks until both are done or their time is up.

        Args:
            tell: Told how the test ended, before the server is; not told of a test that was broken off.
        """
        end = Deadline.after(self._bounds.cycle_s, self._trade.clock)
        result = self._test(end)
        if result is None:
            return Ended(result=None)
        tell(result)
        if result.status is HealthStatus.UNKNOWN:
            return Ended(result=result, lacks_key=True)
        what = None if result.passed else result.message
        if not self.server.web_url:
            return Ended(result=result, complaint=what)
        try:
            refusal = self._report(result, end)
        except NoSigningKey:
            return Ended(result=result, complaint=what, lacks_key=True)
        if refusal is None:
            return Ended(result=result, report=ReportStatus.SUCCEEDED, complaint=what)
        what = what or f"the report of its test was not taken: {refusal}"
        return Ended(result=result, report=ReportStatus.FAILED, complaint=what)

    # -- the test

    def _test(self, end: Deadline) -> Result | None:
        """How it went; None if it was broken off."""
        is_origin = self.server.kind is ServerKind.ORIGIN
        deadline = end.at_most(self._bounds.test_s)
        try:
            path = self._try_origin(deadline, end) if is_origin else self._try_cache(deadline)
        except NoSigningKey:
            return self._result(HealthStatus.UNKNOWN, f"Director test could not be made: {NO_KEY}")
        except ServerFailed as error:
            if self.calls.is_cut:
                return None
            message = f"Director file transfer test cycle failed for server: {self.server.base_url} {error}"
            return self._result(HealthStatus.ERROR, message, error.failure)
        self._path = path
        return self._result(HealthStatus.OK, f"Director test cycle succeeded at {files.stamp(self._trade.wall())}")

    def _result(self, status: HealthStatus, message: str, failure: Failure | None = None) -> Result:
        return Result(status=status, message=message, at=self._trade.wall(), failure=failure)

    def _try_origin(self, deadline: Deadline, end: Deadline) -> str:
        left_behind = self._notes.left_behind
        test = OriginTest(
            self.server,
            left_behind or files.path_at_origin(self._trade.wall()),
            calls=self.calls,
            tokens=self._trade.tokens,
            deadline=deadline,
            end=end,
            may_be_left=left_behind is not None,
        )
        try:
            test.run()
        finally:
            self._notes.left_behind = test.path if test.may_be_left else None
        return test.path

    def _try_cache(self, deadline: Deadline) -> str:
        path = files.path_at_cache(self._trade.wall(), self._trade.hostname)
        cache_test.read(self.server, path, calls=self.calls, deadline=deadline)
        return path

    # -- the report

    def _report(self, result: Result, end: Deadline) -> str | None:
        """Tell the server; what went wrong, or None."""
        if result.passed and self.server.kind is ServerKind.CACHE:
            self._evict(end.at_most(self._bounds.eviction_s))
        deadline = end.at_most(self._bounds.report_s)
        return report.send(self.server, result, calls=self.calls, tokens=self._trade.tokens, deadline=deadline)

    def _evict(self, deadline: Deadline) -> None:
        """Have the cache drop the file of the test before; that it does not is its own affair."""
        before, self._notes.evictable = self._notes.evictable, self._path
        if before is None or before == self._path:
            return
        refusal = cache_test.evict(self.server, before, calls=self.calls, tokens=self._trade.tokens, deadline=deadline)
        if refusal is not None:
            log.debug("%s did not drop %s: %s", self.server.name, before, refusal)
