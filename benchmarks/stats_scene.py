"""Which origins there are, what they serve, and when what is asked for: the scenes that asking servers is measured in.

An object is at one origin, which can be read off its path; no object is asked for twice. The load is open: a request
is due at its instant, whether or not earlier ones have been answered. Everything is made from a seed.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from director_wsgi.demo.scene import ORIGIN_ENDPOINT, Arrival

SEED = 34_95
SICK = 0
"""The origin that hangs."""

FEW = 4
"""Origins of which one hangs."""

MANY = 40
"""All origins; those beyond the few are asked in bursts, two at a time."""

TOUCHED = "/biology"
SPREAD = "/chemistry"
UNTOUCHED = ("/astronomy", "/geology", "/physics")
NAMESPACES: Mapping[str, tuple[int, ...]] = {
    TOUCHED: (SICK, 1),
    SPREAD: (0, 1, 2, 3),
    **dict.fromkeys(UNTOUCHED, (2, 3)),
    **{f"/burst-{n:02}": (n, n + 1) for n in range(FEW, MANY, 2)},
}
BURSTS = tuple(prefix for prefix in NAMESPACES if prefix.startswith("/burst-"))


@dataclass(frozen=True, slots=True)
class Source:
    """Objects of one namespace asked for at a steady rate."""

    prefix: str
    rate_per_s: float


def target(prefix: str, number: int, *, holder: int, run: str) -> str:
    """What a client asks for to be sent to the origin of an object; `run` makes it another one."""
    return f"{ORIGIN_ENDPOINT}{prefix}/{run}/held-by-{holder}/{number:06}.dat"


def objects(prefix: str, run: str) -> Iterator[str]:
    """Targets of a namespace without end, held by its origins in turn."""
    origins = NAMESPACES[prefix]
    for number in count():
        yield target(prefix, number, holder=origins[number % len(origins)], run=run)


def arrivals(sources: Sequence[Source], *, lasts_s: float, run: str) -> list[Arrival]:
    """Every request of a load in the order of time."""
    generator = random.Random(SEED)
    made: list[Arrival] = []
    for source in sources:
        offset = generator.random()  # so that the sources do not ask in step
        number = int(lasts_s * source.rate_per_s)
        made += [
            Arrival((n + offset) / source.rate_per_s, asked)
            for n, asked in zip(range(number), objects(source.prefix, run), strict=False)
        ]
    return sorted(made, key=lambda arrival: arrival.at_s)


def prefix_of(asked: str) -> str:
    """The namespace of a target."""
    return "/" + asked.removeprefix(ORIGIN_ENDPOINT).split("/")[1]
