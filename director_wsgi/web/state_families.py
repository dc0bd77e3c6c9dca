"""What `/metrics` says of what workers share, and of its copy on disk."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from director_wsgi.federation.shared_ads import SharedAds
from director_wsgi.federation.state import State
from director_wsgi.runtime.metrics import Collect, counter, gauge
from director_wsgi.runtime.pages import Across


def of(state: State, ads: SharedAds) -> Collect:
    """How well it goes.

    Args:
        state: The worker's.
        ads: What it takes over from others.
    """

    def collect() -> Iterator[Metric]:
        told = state.replica.statistics()
        yield gauge("director_wsgi_workers", "Workers of this director that are alive.", (), [((), told.workers)])
        yield gauge(
            "director_wsgi_state_trouble",
            "1 while something cannot be used. shared: what workers tell each other; disk: the copy that a reboot "
            "leaves.",
            ("where",),
            [
                (("shared",), state.replica.trouble is not None),
                (("disk",), state.backup is not None and state.backup.trouble is not None),
            ],
        )
        yield gauge(
            "director_wsgi_state_pending",
            "Things learned that wait to be shared.",
            (),
            [((), told.pending)],
            across=Across.SUM,
        )
        yield gauge(
            "director_wsgi_state_revision",
            "Number of the newest change that the worker has seen; 0 if it shares nothing.",
            (),
            [((), told.revision)],
            across=Across.MIN,
        )
        yield counter(
            "director_wsgi_state_lost_total",
            "Things that were not passed on. unsaid: there was no room for more that wait, or a mistake; refused: "
            "advertisements of other workers that could not be taken over.",
            ("how",),
            [(("unsaid",), told.lost), (("refused",), ads.refused)],
        )
        yield counter(
            "director_wsgi_state_late_total",
            "Advertisements that were answered before the worker had shared them.",
            (),
            [((), told.late)],
        )
        yield from _age(state)

    return collect


def _age(state: State) -> Iterator[Metric]:
    age_s = state.backup.age_s if state.backup is not None else None
    if age_s is not None:
        yield gauge(
            "director_wsgi_state_backup_age_seconds",
            "Since this worker last brought the copy on disk up to date; absent in those that never did.",
            (),
            [((), age_s)],
            across=Across.MIN,
        )
