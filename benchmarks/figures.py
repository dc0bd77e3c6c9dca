"""A figure, the table that is printed and the file that is written."""

import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One thing that was measured.

    Attributes:
        name: What was measured, for people.
        unit: Of the three values.
        median, low, high: Of the rounds; low and high are the extremes.
        rounds: How many there were.
        ratio: Median of this over what ran beside it, neighbour by neighbour; None if nothing did.
        beside: What ran beside it.
        aim: What the ratio, or the median where there is none, is to be, as words; empty if there is no aim.
        met: Whether it is.
        note: The rest, for people.
        details: What else came of the rounds, by name and unit: medians.
    """

    name: str
    unit: str
    median: float
    low: float
    high: float
    rounds: int = 1
    ratio: float | None = None
    beside: str = ""
    aim: str = ""
    met: bool | None = None
    note: str = ""
    details: Mapping[str, float] = field(default_factory=dict)


def figure(
    name: str,
    unit: str,
    values: Sequence[float],
    *,
    ratios: Sequence[float] = (),
    beside: str = "",
    at_least: float | None = None,
    at_most: float | None = None,
    note: str = "",
    details: Mapping[str, float] | None = None,
) -> Figure:
    """The figure that these rounds make.

    Args:
        name: See `Figure`.
        unit: See `Figure`.
        values: One for each round; at least one.
        ratios: To what ran beside, one for each round, or empty.
        beside: What that was.
        at_least: The aim, for the ratio if there is one, else for the value.
        at_most: The same.
        note: See `Figure`.
        details: See `Figure`.
    """
    ratio = statistics.median(ratios) if ratios else None
    median = statistics.median(values)
    judged = median if ratio is None else ratio
    aim, met = "", None
    if at_least is not None:
        aim, met = f"at least {at_least:g}", judged >= at_least
    elif at_most is not None:
        aim, met = f"at most {at_most:g}", judged <= at_most
    return Figure(
        name=name,
        unit=unit,
        median=median,
        low=min(values),
        high=max(values),
        rounds=len(values),
        ratio=ratio,
        beside=beside,
        aim=aim,
        met=met,
        note=note,
        details=details or {},
    )


def machine() -> dict[str, str]:
    """Where the figures come from: processor, cores, and the versions that matter."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return {
        "cpu": cpu,
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    } | {
        package: version(package)
        for package in ("director-wsgi", "gunicorn", "Flask", "Werkzeug", "requests", "urllib3")
    }


def table(figures: Iterable[Figure]) -> str:
    """The figures as text, a row each."""
    head = ("what", "median", "lowest", "highest", "unit", "ratio", "aim", "")
    rows = [head, *(_row(one) for one in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    aligned = ["  ".join(_aligned(cell, widths[i], i) for i, cell in enumerate(row)).rstrip() for row in rows]
    return "\n".join([aligned[0], "-" * max(map(len, aligned)), *aligned[1:]])


def _aligned(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if column in {1, 2, 3} else cell.ljust(width)


def _row(one: Figure) -> tuple[str, ...]:
    aim = f"{one.aim}: {'met' if one.met else 'MISSED'}" if one.aim else ""
    ratio = "" if one.ratio is None else f"{one.ratio:.2f} x {one.beside}"
    told = [f"{name} {_number(value)}" for name, value in one.details.items()]
    note = ", ".join([*told, one.note] if one.note else told)
    return one.name, _number(one.median), _number(one.low), _number(one.high), one.unit, ratio, aim, note


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write(path: Path, *, taken_at: str, options: dict[str, object], figures: Sequence[Figure]) -> None:
    """Write everything to a JSON file, its folder made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "taken_at": taken_at,
        "machine": machine(),
        "options": options,
        "figures": [asdict(one) for one in figures],
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
