"""Whose word on a place counts, through the whole application: E6's debug answer, with a database of places.

Client and servers: what they say themselves, then `GeoIPOverrides`, then the database; a client nobody can place gets a
random place, a server nobody can place weighs as the median.
"""

import ipaddress
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from director_wsgi.federation.models import Coordinate
from director_wsgi.runtime.config import GeoIPOverride
from tests.make import at, cache, namespace, origin
from tests.mmdb import city, database
from tests.unit.conformance.conftest import World
from tests.unit.trust.forge import Key, origin_body
from tests.unit.trust.registries import FakeRegistry

MakeWorld = Callable[..., World]

KEY = Key()
CLIENT = "192.0.2.10"
CHICAGO = Coordinate(latitude=41.88, longitude=-87.63, accuracy_radius_km=10, source="maxmind")
NEAR_MADISON, NEAR_NYC = 0.6550045739686163, 0.06095372485864298


def override(network: str, latitude: float, longitude: float) -> GeoIPOverride:
    return GeoIPOverride(network=ipaddress.ip_network(network), latitude=latitude, longitude=longitude)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "GeoLite2-City.mmdb"
    path.write_bytes(
        database(
            {
                f"{CLIENT}/32": city(43.07, -89.4, 20),
                "198.51.100.0/24": city(41.88, -87.63),
                "203.0.113.0/24": city(0.0, 0.0),
            }
        )
    )
    return path


def debug(world: World, **headers: str) -> Any:
    response = world.call("GET", "/demo/f", plain=True, X_Pelican_Debug="true", **headers)
    assert response.status_code == 307
    return json.loads(response.data)


def client_place(world: World, **headers: str) -> dict[str, object]:
    place = debug(world, **headers)["clientInfo"]["Coordinate"]
    assert isinstance(place, dict)
    return place


def pass_time(world: World, seconds: float) -> None:
    """Let time pass while the servers go on advertising."""
    world.clock.advance(seconds)
    for ad in world.ads.values():
        world.director.directory.record(ad, 600)


class TestTheClient:
    def test_is_where_the_database_says(self, make_world: MakeWorld, path: Path) -> None:
        told = debug(make_world(geoip_location=path))
        assert told["clientInfo"] == {
            "Coordinate": {
                "Lat": 43.07,
                "Long": -89.4,
                "AccuracyRadius": 20,
                "Source": "maxmind",
                "FromTTLCache": False,
            },
            "ipAddr": CLIENT,
        }
        weights = {url: info["RedirectWeights"]["distanceWeight"] for url, info in told["serversInfo"].items()}
        assert weights["https://c1.example.org:8443"] == pytest.approx(NEAR_MADISON, abs=1e-9)
        assert weights["https://c2.example.org:8443"] == pytest.approx(NEAR_NYC, abs=1e-9)

    def test_is_where_the_operator_says_whatever_the_database_does(self, make_world: MakeWorld, path: Path) -> None:
        world = make_world(geoip_location=path, geoip_overrides=(override("192.0.2.0/24", 34.0, -118.0),))
        place = client_place(world)
        assert (place["Lat"], place["Long"], place["Source"]) == (34.0, -118.0, "override")
        response = world.call("GET", "/demo/f", plain=True)
        assert response.headers["Location"] == "https://c3.example.org:8443/demo/f"

    def test_is_where_it_says_itself_whatever_anybody_does(self, make_world: MakeWorld, path: Path) -> None:
        world = make_world(geoip_location=path, geoip_overrides=(override("192.0.2.0/24", 34.0, -118.0),))
        place = client_place(world, X_Pelican_Coordinate="lat=40.71,long=-74.01")
        assert (place["Lat"], place["Long"], place["Source"]) == (40.71, -74.01, "declared")

    def test_is_anywhere_if_nobody_knows_and_stays_there_for_twenty_minutes(
        self, make_world: MakeWorld, tmp_path: Path
    ) -> None:
        world = make_world(geoip_location=tmp_path / "missing.mmdb")
        first = client_place(world)
        assert (first["Source"], first["FromTTLCache"]) == ("random", False)
        pass_time(world, 20 * 60 - 1)
        assert client_place(world) == first | {"FromTTLCache": True}
        pass_time(world, 1)
        again = client_place(world)
        assert again["FromTTLCache"] is False
        assert again != first

    def test_moves_when_the_database_is_renewed(self, make_world: MakeWorld, path: Path) -> None:
        world = make_world(geoip_location=path)
        assert client_place(world)["Lat"] == 43.07
        beside = path.with_suffix(".new")
        beside.write_bytes(database({f"{CLIENT}/32": city(34.05, -118.24)}))
        beside.rename(path)
        assert world.director.places.database.refresh()
        assert client_place(world)["Lat"] == 34.05


def place(world: World, host: str, coordinate: object = None) -> Coordinate | None:
    """Where an origin at this host is put when its advertisement arrives."""
    registry = FakeRegistry(KEY)
    world.network.send = registry.send  # type: ignore[method-assign]
    url = f"https://{host}:8443"
    body = origin_body(**{"data-url": url, "coordinate": coordinate})
    answer = world.call(
        "POST",
        "/api/v1.0/director/registerOrigin",
        body=body,
        plain=True,
        Authorization=f"Bearer {KEY.token()}",
        User_Agent="pelican-origin/7.20.0",
        Content_Type="application/json",
    )
    assert answer.status_code == 200, answer.text
    return world.director.directory.snapshot().servers[url].coordinate


