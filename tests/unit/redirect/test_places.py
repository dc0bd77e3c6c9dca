"""Where clients and servers are: who is believed, in which order, and what is counted when nobody knows."""

import ipaddress
import queue
import random
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from director_wsgi.federation.models import Coordinate
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.names import Found, NameResolver
from director_wsgi.redirect import places as places_module
from director_wsgi.redirect.geo import Overrides
from director_wsgi.redirect.maxmind import GeoDatabase
from director_wsgi.redirect.places import (
    KEPT_S,
    LOOKING_UP,
    MAX_CLIENTS,
    MAX_TALLIES,
    OTHER,
    ClientPlaces,
    Places,
    ServerPlaces,
    Tally,
    project_of,
)
from tests.fakes import FakeClock
from tests.make import asks, at, cache
from tests.mmdb import city, database

NO_DATABASE = GeoDatabase(None)
NO_OVERRIDES = Overrides()


def override(latitude: float, longitude: float) -> Coordinate:
    return Coordinate(latitude=latitude, longitude=longitude, source="override")


def maxmind(latitude: float, longitude: float) -> Coordinate:
    return Coordinate(latitude=latitude, longitude=longitude, accuracy_radius_km=10, source="maxmind")


def overrides() -> Overrides:
    return Overrides(
        [(ipaddress.ip_network("192.0.2.0/25"), 1.0, 2.0), (ipaddress.ip_network("192.0.2.0/24"), 3.0, 4.0)]
    )


@pytest.fixture
def known(tmp_path: Path) -> GeoDatabase:
    """All of 192.0.2.0/24 and 198.51.100.0/24, unlike `overrides`."""
    path = tmp_path / "places.mmdb"
    path.write_bytes(database({"192.0.2.0/24": city(50.0, 60.0), "198.51.100.0/24": city(5.0, 6.0)}))
    database_ = GeoDatabase(path)
    assert database_.refresh()
    return database_


MakePlaces = Callable[..., ClientPlaces]


@pytest.fixture
def client_places(clock: FakeClock) -> MakePlaces:
    def make(overrides: Overrides, known: GeoDatabase, *, seed: str = "") -> ClientPlaces:
        return ClientPlaces(overrides, known, generator=random.Random(1), clock=clock, seed=seed)

    return make


