"""A director so small that it can be seen to be right: it takes every ad, and sends everybody to one origin.

It makes no tests by itself; who holds it may, in its name.
"""

import json
import threading
from typing import Any
from urllib.parse import quote

import jwt

from director_wsgi.demo.exchange import Request, Response, json_response
from director_wsgi.demo.tokens import ADVERTISE, SigningKey

API = "/api/v1.0/director"


class StandIn:
    """A service. Keeps the ads it took, in order, with their tokens' claims; answers as told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.ads: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        self.listing_bodies: list[bytes] = []
        self.refusals: list[Response] = []
        self.origin_url = ""
        self.key = SigningKey()
        self.asked_for_tokens: list[dict[str, str]] = []
        self.has_tokens = True

    def answer(self, request: Request) -> Response:
        with self._lock:
            if request.path.startswith("/.well-known/"):
                return self._published(request)
            if request.path == f"{API}/getFedToken":
                return self._federation_token(request)
            if request.path == "/api/v2.0/director/listNamespaces":
                self.listing_bodies.append(request.body.read(100))
                return json_response(200, [one for _, ad, _ in self.ads for one in ad["namespaces"]])
            if request.path.startswith(f"{API}/origin/"):
                location = self.origin_url + quote(request.path.removeprefix(f"{API}/origin"))
                if request.bearer:
                    location += f"?authz={quote(request.bearer)}"
                return Response(status=307, headers=(("Location", location),))
            body = json.loads(request.body.read(1 << 20))
            if self.refusals:
                return self.refusals.pop(0)
            claims = jwt.decode(request.bearer or "", options={"verify_signature": False})
            assert claims["scope"] == ADVERTISE
            self.ads.append((request.path.removeprefix(f"{API}/"), body, claims))
            return json_response(200, {"status": "success", "msg": "Successful registration"})

    def token(self, url: str, *, audience: str, scope: str, lifetime_s: float = 60.0) -> str:
        """A token of the federation, whose issuer this is, at `url`."""
        return self.key.sign(issuer=url, subject="director", audience=[audience], scope=scope, lifetime_s=lifetime_s)

    def _published(self, request: Request) -> Response:
        url = f"https://{request.headers.get('Host')}"
        documents: dict[str, object] = {
            "pelican-configuration": {"discovery_endpoint": url, "director_endpoint": url},
            "openid-configuration": {"issuer": url, "jwks_uri": f"{url}/.well-known/issuer.jwks"},
            "issuer.jwks": {"keys": [dict(self.key.jwk)]},
        }
        return json_response(200, documents[request.path.removeprefix("/.well-known/")])

    def _federation_token(self, request: Request) -> Response:
        claims = jwt.decode(request.bearer or "", options={"verify_signature": False})
        assert claims["scope"] == ADVERTISE
        if not self.has_tokens:
            return json_response(500, {"status": "error", "msg": "no"})
        self.asked_for_tokens.append(dict(request.query))
        url = f"https://{request.headers.get('Host')}"
        token = self.token(url, audience="any", scope="storage.read:/", lifetime_s=900.0)
        return json_response(200, {"access_token": token, "error": ""})
