"""What an advertisement costs the director: CPU time of its process, for real POSTs with real tokens.

The director knows the largest federation already. Its registry is a thread of this process that answers from memory,
so that what is measured is the director's own work.
"""

import http.client
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks import federations
from benchmarks.advertiser import headers, key_set
from benchmarks.federations import Json, Size
from benchmarks.figures import Figure, figure
from benchmarks.load import WrongAnswerError, process_cpu_s
from benchmarks.registry import registry
from benchmarks.server import Server, serving

READY_TIMEOUT_S = 30.0
ORIGIN, CACHE = "Origin", "Cache"
FEW = 3
"""Namespaces of an origin."""


def measure(
    folder: Path, say: Callable[[str], None], *, rounds: int = 5, size: Size = federations.LARGE
) -> list[Figure]:
    """Take the figures.

    Args:
        folder: For the server's files.
        say: Told what is going on.
        rounds: How many servers of each kind advertise, some of them several times.
        size: Of the federation.

    Raises:
        ServerFailedError, WrongAnswerError: There is nothing to be measured.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    own = folder / "advertisement"
    own.mkdir()
    with ExitStack() as stack:
        known = stack.enter_context(registry(key_set(key)))
        say("advertisements: filling the director")
        environment = {
            "DIRECTOR_BENCHMARK_FEDERATION": size.name,
            "PELICAN_FEDERATION_REGISTRYURL": known.url,
        }
        sender = _Sender(stack.enter_context(serving("benchmarks.prefilled:application", own, environment)), key)
        sender.post(ORIGIN, next(iter(federations.origin_ads(size))))  # connections and keys are there from now on
        costs: dict[str, list[_Cost]] = {}
        for number in range(rounds):
            say(f"advertisements: round {number + 1} of {rounds}")
            for name, kind, ad in _advertisements(size, number):
                asked = known.questions
                cost = sender.post(kind, ad)
                costs.setdefault(name, []).append((*cost, known.questions - asked))
    aims = {_renewed(kind, count): aim for kind, count, aim in ((CACHE, size.namespaces, 5.0), (ORIGIN, FEW, 3.0))}
    return [
        figure(
            f"advertisement, {name}",
            "ms CPU",
            [cpu_s * 1e3 for cpu_s, _, _ in made],
            at_most=aims.get(name),
            details={
                "ms until the answer": statistics.median(wall_s * 1e3 for _, wall_s, _ in made),
                "questions to the registry": max(asked for _, _, asked in made),
            },
        )
        for name, made in costs.items()
    ]


_Cost = tuple[float, float, int]
"""CPU time of the director, time until the answer, questions to the registry."""


def _advertisements(size: Size, number: int) -> Iterator[tuple[str, str, Json]]:
    """What is measured in one round: name, kind, body."""
    cache = federations.cache_ad(size, size.caches + number)
    many = _sender_of(CACHE, size.namespaces)
    yield f"{many}, first", CACHE, cache
    yield _renewed(CACHE, size.namespaces), CACHE, cache | {"generationID": 3}
    yield f"{many}, one less", CACHE, cache | {"generationID": 4, "namespaces": cache["namespaces"][:-1]}
    strange = [namespace | {"path": f"/new-{number}{namespace['path']}"} for namespace in cache["namespaces"]]
    yield f"{many} that nobody has named before", CACHE, cache | {"generationID": 5, "namespaces": strange}
    yield f"{many} as at first again", CACHE, cache | {"generationID": 6}
    origin = federations.new_origin_ad(size, number)
    yield f"{_sender_of(ORIGIN, FEW)}, first", ORIGIN, origin
    yield _renewed(ORIGIN, FEW), ORIGIN, origin | {"generationID": 3}


def _sender_of(kind: str, namespaces: int) -> str:
    return f"{kind.lower()} with {namespaces:,} namespaces"


def _renewed(kind: str, namespaces: int) -> str:
    return f"{_sender_of(kind, namespaces)}, renewed"


class _Sender:
    """Posts advertisements as Pelican's servers do, over one kept-alive connection."""

    def __init__(self, server: Server, key: ec.EllipticCurvePrivateKey) -> None:
        self._server = server
        self._key = key
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def post(self, kind: str, ad: Json) -> tuple[float, float]:
        """Send one, and tell what it cost the director: CPU time and time until the answer, seconds.

        Raises:
            WrongAnswerError: It was not accepted.
        """
        give_up_at = time.monotonic() + READY_TIMEOUT_S
        while True:
            body = federations.encode(ad)
            fields = headers(kind, ad["web-url"], ad["data-url"], self._key)
            cpu_s, began = process_cpu_s(self._server.pid), time.monotonic()
            self._connection.request("POST", f"/api/v1.0/director/register{kind}", body, fields)
            answer = self._connection.getresponse()
            told = answer.read()
            wall_s, cpu_s = time.monotonic() - began, process_cpu_s(self._server.pid) - cpu_s
            if answer.status == 200:
                return cpu_s, wall_s
            if answer.status != 503 or time.monotonic() > give_up_at:
                raise WrongAnswerError(f"advertisement of {ad['name']} answered {answer.status}: {told[:500]!r}")
            time.sleep(1)
