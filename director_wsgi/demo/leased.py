"""The holder of the director: its leases, its generations and its tracer, as in production (`runtime`).

What a reload does to them there is `runtime.generations` and `provisioning`; here the generation holds a tracer and
nothing else.
"""

import threading
from functools import partial
from typing import Final

from director_wsgi.demo.refused import RefusedError
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import HttpClient, NameResolver, TlsTrust
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.generations import Generations, Holdings
from director_wsgi.runtime.leases import Leases
from director_wsgi.runtime.outgoing import Outgoing
from director_wsgi.runtime.tracing import tracer
from director_wsgi.runtime.tracing.counts import SpanCounts
from director_wsgi.runtime.tracing.exporter import Exporter
from director_wsgi.runtime.tracing.spec import TracingSpec
from director_wsgi.runtime.tracing.tracer import Tracer

INTERVAL_S: Final = 0.05
EXPORT_S: Final = 3.0
RELOAD_S: Final = 5.0
END_S: Final = 5.0
_NOBODY: Final = "https://127.0.0.1:9"


class Leased:
    """A process that reloads by them; see `reloader.Holder`."""

    exporter = Exporter

    def __init__(self, endpoint: str, service: str) -> None:
        config = Config(registry_url=_NOBODY, web_url=_NOBODY)
        self._endpoint = endpoint
        self._names = NameResolver()
        self._outgoing = Outgoing(config, self._names)
        self._told = SpanCounts()
        self._leases = Leases()
        first = partial(self._provision, service, is_wrong=False)
        self._generations = Generations(self._leases, first, deadline=Deadline.after(RELOAD_S))

    @property
    def builds(self) -> int:
        """Tracers ever built."""
        return self._leases.statistics().builds

    def reload(self, service: str, *, is_wrong: bool) -> None:
        """Put another generation in force."""
        self._generations.replace(
            partial(self._provision, service, is_wrong=is_wrong),
            adopt=lambda _: None,
            deadline=Deadline.after(RELOAD_S),
        )

    def _provision(self, service: str, holdings: Holdings, *, is_wrong: bool) -> Tracer:
        spec = TracingSpec(
            endpoint=self._endpoint,
            timeout_s=EXPORT_S,
            interval_s=INTERVAL_S,
            resource=(("service.name", service),),
        )
        build = partial(tracer.build, spec, self._connect, told=self._told)
        made = holdings.acquire(("tracer", spec), build, tracer.close)
        if is_wrong:
            raise RefusedError
        return made

    def _connect(self, trust: TlsTrust | None) -> HttpClient:
        return self._outgoing.client(1, trust=trust)

    def use(self) -> None:
        """A request, told as one span."""
        generation = self._generations.enter()
        generation.value.begin("GET", trace_id=0).end()
        generation.leave()

    def is_settled(self) -> bool:
        """Whether nothing is under way that will end by itself."""
        return not self._leases.statistics().retiring and not any(
            thread.name == "director-reaper" for thread in threading.enumerate()
        )

    def close(self) -> None:
        """Let go of the last generation, and of everything."""
        deadline = Deadline.after(END_S)
        self._leases.close(deadline)
        del self._generations  # which keeps what it had, for requests that come all the same
        self._names.close()
