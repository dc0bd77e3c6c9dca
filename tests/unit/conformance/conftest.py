"""The federation of the worked examples: four origins, three caches, one director that is older than five minutes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from werkzeug.test import Client, EnvironBuilder, TestResponse

from director_wsgi.app import Director, create_app
from director_wsgi.federation.models import (
    Capabilities,
    NamespaceAd,
    ServerAd,
    TokenGeneration,
    TokenIssuer,
)
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, Cancellation, Failure, OutboundError
from director_wsgi.runtime.config import Config
from tests.fakes import FakeClock
from tests.make import ALL, READS, at, cache, namespace, origin
from tests.unit.trust.registries import FakeRegistry

JID = "550e8400-e29b-41d4-a716-446655440000"
WEB = "https://director.example.org"

Behaviour = tuple[int, Mapping[str, str]] | Failure


class FakeNetwork:
    """Stands for every server: answers HEADs as told, by host and path, and remembers them."""

    def __init__(self) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self.heads: list[tuple[str, Mapping[str, str]]] = []
        self.registry: FakeRegistry | None = None

    def send(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int = 0,
        cancellation: Cancellation | None = None,
    ) -> Answer:
        if method != "HEAD":
            if self.registry is None:
                raise OutboundError(Failure.REFUSED, "there is no registry here")
            return self.registry.send(method, url, deadline=deadline, headers=headers, body=body)
        self.heads.append((url, dict(headers or {})))
        behaviour = self.behaviours[url.split("//")[1].split(".", maxsplit=1)[0]]
        if isinstance(behaviour, Failure):
            raise OutboundError(behaviour, "as told")
        status, answer_headers = behaviour
        return Answer(status=status, headers=dict(answer_headers), body=b"")

    def close(self) -> None:
        pass


def issued(issuer: str, base: str) -> dict[str, Any]:
    return {
        "token_issuers": (TokenIssuer(issuer=issuer, base_paths=(base,)),),
        "token_generations": (TokenGeneration(strategy="OAuth2", max_scope_depth=3, issuer=issuer),),
    }


MULTI = Capabilities(public_reads=True, reads=True, direct_reads=True)


def example_ads() -> dict[str, ServerAd]:
    multi = NamespaceAd(path="/multi", capabilities=MULTI, token_generations=(TokenGeneration(),))
    listed = (
        namespace("/demo"),
        namespace("/ro", READS),
        multi,
        namespace("/pelican/monitoring", READS),
    )

    def placed(make: Callable[..., ServerAd], short: str, name: str, *paths: Any, **more: Any) -> ServerAd:
        url = f"https://{short}.example.org:8443"
        return make(name, *paths, data_url=url, base_url=url, **more)

    return {
        "O1": placed(
            origin,
            "o1",
            "ORIGIN_1",
            namespace("/demo", ALL, **issued("https://o1.example.org:8447", "/demo")),
            coordinate=at(40.81, -96.70),
        ),
        "O2": placed(
            origin,
            "o2",
            "ORIGIN_2",
            namespace("/ro", READS, **issued("https://iss.example.org/ro", "/ro")),
            capabilities=READS,
        ),
        "O3": placed(origin, "o3", "ORIGIN_3", multi, capabilities=MULTI, coordinate=at(41.88, -87.63)),
        "O4": placed(origin, "o4", "ORIGIN_4", multi, capabilities=MULTI, coordinate=at(34.05, -118.24)),
        "C1": placed(cache, "c1", "CACHE_CHI", *listed, coordinate=at(41.88, -87.63)),
        "C2": placed(cache, "c2", "CACHE_NYC", *listed, coordinate=at(40.71, -74.01)),
        "C3": placed(cache, "c3", "CACHE_LAX", *listed, coordinate=at(34.05, -118.24)),
    }


@dataclass
class World:
    """A director and the federation it knows."""

    director: Director
    client: Client
    network: FakeNetwork
    clock: FakeClock
    wall: FakeClock
    ads: dict[str, ServerAd] = field(default_factory=dict)

    def call(self, method: str, target: str, *, body: bytes = b"", plain: bool = False, **headers: str) -> TestResponse:
        """Send a request as the examples do; `plain` leaves their three headers out. `_` in a name stands for `-`."""
        sent = (
            {}
            if plain
            else {
                "User-Agent": "pelican-client/7.20.0",
                "X-Pelican-JobId": JID,
                "X-Pelican-Coordinate": "lat=43.07,long=-89.40",
            }
        )
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        builder = EnvironBuilder(
            path="/",
            method=method,
            headers=sent,
            data=body or None,
            environ_overrides={"RAW_URI": target, "REMOTE_ADDR": "192.0.2.10"},
        )
        return self.client.open(builder)

    def message(self, response: TestResponse) -> str:
        body = json.loads(response.data)
        assert body["status"] == "error"
        return str(body["msg"])


@pytest.fixture
def make_world(clock: FakeClock, wall: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., World]]:
    # The examples are about what is answered: every fake answer is waited for, however busy the machine is.
    monkeypatch.setattr("director_wsgi.stat.asking.LEAST_GRACE_S", 5.0)
    monkeypatch.setattr("director_wsgi.stat.asking.MOST_GRACE_S", 5.0)
    worlds: list[World] = []

    def make(*, age_s: float = 3600, ads: dict[str, ServerAd] | None = None, **settings: Any) -> World:
        network = FakeNetwork()
        config = Config(
            **{"registry_url": "https://registry.example.org", "web_url": WEB, "redirect_deadline_s": 5.0, **settings}
        )
        app = create_app(
            config, clock=clock, wall=wall, started_at=clock.now - age_s, make_client=lambda _connections: network
        )
        director: Director = app.extensions["director"]
        known = example_ads() if ads is None else ads
        for ad in known.values():
            director.directory.record(ad, 600)
        worlds.append(World(director, Client(app), network, clock, wall, known))
        return worlds[-1]

    yield make
    for world in worlds:
        world.director.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()
