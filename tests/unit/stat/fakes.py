"""Servers that answer when told to, without sockets."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from director_wsgi.federation.models import ServerAd, ServerKind
from director_wsgi.limits.breaker import Breaker, Pass
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, Cancellation, Failure, OutboundError
from director_wsgi.outbound.exchange import Exchange
from director_wsgi.stat.server import Bulkhead

LONG_S = 30.0
"""A test that waits so long has failed."""


def server_ad(name: str, **about: object) -> ServerAd:
    url = f"https://{name}.test:8443"
    return ServerAd(kind=ServerKind.ORIGIN, name=name, data_url=url, base_url=url, **about)


def present(length: int = 7) -> Answer:
    return Answer(200, {"Content-Length": str(length)}, b"")


ABSENT = Answer(404, {}, b"")


@dataclass(eq=False)
class Call:
    """One HEAD that has arrived and waits for its answer."""

    url: str
    headers: Mapping[str, str]
    deadline: Deadline
    exchange: Exchange
    woken: threading.Event
    thread: str = field(default_factory=lambda: threading.current_thread().name)
    told: Answer | OutboundError | None = None

    @property
    def host(self) -> str:
        return self.url.removeprefix("https://").split(".")[0]

    def answer(self, told: Answer | OutboundError) -> None:
        self.told = told
        self.woken.set()

    @property
    def path(self) -> str:
        return "/" + self.url.split("/", 3)[3]

    @property
    def is_aborted(self) -> bool:
        try:
            self.exchange.raise_if_aborted()
        except OutboundError:
            return True
        return False


class Servers:
    """All servers of a test. A host answers by itself if `answers` names it; else its HEADs wait for `Call.answer`."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | OutboundError] = {}
        self.calls: list[Call] = []
        self.clients: list[Client] = []
        self._changed = threading.Condition()

    def client(self, connections: int) -> "Client":
        client = Client(self, connections)
        self.clients.append(client)
        return client

    def arrive(self, call: Call) -> None:
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()

    def wait_for(self, count: int) -> list[Call]:
        """The calls so far, once there are `count`."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.calls) >= count, LONG_S)
            return list(self.calls)

    def of(self, host: str) -> list[Call]:
        return [call for call in self.calls if call.host == host]


class Client:
    """Behaves as `outbound.client.HttpClient` where the engine can see it."""

    def __init__(self, servers: Servers, connections: int) -> None:
        self.connections = connections
        self.trimmed = 0
        self.is_closed = False
        self._servers = servers

    def send(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        cancellation: Cancellation | None = None,
    ) -> Answer:
        assert method == "HEAD"
        exchange = Exchange("fake", deadline, 0)
        cancellation.cover(exchange)
        call = Call(url, headers or {}, deadline, exchange, exchange.waiter())
        call.told = self._servers.answers.get(call.host)
        self._servers.arrive(call)
        try:
            if call.told is None:
                assert call.woken.wait(LONG_S)
            exchange.raise_if_aborted()
            if isinstance(call.told, OutboundError):
                raise call.told
            assert call.told is not None
            return call.told
        finally:
            cancellation.release(exchange)

    def keep(self, connections: int) -> None:
        self.connections = connections

    def trim(self) -> None:
        self.trimmed += 1

    def close(self) -> None:
        self.is_closed = True


class Someone:
    """A client that goes when told to; stands for a `runtime.clients.Watchable`."""

    def __init__(self) -> None:
        self.is_watched = threading.Event()
        self.was_left = False
        self._tell: Callable[[], object] | None = None

    def watching(self, tell: Callable[[], object]) -> "Someone":
        self._tell = tell
        return self

    def __enter__(self) -> None:
        self.is_watched.set()

    def __exit__(self, *_: object) -> None:
        self.was_left = True

    def go(self) -> None:
        assert self.is_watched.wait(LONG_S)
        self._tell()


class CountedBreaker(Breaker):
    """Counts how often each of its passes is given back."""

    def __init__(self, *about: object) -> None:
        super().__init__(*about)
        self.settled: dict[Pass, list[str]] = {}

    def admit(self) -> Pass | None:
        pass_ = super().admit()
        if pass_ is not None:
            self.settled[pass_] = []
        return pass_

    def succeeded(self, pass_: Pass, duration_s: float) -> None:
        self.settled[pass_].append("succeeded")
        super().succeeded(pass_, duration_s)

    def failed(self, pass_: Pass, reason: object, duration_s: float) -> None:
        self.settled[pass_].append("failed")
        super().failed(pass_, reason, duration_s)

    def undecided(self, pass_: Pass) -> None:
        self.settled[pass_].append("undecided")
        super().undecided(pass_)


class Books:
    """What was given out, of every server that was ever met: whether all of it came back, and once."""

    def __init__(self) -> None:
        self.breakers: list[CountedBreaker] = []
        self.bulkheads: list[Bulkhead] = []

    def breaker(self, *about: object) -> CountedBreaker:
        self.breakers.append(CountedBreaker(*about))
        return self.breakers[-1]

    def bulkhead_class(self) -> type[Bulkhead]:
        bulkheads = self.bulkheads

        class Recorded(Bulkhead):
            def __init__(self, *args: object, **about: object) -> None:
                super().__init__(*args, **about)
                bulkheads.append(self)

        return Recorded

    def of(self, index: int) -> list[list[str]]:
        """What became of each pass of this server, in the order in which they were given."""
        return list(self.breakers[index].settled.values())

    def balance(self) -> bool:
        passes = [told for breaker in self.breakers for told in list(breaker.settled.values())]
        return all(len(told) == 1 for told in passes) and not any(
            bulkhead.slots.in_use or bulkhead.slots.waiting or bulkhead.in_flight for bulkhead in self.bulkheads
        )


def timed_out() -> OutboundError:
    return OutboundError(Failure.TIMED_OUT)


def eventually(is_so: Callable[[], bool]) -> bool:
    """Whether it comes true; for the ends of threads, which nothing announces."""
    pause = threading.Event()
    return any(is_so() or pause.wait(0.005) for _ in range(int(LONG_S / 0.005)))
