"""Laws of the way to the collector: nobody waits, everything has a bound, and all is counted."""

import gzip
import logging
import threading

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, Failure
from director_wsgi.runtime.tracing import batch
from tests.servers.collector import spans_of
from tests.unit.runtime.tracing.doubles import LONG_S, Connect, Watched, made, record, threads

OK = Answer(200, {}, b"")
BUSY = Answer(503, {"Retry-After": "7"}, b"")


@pytest.fixture
def told() -> Watched:
    return Watched()


def test_a_full_batch_goes_at_once_and_the_rest_at_the_end(told: Watched) -> None:
    connect = Connect()
    one = made(connect, told, batch=10, interval_s=60.0)
    record(one, 25)
    assert one.close(Deadline.after(LONG_S))
    assert sorted(len(spans_of(body)) for *_, body in connect.clients[0].posts) == [5, 10, 10]
    assert told.found == {"exported": 25}
    assert not threads()


def test_what_does_not_fit_is_dropped_and_nobody_waits(told: Watched) -> None:
    connect = Connect()
    one = made(connect, told, batch=1, room=5, interval_s=60.0)
    connect.clients[0].hold = threading.Event()
    record(one, 1)
    assert connect.clients[0].arrived.wait(LONG_S)
    record(one, 20)
    assert len(one) == 5
    assert told.found == {"overflow": 15}
    connect.clients[0].hold.set()
    connect.clients[0].hold = None
    assert one.close(Deadline.after(LONG_S))
    assert told.found == {"overflow": 15, "exported": 6}


def test_a_collector_that_hangs_keeps_no_tracer_from_its_end(told: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "FLUSH_S", 0.01)
    connect = Connect()
    one = made(connect, told, batch=1, interval_s=60.0)
    connect.clients[0].hold = threading.Event()
    record(one, 5)
    assert one.close(Deadline.after(LONG_S))
    assert one.close(Deadline.after(LONG_S))
    assert told.found == {"closed": 5}
    record(one)
    assert told.found == {"closed": 6}
    assert not threads()


@pytest.mark.parametrize("trouble", [Failure.REFUSED, Failure.TIMED_OUT, BUSY, Answer(429, {}, b"")])
def test_what_has_not_arrived_is_sent_again(
    trouble: Answer | Failure, told: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(batch, "LONGEST_PAUSE_S", 0.0)
    connect = Connect(trouble, trouble, OK)
    one = made(connect, told, batch=4, interval_s=60.0)
    client = connect.clients[0]
    record(one, 4)
    told.wait_for(exported=4)
    assert one.close(Deadline.after(LONG_S))
    assert len({body for *_, body in client.posts}) == 1
    assert len(client.posts) == 3


def test_after_so_many_tries_it_is_given_up(told: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "FIRST_PAUSE_S", 0.0)
    connect = Connect(Failure.REFUSED)
    one = made(connect, told, batch=4, interval_s=60.0)
    record(one, 4)
    told.wait_for(failed=4)
    assert one.close(Deadline.after(LONG_S))
    assert told.found == {"failed": 4}
    assert len(connect.clients[0].posts) == batch.TRIES


@pytest.mark.parametrize("status", [400, 401, 404, 302, 500])
def test_what_is_refused_for_good_is_not_sent_again(status: int, told: Watched) -> None:
    connect = Connect(Answer(status, {}, b"no"))
    one = made(connect, told)
    record(one, 3)
    assert one.close(Deadline.after(LONG_S))
    assert len(connect.clients[0].posts) == 1
    assert told.found == {"rejected": 3}


def test_a_mistake_of_ours_costs_its_spans_and_nothing_else(
    told: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connect = Connect()
    one = made(connect, told, batch=1, interval_s=60.0)
    client = connect.clients[0]
    answer = client.send
    monkeypatch.setattr(client, "send", None)
    record(one)
    told.wait_for(rejected=1)
    monkeypatch.setattr(client, "send", answer)
    record(one)
    assert one.close(Deadline.after(LONG_S))
    assert told.found == {"rejected": 1, "exported": 1}
    assert "spans could not be sent" in caplog.text


def test_trouble_is_logged_when_it_begins_and_when_it_ends_and_names_no_secret(
    told: Watched, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(batch, "FIRST_PAUSE_S", 0.0)
    connect = Connect(Failure.REFUSED, Failure.REFUSED, OK)
    one = made(connect, told, headers=(("api-key", "s3cret"),), interval_s=0.001)
    record(one)
    told.wait_for(exported=1)
    assert one.close(Deadline.after(LONG_S))
    assert [record.message for record in caplog.records] == [
        "Spans cannot be handed to the collector at collector.test:4318: refused",
        "The collector at collector.test:4318 takes spans again",
    ]
    assert connect.clients[0].posts[0][1]["api-key"] == "s3cret"


def test_without_a_thread_spans_are_dropped_and_the_next_one_tries_again(
    told: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    connect = Connect()
    one = made(connect, told)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        record(one, 2)
    assert told.found == {"overflow": 2}
    record(one)
    assert one.close(Deadline.after(LONG_S))
    assert told.found == {"overflow": 2, "exported": 1}


def test_every_span_is_counted_once_whoever_hands_it_over_and_whenever_the_end_comes(told: Watched) -> None:
    connect = Connect()
    one = made(connect, told, batch=7, room=50, interval_s=0.001)
    handing = [threading.Thread(target=record, args=(one, 200)) for _ in range(8)]
    for thread in handing:
        thread.start()
    assert connect.clients[0].arrived.wait(LONG_S)
    assert one.close(Deadline.after(LONG_S))
    for thread in handing:
        thread.join(LONG_S)
    assert sum(told.found.values()) == 8 * 200
    assert told.found["exported"] == sum(len(spans_of(body)) for *_, body in connect.clients[0].posts)


def test_spans_are_packed_where_that_is_wanted(told: Watched) -> None:
    connect = Connect()
    one = made(connect, told, compression="gzip")
    record(one)
    assert one.close(Deadline.after(LONG_S))
    ((_url, headers, body),) = connect.clients[0].posts
    assert headers["Content-Encoding"] == "gzip"
    assert len(spans_of(gzip.decompress(body))) == 1
