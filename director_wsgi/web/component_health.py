"""How the director's own parts are: for monitoring that wants one page, and as gauges.

Nothing is remembered here: each part is looked at when somebody asks.

Source: Pelican `metrics/health.go:GetHealthStatus`, `web_ui/ui.go:configureMetrics`.
"""

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from flask import Blueprint, Response, request
from prometheus_client.metrics_core import Metric

from director_wsgi.limits.deadline import WallClock
from director_wsgi.runtime.metrics import gauge
from director_wsgi.runtime.pages import Across
from director_wsgi.trust.prefixes import AllowedPrefixes
from director_wsgi.web.guarded import Door, bearer_token, refusal
from director_wsgi.web.responses import json_response, simple

_NO_LOGIN: Final = "Authentication required to perform this operation"

LATE_AFTER: Final = 3
"""So many times in a row the registry has not told what caches may serve: that is no accident any more."""


class Level(enum.IntEnum):
    """How a part is, from worst to best; the number is what the gauge shows, the lower-case name what the page says."""

    CRITICAL = 2
    DEGRADED = 3
    WARNING = 4
    OK = 5

    @property
    def word(self) -> str:
        """Pelican's word for it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One part.

    Attributes:
        message: What is wrong, or empty.
        updated_at: When it was last known to be so, Unix seconds.
    """

    name: str
    level: Level
    message: str = ""
    updated_at: float


Check = Callable[[float], Component]
"""Looks at one part, given the Unix time; must not wait."""


def web_engine(now: float) -> Component:
    """Whoever is told this is told it by the web engine."""
    return Component(name="web-ui", level=Level.OK, updated_at=now)


def registry(prefixes: AllowedPrefixes, silent_s: Callable[[], float], *, interval_s: Callable[[], float]) -> Check:
    """Whether the registry answers: without it nobody can be admitted who was not known before.

    Args:
        prefixes: What caches may serve, by its word.
        silent_s: Tells for how long it has answered no question of another kind.
        interval_s: How often it is asked what caches may serve; may change.
    """

    def check(now: float) -> Component:
        if not prefixes.loaded:
            message = "The registry has not answered yet: no cache is admitted, and no server that is not known"
            return Component(name="registry", level=Level.CRITICAL, message=message, updated_at=now)
        age_s = prefixes.age_s
        silence_s = max(silent_s(), age_s if age_s >= LATE_AFTER * interval_s() else 0.0)
        message = f"The registry has given no answer for {silence_s:.0f} s" if silence_s else ""
        level = Level.WARNING if silence_s else Level.OK
        return Component(name="registry", level=level, message=message, updated_at=now - age_s)

    return check


def issuer_keys(are_there: Callable[[], bool]) -> Check:
    """Whether there is a key to sign with.

    Args:
        are_there: Tells whether there is.
    """

    def check(now: float) -> Component:
        if are_there():
            return Component(name="issuer-keys", level=Level.OK, updated_at=now)
        message = "There is no signing key: no director tests, no federation tokens"
        return Component(name="issuer-keys", level=Level.DEGRADED, message=message, updated_at=now)

    return check


def director_tests(are_running: Callable[[], bool]) -> Check:
    """Whether servers are tested: those that hear nothing for half a minute call themselves critical.

    Args:
        are_running: Tells whether this worker tests them, or hears from the one that does.
    """

    def check(now: float) -> Component:
        if are_running():
            return Component(name="director-tests", level=Level.OK, updated_at=now)
        message = "Servers are not tested; those that want to be will call themselves critical"
        return Component(name="director-tests", level=Level.CRITICAL, message=message, updated_at=now)

    return check


class ComponentHealth:
    """All parts. Any number of threads at once.

    Args:
        checks: One for each.
        wall: Unix seconds.
    """

    def __init__(self, checks: tuple[Check, ...], *, wall: WallClock) -> None:
        self._checks = checks
        self._wall = wall

    def components(self) -> tuple[Component, ...]:
        """How each is now."""
        now = self._wall()
        return tuple(check(now) for check in self._checks)

    def collect(self) -> Iterator[Metric]:
        """The gauges; see `Metrics.add`."""
        told = self.components()
        yield gauge(
            "pelican_component_health_status",
            "How each part of the director is: 2 critical, 3 degraded, 4 warning, 5 ok.",
            ("component",),
            (((one.name,), one.level) for one in told),
            across=Across.MIN,
        )
        yield gauge(
            "pelican_component_health_status_last_update",
            "When the part was last known to be so, in Unix seconds.",
            ("component",),
            (((one.name,), int(one.updated_at)) for one in told),
            across=Across.MIN,
        )


def blueprint(health: ComponentHealth, *, door: Door | None) -> Blueprint:
    """The route of this module.

    Args:
        health: What it shows.
        door: Who may see it: holders of a token with the scope `monitoring.scrape`, in place of upstream's login; None:
            everybody (`Server.HealthMonitoringPublic`).
    """
    routes = Blueprint("component_health", __name__)

    @routes.get("/api/v1.0/metrics/health", strict_slashes=False)
    def component_health() -> Response:
        token = bearer_token(request)
        if door is not None:
            if not token:
                return simple(401, _NO_LOGIN, (("WWW-Authenticate", "Bearer"),))
            why_not = refusal(door, token)
            if why_not is not None:
                return simple(403, why_not)
        told = health.components()
        return json_response(
            {"status": min(one.level for one in told).word, "components": {one.name: _shown(one) for one in told}}
        )

    return routes


def _shown(component: Component) -> dict[str, object]:
    message = {"message": component.message} if component.message else {}
    return {"status": component.level.word, **message, "last_update": int(component.updated_at)}
