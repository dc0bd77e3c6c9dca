"""OpenTelemetry's variables, as settings of our rows.

The order: default < `OTEL_*` < whatever sets a row of ours. A variable cannot change while the process lives; were it
to win, nothing in a file or at a remote source could change it either. The variables of traces win over those of all
signals. They count only where `Tracing.Enabled` is true, so that what is set for every container of a site breaks no
director that does not trace; and `OTEL_SDK_DISABLED=true` or `OTEL_TRACES_EXPORTER=none` wins over that.

Source: OpenTelemetry specification, "Environment Variable Specification" and "OTLP Exporter".
"""

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote

from director_wsgi.runtime.yaml_file import Setting

_SWITCHES: Final = {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "none"}


def _as_it_is(text: str) -> object:
    return text


def _milliseconds(text: str) -> object:
    return f"{text}ms"


def _pairs(text: str) -> object:
    """`a=b,c=d`, values percent-encoded."""
    return [unquote(one.strip()) for one in text.split(",") if one.strip()]


def _traces(text: str) -> object:
    """A base URL: traces are below it."""
    return text.rstrip("/") + "/v1/traces"


_VARIABLES: Final[tuple[tuple[str, str, Callable[[str], object]], ...]] = (
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "Tracing.Endpoint", _as_it_is),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "Tracing.Endpoint", _traces),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "Tracing.Protocol", _as_it_is),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "Tracing.Protocol", _as_it_is),
    ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "Tracing.Headers", _pairs),
    ("OTEL_EXPORTER_OTLP_HEADERS", "Tracing.Headers", _pairs),
    ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "Tracing.CACertificateFile", _as_it_is),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", "Tracing.CACertificateFile", _as_it_is),
    ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "Tracing.Compression", _as_it_is),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "Tracing.Compression", _as_it_is),
    ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "Tracing.ExportTimeout", _milliseconds),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "Tracing.ExportTimeout", _milliseconds),
    ("OTEL_BSP_SCHEDULE_DELAY", "Tracing.ExportInterval", _milliseconds),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "Tracing.QueueSize", _as_it_is),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "Tracing.BatchSize", _as_it_is),
    ("OTEL_TRACES_SAMPLER", "Tracing.Sampler", _as_it_is),
    ("OTEL_TRACES_SAMPLER_ARG", "Tracing.SamplerRatio", _as_it_is),
    ("OTEL_SERVICE_NAME", "Tracing.ServiceName", _as_it_is),
    ("OTEL_RESOURCE_ATTRIBUTES", "Tracing.ResourceAttributes", _pairs),
)

ROW_OF: Final = {variable: row for variable, row, _ in _VARIABLES}
"""Which row each of them sets."""


def settings(environ: Mapping[str, str]) -> Mapping[str, Setting]:
    """What is set by them, by lower-case name of the row."""
    found: dict[str, Setting] = {}
    for variable, row, read in _VARIABLES:
        text = environ.get(variable, "").strip()
        if text:
            found.setdefault(row.lower(), Setting(row, read(text), variable))
    return found


def switched_off(environ: Mapping[str, str]) -> str:
    """The variable by which all is switched off, as it is set; empty if none is."""
    return next(
        (f"{name}={off}" for name, off in _SWITCHES.items() if environ.get(name, "").strip().lower() == off), ""
    )
