"""The worked examples of the wire contract (E1 to E49), by their numbers.

Where this director differs from Pelican's on purpose, the test says so: one `Server` line (set by gunicorn, so not seen
here), JSON for every error, `,` and `;` percent-encoded in Link, unknown is not absent, the 404 text that Go clients
keep a type for, origins ordered by what is known of the object.
"""

import base64
import dataclasses
import json
from collections.abc import Callable

import pytest

from director_wsgi.outbound.client import Failure
from tests.unit.conformance.conftest import JID, WEB, World, example_ads

NOT_FOUND = "All sources report object was not found"
C1, C2, C3 = (f"https://c{n}.example.org:8443" for n in (1, 2, 3))
O1, O2, O3, O4 = (f"https://o{n}.example.org:8443" for n in (1, 2, 3, 4))
FIVE = (200, {"Content-Length": "5"})


def jwt(**claims: float) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJub25lIn0.{payload}.c2ln"


def link(*bases: str, path: str, depth: int) -> str:
    return ", ".join(
        f'<{base}{path}>; rel="duplicate"; pri={priority}; depth={depth}' for priority, base in enumerate(bases, 1)
    )


class TestReadsThroughCaches:
    @pytest.mark.parametrize("prefix", ["", "/api/v1.0/director/object"])
    def test_e1_get(self, world: World, prefix: str) -> None:
        response = world.call("GET", prefix + "/demo/data/run1/file.root")

        assert response.status_code == 307
        assert response.headers["Location"] == f"{C1}/demo/data/run1/file.root"
        assert response.headers.getlist("Link") == [link(C1, C2, C3, path="/demo/data/run1/file.root", depth=3)]
        assert response.headers.getlist("X-Pelican-Authorization") == ["issuer=https://o1.example.org:8447"]
        assert response.headers["X-Pelican-Token-Generation"] == (
            "issuer=https://o1.example.org:8447, max-scope-depth=3, strategy=OAuth2, base-path=/demo"
        )
        assert response.headers["X-Pelican-Namespace"] == f"namespace=/demo, require-token=false, collections-url={O1}"
        assert response.headers["X-Pelican-JobId"] == JID
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert response.text == f'<a href="{C1}/demo/data/run1/file.root">Temporary Redirect</a>.\n\n'
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert world.network.heads == []

    def test_e2_protected_namespace(self, world: World) -> None:
        token = jwt(iat=world.wall.now, exp=world.wall.now + 600)

        response = world.call("GET", "/ro/a%20b.txt", Authorization=f"Bearer {token}", X_Pelican_Timeout="9.5s")

        assert response.headers["Location"] == f"{C1}/ro/a%20b.txt?authz={token}&pelican.timeout=9.5s"
        assert response.headers["Link"] == link(C1, C2, C3, path="/ro/a%20b.txt", depth=1)
        assert response.headers["X-Pelican-Namespace"] == "namespace=/ro, require-token=true"
        assert response.headers["X-Pelican-Authorization"] == "issuer=https://iss.example.org/ro"
        assert response.headers["X-Pelican-Token-Generation"] == (
            "issuer=https://iss.example.org/ro, max-scope-depth=3, strategy=OAuth2, base-path=/ro"
        )
        without = world.call("GET", "/ro/a%20b.txt")
        assert (without.status_code, without.headers["Location"]) == (307, f"{C1}/ro/a%20b.txt")

    def test_e3_query_and_encoding(self, world: World) -> None:
        response = world.call("GET", "//demo/./x/../a(1)+b,c.txt?z=1&a=b%20c&skipstat=yes")

        assert response.headers["Location"] == f"{C1}/demo/a%281%29+b,c.txt?a=b+c&skipstat=&z=1"
        assert response.headers["Link"] == link(C1, C2, C3, path="/demo/a%281%29+b%2Cc.txt", depth=1)

    def test_e4_head(self, world: World) -> None:
        response = world.call("HEAD", "/demo/f")

        assert response.status_code == 307
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert response.data == b""
        assert response.headers["Link"] == link(C1, C2, C3, path="/demo/f", depth=1)

    def test_e5_no_redirect_wanted(self, world: World) -> None:
        response = world.call("GET", "/demo/f?redirect=false")

        assert (response.status_code, response.data) == (200, b"")
        assert "Location" not in response.headers
        assert "Content-Type" not in response.headers
        assert response.headers["Link"] == link(C1, C2, C3, path="/demo/f", depth=1)

    def test_e6_debug(self, world: World) -> None:
        response = world.call("GET", "/demo/f?redirect=false", X_Pelican_Debug="true")

        assert (response.status_code, response.headers["Location"]) == (307, f"{C1}/demo/f?redirect=false")
        assert response.headers["Content-Type"] == "application/json"
        body = json.loads(response.data)
        assert body["clientInfo"] == {
            "Coordinate": {
                "Lat": 43.07,
                "Long": -89.4,
                "AccuracyRadius": 0,
                "Source": "declared",
                "FromTTLCache": False,
            },
            "ipAddr": "192.0.2.10",
        }
        weights = {url: info["RedirectWeights"]["distanceWeight"] for url, info in body["serversInfo"].items()}
        assert weights == pytest.approx(
            {C1: 0.6550045739686163, C2: 0.06095372485864298, C3: 0.00308277442984135}, abs=1e-9
        )
        assert body["directorSortMethod"] == "distance"

    def test_e9_all_caches_unusable(self, make_world: Callable[..., World]) -> None:
        ads = {
            name: dataclasses.replace(ad, status="critical") if name.startswith("C") else ad
            for name, ad in example_ads().items()
        }
        world = make_world(ads=ads)

        response = world.call("GET", "/demo/f")
        assert (response.status_code, response.headers["Location"]) == (307, f"{O1}/demo/f")
        assert response.headers["Link"] == link(O1, path="/demo/f", depth=1)
        refused = world.call("GET", "/ro/f")
        assert refused.status_code == 404
        assert world.message(refused) == (
            "No caches can fulfill this request and no fallback origins with the 'DirectReads' capability found "
            f"for this object. Request ID: {JID}"
        )


