"""Laws of what workers say of themselves: half of them decide for all, a new one takes nobody out, nothing is believed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.federation.store.records import Record, Renewal
from director_wsgi.health import reports
from director_wsgi.health.checks import STORED, Check, Verdict, verdict_of
from director_wsgi.health.reports import LIFETIME_S, MAX_WORKERS, Report, Reports, decode, together
from tests.fakes import FakeClock

FAILED = Check("decisions", Verdict.FAILED, "late")


def report(*checks: Check, in_use: int = 0) -> Report:
    return Report(checks=checks or (Check("decisions"),), in_use=in_use, limit=28)


def record(key: str, body: bytes, wall: FakeClock, lifetime_s: float = LIFETIME_S) -> Record:
    return Record(
        kind=reports.KIND, key=key, body=body, expires_at=wall.now + lifetime_s, granted_s=lifetime_s, revision=1
    )


def renewal(key: str, wall: FakeClock, lifetime_s: float = LIFETIME_S) -> Renewal:
    return Renewal(kind=reports.KIND, key=key, expires_at=wall.now + lifetime_s, granted_s=lifetime_s, revision=2)


texts = st.text(max_size=20)
checks = st.builds(Check, texts, st.sampled_from(Verdict), texts)
some_reports = st.builds(
    Report, checks=st.lists(checks, max_size=4).map(tuple), in_use=st.integers(0, 99), limit=st.integers(1, 99)
)


class TestTogether:
    def test_alone_a_worker_speaks_for_itself(self) -> None:
        for own in (report(), report(FAILED)):
            assert together(own, ()) == own.checks

    @pytest.mark.parametrize(
        ("failing", "of", "verdict"),
        [
            (1, 2, Verdict.FAILED),
            (1, 3, Verdict.WARNING),
            (2, 3, Verdict.FAILED),
            (1, 4, Verdict.WARNING),
            (2, 4, Verdict.FAILED),
            (0, 4, Verdict.OK),
        ],
    )
    def test_half_of_the_workers_decide_whoever_of_them_is_asked(self, failing: int, of: int, verdict: Verdict) -> None:
        said = [report(FAILED)] * failing + [report()] * (of - failing)
        for index in range(of):
            others = said[:index] + said[index + 1 :]
            (check,) = together(said[index], others)
            assert check.verdict is verdict
        if verdict is Verdict.WARNING:
            assert check.message == f"late ({failing} of {of} workers)"

    def test_a_worker_that_has_read_nothing_yet_is_not_missed_while_another_has(self) -> None:
        unread = report(Check(STORED, Verdict.FAILED, "unread"))
        read = report(Check(STORED))
        for own, others in ((unread, [read]), (read, [unread]), (unread, [unread, unread, read])):
            assert verdict_of(together(own, others)) is Verdict.OK
        assert verdict_of(together(unread, [unread])) is Verdict.FAILED

    def test_a_warning_of_one_is_one_of_all(self) -> None:
        warned = report(Check("store", Verdict.WARNING, "full"))
        assert together(report(Check("store")), [warned]) == warned.checks

    def test_a_worker_that_knows_no_such_check_finds_it_in_order(self) -> None:
        assert verdict_of(together(report(), [report(Check("other", Verdict.FAILED))])) is Verdict.OK

    @given(some_reports, st.lists(some_reports, max_size=5))
    def test_whatever_they_say_each_check_is_there_once(self, own: Report, others: list[Report]) -> None:
        assert [check.name for check in together(own, others)] == [check.name for check in own.checks]


class TestReports:
    @pytest.fixture
    def known(self, clock: FakeClock, wall: FakeClock) -> Reports:
        return Reports(clock=clock, wall=wall)

    def test_they_are_known_until_they_end(self, known: Reports, clock: FakeClock, wall: FakeClock) -> None:
        known.took(record("w2", report(FAILED).encode(), wall))
        assert known.of_others() == (report(FAILED),)
        clock.advance(LIFETIME_S - 1)
        wall.advance(LIFETIME_S - 1)
        assert known.renewed(renewal("w2", wall))
        clock.advance(LIFETIME_S - 1)
        assert known.of_others() == (report(FAILED),)
        clock.advance(2)
        assert known.of_others() == ()

    def test_a_worker_that_ends_is_forgotten_at_once(self, known: Reports, wall: FakeClock) -> None:
        known.took(record("w2", report(FAILED).encode(), wall))
        known.dropped("w2")
        known.dropped("w2")
        assert known.of_others() == ()

    def test_one_that_is_not_known_has_to_be_told(self, known: Reports, wall: FakeClock) -> None:
        assert not known.renewed(renewal("w2", wall))

    def test_a_long_life_is_not_believed(self, known: Reports, clock: FakeClock, wall: FakeClock) -> None:
        known.took(record("w2", report().encode(), wall, lifetime_s=1e9))
        clock.advance(LIFETIME_S + 1)
        assert known.of_others() == ()

    def test_they_are_bounded(self, known: Reports, clock: FakeClock, wall: FakeClock) -> None:
        for number in range(2 * MAX_WORKERS):
            known.took(record(str(number), report().encode(), wall))
        assert len(known.of_others()) == MAX_WORKERS
        clock.advance(LIFETIME_S + 1)
        wall.advance(LIFETIME_S + 1)
        known.took(record("new", report(FAILED).encode(), wall))
        assert known.of_others() == (report(FAILED),)


class TestBody:
    @given(some_reports)
    def test_it_says_what_was_reported(self, told: Report) -> None:
        assert decode(told.encode()) == told

    @pytest.mark.parametrize(
        "told",
        [
            None,
            [],
            {},
            {"checks": 1, "inUse": 0, "limit": 1},
            {"checks": [["a", 7, ""]], "inUse": 0, "limit": 1},
            {"checks": [["a"]], "inUse": 0, "limit": 1},
            {"checks": [], "inUse": "many", "limit": 1},
            {"checks": [], "inUse": float("inf"), "limit": 1},
        ],
    )
    def test_what_makes_no_sense_is_none(self, told: object, clock: FakeClock, wall: FakeClock) -> None:
        body = json.dumps(told).encode()
        with pytest.raises(ValueError, match="no report"):
            decode(body)
        known = Reports(clock=clock, wall=wall)
        known.took(record("w2", body, wall))
        assert known.of_others() == ()

    @given(st.binary(max_size=100))
    def test_whatever_it_is_nothing_else_is_raised(self, body: bytes) -> None:
        with pytest.raises(ValueError, match="no report"):
            decode(body)
