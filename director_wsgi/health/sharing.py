"""What the worker that tests servers tells the other workers of its host.

With it, every worker says the same of a server, ranks and spares it alike, and can go on with the tests at any moment
where the one before has left off.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from director_wsgi.federation.store.records import Record, Renewal
from director_wsgi.health.status import HealthStatus, ReportStatus, Result
from director_wsgi.limits.deadline import WallClock
from director_wsgi.outbound.client import Failure
from director_wsgi.redirect.monitoring import MONITORING

E = TypeVar("E")

log = logging.getLogger(__name__)

KIND: Final = "test"
"""Under which it is published, by data URL."""

LIFETIME_S: Final = 300.0
"""How long it is worth telling; as a rule it is told anew in every interval."""

STRANGER_S: Final = 60.0
"""How long news of a server is kept that this worker does not know, or not yet."""

MAX_HEARD: Final = 20_000
"""News that may wait to be heeded; further ones are not heard."""

MAX_RUNS: Final = 1 << 53
"""More tests than can ever have been made."""


class Publish(Protocol):
    """The part of `federation.replica.Replica.publish` that is needed here."""

    def __call__(self, kind: str, key: str, encode: Callable[[], bytes], *, lifetime_s: float, token: object) -> None:
        """Let the others know; does not wait."""
        ...


def tell_nobody(kind: str, key: str, encode: Callable[[], bytes], *, lifetime_s: float, token: object) -> None:
    """A `Publish` for who is alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """How the last test of a server ended, and what the next one has to know.

    Attributes:
        began_at: When its cycle began, Unix time.
        result: Of the test.
        runs: Tests so far, as in `ServerTests`.
        is_suspect: Whether it hung in the last one.
        left_behind: See `cycle.Notes`.
        evictable: The same.
    """

    began_at: float
    result: Result
    runs: Mapping[tuple[bool, ReportStatus], int] = field(default_factory=dict)
    is_suspect: bool = False
    left_behind: str | None = None
    evictable: str | None = None

    def encode(self) -> bytes:
        """As a few hundred bytes of JSON."""
        result = self.result
        told = {
            "began_at": self.began_at,
            "status": result.status.value,
            "message": result.message,
            "at": result.at,
            "failure": None if result.failure is None else result.failure.value,
            "runs": [[passed, report.value, times] for (passed, report), times in self.runs.items()],
            "is_suspect": self.is_suspect,
            "left_behind": self.left_behind,
            "evictable": self.evictable,
        }
        return json.dumps(told, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, body: bytes) -> "News":
        """Read what `encode` wrote.

        Raises:
            ValueError: It did not write this.
        """
        try:
            return _news(json.loads(body))
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"no news of a test: {error}") from None


class Heard:
    """News that nobody has heeded yet. Not for several threads at once: its owner has a lock."""

    def __init__(self) -> None:
        self._news: dict[str, tuple[News, float]] = {}

    def add(self, data_url: str, news: News, now: float) -> None:
        """There is news, in place of what there was."""
        if len(self._news) < MAX_HEARD or data_url in self._news:
            self._news[data_url] = (news, now)

    def take(self, find: Callable[[str], E | None], now: float) -> list[tuple[E, News]]:
        """The news of those servers that can be found; of others it waits a little."""
        taken, waiting = [], {}
        for data_url, (news, heard_at) in self._news.items():
            entry = find(data_url)
            if entry is not None:
                taken.append((entry, news))
            elif now - heard_at < STRANGER_S:
                waiting[data_url] = (news, heard_at)
        self._news = waiting
        return taken

    def clear(self) -> None:
        """Forget all of it."""
        self._news.clear()


class Following:
    """Takes what other workers publish of their tests; see `federation.replica.Follower`.

    Args:
        heard: Told of each; must not wait.
        wall: Unix seconds.
    """

    def __init__(self, heard: Callable[[str, News], object], *, wall: WallClock) -> None:
        self._heard = heard
        self._wall = wall

    def took(self, record: Record) -> None:
        """There is something new of a server."""
        if record.remaining_s(self._wall()) <= 0:
            return
        try:
            news = News.decode(record.body)
        except ValueError as error:
            log.debug("of another version, or broken: %s", error)
            return
        self._heard(record.key, news)

    def renewed(self, renewal: Renewal) -> None:
        """Nothing: what lives on has been heard of."""

    def dropped(self, key: str) -> None:
        """Nothing: what is known of a server goes with its advertisement."""


def _news(told: Mapping[str, Any]) -> News:
    return News(
        began_at=_number(told["began_at"]),
        result=Result(
            status=HealthStatus(told["status"]),
            message=_text(told["message"]),
            at=_number(told["at"]),
            failure=None if told["failure"] is None else Failure(told["failure"]),
        ),
        runs={(_flag(passed), ReportStatus(report)): _count(times) for passed, report, times in told["runs"]},
        is_suspect=_flag(told["is_suspect"]),
        left_behind=_path(told["left_behind"]),
        evictable=_path(told["evictable"]),
    )


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        raise ValueError("not a time")
    return float(value)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_RUNS:
        raise ValueError("not a count")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")  # noqa: TRY004, all that cannot be read is one error
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")  # noqa: TRY004, the same
    return value


def _path(value: object) -> str | None:
    """A test file: whatever a body says, nothing else is written to an origin, or dropped at a cache."""
    if value is None:
        return None
    path = _text(value)
    if not path.startswith(f"{MONITORING}/") or ".." in path:
        raise ValueError("not a test file")
    return path
