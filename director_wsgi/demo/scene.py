"""What `demo saturation` plays out: origins, namespaces, objects, and when what happens.

Origins have numbers, and which of them holds an object can be read off its path: so whoever serves, asks or judges
needs nothing but the path, and no object is asked for twice.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

LISTING: Final = "/api/v1.0/director/directors"
"""What answers 200 while every redirect hangs, in Pelican's issue 3495."""

ORIGIN_ENDPOINT: Final = "/api/v1.0/director/origin"

ORIGINS: Final = 4
SICK: Final = 0
TOUCHED: Final = "/biology"
NAMESPACES: Final[Mapping[str, tuple[int, ...]]] = {
    TOUCHED: (SICK, 1),
    "/astronomy": (2, 3),
    "/geology": (2, 3),
    "/physics": (2, 3),
}
"""Which origins serve a namespace. Two each: where there is only one, its objects are taken to be there unasked."""

CLIENT_TIMEOUT_S: Final = 10.0
"""How long Pelican's client waits for an answer's headers: Transport.ResponseHeaderTimeout."""

PORTS_VARIABLE: Final = "SATURATION_ORIGIN_PORTS"
"""The environment variable by which a director learns of the origins; see `written_ports`."""

_SEED = 3495


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What happens when, and how much is asked for. Instants are seconds since the first request.

    Attributes:
        warm_up_s: Requests are made, and not judged.
        before_s, hang_s, after_s: All is well; an origin hangs; all is well again.
        threads: Handler threads of the one worker.
        slots: HEADs that one origin may have in flight.
        rate_per_s: Objects asked for in each namespace.
        listings_per_s: How often `LISTING` is asked for.
    """

    warm_up_s: float = 2.0
    before_s: float = 5.0
    hang_s: float = 20.0
    after_s: float = 12.0
    threads: int = 32
    slots: int = 16
    rate_per_s: float = 20.0
    listings_per_s: float = 4.0

    @property
    def begins_at(self) -> float:
        """From here on requests are judged."""
        return self.warm_up_s

    @property
    def hangs_at(self) -> float:
        """When the origin begins to hang."""
        return self.begins_at + self.before_s

    @property
    def heals_at(self) -> float:
        """When it is well again."""
        return self.hangs_at + self.hang_s

    @property
    def ends_at(self) -> float:
        """When the last request has been made."""
        return self.heals_at + self.after_s


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: the target to ask for, at an instant in seconds since the first one."""

    at_s: float
    target: str


def arrivals(plan: Plan) -> list[Arrival]:
    """The open-loop load: every request of the plan in the order of time; the same for the same plan.

    Each source has a fixed rate; objects alternate between the origins of their namespace.
    """
    generator = random.Random(_SEED)
    sources = [(plan.rate_per_s, _objects(prefix)) for prefix in NAMESPACES]
    sources.append((plan.listings_per_s, _listings()))
    made: list[Arrival] = []
    for rate_per_s, targets in sources:
        offset = generator.random()  # so that the sources do not ask in step
        number = int(plan.ends_at * rate_per_s)
        made += [Arrival((n + offset) / rate_per_s, target) for n, target in zip(range(number), targets, strict=False)]
    return sorted(made, key=lambda arrival: arrival.at_s)


def _objects(prefix: str) -> Iterator[str]:
    origins = NAMESPACES[prefix]
    for number in count():
        yield f"{ORIGIN_ENDPOINT}{prefix}/held-by-{origins[number % len(origins)]}/{number:06}.dat"


def _listings() -> Iterator[str]:
    while True:
        yield LISTING


def holder(path: str) -> int:
    """The number of the origin that has the object; the path may stand behind an endpoint or in a URL.

    Raises:
        ValueError: It is no object of this scene.
    """
    folder = path.rpartition("/")[0].rpartition("/")[2]
    if not folder.startswith("held-by-"):
        raise ValueError(f"{path} is no object of the scene")
    return int(folder.removeprefix("held-by-"))


def is_touched(target: str) -> bool:
    """Whether a target lies in the namespace that the sick origin serves."""
    return target.startswith(f"{ORIGIN_ENDPOINT}{TOUCHED}/")


def written_ports(ports: Sequence[int]) -> str:
    """The origins' ports, in their order, as the value of `PORTS_VARIABLE`."""
    return ",".join(map(str, ports))


def base_urls(written: str) -> list[str]:
    """The origins' base URLs, in their order, from the value of `PORTS_VARIABLE`."""
    return [f"http://127.0.0.1:{int(port)}" for port in written.split(",")]
