"""Redirects per second, against a bare Flask route on the same gunicorn settings.

All servers are up during the whole of it, each with one worker, and get their rounds in turn: bare, small, bare,
medium, bare, large, bare, small … A director's round is compared with the two rounds of the bare route around it.
"""

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import federations
from benchmarks.federations import Size
from benchmarks.figures import Figure, figure
from benchmarks.load import Generator, Order, Round, generator
from benchmarks.server import Server, cores, serving

Say = Callable[[str], None]

AIM = 0.6
FLAT = 1.3
BARE = "bare route"


@dataclass(slots=True)
class _Series:
    """The rounds of one size and one kind of client, and the bare rounds before and after each."""

    size: Size
    declared: bool
    rounds: list[Round] = field(default_factory=list)
    neighbours: list[tuple[Round, Round]] = field(default_factory=list)

    def ratios(self) -> list[float]:
        """Rates over those of the bare route."""
        beside = (statistics.mean((a.per_s, b.per_s)) for a, b in self.neighbours)
        return [one.per_s / bare for one, bare in zip(self.rounds, beside, strict=True)]

    def cpu_ratio(self) -> float:
        """CPU time of a redirect over that of the bare route's."""
        beside = (statistics.mean((a.cpu_us, b.cpu_us)) for a, b in self.neighbours)
        return statistics.median(one.cpu_us / bare for one, bare in zip(self.rounds, beside, strict=True))

    @property
    def clients(self) -> str:
        return "declared place" if self.declared else "no place"


def measure(
    folder: Path, say: Say, *, rounds: int = 5, seconds: float = 1.5, sizes: tuple[Size, ...] | None = None
) -> list[Figure]:
    """Take the figures.

    Args:
        folder: For the servers' files.
        say: Told what is going on.
        rounds: Of each series.
        seconds: Counted in each round.
        sizes: Of the federations; all of them if None.

    Raises:
        ServerFailedError, WrongAnswerError: There is nothing to be measured.
    """
    chosen = sizes or tuple(federations.SIZES.values())
    with ExitStack() as stack:
        say("redirects: filling the directors")
        bare = stack.enter_context(serving("benchmarks.bare:application", _made(folder / "bare")))
        directors = {
            size: stack.enter_context(
                serving(
                    "benchmarks.prefilled:application",
                    _made(folder / size.name),
                    {"DIRECTOR_BENCHMARK_FEDERATION": size.name},
                )
            )
            for size in chosen
        }
        load = stack.enter_context(generator(cores()[1]))
        series = [_Series(size, declared) for declared in (True, False) for size in chosen]
        bare_rounds = _rounds(load, bare, directors, series, rounds=rounds, seconds=seconds, say=say)
        memory = [figure(f"memory of a worker, {size}", "MiB", [directors[size].rss_mib()]) for size in chosen]
    return [*_figures(series, bare_rounds), *memory]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _rounds(
    load: Generator,
    bare: Server,
    directors: dict[Size, Server],
    series: list[_Series],
    *,
    rounds: int,
    seconds: float,
    say: Say,
) -> list[Round]:
    def bare_round(size: Size) -> Round:
        order = Order(
            port=bare.port, server_pid=bare.pid, federation=size.name, declared=True, bare=True, seconds=seconds
        )
        return load.run(order)

    before = bare_round(series[0].size)
    bare_rounds = [before]
    for number in range(rounds):
        say(f"redirects: round {number + 1} of {rounds}")
        for one in series:
            server = directors[one.size]
            order = Order(
                port=server.port,
                server_pid=server.pid,
                federation=one.size.name,
                declared=one.declared,
                seconds=seconds,
            )
            one.rounds.append(load.run(order))
            after = bare_round(one.size)
            one.neighbours.append((before, after))
            bare_rounds.append(after)
            before = after
    return bare_rounds


def _figures(series: list[_Series], bare_rounds: list[Round]) -> list[Figure]:
    made = [
        figure(
            f"redirects, {BARE}",
            "1/s",
            [one.per_s for one in bare_rounds],
            note=_note(bare_rounds),
            details=_details(bare_rounds),
        )
    ]
    made += [
        figure(
            f"redirects, {one.size}, {one.clients}",
            "1/s",
            [r.per_s for r in one.rounds],
            ratios=one.ratios(),
            beside=BARE,
            at_least=AIM,
            note=_note(one.rounds),
            details=_details(one.rounds) | {"times the bare route's CPU": one.cpu_ratio()},
        )
        for one in series
    ]
    for declared in (True, False):
        alike = [one for one in series if one.declared is declared]
        if len(alike) > 1:
            made.append(_flatness(alike))
    return made


def _flatness(alike: list[_Series]) -> Figure:
    """How much dearer the largest federation's redirects are than the smallest one's."""
    first, last = alike[0], alike[-1]
    ratios = [small / large for small, large in zip(first.ratios(), last.ratios(), strict=True)]
    name = f"redirects, {first.size.name} over {last.size.name}, {first.clients}"
    return figure(name, "x", ratios, at_most=FLAT, details={"by CPU time": last.cpu_ratio() / first.cpu_ratio()})


def _details(rounds: list[Round]) -> dict[str, float]:
    return {
        "p50 ms": statistics.median(one.p50_ms for one in rounds),
        "p99 ms": statistics.median(one.p99_ms for one in rounds),
        "CPU us": statistics.median(one.cpu_us for one in rounds),
        "server's share of a core": statistics.median(one.server_share for one in rounds),
        "generator's": max(one.generator_share for one in rounds),
    }


def _note(rounds: list[Round]) -> str:
    """What makes these rounds doubtful, if anything does."""
    doubts = []
    if any(one.generator_share > 0.8 for one in rounds):
        doubts.append("THE GENERATOR WAS THE LIMIT")
    if statistics.median(one.server_share for one in rounds) < 0.9:
        doubts.append("THE MACHINE WAS BUSY")
    closed = sum(one.reconnects for one in rounds)
    if closed:
        doubts.append(f"{closed} connections closed by the server")
    return ", ".join(doubts)
