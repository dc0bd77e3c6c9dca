"""Servers that are advertised and yet not to be used: E18, E19 and the rows of E46 about names and status.

The advertisements come by HTTP here, signed, and a registry answers what is asked about them.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from director_wsgi.outbound.client import Answer
from tests.unit.conformance.conftest import JID, World
from tests.unit.trust.forge import NOW, Key, cache_body, origin_body
from tests.unit.trust.registries import API, FakeRegistry, answer

KEY = Key()
PREFIX = "/origins/o1.example.org:8447"
NOT_THERE = (
    "No sources found for the requested path: no origins found for the requested namespace '/demo/f': "
    f"Request ID: {JID}"
)
SUCCESS = (200, {"status": "success", "msg": "Successful registration"})


def downtime(start_s: float, end_s: float | None, **more: object) -> dict[str, object]:
    """One that lasts between two moments, in seconds from now."""
    end = -1 if end_s is None else int((NOW + end_s) * 1000)
    return {"id": "d1", "serverName": "ORIGIN_1", "startTime": int((NOW + start_s) * 1000), "endTime": end, **more}


class Federation:
    """O1 and C1 of the examples, and a registry that knows both."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.registry = FakeRegistry(KEY)
        self.registry.names = {PREFIX: "ORIGIN_1", "/caches/CACHE_CHI": "CACHE_CHI"}
        self._head = world.network.send
        world.network.send = self._send  # type: ignore[method-assign]

    def _send(self, method: str, url: str, **more: Any) -> Answer:
        if url.startswith("https://registry.example.org/"):
            return self.registry.send(method, url, deadline=more["deadline"], body=more.get("body"))
        return self._head(method, url, **more)

    def origin(self, **changes: Any) -> tuple[int, Any]:
        return self.post("Origin", origin_body(expiry=..., now=..., **changes))

    def cache(self, *paths: str, **changes: Any) -> tuple[int, Any]:
        return self.post("Cache", cache_body(*paths, expiry=..., now=..., **changes))

    def post(self, kind: str, body: bytes) -> tuple[int, Any]:
        now = self.world.wall()
        response = self.world.call(
            "POST",
            f"/api/v1.0/director/register{kind}",
            body=body,
            plain=True,
            Authorization=f"Bearer {KEY.token(iat=now, nbf=now, exp=now + 60)}",
            User_Agent=f"pelican-{kind.lower()}/7.20.0",
        )
        return response.status_code, json.loads(response.data)

    def run(self, job: str) -> None:
        """Do once what a thread of the director does again and again."""
        (found,) = (one for one in self.world.director.jobs if repr(one) == f"<PeriodicJob {job}>")
        found._function()

    def advance(self, seconds: float) -> None:
        self.world.clock.advance(seconds)
        self.world.wall.advance(seconds)

    @property
    def serves(self) -> bool:
        """Whether clients are sent to what `/demo` is served by."""
        response = self.world.call("GET", "/demo/f")
        if response.status_code == 307:
            return True
        assert (response.status_code, self.world.message(response)) == (404, NOT_THERE)
        return False

    @property
    def listed(self) -> set[str]:
        """The prefixes of `listNamespaces`."""
        response = self.world.call("GET", "/api/v2.0/director/listNamespaces")
        return {namespace["path"] for namespace in json.loads(response.data)}

    def shown(self, name: str) -> dict[str, Any]:
        response = self.world.call("GET", f"/api/v1.0/director_ui/servers/{name}")
        shown: dict[str, Any] = json.loads(response.data)
        return shown


@pytest.fixture
def federation(make_world: Callable[..., World]) -> Federation:
    world = make_world(ads={})
    federation = Federation(world)
    federation.run("director-prefixes")
    assert federation.cache("/demo", "/pelican/monitoring") == SUCCESS
    assert federation.origin() == SUCCESS
    assert federation.serves
    return federation


def test_e19_an_origin_in_downtime_is_listed_and_not_used(federation: Federation) -> None:
    assert federation.origin(downtimes=[downtime(-60, 600)]) == SUCCESS

    assert not federation.serves
    assert "/demo" in federation.listed
    shown = federation.shown("ORIGIN_1")
    assert (shown["filtered"], shown["filteredType"]) == (True, "Temporarily disabled by the server admin")
    assert [one["id"] for one in shown["downtimes"]] == ["d1"]
    assert federation.origin(downtimes=[]) == SUCCESS
    assert federation.serves
    assert federation.shown("ORIGIN_1")["filteredType"] == ""


def test_e19_a_downtime_begins_and_ends_although_nobody_advertises(federation: Federation) -> None:
    """Upstream looks at the clock only when an advertisement or a list of the registry comes."""
    federation.origin(downtimes=[downtime(30, 60)])
    seen = []
    for _ in range(4):
        federation.run("director-upkeep")
        seen.append(federation.serves)
        federation.advance(25)
    assert seen == [True, True, False, True]


def test_e19_a_downtime_that_is_open_at_its_end_does_not_act_before_its_beginning(federation: Federation) -> None:
    federation.origin(downtimes=[downtime(30, None)])
    assert federation.serves
    federation.advance(30)
    federation.run("director-upkeep")
    assert not federation.serves


