"""The holder that leaks: what Caddy's pull request 7826 mended, in Python. To be compared with, never to be used.

One tracer provider for the whole process, and a count of the configurations that use it. It is built by the first of
them and shut down after the last. A reload provisions the new configuration before it cleans the old one up, so the
count never falls to nothing in between, and the provider is used again, as it should be. All of that is there, and
nothing is made worse than it was. Where what comes from, in Caddy before that pull request
(`modules/caddyhttp/tracing/`):

1. `newOpenTelemetryWrapper` (`tracer.go`) makes an exporter and a batch processor, in order to have them at hand if the
   provider has to be built, and hands them to `getTracerProvider`. A batch processor begins with a thread (a goroutine
   there): it is no argument, it is something that lives.
2. `getTracerProvider` (`tracerprovider.go`) counts, and uses what it was handed if there is no provider yet. If there
   is one, it drops it. Nobody has told the thread.
3. Nobody can tell it later: what has a method to end it is collected as garbage, what runs is not.
4. A configuration that is refused after that step has made a processor all the same.
5. What was changed is dropped with the rest: the provider in use is that of the first configuration.

The parts are OpenTelemetry's own: `TracerProvider`, `BatchSpanProcessor`, and the exporter for OTLP over HTTP.
"""

from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from director_wsgi.demo.refused import RefusedError

INTERVAL_MS: Final = 50.0
EXPORT_S: Final = 3.0


class Provider:
    """The one of the process, and how many configurations use it."""

    def __init__(self) -> None:
        self.provider: TracerProvider | None = None
        self.users = 0

    def acquire(self, processor: SpanProcessor, resource: Resource) -> TracerProvider:
        """Use it; it is built of these if it is not there."""
        self.users += 1
        if self.provider is None:
            self.provider = TracerProvider(resource=resource, shutdown_on_exit=False)
            self.provider.add_span_processor(processor)
        return self.provider  # 2, 5

    def release(self) -> None:
        """Use it no more; whoever is last ends it."""
        if self.users > 0:
            self.users -= 1
        if self.users == 0 and self.provider is not None:
            self.provider.force_flush()
            self.provider.shutdown()
            self.provider = None


class Leaking:
    """A process that reloads by it; see `reloader.Holder`."""

    exporter = OTLPSpanExporter

    def __init__(self, endpoint: str, service: str) -> None:
        self._endpoint = endpoint
        self._holder = Provider()
        self.builds = 0
        self._current = self._provision(service)

    def reload(self, service: str, *, is_wrong: bool) -> None:
        """Provision, swap, clean up."""
        provider = self._provision(service)
        if is_wrong:
            self._holder.release()
            raise RefusedError
        self._current = provider
        self._holder.release()

    def _provision(self, service: str) -> TracerProvider:
        self.builds += 1
        exporter = OTLPSpanExporter(endpoint=self._endpoint, timeout=EXPORT_S)
        processor = BatchSpanProcessor(exporter, schedule_delay_millis=INTERVAL_MS)  # 1
        return self._holder.acquire(processor, Resource.create({SERVICE_NAME: service}))

    def use(self) -> None:
        """A request, told as one span."""
        self._current.get_tracer(__name__).start_span("GET").end()

    def is_settled(self) -> bool:
        """Whether nothing is under way that will end by itself."""
        return True

    def close(self) -> None:
        """Clean the last configuration up."""
        del self._current
        self._holder.release()
