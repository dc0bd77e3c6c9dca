"""Laws of what is fetched from the registry as a whole."""

import math

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.trust.poll import Poll
from director_wsgi.trust.registry import Closed, NoAnswer
from tests.fakes import FakeClock


class Source:
    def __init__(self) -> None:
        self.value = "first"
        self.is_away = False
        self.is_closed = False

    def __call__(self, deadline: Deadline) -> str:
        if self.is_closed:
            raise Closed("closed")
        if self.is_away:
            raise NoAnswer("away")
        return self.value


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def poll(source: Source, clock: FakeClock) -> Poll[str]:
    return Poll("the table", source, nothing="nothing", clock=clock)


@pytest.fixture
def deadline(clock: FakeClock) -> Deadline:
    return Deadline.after(5, clock)


def test_it_is_not_loaded_until_the_registry_has_answered(poll: Poll[str], source: Source, deadline: Deadline) -> None:
    source.is_away = True
    assert not poll.refresh(deadline)
    assert (poll.loaded, poll.age_s, poll.value) == (False, math.inf, "nothing")
    source.is_away = False
    assert poll.refresh(deadline)
    assert (poll.loaded, poll.age_s, poll.value) == (True, 0.0, "first")


def test_the_old_one_counts_for_as_long_as_there_is_no_new_one(
    poll: Poll[str], source: Source, clock: FakeClock, deadline: Deadline
) -> None:
    poll.refresh(deadline)
    source.is_away = True
    source.value = "second"
    for _ in range(100):
        clock.advance(3600)
        assert not poll.refresh(deadline)
    assert (poll.loaded, poll.age_s, poll.value) == (True, 360_000, "first")
    source.is_away = False
    assert poll.refresh(deadline)
    assert (poll.age_s, poll.value) == (0, "second")


def test_it_is_asked_for_every_second_until_there_is_one(poll: Poll[str], source: Source, deadline: Deadline) -> None:
    source.is_away = True
    for _ in range(100):
        assert poll.next_refresh_in_s(60) == 1
        assert poll.next_refresh_in_s(0.5) == 0.5
        poll.refresh(deadline)


def test_after_a_failure_it_is_asked_for_sooner_and_then_less_and_less_often(
    poll: Poll[str], source: Source, deadline: Deadline
) -> None:
    poll.refresh(deadline)
    assert poll.next_refresh_in_s(60) == 60
    source.is_away = True
    pauses = []
    for _ in range(2000):
        poll.refresh(deadline)
        pauses.append(poll.next_refresh_in_s(60))
    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert pauses[-1] == 60
    source.is_away = False
    poll.refresh(deadline)
    assert poll.next_refresh_in_s(60) == 60


def test_the_end_of_the_director_is_no_outage(
    poll: Poll[str], source: Source, deadline: Deadline, caplog: pytest.LogCaptureFixture
) -> None:
    poll.refresh(deadline)
    source.is_closed = True
    assert not poll.refresh(deadline)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_an_outage_is_logged_once_and_so_is_its_end(
    poll: Poll[str], source: Source, deadline: Deadline, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    source.is_away = True
    for _ in range(5):
        poll.refresh(deadline)
    source.is_away = False
    for _ in range(5):
        poll.refresh(deadline)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "cannot refresh the table: away"),
        ("INFO", "fetched the table"),
    ]


def test_it_is_due_when_nobody_has_fetched_it_for_so_long(
    poll: Poll[str], source: Source, clock: FakeClock, deadline: Deadline
) -> None:
    assert poll.is_due(60)
    poll.learn("", "theirs", 45.0)
    assert (poll.loaded, poll.value, poll.is_due(60), poll.next_refresh_in_s(60)) == (True, "theirs", False, 15)
    clock.advance(15)
    assert (poll.is_due(60), poll.next_refresh_in_s(60)) == (True, 1), "whoever should fetch it is about to"
    assert poll.renew("", 2.0)
    assert (poll.is_due(60), poll.age_s, poll.next_refresh_in_s(60)) == (False, 2, 58)
    assert poll.refresh(deadline)
    assert (poll.value, poll.age_s) == ("first", 0)
    source.is_away = True
    clock.advance(60)
    poll.refresh(deadline)
    assert poll.is_due(60), "a failure changes nothing"


def test_what_others_fetched_earlier_replaces_nothing(poll: Poll[str], clock: FakeClock, deadline: Deadline) -> None:
    assert not poll.renew("", 0.0), "there is nothing yet"
    assert not poll.loaded
    poll.refresh(deadline)
    clock.advance(10)
    poll.learn("", "older", 11.0)
    assert poll.renew("", 12.0)
    assert (poll.value, poll.age_s) == ("first", 10)
    poll.forget("")
    assert poll.value == "first"


def test_every_table_is_told_whoever_fetched_it(source: Source, clock: FakeClock, deadline: Deadline) -> None:
    told: list[str] = []
    poll = Poll("the table", source, nothing="nothing", on_value=told.append, clock=clock)
    poll.refresh(deadline)
    poll.learn("", "theirs", 0.0)
    poll.learn("", "older", 1.0)
    poll.renew("", 0.0)
    assert told == ["first", "theirs"]
