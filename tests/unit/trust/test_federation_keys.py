"""Laws of the federation's keys: old ones count while there are no new ones, and a failure is followed by a try soon."""

import logging

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, Failure, OutboundError
from director_wsgi.trust.federation_keys import REFRESH_S, RETRY_S, FederationKeys
from tests.fakes import FakeClock
from tests.unit.trust.forge import Key, jwks
from tests.unit.trust.registries import answer

URL = "https://federation.example.org/keys"


class FakeHost:
    """Answers as told, and remembers what it was asked."""

    def __init__(self, *answers: Answer | Failure) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str]] = []

    def send(self, method: str, url: str, *, max_bytes: int = 0, **_options: object) -> Answer:
        self.asked.append((method, url))
        assert 0 < max_bytes <= 1 << 20
        told = self.answers.pop(0)
        if isinstance(told, Failure):
            raise OutboundError(told, "as told")
        return told

    def close(self) -> None:
        self.answers.clear()


def refresh(keys: FederationKeys, clock: FakeClock) -> bool:
    return keys.refresh(Deadline.after(1.0, clock))


def kids(keys: FederationKeys) -> list[str]:
    return [key.kid for key in keys.key_set().keys]


BAD = [
    Failure.TIMED_OUT,
    answer(500),
    answer(302),
    answer(404, {"keys": []}),
    answer(body=b"<html>"),
    answer(200, {"keys": 5}),
    answer(200, {"keys": []}),
    answer(200, {"keys": [{"kty": "oct", "kid": "x", "k": "AAAA"}]}),
]


def test_they_are_fetched_and_replaced(clock: FakeClock) -> None:
    host = FakeHost(answer(body=jwks(Key("one"))), answer(body=jwks(Key("two"), Key("three"))))
    keys = FederationKeys(host, URL, clock=clock)
    assert (kids(keys), keys.loaded) == ([], False)
    assert refresh(keys, clock)
    assert (kids(keys), keys.loaded) == (["one"], True)
    assert keys.next_refresh_in_s() == REFRESH_S
    clock.advance(REFRESH_S)
    assert keys.age_s == REFRESH_S
    assert refresh(keys, clock)
    assert kids(keys) == ["two", "three"]
    assert host.asked == [("GET", URL)] * 2


@pytest.mark.parametrize("bad", BAD)
def test_old_ones_count_while_there_are_no_new_ones(
    clock: FakeClock, bad: Answer | Failure, caplog: pytest.LogCaptureFixture
) -> None:
    keys = FederationKeys(FakeHost(answer(body=jwks(Key("one"))), bad, bad), URL, clock=clock)
    refresh(keys, clock)
    for _ in range(2):
        clock.advance(30 * 86400)
        assert not refresh(keys, clock)
        assert kids(keys) == ["one"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize("bad", BAD)
def test_a_failure_is_followed_by_a_try_soon_and_then_less_soon(clock: FakeClock, bad: Answer | Failure) -> None:
    keys = FederationKeys(FakeHost(answer(body=jwks(Key())), *[bad] * 30), URL, clock=clock)
    refresh(keys, clock)
    pauses = []
    for _ in range(30):
        refresh(keys, clock)
        pauses.append(keys.next_refresh_in_s())
    assert pauses[0] == RETRY_S
    assert pauses == sorted(pauses)
    assert pauses[-1] == REFRESH_S


def test_while_there_are_none_they_are_tried_for_soon(clock: FakeClock) -> None:
    keys = FederationKeys(FakeHost(Failure.REFUSED, Failure.REFUSED), URL, clock=clock)
    assert keys.next_refresh_in_s() == RETRY_S
    refresh(keys, clock)
    refresh(keys, clock)
    assert keys.next_refresh_in_s() == RETRY_S
