"""One request under way, and the switches that may end it from another thread.

An `Exchange` belongs to the thread that sends. Two things about it are shared: whether it has been aborted, and which
socket it uses at the moment; both are guarded by its lock. The rule that makes an abort safe: a socket is shut down
only under the lock of the exchange that holds it, and an exchange lets go of its socket, under the same lock, before
the connection may serve anybody else.
"""

import contextlib
import io
import socket
import threading

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.failures import Failure, OutboundError

MAX_HEADER_BYTES = 64 * 1024
"""Most that is read of a status line and headers, interim answers included."""


class Exchange:
    """One request and its answer: what it may take, what it has taken, and how to end it.

    Args:
        peer: `host:port`, for messages.
        deadline: End of everything.
        max_bytes: Most bytes of the body.
    """

    __slots__ = (
        "_aborted_as",
        "_budget_bytes",
        "_eof_ends_body",
        "_hold",
        "_lock",
        "_socket",
        "_waiter",
        "answered",
        "deadline",
        "max_bytes",
        "peer",
    )

    def __init__(self, peer: str, deadline: Deadline, max_bytes: int) -> None:
        self.peer = peer
        self.deadline = deadline
        self.max_bytes = max_bytes
        self.answered = False
        """Whether any byte of an answer has arrived."""
        self._budget_bytes = MAX_HEADER_BYTES
        self._eof_ends_body = False
        self._lock = threading.Lock()
        self._aborted_as: Failure | None = None
        self._socket: socket.socket | None = None
        self._hold: io.RawIOBase | None = None
        self._waiter: threading.Event | None = None

    def error(self, failure: Failure, detail: str = "") -> OutboundError:
        """Build the exception for `failure`, naming the peer."""
        return OutboundError(failure, f"{self.peer}: {failure.value}{f' ({detail})' if detail else ''}")

    # -- what a socket asks before and tells after each step; own thread only

    def remaining_s(self) -> float:
        """Seconds left for the next step, more than 0.

        Raises:
            OutboundError: TIMED_OUT if none is left; as aborted if the exchange has been.
        """
        self.raise_if_aborted()
        remaining_s = self.deadline.remaining_s()
        if remaining_s <= 0.0:
            raise self.error(Failure.TIMED_OUT)
        return remaining_s

    def note_received(self, count: int) -> None:
        """Account for `count` bytes read; 0 is the end of the stream.

        Raises:
            OutboundError: CUT_OFF if the stream may not end here, which `http.client` would take for the end of the
                headers and thus for success; TOO_LARGE if more came than is read of this part.
        """
        if count == 0:
            if not self._eof_ends_body:
                raise self.error(Failure.CUT_OFF)
            return
        self.answered = True
        self._budget_bytes -= count
        if self._budget_bytes < 0:
            raise self.error(Failure.TOO_LARGE)

    def expect_headers(self) -> None:
        """From here on bytes belong to a status line and headers."""
        self._budget_bytes = MAX_HEADER_BYTES
        self._eof_ends_body = False

    def expect_body(self, *, ended_by_eof: bool, in_chunks: bool = False) -> None:
        """From here on bytes belong to the body.

        Args:
            ended_by_eof: Nothing but the end of the stream says where it ends.
            in_chunks: It carries its framing with it. A chunk of one byte takes six, and trailers may follow, so
                there is room for the worst honest case, whereas the body proper is measured by who reads it.
        """
        self._budget_bytes = 8 * self.max_bytes + MAX_HEADER_BYTES if in_chunks else self.max_bytes
        self._eof_ends_body = ended_by_eof

    # -- the socket in use

    def attach(self, sock: socket.socket) -> None:
        """Take `sock` into use, in place of any other, so that an abort reaches it.

        Raises:
            OutboundError: The exchange has been aborted already.
        """
        self.detach()
        # An open file keeps the descriptor from being closed, and its number from being given to another socket,
        # while an abort on another thread may be about to shut it down.
        hold = sock.makefile("rb", buffering=0)
        with self._lock:
            if self._aborted_as is None:
                self._socket, self._hold = sock, hold
                return
        hold.close()
        self.raise_if_aborted()

    def detach(self) -> None:
        """Let go of the socket: no abort touches it any more."""
        with self._lock:
            hold, self._socket, self._hold = self._hold, None, None
        if hold is not None:
            hold.close()

    def waiter(self) -> threading.Event:
        """An event to wait on while there is no socket: an abort sets it."""
        event = threading.Event()
        with self._lock:
            self._waiter = event
            if self._aborted_as is not None:
                event.set()
        return event

    # -- ending it

    def abort(self, failure: Failure) -> None:
        """End the exchange with `failure`, from any thread; the first abort counts. Without effect after `finish`."""
        with self._lock:
            if self._aborted_as is not None:
                return
            self._aborted_as = failure
            if self._waiter is not None:
                self._waiter.set()
            if self._socket is not None:
                # Under the lock, since the socket must not change hands meanwhile; shutdown never blocks. The plain
                # method also for TLS: the one of SSLSocket drops the TLS state under the feet of the reader.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def raise_if_aborted(self) -> None:
        """Raise what the exchange was aborted with, if it was."""
        if self._aborted_as is not None:
            raise self.error(self._aborted_as) from None

    def finish(self) -> None:
        """Let go of the socket for good, after a complete answer.

        Raises:
            OutboundError: The exchange was aborted before this moment; what was read does not count.
        """
        self.detach()
        self.raise_if_aborted()


class Cancellation:
    """A switch, thrown once, that ends every exchange under way with it.

    Safe at any time and from any thread: before an exchange begins (it then fails at once), while it runs, after it
    has ended (nothing happens). One switch may serve any number of sends, one after the other or at once.

    Args:
        failure: What the exchanges end with.
    """

    __slots__ = ("_cancelled", "_exchanges", "_failure", "_lock")

    def __init__(self, failure: Failure = Failure.CANCELLED) -> None:
        self._failure = failure
        self._lock = threading.Lock()
        self._cancelled = False
        self._exchanges: set[Exchange] = set()

    @property
    def is_cancelled(self) -> bool:
        """Whether the switch has been thrown."""
        return self._cancelled

    def cancel(self) -> None:
        """End every exchange under way, and every later one at its start. Does not wait and does not block."""
        with self._lock:
            self._cancelled = True
            exchanges = tuple(self._exchanges)
        for exchange in exchanges:
            exchange.abort(self._failure)

    def cover(self, exchange: Exchange) -> None:
        """Let the switch end `exchange`, at once if it has been thrown, until `release`."""
        with self._lock:
            self._exchanges.add(exchange)
            cancelled = self._cancelled
        if cancelled:
            exchange.abort(self._failure)

    def release(self, exchange: Exchange) -> None:
        """The exchange has ended."""
        with self._lock:
            self._exchanges.discard(exchange)
