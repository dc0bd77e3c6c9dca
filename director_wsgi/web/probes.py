"""`/livez` and `/readyz`, for supervisors and load balancers; at the clients' door, and at the operators' own.

At the clients' door they need a handler thread and a connection, so that they fail when clients have taken all.
`Director.AdminBind` is a second door, to which no client comes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from flask import Blueprint, Response, request
from prometheus_client.metrics_core import Metric

from director_wsgi.health.checks import Check, Verdict, verdict_of
from director_wsgi.health.readiness import Readiness
from director_wsgi.runtime.admin import Answer, Asked, Later, refused
from director_wsgi.runtime.metrics import CONTENT_TYPE, Collect, Metrics, gauge
from director_wsgi.runtime.pages import Across
from director_wsgi.web.guarded import Door, refusal
from director_wsgi.web.responses import to_json

_READY: Final = {Verdict.OK: "ready", Verdict.WARNING: "ready", Verdict.FAILED: "not ready"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """What can be asked at the operators' door. Any number of threads at once; nothing waits but what comes later.

    Attributes:
        readiness: What `/readyz` says.
        metrics: What `/metrics` shows.
        guard: Tells who may see the metrics now; None: everybody. It is the same at both doors.
    """

    readiness: Readiness
    metrics: Metrics
    guard: Callable[[], Door | None]

    def answer(self, asked: Asked) -> Answer | Later:
        """An answer to whatever is asked."""
        match asked.path:
            case "/livez":
                return self.live()
            case "/readyz":
                return self.ready(asked.query)
            case "/metrics":
                return self._metrics(asked.authorization)
            case _:
                return refused(404, "Here are /livez, /readyz and /metrics")

    def live(self) -> Answer:
        """That the process runs and answers; whoever can read this knows it."""
        return _told(200, {"status": "ok"})

    def ready(self, query: str) -> Answer:
        """Whether requests had better come here than to another director: 200 or 503.

        Args:
            query: With `verbose`, every check is told, not only those that something is wrong with.
        """
        checks = self.readiness.checks()
        verdict = verdict_of(checks)
        is_verbose = any(name == "verbose" for name, _ in parse_qsl(query, keep_blank_values=True))
        shown = {check.name: _shown(check) for check in checks if is_verbose or check.verdict is not Verdict.OK}
        body: dict[str, object] = {"status": _READY[verdict], **({"checks": shown} if shown else {})}
        return _told(503 if verdict is Verdict.FAILED else 200, body)

    def _metrics(self, authorization: str) -> Answer | Later:
        guard = self.guard()
        if guard is not None:
            scheme, _, token = authorization.partition(" ")
            why_not = refusal(guard, token.strip() if scheme.lower() == "bearer" else "")
            if why_not is not None:
                return refused(403, why_not)
        return lambda: Answer(status=200, body=self.metrics.text(), content_type=CONTENT_TYPE)


def blueprint(probes: Probes) -> Blueprint:
    """The routes of this module, for the clients' door."""
    routes = Blueprint("probes", __name__)

    @routes.get("/livez")
    def live() -> Response:
        return _response(probes.live())

    @routes.get("/readyz")
    def ready() -> Response:
        return _response(probes.ready(request.query_string.decode("latin-1")))

    return routes


def families(readiness: Readiness) -> Collect:
    """Whether another director would serve better, and what is wrong."""

    def collect() -> Iterator[Metric]:
        checks = readiness.checks()
        is_ready = verdict_of(checks) is not Verdict.FAILED
        yield gauge(
            "director_wsgi_ready",
            "1 while /readyz answers 200.",
            (),
            [((), int(is_ready))],
            across=Across.MIN,
        )
        yield gauge(
            "director_wsgi_readiness",
            "The checks behind /readyz: 0 ok, 1 a warning, 2 not ready for this.",
            ("check",),
            (((check.name,), check.verdict) for check in checks),
        )
        yield gauge(
            "director_wsgi_trial_seconds",
            "How long the last decision took that the director made for a trial, or the one under way has taken.",
            (),
            [((), readiness.trial_s)],
        )

    return collect


def _response(answer: Answer) -> Response:
    headers = [("Content-Type", answer.content_type), ("Cache-Control", "no-store")]
    return Response(answer.body, status=answer.status, headers=headers)


def _told(status: int, body: dict[str, object]) -> Answer:
    return Answer(status=status, body=to_json(body).encode())


def _shown(check: Check) -> dict[str, str]:
    return {"status": check.verdict.word, **({"message": check.message} if check.message else {})}
