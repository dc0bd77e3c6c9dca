"""The director's own test files, which caches fetch through it as if they were an origin's."""

from director_wsgi.federation.models import ServerAd, ServerKind
from director_wsgi.federation.urls import quote_path
from director_wsgi.redirect import headers
from director_wsgi.redirect.request import Endpoint, ObjectRequest, Redirection

MONITORING = "/pelican/monitoring"
"""The namespace that the director serves itself, for tests of caches."""


def is_monitoring(request: ObjectRequest) -> bool:
    """Whether this asks for one of them."""
    return request.endpoint is Endpoint.ORIGIN and request.path.startswith(MONITORING + "/")


def to_monitoring(request: ObjectRequest, web_url: str) -> Redirection:
    """To this director, at its own web URL."""
    own = ServerAd(
        kind=ServerKind.ORIGIN,
        name="",
        data_url=web_url,
        base_url=f"{web_url}/api/v1.0/director/healthTest",
    )
    told = (("X-Pelican-Namespace", f"namespace={MONITORING}, require-token=false"),)
    quoted_path = quote_path(request.path)
    return Redirection(
        location=headers.location(own, quoted_path, request),
        headers=headers.redirect_headers((own,), request, quoted_path, prefix=MONITORING, namespace_headers=told),
    )
