"""How this director is, in the few words that stand beside its entry in the list of directors.

They are put together every few seconds, by one worker for all: nobody who asks for the list has them put together, and
every worker shows the same.
"""

import datetime as dt
import enum
import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from director_wsgi.federation.models import ServerAd
from director_wsgi.federation.store.records import Record, Renewal
from director_wsgi.health import reports
from director_wsgi.health.checks import Verdict, verdict_of
from director_wsgi.health.readiness import Readiness
from director_wsgi.limits.breaker import BreakerSnapshot, State
from director_wsgi.limits.deadline import Clock, WallClock

KIND: Final = "vitals"
"""Under which they are published."""

INTERVAL_S: Final = 5.0
"""How often they are put together."""

LIFETIME_S: Final = 30.0
"""How long they may be believed: if nobody renews them, that is worth knowing as well."""

REPORT_S: Final = 2.0
"""How often each worker tells the others how it is, if nothing has changed."""

STATUS: Final = {Verdict.OK: "ok", Verdict.WARNING: "warning", Verdict.FAILED: "critical"}
"""Pelican's words for how a program is."""

UNKNOWN: Final = "unknown"
"""The state of a server that has not been asked for anything yet."""

FILTERED: Final = "filtered"
"""The state of a server that is not used now, by its own wish or somebody else's."""

Tell = Callable[[Mapping[str, object], float], None]
"""Is told what is to be shown, which never changes, and for how long."""


class Shared(Protocol):
    """What is needed of a `federation.replica.Replica`."""

    holder: str

    def holds(self, name: str) -> bool:
        """Whether this worker has the lease."""
        ...

    def publish(self, kind: str, key: str, encode: Callable[[], bytes], *, lifetime_s: float, token: object) -> None:
        """Let other workers know."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where what is told comes from; nothing here may wait.

    Attributes:
        servers: Who is advertised.
        filtered_names: Names of servers that are not used now.
        breaker_of: The breaker of a server, by its data URL; None if it has not been asked yet.
        configuration: Which configuration is in force; empty if nobody can tell.
    """

    servers: Callable[[], Collection[ServerAd]]
    filtered_names: Callable[[], Collection[str]]
    breaker_of: Callable[[str], BreakerSnapshot | None]
    configuration: Callable[[], Mapping[str, object]] = dict


class Vitals:
    """Puts the words together, if this is the worker that does so, and hands on those of the one that does.

    `refresh` is for one thread, the rest, a `federation.replica.Follower`, for that of the replica.

    Args:
        readiness: What decides the status.
        sources: See there.
        shared: Where others are told.
        lease: Whose holder puts them together.
        clock: Monotonic seconds.
        wall: Unix seconds.
    """

    def __init__(
        self,
        readiness: Readiness,
        sources: Sources,
        *,
        shared: Shared,
        lease: str,
        clock: Clock,
        wall: WallClock,
    ) -> None:
        self._readiness = readiness
        self._sources = sources
        self._shared = shared
        self._lease = lease
        self._clock = clock
        self._wall = wall
        self._reported: tuple[reports.Report | None, float] = (None, -float("inf"))
        self._next_at = -float("inf")
        self._shown: Mapping[str, object] = {}  # the last, whoever put it together; replaced as a whole
        self._tell: Tell = lambda _health, _lifetime_s: None

    def tell_to(self, listener: Tell) -> None:
        """Name who is told. Before anything else."""
        self._tell = listener

    def refresh(self) -> None:
        """Look at what has to be looked at every second, and say how things are when it is time, or has changed."""
        self._readiness.sample()
        self._report()
        if not self._shared.holds(self._lease):
            return
        status = STATUS[verdict_of(self._readiness.checks())]
        if status == self._shown.get("status") and self._clock() < self._next_at:
            return
        self._next_at = self._clock() + INTERVAL_S
        health = self._health(status)
        self._shared.publish(
            KIND, "", lambda: json.dumps(health).encode(), lifetime_s=LIFETIME_S, token=json.dumps(health)
        )
        self._show(health, LIFETIME_S)

    # -- what another worker has put together

    def took(self, record: Record) -> None:
        """Show it."""
        try:
            health: Any = json.loads(record.body)
        except (ValueError, RecursionError):
            return
        if isinstance(health, dict):
            self._show(health, record.remaining_s(self._wall()))

    def renewed(self, renewal: Renewal) -> bool:
        """Show it for longer."""
        if not self._shown:
            return False
        self._show(self._shown, renewal.remaining_s(self._wall()))
        return True

    def dropped(self, key: str) -> None:
        """Nothing: it ends by itself."""

    # --

    def _show(self, health: Mapping[str, object], lifetime_s: float) -> None:
        self._shown = health
        self._tell(health, min(lifetime_s, LIFETIME_S))

    def _report(self) -> None:
        report, now = self._readiness.report(), self._clock()
        last, at = self._reported
        if last is not None and last.checks == report.checks and now - at < REPORT_S:
            return
        self._reported = report, now
        self._shared.publish(
            reports.KIND, self._shared.holder, report.encode, lifetime_s=reports.LIFETIME_S, token=report
        )

    def _health(self, status: str) -> Mapping[str, object]:
        now = dt.datetime.fromtimestamp(int(self._wall()), dt.UTC).isoformat().replace("+00:00", "Z")
        in_use, limit = self._readiness.waiting()
        configuration = self._sources.configuration()
        return {
            "status": status,
            "since": self._shown.get("since", now) if status == self._shown.get("status") else now,
            "servers": self._servers(),
            "lanes": {"inUse": in_use, "limit": limit},
            **({"configuration": configuration} if configuration else {}),
        }

    def _servers(self) -> dict[str, int]:
        filtered = self._sources.filtered_names()
        states = Counter(
            FILTERED if server.name in filtered else state_of(self._sources.breaker_of(server.data_url))
            for server in self._sources.servers()
        )
        return dict(sorted(states.items()))


def state_of(breaker: BreakerSnapshot | None) -> str:
    """How a server is, in an operator's word: `ok`, what is wrong with it, or `unknown`."""
    if breaker is None:
        return UNKNOWN
    if breaker.state is State.CLOSED:
        return "ok"
    return str(breaker.reason.value if isinstance(breaker.reason, enum.Enum) else breaker.reason)
