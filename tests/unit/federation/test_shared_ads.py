"""Laws of advertisements that workers tell each other."""

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from director_wsgi.federation import shared_ads
from director_wsgi.federation.directory import MAX_OF_ONE_REGISTRATION, Directory
from director_wsgi.federation.downtimes import OPEN_END, Downtime
from director_wsgi.federation.filters import FilterReason, Filters
from director_wsgi.federation.models import ServerAd
from director_wsgi.federation.replica import Replica
from director_wsgi.federation.shared_ads import KIND, SharedAds
from director_wsgi.federation.store.codec import encode_ad
from director_wsgi.federation.store.records import Put
from director_wsgi.limits.deadline import Deadline
from tests.fakes import FakeClock
from tests.make import origin
from tests.unit.federation.store.puts import ROOM
from tests.unit.federation.workers import Faulty

LIFE_S = 900.0
URL = "https://o.example.org:8443"


class Worker:
    """A directory and its filters, and a replica that takes its turns when told to."""

    def __init__(self, folder: Path, name: str, clock: FakeClock, wall: FakeClock) -> None:
        self.wall = wall
        self.store = Faulty(folder / "bus.sqlite", clock=clock, wall=wall)
        self.replica = Replica(self.store, holder=name, clock=clock, wall=wall)
        self.directory = Directory(clock=clock, capacity=MAX_OF_ONE_REGISTRATION + 5)
        self.filters = Filters(wall=wall)
        self.heard: list[str] = []
        self.ads = SharedAds(self.replica, self.directory, self.filters, wall=wall, on_heard=self.heard.append)

    def admits(self, ad: ServerAd, *, is_heeded: bool = True, lifetime_s: float = LIFE_S) -> None:
        """Do as `trust.admission` does."""
        if is_heeded:
            self.filters.server_said(ad)
        held = self.directory.record(ad, lifetime_s, self.filters.filtered())
        self.ads.admitted(held, lifetime_s, is_heeded=is_heeded)

    @property
    def servers(self) -> dict[str, ServerAd]:
        return dict(self.directory.snapshot().servers)


class Two:
    """Two workers."""

    def __init__(self, folder: Path, clock: FakeClock, wall: FakeClock) -> None:
        self.clock, self.wall = clock, wall
        self.one, self.other = (Worker(folder, name, clock, wall) for name in ("one", "other"))

    def turns(self) -> None:
        for _ in range(3):
            for worker in (self.one, self.other):
                worker.replica.turn()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.wall.advance(seconds)


@pytest.fixture
def two(tmp_path: Path, clock: FakeClock, wall: FakeClock) -> Iterator[Two]:
    two = Two(tmp_path, clock, wall)
    yield two
    for worker in (two.one, two.other):
        worker.store.close()


def test_when_the_sender_is_answered_the_other_can_read_it(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_ads, "SHARED_WITHIN_S", 30.0)
    two.one.replica.start(Deadline.after(5.0))
    two.one.store.before_put = lambda: time.sleep(0.02)
    ad = origin("O", "/a")
    two.one.admits(ad)
    two.other.replica.turn()
    assert two.other.servers == {URL: ad}
    assert two.one.replica.stop(Deadline.after(5.0))


def test_a_store_that_hangs_keeps_no_answer_back_for_long(two: Two) -> None:
    two.one.replica.start(Deadline.after(5.0))
    gate = threading.Event()
    two.one.store.before_put = lambda: gate.wait(5.0)
    two.one.admits(origin("O", "/a"))
    assert two.one.replica.statistics().late == 1, "whoever waited for the store would not be late"
    gate.set()
    assert two.one.replica.stop(Deadline.after(5.0))


def test_what_one_has_admitted_the_other_uses(two: Two) -> None:
    ad = origin("O", "/a")
    two.one.admits(ad)
    two.turns()
    assert two.other.servers == {URL: ad}
    entry = two.other.directory.snapshot().match("/a/b")
    assert entry is not None
    assert entry.prefix == "/a"
    assert two.other.heard == [URL]
    assert two.one.heard == []


def test_it_ends_there_when_it_ends_here(two: Two) -> None:
    two.one.admits(origin("O", "/a"), lifetime_s=60.0)
    two.advance(20.0)
    two.turns()
    two.advance(39.9)
    assert two.other.servers
    two.advance(0.2)
    assert not two.one.servers
    assert not two.other.servers


def test_whoever_admits_it_again_renews_it_for_all_and_no_snapshot_changes(two: Two) -> None:
    two.one.admits(origin("O", "/a"), lifetime_s=60.0)
    two.turns()
    snapshot = two.one.directory.snapshot()
    for worker in (two.other, two.one, two.other):
        two.advance(50.0)
        worker.admits(origin("O", "/a"), lifetime_s=60.0)
        two.turns()
    two.advance(50.0)
    assert two.one.directory.snapshot() is snapshot
    assert two.other.servers
    bodies = [*two.one.store.bodies(KIND), *two.other.store.bodies(KIND)]
    assert sum(body is not None for _, body in bodies) == 1
    assert two.one.heard == [URL, URL]


