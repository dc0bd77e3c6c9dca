"""Spans that wait to be sent, and the thread that sends them.

There is room for so many. Who has a span to hand over never waits: if there is no room, it is dropped, and counted. The
thread begins with the first span and sleeps while there is none. What cannot be sent now is kept and tried again a
few times, while new ones fill the room that is left.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.runtime.tracing import counts
from director_wsgi.runtime.tracing.counts import SpanCounts
from director_wsgi.runtime.tracing.span import Span

TRIES: Final = 5
"""How often the same spans are sent before they are given up."""

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
"""Between those; doubled each time, unless the collector asks for another one."""

FLUSH_S: Final = 1.0
"""How long a tracer that ends goes on sending."""

JOIN_S: Final = 0.5
"""How long the thread is given to end after its connection was cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """How sending ended.

    Attributes:
        rejected: Spans that the collector would not have.
        again: Whether the same may be sent again, since none has arrived.
        after_s: What it wants to be spared till then; 0 if it said nothing.
    """

    rejected: int = 0
    again: bool = False
    after_s: float = 0.0


_log = logging.getLogger(__name__)

Send = Callable[[Sequence[Span], Deadline], Sent]
"""Sends spans by the deadline; raises nothing that a collector does."""


class Batch:
    """A bounded queue, and its thread, `director-spans`. Any number of threads hand over.

    Args:
        send: Called on that thread only.
        cut: Ends a `send` that is under way, at once, and every later one.
        size: How many go at a time; so many waiting wake the thread at once.
        room: How many may wait, those being sent not counted; at least `size`.
        interval_s: How long they wait for company.
        timeout_s: For one `send`.
        told: Told what becomes of each.
        clock: Monotonic seconds.
    """

    # _lock guards every attribute that changes; a thread may be started under it, nothing else is called.

    def __init__(
        self,
        send: Send,
        cut: Callable[[], object],
        *,
        size: int,
        room: int,
        interval_s: float,
        timeout_s: float,
        told: SpanCounts,
        clock: Clock = monotonic,
    ) -> None:
        self._send = send
        self._cut = cut
        self._size = size
        self._room = room
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._told = told
        self._clock = clock
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting: deque[Span] = deque()
        self._thread: threading.Thread | None = None
        self._last: Deadline | None = None  # there once it is closed

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def offer(self, span: Span) -> None:
        """Hand over a span; does not wait."""
        with self._lock:
            outcome = self._take(span)
        if outcome:
            self._told.add(outcome)

    def _take(self, span: Span) -> str:
        """Why it was not taken; with the lock held."""
        if self._last is not None:
            return counts.CLOSED
        if len(self._waiting) >= self._room or not self._has_thread():
            return counts.OVERFLOW
        self._waiting.append(span)
        if len(self._waiting) in {1, self._size}:
            self._changed.notify()
        return ""

    def _has_thread(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="director-spans", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system gives no more: the next span tries again
                return False
            self._thread = thread
        return True

    def close(self, deadline: Deadline) -> bool:
        """Take no more, send what is there as far as the collector lets us, and end. May be called again.

        Returns:
            Whether the thread had ended by the deadline.
        """
        flush = deadline.at_most(FLUSH_S)
        with self._changed:
            if self._last is None:
                self._last = flush
            self._changed.notify_all()
            thread = self._thread
        if thread is None:
            self._cut()
            return True
        thread.join(flush.remaining_s())
        self._cut()
        thread.join(max(deadline.remaining_s(), JOIN_S if thread.is_alive() else 0.0))
        return not thread.is_alive()

    # -- on its thread

    def _run(self) -> None:
        while spans := self._next():
            self._deliver(spans)
        with self._lock:
            left = len(self._waiting)
            self._waiting.clear()
        if left:
            self._told.add(counts.CLOSED, left)

    def _next(self) -> list[Span]:
        """What is to be sent now; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._last is not None)
            self._changed.wait_for(
                lambda: len(self._waiting) >= self._size or self._last is not None, timeout=self._interval_s
            )
            if self._last is not None and self._last.has_passed():
                return []
            return [self._waiting.popleft() for _ in range(min(self._size, len(self._waiting)))]

    def _deliver(self, spans: list[Span]) -> None:
        """Send them until they have arrived, or it is known that they won't."""
        pause_s = FIRST_PAUSE_S
        for _ in range(TRIES):
            is_last = self._last is not None
            sent = self._try(spans)
            if not sent.again:
                self._told.add(counts.EXPORTED, len(spans) - sent.rejected)
                self._told.add(counts.REJECTED, sent.rejected)
                return
            if is_last or self._pause(min(sent.after_s or pause_s, LONGEST_PAUSE_S)):
                break
            pause_s *= 2
        self._told.add(counts.CLOSED if self._last is not None else counts.FAILED, len(spans))

    def _try(self, spans: list[Span]) -> Sent:
        try:
            return self._send(spans, self._deadline())
        except Exception:  # noqa: BLE001, a mistake of ours; the next spans may fare better
            _log.exception("spans could not be sent")
            return Sent(rejected=len(spans))

    def _deadline(self) -> Deadline:
        last = self._last
        return last.at_most(self._timeout_s) if last is not None else Deadline.after(self._timeout_s, self._clock)

    def _pause(self, seconds: float) -> bool:
        """Wait; whether the end has come meanwhile, and it has no time for another try."""
        with self._changed:
            self._changed.wait_for(lambda: self._last is not None, timeout=seconds)
            return self._last is not None and self._last.has_passed()
