"""Laws of readiness: three things turn it red, warnings do not, and neither a burst nor a moment's rest changes it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.health.checks import Check, Verdict, verdict_of
from director_wsgi.health.readiness import EXHAUSTED_AFTER_S, RECOVERED_AFTER_S, Exhaustion, Readiness
from director_wsgi.limits.lanes import Lanes, LanesStatistics
from tests.fakes import FakeClock


def lanes(in_use: int = 0, refused_full: int = 0) -> LanesStatistics:
    return LanesStatistics(
        permits=4, in_use=in_use, most_in_use=4, keys=1, taken=9, refused_full=refused_full, refused_share=0
    )


class World:
    """A director that does well, but for what is changed."""

    def __init__(self, clock: FakeClock) -> None:
        self.has_read = True
        self.lanes = lanes()
        self.late = ""
        self.warning = ""
        self.took_s = 0.25
        self.readiness = Readiness(
            has_read=lambda: self.has_read,
            lanes=lambda: self.lanes,
            trial=self,  # type: ignore[arg-type]
            warnings={"store": lambda: self.warning},
            clock=clock,
        )

    def trouble(self) -> str:
        return self.late

    def wrong(self) -> dict[str, Verdict]:
        return {check.name: check.verdict for check in self.readiness.checks() if check.verdict}


@pytest.fixture
def world(clock: FakeClock) -> World:
    return World(clock)


def test_a_director_nobody_has_advertised_to_is_ready(world: World) -> None:
    assert verdict_of(world.readiness.checks()) is Verdict.OK
    assert [check.name for check in world.readiness.checks()] == ["stored", "waiting", "decisions", "store"]
    assert world.readiness.trial_s == 0.25


def test_it_is_not_ready_before_what_is_stored_is_read(world: World) -> None:
    world.has_read = False
    assert world.wrong() == {"stored": Verdict.FAILED}
    world.has_read = True
    assert world.wrong() == {}


def test_it_is_not_ready_while_decisions_are_late(world: World) -> None:
    world.late = "late"
    assert world.wrong() == {"decisions": Verdict.FAILED}


def test_what_is_wrong_besides_is_a_warning(world: World) -> None:
    world.warning = "the disk is full"
    assert world.wrong() == {"store": Verdict.WARNING}
    assert verdict_of(world.readiness.checks()) is Verdict.WARNING


def test_the_worst_decides() -> None:
    checks = (Check("a", Verdict.WARNING, "w"), Check("b"), Check("c", Verdict.FAILED, "f"))
    assert verdict_of(checks) is Verdict.FAILED
    assert verdict_of(()) is Verdict.OK


def test_it_is_not_ready_while_its_lanes_stay_exhausted(world: World, clock: FakeClock) -> None:
    world.lanes = lanes(in_use=4)
    world.readiness.sample()
    clock.advance(EXHAUSTED_AFTER_S)
    assert world.wrong() == {}  # nobody has looked again
    world.readiness.sample()
    assert world.wrong() == {"waiting": Verdict.FAILED}


class TestExhaustion:
    def feed(self, clock: FakeClock, exhaustion: Exhaustion, told: LanesStatistics, for_s: float) -> None:
        for _ in range(int(for_s) + 1):
            exhaustion.sample(told)
            clock.advance(1.0)

    def test_a_burst_is_none(self, clock: FakeClock) -> None:
        exhaustion = Exhaustion(clock)
        for _ in range(20):
            self.feed(clock, exhaustion, lanes(in_use=4), EXHAUSTED_AFTER_S - 2)
            exhaustion.sample(lanes(in_use=3))
            assert not exhaustion.holds

    def test_it_holds_when_none_was_left_for_long_and_ends_when_some_were(self, clock: FakeClock) -> None:
        exhaustion = Exhaustion(clock)
        self.feed(clock, exhaustion, lanes(in_use=4), EXHAUSTED_AFTER_S)
        assert exhaustion.holds
        self.feed(clock, exhaustion, lanes(), RECOVERED_AFTER_S - 1)
        assert exhaustion.holds
        self.feed(clock, exhaustion, lanes(in_use=4), 1)  # a moment's rest is no recovery
        self.feed(clock, exhaustion, lanes(), RECOVERED_AFTER_S - 1)
        assert exhaustion.holds
        self.feed(clock, exhaustion, lanes(), RECOVERED_AFTER_S)
        assert not exhaustion.holds

    def test_requests_that_found_none_between_two_looks_count(self, clock: FakeClock) -> None:
        exhaustion = Exhaustion(clock)
        for refused in range(int(EXHAUSTED_AFTER_S) + 2):
            exhaustion.sample(lanes(in_use=2, refused_full=refused + 1))
            clock.advance(1.0)
        assert exhaustion.holds

    def test_requests_that_found_none_long_ago_do_not(self, clock: FakeClock) -> None:
        exhaustion = Exhaustion(clock)
        self.feed(clock, exhaustion, lanes(refused_full=1000), 60)
        assert not exhaustion.holds

    @given(st.lists(st.booleans(), max_size=60))
    def test_it_changes_only_after_as_many_samples_that_all_contradict_it(self, full: list[bool]) -> None:
        clock = FakeClock()
        exhaustion = Exhaustion(clock)
        streak = 0
        for is_full in full:
            before = exhaustion.holds
            exhaustion.sample(lanes(in_use=4 if is_full else 0))
            clock.advance(1.0)
            streak = 0 if is_full == before else streak + 1
            needed = (RECOVERED_AFTER_S if before else EXHAUSTED_AFTER_S) + 1
            assert exhaustion.holds is (before if streak < needed else not before)
            if exhaustion.holds is not before:
                streak = 0

    def test_real_lanes_tell_it(self, clock: FakeClock) -> None:
        real: Any = Lanes(1)
        exhaustion = Exhaustion(clock)
        permit = real.take_nowait("a")
        self.feed_real(clock, exhaustion, real)
        assert exhaustion.holds
        permit.release()
        self.feed_real(clock, exhaustion, real)
        assert not exhaustion.holds

    def feed_real(self, clock: FakeClock, exhaustion: Exhaustion, real: Lanes) -> None:
        for _ in range(int(EXHAUSTED_AFTER_S) + 1):
            exhaustion.sample(real.statistics())
            clock.advance(1.0)
