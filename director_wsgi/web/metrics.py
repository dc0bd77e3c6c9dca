"""`/metrics`, for Prometheus.

Source: Pelican `web_ui/authorization.go:promMetricAuthHandler`. Unlike upstream, only `/metrics` itself is guarded, not
every object whose path begins like it.
"""

from flask import Blueprint, Response, request

from director_wsgi.runtime.metrics import CONTENT_TYPE, Metrics
from director_wsgi.web.guarded import Door, bearer_token, refusal
from director_wsgi.web.responses import simple

_COOKIE = "login"


def blueprint(metrics: Metrics, *, guard: Door | None) -> Blueprint:
    """The route of this module.

    Args:
        metrics: What it shows.
        guard: Who may see it; None: everybody (`Monitoring.MetricAuthorization: false`).
    """
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    def scrape() -> Response:
        if guard is not None:
            why_not = refusal(guard, bearer_token(request) or request.cookies.get(_COOKIE, ""))
            if why_not is not None:
                return simple(403, why_not)
        return Response(metrics.text(), headers=[("Content-Type", CONTENT_TYPE), ("Cache-Control", "no-store")])

    return routes
