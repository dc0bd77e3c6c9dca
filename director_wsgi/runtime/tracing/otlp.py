"""Spans as OTLP writes them; the only module that needs `opentelemetry-proto`.

Source: opentelemetry-proto `trace/v1/trace.proto`, `collector/trace/v1/trace_service.proto`.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1 import trace_pb2

from director_wsgi import __version__
from director_wsgi.runtime.tracing.attributes import ALLOWED, ERROR, MAX_CHARACTERS, Attribute
from director_wsgi.runtime.tracing.span import SERVER, Span, Value

SCOPE: Final = "director_wsgi"
"""What made the spans."""

_SAMPLED: Final = 1
_LOCAL_PARENT: Final = 0x100  # it is known whether the parent is in another process, and it is not
_REMOTE_PARENT: Final = 0x300


class Encoder:
    """Writes requests for one resource.

    Args:
        resource: Names and values that say who sends.
    """

    def __init__(self, resource: Iterable[tuple[str, str]]) -> None:
        empty = ExportTraceServiceRequest()
        whole = empty.resource_spans.add()
        for name, value in resource:
            whole.resource.attributes.add(key=name).value.string_value = value
        scope = whole.scope_spans.add().scope
        scope.name, scope.version = SCOPE, __version__
        self._empty = empty

    def encode(self, spans: Iterable[Span]) -> bytes:
        """The body of a request."""
        request = ExportTraceServiceRequest()
        request.CopyFrom(self._empty)
        written = request.resource_spans[0].scope_spans[0].spans
        for span in spans:
            _write(span, written.add())
        body: bytes = request.SerializeToString()
        return body


def rejected(body: bytes) -> int:
    """How many spans the collector would not have, by its answer to a request that it took."""
    answer = ExportTraceServiceResponse()
    try:
        answer.ParseFromString(body)
    except DecodeError:  # it took them, in whatever words
        return 0
    return max(0, answer.partial_success.rejected_spans)


def _write(span: Span, message: trace_pb2.Span) -> None:
    recorder = span.recorder
    message.trace_id = recorder.trace_id.to_bytes(16, "big")
    message.span_id = span.span_id.to_bytes(8, "big")
    if span.parent_id:
        message.parent_span_id = span.parent_id.to_bytes(8, "big")
    message.flags = _SAMPLED | (_REMOTE_PARENT if span.parent_id and span.kind == SERVER else _LOCAL_PARENT)
    message.name = span.name[:MAX_CHARACTERS]
    message.kind = span.kind  # type: ignore[assignment]  # the numbers are OTLP's
    message.start_time_unix_nano = _nanoseconds(span.began_at + recorder.anchor_s)
    message.end_time_unix_nano = _nanoseconds(span.ended_at + recorder.anchor_s)
    _say(span.attributes, message.attributes)
    for name, value in span.own:
        message.attributes.add(key=name).value.string_value = value
    for at, name, attributes in span.events:
        event = message.events.add(time_unix_nano=_nanoseconds(at + recorder.anchor_s), name=name)
        _say(attributes, event.attributes)
    if span.error:
        message.status.code = trace_pb2.Status.STATUS_CODE_ERROR
        message.attributes.add(key=ERROR).value.string_value = span.error[:MAX_CHARACTERS]


def _say(attributes: Mapping[Attribute, Value], written: "object") -> None:
    for name, value in tuple(attributes.items()):
        if name not in ALLOWED:
            continue
        said = written.add(key=name).value  # type: ignore[attr-defined]  # a container that has no public name
        if isinstance(value, str):
            said.string_value = value[:MAX_CHARACTERS].encode("utf-8", "replace").decode()
        elif isinstance(value, bool):
            said.bool_value = value
        elif isinstance(value, int):
            said.int_value = value
        else:
            said.double_value = value


def _nanoseconds(unix_s: float) -> int:
    return int(unix_s * 1e9)
