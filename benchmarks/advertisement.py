"""What an advertisement costs the director: CPU time of its process, for real POSTs with real tokens.

The director knows the largest federation already. Its registry is a thread of this process that answers from memory,
so that what is measured is the director's own work.
"""

import http.client
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks import federations
from benchmarks.federations import Json, Size
from benchmarks.figures import Figure, figure
from benchmarks.load import WrongAnswerError, process_cpu_s
from benchmarks.registry import registry
from benchmarks.server import Server, serving

KEY_ID = "benchmark"
READY_TIMEOUT_S = 30.0


def measure(
    folder: Path, say: Callable[[str], None], *, rounds: int = 5, size: Size = federations.LARGE
) -> list[Figure]:
    """Take the figures.

    Args:
        folder: For the server's files.
        say: Told what is going on.
        rounds: How many servers of each kind advertise, each three times.
        size: Of the federation.

    Raises:
        ServerFailedError, WrongAnswerError: There is nothing to be measured.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    own = folder / "advertisement"
    own.mkdir()
    with ExitStack() as stack:
        known = stack.enter_context(registry({"keys": [_public(key)]}))
        say("advertisements: filling the director")
        environment = {
            "DIRECTOR_BENCHMARK_FEDERATION": size.name,
            "PELICAN_FEDERATION_REGISTRYURL": known.url,
        }
        sender = _Sender(stack.enter_context(serving("benchmarks.prefilled:application", own, environment)), key)
        sender.post("Origin", next(iter(federations.origin_ads(size))))  # connections and keys are there from now on
        costs: dict[str, list[_Cost]] = {}
        for number in range(rounds):
            say(f"advertisements: round {number + 1} of {rounds}")
            for name, kind, ad in _advertisements(size, number):
                asked = known.questions
                cost = sender.post(kind, ad)
                costs.setdefault(name, []).append((*cost, known.questions - asked))
    return [
        figure(
            f"advertisement, {name}",
            "ms CPU",
            [cpu_s * 1e3 for cpu_s, _, _ in made],
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
    many = f"cache with {size.namespaces:,} namespaces"
    yield f"{many}, first", "Cache", cache
    yield f"{many}, renewed", "Cache", cache | {"generationID": 3}
    yield f"{many}, one less", "Cache", cache | {"generationID": 4, "namespaces": cache["namespaces"][:-1]}
    origin = federations.new_origin_ad(size, number)
    few = f"origin with {len(origin['namespaces'])} namespaces"
    yield f"{few}, first", "Origin", origin
    yield f"{few}, renewed", "Origin", origin | {"generationID": 3}


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
            headers = self._headers(kind, ad)
            cpu_s, began = process_cpu_s(self._server.pid), time.monotonic()
            self._connection.request("POST", f"/api/v1.0/director/register{kind}", body, headers)
            answer = self._connection.getresponse()
            told = answer.read()
            wall_s, cpu_s = time.monotonic() - began, process_cpu_s(self._server.pid) - cpu_s
            if answer.status == 200:
                return cpu_s, wall_s
            if answer.status != 503 or time.monotonic() > give_up_at:
                raise WrongAnswerError(f"advertisement of {ad['name']} answered {answer.status}: {told[:500]!r}")
            time.sleep(1)

    def _headers(self, kind: str, ad: Json) -> dict[str, str]:
        now = int(time.time())
        claims = {
            "iss": ad["web-url"],
            "sub": ad["data-url"],
            "aud": ["https://director.example.org"],
            "scope": "pelican.advertise",
            "iat": now,
            "nbf": now,
            "exp": now + 60,
            "jti": str(now),
            "wlcg.ver": "1.0",
        }
        token = jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": KEY_ID})
        return {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "User-Agent": f"pelican-{kind.lower()}/7.20.0",
        }


def _public(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    """The public half as a JSON Web Key (RFC 7517)."""
    made: dict[str, Any] = json.loads(
        jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).to_jwk(key.public_key())
    )
    return made | {"kid": KEY_ID, "alg": "ES256", "use": "sig"}