class TestClients:
    def test_what_a_client_says_beats_the_operator_who_beats_the_database(
        self, client_places: MakePlaces, known: GeoDatabase
    ) -> None:
        places = client_places(overrides(), known)
        assert places.of(asks("/x", address="192.0.2.1", coordinate=at(9, 9))) == at(9, 9)
        assert places.of(asks("/x", address="192.0.2.1", coordinate=None)) == override(1, 2)
        assert places.of(asks("/x", address="198.51.100.1", coordinate=None)) == maxmind(5, 6)
        assert places.of(asks("/x", address="203.0.113.1", coordinate=None)).source == "random"

    def test_one_nobody_can_place_keeps_its_random_place_for_a_while(
        self, client_places: MakePlaces, clock: FakeClock
    ) -> None:
        places = client_places(overrides(), NO_DATABASE)
        request = asks("/x", address="198.51.100.1", coordinate=None)

        first = places.of(request)

        assert (first.source, first.remembered) == ("random", False)
        assert 30 <= first.latitude <= 50
        assert -125 <= first.longitude <= -65
        clock.advance(KEPT_S - 1)
        assert places.of(request) == first
        assert places.of(request).remembered
        clock.advance(1)
        assert places.of(request) != first

    def test_it_keeps_it_even_if_the_database_learns_of_it_meanwhile(
        self, client_places: MakePlaces, clock: FakeClock, tmp_path: Path
    ) -> None:
        path = tmp_path / "places.mmdb"
        known = GeoDatabase(path)
        places, request = client_places(NO_OVERRIDES, known), asks("/x", address="192.0.2.1", coordinate=None)
        first = places.of(request)
        path.write_bytes(database({"192.0.2.0/24": city(5.0, 6.0)}))
        assert known.refresh()
        assert places.of(request) == first
        clock.advance(KEPT_S)
        assert places.of(request) == maxmind(5, 6)

    def test_with_a_seed_it_has_the_same_random_place_everywhere_and_after_others(
        self, client_places: MakePlaces
    ) -> None:
        requests = [asks("/x", address=f"198.51.100.{n}", coordinate=None) for n in range(5)]
        first, second = (client_places(NO_OVERRIDES, NO_DATABASE, seed="s") for _ in range(2))
        given = [first.of(request) for request in requests]
        assert [second.of(request) for request in reversed(requests)] == given[::-1]
        assert len(set(given)) == 5
        other = client_places(NO_OVERRIDES, NO_DATABASE, seed="other")
        assert [other.of(request) for request in requests] != given

    def test_other_knowledge_holds_at_once_and_random_places_and_tallies_stay(
        self, client_places: MakePlaces, known: GeoDatabase
    ) -> None:
        places = client_places(NO_OVERRIDES, NO_DATABASE)
        placed, unplaced = (asks("/x", address=a, coordinate=None) for a in ("192.0.2.1", "203.0.113.1"))
        given = places.of(unplaced)
        places.adopt(overrides(), known, "")
        assert places.of(placed) == override(1, 2)
        assert places.of(asks("/x", address="198.51.100.1", coordinate=None)) == maxmind(5, 6)
        assert places.of(unplaced) == given
        places.adopt(NO_OVERRIDES, known, "")
        assert places.of(placed) == maxmind(50, 60)
        assert places.unplaced.counts() == {("203.0.113.0/24", ""): 1}

    def test_another_seed_holds_for_the_next_random_place(self, client_places: MakePlaces) -> None:
        places, other = client_places(NO_OVERRIDES, NO_DATABASE), client_places(NO_OVERRIDES, NO_DATABASE, seed="s")
        first, second = (asks("/x", address=f"203.0.113.{n}", coordinate=None) for n in (1, 2))
        given = places.of(first)
        places.adopt(NO_OVERRIDES, NO_DATABASE, "s")
        assert places.of(first) == given
        assert places.of(second) == other.of(second)

    def test_random_places_are_kept_for_so_many_and_no_more(self, client_places: MakePlaces) -> None:
        places = client_places(NO_OVERRIDES, NO_DATABASE)
        for number in range(MAX_CLIENTS + 10):
            places.of(asks("/x", address=str(ipaddress.ip_address(number)), coordinate=None))
        assert len(places._given) == MAX_CLIENTS

    def test_it_is_counted_once_for_each_random_place_by_network_and_project(
        self, client_places: MakePlaces, known: GeoDatabase
    ) -> None:
        places = client_places(NO_OVERRIDES, known)
        agent = "pelican-client/7.20.0 project/ospool"
        for address, user_agent in (
            ("203.0.113.1", agent),
            ("203.0.113.1", agent),
            ("203.0.113.2", agent),
            ("203.0.113.3", ""),
            ("2001:db8:1:2:3::4", agent),
            ("", ""),
            ("192.0.2.1", agent),
        ):
            places.of(asks("/x", address=address, coordinate=None, user_agent=user_agent))
        places.of(asks("/x", address="203.0.113.9", coordinate=at(1, 1), user_agent=agent))
        assert places.unplaced.counts() == {
            ("203.0.113.0/24", "ospool"): 2,
            ("203.0.113.0/24", ""): 1,
            ("2001:db8:1:2::/64", "ospool"): 1,
            ("", ""): 1,
        }


@pytest.mark.parametrize(
    ("user_agent", "project"),
    [
        ("pelican-client/7.20.0 project/ospool", "ospool"),
        ("project/a project/b", "a"),
        ("curl/8.0 myproject/x", ""),
        ("project/", ""),
        ("", ""),
    ],
)
def test_the_project_is_what_stands_behind_its_name(user_agent: str, project: str) -> None:
    assert project_of(user_agent) == project


def test_a_tally_is_exact_and_bounded() -> None:
    tally = Tally()
    for number in range(MAX_TALLIES + 500):
        tally.add(str(number), "")
    tally.add("0", "")
    counts = tally.counts()
    assert len(counts) == MAX_TALLIES + 1
    assert counts["0", ""] == 2
    assert counts[OTHER] == 500
    assert sum(counts.values()) == MAX_TALLIES + 501


