"""An origin and a cache of Pelican's, as they were seen on the wire: what they send, and what they expect back.

Every request is written as Go's `net/http` writes it, in its order and spelling, onto a connection that is kept alive;
advertisements are those of real servers but for ports, times and ids. Answers are read by what these servers do with
them: a status that must be exact, JSON of exactly that shape, a token whose signature is looked up at the issuer's.

Source: Pelican `launcher_utils/advertise.go`, `cache/advertise.go`, `server_utils/monitor.go`.
"""

from __future__ import annotations

import http.client
import json
import queue
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import jwt

from director_wsgi.demo.certificates import TlsFiles, trusting
from director_wsgi.demo.exchange import Request, Response, text_response
from director_wsgi.demo.tokens import SigningKey
from director_wsgi.demo.wire import HttpsServer
from tests.process.child import wait_until

GO = "Go-http-client/1.1"
TEST_TEXT = b"This object was created by the Pelican director-test functionality"

# As seen, with %s where ports, times and ids stood.
ORIGIN_AD = (
    '{"name":"ORIGIN1","startTime":1795359033,"instanceID":"5a781ec3-5be9-4b22-bcd6-11c3a3c7ed8b","generationID":%d,'
    '"version":"dev","expiry":"%s","serverId":"p9gw7jc","registry-prefix":"/origins/%s","data-url":"https://%s",'
    '"web-url":"https://%s","capabilities":{"PublicRead":false,"Read":true,"Write":true,"Listing":true,'
    '"FallBackRead":true,"Copies":true},"namespaces":[{"Caps":{"PublicRead":true,"Read":true,"Write":true,'
    '"Listing":true,"FallBackRead":true,"Copies":true},"path":"/public","token-generation":[{"strategy":"OAuth2",'
    '"vault-server":"","max-scope-depth":3,"issuer":%s}],"token-issuer":[{"base-paths":["/public"],'
    '"restricted-paths":null,"issuer":%s}],"from-topology":false}],"token-issuer":[{"base-paths":["/public"],'
    '"restricted-paths":null,"issuer":%s}],"storageType":"posixv2","directorTest":false,"downtimes":[],'
    '"requiredFeatures":[],"now":"%s","status":"%s"}'
)
CACHE_AD = (
    '{"name":"CACHE1","startTime":1795359040,"instanceID":"0c58b1f2-94fd-4a3a-9d41-8a2c7d5a3b11","generationID":%d,'
    '"version":"dev","expiry":"%s","serverId":"k3wq1zt","registry-prefix":"/caches/CACHE1","data-url":"https://%s",'
    '"web-url":"https://%s","capabilities":{"PublicRead":false,"Read":false,"Write":false,"Listing":false,'
    '"FallBackRead":false,"Copies":false},"namespaces":%s,"token-issuer":null,"storageType":"","directorTest":false,'
    '"downtimes":[],"requiredFeatures":null,"now":"%s","status":"%s"}'
)
URL_OBJECT = (
    '{"Scheme":"https","Opaque":"","User":null,"Host":"%s","Path":"","Fragment":"","RawQuery":"","RawPath":"",'
    '"RawFragment":"","ForceQuery":false,"OmitHost":false}'
)


def go_time(at: float) -> str:
    """RFC 3339 with nanoseconds, as Go writes it."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}964Z"


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One kept-alive connection to the director, on which requests are written to the letter."""

    def __init__(self, url: str, trust: ssl.SSLContext) -> None:
        self.host = urlsplit(url).netloc
        self._connection = http.client.HTTPSConnection(self.host, context=trust, timeout=15)
        self._connection.connect()

    def send(self, method: str, target: str, agent: str, *fields: tuple[str, str], body: bytes | None = None) -> Reply:
        head = [f"{method} {target} HTTP/1.1", f"Host: {self.host}", f"User-Agent: {agent}"]
        if body is not None:
            head.append(f"Content-Length: {len(body)}")
        head += [f"{name}: {value}" for name, value in fields]
        head += ["Accept-Encoding: gzip", "", ""]
        self._connection.sock.sendall("\r\n".join(head).encode() + (body or b""))
        response = http.client.HTTPResponse(self._connection.sock, method=method)
        response.begin()
        return Reply(response.status, response.headers, response.read())

    def close(self) -> None:
        self._connection.close()


