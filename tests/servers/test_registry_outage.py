"""A registry that goes away, lies, is slow or shows a page of its own, on real sockets.

The laws: who is known is admitted without any wait, whatever the registry does; it is not hammered meanwhile; and what
it says counts again within seconds of its return. In these tests every permit to wait is taken where nobody may wait:
an advertisement that wanted to would be refused.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from director_wsgi.errors import AdForbidden, NotApproved, RegistryUnavailable
from director_wsgi.federation.models import ServerKind
from director_wsgi.limits.deadline import Deadline
from director_wsgi.trust.inquiry import APPROVAL_LIFETIME_S, KEYS_LIFETIME_S, PERMITS, Inquiries
from director_wsgi.trust.pool import THREADS
from director_wsgi.trust.questions import RETRY_S
from director_wsgi.trust.silence import LONGEST_PAUSE_S
from tests.fakes import FakeClock
from tests.servers.authority import Authority
from tests.servers.conftest import MakeClient, MakeServer
from tests.servers.federation import Census, Federation, Load, eventually
from tests.servers.registry import KEY, FaultyRegistry, House
from tests.unit.trust.forge import Key, origin_body

SERVERS = 20
PREFIXES = ("/demo", *(f"/origins/o{number}" for number in range(SERVERS + 1)))
NEW = SERVERS
"""An origin that is registered, but does not advertise itself until the test wants it to."""

HOUR_S = 3600
WAIT_S = 20.0


@pytest.fixture
def registry(fault_server: MakeServer) -> FaultyRegistry:
    return FaultyRegistry(fault_server(), *PREFIXES)


@pytest.fixture
def house(registry: FaultyRegistry, make_client: MakeClient, clock: FakeClock) -> Iterator[House]:
    """All origins but the new one are known."""
    with House(make_client(), registry.server.url, clock=clock) as house:
        for number in range(SERVERS):
            house.admit(number)
        yield house


def take_permits(inquiries: Inquiries) -> None:
    for _ in range(PERMITS):
        assert inquiries.permits.acquire(blocking=False)


def give_permits_back(inquiries: Inquiries) -> None:
    inquiries.permits.release(PERMITS)


def all_advertise(house: House, servers: int = SERVERS) -> None:
    """Known origins, as once a minute; nobody may wait, and afterwards no question is under way."""
    take_permits(house.inquiries)
    for number in range(servers):
        house.admit(number)
    give_permits_back(house.inquiries)
    assert eventually(lambda: is_idle(house.inquiries))


def is_idle(inquiries: Inquiries) -> bool:
    kinds = (inquiries.approvals, inquiries.key_sets, inquiries.names)
    return not any(len(questions._flights) for questions in kinds)


def missed(house: House) -> int:
    """Questions that went out and brought nothing."""
    return sum(
        times for (_, outcome), times in house.inquiries.counts.items() if outcome not in {"answered", "refused"}
    )


def advertise_until(house: House, clock: FakeClock, holds: Any, *, within_s: float) -> bool:
    """Let known origins advertise every second of the fake clock, until something holds."""
    for _ in range(int(within_s) + 1):
        all_advertise(house)
        if holds():
            return True
        clock.advance(1)
    return False


OUTAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "refuses": ("refuse", {}),
    "resets": ("reset", {}),
    "closes": ("close_without_answer", {}),
    "a page, 200": ("ok", {"body": b"<html>Maintenance"}),
    "a page, 502": ("status", {"code": 502, "body": b"<html>Bad gateway"}),
    "a page, 404": ("status", {"code": 404, "body": b"default backend - 404"}),
    "a redirect": ("status", {"code": 302, "headers": {"Location": "https://127.0.0.1:1/login"}}),
    "other JSON": ("ok", {"body": b'{"status":"success"}'}),
    "null": ("ok", {"body": b"null"}),
    "endless": ("ok", {"length": 1 << 20}),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_an_hour_without_the_registry_changes_nothing_for_those_who_are_known(
    house: House, registry: FaultyRegistry, clock: FakeClock, outage: str
) -> None:
    name, arguments = OUTAGES[outage]
    registry.misbehave(name, **arguments)
    for _minute in range(HOUR_S // 60):
        clock.advance(60)
        all_advertise(house)
    assert house.count == SERVERS
    assert house.inquiries.silent_s > HOUR_S - APPROVAL_LIFETIME_S - 61
    assert HOUR_S / 60 - 5 <= missed(house) <= HOUR_S / 60 + 5 * THREADS  # one try each minute, not one of each server
    with pytest.raises((RegistryUnavailable, AdForbidden)):
        house.admit(NEW)
    registry.tell()
    assert advertise_until(house, clock, lambda: house.inquiries.silent_s == 0, within_s=RETRY_S + LONGEST_PAUSE_S), (
        "its return was not noticed"
    )
    house.admit(NEW)
    assert house.count == SERVERS + 1


def test_after_an_outage_everything_is_asked_again_by_two_threads_and_once(
    house: House, registry: FaultyRegistry, clock: FakeClock
) -> None:
    registry.misbehave("refuse")
    for _ in range(3):
        clock.advance(KEYS_LIFETIME_S)
        all_advertise(house)
    registry.tell()
    clock.advance(RETRY_S)
    before = registry.server.count()
    all_advertise(house)  # one of them finds that it is back
    all_advertise(house)
    clock.advance(RETRY_S)
    all_advertise(house)
    prefixes = SERVERS + 1
    assert registry.server.count() - before == prefixes * (1 + 2) + SERVERS
    assert registry.server.peak <= THREADS


def test_a_hanging_registry_keeps_nobody_who_is_known_waiting(
    house: House, registry: FaultyRegistry, clock: FakeClock
) -> None:
    registry.misbehave("drip", interval_s=0.05)
    clock.advance(KEYS_LIFETIME_S)
    take_permits(house.inquiries)
    for _ in range(3):
        for number in range(SERVERS):
            house.admit(number)
    assert registry.server.wait_until(lambda: registry.server.in_hand == THREADS)
    for _ in range(20):
        for number in range(SERVERS):
            house.admit(number)
    assert registry.server.in_hand == registry.server.peak == THREADS
    assert house.inquiries.waiting <= 3 * len(PREFIXES)


def test_a_registry_that_drips_ends_with_the_question(registry: FaultyRegistry, make_client: MakeClient) -> None:
    registry.misbehave("drip", interval_s=0.02)
    with House(make_client(), registry.server.url, timeout_s=0.3) as house:
        with pytest.raises(RegistryUnavailable):
            house.admit(NEW)
        assert eventually(lambda: registry.server.in_hand == 0)
        registry.tell()
        assert eventually(lambda: house.is_admitted(NEW)), "it was not asked again"


def test_of_those_who_are_not_known_two_wait_and_the_others_come_again(house: House, registry: FaultyRegistry) -> None:
    registry.misbehave("hang_after_request")
    with ThreadPoolExecutor(PERMITS) as pool:
        held = [pool.submit(house.admit, NEW), pool.submit(house.admit, NEW + 1)]
        assert registry.server.wait_until(lambda: registry.server.in_hand == PERMITS)
        for number in range(NEW + 2, NEW + 50):
            with pytest.raises(RegistryUnavailable):
                house.admit(number)
        assert not any(future.done() for future in held)
        for number in range(SERVERS):
            house.admit(number)
        registry.server.drop_connections()
        for future in held:
            with pytest.raises(RegistryUnavailable):
                future.result(WAIT_S)
    assert house.inquiries.permits_in_use == 0


def test_a_key_that_was_rotated_is_used_at_once(house: House, registry: FaultyRegistry, clock: FakeClock) -> None:
    clock.advance(60)
    new = Key("k2")
    registry.keys = (new,)
    registry.tell()
    for number in range(SERVERS):
        house.admit(number, new)
    with pytest.raises(AdForbidden, match="failed to find a key"):
        house.admit(0)


def test_a_withdrawn_approval_acts_at_the_next_refresh_and_its_return_at_once(
    house: House, registry: FaultyRegistry, clock: FakeClock
) -> None:
    registry.approved = False
    registry.tell()
    clock.advance(APPROVAL_LIFETIME_S - 1)
    all_advertise(house, servers=1)
    clock.advance(1)
    all_advertise(house, servers=1)  # still known as approved, and asked about behind
    with pytest.raises(NotApproved):
        house.admit(0)
    registry.approved = True
    registry.tell()
    house.admit(0)


def test_a_server_that_was_unregistered_is_refused_after_the_next_refresh(
    house: House, registry: FaultyRegistry, clock: FakeClock
) -> None:
    registry.misbehave("status", code=400, body=b'{"status":"error","msg":"the prefix is not registered"}')
    clock.advance(APPROVAL_LIFETIME_S)
    all_advertise(house, servers=1)
    with pytest.raises(AdForbidden, match="not registered"):
        house.admit(0)


# -- a whole director


def test_redirects_go_on_while_the_registry_hangs_and_no_thread_outlives_the_director(
    test_ca: Authority, registry: FaultyRegistry
) -> None:
    before = Census()
    registry.misbehave("hang_after_request")
    with Federation(test_ca, registry_url=registry.server.url, registry_timeout_s=WAIT_S) as federation:
        assert {"director-registry-0", "director-registry-1"} <= Census().threads
        federation.origin("holder", "/a")
        with ThreadPoolExecutor(8) as pool:
            admissions = [pool.submit(advertise, federation, number) for number in range(8)]
            assert registry.server.wait_until(lambda: registry.server.in_hand >= PERMITS)
            with Load(federation, "/a") as load:
                assert eventually(lambda: len(load.told) >= 20)
            assert {(told.status, told.first) for told in load.told} == {(307, "holder")}
            federation.close()  # ends the questions, and with them those who wait
            for admission in admissions:
                with pytest.raises(RegistryUnavailable):
                    admission.result(WAIT_S)
    assert eventually(lambda: Census().threads <= before.threads), Census()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("director-registry")]


def advertise(federation: Federation, number: int) -> None:
    federation.director.admission.admit(
        ServerKind.ORIGIN,
        origin_body(expiry=..., now=..., **{"registry-prefix": f"/origins/o{number}"}),
        authorization=f"Bearer {KEY.token(iat=None, nbf=None, exp=None)}",
        user_agent="pelican-origin/7.20.0",
        deadline=Deadline.after(WAIT_S),
    )
