"""A registry without sockets: what `trust.registry.Registry` needs of an HTTP client, and what it would answer."""

import json
from collections.abc import Callable, Mapping
from urllib.parse import unquote, urlsplit

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, Failure, OutboundError
from director_wsgi.trust.pool import CAPACITY, Pool
from tests.unit.trust.forge import Key, jwks

URL = "https://registry.example.org"
API = "/api/v1.0/registry"


def answer(status: int = 200, value: object = None, *, body: bytes | None = None) -> Answer:
    return Answer(status, {}, json.dumps(value).encode() if body is None else body)


class FakeRegistry:
    """Every prefix is registered with `keys` and approved, until told otherwise.

    Attributes:
        asked: Method, path and body of every question, in order.
        overrides: What to answer to a path instead.
        names: Registered servers, by prefix; an unknown one is 500, as in Pelican.
        downtimes: What it knows of them.
        is_away: No question is answered at all.
        on_ask: Called before each answer.
    """

    def __init__(self, *keys: Key) -> None:
        self.keys: tuple[Key, ...] = keys
        self.unapproved: set[str] = set()
        self.asked: list[tuple[str, str, bytes | None]] = []
        self.overrides: dict[str, Answer] = {}
        self.allowed: dict[str, list[str]] = {}
        self.names: dict[str, str] = {}
        self.downtimes: list[object] = []
        self.is_away = False
        self.on_ask: Callable[[], object] = lambda: None

    def send(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int = 1 << 20,
    ) -> Answer:
        path = unquote(urlsplit(url).path)
        self.asked.append((method, path, body))
        self.on_ask()
        if self.is_away or deadline.has_passed():
            raise OutboundError(Failure.TIMED_OUT, "registry.example.org:443 timed out")
        if path in self.overrides:
            return self.overrides[path]
        match path.removeprefix(API):
            case "/checkNamespaceStatus":
                return answer(200, {"approved": json.loads(body or b"")["prefix"] not in self.unapproved})
            case "/caches/allowedPrefixes":
                return answer(200, self.allowed)
            case "/api/v1.0/downtime":
                return answer(200, self.downtimes)
            case wanted if wanted.startswith("/server/"):
                name = self.names.get(wanted.removeprefix("/server"))
                return (
                    answer(200, {"name": name}) if name else answer(500, {"status": "error", "msg": "no such server"})
                )
            case wanted if wanted.endswith("/.well-known/openid-configuration"):
                return answer(200, {"jwks_uri": url.replace("openid-configuration", "issuer.jwks")})
            case wanted if wanted.endswith("/.well-known/issuer.jwks"):
                return answer(body=jwks(*self.keys))
        return answer(404)

    @property
    def paths(self) -> list[str]:
        """The paths asked for, below the API's."""
        return [path.removeprefix(API) for _method, path, _body in self.asked]


class HandPool(Pool):
    """A pool without threads: once it is started, errands stand in line until the test runs them."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        super().__init__(threads=0, capacity=capacity)

    def run(self) -> int:
        """Run what stands in line; how many those were."""
        count = 0
        while self.waiting:
            errand = self._next()
            assert errand is not None
            errand.run()
            count += 1
        return count
