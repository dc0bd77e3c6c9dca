"""What several workers give, and what their ends cost: rates, how soon all know what one has taken, deaths, reloads.

The rates are those of directors that know a federation from the start; all of them are up the whole time and get their
rounds in turn. For the rest a director of two workers learns from advertisements, and its clients come at their
instants, each with a connection of its own.
"""

import os
import signal
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import federations
from benchmarks.federations import Clients
from benchmarks.figures import Figure, figure
from benchmarks.load import Generator, Order, Round, generator
from benchmarks.server import Server, serving
from tests.process.fleet import Fleet, load, wrong
from tests.process.fleet import Server as Advertiser

Say = Callable[[str], None]

NUMBERS = (1, 2, 4)
AIM_OF_TWO = 1.7
VISIBLE_AIM_MS = 50.0
RECOVERY_AIM_S = 2.0
CONNECTIONS = 48
"""For each worker: so many that each has some whatever chance decides, and all have a place in one."""

RATE_PER_S = 100.0
GIVE_UP_S = 5.0


def measure(folder: Path, say: Say, *, quick: bool = False) -> list[Figure]:
    """Take the figures.

    Args:
        folder: For the directors' files.
        say: Told what is going on.
        quick: Few rounds.

    Raises:
        ServerFailedError, WrongAnswerError, LoadFailedError: There is nothing to be measured.
    """
    rounds, seconds, ends, hups, ads = (2, 0.5, 2, 3, 30) if quick else (7, 1.5, 7, 20, 300)
    made = _rates(_made(folder / "rates"), say, rounds=rounds, seconds=seconds)
    with ExitStack() as stack:
        fleet = Fleet(_made(folder / "fleet"), stack, 2)
        servers = fleet.servers(5)
        say(f"workers: {ads} advertisements")
        made.append(visibility(fleet, ads))
        say(f"workers: {ends} deaths")
        made += deaths(fleet, servers, ends)
        say(f"workers: {hups} reloads")
        made += reloads(fleet, servers, hups)
    with ExitStack() as stack:
        fleet = Fleet(_made(folder / "alone"), stack, 1)
        say(f"workers: {ends} deaths of the only one")
        made += deaths(fleet, fleet.servers(5), ends)
    return made


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


# Rates.


def _rates(folder: Path, say: Say, *, rounds: int, seconds: float) -> list[Figure]:
    extra = {"DIRECTOR_BENCHMARK_FEDERATION": federations.MEDIUM.name}
    everywhere = os.sched_getaffinity(0)
    with ExitStack() as stack:
        servers = {
            number: stack.enter_context(
                serving("benchmarks.prefilled:application", _made(folder / f"{number}"), extra, workers=number)
            )
            for number in NUMBERS
        }
        generating = stack.enter_context(generator(everywhere))
        series: dict[int, list[Round]] = {number: [] for number in NUMBERS}
        for turn in range(rounds):
            say(f"workers: rates, round {turn + 1} of {rounds}")
            for number, server in servers.items():
                series[number].append(_round(generating, number, server, seconds))
    return [_rate(number, series) for number in NUMBERS]


def _round(generating: Generator, number: int, server: Server, seconds: float) -> Round:
    order = Order(
        port=server.port,
        server_pid=server.pid,
        other_pids=server.others,
        federation=federations.MEDIUM.name,
        clients=Clients.MANY_PLACES,
        connections=min(CONNECTIONS * number, 96),
        seconds=seconds,
    )
    return generating.run(order)


