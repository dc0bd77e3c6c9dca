"""The documents below `/.well-known/`, by which clients find this director and servers find its keys.

Source: Pelican `director/discovery.go`, `server_utils/oidc.go`.
"""

import json
from dataclasses import dataclass

from flask import Blueprint, Response

from director_wsgi.web.responses import JSON, json_response, simple

_NOT_HOSTED = (
    "This Director is configured to disallow federation metadata hosting; your service is likely misconfigured to use "
    "a Director as its Federation.DiscoveryUrl URL"
)
_NO_KEYS = "This director has no signing keys; configure IssuerKey or IssuerKeysDirectory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What the documents say.

    Attributes:
        jwks: The director's public keys as a JWK set; None if it has none.
        is_hosted: Whether this director hosts the federation's metadata.
    """

    discovery_url: str
    director_url: str
    director_urls: tuple[str, ...]
    registry_url: str
    jwk_url: str
    broker_url: str
    jwks: dict[str, object] | None
    is_hosted: bool


def blueprint(discovery: Discovery) -> Blueprint:
    """The routes of this module."""
    routes = Blueprint("discovery", __name__, url_prefix="/.well-known")

    @routes.get("/pelican-configuration")
    def pelican_configuration() -> Response:
        if not discovery.is_hosted:
            return simple(410, _NOT_HOSTED)
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

    @routes.get("/openid-configuration")
    def openid_configuration() -> Response:
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
        if discovery.jwks is None:
            return simple(404, _NO_KEYS)
        response = _attachment(discovery.jwks, "public-signing-key.jwks")
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response

    return routes


def _https(url: str) -> str:
    """Clients of a federation speak https, whatever stands in front of this process."""
    scheme, separator, rest = url.partition("://")
    return f"https://{rest}" if separator and scheme.lower() == "http" else url


def _attachment(document: dict[str, object], filename: str) -> Response:
    return Response(
        json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        headers=[("Content-Type", JSON), ("Content-Disposition", f"attachment; filename={filename}")],
    )
