"""`python -m benchmarks`: take the figures, print them as a table, write them to a file."""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

from benchmarks import (
    advertisement,
    federations,
    head,
    latency,
    listings,
    lookups,
    memory,
    redirects,
    reloads,
    snapshots,
    start,
    stats,
    tracing,
    workers,
)
from benchmarks.figures import Figure, figure, machine, table, write
from benchmarks.load import WrongAnswerError
from benchmarks.server import ServerFailedError
from director_wsgi.demo.openloop import LoadFailedError

RESULTS = Path(__file__).resolve().parent / "results"
ALL = (
    "redirects",
    "latency",
    "memory",
    "start",
    "lookups",
    "listings",
    "advertisement",
    "snapshots",
    "head",
    "tracing",
    "stats",
    "workers",
    "reloads",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for.

    Args:
        arguments: Of the command line; the process's own if None.

    Returns:
        0; 1 if something could not be measured. A missed aim is told in the table and is no error: figures of a busy
        machine shall not fail a build.
    """
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _end)
    began = datetime.now(UTC)
    figures: list[Figure] = []
    failures: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix="director-benchmarks-") as folder:
            for name in options.only or ALL:
                try:
                    figures += _run(name, options, Path(folder))
                except (ServerFailedError, WrongAnswerError, LoadFailedError, OSError) as error:
                    failures.append(f"benchmarks: {name} could not be measured: {error}")
    except KeyboardInterrupt:
        print("\nbenchmarks: interrupted; everything started has been ended", file=sys.stderr)
        return 130
    if figures:
        print("\n" + table(figures) + "\n")
        print("on " + ", ".join(f"{name} {value}" for name, value in machine().items()))
        path = options.json or RESULTS / f"{began:%Y-%m-%dT%H%M%SZ}.json"
        told = {"only": options.only or list(ALL), "quick": options.quick, "seconds": options.seconds}
        write(path, taken_at=began.isoformat(timespec="seconds"), options=told, figures=figures)
        print(f"written to {path}")
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def _run(name: str, options: argparse.Namespace, folder: Path) -> list[Figure]:
    quick: bool = options.quick
    sizes = tuple(federations.SIZES[size] for size in options.size) if options.size else None
    if name == "redirects":
        seconds = options.seconds or (0.5 if quick else 1.5)
        return redirects.measure(folder, _say, rounds=2 if quick else 5, seconds=seconds, sizes=sizes)
    if name == "latency":
        return latency.measure(folder, _say, rounds=2 if quick else 7, seconds=3.0 if quick else 10.0)
    if name == "memory":
        return memory.measure(folder, _say, sizes=sizes)
    if name == "start":
        return start.measure(folder, _say, rounds=3 if quick else 9)
    if name == "lookups":
        return lookups.measure(_say, rounds=3 if quick else 9, sizes=sizes)
    if name == "listings":
        return listings.measure(_say, rounds=3 if quick else 9, sizes=sizes)
    if name == "advertisement":
        return advertisement.measure(folder, _say, rounds=2 if quick else 7)
    if name == "snapshots":
        return snapshots.measure(_say, rounds=2 if quick else 7)
    if name == "stats":
        return stats.measure(folder, _say, quick=quick)
    if name == "workers":
        return workers.measure(folder, _say, quick=quick)
    if name == "reloads":
        return reloads.measure(folder, _say, quick=quick, sizes=sizes)
    if name == "tracing":
        return _tracing(quick=quick)
    return _head(quick=quick)


def _head(*, quick: bool) -> list[Figure]:
    _say("heads: our adapter, requests and urllib3 in turn, and whole questions to a server")
    rounds = 5 if quick else 15
    aims = {"head, ours to requests": 1.0, "stat to urllib3": 2.0, "TLS stat to urllib3": 2.0}
    made = []
    for key, value in head.measure(rounds=rounds).items():
        name, _, unit = key.rpartition(", ")
        if unit == "ratio":
            made.append(figure(name, "x", [value], at_most=aims.get(name)))
        else:
            made.append(figure(name, "us CPU", [value], note=f"median of {rounds} rounds"))
    return made


def _tracing(*, quick: bool) -> list[Figure]:
    _say("tracing: off, on with nothing sampled, on with everything sampled, in turn")
    rounds = 3 if quick else 15
    aims = {"asks two, ratio 0 to off": 1.05, "asks two, ratio 1 to off": 1.25}
    made = []
    for key, value in tracing.measure(rounds=rounds).items():
        name, _, unit = key.rpartition(", ")
        if unit == "ratio":
            made.append(figure(name, "x", [value], at_most=aims.get(name.removeprefix("tracing, "))))
        else:
            made.append(figure(name, "us CPU", [value], note=f"median of {rounds} rounds"))
    return made


def _say(text: str) -> None:
    print(text, flush=True)


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Figures of the director, each beside something run in the same call. Some forty minutes.",
    )
    parser.add_argument("--only", action="append", choices=ALL, help="only this group; may be repeated")
    parser.add_argument(
        "--size", action="append", choices=list(federations.SIZES), help="only this size of federation; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="few and short rounds: to try it, not to quote it")
    parser.add_argument("--seconds", type=float, metavar="S", help="length of one round of redirects (1.5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write (benchmarks/results/<date>.json)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
