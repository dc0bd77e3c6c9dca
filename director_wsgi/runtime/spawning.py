"""How the master starts workers when the system has nothing to spare: no process, no descriptor, no memory, no room.

gunicorn's master ends the whole service when a fork fails, or when it can make no file in `worker_tmp_dir` for the
heartbeat of one more worker. Here it keeps the workers it has. It tries again each time it looks after them, once a
second, as long as there are fewer than there should be; what a reload could not start, the next reload starts.
"""

import logging
import os
from collections.abc import Callable
from typing import Any, Final

from gunicorn.workers import base
from gunicorn.workers.workertmp import WorkerTmp

from director_wsgi.limits.deadline import Clock, monotonic
from director_wsgi.runtime.seating import forget

LOGGED_S: Final = 60.0
"""How often the log says so, at most."""

_logger = logging.getLogger("director_wsgi.process")


class Heartbeat(WorkerTmp):  # type: ignore[misc]
    """The file whose time stamp says that a worker lives, in no file system that could be full, read-only or slow."""

    def __init__(self, cfg: Any) -> None:
        descriptor = os.memfd_create("heartbeat")
        self._tmp = os.fdopen(descriptor, "w+b", 0)
        if cfg.uid != os.geteuid() or cfg.gid != os.getegid():
            os.fchown(descriptor, cfg.uid, cfg.gid)  # only a file's owner may set its time


def use_heartbeats() -> None:
    """Master, before the first worker. gunicorn's setting for it can name a directory only."""
    base.WorkerTmp = Heartbeat


def outlive_shortage(server: Any, *, clock: Clock = monotonic) -> None:
    """Master, once, before the first worker: let it live when a worker cannot be started.

    Not when none ever could: whoever starts the service is to see that.
    """
    spawn: Callable[[], Any] = server.spawn_worker
    master = os.getpid()
    said_at = -LOGGED_S
    has_started = False

    def spawn_worker() -> Any:
        nonlocal said_at, has_started
        try:
            pid = spawn()
        except OSError as error:
            if os.getpid() != master or not has_started:
                raise
            forget(server.worker_age)
            if clock() - said_at >= LOGGED_S:
                said_at = clock()
                _logger.error("Cannot start a worker, and go on with the %d there are: %s", len(server.WORKERS), error)  # noqa: TRY400, the trace says nothing more
            return None
        has_started = True
        return pid

    server.spawn_worker = spawn_worker
