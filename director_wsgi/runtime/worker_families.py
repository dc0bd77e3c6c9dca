"""Where a worker runs, how many clients it has and whether its log is read, as metrics."""

import os
from collections.abc import Iterator
from typing import Final

from prometheus_client.metrics_core import Metric

from director_wsgi.runtime import outlet
from director_wsgi.runtime.balance import register
from director_wsgi.runtime.metrics import counter, gauge
from director_wsgi.runtime.pages import Across
from director_wsgi.runtime.slow_clients import tally as slow_clients

WANDERS: Final = -1
"""Stands for a worker that is bound to no processor."""


def families() -> Iterator[Metric]:
    """Those of this worker, as it is now."""
    processors = os.sched_getaffinity(0)
    yield gauge(
        "director_wsgi_worker_core",
        "The processor that the worker is bound to; -1: it may run on several.",
        (),
        [((), min(processors) if len(processors) == 1 else WANDERS)],
        across=Across.EACH,
    )
    share = register.own
    yield gauge(
        "director_wsgi_worker_connections",
        "Connections of clients that the worker has, idle ones included.",
        (),
        [((), share.connections)],
        across=Across.EACH,
    )
    yield counter(
        "director_wsgi_log_lines_lost_total",
        "Log lines that found no room at standard output or error, since nobody read them.",
        (),
        [((), outlet.lost())],
    )
    yield gauge(
        "director_wsgi_clients_arriving",
        "Connections on which a request is on its way, or is to come for the first time.",
        (),
        [((), slow_clients.arriving)],
    )
    yield counter(
        "director_wsgi_slow_clients_total",
        "Connections that were ended before a request had arrived. silent: nothing came for too long; late: it took "
        "too long as a whole; crowded_out: there were too many, or too much of their requests, and those that were "
        "silent for longest, or were longest, had to go.",
        ("how",),
        [
            (("silent",), slow_clients.silent),
            (("late",), slow_clients.late),
            (("crowded_out",), slow_clients.crowded_out),
        ],
    )
    yield counter(
        "director_wsgi_balance_total",
        "What workers did to have as many connections as the others. left: the next connection was left to them for a "
        "moment; parted: a client was told to come again, with its answer.",
        ("how",),
        [(("left",), share.left), (("parted",), share.parted)],
    )
