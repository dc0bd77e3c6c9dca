"""What is drawn of runs of `demo saturation`: the slowest requests of each second, and the threads."""

import math
from collections.abc import Sequence

from director_wsgi.demo.plot import Curve, Interval, Panel, picture
from director_wsgi.demo.scene import CLIENT_TIMEOUT_S, ORIGINS, SICK
from director_wsgi.demo.verdict import Answered, Run, quantile


def draw(runs: Sequence[Run], colours: Sequence[str]) -> str:
    """The picture of runs of one plan, each in its colour."""
    plan = runs[0].plan
    seconds = range(math.floor(plan.ends_at))
    latencies, threads = [], []
    for run, colour in zip(runs, colours, strict=True):
        for touched in (False, True):
            of_second: dict[int, list[Answered]] = {}
            for answer in run.answers:
                if not answer.is_listing and answer.is_touched == touched:
                    of_second.setdefault(math.floor(answer.at_s), []).append(answer)
            points = [(s + 0.5, p99) for s in seconds if (p99 := quantile(of_second.get(s, []), 0.99)) is not None]
            label = f"{run.name}, {'touched' if touched else 'untouched'}"
            latencies.append(Curve(label, colour, points, is_dashed=touched))
        threads.append(Curve(run.name, colour, run.threads))
    most = 20 * math.ceil(max(run.peak_threads for run in runs) / 20) or 20
    panels = (
        Panel(
            title=f"Latency: the slowest hundredth of each second (at {CLIENT_TIMEOUT_S:.0f} s clients give up)",
            curves=latencies,
            ticks=((0.001, "1 ms"), (0.01, "10 ms"), (0.1, "100 ms"), (1.0, "1 s"), (CLIENT_TIMEOUT_S, "10 s")),
            height=230,
            is_logarithmic=True,
        ),
        Panel(
            title="Threads of the worker",
            curves=threads,
            ticks=((0, "0"), (most / 2, f"{most / 2:g}"), (most, f"{most:g}")),
            height=110,
        ),
    )
    return picture(
        f"One of {ORIGINS} origins hangs for {plan.hang_s:g} seconds",
        "Touched: the namespace that this origin and another serve. Untouched: the three namespaces of the other two.",
        panels,
        intervals=[Interval(plan.hangs_at, plan.heals_at, f"origin-{SICK + 1} hangs")],
        ends_at=plan.ends_at,
    )
