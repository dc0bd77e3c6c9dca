"""The documents below `/.well-known/`, by which clients find this director and servers find its keys.

Source: Pelican `director/discovery.go`, `server_utils/oidc.go`.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from flask import Blueprint, Response, request
from prometheus_client.metrics_core import Metric

from director_wsgi.runtime.metrics import counter, label
from director_wsgi.runtime.redirect_counters import OTHER, network_of
from director_wsgi.web.addresses import TrustedProxies
from director_wsgi.web.responses import JSON, json_response, simple

_NOT_HOSTED = (
    "This Director is configured to disallow federation metadata hosting; your service is likely misconfigured to use "
    "a Director as its Federation.DiscoveryUrl URL"
)
_NO_KEYS = "Failed to load server's public key"
_BAD = "Bad server configuration: {} is not set"

SERVICES: Final = ("director", "registry", "origin", "cache")
"""Words by which a User-Agent tells what asks, in the order in which they are looked for."""

MAX_ROWS: Final = 2000
"""Rows of `pelican_director_federationmetadata_requests_total` up to which new ones tell their client's network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What the documents say.

    Attributes:
        jwks: Gives the director's public keys as a JWK set, as they are now; None if it has none.
        is_hosted: Whether this director hosts the federation's metadata.
    """

    discovery_url: str
    director_url: str
    director_urls: tuple[str, ...]
    registry_url: str
    jwk_url: str
    broker_url: str
    jwks: Callable[[], dict[str, object] | None]
    is_hosted: bool


class MetadataRequests:
    """Who asks for the federation's metadata. Any number of threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: Counter[tuple[str, str]] = Counter()

    def count(self, network: str, user_agent: str) -> None:
        """Count one request.

        Args:
            network: Where it comes from: see `network_of`.
            user_agent: The header, of any shape.
        """
        said = user_agent.lower()
        service = next((word for word in SERVICES if word in said), "unknown")
        row = network or "unknown", service
        with self._lock:
            if row not in self._times and len(self._times) >= MAX_ROWS:
                row = OTHER, service
            self._times[row] += 1

    def collect(self) -> Iterator[Metric]:
        """The family; see `Metrics.add`."""
        with self._lock:
            times = dict(self._times)
        yield counter(
            "pelican_director_federationmetadata_requests_total",
            "Requests for /.well-known/pelican-configuration, answered or refused, by the client's network, /24 or "
            f"/64, and by what its User-Agent says it is. Beyond {MAX_ROWS} rows: other.",
            ("network", "service_type"),
            (((label(network), service), number) for (network, service), number in times.items()),
        )


def blueprint(discovery: Discovery, *, requests: MetadataRequests, proxies: TrustedProxies) -> Blueprint:
    """The routes of this module.

    Args:
        discovery: What they say.
        requests: Counts them.
        proxies: Whose word on a client's address is taken.
    """
    routes = Blueprint("discovery", __name__, url_prefix="/.well-known")

    @routes.get("/pelican-configuration")
    def pelican_configuration() -> Response:
        network = network_of(proxies.client_address(request.environ))
        requests.count(network, request.headers.get("User-Agent", ""))
        return _metadata(discovery)

    @routes.get("/openid-configuration")
    def openid_configuration() -> Response:
        if not discovery.director_url:
            return simple(500, _BAD.format("director URL"))
        endpoint = _https(discovery.director_url)
        document = {"issuer": endpoint, "jwks_uri": f"{endpoint}/.well-known/issuer.jwks"}
        return json_response(
            document,
            headers=(
                ("Content-Disposition", "attachment; filename=pelican-oidc-configuration.json"),
                ("Access-Control-Allow-Origin", "*"),
            ),
        )

    @routes.get("/issuer.jwks")
    def issuer_jwks() -> Response:
        jwks = discovery.jwks()
        if jwks is None:
            return simple(500, _NO_KEYS)
        response = _attachment(jwks, "public-signing-key.jwks")
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response

    return routes


def _metadata(discovery: Discovery) -> Response:
    if not discovery.is_hosted:
        return simple(410, _NOT_HOSTED)
    for name, url in (
        ("director URL", discovery.director_url),
        ("registry URL", discovery.registry_url),
        ("JwksUri", discovery.jwk_url),
    ):
        if not url:
            return simple(500, _BAD.format(name))
    document: dict[str, object] = {
        "discovery_endpoint": discovery.discovery_url,
        "director_endpoint": _https(discovery.director_url),
    }
    if discovery.director_urls:
        document["director_advertise_endpoints"] = list(discovery.director_urls)
    document["namespace_registration_endpoint"] = _https(discovery.registry_url)
    document["jwks_uri"] = discovery.jwk_url
    document["broker_endpoint"] = discovery.broker_url
    return _attachment(document, "pelican-configuration.json")


def _https(url: str) -> str:
    """Clients of a federation speak https, whatever stands in front of this process."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in {"http", "https"}:
        return url
    authority, slash, path = rest.partition("/")
    return f"https://{authority.removesuffix(':443')}{slash}{path}"


def _attachment(document: dict[str, object], filename: str) -> Response:
    return Response(
        json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        headers=[("Content-Type", JSON), ("Content-Disposition", f"attachment; filename={filename}")],
    )
