"""What `/metrics` says of the configuration: what is in force, and how reloads went."""

from collections.abc import Iterator
from typing import Any

from prometheus_client.metrics_core import Metric

from director_wsgi.reloading import Reloads
from director_wsgi.runtime.generations import Generations
from director_wsgi.runtime.metrics import Collect, counter, gauge
from director_wsgi.runtime.pages import Across


def of(reloads: Reloads, generations: Generations[Any]) -> Collect:
    """How it goes.

    Args:
        reloads: The worker's.
        generations: What it has put in force.
    """

    def collect() -> Iterator[Metric]:
        running = reloads.running
        yield gauge(
            "director_wsgi_configuration_workers",
            "Workers that run the configuration with this hash; one row once they agree.",
            ("hash",),
            [((running.hash[:12],), 1)],
            across=Across.SUM,
        )
        yield gauge(
            "director_wsgi_configuration_since_timestamp_seconds",
            "When the last worker put its configuration in force.",
            (),
            [((), running.since)],
        )
        yield gauge(
            "director_wsgi_configuration_pending",
            "Parameters that were changed and wait for the next start.",
            (),
            [((), len(running.pending))],
        )
        yield gauge(
            "director_wsgi_configuration_rejected",
            "1 while the configuration that was read last is not in force; the log says why.",
            (),
            [((), bool(running.rejected))],
        )
        yield counter(
            "director_wsgi_reloads_total",
            "Configurations that workers found while running: put in force, or rejected.",
            ("result",),
            [(("applied",), reloads.applied), (("rejected",), reloads.rejected)],
        )
        yield gauge(
            "director_wsgi_generations_lingering",
            "Configurations that were replaced and still have requests.",
            (),
            [((), generations.lingering)],
            across=Across.SUM,
        )

    return collect
