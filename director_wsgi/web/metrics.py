"""`/metrics`, for Prometheus.

Source: Pelican `web_ui/authorization.go:promMetricAuthHandler`. Unlike upstream, only `/metrics` itself is guarded, not
every object whose path begins like it.
"""

from flask import Blueprint, Response, request

from director_wsgi.runtime.metrics import CONTENT_TYPE, Metrics
from director_wsgi.trust.self_issued import Guard
from director_wsgi.trust.tokens import TokenRefused
from director_wsgi.web.responses import simple

_NO_TOKEN = "Authentication is required but no token is present."  # noqa: S105, a sentence


def blueprint(metrics: Metrics, *, guard: Guard | None) -> Blueprint:
    """The route of this module.

    Args:
        metrics: What it shows.
        guard: Who may see it; None: everybody (`Monitoring.MetricAuthorization: false`).
    """
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    def scrape() -> Response:
        if guard is not None:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                return simple(403, _NO_TOKEN)
            try:
                guard.check(token.strip())
            except TokenRefused as error:
                return simple(403, f"Cannot verify token: {error}")
        return Response(metrics.text(), headers=[("Content-Type", CONTENT_TYPE), ("Cache-Control", "no-store")])

    return routes
