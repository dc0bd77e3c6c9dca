"""Two directors that differ in nothing but the front: what one answers at once, the other answers at its route."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pytest

from director_wsgi.app import Served, create_app
from director_wsgi.federation.models import ServerAd
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, Cancellation, Failure, OutboundError
from director_wsgi.runtime.at_once import AT_ONCE
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.tracing.span import Span
from director_wsgi.stat.evidence import PUBLIC, Evidence
from director_wsgi.stat.server import Bulkhead, Job, Tell
from director_wsgi.web.tokens import read_token
from tests.fakes import FakeClock
from tests.unit.conformance.conftest import WEB
from tests.unit.runtime.tracing.doubles import Kept, tracer

JOB = "550e8400-e29b-41d4-a716-446655440000"
COUNTED = ("pelican_director_", "director_wsgi_decisions", "director_wsgi_redirect_seconds", "director_wsgi_stat")


class Said(NamedTuple):
    """What a server is to send."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes


class Servers:
    """Every server; what one says of an object is written in the stars, and never changes."""

    def __init__(self) -> None:
        self.heads: list[tuple[str, str]] = []

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
        assert method == "HEAD"
        told = dict(headers or {})
        self.heads.append((url, told.get("Authorization", "")))
        match zlib.crc32(url.encode("utf-8", "replace")) % 6:
            case 0:
                return Answer(status=404, headers={}, body=b"")
            case 1:
                return Answer(status=403, headers={}, body=b"")
            case 2:
                raise OutboundError(Failure.REFUSED, "as the stars say")
            case 3:
                return Answer(status=200, headers={"content-length": "5", "age": "30"}, body=b"")
            case _:
                return Answer(status=200, headers={"content-length": "5"}, body=b"")

    def keep(self, most: int) -> None:
        pass

    def trim(self) -> None:
        pass

    def close(self) -> None:
        pass


class Spans(Kept):
    """Kept for ever."""

    def __len__(self) -> int:
        return 0


def ask_in_place(self: Bulkhead, job: Job, tell: Tell) -> Cancellation:
    """In place of `Bulkhead.start`: on the thread of the asker, so that the same always comes to pass."""
    flight = Cancellation()
    evidence = job(self._client, flight)
    self.slots.release()
    tell(evidence)
    return flight


def _environ(method: str, target: str, headers: Mapping[str, str]) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": method,
        "RAW_URI": target,
        "PATH_INFO": "/wrong",
        "QUERY_STRING": "",
        "SERVER_NAME": "director.example.org",
        "SERVER_PORT": "8444",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.10",
        "wsgi.url_scheme": "https",
        **headers,
    }


