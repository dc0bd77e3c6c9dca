"""The laws of name resolution. The look-ups are doubles; only their threads are real."""

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.failures import Failure, OutboundError
from director_wsgi.outbound.names import Address, Found, NameResolver, literal, system_look_up
from tests.fakes import FakeClock

WAIT_S = 20.0
FIRST: Found = ((socket.AF_INET, "192.0.2.1", 0),)
SECOND: Found = ((socket.AF_INET6, "2001:db8::1", 0),)
PASSED = Deadline(0.0)


def soon() -> Deadline:
    return Deadline.after(WAIT_S)


class Directory:
    """A double of the system's resolver: answers, fails or blocks as told, and counts."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.answer: Found | Exception = FIRST
        self.takes_s = 0.0
        self.asked: Counter[str] = Counter()
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Semaphore(0)

    def __call__(self, host: str) -> Found:
        self.asked[host] += 1
        answer = self.answer
        self.arrived.release()
        self.gate.wait(WAIT_S)
        self.clock.advance(self.takes_s)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def directory(clock: FakeClock) -> Directory:
    return Directory(clock)


@pytest.fixture
def make(directory: Directory, clock: FakeClock) -> Iterator[Callable[..., NameResolver]]:
    made: list[NameResolver] = []

    def build(**options: Any) -> NameResolver:
        made.append(NameResolver(look_up=directory, clock=clock, **options))
        return made[-1]

    yield build
    directory.gate.set()
    for resolver in made:
        resolver.close(WAIT_S)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("resolve-")]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as executor:
        yield executor


def failure(resolver: NameResolver, host: str, deadline: Deadline | None = None) -> Failure:
    with pytest.raises(OutboundError) as failed:
        resolver.resolve(host, 80, deadline or soon())
    return failed.value.failure


def settle(resolver: NameResolver, host: str) -> None:
    """Wait until no look-up of `host` is under way: one that was would have been joined."""
    flights = resolver._flights
    while host in flights:
        threading.Event().wait(0.001)


def test_addresses_carry_the_port_and_keep_their_order(make: Callable[..., NameResolver], directory: Directory) -> None:
    directory.answer = SECOND + FIRST
    assert make().resolve("a.example", 8443, soon()) == (
        Address(socket.AF_INET6, "2001:db8::1", 8443),
        Address(socket.AF_INET, "192.0.2.1", 8443),
    )


@pytest.mark.parametrize(("host", "family"), [("192.0.2.7", socket.AF_INET), ("2001:db8::7", socket.AF_INET6)])
def test_an_address_needs_neither_look_up_nor_time(
    host: str, family: socket.AddressFamily, make: Callable[..., NameResolver], directory: Directory
) -> None:
    assert make().resolve(host, 80, PASSED) == (Address(family, host, 80),)
    assert not directory.asked


@pytest.mark.parametrize("host", ["a.example", "1.2.3", "1.2.3.4.5", "256.1.1.1", "a:b", "", "0x7f.1", "²"])
def test_what_is_no_address_is_no_literal(host: str) -> None:
    assert literal(host) is None


def test_a_sockaddr_has_the_form_of_its_family() -> None:
    assert Address(socket.AF_INET, "192.0.2.1", 80).sockaddr == ("192.0.2.1", 80)
    assert Address(socket.AF_INET6, "fe80::1", 80, 3).sockaddr == ("fe80::1", 80, 0, 3)


def test_the_system_knows_localhost() -> None:
    assert "127.0.0.1" in {ip for _, ip, _ in system_look_up("localhost")}


def test_equal_names_under_way_are_one_look_up(
    make: Callable[..., NameResolver], directory: Directory, pool: ThreadPoolExecutor
) -> None:
    resolver = make()
    directory.gate.clear()
    asks = [pool.submit(resolver.resolve, "a.example", port, soon()) for port in range(1, 11)]
    while len(resolver._flights.get("a.example", _NOBODY).waiters) < 10:
        threading.Event().wait(0.001)
    directory.gate.set()
    assert [ask.result(WAIT_S)[0].port for ask in asks] == list(range(1, 11))
    assert directory.asked == {"a.example": 1}


def test_an_answer_is_fresh_for_a_while(
    make: Callable[..., NameResolver], directory: Directory, clock: FakeClock
) -> None:
    resolver = make()
    resolver.resolve("a.example", 80, soon())
    clock.advance(29.0)
    resolver.resolve("a.example", 80, PASSED)
    settle(resolver, "a.example")
    assert directory.asked == {"a.example": 1}


def test_an_old_answer_is_given_at_once_while_it_is_renewed(
    make: Callable[..., NameResolver], directory: Directory, clock: FakeClock
) -> None:
    resolver = make()
    resolver.resolve("a.example", 80, soon())
    clock.advance(31.0)
    directory.answer = SECOND
    assert resolver.resolve("a.example", 80, PASSED)[0].ip == "192.0.2.1"
    settle(resolver, "a.example")
    assert resolver.resolve("a.example", 80, PASSED)[0].ip == "2001:db8::1"
    assert directory.asked == {"a.example": 2}


def test_known_names_do_not_wait_for_dead_name_servers(
    make: Callable[..., NameResolver], directory: Directory, clock: FakeClock
) -> None:
    resolver = make(threads=1)
    resolver.resolve("a.example", 80, soon())
    clock.advance(31.0)
    directory.gate.clear()
    for _ in range(5):
        assert resolver.resolve("a.example", 80, PASSED)[0].ip == "192.0.2.1"
    assert resolver._flights.keys() == {"a.example"}


def test_a_temporary_failure_leaves_the_old_answer_and_is_not_tried_at_each_ask(
    make: Callable[..., NameResolver], directory: Directory, clock: FakeClock
) -> None:
    resolver = make()
    resolver.resolve("a.example", 80, soon())
    clock.advance(31.0)
    directory.answer = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    for _ in range(5):
        assert resolver.resolve("a.example", 80, PASSED)[0].ip == "192.0.2.1"
        settle(resolver, "a.example")
    assert directory.asked == {"a.example": 2}


def test_a_name_that_is_no_more_is_forgotten(
    make: Callable[..., NameResolver], directory: Directory, clock: FakeClock
) -> None:
    resolver = make()
    resolver.resolve("a.example", 80, soon())
    clock.advance(31.0)
    directory.answer = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    resolver.resolve("a.example", 80, PASSED)
    settle(resolver, "a.example")
    assert failure(resolver, "a.example") is Failure.NAME


def test_an_answer_too_old_is_not_given(
    make: Callable[..., NameResolver], directory: Directory, clock: FakeClock
) -> None:
    resolver = make()
    resolver.resolve("a.example", 80, soon())
    clock.advance(331.0)
    directory.answer = SECOND
    assert resolver.resolve("a.example", 80, soon())[0].ip == "2001:db8::1"


@pytest.mark.parametrize(
    "problem",
    [
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        OSError(24, "Too many open files"),
        UnicodeError("label empty or too long"),
        KeyError("a bug of some library"),
        (),
    ],
    ids=repr,
)
def test_a_failure_is_remembered_for_a_second(
    problem: Found | Exception, make: Callable[..., NameResolver], directory: Directory, clock: FakeClock
) -> None:
    resolver = make()
    directory.answer = problem
    assert failure(resolver, "a.example") is Failure.NAME
    clock.advance(0.9)
    assert failure(resolver, "a.example", PASSED) is Failure.NAME
    assert directory.asked == {"a.example": 1}
    clock.advance(0.2)
    directory.answer = FIRST
    assert resolver.resolve("a.example", 80, soon())[0].ip == "192.0.2.1"


@pytest.mark.parametrize(("takes_s", "remembered_s"), [(0.1, 1.0), (3.0, 3.0), (56.0, 5.0)])
def test_a_failure_that_took_long_is_remembered_as_long_within_bounds(
    takes_s: float, remembered_s: float, make: Callable[..., NameResolver], directory: Directory, clock: FakeClock
) -> None:
    resolver = make()
    directory.answer, directory.takes_s = socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), takes_s
    failure(resolver, "a.example")
    clock.advance(remembered_s - 0.05)
    failure(resolver, "a.example")
    assert directory.asked == {"a.example": 1}
    clock.advance(0.1)
    failure(resolver, "a.example")
    assert directory.asked == {"a.example": 2}


def test_who_has_no_time_left_leaves_the_look_up_to_the_next(
    make: Callable[..., NameResolver], directory: Directory
) -> None:
    resolver = make()
    directory.gate.clear()
    assert failure(resolver, "a.example", PASSED) is Failure.NAME
    assert not resolver._flights["a.example"].waiters
    directory.gate.set()
    settle(resolver, "a.example")
    assert resolver.resolve("a.example", 80, PASSED)[0].ip == "192.0.2.1"
    assert directory.asked == {"a.example": 1}


def test_setting_the_waiter_ends_the_wait_and_harms_no_other(
    make: Callable[..., NameResolver], directory: Directory, pool: ThreadPoolExecutor
) -> None:
    resolver, waiter = make(), threading.Event()
    directory.gate.clear()
    given_up = pool.submit(resolver.resolve, "a.example", 80, soon(), waiter=waiter)
    patient = pool.submit(resolver.resolve, "a.example", 80, soon())
    assert directory.arrived.acquire(timeout=WAIT_S)
    waiter.set()
    assert failure_in(given_up) is Failure.CANCELLED
    directory.gate.set()
    assert patient.result(WAIT_S)[0].ip == "192.0.2.1"


def test_look_ups_at_once_and_waiting_are_bounded(make: Callable[..., NameResolver], directory: Directory) -> None:
    resolver = make(threads=2, queued=3)
    directory.gate.clear()
    for number in range(2):
        failure(resolver, f"running-{number}", PASSED)
        assert directory.arrived.acquire(timeout=WAIT_S)
    for number in range(3):
        failure(resolver, f"queued-{number}", PASSED)
    with pytest.raises(OutboundError, match="too many names"):
        resolver.resolve("one-more", 80, soon())
    assert len(resolver._threads) == 2
    assert sum(directory.asked.values()) == 2
    directory.gate.set()
    settle(resolver, "queued-2")
    assert resolver.resolve("one-more", 80, soon())[0].ip == "192.0.2.1"


def test_names_remembered_are_bounded(make: Callable[..., NameResolver]) -> None:
    resolver = make(capacity=10)
    for number in range(50):
        resolver.resolve(f"{number}.example", 80, soon())
    assert len(resolver._known) == 10


def test_one_thread_serves_one_asker(make: Callable[..., NameResolver]) -> None:
    resolver = make()
    for number in range(20):
        resolver.resolve(f"{number}.example", 80, soon())
        settle(resolver, f"{number}.example")
    assert len(resolver._threads) == 1


def test_close_fails_who_waits_and_who_comes(
    make: Callable[..., NameResolver], directory: Directory, pool: ThreadPoolExecutor
) -> None:
    resolver = make(threads=1)
    directory.gate.clear()
    running = pool.submit(resolver.resolve, "running", 80, soon())
    assert directory.arrived.acquire(timeout=WAIT_S)
    queued = pool.submit(resolver.resolve, "queued", 80, soon())
    while "queued" not in resolver._flights:
        threading.Event().wait(0.001)
    resolver.close(timeout_s=0.0)
    assert failure_in(running) is Failure.CLOSED
    assert failure_in(queued) is Failure.CLOSED
    assert failure(resolver, "later") is Failure.CLOSED
    directory.gate.set()
    resolver._threads[0].join(WAIT_S)
    assert directory.asked == {"running": 1}


def failure_in(future: Future[Any]) -> Failure:
    error = future.exception(WAIT_S)
    assert isinstance(error, OutboundError)
    return error.failure


class _Nobody:
    waiters: frozenset[threading.Event] = frozenset()


_NOBODY: Any = _Nobody()
