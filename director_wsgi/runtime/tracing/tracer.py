"""Tracers: they begin traces, and own the way of their spans to a collector.

A tracer is leased by its `TracingSpec` (`runtime.leases`), so that an equal one is used again and a changed setting
makes another.
"""

import os
import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from director_wsgi.errors import ConfigError
from director_wsgi.limits.deadline import Clock, Deadline, WallClock, monotonic
from director_wsgi.limits.deadline import wall as system_wall
from director_wsgi.outbound.client import TlsTrust
from director_wsgi.runtime.tracing.batch import Batch
from director_wsgi.runtime.tracing.client import Connect
from director_wsgi.runtime.tracing.context import Parent
from director_wsgi.runtime.tracing.counts import SpanCounts
from director_wsgi.runtime.tracing.kinds import TracedRoute
from director_wsgi.runtime.tracing.span import SERVER, Carried, Recorder, Span, Trace
from director_wsgi.runtime.tracing.spec import CA_ROW, TracingSpec

_RANDOM_BITS: Final = 56
_PARENTS: Final = "parentbased_"


class Sampler:
    """Which traces are recorded.

    By the 56 lowest bits of the trace's id. Those of a UUID are random, whereas two of the 64 that OpenTelemetry looks
    at are always the same, and a trace is called after the job's UUID where nobody else has begun it: with 64 bits a
    ratio up to a half would record nothing.

    Args:
        name: OpenTelemetry's: `always_on`, `always_off`, `traceidratio`, or `parentbased_` and one of these.
        ratio: 0 to 1, for `traceidratio`.
    """

    def __init__(self, name: str, ratio: float) -> None:
        self._asks_parent = name.startswith(_PARENTS)
        ratio = {"always_on": 1.0, "always_off": 0.0}.get(name.removeprefix(_PARENTS), ratio)
        self._bound = round(ratio * (1 << _RANDOM_BITS))

    def takes(self, trace_id: int, parent: Parent | None) -> bool:
        """Whether a trace is recorded."""
        if parent is not None and self._asks_parent:
            return parent.is_sampled
        return trace_id & ((1 << _RANDOM_BITS) - 1) < self._bound


class Tracer:
    """Begins traces. Any number of threads at once.

    Args:
        spec: What it is.
        batch: Takes the spans; this owns it.
        clock: Monotonic seconds.
        wall: Unix seconds.

    Attributes:
        routes: What the operator wants of single routes, by route.
    """

    def __init__(
        self, spec: TracingSpec, batch: Batch, *, clock: Clock = monotonic, wall: WallClock = system_wall
    ) -> None:
        self.spec = spec
        self.routes: Mapping[str, TracedRoute] = MappingProxyType({one.route: one for one in spec.routes})
        self._sampler = Sampler(spec.sampler, spec.ratio)
        self._batch = batch
        self._clock = clock
        self._wall = wall
        self._random = random.Random()  # ids are no secrets

    def begin(self, name: str, *, trace_id: int, parent: Parent | None = None) -> Trace:
        """Begin with a request.

        Args:
            name: Of the first span.
            trace_id: What the trace is called if there is no parent; 0: by chance.
            parent: Who has sent the request, if he says so.
        """
        trace_id = parent.trace_id if parent else trace_id or self._random.getrandbits(128) or 1
        if not self._sampler.takes(trace_id, parent):
            return Carried(trace_id, parent.span_id if parent else self._new_id(), parent.state if parent else "")
        recorder = Recorder(
            trace_id,
            parent.state if parent else "",
            clock=self._clock,
            anchor_s=self._wall() - self._clock(),
            new_id=self._new_id,
            keep=self._batch.offer,
        )
        return Span(recorder, name, SERVER, parent.span_id if parent else 0)

    def _new_id(self) -> int:
        return self._random.getrandbits(64) or 1

    def __len__(self) -> int:
        """Spans that wait to be sent."""
        return len(self._batch)

    def close(self, deadline: Deadline) -> bool:
        """Send what is there, as far as the collector lets us, and end; see `Batch.close`."""
        return self._batch.close(deadline)


def build(
    spec: TracingSpec,
    connect: Connect,
    *,
    told: SpanCounts,
    clock: Clock = monotonic,
    wall: WallClock = system_wall,
) -> Tracer:
    """Make a tracer. That opens no connection and starts no thread: the first span does.

    Raises:
        ConfigError: The file of authorities holds none.
    """
    from director_wsgi.runtime.tracing.exporter import Exporter  # noqa: PLC0415, only where the packages are there

    resource = (("service.instance.id", f"{dict(spec.resource).get('host.name', '')}:{os.getpid()}"), *spec.resource)
    client = connect(_trust(spec))
    try:
        exporter = Exporter(spec, tuple(dict(resource).items()), client)
        batch = Batch(
            exporter.send,
            exporter.close,
            size=spec.batch,
            room=spec.room,
            interval_s=spec.interval_s,
            timeout_s=spec.timeout_s,
            told=told,
            clock=clock,
        )
        return Tracer(spec, batch, clock=clock, wall=wall)
    except BaseException:
        client.close()
        raise


def close(tracer: Tracer, deadline: Deadline) -> bool:
    """`Tracer.close`, as `runtime.leases` wants it."""
    return tracer.close(deadline)


def _trust(spec: TracingSpec) -> TlsTrust | None:
    if spec.ca_file is None:
        return None
    trust = TlsTrust(ca_file=spec.ca_file, digest=spec.ca_digest)
    try:
        _ = trust.context  # now, while it can still be refused
    except OSError as error:
        raise ConfigError((f"{CA_ROW} = {str(spec.ca_file)!r}: it could not be loaded: {error.strerror}",)) from None
    return trust
