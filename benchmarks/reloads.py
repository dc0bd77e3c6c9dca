"""What live reloads cost those who ask meanwhile, what they leave behind, and how soon a new configuration holds.

A director of two workers knows a federation and a few real origins, traces, and is under open load. In every other
round its configuration is replaced as soon as all workers run the one before; such a round is compared with its
neighbours.
"""

import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

from benchmarks import federations
from benchmarks.federations import Size
from benchmarks.figures import Figure, figure
from benchmarks.load import WrongAnswerError
from benchmarks.origins import serving_origins
from benchmarks.reloads_play import Held, Round, at_rest, play
from benchmarks.reloads_scene import GIVE_UP_S, WORKERS, Scene, replace
from benchmarks.server import serving
from benchmarks.stats_scene import FEW
from director_wsgi.limits.deadline import monotonic
from tests.process.fleet import Lines

Say = Callable[[str], None]

SIZES = (federations.MEDIUM, federations.LARGE)
P99_AIM = 1.2
IN_FORCE_AIM_S = 3.0
WARM_UP_S = 4.0
LATE_MS = 5.0

METADATA = "/.well-known/pelican-configuration"


def measure(folder: Path, say: Say, *, quick: bool = False, sizes: Sequence[Size] | None = None) -> list[Figure]:
    """Take the figures.

    Args:
        folder: For the servers' files.
        say: Told what is going on.
        quick: Few reloads.
        sizes: Of the federations; `SIZES` if None.

    Raises:
        ServerFailedError, LoadFailedError, WrongAnswerError: There is nothing to be measured.
    """
    number, seconds, turns = (12, 4.0, 3) if quick else (150, 10.0, 12)
    own = _made(folder / "reloads")
    made: list[Figure] = []
    with serving_origins(FEW, own, os.sched_getaffinity(0)) as origins:
        for size in sizes or SIZES:
            with ExitStack() as stack:
                say(f"reloads: {size}")
                scene = Scene(size, origins, _made(own / size.name), stack)
                made += under_load(scene, say, number=number, seconds=seconds)
    say(f"reloads: how soon all workers answer by a new file, {turns} times")
    made.append(in_force(_made(own / "looks"), turns))
    return made


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


# Under load.


def under_load(scene: Scene, say: Say, *, number: int, seconds: float) -> list[Figure]:
    """Put so many new configurations in force, in rounds of so many seconds, a calm one after each.

    Raises:
        ServerFailedError, LoadFailedError: There is nothing to be measured.
    """
    play(scene, WARM_UP_S, most=3)  # what is made once is there from now on
    before = at_rest(scene)
    changes, tracers = scene.changes, scene.tracers
    calm, busy = [play(scene, seconds)], []
    while (left := number - (scene.changes - changes)) > 0:
        busy.append(play(scene, seconds, most=left))
        calm.append(play(scene, seconds))
        say(f"reloads: {scene.changes - changes} of {number}")
    after = at_rest(scene, before)
    return [
        *_costs(scene.size, calm, busy),
        *_leftovers(scene.size, before, after, number, tracers=WORKERS * (scene.tracers - tracers)),
    ]


def _costs(size: Size, calm: Sequence[Round], busy: Sequence[Round]) -> list[Figure]:
    number = sum(one.reloads for one in busy)
    neighbours = list(zip(busy, pairwise(calm), strict=True))
    late_ms = statistics.median(one.lateness_ms for one in (*calm, *busy))
    return [
        figure(
            f"p99 during live reloads, {size}",
            "ms",
            [one.quantile_ms(0.99) for one in busy],
            ratios=[one.quantile_ms(0.99) / statistics.mean(c.quantile_ms(0.99) for c in c2) for one, c2 in neighbours],
            beside="without",
            at_most=P99_AIM,
            note=f"THE GENERATOR WAS {late_ms:.0f} ms LATE" if late_ms > LATE_MS else "",
            details={
                "without": statistics.median(one.quantile_ms(0.99) for one in calm),
                "p50": statistics.median(one.quantile_ms(0.5) for one in busy),
                "p50 without": statistics.median(one.quantile_ms(0.5) for one in calm),
                "longest": max(one.quantile_ms(1) for one in busy),
                "longest without": max(one.quantile_ms(1) for one in calm),
                "reloads/s": number / sum(one.arrivals[-1].at_s for one in busy),
                "CPU ms of one, two workers": statistics.median(
                    (one.cpu_s - statistics.mean(c.cpu_s for c in c2)) / one.reloads * 1e3 for one, c2 in neighbours
                ),
            },
        ),
        figure(
            f"requests lost over {number} live reloads, {size}",
            "",
            [sum(one.lost for one in busy)],
            at_most=0,
            details={"without reloads": sum(one.lost for one in calm)},
            note=f"of {sum(len(one.outcomes) for one in busy):,}",
        ),
    ]


def _leftovers(size: Size, before: Held, after: Held, number: int, *, tracers: int) -> list[Figure]:
    told = f"{number} live reloads, {size}"
    return [
        *(
            figure(f"{what} after over before {told}", "x", [a / b], at_most=1, details={"before": b, "after": a})
            for what, b, a in (
                ("threads", before.threads, after.threads),
                ("descriptors", before.files, after.files),
                ("live resources", before.leases, after.leases),
            )
        ),
        figure(
            f"resources built over {told}",
            "",
            [after.builds - before.builds],
            at_most=tracers,
            note=f"{tracers} were wanted: a tracer for each worker, every other time",
        ),
        figure(f"memory of two workers after {told}", "MB", [after.rss_mb], details={"before": before.rss_mb}),
    ]


# How soon.


def in_force(folder: Path, turns: int) -> Figure:
    """From a file's replacement until every worker, asked all the time, answers by it; two workers, as they are.

    Raises:
        ServerFailedError, WrongAnswerError: There is nothing to be measured.
    """
    file = folder / "pelican.yaml"
    replace(file, _hosting(True))
    extra = {"DIRECTOR_BENCHMARK_FEDERATION": federations.MEDIUM.name}
    delays_s = []
    with (
        serving("benchmarks.prefilled:application", folder, extra, workers=WORKERS) as server,
        Lines(server.port, (server.pid, *server.others)) as lines,
    ):
        for turn in range(turns):
            is_hosted = bool(turn % 2)
            time.sleep(random.uniform(1.0, 2.0))  # not in step with the looks
            replace(file, _hosting(is_hosted))
            replaced_at = monotonic()
            for line in lines:
                while (line.get(METADATA).status == 200) is not is_hosted:
                    if monotonic() - replaced_at > GIVE_UP_S:
                        raise WrongAnswerError("a worker goes on answering by the configuration before")
                    time.sleep(0.01)
            delays_s.append(monotonic() - replaced_at)
    return figure("a file replaced until all workers answer by it", "s", delays_s, at_most=IN_FORCE_AIM_S)


def _hosting(yes: bool) -> str:
    return f"Director: {{EnableFederationMetadataHosting: {str(yes).lower()}}}\n"
