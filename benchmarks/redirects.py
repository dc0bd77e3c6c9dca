"""Redirects per second, against the least that Flask and the least that any WSGI application could do for one.

All servers are up during the whole of it, each with one worker on the same settings, and get their rounds in turn: the
Flask route, the bare callable, small, medium, large, the Flask route … A director's round is compared with the two
rounds before and after it of either. Nobody asks for an object that has been asked for before. No server is asked for
one, since each namespace has one origin.
"""

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import federations
from benchmarks.federations import MANY_PLACES, Clients, Size
from benchmarks.figures import Figure, figure
from benchmarks.load import Generator, Order, Round, generator
from benchmarks.server import Server, cores, serving

Say = Callable[[str], None]

FLASK = "the constant Flask route"
CALLABLE = "the bare WSGI callable"
AIMS = {FLASK: 1.4, CALLABLE: 0.7}
FLAT = 1.15

_APPLICATIONS = {FLASK: "benchmarks.bare:application", CALLABLE: "benchmarks.bare:wsgi_callable"}


@dataclass(slots=True)
class _Series:
    """The rounds of one size and one kind of client, and those of the rivals before and after each."""

    size: Size
    clients: Clients
    rounds: list[Round] = field(default_factory=list)
    neighbours: dict[str, list[tuple[Round, Round]]] = field(default_factory=lambda: {name: [] for name in AIMS})

    @property
    def name(self) -> str:
        return f"redirects, {self.size}, {self.clients}"

    def ratios(self, rival: str) -> list[float]:
        """Rates over the rival's."""
        beside = (statistics.mean((a.per_s, b.per_s)) for a, b in self.neighbours[rival])
        return [one.per_s / other for one, other in zip(self.rounds, beside, strict=True)]

    def cpu_ratios(self, rival: str) -> list[float]:
        """The rival's CPU time per answer over ours: what the rates would be if nothing else ran anywhere."""
        beside = (statistics.mean((a.cpu_us, b.cpu_us)) for a, b in self.neighbours[rival])
        return [other / one.cpu_us for one, other in zip(self.rounds, beside, strict=True)]


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
        play = _Play(
            load=stack.enter_context(generator(cores()[1])),
            rivals={
                name: stack.enter_context(serving(application, _made(folder / application.rpartition(":")[2])))
                for name, application in _APPLICATIONS.items()
            },
            directors={
                size: stack.enter_context(
                    serving(
                        "benchmarks.prefilled:application",
                        _made(folder / size.name),
                        {"DIRECTOR_BENCHMARK_FEDERATION": size.name},
                    )
                )
                for size in chosen
            },
            seconds=seconds,
        )
        series = [_Series(size, clients) for clients in Clients for size in chosen]
        for clients in Clients:
            alike = [one for one in series if one.clients is clients]
            play.warm_up(alike)
            for number in range(rounds):
                say(f"redirects, {clients}: round {number + 1} of {rounds}")
                play.round(alike)
    return [*_rivals(play), *(made for one in series for made in _figures(one)), *_flatness(series)]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


class _Play:
    """The servers and the rounds they have had.

    Attributes:
        rival_rounds: Every round of either rival, in the order in which they were run.
    """

    def __init__(
        self, *, load: Generator, rivals: dict[str, Server], directors: dict[Size, Server], seconds: float
    ) -> None:
        self.rival_rounds: dict[str, list[Round]] = {name: [] for name in rivals}
        self._load = load
        self._rivals = rivals
        self._directors = directors
        self._seconds = seconds

    def warm_up(self, series: Sequence[_Series]) -> None:
        """Have every place seen that can be seen twice; and let the rivals go before the first round."""
        for one in series:
            self._load.run(self._order(self._directors[one.size], one, warm_up_answers=MANY_PLACES))
        self._let_rivals(series[0])

    def round(self, series: Sequence[_Series]) -> None:
        """One round of each, then of the rivals."""
        before = {name: rounds[-1] for name, rounds in self.rival_rounds.items()}
        for one in series:
            one.rounds.append(self._load.run(self._order(self._directors[one.size], one)))
        self._let_rivals(series[0])
        for one in series:
            for name, rounds in self.rival_rounds.items():
                one.neighbours[name].append((before[name], rounds[-1]))

    def _let_rivals(self, series: _Series) -> None:
        for name, server in self._rivals.items():
            self.rival_rounds[name].append(self._load.run(self._order(server, series, bare=True)))

    def _order(self, server: Server, series: _Series, *, bare: bool = False, warm_up_answers: int = 0) -> Order:
        return Order(
            port=server.port,
            server_pid=server.pid,
            federation=series.size.name,
            clients=series.clients,
            bare=bare,
            warm_up_answers=warm_up_answers,
            seconds=self._seconds,
        )


def _rivals(play: _Play) -> list[Figure]:
    return [
        figure(
            f"redirects, {name}",
            "1/s",
            [one.per_s for one in rounds],
            note=_note(rounds),
            details=_details(rounds),
        )
        for name, rounds in play.rival_rounds.items()
    ]


def _figures(series: _Series) -> list[Figure]:
    """The rate, then what it is beside either rival; the same by CPU time stands beside it, which no noise reaches."""
    made = [
        figure(
            series.name,
            "1/s",
            [one.per_s for one in series.rounds],
            note=_note(series.rounds),
            details=_details(series.rounds),
        )
    ]
    made += [
        figure(
            f"{series.name}: over {rival}",
            "x",
            series.ratios(rival),
            at_least=aim,
            details={"by CPU time": statistics.median(series.cpu_ratios(rival))},
        )
        for rival, aim in AIMS.items()
    ]
    return made


def _flatness(series: Sequence[_Series]) -> list[Figure]:
    """How much dearer the largest federation's redirects are than the smallest one's."""
    made = []
    for clients in Clients:
        alike = [one for one in series if one.clients is clients]
        if len(alike) == 1:
            continue
        first, last = alike[0], alike[-1]
        made.append(
            figure(
                f"redirects, {first.size.name} over {last.size.name}, {clients}",
                "x",
                [small.per_s / large.per_s for small, large in zip(first.rounds, last.rounds, strict=True)],
                at_most=FLAT,
                details={"by CPU time": _cpu(last) / _cpu(first)},
            )
        )
    return made


def _cpu(series: _Series) -> float:
    return statistics.median(one.cpu_us for one in series.rounds)


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
