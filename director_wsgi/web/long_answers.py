"""Long answers, to clients that may be slow to read them.

What the kernel's buffers do not take is written as fast as the client reads, and a handler thread waits for that. A few
dozen clients that ask for a list of megabytes and read a little of it now and then would hold them all. So only so many
long answers are under way at once, shared between the networks that ask, and each has an end. Redirects, and what else
is short, need none of this.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from director_wsgi.limits.deadline import Clock, Deadline
from director_wsgi.limits.lanes import Lanes, Permit
from director_wsgi.runtime.redirect_counters import network_of
from director_wsgi.web.addresses import TrustedProxies
from director_wsgi.web.responses import simple

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SHORT_BYTES: Final = 32_768
"""A body that is not longer fits into the kernel's buffers: Linux begins with some 85 KB for a connection."""

LONGEST_S: Final = 60.0
"""How long the sending of one answer may take; then the connection is closed, and the client sees that it is cut."""

RETRY_S: Final = 5

_BUSY: Final = "Other long answers are being sent; please retry shortly"
_Started = tuple[str, list[tuple[str, str]], "OptExcInfo | None"]


def share_of(threads: int) -> int:
    """How many of a worker's threads may be sending long answers."""
    return max(1, threads // 4)


class LongAnswers:
    """WSGI middleware. Any number of threads.

    Args:
        app: Answers.
        lanes: Permits to send a long answer; a key is a client's network.
        proxies: Whose word on a client's address is taken.
        clock: Monotonic seconds.
    """

    def __init__(self, app: "WSGIApplication", *, lanes: Lanes, proxies: TrustedProxies, clock: Clock) -> None:
        self._app = app
        self._lanes = lanes
        self._proxies = proxies
        self._clock = clock

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer, or say 503 if the answer is long and too many such are being sent."""
        started: list[_Started] = []

        def start(status: str, headers: list[tuple[str, str]], problem: "OptExcInfo | None" = None, /) -> Any:
            started[:] = [(status, headers, problem)]
            return _no_write

        body = self._app(environ, start)
        (status, headers, problem) = started[0]
        if environ["REQUEST_METHOD"] == "HEAD" or _is_short(status, headers):
            start_response(status, headers, *([problem] if problem else []))
            return body
        permit = self._lanes.take_nowait(network_of(self._proxies.client_address(environ)))
        if permit is None:
            _close(body)
            return simple(503, _BUSY, (("Retry-After", str(RETRY_S)),))(environ, start_response)
        sending = _Sending(body, permit, Deadline.after(LONGEST_S, self._clock))
        try:
            start_response(status, headers, *([problem] if problem else []))
        except BaseException:
            sending.close()
            raise
        return sending


class _Sending:
    """The body of an answer under way, in pieces that each are short; gives the permit back after the last of them."""

    def __init__(self, body: Iterable[bytes], permit: Permit, deadline: Deadline) -> None:
        self._body = body
        self._permit = permit
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        """Raises TimeoutError at the end of its time: for the server, a client that has been given up."""
        for part in self._body:
            for at in range(0, len(part), SHORT_BYTES):
                if self._deadline.remaining_s() <= 0:
                    raise TimeoutError("a long answer was not read in time")
                yield part[at : at + SHORT_BYTES]
        self._permit.release()

    def close(self) -> None:
        """Called by the server, whatever became of the answer."""
        try:
            _close(self._body)
        finally:
            self._permit.release()


def _is_short(status: str, headers: list[tuple[str, str]]) -> bool:
    if status.startswith(("204", "304")):
        return True
    length = next((value for name, value in headers if name.lower() == "content-length"), None)
    return length is not None and int(length) <= SHORT_BYTES


def _close(body: Iterable[bytes]) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()


def _no_write(_data: bytes) -> object:
    raise NotImplementedError("nothing here writes but by its body (PEP 3333)")
