"""What makes two tracers different."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from director_wsgi import __version__
from director_wsgi.errors import ConfigError
from director_wsgi.runtime import files
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.tracing.kinds import TracedRoute

SERVICE: Final = "pelican-director"
"""What the director calls itself if the operator gives it no other name."""

CA_ROW: Final = "Tracing.CACertificateFile"


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingSpec:
    """Everything that makes two tracers different, and nothing else: equal ones are served by one tracer.

    Attributes:
        endpoint: Where spans are posted to.
        headers: Sent with them; never shown.
        ca_file: Of authorities that the collector's certificate may be signed by; None: those of all calls.
        ca_digest: Of what it holds.
        compression: `none` or `gzip`.
        timeout_s: For one post.
        interval_s: How long spans wait for company.
        batch: How many are posted together.
        room: How many may wait.
        sampler: By OpenTelemetry's names.
        ratio: For those that end in `ratio`.
        resource: Who sends: names and values, the later of equal names counts.
        routes: What the spans of single routes are called, and say besides.
    """

    endpoint: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    ca_file: Path | None = None
    ca_digest: str = ""
    compression: str = "none"
    timeout_s: float = 3.0
    interval_s: float = 5.0
    batch: int = 512
    room: int = 2048
    sampler: str = "parentbased_traceidratio"
    ratio: float = 1.0
    resource: tuple[tuple[str, str], ...] = ()
    routes: tuple[TracedRoute, ...] = ()


def spec_of(config: Config) -> TracingSpec | None:
    """The tracer that a configuration wants; None if it wants none. Reads the authorities' file, if there is one.

    Raises:
        ConfigError: The file cannot be read any more.
    """
    if not config.tracing_enabled:
        return None
    return TracingSpec(
        endpoint=config.tracing_endpoint,
        headers=config.tracing_headers,
        ca_file=config.tracing_ca_file,
        ca_digest=_digest(config.tracing_ca_file),
        compression=config.tracing_compression,
        timeout_s=config.tracing_timeout_s,
        interval_s=config.tracing_interval_s,
        batch=config.tracing_batch,
        room=config.tracing_queue,
        sampler=config.tracing_sampler,
        ratio=config.tracing_ratio,
        resource=(
            ("service.name", SERVICE),
            ("service.version", __version__),
            ("host.name", config.hostname),
            *config.tracing_resource,
            *((("service.name", config.tracing_service_name),) if config.tracing_service_name else ()),
        ),
        routes=config.tracing_routes,
    )


def _digest(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        complaint = files.authorities_complaint(file) or f"it could not be read: {error.strerror or error}"
        raise ConfigError((f"{CA_ROW} = {str(file)!r}: {complaint}",)) from None
