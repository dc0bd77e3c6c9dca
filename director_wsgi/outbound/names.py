"""Name resolution that cannot hold its caller.

`getaddrinfo` has no timeout and cannot be cancelled: with three dead name servers and two search domains it blocks for
56 s. So it runs in a few threads of its own, callers wait for as long as their deadline allows, and what is known is
kept:

- equal names under way are one look-up;
- an answer is fresh for 30 s; for 5 minutes more it is still given at once while one look-up renews it, so a dead name
  server does not make known names wait, or a few dead names starve all others of threads;
- a failure is remembered for a second, or for as long as it took to fail, up to 5 s.
"""

import contextlib
import ipaddress
import queue
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.limits.ttl import TTLTable
from director_wsgi.outbound.failures import Failure, OutboundError


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect to.

    Attributes:
        family: `AF_INET` or `AF_INET6`.
        ip: The address, as text.
        port: TCP port.
        scope_id: Interface of a link-local IPv6 address, else 0.
    """

    family: socket.AddressFamily
    ip: str
    port: int
    scope_id: int = 0

    @property
    def sockaddr(self) -> tuple[str, int] | tuple[str, int, int, int]:
        """The form `socket.connect` takes."""
        if self.family == socket.AF_INET6:
            return (self.ip, self.port, 0, self.scope_id)
        return (self.ip, self.port)


Found = tuple[tuple[socket.AddressFamily, str, int], ...]
"""Family, address and scope of each; a name's addresses do not depend on the port."""

LookUp = Callable[[str], Found]
"""Blocks for as long as it likes; raises OSError (of which `socket.gaierror` is one) or UnicodeError."""


def system_look_up(host: str) -> Found:
    """Ask the system's resolver, in the order in which it says the addresses should be tried."""
    rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(
        (family, str(sockaddr[0]), int(sockaddr[3]) if len(sockaddr) == 4 else 0) for family, _, _, _, sockaddr in rows
    )


def literal(host: str) -> Found | None:
    """The address if `host` is one, without brackets; None if it is a name."""
    # Only digits and dots, or a colon: sparing each name the cost of an exception.
    if ":" not in host and not host.replace(".", "").isdigit():
        return None
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    return ((socket.AF_INET if ip.version == 4 else socket.AF_INET6, str(ip), 0),)


@dataclass(frozen=True, slots=True)
class _Known:
    found: Found
    fresh_until_at: float


class _Flight:
    """One look-up under way and the events of those who wait for it; guarded by the resolver's lock."""

    __slots__ = ("found", "is_done", "problem", "waiters")

    def __init__(self) -> None:
        self.waiters: set[threading.Event] = set()
        self.is_done = False
        self.found: Found = ()
        self.problem: OutboundError | None = None


