"""Servers that answer tests as they are told, and a clock that moves only when told to."""

import json
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from director_wsgi.federation.models import ServerAd
from director_wsgi.health.sharing import News
from director_wsgi.health.tests import DirectorTests, Result
from director_wsgi.health.tokens import Tokens
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, Cancellation, Failure
from director_wsgi.outbound.exchange import Exchange
from director_wsgi.trust.minting import NoSigningKey
from tests.fakes import FakeClock
from tests.make import cache, origin

LONG_S = 10.0
INTERVAL_S = 15.0
FEDERATION, WEB, HOSTNAME = "https://federation.example.org", "https://director.example.org", "director.example.org"
CONTENT = b"This object was created by the Pelican director-test functionality"

HANG = "hang"
Told = Answer | Failure | str
"""What a call comes to; HANG: nothing, until its deadline or until it is cut short."""


def answer(status: int = 200, body: bytes = b"") -> Answer:
    return Answer(status=status, headers={}, body=body)


@dataclass(frozen=True)
class Call:
    """One call that was made."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    at: float
    within_s: float

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def host(self) -> str:
        return str(urlsplit(self.url).hostname)

    @property
    def token(self) -> dict[str, Any] | None:
        """The claims, as `FakeMinter` writes them; None if there is no token."""
        text = self.headers.get("Authorization")
        return None if text is None else json.loads(text.removeprefix("Bearer "))

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def is_report(self) -> bool:
        return self.path.endswith("/directorTest")


class FakeMinter:
    """Tokens that can be read without a key."""

    def __init__(self) -> None:
        self.has_key = True

    def mint(self, **claims: Any) -> str:
        if not self.has_key:
            raise NoSigningKey
        return json.dumps(claims)


class FakeServers:
    """Stands for every server, and for the client that reaches them.

    By host, and where that is not enough by method and host, it is told what calls come to. What is not told goes well.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.told: dict[str, Told] = {}
        self.calls: list[Call] = []
        self.stored: dict[str, bytes] = {}
        self.is_closed = False
        self._changed = threading.Condition()
        self._hanging: dict[Exchange, threading.Event] = {}
        self._closing = Cancellation(Failure.CLOSED)

    def send(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int = 0,
        cancellation: Cancellation | None = None,
    ) -> Answer:
        assert max_bytes > 0
        assert cancellation is not None
        call = Call(method, url, dict(headers or {}), body or b"", self.clock(), deadline.remaining_s())
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()
        exchange = Exchange(call.host, deadline, max_bytes)
        for switch in (self._closing, cancellation):
            switch.cover(exchange)
        try:
            exchange.remaining_s()
            told = self.told.get(f"{method} {call.host}", self.told.get(call.host))
            if told == HANG:
                self._hang(exchange)
            if isinstance(told, Failure):
                raise exchange.error(told)
            return told if isinstance(told, Answer) else self._obey(call)
        finally:
            for switch in (self._closing, cancellation):
                switch.release(exchange)

    def _hang(self, exchange: Exchange) -> None:
        event = exchange.waiter()
        with self._changed:
            self._hanging[exchange] = event
        try:
            assert event.wait(LONG_S), "nobody ended a call that hangs"
        finally:
            with self._changed:
                del self._hanging[exchange]
        exchange.remaining_s()  # raises what it was ended by

    def _obey(self, call: Call) -> Answer:
        if call.method == "PUT":
            self.stored[call.url] = call.body
            return answer(201)
        if call.method == "DELETE":
            return answer(204 if self.stored.pop(call.url, None) is not None else 404)
        if call.method == "POST":
            return answer(200, b"{}")
        return answer(200, self.stored.get(call.url, CONTENT + b"\n"))

    def close(self) -> None:
        self.is_closed = True
        self._closing.cancel()

    # -- for tests

    @property
    def hanging(self) -> int:
        """Calls that hang and have not been ended."""
        with self._changed:
            return sum(not event.is_set() for event in self._hanging.values())

    def pass_time(self, seconds: float) -> None:
        """Move the clock, and end the calls whose deadline has passed."""
        self.clock.advance(seconds)
        with self._changed:
            for exchange, event in self._hanging.items():
                if exchange.deadline.has_passed():
                    event.set()

    def steps(self, host: str | None = None) -> list[tuple[str, str]]:
        """Method and URL of every call so far."""
        return [(call.method, call.url) for call in self.calls if host in (None, call.host)]

    def reports(self, server: ServerAd) -> list[Call]:
        return [call for call in self.calls if call.is_report and call.url.startswith(server.web_url)]

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.calls) >= count, LONG_S), self.calls


