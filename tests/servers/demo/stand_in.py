"""A director so small that it can be seen to be right: it takes every ad, and sends everybody to one origin."""

import json
import threading
from typing import Any
from urllib.parse import quote

import jwt

from director_wsgi.demo.exchange import Request, Response, json_response
from director_wsgi.demo.tokens import ADVERTISE

API = "/api/v1.0/director"


class StandIn:
    """A service. Keeps the ads it took, in order, with their tokens' claims; answers as told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.ads: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        self.listing_bodies: list[bytes] = []
        self.refusals: list[Response] = []
        self.origin_url = ""

    def answer(self, request: Request) -> Response:
        with self._lock:
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