class TestDirectReadsAndVersions:
    @pytest.mark.parametrize(
        "target", ["/demo/f", "/api/v1.0/director/origin/demo/f", "/api/v1.0/director/object/demo/f"]
    )
    def test_e11_direct_read(self, world: World, target: str) -> None:
        """On the object endpoint, too, `directread` means origins (upstream: the alphabetically first cache)."""
        response = world.call("GET", target + "?directread")

        assert (response.status_code, response.headers["Location"]) == (307, f"{O1}/demo/f?directread=")
        assert response.headers["Link"] == link(O1, path="/demo/f", depth=1)

    def test_e12_no_direct_reads(self, world: World) -> None:
        response = world.call("GET", "/ro/f?directread")

        assert response.status_code == 405
        assert world.message(response) == (
            "Discovered sources for the namespace, but none support the request: no origins found that support the "
            f"'get' request type with queries 'DirectReads': See '{WEB}' to troubleshoot available origins/caches and "
            f"their capabilities: Request ID: {JID}"
        )
        assert response.headers["Access-Control-Allow-Origin"] == "*"

    def test_e14_contradiction(self, world: World) -> None:
        response = world.call("GET", "/demo/f?directread&prefercached")

        assert response.status_code == 400
        assert world.message(response) == (
            "Failed to validate incoming request: invalid query parameter combination: cannot have both directread "
            f"and prefercached query parameters: Request ID: {JID}"
        )

    @pytest.mark.parametrize(
        ("agent", "why"),
        [
            (
                "pelican-client/6.9.9",
                "The director does not support your client version (6.9.9). Please update to 7.0.0 or newer.",
            ),
            (
                "pelican-director/7.20.0",
                "Invalid version format. The director does not support your director version (7.20.0).",
            ),
        ],
    )
    def test_e15_client_too_old(self, world: World, agent: str, why: str) -> None:
        response = world.call("GET", "/demo/f", User_Agent=agent)

        assert response.status_code == 400
        assert world.message(response) == (
            f"Failed to validate incoming request: version compatibility check failed: {why}: Request ID: {JID}"
        )

    @pytest.mark.parametrize("agent", ["pelican-client/6.9.9 project/abc", "xrdcl-pelican/1.5", "curl/8.5.0", ""])
    def test_e15_unrecognised_agents_pass(self, world: World, agent: str) -> None:
        assert world.call("GET", "/demo/f", User_Agent=agent).status_code == 307


