import pytest

from director_wsgi.demo.reports import SILENCE_S, Reports
from tests.fakes import FakeClock


@pytest.fixture
def reports(clock: FakeClock) -> Reports:
    return Reports(clock)


def test_before_the_first_report_there_is_a_warning(reports: Reports, clock: FakeClock) -> None:
    assert reports.status == "warning"
    clock.advance(SILENCE_S - 1)
    assert reports.status == "warning"


@pytest.mark.parametrize(("told", "status"), [("ok", "ok"), ("error", "critical")])
def test_the_last_report_decides(reports: Reports, told: str, status: str) -> None:
    for one in ("error", "ok", told):
        reports.take(one)
    assert (reports.status, reports.taken) == (status, 3)


def test_who_is_told_nothing_for_half_a_minute_is_critical_until_told_again(reports: Reports, clock: FakeClock) -> None:
    for _ in range(2):
        clock.advance(SILENCE_S)
        assert reports.status == "critical"
        reports.take("ok")
        assert reports.status == "ok"
        clock.advance(SILENCE_S - 1)
        assert reports.status == "ok"
        reports.take("ok")


def test_a_report_that_says_something_else_changes_nothing(reports: Reports, clock: FakeClock) -> None:
    clock.advance(SILENCE_S)
    with pytest.raises(KeyError):
        reports.take("fine")
    assert (reports.status, reports.taken) == ("critical", 0)
