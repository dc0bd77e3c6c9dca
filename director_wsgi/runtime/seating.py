"""Where workers sit, and who takes part in the balance: what gunicorn's hooks do about it, and what is told of it.

The master's part runs on its main thread.
"""

import logging
import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from director_wsgi.runtime.balance import register
from director_wsgi.runtime.cores import is_bound, move, seats
from director_wsgi.runtime.processors import quota

_logger = logging.getLogger("director_wsgi.process")


@dataclass
class _Here:
    """What this process, a worker, knows of its own seat. Written before it has threads."""

    pinning: str = "off"
    trouble: str = ""


_here = _Here()


# The master.


def prepare(server: Any, worker: Any, pinning: str) -> None:
    """Before a worker is forked: find it a seat, if workers are to be bound."""
    register.take(worker.age)
    processors = os.sched_getaffinity(0)
    if is_bound(pinning, server.num_workers, len(processors)):
        seats.take(worker.age, processors, server.num_workers)


def forget(age: int) -> None:
    """A worker has ended, or could not be forked."""
    register.leave(age)
    seats.leave(age)


def rearrange(server: Any, workers: int, pinning: str) -> None:
    """There are to be so many workers from now on: those that stay sit down, or stand up, where that follows.

    Those that are started or ended for it come later.
    """
    processors = os.sched_getaffinity(0)
    by_age = sorted((worker.age, pid) for pid, worker in server.WORKERS.items())
    binds = is_bound(pinning, workers, len(processors))
    for age, pid in by_age[max(0, len(by_age) - workers) :]:
        seat = seats.seat_of(age)
        if binds is (seat is not None):
            continue
        seats.leave(age)
        to = {seats.take(age, processors, workers)} if binds else processors
        try:
            move(pid, to)
        except OSError as error:
            _logger.warning("Worker %d cannot be moved to %s: %s", pid, _named(to), error)
        else:
            _logger.info("Worker %d runs on %s from now on", pid, _named(to))


def warn_of_too_many(workers: int) -> None:
    """Say so if there are more workers than processors, or than the time of processors that a control group leaves."""
    processors = len(os.sched_getaffinity(0))
    if workers > processors:
        _logger.warning("%d workers on %d cores: more than there are cores serve no more requests", workers, processors)
    elif workers >= (allowed := quota()) + 1:
        _logger.warning("%d workers, but the control group allows the time of %.3g cores only", workers, allowed)


# A worker.


def sit_down(worker: Any, pinning: str) -> None:
    """First thing after the fork, before there are threads, since those would keep the processors they began with."""
    register.open(worker.age)
    _here.pinning = pinning
    seat = seats.seat_of(worker.age)
    if seat is None:
        return
    try:
        os.sched_setaffinity(0, {seat})
    except OSError as error:
        _here.trouble = f"The worker cannot be bound to core {seat}: {error.strerror}"
        _logger.warning("%s", _here.trouble)


def place() -> str:
    """Where this worker runs, for people."""
    return _named(os.sched_getaffinity(0))


def trouble() -> str:
    """Why this worker is not where it should be; empty if it is."""
    return _here.trouble


def note() -> str:
    """Where this worker runs and by which setting, for the page of readiness."""
    return f"This worker runs on {place()} (Director.PinWorkers: {_here.pinning})"


def _named(processors: Collection[int]) -> str:
    return f"core {','.join(map(str, sorted(processors)))}"