class TestAServer:
    def test_that_does_not_say_is_where_the_database_says(self, make_world: MakeWorld, path: Path) -> None:
        assert place(make_world(geoip_location=path), "198.51.100.7") == CHICAGO

    def test_is_where_the_operator_says_whatever_the_database_does(self, make_world: MakeWorld, path: Path) -> None:
        world = make_world(geoip_location=path, geoip_overrides=(override("198.51.100.0/24", 34.0, -118.0),))
        assert place(world, "198.51.100.7") == Coordinate(latitude=34.0, longitude=-118.0, source="override")

    def test_is_where_it_says_itself_whatever_anybody_does(self, make_world: MakeWorld, path: Path) -> None:
        world = make_world(geoip_location=path, geoip_overrides=(override("198.51.100.0/24", 34.0, -118.0),))
        declared = {"Lat": 52.52, "Long": 13.4, "AccuracyRadius": 0, "Source": "declared"}
        assert place(world, "198.51.100.7", declared) == at(52.52, 13.4)

    def test_its_guess_does_not_count(self, make_world: MakeWorld, path: Path) -> None:
        guessed = {"Lat": 52.52, "Long": 13.4, "AccuracyRadius": 5, "Source": "maxmind"}
        assert place(make_world(geoip_location=path), "198.51.100.7", guessed) == CHICAGO

    def test_that_could_not_be_placed_is_at_its_next_advertisement(self, make_world: MakeWorld, path: Path) -> None:
        aside = path.rename(path.with_suffix(".aside"))
        world = make_world(geoip_location=path)
        assert place(world, "198.51.100.7") is None
        aside.rename(path)
        world.director.places.database.refresh()
        assert place(world, "198.51.100.7") == CHICAGO

    def test_that_nobody_can_place_weighs_as_the_median(self, make_world: MakeWorld, path: Path) -> None:
        world = make_world(
            geoip_location=path,
            ads={
                "O": origin("O", "/demo", coordinate=at(40.81, -96.70)),
                "C1": cache("C1", namespace("/demo"), coordinate=at(41.88, -87.63)),
                "C2": cache("C2", namespace("/demo"), coordinate=at(40.71, -74.01)),
                "C3": cache("C3", namespace("/demo"), coordinate=at(34.05, -118.24)),
                "C4": cache("C4", namespace("/demo")),
            },
        )
        told = debug(world)["serversInfo"]
        nowhere = told["https://c4.example.org:8443"]
        assert nowhere["Coordinate"]["Lat"] == nowhere["Coordinate"]["Long"] == 0
        assert nowhere["RedirectWeights"]["distanceWeight"] == pytest.approx(NEAR_NYC, abs=1e-9)


class TestLoad:
    def test_weighs_in_the_ranking_adaptive(self, make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
        world = make_world(cache_sort_method="adaptive", prometheus_url="http://127.0.0.1:9090")
        loads = {"https://c1.example.org:8443": 300.0, "https://c2.example.org:8443": 50.0}
        monkeypatch.setattr(type(world.director.loads), "of", lambda _self, url: loads.get(url))
        told = debug(world)["serversInfo"]
        weights = {url: info["RedirectWeights"]["ioLoadWeight"] for url, info in told.items()}
        assert weights == {
            "https://c1.example.org:8443": 0.5,
            "https://c2.example.org:8443": 1.0,
            "https://c3.example.org:8443": 0.75,  # unknown: the median
        }

    def test_without_a_prometheus_all_weigh_alike(self, make_world: MakeWorld) -> None:
        told = debug(make_world(cache_sort_method="adaptive"))["serversInfo"]
        assert {info["RedirectWeights"]["ioLoadWeight"] for info in told.values()} == {1.0}


class TestMetrics:
    def test_who_could_not_be_placed_is_counted(self, make_world: MakeWorld, path: Path) -> None:
        world = make_world(geoip_location=path, metric_authorization=False, trusted_proxies=("192.0.2.0/24",))
        agent = "pelican-client/7.20.0 project/ospool"
        for number in (1, 2):
            address = f"203.0.113.{number}"
            world.call("GET", "/demo/f", plain=True, User_Agent=agent, X_Forwarded_For=address)
        world.call("GET", "/demo/f", plain=True, User_Agent=agent, X_Forwarded_For=CLIENT)
        assert place(world, "203.0.113.9") is None
        assert place(world, "198.51.100.7") == CHICAGO

        text = world.call("GET", "/metrics", plain=True).text

        told = [
            line for line in text.splitlines() if line.startswith(("pelican_director_maxmind", "director_wsgi_places"))
        ]
        assert told == [
            'pelican_director_maxmind_client_errors_total{network="203.0.113.0/24",project="ospool"} 2.0',
            'pelican_director_maxmind_server_errors_total{network="203.0.113.0/24",server_name="ORIGIN_1"} 1.0',
            'director_wsgi_places_unknown_total{reason="no database"} 0.0',
            'director_wsgi_places_unknown_total{reason="no address"} 0.0',
            'director_wsgi_places_unknown_total{reason="no record"} 0.0',
            'director_wsgi_places_unknown_total{reason="at 0, 0"} 3.0',
            'director_wsgi_places_unknown_total{reason="too vague"} 0.0',
            'director_wsgi_places_unknown_total{reason="damaged record"} 0.0',
            "director_wsgi_places_built_timestamp_seconds 1.7672256e+09",
        ]