def _rate(number: int, series: dict[int, list[Round]]) -> Figure:
    rounds, single = series[number], series[1]
    return figure(
        f"redirects, {number} {'worker' if number == 1 else 'workers'}",
        "1/s",
        [one.per_s for one in rounds],
        ratios=[] if number == 1 else [a.per_s / b.per_s for a, b in zip(rounds, single, strict=True)],
        beside="" if number == 1 else "one worker",
        at_least=AIM_OF_TWO if number == 2 else None,
        note="THE MACHINE WAS BUSY" if statistics.median(one.server_share for one in single) < 0.9 else "",
        details={
            "CPU us": statistics.median(one.cpu_us for one in rounds),
            "times the CPU of one worker's": statistics.median(
                a.cpu_us / b.cpu_us for a, b in zip(rounds, single, strict=True)
            ),
            "workers' cores": statistics.median(one.server_share for one in rounds),
            "generator's": statistics.median(one.generator_share for one in rounds),
        },
    )


# How soon all know.


def visibility(fleet: Fleet, number: int) -> Figure:
    """From the answer to an advertisement until a worker that did not take it sends clients there; two workers."""
    delays_ms = []
    with fleet.lines() as lines:
        one, other = lines
        for _ in range(number):
            server = fleet.server()
            server.advertise(one)
            answered_at = time.monotonic()
            while not server.is_named_by(other.get(server.target)):
                if time.monotonic() - answered_at > GIVE_UP_S:
                    break
            delays_ms.append((time.monotonic() - answered_at) * 1e3)
            one, other = other, one
    delays_ms.sort()
    return figure(
        "advertisement taken until the other worker uses it, p99",
        "ms",
        [delays_ms[int(number * 0.99)]],
        at_most=VISIBLE_AIM_MS,
        details={"p50 ms": statistics.median(delays_ms), "longest": delays_ms[-1]},
        note=f"{number} advertisements",
    )


# Ends.


def deaths(fleet: Fleet, servers: Sequence[Advertiser], number: int) -> list[Figure]:
    """Kill a worker under load, so many times; what becomes of the clients that come later."""
    workers = fleet.child.workers()
    recovered_s, refused, cut_off = [], 0, 0
    for _ in range(number):
        with load(fleet.child.port, servers, rate_per_s=RATE_PER_S, seconds=3.0) as asking:
            time.sleep(max(0.0, asking.starts_at + 0.7 - time.monotonic()))
            old = fleet.child.workers()
            os.kill(old[0], signal.SIGKILL)
            later = asking.first_after(time.monotonic())
            outcomes = asking.outcomes()
        failed = wrong(outcomes, servers)
        refused += sum(n > later for n in failed)
        cut_off += sum(n <= later for n in failed)
        right = (
            outcome.latency_s + (n - later) / RATE_PER_S
            for n, outcome in enumerate(outcomes)
            if n > later and n not in failed
        )
        recovered_s.append(min(right, default=GIVE_UP_S))
        fleet.wait_for_workers(len(workers), others_than=old[:1])
    of = "the only worker" if len(workers) == 1 else f"one of {len(workers)} workers"
    return [
        figure(
            f"kill -9 of {of} until the first right redirect of a client that came later",
            "s",
            recovered_s,
            at_most=RECOVERY_AIM_S,
            details={"requests cut off that had come before, each time": cut_off / number},
        ),
        figure(f"kill -9 of {of}: clients that came later and got no right redirect", "", [refused], at_most=0),
    ]


def reloads(fleet: Fleet, servers: Sequence[Advertiser], number: int) -> list[Figure]:
    """Reload under load, so many times; what becomes of all clients."""
    lost, asked, done = 0, 0, 0
    latencies: list[float] = []
    while done < number:
        with load(fleet.child.port, servers, rate_per_s=RATE_PER_S, seconds=10.0) as asking:
            while not asking.has_ended() and done < number:
                fleet.hup()
                done += 1
            outcomes = asking.outcomes()
        lost += len(wrong(outcomes, servers))
        asked += len(outcomes)
        latencies += [outcome.latency_s for outcome in outcomes]
    latencies.sort()
    return [
        figure(
            f"requests lost over {number} reloads (HUP) of two workers",
            "",
            [lost],
            at_most=0,
            details={"p50 ms": latencies[asked // 2] * 1e3, "longest ms": latencies[-1] * 1e3},
            note=f"of {asked:,}",
        )
    ]