@dataclass
class World:
    """Director tests, driven by hand."""

    tests: DirectorTests
    servers: FakeServers
    minter: FakeMinter
    clock: FakeClock
    wall: FakeClock
    advertised: dict[str, ServerAd] = field(default_factory=dict)
    filtered: frozenset[str] = frozenset()
    results: list[tuple[ServerAd, Result]] = field(default_factory=list)

    def advertise(self, *servers: ServerAd) -> None:
        self.advertised = self.advertised | {server.data_url: server for server in servers}

    def retire(self, *servers: ServerAd) -> None:
        gone = {server.data_url for server in servers}
        self.advertised = {url: server for url, server in self.advertised.items() if url not in gone}

    def tick(self) -> None:
        """Begin what is due, and wait until nothing moves but what hangs."""
        self.tests.tick()
        self.settle()

    def settle(self) -> None:
        assert eventually(lambda: self.tests.statistics().running == self.servers.hanging == testing()), (
            self.tests.statistics()
        )

    def run_for(self, seconds: float, step_s: float = 0.25) -> None:
        """Let time pass, a tick at a time."""
        for _ in range(round(seconds / step_s)):
            self.servers.pass_time(step_s)
            self.wall.advance(step_s)
            self.settle()
            self.tick()

    def told(self, server: ServerAd) -> Any:
        """The counts of one server."""
        [told] = [told for told in self.tests.statistics().servers if told.server.data_url == server.data_url]
        return told


def make_world(
    *,
    threads: int = 8,
    interval_s: float = INTERVAL_S,
    wall_at: float = 1769257019.5,
    beside: World | None = None,
    **more: Any,
) -> World:
    """One worker; `beside` another it has the same servers and the same clocks."""
    clock, wall = (beside.clock, beside.wall) if beside else (FakeClock(), FakeClock(wall_at))
    servers, minter = (beside.servers, beside.minter) if beside else (FakeServers(clock), FakeMinter())
    worlds: list[World] = []
    tests = DirectorTests(
        servers=lambda: worlds[0].advertised,
        filtered_names=lambda: worlds[0].filtered,
        on_result=lambda server, result: worlds[0].results.append((server, result)),
        client=servers,
        tokens=Tokens(minter, federation_issuer=FEDERATION, web_url=WEB),
        hostname=HOSTNAME,
        interval_s=interval_s,
        threads=threads,
        generator=random.Random(1),
        clock=clock,
        wall=wall,
        **more,
    )
    worlds.append(World(tests, servers, minter, clock, wall))
    return worlds[0]


class Host:
    """Two workers; `turn` says whose turn it is to test. What one publishes the other hears, through bytes.

    Attributes:
        workers: Each a world of its own, beside the same servers.
        published: Everything that was, by data URL.
        deaf: Workers that do not hear.
    """

    def __init__(self, make: Callable[..., World], **options: Any) -> None:
        self.turn: int | None = 0
        self.published: list[tuple[str, News]] = []
        self.deaf: set[int] = set()
        self._lock = threading.Lock()
        first = make(is_ours=lambda: self.turn == 0, publish=self._publish_by(0), **options)
        second = make(is_ours=lambda: self.turn == 1, publish=self._publish_by(1), beside=first, **options)
        self.workers = (first, second)
        self.servers = first.servers

    def _publish_by(self, number: int) -> Callable[[str, News], None]:
        def publish(data_url: str, news: News) -> None:
            with self._lock:
                self.published.append((data_url, news))
            other = 1 - number
            if other not in self.deaf:
                self.workers[other].tests.heard(data_url, News.decode(news.encode()))

        return publish

    def advertise(self, *servers: ServerAd) -> None:
        for worker in self.workers:
            worker.advertise(*servers)

    def tick(self, *numbers: int) -> None:
        """Of these workers, or all."""
        for number in numbers or (0, 1):
            self.workers[number].tests.tick()
            self.settle()

    def settle(self) -> None:
        assert eventually(
            lambda: (
                sum(worker.tests.statistics().running for worker in self.workers) == self.servers.hanging == testing()
            )
        )

    def run_for(self, seconds: float, *numbers: int) -> None:
        """Let time pass, a tick at a time; only these workers tick, or all."""
        for _ in range(round(seconds / 0.25)):
            self.servers.pass_time(0.25)
            self.workers[0].wall.advance(0.25)
            self.settle()
            self.tick(*numbers)


def an_origin(name: str = "O", **more: Any) -> ServerAd:
    return origin(name, "/a", **({"web_url": f"https://{name.lower()}-web.example.org"} | more))


def a_cache(name: str = "C", **more: Any) -> ServerAd:
    return cache(name, "/a", **({"web_url": f"https://{name.lower()}-web.example.org"} | more))


def testing() -> int:
    """Threads that test a server, or have ended a test and have yet to log or to publish what came of it."""
    return sum(thread.name.startswith("director-test-") for thread in threading.enumerate())


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold on other threads."""
    deadline = Deadline.after(LONG_S)
    pause = threading.Event()
    while not holds():
        if deadline.has_passed():
            return False
        pause.wait(0.001)
    return True
