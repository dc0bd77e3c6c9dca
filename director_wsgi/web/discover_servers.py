"""Whom Prometheus shall scrape: its HTTP service discovery.

Prometheus keeps its last list when it gets an error, and drops every target that a good answer lacks. So for as long as
servers may be missing for no fault of their own, since this process has only just begun to hear from them, or cannot
ask the registry whether to believe them, the answer is 503.

Source: Pelican `director/director.go:discoverOriginCache`.
"""

import math
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from flask import Blueprint, Response, request

from director_wsgi.federation.models import ServerAd
from director_wsgi.federation.snapshot import Snapshot
from director_wsgi.web.guarded import Door, bearer_token, refusal
from director_wsgi.web.rendered import ASK_AGAIN_PRIVATELY, Once, Rendered, answer, to_bytes
from director_wsgi.web.responses import simple
from director_wsgi.web.ui_pages import Servers, in_order

SETTLING_S: Final = 75.0
"""How long after its start a process may lack servers: they advertise once a minute, and may need a second try."""

RETRY_S: Final = 15
"""When to come again if it is not known when the answer will be complete: the interval at which Pelican refreshes."""

_SETTLING: Final = "This director has only just started and has not heard from every server yet"
_NO_REGISTRY: Final = "This director knows no server, since the registry has not answered it yet"

_PORTS: Final = {"http": 80, "https": 443}


class Settling:
    """Whether the list of servers can be taken for the whole truth. Any number of threads at once.

    Args:
        settling_s: How long after the start servers may be missing; 0: they never are.
        age_s: How long ago that was, see `StartupWindow.age_s`.
        has_registry: Whether the registry has answered since then, without which no cache is admitted.
    """

    def __init__(self, *, settling_s: float, age_s: Callable[[], float], has_registry: Callable[[], bool]) -> None:
        self._settling_s = settling_s
        self._age_s = age_s
        self._has_registry = has_registry

    def trouble(self, snapshot: Snapshot) -> tuple[str, int] | None:
        """Why servers may be missing, and after how many seconds to come again; None if none is."""
        left_s = self._settling_s - self._age_s()
        if left_s > 0:
            return _SETTLING, math.ceil(left_s)
        if not snapshot.servers and not self._has_registry():
            return _NO_REGISTRY, RETRY_S
        return None


def blueprint(*, snapshot: Callable[[], Snapshot], settling: Settling, door: Door) -> Blueprint:
    """The route of this module.

    Args:
        snapshot: The federation now.
        settling: Whether it is complete.
        door: Who may see it: holders of a token with the scope `pelican.director_service_discovery`.
    """
    routes = Blueprint("discover_servers", __name__)
    targets = Once(lambda: snapshot().servers, _targets)

    @routes.get("/api/v1.0/director/discoverServers", strict_slashes=False)
    def discover_servers() -> Response:
        why_not = refusal(door, bearer_token(request))
        if why_not is not None:
            return simple(403, why_not)
        listed = targets.get()  # before it is known whether it is complete: it may be more than there is, never less
        trouble = settling.trouble(snapshot())
        if trouble is not None:
            message, retry_after_s = trouble
            return simple(503, message, (("Retry-After", str(retry_after_s)),))
        return answer(request, listed, cache_control=ASK_AGAIN_PRIVATELY)

    return routes


def _targets(servers: Servers, _: object) -> Rendered:
    return Rendered.array(to_bytes(_target(ad)) for ad in in_order(servers) if ad.web_url)


def _target(ad: ServerAd) -> dict[str, object]:
    place = ad.coordinate
    return {
        "targets": [_host_and_port(ad.web_url)],
        "labels": {
            "server_type": ad.kind.value,
            "server_name": ad.name,
            "server_auth_url": ad.data_url,  # advertisements know no other
            "server_url": ad.data_url,
            "server_web_url": ad.web_url,
            "server_lat": f"{place.latitude if place else 0:.4f}",
            "server_long": f"{place.longitude if place else 0:.4f}",
        },
    }


def _host_and_port(url: str) -> str:
    """Prometheus wants a port whether or not the URL has one."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return host if parts.port is not None else f"{host}:{_PORTS[parts.scheme]}"