class House:
    """A director, and a door to it.

    Attributes:
        answered: For each request, whether the front answered it.
        begun: For each request, how often it was begun.
        asks_main_thread_first: Whether a request is first shown to whoever answers on the main thread, and if that is
            in vain comes again, anew.
    """

    def __init__(self, clock: FakeClock, wall: FakeClock, *, has_front: bool, age_s: float = 3600, **settings: Any):
        self.clock, self.wall = clock, wall
        self.servers = Servers()
        self.spans = Spans()
        self.config = Config(
            **{"registry_url": "https://registry.example.org", "web_url": WEB, "redirect_deadline_s": 5.0, **settings}
        )
        with pytest.MonkeyPatch.context() as patch:
            if self.config.tracing_enabled:
                patch.setattr("director_wsgi.provisioning._tracer", lambda *_: tracer(self.spans, clock, wall))
            self.app = create_app(
                self.config, clock=clock, wall=wall, started_at=clock.now - age_s, make_client=lambda _: self.servers
            )
        self.director = self.app.extensions["director"]
        self.director.engine._roster._generator = random.Random(7)
        self.director.places.clients._generator = random.Random(8)
        self.resolver._generator = random.Random(9)
        self.answered: list[bool] = []
        self.begun: list[int] = []
        self.asks_main_thread_first = False
        self._is_in_front = False
        self._watch()
        if not has_front:
            self.entrance._front = None

    @property
    def served(self) -> Served:
        return self.app.extensions["generations"].current.value

    @property
    def resolver(self) -> Any:
        return self.served.serving.resolver

    @property
    def entrance(self) -> Any:
        return self.served.application.wsgi_app

    def _watch(self) -> None:
        """See what the front does, and let it do nothing that may wait."""
        entrance, resolver, engine = self.entrance, self.resolver, self.director.engine
        front, ask, begin, ask_others = entrance._front, resolver._ask, resolver.begin, engine._ask_others
        self.front = front.__self__

        def in_front(*arguments: Any) -> Any:
            self._is_in_front = True
            try:
                answer = front(*arguments)
            finally:
                self._is_in_front = False
            self.answered[-1] = answer is not None
            return answer

        def not_in_front(what: Any) -> Any:
            def guarded(*arguments: Any, **more: Any) -> Any:
                if self._is_in_front:
                    pytest.fail("the front waits")  # no `Exception`: nobody takes it for less
                return what(*arguments, **more)

            return guarded

        def counted(*arguments: Any) -> Any:
            self.begun[-1] += 1
            return begin(*arguments)

        entrance._front = in_front
        resolver._ask = not_in_front(ask)
        resolver.begin = counted
        engine._ask_others = not_in_front(ask_others)

    def start(self, method: str, target: str, headers: Mapping[str, str], start_response: Any = None) -> Any:
        """The body of an answer, not read yet; headers by their WSGI names."""
        self.answered.append(False)
        self.begun.append(0)
        start_response = start_response or (lambda *_: None)
        if self.asks_main_thread_first:
            environ = _environ(method, target, headers)
            application = self.app.extensions[AT_ONCE](environ)
            if application is not None:
                return application(environ, start_response)
        return self.app.wsgi_app(_environ(method, target, headers), start_response)

    def call(self, method: str, target: str, headers: Mapping[str, str]) -> Said:
        """All that a server is to send."""
        started: list[Any] = []
        body = self.start(method, target, headers, lambda *told: started.append(told))
        sent = b"".join(body)
        if close := getattr(body, "close", None):
            close()
        assert len(started) == 1
        return Said(started[0][0], started[0][1], sent)

    def record(self, *ads: ServerAd) -> None:
        for ad in ads:
            self.director.directory.record(ad, 100_000)
        self.director.directory.show()

    def learn(self, ad: ServerAd, path: str, evidence: Evidence, authorization: str | None = None) -> None:
        known = self.director.engine._roster.meet(ad, Deadline.after(1, self.clock))
        token = read_token(authorization, (), self.wall)
        known.evidence.remember(path, token.authority if token else PUBLIC, evidence, is_public=token is None)

    def books(self) -> dict[str, object]:
        """All that is counted, and all that servers were asked."""
        director = self.director
        return {
            "metrics": sorted(
                line
                for line in director.metrics.text().decode().splitlines()
                if line.startswith(COUNTED) and "_created" not in line
            ),
            "stat": director.engine.statistics(),
            "servers": director.engine.servers(),
            "unplaced": director.places.clients.unplaced.counts(),
            "heads": self.servers.heads,
            "spans": told(self.spans.spans),
        }

    def close(self) -> None:
        self.director.close()


def told(spans: Iterable[Span]) -> list[tuple[object, ...]]:
    """What spans say, and of which they are parts; the ids left out."""
    numbers: dict[int, int] = {0: 0}
    rows = []
    for span in spans:
        for number in (span.span_id, span.parent_id):
            numbers.setdefault(number, len(numbers))
        rows.append(
            (
                span.name,
                span.kind,
                span.recorder.trace_id,
                numbers[span.span_id],
                numbers[span.parent_id],
                dict(span.attributes),
                span.own,
                span.error,
                [(name, dict(more)) for _, name, more in span.events],
                span.began_at,
                span.ended_at,
            )
        )
    return rows
