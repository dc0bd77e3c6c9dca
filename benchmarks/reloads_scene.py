"""A director of two workers under load, and its file, which is replaced again and again."""

import itertools
import json
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks import federations
from benchmarks.federations import Size
from benchmarks.origins import Origins
from benchmarks.server import ServerFailedError, serving
from benchmarks.stats_prefilled import ORIGINS_VARIABLE
from benchmarks.stats_scene import UNTOUCHED, Source, arrivals
from director_wsgi.demo.openloop import Order
from director_wsgi.demo.scene import Arrival
from director_wsgi.limits.deadline import monotonic
from tests.process.census import FOLDER_VARIABLE

WORKERS = 2
RATE_PER_S = 150.0
"""Objects of the federation, which no server is asked for."""

ASKED_PER_S = 50.0
"""Objects that two origins are asked for, besides."""

LEAD_S = 1.5
"""From ordering a load to its first request: its process has to start."""

CLIENT_TIMEOUT_S = 10.0
GIVE_UP_S = 20.0

SEEN_S = 0.35
"""In that time a worker that looks ten times a second has seen a file and believed it."""

_IN_FORCE = "A new configuration is in force"
_WRONG = "The configuration is wrong"


class Scene:
    """See the module.

    Attributes:
        size: Of the federation.
        origins: The real ones.
        server: The director.
        folder: Its own.
        changes: How many new configurations have been put in force.
        tracers: How many of them wanted another tracer.
    """

    def __init__(self, size: Size, origins: Origins, folder: Path, stack: ExitStack) -> None:
        self.size = size
        self.origins = origins
        self.folder = folder
        self.changes = 0
        self.tracers = 0
        self._log = _Log(folder / "log")
        self._numbers = itertools.count()
        self._write(self._text())
        environment = {
            FOLDER_VARIABLE: str(folder),
            ORIGINS_VARIABLE: json.dumps(origins.base_urls),
            "DIRECTOR_BENCHMARK_FEDERATION": size.name,
            "PELICAN_SERVER_TLSCACERTIFICATEFILE": str(origins.ca_file),
            "PELICAN_MONITORING_METRICAUTHORIZATION": "false",
        }
        self.server = stack.enter_context(
            serving("benchmarks.reloaded:application", folder, environment, workers=WORKERS)
        )

    @property
    def workers(self) -> tuple[int, ...]:
        """Their process ids."""
        return self.server.pid, *self.server.others

    def order(self, seconds: float) -> Order:
        """A load that begins soon, of objects that nobody has asked for."""
        run = f"run-{next(self._numbers)}"
        sources = [Source(prefix, ASKED_PER_S / len(UNTOUCHED)) for prefix in UNTOUCHED]
        asked = [*arrivals(sources, lasts_s=seconds, run=run), *self._unasked(seconds, run)]
        asked.sort(key=lambda arrival: arrival.at_s)
        return Order(port=self.server.port, starts_at=monotonic() + LEAD_S, timeout_s=CLIENT_TIMEOUT_S, arrivals=asked)

    def _unasked(self, seconds: float, run: str) -> Iterator[Arrival]:
        generator = random.Random(run)
        for number in range(int(seconds * RATE_PER_S)):
            namespace = generator.randrange(self.size.namespaces)
            path = f"{federations.prefix_of(namespace)}/{run}/file-{number:06}.dat"
            yield Arrival((number + 0.5) / RATE_PER_S, path)

    def change(self) -> None:
        """Replace the configuration by another, and wait until all workers run it.

        Raises:
            ServerFailedError: They do not.
        """
        self.changes += 1
        if self.changes % 2:
            self.tracers += 1
        self._write(self._text())
        self._log.wait_for(_IN_FORCE, WORKERS)

    def repeat(self) -> None:
        """Replace the configuration by one that is written differently and says the same."""
        self._write(f"# {next(self._numbers)}\n{self._text()}")
        time.sleep(SEEN_S)

    def spoil(self) -> None:
        """Replace the configuration by a wrong one, and wait until it is rejected.

        Raises:
            ServerFailedError: It is not.
        """
        self._write(f"Director: {{StatTimeout: {next(self._numbers)} nonsense}}\n")
        self._log.wait_for(_WRONG, 1)

    def _text(self) -> str:
        # Every part that takes a configuration over has something to take over; every other change wants a tracer.
        return (
            f"Director: {{StatTimeout: {2000 + self.changes}ms, FilteredServers: [nobody-{self.changes}]}}\n"
            "Tracing:\n"
            "  Enabled: true\n"
            "  Endpoint: http://127.0.0.1:9/v1/traces\n"  # nobody listens there
            "  SamplerRatio: 0.1\n"
            f"  ResourceAttributes: ['benchmark.tracer={self.tracers}']\n"
        )

    def _write(self, text: str) -> None:
        replace(self.folder / "pelican.yaml", text)


def replace(file: Path, text: str) -> None:
    """Write a file as a whole, as an editor does."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


class _Log:
    """What a director has written, read as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._text = ""

    def wait_for(self, sentence: str, times: int) -> None:
        """Wait until a sentence has been written so often since the last one that was waited for."""
        give_up_at = monotonic() + GIVE_UP_S
        for _ in range(times):
            while (at := self._text.find(sentence)) < 0:
                if monotonic() > give_up_at:
                    raise ServerFailedError(f"the director does not say {sentence!r}; it says\n{self._text[-3000:]}")
                time.sleep(0.005)
                self._more()
            self._text = self._text[at + len(sentence) :]

    def _more(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        self._read += len(new)
        self._text += new.decode(errors="replace")