def test_one_that_says_something_else_replaces_the_one_before(two: Two) -> None:
    two.one.admits(origin("O", "/a"))
    two.turns()
    two.other.admits(origin("O", "/b"))
    two.turns()
    assert two.one.servers == {URL: origin("O", "/b")}


def test_what_has_ended_before_it_comes_is_no_server(two: Two) -> None:
    two.one.admits(origin("O", "/a"), lifetime_s=5.0)
    two.one.replica.turn()
    two.advance(5.0)
    two.turns()
    assert not two.other.servers
    assert two.other.heard == []


def test_one_that_is_not_known_any_more_is_taken_again_when_it_is_renewed(two: Two) -> None:
    ad = origin("O", "/a")
    two.one.admits(ad)
    two.turns()
    two.other.directory.remove(URL)
    two.one.admits(ad)
    two.turns()
    assert two.other.servers == {URL: ad}


def test_one_that_is_taken_back_is_gone(two: Two) -> None:
    two.one.admits(origin("O", "/a"))
    two.turns()
    two.one.replica.drop(KIND, URL)
    two.turns()
    assert not two.other.servers


class TestFilters:
    def test_what_a_server_says_of_itself_is_heeded_by_all(self, two: Two) -> None:
        downtime = Downtime(id="d", source="origin", starts_at_ms=0, ends_at_ms=OPEN_END)
        two.one.admits(origin("O", "/a", downtimes=(downtime,), registry_prefix="/origins/o"))
        two.one.admits(origin("P", "/b", status="shutting down", registry_prefix="/origins/p"))
        two.turns()
        assert two.other.filters.reason("O") is FilterReason.SERVER
        assert two.other.filters.reason("P") is FilterReason.SHUTDOWN
        assert two.other.filters.downtimes("O") == two.one.filters.downtimes("O") == (downtime,)
        assert two.other.directory.snapshot().match("/a") == two.one.directory.snapshot().match("/a")

    def test_it_is_taken_back_for_all(self, two: Two) -> None:
        two.one.admits(origin("O", "/a", status="shutting down", registry_prefix="/origins/o"))
        two.turns()
        two.other.admits(origin("O", "/a", registry_prefix="/origins/o"))
        two.turns()
        assert two.one.filters.reason("O") is None
        assert two.other.filters.reason("O") is None

    def test_who_may_be_speaking_in_anothers_name_filters_nobody_anywhere(self, two: Two) -> None:
        two.one.admits(origin("O", "/a", status="shutting down", registry_prefix="/origins/x"), is_heeded=False)
        two.turns()
        assert two.other.servers
        assert two.other.filters.reason("O") is None

    def test_that_its_name_is_vouched_for_later_is_told(self, two: Two) -> None:
        ad = origin("O", "/a", status="shutting down", registry_prefix="/origins/o")
        two.one.admits(ad, is_heeded=False)
        two.turns()
        two.one.admits(ad)
        two.turns()
        assert two.other.filters.reason("O") is FilterReason.SHUTDOWN


class TestWhatCannotBeTaken:
    @pytest.mark.parametrize("body", [b"", b"h", b"hnonsense", b"h\x01nonsense", encode_ad(origin("O", "/a"))])
    def test_what_cannot_be_read_is_passed_over(
        self, two: Two, wall: FakeClock, body: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        put = Put(kind=KIND, key="x", body=body, expires_at=wall() + 60, granted_s=60.0)
        two.one.store.put([put], ROOM)
        two.one.admits(origin("O", "/a"))
        two.turns()
        assert two.other.servers.keys() == {URL}
        assert two.other.ads.refused == 1
        assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2, "one for each worker"

    def test_there_is_room_for_as_many_as_if_they_had_come_here(
        self, two: Two, caplog: pytest.LogCaptureFixture
    ) -> None:
        ad = origin("O", "/a")
        for number in range(MAX_OF_ONE_REGISTRATION + 10):
            one = replace(ad, data_url=f"https://{number}.example.org", registry_prefix=f"/origins/{number}")
            two.one.ads.admitted(one, LIFE_S, is_heeded=False)
        two.turns()
        assert len(two.other.servers) == MAX_OF_ONE_REGISTRATION + 5
        assert two.other.ads.refused == 5
        assert len(caplog.records) == 1, "not one for each"
        assert two.other.replica.trouble is None

    def test_one_that_is_advertised_here_by_its_own_is_not_overwritten_by_an_older_one(self, two: Two) -> None:
        two.one.admits(origin("O", "/a"))
        two.one.replica.turn()
        two.other.admits(origin("O", "/b"))
        two.turns()
        assert two.one.servers == two.other.servers == {URL: origin("O", "/b")}
