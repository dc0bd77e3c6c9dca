"""A reload without a gap: the old workers take requests until the new ones do.

gunicorn ends the old workers as soon as it has forked the new ones, which then load the application first: for half a
second or more nobody would take a connection, and clients would wait.
"""

import os
import threading
from collections.abc import Callable
from typing import Any, Final

from director_wsgi.limits.deadline import Clock, Deadline, monotonic

READY_S: Final = 5.0
"""How long new workers may take to start before the old ones end nevertheless. The master hears no signal meanwhile."""

LOOK_S: Final = 0.02
"""How often it is looked whether they have."""

Pause = Callable[[float], object]


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def hand_over(server: Any, *, clock: Clock = monotonic, pause: Pause = _pause) -> None:
    """Let a master end workers only when those that stay serve. For the master's main thread, once.

    Args:
        server: gunicorn's arbiter.
        clock: The one of gunicorn's heartbeats: monotonic seconds.
        pause: Waits for so many seconds.
    """
    ends_surplus = server.manage_workers
    waited_for = 0

    def manage_workers() -> None:
        nonlocal waited_for
        # Once for each generation: one that hangs is not waited for again at every look of the master's.
        if len(server.WORKERS) > server.num_workers and waited_for < server.worker_age:
            waited_for = server.worker_age
            _wait_for_the_youngest(server, Deadline.after(READY_S, clock), clock, pause)
        ends_surplus()

    server.manage_workers = manage_workers


def _wait_for_the_youngest(server: Any, deadline: Deadline, clock: Clock, pause: Pause) -> None:
    by_age = sorted(server.WORKERS.items(), key=lambda one: one[1].age)
    youngest = by_age[len(by_age) - server.num_workers :]
    while not deadline.has_passed():
        youngest = [(pid, worker) for pid, worker in youngest if not (_has_begun(worker, clock()) or _has_ended(pid))]
        if not youngest:
            return
        pause(LOOK_S)


def _has_begun(worker: Any, now: float) -> bool:
    """Whether a worker's main thread has ever shown that it runs."""
    try:
        # The file is made with a time stamp of the calendar, which is one of the far future here.
        return bool(worker.tmp.last_update() <= now)
    except (OSError, ValueError):  # it has just ended
        return True


def _has_ended(pid: int) -> bool:
    """Whether a child has; its status stays for gunicorn to fetch."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True
