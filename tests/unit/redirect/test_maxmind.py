"""The database of places: what it tells, and that neither its file nor its renewal can hurt a request."""

import gc
import logging
import os
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from director_wsgi.federation.models import Coordinate
from director_wsgi.redirect import maxmind
from director_wsgi.redirect.maxmind import GeoDatabase, Unplaced
from tests.mmdb import BUILT_AT, Damaged, city, database

Write = Callable[[bytes], None]

MADISON = Coordinate(latitude=43.07, longitude=-89.4, accuracy_radius_km=10, source="maxmind")
BERLIN = Coordinate(latitude=52.52, longitude=13.4, accuracy_radius_km=10, source="maxmind")

IN_MADISON = database({"192.0.2.0/24": city(43.07, -89.4)})
IN_BERLIN = database({"192.0.2.0/24": city(52.52, 13.4)})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "places.mmdb"


@pytest.fixture
def places(path: Path) -> GeoDatabase:
    return GeoDatabase(path)


@pytest.fixture
def write(path: Path) -> Write:
    """Replaces the file as it should be done: beside it, then renamed."""

    def write(content: bytes) -> None:
        beside = path.with_suffix(".new")
        beside.write_bytes(content)
        beside.rename(path)

    return write


class TestLookUps:
    @pytest.mark.parametrize("record_bits", [24, 28, 32])
    @pytest.mark.parametrize("ip_version", [4, 6])
    def test_an_address_is_where_its_network_is(
        self, places: GeoDatabase, write: Write, record_bits: int, ip_version: int
    ) -> None:
        networks = {"192.0.2.0/24": city(43.07, -89.4), "192.0.2.128/25": city(52.52, 13.4)}
        write(database(networks, record_bits=record_bits, ip_version=ip_version))
        assert places.refresh()
        assert places.place_of("192.0.2.1") == MADISON
        assert places.place_of("192.0.2.200") == BERLIN
        assert places.place_of("::ffff:192.0.2.200") == BERLIN
        assert places.place_of("198.51.100.1") is Unplaced.NO_RECORD
        assert places.place_of("2001:db8::1") is Unplaced.NO_RECORD

    def test_addresses_of_ipv6_have_places_too(self, places: GeoDatabase, write: Write) -> None:
        write(database({"2001:db8::/32": city(52.52, 13.4)}))
        places.refresh()
        assert places.place_of("2001:db8::1") == BERLIN
        assert places.place_of("2001:DB8:0::1") == BERLIN
        assert places.place_of("2001:db9::1") is Unplaced.NO_RECORD

    @pytest.mark.parametrize(
        ("record", "why"),
        [
            (city(0.0, 0.0), Unplaced.NOWHERE),
            (city(43.07, -89.4, 900), Unplaced.TOO_VAGUE),
            (city(91.0, 0.0), Unplaced.DAMAGED),
            (city(1.0, float("nan")), Unplaced.DAMAGED),
            ({"location": {"latitude": "north", "longitude": 1.0}}, Unplaced.DAMAGED),
            ({"location": {"latitude": 1.0, "longitude": 1.0, "accuracy_radius": "wide"}}, Unplaced.DAMAGED),
            ({"location": {"latitude": 1.0}}, Unplaced.NO_RECORD),
            ({"location": {"time_zone": "America/Chicago"}}, Unplaced.NO_RECORD),
            ({"location": "somewhere"}, Unplaced.NO_RECORD),
            ({"country": {"iso_code": "US"}}, Unplaced.NO_RECORD),
            ("a text", Unplaced.NO_RECORD),
            (Damaged(b"\xe1"), Unplaced.DAMAGED),  # a map of one entry, and nothing in it
            (Damaged(b"\x42\xff\xfe"), Unplaced.DAMAGED),  # text that is no UTF-8
            (Damaged(b"\x39\xff\xff\xff\xff"), Unplaced.DAMAGED),  # a pointer beyond the end
        ],
    )
    def test_a_record_that_tells_no_place_says_why(
        self, places: GeoDatabase, write: Write, record: object, why: Unplaced
    ) -> None:
        write(database({"198.51.100.0/24": record, "192.0.2.0/24": city(43.07, -89.4)}))
        assert places.refresh()
        assert places.place_of("198.51.100.1") is why
        assert places.place_of("192.0.2.1") == MADISON

    def test_a_radius_just_below_the_bound_and_none_at_all_are_good_enough(
        self, places: GeoDatabase, write: Write
    ) -> None:
        bare = {"location": {"latitude": 1.0, "longitude": 2.0}}
        write(database({"192.0.2.0/24": city(43.07, -89.4, 899), "198.51.100.0/24": bare}))
        places.refresh()
        wide, unsaid = places.place_of("192.0.2.1"), places.place_of("198.51.100.1")
        assert isinstance(wide, Coordinate)
        assert isinstance(unsaid, Coordinate)
        assert (wide.accuracy_radius_km, unsaid.accuracy_radius_km) == (899, 0)

    @pytest.mark.parametrize("address", ["", "unix:", "192.0.2", "192.0.2.1:80", "[2001:db8::1]", "\udcff", "9" * 5000])
    def test_what_is_no_address_has_no_place(self, places: GeoDatabase, write: Write, address: str) -> None:
        write(IN_MADISON)
        places.refresh()
        assert places.place_of(address) is Unplaced.NO_ADDRESS

    def test_every_address_without_a_place_is_counted_by_the_reason(self, places: GeoDatabase, write: Write) -> None:
        places.place_of("192.0.2.1")
        write(IN_MADISON)
        places.refresh()
        for address in ("192.0.2.1", "198.51.100.1", "198.51.100.1", ""):
            places.place_of(address)
        assert places.counts == {Unplaced.NO_DATABASE: 1, Unplaced.NO_RECORD: 2, Unplaced.NO_ADDRESS: 1}

    def test_what_is_remembered_of_addresses_is_bounded(
        self, places: GeoDatabase, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(maxmind, "REMEMBERED", 10)
        write(IN_MADISON)
        places.refresh()
        for number in range(100):
            places.place_of(f"192.0.2.{number}")
        assert places._loaded is not None
        assert places._loaded.place_of.cache_info().currsize == 10  # type: ignore[attr-defined]


class TestTheFile:
    def test_without_one_nothing_has_a_place_and_one_line_says_so(
        self, places: GeoDatabase, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        assert not places.refresh()
        assert not places.refresh()
        assert not places.is_loaded
        assert places.built_at is None
        assert places.place_of("192.0.2.1") is Unplaced.NO_DATABASE
        (line,) = caplog.messages
        assert line.startswith(f"there is no {path} (Director.GeoIPLocation): ")

    def test_one_of_several_workers_says_so_for_all(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        GeoDatabase(tmp_path / "none.mmdb", says_missing=False).refresh()
        assert caplog.messages == []

    def test_if_none_is_wanted_nothing_is_said(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        assert not GeoDatabase(None).refresh()
        assert caplog.messages == []

    def test_it_is_read_when_it_appears_and_again_when_it_is_another(
        self, places: GeoDatabase, write: Write, caplog: pytest.LogCaptureFixture
    ) -> None:
        places.refresh()
        caplog.set_level(logging.INFO)
        write(IN_MADISON)
        assert places.refresh()
        assert (places.place_of("192.0.2.1"), places.built_at) == (MADISON, BUILT_AT)
        assert caplog.messages[0].endswith("(GeoLite2-City, made on 2026-01-01)")

        assert not places.refresh()

        write(database({"192.0.2.0/24": city(52.52, 13.4)}, built_at=BUILT_AT + 1))
        assert places.refresh()
        assert (places.place_of("192.0.2.1"), places.built_at) == (BERLIN, BUILT_AT + 1)

    def test_one_that_is_written_over_in_place_is_read_again(self, places: GeoDatabase, path: Path) -> None:
        path.write_bytes(IN_MADISON)
        os.utime(path, ns=(0, 0))
        places.refresh()
        path.write_bytes(IN_BERLIN)  # the same inode, the same size
        os.utime(path, ns=(0, 1))
        assert places.refresh()
        assert places.place_of("192.0.2.1") == BERLIN

    def test_one_that_is_cut_off_while_it_is_in_use_ends_no_process(self, places: GeoDatabase, path: Path) -> None:
        path.write_bytes(IN_MADISON)
        places.refresh()
        os.truncate(path, 0)  # whoever had mapped the file would get SIGBUS from the next look-up
        assert places.place_of("192.0.2.1") == MADISON
        assert places.place_of("198.51.100.1") is Unplaced.NO_RECORD

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (b"", "it is no whole database in MaxMind's format"),
            (b"<html>404</html>" * 100, "it is no whole database in MaxMind's format"),
            (IN_BERLIN[:-10], "it is no whole database in MaxMind's format"),
            (IN_BERLIN[: len(IN_BERLIN) // 2], "it is no whole database in MaxMind's format"),
            (IN_BERLIN[len(IN_BERLIN) // 2 :], "it is no whole database in MaxMind's format"),
            (
                database({"192.0.2.0/24": city(52.52, 13.4)}, built_at=1 << 63),
                "it is no whole database in MaxMind's format (OverflowError)",
            ),
            (
                database({"0.0.0.0/1": Damaged(b"\xe1"), "192.0.2.0/24": city(52.52, 13.4)}),
                "some of its records cannot be read",
            ),
            (
                database({"0.0.0.0/0": {"country": {"iso_code": "DE"}}}, kind="GeoLite2-Country"),
                "it is of the kind GeoLite2-Country, whose records tell no places",
            ),
        ],
        ids=["empty", "HTML", "end missing", "half", "other half", "made in no year", "damaged inside", "countries"],
    )
    def test_one_that_is_of_no_use_changes_nothing_and_is_said_once(
        self, places: GeoDatabase, write: Write, caplog: pytest.LogCaptureFixture, content: bytes, why: str
    ) -> None:
        write(IN_MADISON)
        places.refresh()
        caplog.clear()

        write(content)
        assert not places.refresh()
        assert not places.refresh()
        write(content)
        assert not places.refresh()

        assert places.place_of("192.0.2.1") == MADISON
        (line,) = caplog.messages
        assert f"cannot be used: {why}" in line
        assert "the places read before stay in use" in line
        write(IN_BERLIN)
        assert places.refresh()
        assert places.place_of("192.0.2.1") == BERLIN

    def test_a_useless_one_is_not_read_again_and_again(
        self, places: GeoDatabase, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(b"nonsense")
        places.refresh()
        monkeypatch.setattr(maxmind, "_load", lambda *_: pytest.fail("it was read again"))
        assert not places.refresh()

    def test_one_that_is_gone_stays_in_use_and_its_return_is_noticed(
        self, places: GeoDatabase, path: Path, write: Write, caplog: pytest.LogCaptureFixture
    ) -> None:
        write(IN_MADISON)
        places.refresh()
        for _ in range(2):
            path.unlink()
            assert not places.refresh()
            assert not places.refresh()
            assert places.place_of("192.0.2.1") == MADISON
            assert [line for line in caplog.messages if "is gone" in line] == [caplog.messages[-1]]
            caplog.clear()
            write(IN_MADISON)
            assert places.refresh()
            caplog.clear()

    @pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
    def test_what_is_no_regular_file_is_not_opened(
        self, places: GeoDatabase, path: Path, caplog: pytest.LogCaptureFixture, make: Callable[[Path], None]
    ) -> None:
        make(path)
        assert not places.refresh()  # to open a pipe would wait for ever
        assert "it is no regular file" in caplog.text

    def test_nor_is_one_too_large_read(self, places: GeoDatabase, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path.touch()
        os.truncate(path, maxmind.MAX_BYTES + 1)
        assert not places.refresh()
        assert "it is larger than 1024 MiB" in caplog.text

    def test_one_that_changes_while_it_is_read_waits_for_the_next_time(
        self, places: GeoDatabase, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        copy = maxmind._copy

        def copy_then_write(source: Path, write: Callable[[bytes], object]) -> None:
            copy(source, write)
            path.write_bytes(IN_MADISON)
            os.utime(path, ns=(0, random.randrange(1 << 40)))

        path.write_bytes(IN_MADISON)
        monkeypatch.setattr(maxmind, "_copy", copy_then_write)
        assert not places.refresh()
        monkeypatch.setattr(maxmind, "_copy", copy)
        assert places.refresh()
        assert not [line for line in caplog.messages if "cannot" in line]

    def test_a_file_that_may_not_be_read_is_tried_again(
        self, places: GeoDatabase, write: Write, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        write(IN_MADISON)
        with monkeypatch.context() as patch:
            patch.setattr(maxmind, "_copy", refuse)
            assert not places.refresh()
            assert not places.refresh()
        assert [line.count("cannot be used: Permission denied;") for line in caplog.messages] == [1]
        assert places.refresh()  # `chmod` changes neither size nor time

    def test_nothing_is_left_open(self, places: GeoDatabase, write: Write) -> None:
        before = set(Path("/proc/self/fd").iterdir())
        for content in (IN_MADISON, b"nonsense", IN_BERLIN):
            write(content)
            places.refresh()
        assert set(Path("/proc/self/fd").iterdir()) == before


class TestRenewal:
    def test_requests_in_flight_survive_renewals(self, places: GeoDatabase, write: Write) -> None:
        write(IN_MADISON)
        places.refresh()
        done, found, errors = threading.Event(), set(), []

        def ask(seed: int) -> None:
            dice = random.Random(seed)
            try:
                while not done.is_set():
                    found.add(places.place_of(f"192.0.2.{dice.randrange(256)}"))
            except BaseException as error:  # noqa: BLE001, the main thread tells
                errors.append(error)

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(2)]
        interval_s = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)  # they take turns as often as can be
        for thread in threads:
            thread.start()
        try:
            for number in range(20):
                write((IN_BERLIN, IN_MADISON)[number % 2])
                assert places.refresh()
        finally:
            done.set()
            for thread in threads:
                thread.join(10)
            sys.setswitchinterval(interval_s)
        assert errors == []
        assert found == {MADISON, BERLIN}

    def test_a_look_up_that_has_begun_ends_with_the_old_places(self, places: GeoDatabase, write: Write) -> None:
        write(IN_MADISON)
        places.refresh()
        assert places._loaded is not None
        look_up = places._loaded.place_of  # what a request holds while it looks something up

        write(IN_BERLIN)
        places.refresh()
        gc.collect()

        assert look_up("192.0.2.1") == MADISON
        assert places.place_of("192.0.2.1") == BERLIN

    def test_a_database_nobody_uses_any_more_is_given_back(self, places: GeoDatabase, write: Write) -> None:
        def mapped() -> int:
            return Path("/proc/self/maps").read_text().count("director-places")

        before = mapped()
        for number in range(5):
            write((IN_MADISON, IN_BERLIN)[number % 2])
            places.refresh()
            places.place_of("192.0.2.1")
            assert mapped() == before + 1


def test_a_file_damaged_anywhere_ends_no_request(places: GeoDatabase, path: Path) -> None:
    dice = random.Random(7)
    networks = {f"192.0.{number}.0/24": city(float(number), -float(number)) for number in range(1, 40)}
    whole = database(networks)
    for round_ in range(150):
        damaged = bytearray(whole)
        for _ in range(dice.choice((1, 10, 100))):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        path.write_bytes(damaged)
        os.utime(path, ns=(0, round_))
        places.refresh()
        for number in range(1, 40):
            assert isinstance(places.place_of(f"192.0.{number}.1"), Coordinate | Unplaced)
