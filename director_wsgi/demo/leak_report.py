"""What one holder came to over all reloads, in figures; and several of them as a table and as a picture."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from director_wsgi.demo.plot import Curve, Interval, Panel, picture
from director_wsgi.demo.reloaded import Holding
from director_wsgi.demo.terminal import side_by_side

NOTHING, SOMETHING, REFUSED = "change nothing", "change something", "are refused"
PHASES: Final = (NOTHING, SOMETHING, REFUSED)
CHANGED: Final = "changed-"
WRONG: Final = "refused-"
"""What a service is called by configurations that change something, and by those that are refused; a number follows."""

_KIB: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """All that was seen of one holder.

    Attributes:
        name: Of the holder.
        each: Reloads of each phase.
        holdings: What its process held before any reload, and right after each, in their order.
        settled: The same once nothing was under way any more: at first, after each phase, and after the end.
        spans: How many the collector got, by the name of the service.
    """

    name: str
    each: int
    holdings: Sequence[Holding]
    settled: Sequence[Holding]
    spans: Mapping[str, int]

    @property
    def arrived(self) -> int:
        """Spans that the collector got; one was made at first and one after each reload."""
        return sum(self.spans.values())

    @property
    def changes_in_force(self) -> int:
        """Changed configurations by which a request was served."""
        return self._in_force(CHANGED)

    @property
    def refused_in_force(self) -> int:
        """Refused configurations by which a request was served."""
        return self._in_force(WRONG)

    def _in_force(self, prefix: str) -> int:
        return sum(1 for service in self.spans if service.startswith(prefix))

    @property
    def growth_kib(self) -> list[int]:
        """By how much the memory had grown after each phase."""
        first, *later, _ = (holding.memory_kib for holding in self.settled)
        return [now - first for now in later]


def introduction(each: int) -> str:
    """What is done, in a few sentences for above the table."""
    return (
        f"A process whose tracer is held by the one holder or the other loads {len(PHASES) * each} configurations: "
        f"{each} that change nothing, {each} that change what the service is called, and {each} that also do, and are "
        f"refused by a later step. After each, garbage is collected, and one span is made by what is in force."
    )


def table(runs: Sequence[Run]) -> str:
    """The figures of runs side by side, as lines of text."""
    return side_by_side([run.name for run in runs], [_column(run) for run in runs])


def _column(run: Run) -> list[tuple[str, str]]:
    each, reloads = run.each, len(PHASES) * run.each
    return [
        *_over_time(run, "threads", lambda holding: holding.threads),
        *_over_time(run, "exporters alive", lambda holding: holding.exporters),
        *_over_time(run, "file descriptors", lambda holding: holding.files),
        (f"memory after {reloads} reloads, against that at first", f"{run.growth_kib[-1] / _KIB:+.1f} MiB"),
        ("exporters built", str(run.settled[-1].builds)),
        ("changes that took effect", f"{run.changes_in_force} of {each}"),
        ("refused configurations that took effect", f"{run.refused_in_force} of {each}"),
        ("spans that arrived", f"{run.arrived} of {reloads + 1}"),
    ]


def _over_time(run: Run, what: str, of: Callable[[Holding], int]) -> list[tuple[str, str]]:
    labels = ("at first", *(f"after {run.each} that {phase}" for phase in PHASES), "after the end")
    return [(what, ""), *((f"  {label}", str(of(one))) for label, one in zip(labels, run.settled, strict=True))]


def draw(runs: Sequence[Run], colours: Sequence[str]) -> str:
    """The picture of runs of equally many reloads, each in its colour."""
    each = runs[0].each
    pairs = tuple(zip(runs, colours, strict=True))

    def curves(of: Callable[[Holding], float]) -> list[Curve]:
        return [Curve(run.name, colour, [(n, of(one)) for n, one in enumerate(run.holdings)]) for run, colour in pairs]

    grown = [
        Curve(run.name, colour, [(n, _mib(one.memory_kib - run.holdings[0].memory_kib)) for n, one in _of(run)])
        for run, colour in pairs
    ]
    exporters = [
        Curve(f"{run.name}, {words}", colour, [(n, of(one)) for n, one in _of(run)], is_dashed=of is _built)
        for run, colour in pairs
        for words, of in (("alive", _alive), ("ever built", _built))
    ]
    panels = (
        _panel("Threads", curves(lambda one: one.threads), height=150),
        _panel("Exporters", exporters, height=150),
        _panel("Memory, against that at first (MiB)", grown, height=110),
        _panel("File descriptors", curves(lambda one: one.files), height=80),
    )
    return picture(
        f"{len(PHASES) * each} reloads of a configuration with tracing",
        "Garbage is collected after each; each is followed by a request, of which a span is told.",
        panels,
        intervals=[
            Interval(n * each, (n + 1) * each, f"{each} {phase}", is_shaded=n % 2 == 1)
            for n, phase in enumerate(PHASES)
        ],
        ends_at=len(PHASES) * each,
        unit="reloads",
    )


def _of(run: Run) -> Iterable[tuple[int, Holding]]:
    return enumerate(run.holdings)


def _alive(holding: Holding) -> float:
    return holding.exporters


def _built(holding: Holding) -> float:
    return holding.builds


def _mib(kib: int) -> float:
    return kib / _KIB


def _panel(title: str, curves: Sequence[Curve], *, height: int) -> Panel:
    """On a scale from 0 to a number that is easily halved, and above all values."""
    most = max((value for curve in curves for _, value in curve.points), default=0.0)
    step = next(step for step in (2, 10, 20, 50, 100, 200, 1000) if most < 4 * step or step == 1000)
    top = step * (math.floor(max(most, 0.0) / step) + 1)
    ticks = ((0.0, "0"), (top / 2, f"{top / 2:g}"), (top, f"{top:g}"))
    return Panel(title=title, curves=curves, ticks=ticks, height=height)
