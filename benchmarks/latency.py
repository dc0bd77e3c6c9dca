"""How long clients wait while a whole federation renews its advertisements, in the smallest one and in the largest.

Clients come at their instants, each with a connection of its own, whether or not earlier ones have been answered, and a
latency counts from that instant: what stops the director for a moment is seen by all who come in it. A federation's
servers renew once a minute during its rounds: 4 of the small federation, 1,100 of the large, 100 of these with 3,000
namespaces each. The two take turns.
"""

import random
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks import federations
from benchmarks.advertiser import key_set
from benchmarks.federations import SEED, Size
from benchmarks.figures import Figure, figure
from benchmarks.load import WrongAnswerError
from benchmarks.registry import registry
from benchmarks.renewals import Renewals, renewing
from benchmarks.server import Server, confined, cores, serving
from director_wsgi.demo.openloop import Load, Order, Outcome
from director_wsgi.demo.scene import Arrival
from director_wsgi.limits.deadline import monotonic

RATE_PER_S = 300.0
LEAD_S = 1.5
"""From ordering a load to its first request: its process has to start."""

CLIENT_TIMEOUT_S = 10.0
AIM = 1.3
LATE_MS = 20.0


@dataclass(slots=True)
class _Director:
    """One federation's director and what its clients saw, round by round."""

    size: Size
    server: Server
    renewals: Renewals
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    longest_ms: list[float] = field(default_factory=list)
    lateness_ms: float = 0.0


def measure(folder: Path, say: Callable[[str], None], *, rounds: int = 7, seconds: float = 10.0) -> list[Figure]:
    """Take the figures.

    Args:
        folder: For the servers' files.
        say: Told what is going on.
        rounds: Of each director.
        seconds: Of one round.

    Raises:
        ServerFailedError, WrongAnswerError, LoadFailedError: There is nothing to be measured.
    """
    own = folder / "latency"
    own.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    with ExitStack() as stack:
        with confined(cores()[1]):
            known = stack.enter_context(registry(key_set(key)))
        say("latency: all servers advertise for the first time")
        small, large = (_director(size, own, known.url, key, stack) for size in (federations.SMALL, federations.LARGE))
        for number in range(rounds):
            say(f"latency: round {number + 1} of {rounds}")
            for one in (small, large):
                _round(one, number, seconds)
    return [_seen(small), _seen(large), _compared(small, large)]


def _director(
    size: Size, folder: Path, registry_url: str, key: ec.EllipticCurvePrivateKey, stack: ExitStack
) -> _Director:
    own = folder / size.name
    own.mkdir()
    environment = {"PELICAN_FEDERATION_REGISTRYURL": registry_url}
    server = stack.enter_context(serving("director_wsgi.wsgi:application", own, environment))
    renewals = stack.enter_context(renewing(server, size, key))
    renewals.advertise_all()
    return _Director(size=size, server=server, renewals=renewals)


def _round(one: _Director, number: int, seconds: float) -> None:
    order = Order(
        port=one.server.port,
        starts_at=monotonic() + LEAD_S,
        timeout_s=CLIENT_TIMEOUT_S,
        arrivals=_arrivals(one.size, f"run-{number}", seconds),
    )
    with one.renewals.going_on(), confined(cores()[1]), Load(order) as load:
        outcomes = load.outcomes()
    if wrong := [outcome for outcome in outcomes if outcome.status != 307]:
        raise WrongAnswerError(f"{len(wrong)} of {len(outcomes)} got no redirect: {wrong[0]}")
    _note(one, outcomes)


def _arrivals(size: Size, run: str, seconds: float) -> list[Arrival]:
    generator = random.Random(f"{SEED} {run}")
    return [
        Arrival(
            (n + generator.random()) / RATE_PER_S,
            f"{federations.prefix_of(generator.randrange(size.namespaces))}/{run}/file-{n:06}.dat",
        )
        for n in range(int(seconds * RATE_PER_S))
    ]


def _note(one: _Director, outcomes: list[Outcome]) -> None:
    latencies_ms = sorted(outcome.latency_s * 1e3 for outcome in outcomes)
    one.p50_ms.append(latencies_ms[len(latencies_ms) // 2])
    one.p99_ms.append(latencies_ms[len(latencies_ms) * 99 // 100])
    one.longest_ms.append(latencies_ms[-1])
    one.lateness_ms = max(one.lateness_ms, *(outcome.lateness_s * 1e3 for outcome in outcomes))


def _seen(one: _Director) -> Figure:
    return figure(
        f"p99 of redirects while all servers renew once a minute, {one.size}",
        "ms",
        one.p99_ms,
        details={
            "p50 ms": statistics.median(one.p50_ms),
            "longest ms": max(one.longest_ms),
            "renewals": one.renewals.sent - one.size.origins - one.size.caches,
        },
        note=f"THE GENERATOR WAS {one.lateness_ms:.0f} ms LATE" if one.lateness_ms > LATE_MS else "",
    )


def _compared(small: _Director, large: _Director) -> Figure:
    return figure(
        f"p99 of redirects while all servers renew once a minute, {large.size.name} over {small.size.name}",
        "x",
        [a / b for a, b in zip(large.p99_ms, small.p99_ms, strict=True)],
        at_most=AIM,
        details={"p50": statistics.median(large.p50_ms) / statistics.median(small.p50_ms)},
        note=f"{RATE_PER_S:g} requests/s",
    )
