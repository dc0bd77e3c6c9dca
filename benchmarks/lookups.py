"""What the redirect room itself costs: calls of the resolver in this process, without Flask and gunicorn.

A finer scale than the rates: what a request costs outside this room is the same in every federation and would hide a
look-up that grows with it.
"""

import gc
import random
import time
from collections.abc import Callable, Sequence

from benchmarks import federations
from benchmarks.federations import SEED, Size
from benchmarks.figures import Figure, figure
from benchmarks.prefilled import fill
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.models import Coordinate
from director_wsgi.limits.deadline import Deadline
from director_wsgi.redirect.geo import Overrides, somewhere
from director_wsgi.redirect.maxmind import GeoDatabase
from director_wsgi.redirect.places import ClientPlaces
from director_wsgi.redirect.request import Endpoint, ObjectRequest
from director_wsgi.redirect.resolver import Policy, Resolver

CALLS = 5_000
CALLS_FROM_NEW_PLACES = 200


def measure(say: Callable[[str], None], *, rounds: int = 7, sizes: tuple[Size, ...] | None = None) -> list[Figure]:
    """Take the figures.

    Args:
        say: Told what is going on.
        rounds: Of each size, in turn.
        sizes: Of the federations; all of them if None. The first is what the others are compared with.
    """
    chosen = sizes or tuple(federations.SIZES.values())
    say("look-ups: filling the directories")
    resolvers = {size: _resolver(size) for size in chosen}
    remembered: dict[Size, list[float]] = {size: [] for size in chosen}
    unseen: dict[Size, list[float]] = {size: [] for size in chosen}
    gc.collect()
    gc.freeze()
    for number in range(rounds):
        say(f"look-ups: round {number + 1} of {rounds}")
        rng = random.Random(f"{SEED} {number}")
        places = [somewhere(rng) for _ in range(federations.PLACES)]
        for size, resolver in resolvers.items():
            _microseconds(resolver, _requests(size, rng, CALLS, places))  # every place is known after that
            remembered[size].append(_microseconds(resolver, _requests(size, rng, CALLS, places)))
        for size, resolver in resolvers.items():
            unseen[size].append(_microseconds(resolver, _requests(size, rng, CALLS_FROM_NEW_PLACES, None)))
    gc.unfreeze()
    return _figures(remembered, unseen)


def _figures(remembered: dict[Size, list[float]], unseen: dict[Size, list[float]]) -> list[Figure]:
    least, *others = remembered
    made = [figure(f"look-up, {least}", "us", remembered[least])]
    for size in others:
        ratios = [mine / other for mine, other in zip(remembered[size], remembered[least], strict=True)]
        made.append(figure(f"look-up, {size}", "us", remembered[size], ratios=ratios, beside=least.name))
    made += [
        figure(f"look-up from a new place, {size}", "us", values, note="orders every cache")
        for size, values in unseen.items()
    ]
    return made


def _resolver(size: Size) -> Resolver:
    directory = Directory()
    fill(directory, size)

    def nobody_asks(*_: object, **__: object) -> tuple[()]:
        raise AssertionError("a namespace with one origin needs no stat")

    return Resolver(
        policy=Policy(web_url="https://director.example.org"),
        snapshot=directory.snapshot,
        ask=nobody_asks,
        recall=nobody_asks,
        places=ClientPlaces(Overrides(), GeoDatabase(None), generator=random.Random(SEED)),
        is_starting=lambda: False,
        generator=random.Random(SEED),
    )


def _requests(size: Size, rng: random.Random, count: int, places: Sequence[Coordinate] | None) -> list[ObjectRequest]:
    """Reads of random objects, from some of these places or, if None, each from a place of its own."""
    deadline = Deadline.after(3600)
    return [
        ObjectRequest(
            method="GET",
            endpoint=Endpoint.OBJECT,
            path=f"{federations.prefix_of(rng.randrange(size.namespaces))}/run-0001/file-{rng.randrange(10**6):06}.dat",
            coordinate=_copy(rng.choice(places)) if places else somewhere(rng),
            job_id="00000000-0000-4000-8000-000000000000",
            deadline=deadline,
        )
        for _ in range(count)
    ]


def _copy(place: Coordinate) -> Coordinate:
    """An equal one, as parsing the same header again makes it."""
    return Coordinate(latitude=place.latitude, longitude=place.longitude)


def _microseconds(resolver: Resolver, requests: list[ObjectRequest]) -> float:
    """CPU time of one call."""
    resolve = resolver.resolve
    began = time.process_time()
    for request in requests:
        resolve(request)
    return (time.process_time() - began) / len(requests) * 1e6
