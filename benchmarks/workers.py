"""What several workers give, and what their ends cost: rates, the spread of clients, visibility, deaths, reloads.

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
from director_wsgi.runtime.balance import TOO_MANY
from tests.process.fleet import Fleet, load, wrong
from tests.process.fleet import Server as Advertiser
from tests.process.kept import Kept

Say = Callable[[str], None]

NUMBERS = (1, 2, 4)
AIM_OF_TWO = 1.8
VISIBLE_AIM_MS = 50.0
RECOVERY_AIM_S = 2.0
CONNECTIONS = 48
"""For each worker: so many that each has some whatever chance decides, and all have a place in one."""

KEPT = 32
"""Clients that keep their connections, to be spread."""

EVEN_AIM = 1.25
"""The busiest worker has at most so many times its share of the connections."""

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
    for number in NUMBERS[1:]:
        say(f"workers: {KEPT} clients over {number} workers")
        made += spread(_made(folder / f"spread-{number}"), number, rounds)
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
    return [*(_rate(number, series) for number in NUMBERS), _two_over_one(series)]


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


def _two_over_one(series: dict[int, list[Round]]) -> Figure:
    """What two workers would do with a core each, and nobody else on it, over what one does.

    Their rates cannot tell on two cores, where the load generator takes a third of both. What can: how much dearer a
    redirect is to each of two.
    """
    return figure(
        "two workers over one, by the CPU time of a redirect",
        "x",
        [2 * one.cpu_us / two.cpu_us for one, two in zip(series[1], series[2], strict=True)],
        at_least=AIM_OF_TWO,
        details={"by rates": statistics.median(b.per_s / a.per_s for a, b in zip(series[1], series[2], strict=True))},
    )


# How evenly clients are spread.


def spread(folder: Path, number: int, rounds: int) -> list[Figure]:
    """How evenly clients that come all at once are spread, and how soon they are again after the death of a worker.

    The application is the one that redirects are compared with, since what spreads connections is below it.
    """
    share = KEPT / number
    connections, answers, even_after_s = [], [], []
    with serving("benchmarks.bare:application", folder, workers=number) as server:
        master = _parent(server.pid)
        for _ in range(rounds):
            with Kept(server.port, KEPT) as clients:
                clients.ask(1.0)
                has, answered = clients.spread(_children(master))
                connections.append(has[-1] / share)
                answers.append(answered[-1] * number / max(sum(answered), 1))
                os.kill(_children(master)[0], signal.SIGKILL)
                killed_at = time.monotonic()
                while _is_uneven(clients, master, share) and time.monotonic() < killed_at + 2 * GIVE_UP_S:
                    clients.ask(0.1)
                even_after_s.append(time.monotonic() - killed_at)
    return [
        figure(
            f"connections of the busiest of {number} workers, over its share",
            "x",
            connections,
            at_most=EVEN_AIM,
            details={"answers over its share": statistics.median(answers)},
            note=f"{KEPT} clients at once",
        ),
        figure(f"kill -9 of one of {number} workers until clients are spread again", "s", even_after_s, at_most=3.0),
    ]


def _is_uneven(clients: Kept, master: int, share: float) -> bool:
    has, _ = clients.spread(_children(master))
    return sum(has) < KEPT or has[-1] >= share + TOO_MANY


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


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
