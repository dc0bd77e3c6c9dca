"""A federation in memory, a resolver, and servers that answer as told."""

import random
from collections.abc import Mapping

from director_wsgi.federation.directory import Directory
from director_wsgi.federation.models import ServerAd
from director_wsgi.limits.deadline import Deadline
from director_wsgi.redirect.geo import Overrides
from director_wsgi.redirect.maxmind import GeoDatabase
from director_wsgi.redirect.places import ClientPlaces
from director_wsgi.redirect.request import Endpoint, ObjectRequest, Redirection
from director_wsgi.redirect.resolver import Policy, Resolver
from director_wsgi.redirect.weights import Health
from director_wsgi.runtime.clients import Watchable
from director_wsgi.runtime.tracing.span import Trace
from director_wsgi.stat.evidence import Evidence, Presence, Reason
from director_wsgi.stat.patience import Patience
from tests.fakes import FakeClock
from tests.make import asks, at

PRESENT = Evidence(presence=Presence.PRESENT, length_bytes=5, status=200)
ABSENT = Evidence(presence=Presence.ABSENT, status=404)
DENIED = Evidence(presence=Presence.DENIED, status=403)
UNKNOWN = Evidence.unknown(Reason.TIMED_OUT)
STALE = Evidence(presence=Presence.PRESENT, length_bytes=5, status=200, stale_s=70.0)
COPY = Evidence(presence=Presence.PRESENT, length_bytes=5, status=200, age_s=30)

NEAR, FAR, FARTHER = at(41.88, -87.63), at(40.71, -74.01), at(34.05, -118.24)


def at_origin(path: str = "/x/f", **more: object) -> ObjectRequest:
    return asks(path, endpoint=Endpoint.ORIGIN, **more)


class FakeAsk:
    """Answers as told, by server name, and remembers what it was asked."""

    def __init__(self, answers: Mapping[str, Evidence]) -> None:
        self.answers = answers
        self.asked: list[tuple[tuple[str, ...], str, str | None, str]] = []
        self.namespaces: list[str] = []
        self.patience: list[Patience] = []
        self.clients: list[Watchable | None] = []
        self.traces: list[Trace] = []

    def __call__(
        self,
        servers: tuple[ServerAd, ...],
        path: str,
        *,
        bearer: str | None,
        authority: str,
        deadline: Deadline,
        namespace: str,
        patience: Patience,
        client: Watchable | None,
        trace: Trace,
    ) -> tuple[Evidence, ...]:
        self.asked.append((tuple(server.name for server in servers), path, bearer, authority))
        self.namespaces.append(namespace)
        self.patience.append(patience)
        self.clients.append(client)
        self.traces.append(trace)
        return tuple(self.answers[server.name] for server in servers)

    def recall(self, *_arguments: object, **_more: object) -> None:
        """Somebody always has to be asked."""


class Federation:
    def __init__(
        self,
        *ads: ServerAd,
        starting: bool = False,
        health: Mapping[str, Health] | None = None,
        **policy: object,
    ) -> None:
        self.clock = FakeClock()
        self.directory = Directory(clock=self.clock)
        for ad in ads:
            self.directory.record(ad, 60)
        self.ask = FakeAsk({})
        self.resolver = Resolver(
            policy=Policy(web_url="https://director.example.org", **policy),  # type: ignore[arg-type]
            snapshot=self.directory.snapshot,
            ask=self.ask,
            recall=self.ask.recall,
            places=ClientPlaces(Overrides(), GeoDatabase(None), generator=random.Random(1), clock=self.clock),
            is_starting=lambda: starting,
            generator=random.Random(1),
            health_of=lambda server: (health or {}).get(server.name, Health()),
        )

    def resolve(self, request: ObjectRequest, **answers: Evidence) -> Redirection:
        self.ask.answers = answers
        return self.resolver.resolve(request)

    def order(self, request: ObjectRequest, **answers: Evidence) -> list[str]:
        """The servers named, best first."""
        headers = dict(self.resolve(request, **answers).headers)
        return [entry.split("https://")[1].split(".")[0].upper() for entry in headers["Link"].split(", ")]
