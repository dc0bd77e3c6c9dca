"""`getFedToken`, by which caches and origins come by federation tokens.

Source: Pelican `director/fed_token.go:validateFedTokRequest`, `getFedToken`.
"""

from typing import Final

from flask import Blueprint, Response, request

from director_wsgi.errors import FedTokenRefused
from director_wsgi.federation.models import ServerKind
from director_wsgi.limits.deadline import Clock, Deadline
from director_wsgi.redirect.paths import parse_query
from director_wsgi.trust.fed_token import FedTokens
from director_wsgi.trust.tokens import bearer
from director_wsgi.web.entrance import TARGET
from director_wsgi.web.responses import json_response

_KINDS: Final = {kind.value.lower(): kind for kind in ServerKind}


def blueprint(tokens: FedTokens, *, timeout_s: float, clock: Clock) -> Blueprint:
    """The route of this module.

    Args:
        tokens: Issues them.
        timeout_s: How long deciding about one may take, questions to the registry included.
        clock: Monotonic seconds.
    """
    routes = Blueprint("fed_token", __name__)

    @routes.get("/api/v1.0/director/getFedToken", strict_slashes=False)
    def get_fed_token() -> Response:
        host, kind, raw = _asked()
        token = tokens.issue(host, kind, raw, Deadline.after(timeout_s, clock))
        return json_response({"access_token": token, "error": ""}, headers=(("Cache-Control", "no-store"),))

    return routes


def _asked() -> tuple[str, ServerKind, str]:
    """Name, kind and advertise token of the server that asks.

    Raises:
        FedTokenRefused: One of them is missing, doubled or wrong.
    """
    query = parse_query(request.environ[TARGET].query)  # werkzeug's own fails on what is not UTF-8
    hosts = [value for name, value in query if name == "host"]
    if len(hosts) > 1:
        raise FedTokenRefused("multiple hostnames found in the 'host' url parameter")
    if not hosts or not hosts[0]:
        raise FedTokenRefused("no hostname found in the 'host' url parameter")
    host = hosts[0]
    kinds = [value for name, value in query if name == "sType"]
    asks = f"host '{host}' generated request with"
    if not kinds:
        raise FedTokenRefused(f"{asks} no server type found in the 'sType' url parameter")
    if len(kinds) > 1:
        raise FedTokenRefused(f"{asks} multiple server types in the 'sType' url parameter")
    kind = _KINDS.get(kinds[0].lower())
    if kind is None:
        raise FedTokenRefused(f"{asks} invalid server type '{kinds[0]}' as value of 'sType' url parameter")
    # As for objects: the query wins over the header, even an empty one, and the first of several counts.
    in_header = request.headers.get("Authorization", "")
    raw = bearer(next((value for name, value in query if name == "authz"), in_header))
    if not raw:
        raise FedTokenRefused(f"{asks} no authorization token in 'Authorization' header or 'authz' url parameter")
    return host, kind, raw
