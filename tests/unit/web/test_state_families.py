"""`/metrics` tells the truth of what workers share."""

from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric

from director_wsgi.federation.backup import Backup
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.filters import Filters
from director_wsgi.federation.shared_ads import KIND, SharedAds
from director_wsgi.federation.state import State
from director_wsgi.federation.store.errors import StoreFull
from director_wsgi.federation.store.mirror import Mirror
from director_wsgi.federation.store.records import Put
from director_wsgi.limits.deadline import Deadline
from director_wsgi.web import state_families
from tests.fakes import FakeClock
from tests.unit.federation.store.puts import ROOM
from tests.unit.federation.workers import Host, Worker


class Shown:
    """A worker with a state, and what it tells."""

    def __init__(self, folder: Path, clock: FakeClock, wall: FakeClock) -> None:
        self.host = Host(folder, clock, wall)
        self.worker: Worker = self.host.worker()
        self.disk = self.host.worker().store
        backup = Backup(Mirror(self.worker.store, self.disk, holder="one", wall=wall), clock=clock)
        self.state = State(self.worker.replica, backup)
        self.ads = SharedAds(self.worker.replica, Directory(clock=clock), Filters(wall=wall), wall=wall)

    def told(self) -> dict[str, dict[tuple[str, ...], float]]:
        families: list[Metric] = list(state_families.of(self.state, self.ads)())
        return {
            family.name.removeprefix("director_wsgi_"): {
                tuple(sample.labels.values()): sample.value for sample in family.samples
            }
            for family in families
        }


@pytest.fixture
def shown(tmp_path: Path, clock: FakeClock, wall: FakeClock) -> Shown:
    return Shown(tmp_path, clock, wall)


def test_all_is_well_with_one_that_shares_nothing(wall: FakeClock, clock: FakeClock) -> None:
    state = State.none()
    ads = SharedAds(state.replica, Directory(clock=clock), Filters(wall=wall), wall=wall)
    told = {family.name: [sample.value for sample in family.samples] for family in state_families.of(state, ads)()}
    assert told == {
        "director_wsgi_workers": [1],
        "director_wsgi_state_trouble": [0, 0],
        "director_wsgi_state_pending": [0],
        "director_wsgi_state_revision": [0],
        "director_wsgi_state_lost": [0, 0],
        "director_wsgi_state_late": [0],
    }


def test_workers_and_what_they_have_seen(shown: Shown) -> None:
    shown.host.worker()
    shown.host.turns()
    told = shown.told()
    assert told["workers"] == {(): 3}
    assert told["state_revision"] == {(): shown.worker.store.revision()}


def test_trouble_with_what_is_shared(shown: Shown) -> None:
    shown.worker.store.cannot_write = StoreFull("no room")
    shown.worker.says("a", b"1")
    shown.worker.replica.turn()
    told = shown.told()
    assert told["state_trouble"] == {("shared",): 1, ("disk",): 0}
    assert told["state_pending"][()] >= 1


def test_trouble_with_the_disk_and_the_age_of_its_copy(shown: Shown, clock: FakeClock) -> None:
    assert "state_backup_age_seconds" not in shown.told()
    assert shown.state.backup is not None
    assert shown.state.backup.start(Deadline.after(5.0))
    assert shown.state.backup.stop(Deadline.after(5.0))
    clock.advance(7.0)
    assert shown.told()["state_backup_age_seconds"] == {(): 7.0}
    assert shown.told()["state_trouble"] == {("shared",): 0, ("disk",): 0}


def test_what_was_not_passed_on(shown: Shown, wall: FakeClock) -> None:
    other = shown.host.worker()
    other.store.put([Put(kind=KIND, key="x", body=b"nonsense", expires_at=wall() + 60, granted_s=60.0)], ROOM)
    shown.worker.replica.publish("thing", "\ud800", lambda: b"", lifetime_s=60.0, token=1)
    shown.host.turns()
    assert shown.told()["state_lost"] == {("unsaid",): 1, ("refused",): 1}


def test_what_was_answered_before_it_was_shared(shown: Shown) -> None:
    shown.worker.says("a", b"1")
    assert not shown.worker.replica.has_shared(0.0)
    shown.host.turns()
    assert shown.worker.replica.has_shared(0.0)
    assert shown.told()["state_late"] == {(): 1}
