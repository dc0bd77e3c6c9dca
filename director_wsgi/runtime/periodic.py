"""What is done again and again, on a thread of its own."""

import logging
import math
import threading
from collections.abc import Callable

from director_wsgi.limits.deadline import Deadline

SHORTEST_INTERVAL_S = 0.1
"""Nothing is done more often, whatever an interval that is computed comes to."""

_log = logging.getLogger(__name__)


class PeriodicJob:
    """Calls a function, waits, calls it again, until it is stopped.

    A call that raises is logged and does not end the job; the same kind of error is logged once, until a call
    succeeds. The interval lies between the end of one call and the beginning of the next, so calls never overlap.

    Args:
        name: Name of the thread.
        interval_s: Seconds between calls; a function is asked after each call.
        function: What is done. It must come back within a bound of its own: nothing can interrupt it.
        at_once: Whether the first call comes at once, or after one interval.
    """

    def __init__(
        self,
        name: str,
        interval_s: float | Callable[[], float],
        function: Callable[[], object],
        *,
        at_once: bool = True,
    ) -> None:
        self._name = name
        self._interval_s = interval_s
        self._function = function
        self._at_once = at_once
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._logged: set[type[Exception]] = set()  # touched by the job's own thread only

    def start(self) -> None:
        """Begin.

        Raises:
            RuntimeError: It has been started before; a job that was stopped stays so.
        """
        self._thread.start()

    def wake(self) -> None:
        """Make the next call at once, or after the one that is running. Any thread; does not wait."""
        self._woken.set()

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._thread.is_alive()

    def stop(self, deadline: Deadline) -> bool:
        """Call the function no more, and wait for a call that is running. May be called again, or before `start`.

        Returns:
            Whether it has ended by the deadline. If not, it ends after the running call.
        """
        self._stopping.set()
        self._woken.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(deadline.remaining_s())
        return not self._thread.is_alive()

    def _run(self) -> None:
        if not self._at_once:
            self._woken.wait(self._next_s())
        while True:
            self._woken.clear()  # before the call: who wakes it meanwhile knows more than the call does
            if self._stopping.is_set():
                return
            self._call()
            self._woken.wait(self._next_s())

    def _call(self) -> None:
        try:
            self._function()
        except Exception as error:  # noqa: BLE001, the next call may be better; a thread that ended would tell nobody
            if type(error) not in self._logged:
                self._logged.add(type(error))
                _log.exception("%s failed", self._name)
        else:
            self._logged.clear()

    def _next_s(self) -> float:
        interval_s = self._interval_s() if callable(self._interval_s) else self._interval_s
        if math.isnan(interval_s):
            return SHORTEST_INTERVAL_S
        return min(max(interval_s, SHORTEST_INTERVAL_S), threading.TIMEOUT_MAX)

    def __repr__(self) -> str:
        return f"<PeriodicJob {self._name}>"