class TestServers:
    @pytest.fixture
    def asked(self) -> list[str]:
        return []

    @pytest.fixture
    def names(self, asked: list[str]) -> Iterator[NameResolver]:
        addresses = {"o.example.org": "192.0.2.1", "p.example.org": "198.51.100.1", "q.example.org": "203.0.113.1"}

        def look_up(host: str) -> Found:
            asked.append(host)
            if host not in addresses:
                raise OSError("no such name")
            return ((socket.AF_INET, addresses[host], 0), (socket.AF_INET, "192.0.2.200", 0))

        resolver = NameResolver(look_up=look_up)
        yield resolver
        resolver.close()

    def place(self, places: ServerPlaces, host: str) -> Coordinate | None:
        url = f"https://{host}:8443/some/path"
        return places.of(cache("C", "/x", data_url=url, base_url=url), Deadline.after(5))

    def test_the_operator_beats_the_database_for_the_first_address(
        self, names: NameResolver, known: GeoDatabase
    ) -> None:
        places = ServerPlaces(overrides(), known, names)
        assert self.place(places, "o.example.org") == override(1, 2)
        assert self.place(places, "p.example.org") == maxmind(5, 6)
        assert self.place(places, "192.0.2.200") == override(3, 4)
        assert places.unplaced.counts() == {}

    def test_either_alone_is_asked_too(self, names: NameResolver, known: GeoDatabase) -> None:
        assert self.place(ServerPlaces(overrides(), NO_DATABASE, names), "o.example.org") == override(1, 2)
        assert self.place(ServerPlaces(NO_OVERRIDES, known, names), "o.example.org") == maxmind(50, 60)

    def test_with_nobody_to_ask_its_name_is_not_even_resolved(self, names: NameResolver, asked: list[str]) -> None:
        assert self.place(ServerPlaces(NO_OVERRIDES, NO_DATABASE, names), "o.example.org") is None
        assert asked == []

    def test_one_that_cannot_be_placed_is_nowhere_and_counted(self, names: NameResolver, known: GeoDatabase) -> None:
        places = ServerPlaces(overrides(), known, names)
        for host in ("q.example.org", "q.example.org", "lost.example.org"):
            assert self.place(places, host) is None
        assert places.unplaced.counts() == {("203.0.113.0/24", "C"): 2, ("", "C"): 1}

    def test_one_is_placed_as_soon_as_there_is_a_database(self, names: NameResolver, tmp_path: Path) -> None:
        path = tmp_path / "places.mmdb"
        known = GeoDatabase(path)
        places = ServerPlaces(NO_OVERRIDES, known, names)
        assert self.place(places, "p.example.org") is None
        path.write_bytes(database({"198.51.100.0/24": city(5.0, 6.0)}))
        known.refresh()
        assert self.place(places, "p.example.org") == maxmind(5, 6)

    def test_other_knowledge_holds_for_the_next_one_and_tallies_stay(
        self, names: NameResolver, known: GeoDatabase
    ) -> None:
        places = ServerPlaces(NO_OVERRIDES, NO_DATABASE, names)
        assert self.place(places, "o.example.org") is None
        places.adopt(overrides(), known)
        assert self.place(places, "o.example.org") == override(1, 2)
        assert self.place(places, "p.example.org") == maxmind(5, 6)
        assert places.unplaced.counts() == {("", "C"): 1}

    def test_all_of_them_are_told_together(self, names: NameResolver, known: GeoDatabase, clock: FakeClock) -> None:
        clients = ClientPlaces(NO_OVERRIDES, NO_DATABASE, generator=random.Random(1), clock=clock)
        places = Places(database=NO_DATABASE, clients=clients, servers=ServerPlaces(NO_OVERRIDES, NO_DATABASE, names))
        places.adopt(overrides(), known, "s")
        assert places.database is known
        assert self.place(places.servers, "p.example.org") == maxmind(5, 6)
        assert clients.of(asks("/x", address="192.0.2.1", coordinate=None)) == override(1, 2)

    def test_dead_name_servers_hold_up_few_advertisements_at_once(
        self, known: GeoDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(places_module, "SERVER_LOOK_UP_S", 5.0)
        answering, asked = threading.Event(), queue.SimpleQueue[str]()

        def look_up(host: str) -> Found:
            asked.put(host)
            answering.wait(5)
            return ((socket.AF_INET, "198.51.100.1", 0),)

        names = NameResolver(look_up=look_up)
        places = ServerPlaces(NO_OVERRIDES, known, names)
        found: list[Coordinate | None] = []
        held_up = [
            threading.Thread(target=lambda host=f"{number}.example.org": found.append(self.place(places, host)))
            for number in range(LOOKING_UP)
        ]
        for thread in held_up:
            thread.start()
        assert {asked.get(timeout=5) for _ in held_up} == {"0.example.org", "1.example.org"}

        assert self.place(places, "third.example.org") is None
        assert asked.get(timeout=5) == "third.example.org"
        assert all(thread.is_alive() for thread in held_up)

        answering.set()
        for thread in held_up:
            thread.join(5)
        assert found == [maxmind(5, 6)] * 2
        assert self.place(places, "third.example.org") == maxmind(5, 6)
        names.close()
