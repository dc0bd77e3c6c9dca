"""What is kept of listings from one change to the next never shows: they are what a director that just started says."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st

from director_wsgi.federation.directors import Directors
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.downtimes import Downtime
from director_wsgi.federation.filters import Filtered
from director_wsgi.federation.models import Capabilities, NamespaceAd
from director_wsgi.web import director_ui, discover_servers, listings
from director_wsgi.web.entrance import AnythingConverter, Entrance, MatchedRule
from tests.fakes import FakeClock
from tests.make import cache, origin

pytestmark = pytest.mark.unit

NAMES = ("A", "B", "C")
UI = "/api/v1.0/director_ui"
PATHS = (
    "/api/v1.0/director/directors",
    "/api/v2.0/director/listNamespaces",
    "/api/v1.0/director/discoverServers",
    f"{UI}/servers",
    f"{UI}/servers?server_type=origin",
    *(f"{UI}/servers/{name}{rest}" for name in NAMES for rest in ("", "/namespaces", "/downtimes")),
    f"{UI}/namespaces",
    f"{UI}/downtimes",
)

NAMESPACES = [
    NamespaceAd(path=path, capabilities=Capabilities(reads=reads), wire=f'{{"path":"{path}","r":{int(reads)}}}')
    for path in ("/a", "/b", "/c")
    for reads in (False, True)
]
"""The same objects each time, as equal ones are in a director."""


@dataclass
class World:
    clock: FakeClock = field(default_factory=FakeClock)
    reasons: dict[str, str] = field(default_factory=dict)
    loads: dict[str, float] = field(default_factory=dict)
    weights: dict[str, tuple[float, float]] = field(default_factory=dict)
    downtimes: tuple[Downtime, ...] = ()

    def __post_init__(self) -> None:
        self.directory = Directory(clock=self.clock)
        self.directors = Directors(
            name="d", advertise_url="https://d", version="7", lifetime_s=60, clock=self.clock, wall_clock=self.clock
        )

    def check(self, _token: str) -> None:
        """Open to every token."""

    def client(self) -> FlaskClient:
        """A director that has said nothing yet."""
        snapshot = self.directory.snapshot
        facts = director_ui.Facts(
            filtered=lambda name: self.reasons.get(name, ""),
            downtimes=lambda name: tuple(one for one in self.downtimes if name in {None, one.server_name}),
            health=lambda _server: "OK",
            io_load=self.loads.get,
            status_weight=self.weights.get,
        )
        settling = discover_servers.Settling(settling_s=0, age_s=lambda: 1, has_registry=lambda: True)
        app = Flask(__name__)
        app.url_rule_class = MatchedRule
        app.url_map.converters["anything"] = AnythingConverter
        for routes in (
            listings.blueprint(snapshot=snapshot, directors=self.directors, wall=self.clock),
            director_ui.blueprint(snapshot=snapshot, facts=facts, contact_email="", contact_url=""),
            discover_servers.blueprint(snapshot=snapshot, settling=settling, door=self),
        ):
            app.register_blueprint(routes)
        app.wsgi_app = Entrance(app.wsgi_app)  # type: ignore[method-assign]
        return app.test_client()


Change = Callable[[World], object]


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """Something that happens to a federation, or to what is known of its servers."""
    name = draw(st.sampled_from(NAMES))
    url = f"https://{draw(st.sampled_from('xyz'))}"
    number = draw(st.integers(0, 2))
    match draw(
        st.sampled_from(["origin", "cache", "cache", "gone", "time", "filter", "reason", "load", "weight", "down"])
    ):
        case ("origin" | "cache") as kind:
            chosen = draw(st.lists(st.sampled_from(NAMESPACES), unique_by=lambda one: one.path, max_size=3))
            more: dict[str, Any] = {"data_url": url, "web_url": url, "status": ("ok", "warning", "")[number]}
            made = (origin if kind == "origin" else cache)(name, *chosen, **more)
            lifetime_s = draw(st.sampled_from([15, 1000]))
            return lambda world: world.directory.record(made, lifetime_s)
        case "gone":
            return lambda world: world.directory.remove(url)
        case "time":
            return lambda world: world.clock.advance(10)
        case "filter":
            return lambda world: world.directory.set_filtered(Filtered(frozenset(NAMES[:number]), 1))
        case "reason":
            return lambda world: world.reasons.update({name: "" if number else "a reason"})
        case "load":
            return lambda world: world.loads.update({url: float(number)})
        case "weight":
            return lambda world: world.weights.update({url: (0.5, float(number))})
        case _:
            announced = tuple(Downtime(id=str(one), server_name=name) for one in range(number))
            return lambda world: setattr(world, "downtimes", announced)


@settings(max_examples=30, deadline=None)
@given(st.lists(changes(), max_size=10))
def test_whatever_happens(happening: list[Change]) -> None:
    world = World()
    lasting = world.client()
    seen: dict[str, dict[str, bytes]] = {path: {} for path in PATHS}
    for change in (lambda _world: None, *happening):
        change(world)
        fresh = world.client()
        for path in PATHS:
            kept, made = (client.get(path, headers={"Authorization": "Bearer x"}) for client in (lasting, fresh))
            assert (kept.status_code, kept.data) == (made.status_code, made.data)
            if kept.status_code == 404:
                continue
            tag = kept.headers["ETag"]
            assert tag == made.headers["ETag"]
            bodies = seen[path]
            assert bodies.setdefault(tag, kept.data) == kept.data
            assert len(set(bodies.values())) == len(bodies)
