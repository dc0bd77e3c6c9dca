"""A federation's registry, as far as a director asks it: who may advertise what, and with which keys.

Source: Pelican `registry/registry.go`, `registry/registry_oidc.go`. A prefix is what was registered: `/public`,
`/origins/localhost:8443`, `/caches/CHICAGO`.
"""

import json
import threading
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from director_wsgi.demo.exchange import Request, Response, json_response
from director_wsgi.limits.deadline import WallClock, wall

API = "/api/v1.0/registry"
_OPENID = "/.well-known/openid-configuration"
_JWKS = "/.well-known/issuer.jwks"
_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """One registered prefix.

    Attributes:
        name: The server's registered name; empty for a namespace.
        keys: JSON Web Keys, public halves.
        approved: Whether an administrator has said yes.
    """

    prefix: str
    name: str = ""
    keys: tuple[Mapping[str, str], ...] = field(default=(), repr=False)
    approved: bool = True


class Registry:
    """What is registered; may be changed at any time, from any thread, and takes effect with the next request."""

    def __init__(self, *, now: WallClock = wall) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._registrations: dict[str, Registration] = {}
        self._downtimes: dict[str, dict[str, object]] = {}
        self._allowed: dict[str, tuple[str, ...]] = {}

    def register(self, registration: Registration) -> None:
        """Add a prefix; one that exists gets the new keys beside its own, its name and its approval from now on."""
        with self._lock:
            known = self._registrations.get(registration.prefix)
            keys = (*known.keys, *registration.keys) if known else registration.keys
            self._registrations[registration.prefix] = replace(registration, keys=keys)

    def approve(self, prefix: str, approved: bool = True) -> None:
        """Say yes or no to a prefix.

        Raises:
            KeyError: It is not registered.
        """
        with self._lock:
            self._registrations[prefix] = replace(self._registrations[prefix], approved=approved)

    def unregister(self, prefix: str) -> None:
        """Remove a prefix, if it is there."""
        with self._lock:
            self._registrations.pop(prefix, None)

    def allow_cache(self, host: str, prefixes: Iterable[str]) -> None:
        """Restrict the cache on `host` to these prefixes; a cache never mentioned may serve everything."""
        with self._lock:
            self._allowed[host] = tuple(prefixes)

    def take_down(self, prefix: str) -> None:
        """Announce a downtime of a server, from now on and without an end.

        Raises:
            KeyError: Its prefix is not registered.
        """
        with self._lock:
            self._downtimes[prefix] = _downtime(self._registrations[prefix].name, int(self._now() * 1000))

    def bring_back(self, prefix: str) -> None:
        """Withdraw the downtime of a server, if there is one."""
        with self._lock:
            self._downtimes.pop(prefix, None)

    def answer(self, request: Request) -> Response:
        """See `exchange.Service`."""
        path = request.path
        if path == f"{API}/checkNamespaceStatus":
            return self._status(request) if request.method == "POST" else _error(405, "method not allowed")
        if request.method not in ("GET", "HEAD"):
            return _error(405, "method not allowed")
        if path == "/api/v1.0/downtime":
            with self._lock:
                return json_response(200, list(self._downtimes.values()))
        if path == f"{API}/caches/allowedPrefixes":
            with self._lock:
                return json_response(200, {host: list(prefixes) for host, prefixes in self._allowed.items()})
        if path.startswith(f"{API}/server/"):
            return self._server(path.removeprefix(f"{API}/server"))
        if path.startswith(f"{API}/") and path.endswith(_OPENID):
            return self._openid(path.removeprefix(API).removesuffix(_OPENID), request.headers.get("Host") or "")
        if path.startswith(f"{API}/") and path.endswith(_JWKS):
            return self._keys(path.removeprefix(API).removesuffix(_JWKS))
        return _error(404, "the registry has no such page")

    def _registration(self, prefix: str) -> Registration | None:
        with self._lock:
            return self._registrations.get(prefix)

    def _status(self, request: Request) -> Response:
        try:
            prefix = json.loads(request.body.read(_BODY_BYTES))["prefix"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return _error(400, "expected a JSON object with a prefix")
        registration = self._registration(prefix) if isinstance(prefix, str) else None
        if registration is None:
            return _error(400, "the prefix is not registered")
        return json_response(200, {"approved": registration.approved})

    def _server(self, prefix: str) -> Response:
        registration = self._registration(prefix)
        if registration is None or not registration.name:
            # Pelican's answer, odd as it is.
            return _error(500, "no server is registered with that prefix")
        kind = {"isOrigin": prefix.startswith("/origins/"), "isCache": prefix.startswith("/caches/")}
        return json_response(200, {"name": registration.name, **kind})

    def _openid(self, prefix: str, host: str) -> Response:
        if self._registration(prefix) is None:
            return _error(404, "the prefix is not registered")
        issuer = f"https://{host}{API}{prefix}"
        return json_response(200, {"issuer": issuer, "jwks_uri": f"{issuer}{_JWKS}"})

    def _keys(self, prefix: str) -> Response:
        registration = self._registration(prefix)
        if registration is None:
            return _error(404, "the prefix is not registered")
        return json_response(200, {"keys": [dict(key) for key in registration.keys]})


def _downtime(name: str, now_ms: int) -> dict[str, object]:
    return {
        "id": str(uuid.uuid4()),
        "serverName": name,
        "serverId": "",
        "createdBy": "admin",
        "updatedBy": "admin",
        "source": "registry",
        "class": "UNSCHEDULED",
        "description": "",
        "severity": "Outage (completely inaccessible)",
        "startTime": now_ms,
        "endTime": -1,
        "createdAt": now_ms,
        "updatedAt": now_ms,
        "deletedAt": None,
    }


def _error(status: int, sentence: str) -> Response:
    return json_response(status, {"status": "error", "msg": sentence})