class TestMissing:
    def test_e16_unknown_namespace(self, world: World) -> None:
        response = world.call("GET", "/nope/f")

        assert response.status_code == 404
        assert world.message(response) == (
            "No sources found for the requested path: no origins found for the requested namespace '/nope/f': "
            f"Request ID: {JID}"
        )
        assert {name for name, _ in response.headers if name.startswith("X-Pelican")} == {"X-Pelican-JobId"}
        assert "Link" not in response.headers

    def test_e17_soon_after_the_start(self, make_world: Callable[..., World]) -> None:
        response = make_world(age_s=120).call("GET", "/nope/f")

        assert response.status_code == 429
        assert json.loads(response.data)["msg"] == (
            "no servers were found for the requested path '/nope/f'; director just restarted, try again shortly: "
            f"Request ID: {JID}"
        )

    def test_e18_expired_advertisement(self, world: World) -> None:
        world.director.directory.record(world.ads["O2"], 10)
        world.clock.advance(10)

        assert world.call("GET", "/ro/f").status_code == 404
        listed = json.loads(world.call("GET", "/api/v2.0/director/listNamespaces").data)
        assert len(listed) == 4  # /demo, /multi twice, /pelican/monitoring


class TestWritesAndListings:
    def test_e21_put(self, world: World) -> None:
        response = world.call("PUT", "/demo/new.txt", Authorization="Bearer T")

        assert (response.status_code, response.headers["Location"]) == (307, f"{O1}/demo/new.txt?authz=T")
        assert response.headers["Link"] == link(O1, path="/demo/new.txt", depth=1)
        assert response.data == b""
        assert "Content-Type" not in response.headers

    @pytest.mark.parametrize(("method", "verb"), [("PUT", "put"), ("DELETE", "delete"), ("COPY", "unknown")])
    def test_e22_read_only_namespace(self, world: World, method: str, verb: str) -> None:
        response = world.call(method, "/ro/x")

        assert response.status_code == 405
        assert f"support the '{verb}' request type with queries ''" in world.message(response)

    def test_e23_listing(self, world: World) -> None:
        response = world.call("PROPFIND", "/demo/data", Depth="1")

        assert (response.status_code, response.headers["Location"]) == (307, f"{O1}/demo/data")
        assert response.headers["X-Pelican-Namespace"] == f"namespace=/demo, require-token=false, collections-url={O1}"
        assert response.headers["Link"].endswith("depth=1")

    def test_e24_listing_not_allowed(self, world: World) -> None:
        refused = world.call("PROPFIND", "/ro", Depth="1")
        assert refused.status_code == 405
        assert "'ls'" in world.message(refused)
        for headers in ({"Depth": "0"}, {}):
            response = world.call("PROPFIND", "/ro", **headers)
            assert (response.status_code, response.headers["Location"]) == (307, f"{O2}/ro")
            assert response.headers["X-Pelican-Namespace"] == "namespace=/ro, require-token=true"
            assert response.headers["Link"].endswith("depth=0")

    @pytest.mark.parametrize("target", ["/demo/f", "/"])
    def test_e25_options(self, world: World, target: str) -> None:
        response = world.call("OPTIONS", target)

        assert (response.status_code, response.data) == (200, b"")
        assert response.headers["Allow"] == "HEAD,GET,PUT,PROPFIND,COPY,OPTIONS,POST"
        assert response.headers["Access-Control-Allow-Methods"] == "GET, PUT, OPTIONS, PROPFIND"

    def test_e25_options_of_the_api(self, world: World) -> None:
        response = world.call("OPTIONS", "/api/v1.0/director/object/demo/f")

        assert (response.status_code, response.data) == (200, b"")
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert "Allow" not in response.headers

    @pytest.mark.parametrize(
        ("method", "target", "status"),
        [
            ("POST", "/demo/f", 404),
            ("GET", "/api/v1.0/director/unknown", 405),
            ("PUT", "/api/v1.0/director/object/demo/f", 405),
            ("GET", "/.well-known/unknown", 404),
            ("GET", "/api/v1.0/unknown", 404),
            ("POST", "/api/v1.0/director/directors", 405),
        ],
    )
    def test_e26_everything_else_is_json(self, world: World, method: str, target: str, status: int) -> None:
        """Upstream answers plain text; and `page not found` would make a Go client turn a DELETE into a PUT."""
        response = world.call(method, target)

        assert response.status_code == status
        assert world.message(response)
        assert "page not found" not in response.text.lower()


