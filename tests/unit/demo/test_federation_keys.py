import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from director_wsgi.demo.federation_keys import REFRESH_S, RETRY_S, FederationKeys, NotFoundError
from director_wsgi.demo.tokens import SigningKey
from director_wsgi.limits.deadline import Deadline
from tests.fakes import FakeClock

DIRECTOR, ISSUER, SERVER = "https://director", "https://federation", "https://origin"
SCOPE = "storage.modify:/"


class Documents:
    """What is at which URL, and what was asked for."""

    def __init__(self, *keys: SigningKey) -> None:
        self.found: dict[str, Any] = {
            f"{DIRECTOR}/.well-known/pelican-configuration": {"discovery_endpoint": ISSUER},
            f"{ISSUER}/.well-known/openid-configuration": {"jwks_uri": f"{ISSUER}/keys"},
        }
        self.publish(*keys)
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def publish(self, *keys: SigningKey) -> None:
        self.found[f"{ISSUER}/keys"] = {"keys": [dict(key.jwk) for key in keys]}

    def get(self, url: str, deadline: Deadline) -> Any:
        assert deadline.remaining_s() > 0
        self.asked.append(url)
        assert self.gate.wait(10)
        try:
            return self.found[url]
        except KeyError:
            raise NotFoundError(url) from None


@pytest.fixture
def key() -> SigningKey:
    return SigningKey()


@pytest.fixture
def documents(key: SigningKey) -> Documents:
    return Documents(key)


@pytest.fixture
def federation(documents: Documents, clock: FakeClock, wall: FakeClock) -> FederationKeys:
    return FederationKeys(DIRECTOR, documents.get, clock=clock, now=wall)


def token(key: SigningKey, wall: FakeClock, **more: Any) -> str:
    said: dict[str, Any] = {
        "issuer": ISSUER,
        "subject": "d",
        "audience": [SERVER],
        "scope": f"storage.read:/ {SCOPE}",
        "lifetime_s": 60,
    }
    return key.sign(**(said | more), now=wall)


def permits(federation: FederationKeys, raw: str) -> bool:
    return federation.permits(raw, audience=SERVER, scope=SCOPE)


def test_discovery_leads_to_the_issuer_and_the_issuer_to_the_keys_once(
    federation: FederationKeys, documents: Documents, key: SigningKey, wall: FakeClock
) -> None:
    assert permits(federation, token(key, wall))
    assert permits(federation, token(key, wall))
    assert documents.asked == [
        f"{DIRECTOR}/.well-known/pelican-configuration",
        f"{ISSUER}/.well-known/openid-configuration",
        f"{ISSUER}/keys",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": DIRECTOR},
        {"audience": ["https://other"]},
        {"audience": []},
        {"scope": "storage.read:/"},
        {"scope": "storage.modify:/x"},
        {"lifetime_s": -3600},
    ],
)
def test_issuer_audience_scope_and_time_must_be_right(
    federation: FederationKeys, key: SigningKey, wall: FakeClock, wrong: dict[str, Any]
) -> None:
    assert not permits(federation, token(key, wall, **wrong))


def test_a_key_that_only_calls_itself_the_federations_is_none(
    federation: FederationKeys, key: SigningKey, wall: FakeClock
) -> None:
    forger = SigningKey()
    forger.key_id = key.key_id
    assert not permits(federation, token(forger, wall))


@pytest.mark.parametrize("raw", ["", "x", "a.b.c", "ä", "." * 8000])
def test_what_is_no_token_asks_nobody(federation: FederationKeys, documents: Documents, raw: str) -> None:
    assert not permits(federation, raw)
    assert documents.asked == []


def test_a_new_key_is_found_at_once_and_unknown_ones_cause_a_look_in_a_while_only(
    federation: FederationKeys, documents: Documents, key: SigningKey, clock: FakeClock, wall: FakeClock
) -> None:
    assert permits(federation, token(key, wall))
    new = SigningKey()
    documents.publish(new, key)
    clock.advance(RETRY_S)
    assert permits(federation, token(new, wall))
    looks = documents.asked.count(f"{ISSUER}/keys")
    for _ in range(10):
        assert not permits(federation, token(SigningKey(), wall))
    assert documents.asked.count(f"{ISSUER}/keys") == looks
    clock.advance(RETRY_S)
    assert not permits(federation, token(SigningKey(), wall))
    assert documents.asked.count(f"{ISSUER}/keys") == looks + 1


def test_a_key_that_was_withdrawn_counts_until_the_next_look(
    federation: FederationKeys, documents: Documents, key: SigningKey, clock: FakeClock, wall: FakeClock
) -> None:
    assert permits(federation, token(key, wall))
    documents.publish(SigningKey())
    clock.advance(REFRESH_S - 1)
    assert permits(federation, token(key, wall))
    clock.advance(1)
    assert not permits(federation, token(key, wall))


@pytest.mark.parametrize("value", [None, [], {}, {"discovery_endpoint": 1}, {"jwks_uri": None}, {"keys": [{}]}, "x"])
@pytest.mark.parametrize("which", range(3))
def test_documents_that_cannot_be_used_leave_what_was_known(
    federation: FederationKeys,
    documents: Documents,
    key: SigningKey,
    clock: FakeClock,
    wall: FakeClock,
    value: Any,
    which: int,
) -> None:
    url = list(documents.found)[which]
    good, documents.found[url] = documents.found[url], value
    assert not permits(federation, token(key, wall))
    documents.found[url] = good
    clock.advance(RETRY_S)
    assert permits(federation, token(key, wall))
    documents.found[url] = value
    clock.advance(REFRESH_S)
    assert permits(federation, token(key, wall))


def test_many_at_once_wait_for_one_look(
    federation: FederationKeys, documents: Documents, key: SigningKey, wall: FakeClock
) -> None:
    documents.gate.clear()
    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(permits, federation, token(key, wall)) for _ in range(5)]
        documents.gate.set()
        assert all(answer.result(10) for answer in answers)
    assert documents.asked.count(f"{ISSUER}/keys") == 1
