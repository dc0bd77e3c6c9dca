"""Admissions against a registry on a loopback socket that can be told to misbehave."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from director_wsgi.errors import AdForbidden, AdRejected, RegistryUnavailable
from director_wsgi.federation.models import ServerKind
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import HttpClient, NameResolver, Terms, TlsTrust
from director_wsgi.trust.inquiry import PERMITS, REFETCH_INTERVAL_S
from director_wsgi.trust.registry import NoAnswer, Registry
from director_wsgi.trust.silence import LONGEST_PAUSE_S
from tests.fakes import FakeClock
from tests.servers.federation import eventually
from tests.servers.registry import KEY, WAIT_S, House, LoopbackRegistry
from tests.unit.trust.forge import Key, cache_body


@pytest.fixture
def registry() -> Iterator[LoopbackRegistry]:
    server = LoopbackRegistry()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="loopback-registry")
    thread.start()
    yield server
    server.gate.set()
    server.shutdown()
    thread.join(WAIT_S)
    server.server_close()


@pytest.fixture
def client() -> Iterator[HttpClient]:
    names = NameResolver()
    client = HttpClient(names=names, terms=lambda: Terms(trust=TlsTrust()), user_agent="pelican-director/1.0.0")
    yield client
    client.close()
    names.close()


@pytest.fixture
def house(client: HttpClient, registry: LoopbackRegistry) -> Iterator[House]:
    with House(client, registry.url) as house:
        yield house
        registry.gate.set()


def test_all_questions_of_an_advertisement_go_over_one_connection(house: House, registry: LoopbackRegistry) -> None:
    house.admit()
    assert house.count == 1
    assert registry.connections == 1


def test_a_hanging_registry_holds_two_admissions_and_the_others_are_told_at_once(
    house: House, registry: LoopbackRegistry
) -> None:
    registry.gate.clear()
    with ThreadPoolExecutor(PERMITS) as pool:
        held = [pool.submit(house.admit, number) for number in range(PERMITS)]
        for _ in held:
            assert registry.arrived.acquire(timeout=WAIT_S)
        for number in range(PERMITS, 30):
            with pytest.raises(RegistryUnavailable) as caught:  # while both are still held: nothing opens the gate
                house.admit(number)
            assert caught.value.retry_after_s == 1
        assert not any(future.done() for future in held)
        assert registry.most_inside == PERMITS == 2
        registry.gate.set()
        for future in held:
            future.result(WAIT_S)
    assert house.count == PERMITS
    house.admit(PERMITS)
    assert house.count == PERMITS + 1


def test_a_known_sender_passes_while_both_permits_are_held(house: House, registry: LoopbackRegistry) -> None:
    house.admit(0)
    while registry.arrived.acquire(blocking=False):
        pass
    registry.gate.clear()
    with ThreadPoolExecutor(PERMITS) as pool:
        held = [pool.submit(house.admit, number) for number in range(1, PERMITS + 1)]
        for _ in held:
            assert registry.arrived.acquire(timeout=WAIT_S)
        house.admit(0)
        registry.gate.set()
        for future in held:
            future.result(WAIT_S)


def test_an_admission_that_is_held_ends_at_its_deadline_and_gives_its_permit_back(
    client: HttpClient, registry: LoopbackRegistry
) -> None:
    registry.gate.clear()
    with House(client, registry.url, timeout_s=0.2) as house:
        for number in range(PERMITS + 1):
            assert not house.is_admitted(number)
            assert house.inquiries.permits_in_use == 0
        assert registry.arrived.acquire(timeout=WAIT_S), "the registry was not asked"
        registry.gate.set()
        assert eventually(lambda: house.is_admitted(1)), "it was not asked again"
        assert house.count == 1


def test_a_registry_that_is_away_refuses_nobody(client: HttpClient, registry: LoopbackRegistry) -> None:
    house = House(client, registry.url)
    house.admit()
    gone = House(client, "http://127.0.0.1:1")
    with pytest.raises(RegistryUnavailable):
        gone.admit()
    with pytest.raises(NoAnswer, match="refused"):
        Registry(client, "http://127.0.0.1:1").is_approved("/x", Deadline.after(WAIT_S))


def test_a_rotated_key_is_found_at_once_and_the_old_one_refused(client: HttpClient, registry: LoopbackRegistry) -> None:
    clock = FakeClock()
    with House(client, registry.url, clock=clock) as house:
        house.admit()
        new = Key("k2")
        registry.keys = [new]
        with pytest.raises(AdForbidden, match="failed to find a key"):
            house.admit(1, new)  # fetched a moment ago; the rate is bounded
        clock.advance(REFETCH_INTERVAL_S)
        house.admit(1, new)
        with pytest.raises(AdForbidden, match="failed to find a key"):
            house.admit(1)


def test_garbage_from_the_registry_is_a_refusal_and_never_a_crash(
    client: HttpClient, registry: LoopbackRegistry
) -> None:
    clock = FakeClock()
    with House(client, registry.url, clock=clock) as house:
        for garbage in (b"<html>", b"\xff" * 100, b"[" * 50_000, b"9" * 5000, b'{"approved":"yes"}'):
            registry.garbage = garbage
            with pytest.raises(AdForbidden):
                house.admit()
            clock.advance(LONGEST_PAUSE_S)
        registry.garbage = b" " * (1 << 20)
        with pytest.raises(RegistryUnavailable):  # larger than any answer may be: not read to its end
            house.admit()
        assert house.count == 0


@pytest.mark.parametrize(
    ("status", "expected"), [(500, RegistryUnavailable), (429, RegistryUnavailable), (400, AdForbidden)]
)
def test_statuses_of_the_registry(
    house: House, registry: LoopbackRegistry, status: int, expected: type[AdRejected]
) -> None:
    registry.status = status
    with pytest.raises(expected):
        house.admit()


def test_caches_are_admitted_from_the_first_table_on(house: House, registry: LoopbackRegistry) -> None:
    def admit() -> None:
        house.admission.admit(
            ServerKind.CACHE,
            cache_body("/demo"),
            authorization=KEY.token(),
            user_agent="",
            deadline=Deadline.after(WAIT_S),
        )

    with pytest.raises(RegistryUnavailable):
        admit()
    assert registry.connections == 0
    assert house.prefixes.refresh(Deadline.after(WAIT_S))
    admit()
    assert house.count == 1