class TestOriginStat:
    """`/multi` has two origins: both are asked."""

    def ask(self, world: World, o3: object, o4: object, target: str = "/api/v1.0/director/origin/multi/x") -> object:
        world.network.behaviours = {"o3": o3, "o4": o4}  # type: ignore[dict-item]
        return world.call("GET", target)

    def test_e27_both_have_it(self, world: World) -> None:
        response = self.ask(world, FIVE, FIVE)

        assert response.status_code == 307
        assert response.headers["Link"] == link(O3, O4, path="/multi/x", depth=1)
        assert response.headers["X-Pelican-Namespace"] == "namespace=/multi, require-token=false"
        assert "X-Pelican-Authorization" not in response.headers
        assert "X-Pelican-Token-Generation" not in response.headers
        assert sorted(url for url, _ in world.network.heads) == [f"{O3}/multi/x", f"{O4}/multi/x"]
        for _url, headers in world.network.heads:
            assert "Authorization" not in headers

    def test_e28_one_has_it(self, world: World) -> None:
        response = self.ask(world, (404, {}), FIVE)
        assert response.headers["Link"] == link(O4, path="/multi/x", depth=1)

    def test_e29_nobody_has_it(self, world: World) -> None:
        response = self.ask(world, (404, {}), (404, {}))

        assert response.status_code == 404
        assert world.message(response) == NOT_FOUND
        assert response.headers["X-Pelican-JobId"] == JID
        assert self.ask(world, FIVE, FIVE).status_code == 404
        assert len(world.network.heads) == 2

    @pytest.mark.parametrize(
        ("o3", "o4"),
        [
            (Failure.TIMED_OUT, Failure.TIMED_OUT),  # E30
            ((500, {}), (503, {})),  # E31
            ((403, {}), (403, {})),  # E32
            (Failure.REFUSED, Failure.CUT_OFF),  # E33
            ((401, {}), (401, {})),
            ((302, {"Location": "https://elsewhere.example.org/"}), Failure.NAME),
            ((200, {}), (200, {"Content-Length": "many"})),
        ],
    )
    def test_e30_to_e33_nothing_known_means_both_by_distance(self, world: World, o3: object, o4: object) -> None:
        """Upstream makes a 404 of timeouts, refusals and 5xx. Slow is not absent."""
        response = self.ask(world, o3, o4)

        assert response.status_code == 307
        assert response.headers["Link"] == link(O3, O4, path="/multi/x", depth=1)

    def test_e34_one_silent_one_good(self, world: World) -> None:
        """The one that answered comes first; the silent one stays as a last resort."""
        response = self.ask(world, Failure.TIMED_OUT, FIVE)
        assert response.headers["Link"] == link(O4, O3, path="/multi/x", depth=1)

    def test_e35_no_length(self, world: World) -> None:
        """A 200 without length is no answer; the other's 404 settles nothing."""
        response = self.ask(world, (200, {}), (404, {}))
        assert (response.status_code, response.headers["Link"]) == (307, link(O3, path="/multi/x", depth=1))

    def test_e37_reads_through_caches_ask_the_origins(self, world: World) -> None:
        assert self.ask(world, (404, {}), (404, {}), "/multi/x").status_code == 404
        response = self.ask(world, (404, {}), FIVE, "/multi/y")
        assert (response.status_code, response.headers["Location"]) == (307, f"{C1}/multi/y")

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PROPFIND", "COPY"])
    def test_e38_writes_and_listings_ask_nobody(self, world: World, method: str) -> None:
        world.call(method, "/multi/x")
        assert world.network.heads == []

    def test_a_write_redirected_by_us_makes_an_absence_worth_asking_again(
        self, make_world: Callable[..., World]
    ) -> None:
        ads = example_ads()
        writable = dataclasses.replace(
            ads["O3"].namespaces[0],
            capabilities=dataclasses.replace(ads["O3"].namespaces[0].capabilities, writes=True),
        )
        for name in ("O3", "O4"):
            ads[name] = dataclasses.replace(
                ads[name],
                namespaces=(writable,),
                capabilities=dataclasses.replace(ads[name].capabilities, writes=True),
            )
        world = make_world(ads=ads)
        assert self.ask(world, (404, {}), (404, {})).status_code == 404

        assert world.call("PUT", "/multi/x").status_code == 307

        assert self.ask(world, FIVE, (404, {})).status_code == 307


class TestTokens:
    def test_e39_expired(self, world: World) -> None:
        token = jwt(iat=world.wall.now - 600, exp=world.wall.now - 300)

        response = world.call("GET", "/demo/f", Authorization=f"Bearer {token}")

        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == (
            'Bearer error="invalid_token", error_description="token has expired"'
        )
        assert world.message(response) == f"bearer token has expired: Request ID: {JID}"
        assert token not in response.text


MONITORING = "/pelican/monitoring/directorTest/director.example.org/2026-01-24/director-test-2026-01-24T12:16:59Z.txt"