class NameResolver:
    """Resolves names in threads of its own, within the deadline of whoever asks.

    Safe to share between threads; one is enough for a process.

    Args:
        threads: Most look-ups at once; threads are started as they are needed, and are daemons.
        queued: Most look-ups waiting for a thread; one more fails at once.
        capacity: Most names remembered.
        fresh_s: How long an answer is given without asking again.
        stale_s: How much longer it is given while it is being renewed.
        failed_s: How long a failure is remembered at least.
        failed_at_most_s: How long a failure that took long is remembered.
        look_up: What is called on the threads.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        threads: int = 8,
        queued: int = 256,
        capacity: int = 16_384,
        fresh_s: float = 30.0,
        stale_s: float = 300.0,
        failed_s: float = 1.0,
        failed_at_most_s: float = 5.0,
        look_up: LookUp = system_look_up,
        clock: Clock = monotonic,
    ) -> None:
        self._fresh_s = fresh_s
        self._stale_s = stale_s
        self._failed_s = failed_s
        self._failed_at_most_s = failed_at_most_s
        self._look_up = look_up
        self._clock = clock
        self._known: TTLTable[str, _Known] = TTLTable(capacity, clock)
        self._failed: TTLTable[str, OutboundError] = TTLTable(capacity, clock)
        self._lock = threading.Lock()
        self._flights: dict[str, _Flight] = {}
        self._queue: queue.Queue[str | None] = queue.Queue(max(queued, threads))  # room to tell each thread to end
        self._max_threads = threads
        self._threads: list[threading.Thread] = []
        self._closed = False

    def resolve(
        self, host: str, port: int, deadline: Deadline, *, waiter: threading.Event | None = None
    ) -> tuple[Address, ...]:
        """Find the addresses of `host`; blocks until they are known or `deadline`, whichever comes first.

        Args:
            host: A name or an address without brackets. An address costs no thread and no wait.
            port: Put into each address.
            deadline: End of the wait. The look-up itself goes on, for the next who asks.
            waiter: What to wait on. Setting it from elsewhere ends the wait.

        Returns:
            At least one address, in the order in which to try them.

        Raises:
            OutboundError: NAME if it does not resolve, or not in time; CANCELLED if `waiter` was set from elsewhere;
                CLOSED after `close`.
        """
        found = literal(host) or self._remembered(host)
        if not found:
            found = self._wait_for(host, deadline, waiter or threading.Event())
        return tuple(Address(family, ip, port, scope_id) for family, ip, scope_id in found)

    def close(self, timeout_s: float = 1.0) -> None:
        """Fail all who wait and end the threads; one that hangs in the system's resolver ends when that returns.

        Args:
            timeout_s: Longest wait for the threads, in total.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            threads = tuple(self._threads)
            for flight in self._flights.values():
                for waiter in flight.waiters:
                    waiter.set()
            self._drain_queue()
        deadline = Deadline.after(timeout_s)
        for _ in threads:
            self._queue.put_nowait(None)
        for thread in threads:
            thread.join(deadline.remaining_s())

    # -- the asking side

    def _remembered(self, host: str) -> Found | None:
        """What is known without waiting; starts the renewal of what has grown old."""
        known = self._known.get(host)
        if known is not None:
            if self._clock() >= known.fresh_until_at and self._failed.get(host) is None:
                with self._lock, contextlib.suppress(OutboundError):
                    self._join_flight(host)
            return known.found
        failed = self._failed.get(host)
        if failed is not None:
            raise OutboundError(failed.failure, str(failed))
        return None

    def _wait_for(self, host: str, deadline: Deadline, waiter: threading.Event) -> Found:
        with self._lock:
            flight = self._join_flight(host)
            flight.waiters.add(waiter)
        woken = waiter.wait(deadline.remaining_s())
        with self._lock:
            flight.waiters.discard(waiter)
            is_done, closed = flight.is_done, self._closed
        if not is_done:
            if closed:
                raise OutboundError(Failure.CLOSED, f"{host}: the resolver is closed")
            if woken:
                raise OutboundError(Failure.CANCELLED, f"{host}: {Failure.CANCELLED.value}")
            raise OutboundError(Failure.NAME, f"{host}: name not resolved in time")
        if flight.problem is not None:
            raise OutboundError(flight.problem.failure, str(flight.problem))
        return flight.found

    def _join_flight(self, host: str) -> _Flight:
        """The look-up of `host` under way, or a new one; the lock is held.

        Raises:
            OutboundError: NAME if too many are waiting already; CLOSED; OTHER if no thread can be had.
        """
        if self._closed:
            raise OutboundError(Failure.CLOSED, f"{host}: the resolver is closed")
        flight = self._flights.get(host)
        if flight is not None:
            return flight
        if len(self._threads) < min(len(self._flights) + 1, self._max_threads):
            self._start_thread(host)
        try:
            self._queue.put_nowait(host)
        except queue.Full:
            raise OutboundError(Failure.NAME, f"{host}: too many names are being looked up") from None
        flight = self._flights[host] = _Flight()
        return flight

    def _start_thread(self, host: str) -> None:
        thread = threading.Thread(target=self._run, name=f"resolve-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left; those there are will do
            if not self._threads:
                raise OutboundError(Failure.OTHER, f"{host}: no thread to look the name up") from None
        else:
            self._threads.append(thread)

    def _drain_queue(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()

    # -- the looking side: the resolver's own threads

    def _run(self) -> None:
        while (host := self._queue.get()) is not None:
            self._serve(host)

    def _serve(self, host: str) -> None:
        started_at = self._clock()
        found: Found = ()
        problem: OutboundError | None = None
        is_temporary = False
        try:
            found = self._look_up(host)
            if not found:
                problem = OutboundError(Failure.NAME, f"{host}: the name has no address")
        except OSError as error:
            is_temporary = not isinstance(error, socket.gaierror) or error.errno == socket.EAI_AGAIN
            problem = OutboundError(Failure.NAME, f"{host}: {error.strerror or 'name not resolved'}")
        except Exception as error:  # noqa: BLE001, a thread that dies of one odd name would be missed by all others
            problem = OutboundError(Failure.NAME, f"{host}: not a usable name ({type(error).__name__})")
        self._remember(host, found, problem, is_temporary=is_temporary, took_s=self._clock() - started_at)
        with self._lock:
            flight = self._flights.pop(host)
            flight.found, flight.problem, flight.is_done = found, problem, True
            waiters = tuple(flight.waiters)
        for waiter in waiters:
            waiter.set()

    def _remember(
        self, host: str, found: Found, problem: OutboundError | None, *, is_temporary: bool, took_s: float
    ) -> None:
        if problem is None:
            known = _Known(found, self._clock() + self._fresh_s)
            self._known.put(host, known, self._fresh_s + self._stale_s)
            self._failed.pop(host)
            return
        self._failed.put(host, problem, min(max(self._failed_s, took_s), self._failed_at_most_s))
        if not is_temporary:
            self._known.pop(host)
