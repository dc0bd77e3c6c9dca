"""What is published of a test, and what is made of it, whatever it is."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.federation.store.records import Record
from director_wsgi.health import sharing
from director_wsgi.health.sharing import Following, Heard, News
from director_wsgi.health.status import HealthStatus, ReportStatus, Result
from director_wsgi.outbound.client import Failure
from tests.fakes import FakeClock

NOW = 1_769_257_019.5
FILE = "/pelican/monitoring/directorTest/director-test-2026-01-24T12:16:59Z.txt"


def news(**more):
    result = Result(status=HealthStatus.OK, message="Director test cycle succeeded", at=NOW)
    return News(**({"began_at": NOW - 1, "result": result} | more))


def record(body, *, expires_at=NOW + 300):
    return Record(
        kind=sharing.KIND, key="https://o.example.org", body=body, expires_at=expires_at, granted_s=300.0, revision=7
    )


times = st.floats(0, 1e11)
any_news = st.builds(
    News,
    began_at=times,
    result=st.builds(
        Result,
        status=st.sampled_from(HealthStatus),
        message=st.text(),
        at=times,
        failure=st.none() | st.sampled_from(Failure),
    ),
    runs=st.dictionaries(
        st.tuples(st.booleans(), st.sampled_from(ReportStatus)), st.integers(0, sharing.MAX_RUNS), max_size=6
    ),
    is_suspect=st.booleans(),
    left_behind=st.none() | st.just(FILE),
    evictable=st.none() | st.just(FILE),
)


@given(any_news)
def test_what_was_written_is_what_is_read(told):
    assert News.decode(told.encode()) == told


def test_it_is_small():
    told = news(
        runs={(passed, report): 1_000_000 for passed in (True, False) for report in ReportStatus},
        left_behind=FILE,
        evictable=FILE,
    )
    assert len(told.encode()) < 1000


def changed(**members):
    return json.dumps(json.loads(news().encode()) | members).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"1",
        b"[" * 100_000,
        changed(began_at="1"),
        changed(began_at=True),
        changed(began_at=math.inf),
        changed(at=math.nan),
        changed(at=1e300),
        changed(status="Splendid"),
        changed(status=[]),
        changed(message=None),
        changed(failure="bored"),
        changed(failure={}),
        changed(runs=None),
        changed(runs=[[True, "Succeeded"]]),
        changed(runs=[[1, "Succeeded", 1]]),
        changed(runs=[[True, "Lost", 1]]),
        changed(runs=[[True, "Succeeded", -1]]),
        changed(runs=[[True, "Succeeded", True]]),
        changed(runs=[[True, "Succeeded", 1.5]]),
        changed(runs=[[True, "Succeeded", 1 << 60]]),
        changed(is_suspect=0),
        changed(left_behind="/data/precious"),
        changed(evictable="/pelican/monitoring/../../data/precious"),
        changed(evictable=1),
    ],
)
def test_what_nobody_wrote_is_not_read(body):
    with pytest.raises(ValueError, match=r".?"):
        News.decode(body)


@given(
    st.binary() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(repr).map(str.encode)
)
def test_whatever_a_body_is_nothing_but_a_value_error_comes_of_it(body):
    heard = []
    Following(lambda *told: heard.append(told), wall=FakeClock(NOW)).took(record(body))
    assert heard == []


def test_news_is_passed_on_until_it_has_ended():
    heard = []
    following = Following(lambda *told: heard.append(told), wall=FakeClock(NOW))
    following.took(record(news().encode(), expires_at=NOW))
    assert heard == []
    following.took(record(news().encode(), expires_at=NOW + 1))
    assert heard == [("https://o.example.org", news())]


def test_of_strangers_news_is_kept_for_a_while_and_not_of_any_number():
    heard = Heard()
    for number in range(sharing.MAX_HEARD + 10):
        heard.add(str(number), news(), 0.0)
    known = {str(number): number for number in range(sharing.MAX_HEARD + 10)}
    assert heard.take({}.get, sharing.STRANGER_S - 1) == []
    assert len(heard.take(dict(list(known.items())[5:]).get, sharing.STRANGER_S - 1)) == sharing.MAX_HEARD - 5
    assert heard.take({}.get, sharing.STRANGER_S) == []
    assert heard.take(known.get, sharing.STRANGER_S) == []


def test_of_one_server_the_last_news_counts():
    heard = Heard()
    heard.add("a", news(is_suspect=True), 0.0)
    heard.add("a", news(is_suspect=False), 0.0)
    assert heard.take({"a": "A"}.get, 0.0) == [("A", news(is_suspect=False))]
    assert heard.take({"a": "A"}.get, 0.0) == []
