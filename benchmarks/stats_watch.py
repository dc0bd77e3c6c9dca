"""What is seen of a director from outside while it is measured: its threads, and what its breakers think."""

import contextlib
import http.client
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.server import Server, ServerFailedError
from director_wsgi.limits.deadline import monotonic

THREADS_EVERY_S = 0.05
METRICS_EVERY_S = 0.5
"""Rarely: making the page keeps the worker busy for some milliseconds."""

_TIMEOUT_S = 5.0
_THREADS = re.compile(r"^Threads:\s*(\d+)$", re.MULTILINE)


class Watch:
    """What has been seen; made by `watching`.

    Attributes:
        threads: The most that the worker had at any of the moments looked at.
        breakers: (instant on the monotonic clock, URLs of the servers that were not asked then), in the order of time.
    """

    def __init__(self, server: Server, processors: set[int]) -> None:
        self._server = server
        self._processors = processors
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="benchmark-watch", daemon=True)
        self.threads = 0
        self.breakers: list[tuple[float, frozenset[str]]] = []

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ending.set()
        self._thread.join(2 * _TIMEOUT_S)

    def closed_until(self, url: str, since: float) -> float | None:
        """The last moment at which a server was still asked, after `since` and before it was first seen not to be."""
        opened_at = self.open_from(url, since)
        seen = [at for at, is_open in self.breakers if at >= since and url not in is_open]
        return max((at for at in seen if opened_at is None or at < opened_at), default=None)

    def open_from(self, url: str, since: float) -> float | None:
        """The first moment after `since` at which a server was seen not to be asked; None if it was never."""
        return next((at for at, is_open in self.breakers if at >= since and url in is_open), None)

    def _run(self) -> None:
        os.sched_setaffinity(0, self._processors)  # of this thread alone
        metrics_at = 0.0
        while not self._ending.wait(THREADS_EVERY_S):
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.threads = max(self.threads, self._threads_now())
                if monotonic() >= metrics_at:
                    metrics_at = monotonic() + METRICS_EVERY_S
                    self.breakers.append((monotonic(), _open_breakers(scrape(self._server))))

    def _threads_now(self) -> int:
        found = _THREADS.search(Path(f"/proc/{self._server.pid}/status").read_text())
        return int(found[1]) if found else 0


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""A scrape: the values by name and labels, the labels in the order of their names."""


def scrape(server: Server) -> Samples:
    """What `/metrics` says now.

    Raises:
        OSError, HTTPException: It did not answer.
        ServerFailedError: It refused.
    """
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/metrics", headers={"Connection": "close"})
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    if answer.status != 200:
        raise ServerFailedError(f"/metrics answered {answer.status}")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def guesses(samples: Samples) -> tuple[float, float]:
    """Redirects since the start: those made without evidence, and all."""
    told = {labels: n for (name, labels), n in samples.items() if name == "director_wsgi_decisions_total"}
    return sum(n for labels, n in told.items() if ("with_evidence", "false") in labels), sum(told.values())


def _open_breakers(samples: Samples) -> frozenset[str]:
    return frozenset(
        dict(labels)["server_url"]
        for (name, labels), value in samples.items()
        if name == "director_wsgi_breaker_state" and value > 0
    )


@contextmanager
def watching(server: Server, processors: set[int]) -> Iterator[Watch]:
    """Look at a server, by a thread on these processors, until the block ends."""
    watch = Watch(server, processors)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()