class TestMonitoring:
    def test_e42_to_the_directors_own_files(self, world: World) -> None:
        response = world.call("GET", f"/api/v1.0/director/origin{MONITORING}")

        base = f"{WEB}/api/v1.0/director/healthTest"
        assert (response.status_code, response.headers["Location"]) == (307, base + MONITORING)
        assert response.headers["Link"] == link(base, path=MONITORING, depth=4)
        assert response.headers["X-Pelican-Namespace"] == "namespace=/pelican/monitoring, require-token=false"
        assert response.headers["X-Pelican-JobId"] == JID

    def test_e43_the_files(self, world: World) -> None:
        target = f"/api/v1.0/director/healthTest{MONITORING}"
        body = "This object was created by the Pelican director-test functionality\n"

        got = world.call("GET", target)
        assert (got.status_code, got.text, got.headers["Content-Type"]) == (200, body, "text/plain; charset=utf-8")
        head = world.call("HEAD", target)
        assert (head.status_code, head.headers["Content-Length"], head.data) == (200, "67", b"")
        found = world.call("PROPFIND", target)
        assert found.status_code == 207
        assert "<lp1:getcontentlength>67</lp1:getcontentlength>" in found.text
        assert "<lp1:getlastmodified>Sat, 24 Jan 2026 12:16:59 GMT</lp1:getlastmodified>" in found.text

    @pytest.mark.parametrize(
        "path",
        [
            "/elsewhere/director-test-2026-01-24T12:16:59Z.txt",
            "/pelican/monitoring/x/director-test-2026-01-24T12:16:59Z",
            "/pelican/monitoring/x/other-2026-01-24T12:16:59Z.txt",
            "/pelican/monitoring/x/director-test-yesterday.txt",
            "/pelican/monitoring/x/director-test-2026-13-24T12:16:59Z.txt",
        ],
    )
    def test_bad_names_are_refused(self, world: World, path: str) -> None:
        response = world.call("GET", f"/api/v1.0/director/healthTest{path}")
        assert response.status_code == 400
        assert world.message(response)


class TestOtherEndpoints:
    def test_e47_namespaces_v1_is_gone(self, world: World) -> None:
        response = world.call("GET", "/api/v1.0/director/listNamespaces")

        assert response.status_code == 299
        assert response.headers["Warning"].startswith("299 - ")
        assert "/api/v2.0/director/listNamespaces" in world.message(response)

    def test_e47_namespaces_with_a_body_on_the_get(self, world: World) -> None:
        """Caches send the four letters `null`; the answer must be a bare array with the monitoring namespace in it."""
        response = world.call("GET", "/api/v2.0/director/listNamespaces", body=b"null", Content_Type="application/json")

        assert response.status_code == 200
        listed = json.loads(response.data)
        assert len(listed) == 5
        assert listed[-1]["path"] == "/pelican/monitoring"
        assert listed[-1]["Caps"] == {
            "PublicRead": True,
            "Read": True,
            "Write": False,
            "Listing": False,
            "FallBackRead": False,
            "Copies": False,
        }

    def test_e48_discovery(self, make_world: Callable[..., World]) -> None:
        response = make_world().call("GET", "/.well-known/pelican-configuration")

        assert response.status_code == 200
        assert json.loads(response.data) == {
            "discovery_endpoint": WEB,
            "director_endpoint": WEB,
            "namespace_registration_endpoint": "https://registry.example.org",
            "jwks_uri": f"{WEB}/.well-known/issuer.jwks",
            "broker_endpoint": "",
        }
        assert response.text.endswith("}\n")
        off = make_world(enable_federation_metadata_hosting=False)
        assert off.call("GET", "/.well-known/pelican-configuration").status_code == 410

    def test_e49_prefix(self, world: World) -> None:
        base = "/api/v1.0/director/namespaces/prefix"
        assert json.loads(world.call("GET", f"{base}/demo/a/b").data) == {"prefix": "/demo"}
        missing = world.call("GET", f"{base}/nope")
        assert missing.status_code == 404
        assert world.message(missing).startswith("No server is currently advertising the path")
        assert world.call("GET", f"{base}/").status_code == 400

    def test_directors_lists_this_one(self, world: World) -> None:
        (entry,) = json.loads(world.call("GET", "/api/v1.0/director/directors").data)
        assert entry["advertise_url"] == WEB
        assert entry["name"]
        assert entry["expiry"] == "2026-01-01T00:10:00Z"
