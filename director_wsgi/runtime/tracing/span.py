"""What is recorded of a request, and the object that records nothing.

A `Trace` is handed from stage to stage. It is one of three: `OFF`, where nothing is traced; a `Carried`, which is not
recorded here and only tells servers which trace they work for; a `Span`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Self, TypeAlias

from director_wsgi.limits.deadline import Clock
from director_wsgi.runtime.tracing import context
from director_wsgi.runtime.tracing.attributes import Attribute

Value: TypeAlias = str | int | float | bool

INTERNAL: Final = 1
SERVER: Final = 2
CLIENT: Final = 3
"""Kinds of spans, by OTLP's numbers."""

MAX_EVENTS: Final = 32
"""Most that one span tells of; the first ones."""

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Trace:
    """A trace of nothing; base of those that do record.

    Attributes:
        is_recorded: Whether it is worth finding out what would only be told to it.
    """

    __slots__ = ()

    is_recorded: bool = False

    def child(self, name: str, kind: int = INTERNAL) -> "Trace":  # noqa: ARG002, here and below: nothing is recorded
        """Begin a part of this, now; any thread may. Whoever begins it ends it, on whatever thread."""
        return self

    def instant(self) -> float:
        """Now, for `stage`."""
        return 0.0

    def stage(self, name: str, began_at: float, attributes: Mapping[Attribute, Value] = MappingProxyType({})) -> None:
        """Tell of a part that has just ended, and had no parts itself; on the thread of the owner.

        It is told only if another part was begun with `child`, before or after: where nobody had to be asked, one span
        says all.
        """

    def set(self, attribute: Attribute, value: Value) -> None:
        """Say something; the last that is said counts."""

    def event(self, name: str, attributes: Mapping[Attribute, Value]) -> None:
        """Something has happened, now."""

    def fail(self, error: str) -> None:
        """It has failed, for a reason of one word of ours."""

    def end(self) -> None:
        """It is over. Once."""

    def headers(self) -> Mapping[str, str]:
        """By which a server that is asked learns of it."""
        return _NO_HEADERS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.end()


OFF: Final = Trace()
"""Nothing is traced."""


class Carried(Trace):
    """A trace that is not recorded here, but goes on.

    Args:
        trace_id: Not 0.
        span_id: Of the parent; one by chance if there is none.
        state: `tracestate` for servers.
    """

    __slots__ = ("_args", "_headers")

    def __init__(self, trace_id: int, span_id: int, state: str = "") -> None:
        self._headers: Mapping[str, str] | None = None
        self._args = (trace_id, span_id, state)

    def headers(self) -> Mapping[str, str]:
        """The parent's, since there is no span between him and the server; and that it is not recorded."""
        headers = self._headers
        if headers is None:
            headers = self._headers = _headers(*self._args, is_sampled=False)
        return headers


class Recorder:
    """What all spans of a trace have in common.

    Args:
        trace_id: Not 0.
        state: `tracestate` for servers.
        clock: Monotonic seconds.
        anchor_s: What makes Unix seconds of the clock's.
        new_id: Makes ids of spans, not 0.
        keep: Told every span when it has ended; by any thread; must not wait.
    """

    __slots__ = ("anchor_s", "clock", "keep", "new_id", "state", "trace_id")

    def __init__(
        self,
        trace_id: int,
        state: str,
        *,
        clock: Clock,
        anchor_s: float,
        new_id: Callable[[], int],
        keep: "Callable[[Span], object]",
    ) -> None:
        self.trace_id = trace_id
        self.state = state
        self.clock = clock
        self.anchor_s = anchor_s
        self.new_id = new_id
        self.keep = keep


class Span(Trace):
    """A part of a request that is recorded. It belongs to one thread at a time, but for `child` and `headers`.

    Attributes:
        recorder: Of its trace.
        name: May be changed until it ends.
        kind: By OTLP's numbers.
        span_id: Its own.
        parent_id: 0 for a root without a parent.
        began_at: By the clock.
        ended_at: By the clock; 0 while it goes on.
        attributes: What was said.
        own: What the operator says of it.
        events: When, what, and more about it.
        error: One word; empty if it has not failed.
    """

    __slots__ = (
        "_has_children",
        "_stages",
        "attributes",
        "began_at",
        "ended_at",
        "error",
        "events",
        "kind",
        "name",
        "own",
        "parent_id",
        "recorder",
        "span_id",
    )

    is_recorded = True

    def __init__(self, recorder: Recorder, name: str, kind: int, parent_id: int) -> None:
        self.recorder = recorder
        self.name = name
        self.kind = kind
        self.span_id = recorder.new_id()
        self.parent_id = parent_id
        self.began_at = recorder.clock()
        self.ended_at = 0.0
        self.attributes: dict[Attribute, Value] = {}
        self.own: tuple[tuple[str, str], ...] = ()
        self.events: list[tuple[float, str, Mapping[Attribute, Value]]] = []
        self.error = ""
        self._has_children = False
        self._stages: list[Span] = []

    def child(self, name: str, kind: int = INTERNAL) -> "Span":
        """Begin a part of this, now."""
        self._has_children = True
        return Span(self.recorder, name, kind, self.span_id)

    def instant(self) -> float:
        """Now, by the clock."""
        return self.recorder.clock()

    def stage(self, name: str, began_at: float, attributes: Mapping[Attribute, Value] = MappingProxyType({})) -> None:
        """Remember it for the end."""
        stage = Span(self.recorder, name, INTERNAL, self.span_id)
        stage.ended_at, stage.began_at = stage.began_at, began_at
        stage.attributes.update(attributes)
        self._stages.append(stage)

    def set(self, attribute: Attribute, value: Value) -> None:
        """Say it."""
        self.attributes[attribute] = value

    def event(self, name: str, attributes: Mapping[Attribute, Value]) -> None:
        """Note it."""
        if len(self.events) < MAX_EVENTS:
            self.events.append((self.recorder.clock(), name, attributes))

    def fail(self, error: str) -> None:
        """Note it."""
        self.error = error

    def end(self) -> None:
        """Hand it over, with its stages if it has other parts; harmless if done before."""
        if self.ended_at:
            return
        self.ended_at = self.recorder.clock()
        keep = self.recorder.keep
        if self._has_children:
            for stage in self._stages:
                keep(stage)
        keep(self)

    def headers(self) -> Mapping[str, str]:
        """That the server works for this span."""
        return _headers(self.recorder.trace_id, self.span_id, self.recorder.state, is_sampled=True)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and not self.error:
            self.error = kind.__name__
        self.end()

    def __repr__(self) -> str:
        return f"<Span {self.name}{'' if self.ended_at else ', under way'}>"


def _headers(trace_id: int, span_id: int, state: str, *, is_sampled: bool) -> Mapping[str, str]:
    headers = {"traceparent": context.traceparent(trace_id, span_id, is_sampled=is_sampled)}
    if state:
        headers["tracestate"] = state
    return headers
