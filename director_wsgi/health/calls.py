"""The outbound calls of one test and its report."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final, Protocol

from director_wsgi.limits.deadline import Clock, Deadline
from director_wsgi.outbound.client import Answer, Cancellation, Failure, OutboundError

MAX_ANSWER_BYTES: Final = 64 * 1024


class Client(Protocol):
    """The part of `outbound.client.HttpClient` that is needed here."""

    def send(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int = ...,
        cancellation: Cancellation | None = None,
    ) -> Answer:
        """One exchange; raises OutboundError only."""
        ...

    def close(self) -> None:
        """End what is under way, and give the connections back."""
        ...


class ServerFailed(Exception):
    """The server did not do what the test asked for; `str()` says what.

    Attributes:
        failure: Why it gave no answer; None if it gave one.
    """

    def __init__(self, message: str, failure: Failure | None = None) -> None:
        self.failure = failure
        super().__init__(message)


class Calls:
    """Sends, one after the other, on one thread. Another thread may look at them and cut them short.

    Args:
        client: Sends.
        clock: Monotonic seconds.
        is_ours: Whether it is still for this worker to send; asked right before each call, since a process may have
            been stopped for any time meanwhile.

    Attributes:
        has_hung: Whether a call ended because time was up, or was cut short.
        is_void: Whether it was found to be another's task now: nothing may be concluded from how the calls ended.
    """

    def __init__(self, client: Client, clock: Clock, is_ours: Callable[[], bool] = lambda: True) -> None:
        self._client = client
        self._clock = clock
        self._is_ours = is_ours
        self._cancellation = Cancellation()
        self._began_at: float | None = None  # of the call under way; one assignment, hence no lock
        self.has_hung = False
        self.is_void = False

    def send(
        self, method: str, url: str, *, deadline: Deadline, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        """One exchange.

        Raises:
            OutboundError: There is no complete answer.
        """
        if not self._is_ours():
            self.give_up()
            raise OutboundError(Failure.CANCELLED)
        self._began_at = self._clock()
        try:
            return self._client.send(
                method,
                url,
                deadline=deadline,
                headers=headers,
                body=body,
                max_bytes=MAX_ANSWER_BYTES,
                cancellation=self._cancellation,
            )
        except OutboundError as error:
            self.has_hung |= error.failure in {Failure.TIMED_OUT, Failure.CANCELLED}
            raise
        finally:
            self._began_at = None

    def waited_s(self, now: float) -> float:
        """How long the call under way has taken up to now; 0 if none is. Any thread."""
        began_at = self._began_at
        return 0.0 if began_at is None else now - began_at

    def cut(self) -> None:
        """End the call under way and every later one, with CANCELLED. Any thread; does not wait."""
        self._cancellation.cancel()

    def give_up(self) -> None:
        """Cut them short since they are another's task now. Any thread; does not wait."""
        self.is_void = True
        self.cut()

    @property
    def is_cut(self) -> bool:
        """Whether they have been cut short."""
        return self._cancellation.is_cancelled


def bearer(token: str) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def status_line(status: int) -> str:
    """`404 Not Found`; the number alone if it has no name."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
