"""What is known of a server from its director tests."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from director_wsgi.federation.models import ServerAd
from director_wsgi.outbound.client import Failure


class HealthStatus(enum.Enum):
    """What listings say of a server's director tests; the value is Pelican's text (`healthStatus`)."""

    DISABLED = "Health Test Disabled"
    """It wants none."""
    UNKNOWN = "Unknown"
    """It cannot be tested: it is reached through a broker only, or this director cannot sign for the test."""
    INITIALIZING = "Initializing"
    """Its first test has not ended yet."""
    OK = "OK"
    ERROR = "Error"


class ReportStatus(enum.Enum):
    """What became of a report to a server; the value is a label of metrics."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    NOT_SENT = "NotSent"
    """It has no web URL, or this director has no key to sign with."""


_NO_ANSWER: Final = frozenset(
    {
        Failure.TIMED_OUT,
        Failure.REFUSED,
        Failure.NAME,
        Failure.TLS,
        Failure.CUT_OFF,
        Failure.FORBIDDEN_ADDRESS,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a test of a server ended.

    Attributes:
        status: OK, ERROR, or UNKNOWN if it could not be made.
        message: What the server is told, too.
        at: When it ended, Unix time.
        failure: Why an exchange with the server came to nothing; None if it answered, whatever it answered.
    """

    status: HealthStatus
    message: str
    at: float
    failure: Failure | None = None

    @property
    def passed(self) -> bool:
        """Whether the server did all that the test asked for."""
        return self.status is HealthStatus.OK

    @property
    def is_unanswered(self) -> bool:
        """Whether the server was not reached, or fell silent: it would not answer clients either.

        An answer that refuses the test is none of these. Origins of the storage type posixv2 have no place for test
        files and answer 404, and serve their clients well.
        """
        return self.failure in _NO_ANSWER


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTests:
    """What was counted of one server while it is advertised.

    Attributes:
        runs: Tests that ended, by whether they passed and what became of the report.
        is_running: Whether one is under way.
        is_suspect: Whether it hung in its last one.
        last: How the last one ended; None if none has.
    """

    server: ServerAd
    runs: Mapping[tuple[bool, ReportStatus], int]
    is_running: bool
    is_suspect: bool
    last: Result | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorTestStatistics:
    """The counts of one moment.

    Attributes:
        servers: Each server that is tested.
        threads: Tests that may be under way at once.
        running: How many are, tests of suspects included.
        running_suspects: Of these, how many of servers that hung in their last test.
        waiting: Tests that are due and have not begun.
        put_off: Tests ever that were broken off to make room for others, and begun anew later.
    """

    servers: tuple[ServerTests, ...]
    threads: int
    running: int
    running_suspects: int
    waiting: int
    put_off: int