class Seen(NamedTuple):
    """What the director asked of a server."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes


class _Recorded:
    """What both have in common: a port, a key, the director they talk to, and the calls that came in."""

    def __init__(self, name: str, director_url: str, tls: TlsFiles) -> None:
        self.key = SigningKey()
        self.calls: queue.Queue[Seen] = queue.Queue()
        self.trust = trusting(tls.ca)
        self.director_url = director_url
        self.wire = Wire(director_url, self.trust)
        self._generation = 1
        self._server = HttpsServer(self, name=name, tls=tls)
        self.host = urlsplit(self._server.url).netloc
        self.url = f"https://{self.host}"

    def answer(self, request: Request) -> Response:
        chunks = iter(lambda: request.body.read(65536), b"")
        seen = Seen(request.method, request.path, request.query, request.headers, b"".join(chunks))
        response = self.serve(seen)
        self.calls.put(seen)
        return response

    def serve(self, seen: Seen) -> Response:
        raise NotImplementedError

    def next_call(self) -> Seen:
        return self.calls.get(timeout=20)

    def advertise_token(self) -> str:
        return self.key.sign(
            issuer=self.url,
            subject=self.url,
            audience=[self.director_url],
            scope="pelican.advertise",
            lifetime_s=60,
        )

    def directors(self) -> list[Any]:
        """What it does before each advertisement; a list is all it can use."""
        reply = self.wire.send("GET", "/api/v1.0/director/directors", GO)
        assert reply.status == 200
        listed = reply.json()
        assert isinstance(listed, list)
        return listed

    def post_ad(self, route: str, agent: str, ad: str) -> Reply:
        fields = (("Authorization", f"Bearer {self.advertise_token()}"), ("Content-Type", "application/json"))
        return self.wire.send("POST", f"/api/v1.0/director/{route}", agent, *fields, body=ad.encode())

    def claims(self, token: str) -> dict[str, Any]:
        """The claims of a token of the federation, verified as a server does: by what its issuer publishes."""
        issuer = jwt.decode(token, options={"verify_signature": False})["iss"]
        asked = Wire(issuer, self.trust)
        try:
            document = asked.send("GET", "/.well-known/openid-configuration", GO).json()
            keys = asked.send("GET", urlsplit(document["jwks_uri"]).path, GO).json()["keys"]
        finally:
            asked.close()
        kid = jwt.get_unverified_header(token)["kid"]
        [key] = [jwt.PyJWK(key) for key in keys if key["kid"] == kid]
        found: dict[str, Any] = jwt.decode(token, key, algorithms=["ES256"], options={"verify_aud": False})
        return found

    def close(self) -> None:
        self.wire.close()
        self._server.close()


def bearer(seen: Seen) -> str:
    scheme, _, token = (seen.headers.get("Authorization") or "").partition(" ")
    assert scheme == "Bearer"
    return token


class RecordedOrigin(_Recorded):
    """Keeps the test files of the director, and takes its reports."""

    AGENT = "pelican-origin/7.20.0"

    def __init__(self, director_url: str, tls: TlsFiles) -> None:
        self._files: dict[str, bytes] = {}
        super().__init__("ORIGIN1", director_url, tls)

    def advertise(self, status: str = "warning") -> Reply:
        self._generation += 1
        now = time.time()
        issuer = URL_OBJECT % self.host
        ad = ORIGIN_AD % (
            self._generation,
            go_time(now + 600),
            self.host,
            self.host,
            self.host,
            issuer,
            issuer,
            issuer,
            go_time(now),
            status,
        )
        return self.post_ad("registerOrigin", self.AGENT, ad)

    def serve(self, seen: Seen) -> Response:
        if seen.path == "/api/v1.0/origin/directorTest":
            return Response(status=200, headers=(("Content-Type", "application/json"),), body=b'{"status":"success"}')
        if seen.method == "PUT":
            self._files[seen.path] = seen.body
            return Response(status=201)
        found = self._files.get(seen.path)
        if found is None:
            return text_response(404, "no such object")
        if seen.method == "DELETE":
            del self._files[seen.path]
            return Response(status=204)
        return Response(status=200, body=found)


class RecordedCache(_Recorded):
    """Fetches the director's test files back through the director, and takes its reports."""

    AGENT = "pelican-cache/7.20.0"

    def __init__(self, director_url: str, tls: TlsFiles) -> None:
        self.federation_token = ""
        self.fetches: list[list[Reply]] = []
        super().__init__("CACHE1", director_url, tls)

    def namespaces(self) -> list[Any]:
        """The list as a cache asks for it: a GET with a body, which must be answered 200 exactly."""
        fields = (("Content-Type", "application/json"),)
        reply = self.wire.send("GET", "/api/v2.0/director/listNamespaces", GO, *fields, body=b"null")
        assert reply.status == 200
        listed: list[Any] = reply.json()
        for item in listed:
            assert {"Caps", "path", "token-generation", "token-issuer", "from-topology"} <= item.keys()
        return listed

    def advertise(self, status: str = "critical") -> Reply:
        self._generation += 1
        now = time.time()
        listed = json.dumps(self.namespaces(), separators=(",", ":"))
        ad = CACHE_AD % (
            self._generation,
            go_time(now + 600),
            self.host,
            self.host,
            listed,
            go_time(now),
            status,
        )
        return self.post_ad("registerCache", self.AGENT, ad)

    def fetch_federation_token(self) -> str:
        fields = (("Authorization", f"Bearer {self.advertise_token()}"),)
        reply = self.wire.send("GET", "/api/v1.0/director/getFedToken?host=CACHE1&sType=Cache", self.AGENT, *fields)
        assert reply.status == 200
        answer = reply.json()
        assert answer["error"] == ""
        self.federation_token = answer["access_token"]
        return self.federation_token

    def serve(self, seen: Seen) -> Response:
        if seen.path in {"/api/v1.0/cache/directorTest", "/api/v1.0/cache/evictTestFile"}:
            return Response(status=200, headers=(("Content-Type", "application/json"),), body=b'{"status":"success"}')
        if not seen.path.startswith("/pelican/monitoring/"):
            return text_response(404, "no such object")
        return Response(status=200, body=self._fetch(seen.path))

    def _fetch(self, path: str) -> bytes:
        """The calls of a V2 cache for one test file, in its order."""
        director = Wire(self.director_url, self.trust)
        try:
            origin = f"/api/v1.0/director/origin{path}"
            redirect = director.send("GET", origin, self.AGENT, ("X-Pelican-Debug", "true"))
            target = urlsplit(redirect.headers["Location"]).path
            token = self.federation_token
            depth = director.send("PROPFIND", target, GO, ("Authorization", f"Bearer {token}"), ("Depth", "0"))
            whole = director.send("GET", f"{target}?access_token={token}", GO, ("Range", "bytes=0-66"))
            head = director.send("HEAD", f"{target}?access_token={token}", GO)
        finally:
            director.close()
        self.fetches.append([redirect, depth, whole, head])
        return whole.body


def wait_for(server: _Recorded, path: str) -> Seen:
    """The next call for a path; what comes before it is passed over."""
    found: list[Seen] = []

    def came() -> bool:
        while not server.calls.empty():
            call = server.calls.get_nowait()
            if call.path == path:
                found.append(call)
                return True
        return False

    wait_until(came, f"a call for {path}")
    return found[0]
