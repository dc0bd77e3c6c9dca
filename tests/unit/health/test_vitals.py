"""Laws of what stands beside the director's entry: put together every few seconds, by one thread, and true."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from director_wsgi.federation.models import ServerAd
from director_wsgi.federation.store.records import Record, Renewal
from director_wsgi.health import reports, vitals
from director_wsgi.health.checks import Check, Verdict
from director_wsgi.health.reports import Report, decode
from director_wsgi.health.vitals import INTERVAL_S, LIFETIME_S, REPORT_S, Sources, Vitals, state_of
from director_wsgi.limits.breaker import SLOW, BreakerSnapshot, State
from director_wsgi.limits.lanes import Lanes
from director_wsgi.stat.health import Sickness
from tests.fakes import FakeClock
from tests.make import cache, origin

CLOSED = BreakerSnapshot(
    state=State.CLOSED,
    reason=None,
    since=0,
    next_probe_in_s=0,
    trips=0,
    failures=0,
    slow=0,
    volume=9,
    is_flapping=False,
)


class World:
    def __init__(self, clock: FakeClock, wall: FakeClock) -> None:
        self.checks_: tuple[Check, ...] = (Check("stored"),)
        self.samples = 0
        self.servers: list[ServerAd] = []
        self.filtered: set[str] = set()
        self.breakers: dict[str, BreakerSnapshot] = {}
        self.lanes = Lanes(28)
        self.told: list[tuple[Mapping[str, object], float]] = []
        self.is_ours = True
        self.holder = "w1"
        self.published: list[tuple[str, str, bytes, float, object]] = []
        sources = Sources(
            servers=lambda: self.servers,
            filtered_names=lambda: self.filtered,
            breaker_of=self.breakers.get,
        )
        self.vitals = Vitals(
            self,  # type: ignore[arg-type]
            sources,
            shared=self,
            lease="host",
            clock=clock,
            wall=wall,
        )
        self.vitals.tell_to(lambda health, lifetime_s: self.told.append((health, lifetime_s)))

    def checks(self) -> tuple[Check, ...]:
        return self.checks_

    def report(self) -> Report:
        in_use, limit = self.waiting()
        return Report(checks=self.checks_, in_use=in_use, limit=limit)

    def waiting(self) -> tuple[int, int]:
        told = self.lanes.statistics()
        return told.in_use, told.permits

    def sample(self) -> None:
        self.samples += 1

    def holds(self, name: str) -> bool:
        return self.is_ours and name == "host"

    def publish(self, kind: str, key: str, encode: Callable[[], bytes], *, lifetime_s: float, token: object) -> None:
        self.published.append((kind, key, encode(), lifetime_s, token))

    def of(self, kind: str) -> list[bytes]:
        return [body for kind_, _key, body, _lifetime_s, _token in self.published if kind_ == kind]

    def refresh(self) -> Mapping[str, object]:
        self.vitals.refresh()
        return self.told[-1][0]


@pytest.fixture
def world(clock: FakeClock, wall: FakeClock) -> World:
    return World(clock, wall)


def test_what_is_told(world: World) -> None:
    world.servers = [origin("O1", "/a"), origin("O2", "/a"), cache("C1", "/a"), cache("C2", "/a"), cache("C3", "/a")]
    world.breakers |= {
        "https://o1.example.org:8443": CLOSED,
        "https://o2.example.org:8443": replace(CLOSED, state=State.OPEN, reason=Sickness.STALLING),
        "https://c3.example.org:8443": CLOSED,
    }
    world.filtered = {"C3"}
    assert world.lanes.take_nowait("/a")
    health = world.refresh()
    assert json.loads(json.dumps(health)) == {
        "status": "ok",
        "since": "2026-01-01T00:00:00Z",
        "servers": {"filtered": 1, "ok": 1, "stalling": 1, "unknown": 2},
        "lanes": {"inUse": 1, "limit": 28},
    }
    assert world.told[-1][1] == LIFETIME_S > 3 * INTERVAL_S


@pytest.mark.parametrize(
    ("breaker", "word"),
    [
        (None, "unknown"),
        (CLOSED, "ok"),
        (replace(CLOSED, state=State.OPEN, reason=SLOW), "slow"),
        (replace(CLOSED, state=State.HALF_OPEN, reason=Sickness.CUTTING_OFF), "cutting off"),
    ],
)
def test_the_state_of_a_server_is_an_operators_word(breaker: BreakerSnapshot | None, word: str) -> None:
    assert state_of(breaker) == word


@pytest.mark.parametrize(
    ("verdict", "word"), [(Verdict.OK, "ok"), (Verdict.WARNING, "warning"), (Verdict.FAILED, "critical")]
)
def test_the_status_is_what_readiness_finds_in_pelicans_words(world: World, verdict: Verdict, word: str) -> None:
    world.checks_ = (Check("a", verdict, "why"),)
    assert world.refresh()["status"] == word


def test_it_is_told_every_few_seconds_and_threads_are_looked_at_every_time(world: World, clock: FakeClock) -> None:
    for _ in range(11):
        world.vitals.refresh()
        clock.advance(1.0)
    assert world.samples == 11
    assert len(world.told) == 3


def test_a_change_is_told_at_once_and_dated(world: World, clock: FakeClock, wall: FakeClock) -> None:
    since = world.refresh()["since"]
    for _ in range(3):
        clock.advance(INTERVAL_S)
        wall.advance(INTERVAL_S)
        assert world.refresh()["since"] == since
    clock.advance(1.0)
    wall.advance(1.0)
    world.checks_ = (Check("a", Verdict.FAILED, "why"),)
    health = world.refresh()
    assert (health["status"], health["since"]) == ("critical", "2026-01-01T00:00:16Z")


def test_what_was_told_before_does_not_change(world: World, clock: FakeClock) -> None:
    before = world.refresh()
    told = json.dumps(before)
    world.servers = [origin("O1", "/a")]
    clock.advance(INTERVAL_S)
    assert world.refresh() != before
    assert json.dumps(before) == told


def record(body: bytes, wall: FakeClock, lifetime_s: float = 30.0) -> Record:
    return Record(
        kind=vitals.KIND, key="", body=body, expires_at=wall.now + lifetime_s, granted_s=lifetime_s, revision=7
    )


def renewal(wall: FakeClock, lifetime_s: float = 30.0) -> Renewal:
    return Renewal(kind=vitals.KIND, key="", expires_at=wall.now + lifetime_s, granted_s=lifetime_s, revision=8)


def test_every_worker_reports_and_one_speaks_for_all(world: World, clock: FakeClock) -> None:
    world.is_ours = False
    world.vitals.refresh()
    assert world.told == []
    assert [decode(body) for body in world.of(reports.KIND)] == [world.report()]
    assert world.published[0][1] == "w1"
    world.is_ours = True
    clock.advance(1.0)
    health = world.refresh()
    assert [json.loads(body) for body in world.of(vitals.KIND)] == [health]


def test_a_report_is_renewed_in_time_and_a_change_is_reported_at_once(world: World, clock: FakeClock) -> None:
    for _ in range(9):
        world.vitals.refresh()
        clock.advance(1.0)
    assert len(world.of(reports.KIND)) == 5
    assert 2 * REPORT_S < reports.LIFETIME_S
    world.checks_ = (Check("a", Verdict.FAILED, "why"),)
    world.vitals.refresh()
    assert decode(world.of(reports.KIND)[-1]).checks == world.checks_


def test_what_another_worker_has_put_together_is_shown_for_as_long_as_it_holds(world: World, wall: FakeClock) -> None:
    health = {"status": "critical", "since": "2025-12-31T00:00:00Z"}
    assert not world.vitals.renewed(renewal(wall))
    world.vitals.took(record(json.dumps(health).encode(), wall, 12.0))
    assert world.told == [(health, 12.0)]
    assert world.vitals.renewed(renewal(wall, 20.0))
    assert world.told[-1] == (health, 20.0)
    world.vitals.took(record(b"{}", wall, 1e9))
    assert world.told[-1][1] == LIFETIME_S


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_what_makes_no_sense_is_not_shown(world: World, wall: FakeClock, body: bytes) -> None:
    world.vitals.took(record(body, wall))
    assert world.told == []


def test_who_takes_over_goes_on_with_the_date_of_the_one_before(world: World, wall: FakeClock) -> None:
    world.vitals.took(record(b'{"status": "ok", "since": "2025-12-31T00:00:00Z"}', wall))
    assert world.refresh()["since"] == "2025-12-31T00:00:00Z"
