"""Tracers whose spans are kept, and collectors without a socket."""

import threading
from collections.abc import Mapping, Sequence

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, Failure, OutboundError, TlsTrust
from director_wsgi.runtime.tracing.batch import Batch
from director_wsgi.runtime.tracing.counts import SpanCounts
from director_wsgi.runtime.tracing.span import Recorder, Span
from director_wsgi.runtime.tracing.spec import TracingSpec
from director_wsgi.runtime.tracing.tracer import Tracer, build
from tests.fakes import FakeClock

ENDPOINT = "https://collector.test:4318/v1/traces"
LONG_S = 20.0
"""A test that waits so long has failed."""


class Watched(SpanCounts):
    """Counts that may be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def add(self, outcome: str, spans: int = 1) -> None:
        super().add(outcome, spans)
        with self._changed:
            self._changed.notify_all()

    @property
    def found(self) -> dict[str, int]:
        return {outcome: number for outcome, number in self.counts().items() if number}

    def wait_for(self, **found: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.found == found, LONG_S), self.found


class Kept(Batch):
    """Keeps spans and starts no thread."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def offer(self, span: Span) -> None:
        self.spans.append(span)

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]


def tracer(kept: Kept, clock: FakeClock, wall: FakeClock, **about: object) -> Tracer:
    return Tracer(TracingSpec(endpoint=ENDPOINT, **about), kept, clock=clock, wall=wall)  # type: ignore[arg-type]


def root(kept: Kept, clock: FakeClock, *, state: str = "") -> Span:
    ids = iter(range(1, 1_000))
    recorder = Recorder(0xABC, state, clock=clock, anchor_s=1_000.0, new_id=lambda: next(ids), keep=kept.offer)
    return Span(recorder, "GET /{path}", 2, 0)


class Client:
    """Answers as told, once each, the last one for ever; waits where told to."""

    def __init__(self, *answers: Answer | Failure) -> None:
        self.answers = list(answers) or [Answer(200, {}, b"")]
        self.posts: list[tuple[str, Mapping[str, str], bytes]] = []
        self.deadlines: list[Deadline] = []
        self.hold: threading.Event | None = None
        self.closed = threading.Event()
        self.arrived = threading.Event()

    def send(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int = 0,
    ) -> Answer:
        assert method == "POST"
        assert max_bytes > 0
        self.posts.append((url, dict(headers or {}), body or b""))
        self.deadlines.append(deadline)
        self.arrived.set()
        if self.hold is not None:
            self.hold.wait(LONG_S)
        if self.closed.is_set():
            raise OutboundError(Failure.CLOSED, "closed")
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Failure):
            raise OutboundError(answer, f"collector.test:4318: {answer.value}")
        return answer

    def close(self) -> None:
        self.closed.set()
        if self.hold is not None:
            self.hold.set()


class Connect:
    """Hands out clients, and remembers whom they were to trust."""

    def __init__(self, *answers: Answer | Failure) -> None:
        self.answers = answers
        self.clients: list[Client] = []
        self.trusts: list[TlsTrust | None] = []

    def __call__(self, trust: TlsTrust | None) -> Client:
        self.trusts.append(trust)
        self.clients.append(Client(*self.answers))
        return self.clients[-1]


def made(connect: Connect, told: SpanCounts | None = None, **about: object) -> Tracer:
    """A real tracer before a collector without a socket."""
    spec = TracingSpec(endpoint=ENDPOINT, **about)  # type: ignore[arg-type]
    return build(spec, connect, told=told or SpanCounts())


def record(one: Tracer, spans: int = 1) -> None:
    for _ in range(spans):
        one.begin("GET", trace_id=0).end()


def threads() -> Sequence[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "director-spans"]