def test_e19_a_cache_in_downtime_is_left_out(federation: Federation) -> None:
    federation.cache("/demo", downtimes=[downtime(-60, None)])
    response = federation.world.call("GET", "/demo/f")
    assert response.status_code == 404  # the origin allows no direct reads, and there is no other cache
    assert "c1.example.org" not in response.text


def test_e18_with_an_advertisement_ends_what_it_said(federation: Federation) -> None:
    federation.origin(downtimes=[downtime(-60, None)])
    federation.advance(1000)
    for _ in range(2):
        federation.run("director-upkeep")
    assert federation.listed == {"/pelican/monitoring"}
    assert federation.world.director.filters.names() == frozenset()
    federation.cache("/demo")
    assert federation.origin() == SUCCESS
    assert federation.serves


def test_a_downtime_of_the_registry_acts_and_ends(federation: Federation) -> None:
    federation.registry.downtimes = [downtime(-60, 600, serverName=PREFIX, source="registry")]
    federation.run("director-downtimes")

    assert not federation.serves
    assert "/demo" in federation.listed
    shown = federation.shown("ORIGIN_1")
    assert (shown["filtered"], shown["filteredType"]) == (True, "Temporarily disabled via the admin website")
    assert federation.origin(downtimes=[]) == SUCCESS
    assert not federation.serves
    federation.registry.is_away = True
    federation.advance(60)
    federation.run("director-downtimes")
    assert not federation.serves
    federation.registry.is_away = False
    federation.registry.downtimes = []
    federation.run("director-downtimes")
    assert federation.serves


def test_a_server_that_comes_up_in_a_downtime_of_the_registry_is_not_used_for_a_moment(federation: Federation) -> None:
    federation.world.director.directory.remove("https://o1.example.org:8443")
    federation.registry.downtimes = [downtime(-60, 600, serverName="an older name", serverId="a1b2c3d")]
    federation.run("director-downtimes")
    assert federation.origin(serverId="a1b2c3d") == SUCCESS
    assert not federation.serves


def test_of_a_downtime_that_both_know_the_copy_of_the_registry_counts(federation: Federation) -> None:
    federation.registry.downtimes = [downtime(300, 600)]
    federation.run("director-downtimes")
    federation.origin(downtimes=[downtime(-60, 600)])
    assert federation.serves


@pytest.mark.parametrize("registered", ["SOMEBODY_ELSE", None])
def test_e46_the_name_differs_from_the_registered_one(federation: Federation, registered: str | None) -> None:
    """Or the registry does not say; it answers 500 for what it does not know."""
    federation.registry.names = {"/origins/new": registered} if registered else {}
    told = {"registry-prefix": "/origins/new", "downtimes": [downtime(-60, 600)], "status": "shutting down"}
    assert federation.origin(**told) == SUCCESS
    assert federation.serves
    shown = federation.shown("ORIGIN_1")
    assert (shown["filtered"], shown["downtimes"], shown["serverStatus"]) == (False, [], "shutting down")


def test_e46_who_shuts_down_is_skipped_until_another_status_arrives(federation: Federation) -> None:
    assert federation.origin(status="shutting down") == SUCCESS
    assert not federation.serves
    assert "/demo" in federation.listed
    assert federation.shown("ORIGIN_1")["filteredType"] == "Disabled due to the server shutdown in progress"
    assert federation.origin(status="") == SUCCESS
    assert not federation.serves
    assert federation.origin(status="warning") == SUCCESS
    assert federation.serves


def test_e46_a_registry_without_approvals(make_world: Callable[..., World]) -> None:
    federation = Federation(make_world(ads={}))
    federation.registry.overrides[f"{API}/checkNamespaceStatus"] = answer(404)
    assert federation.origin() == SUCCESS
    assert "/demo" in federation.listed


def test_e46_a_cache_is_taken_in_however_old_the_table_of_prefixes_is(federation: Federation) -> None:
    """On purpose not as upstream, which answers 500 from the fifteenth minute of a registry's outage on."""
    federation.registry.is_away = True
    federation.advance(3600)
    federation.run("director-prefixes")
    assert federation.cache("/demo") == SUCCESS


def test_who_is_filtered_by_configuration_is_listed_as_such(make_world: Callable[..., World]) -> None:
    world = make_world(filtered_servers=("ORIGIN_1",))
    federation = Federation(world)
    assert not federation.serves
    assert federation.shown("ORIGIN_1")["filteredType"] == "Permanently Disabled via the director configuration"


def test_received_advertisements_are_counted_as_upstream(federation: Federation) -> None:
    federation.post("Origin", origin_body(**{"registry-prefix": ""}))
    federation.post("Origin", b"{")
    received = federation.world.director.admission.received()
    assert received["ORIGIN_1", "https://o1.example.org:8447", "Origin", "200", "/demo"] == 1
    assert received["ORIGIN_1", "https://o1.example.org:8447", "Origin", "403", "/demo"] == 1
    assert sum(received.values()) == 4  # and two namespaces of the cache
    assert federation.world.director.admission.rejected() == {"unverified": 1}
