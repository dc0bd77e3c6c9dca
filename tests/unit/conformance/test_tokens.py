"""Keys and tokens of a whole director: discovery (E48, C-01 to C-04), federation tokens (E50, C-56), its own doors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.trust.keys import parse_key_set
from director_wsgi.trust.self_issued import DISCOVER, SCRAPE
from tests.unit.conformance.conftest import WEB, World
from tests.unit.trust.forge import Key, jwks
from tests.unit.trust.registries import FakeRegistry, answer
from tests.unit.trust.rings import add, signed

FED_TOKEN = "/api/v1.0/director/getFedToken"
JWKS = "/.well-known/issuer.jwks"
ASKS = "host 'CACHE_CHI' generated request with"
PELICAN = "/.well-known/pelican-configuration"

MakeWorld = Callable[..., World]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return add(tmp_path / "keys" / "a.pem").parent


@pytest.fixture
def cache_key() -> Key:
    return Key("cache")


@pytest.fixture
def world(make_world: MakeWorld, directory: Path, cache_key: Key) -> World:
    """A director with a key, and with a registry that it has asked for what caches may read."""
    world = make_world(issuer_keys_directory=directory)
    world.network.registry = FakeRegistry(cache_key)
    refresh_prefixes(world)
    return world


def refresh_prefixes(world: World) -> None:
    assert world.director.prefixes.refresh(Deadline.after(5.0, world.clock))


def ask(world: World, token: str | None = None, /, **query: Any) -> Any:
    asked = {"host": "CACHE_CHI", "sType": "Cache"} | query
    words = urlencode({name: value for name, value in asked.items() if value is not None}, doseq=True)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return world.call("GET", f"{FED_TOKEN}?{words}", plain=True, User_Agent="pelican-cache/7.20.0", **headers)


def published(world: World) -> list[str]:
    answer = world.call("GET", JWKS, plain=True)
    assert answer.status_code == 200
    return [key.kid for key in parse_key_set(answer.data).keys]


class TestDiscovery:
    def test_e48_c01_to_c04_what_clients_read_first(self, world: World) -> None:
        told = world.call("GET", PELICAN)
        assert told.status_code == 200
        assert told.headers["Content-Type"].startswith("application/json")
        assert told.headers["Content-Disposition"] == "attachment; filename=pelican-configuration.json"
        document = {
            "discovery_endpoint": WEB,
            "director_endpoint": WEB,
            "namespace_registration_endpoint": "https://registry.example.org",
            "jwks_uri": f"{WEB}{JWKS}",
            "broker_endpoint": "",
        }
        assert told.text == json.dumps(document, indent=2) + "\n"

    def test_e48_hosting_is_off(self, make_world: MakeWorld, directory: Path) -> None:
        off = make_world(enable_federation_metadata_hosting=False, issuer_keys_directory=directory)
        told = off.call("GET", PELICAN)
        assert told.status_code == 410
        assert off.message(told).startswith("This Director is configured to disallow federation metadata hosting")
        assert published(off)

    def test_c02_c03_the_director_is_told_as_https_without_path(self, make_world: MakeWorld) -> None:
        world = make_world(web_url="http://d.example.org:8444", director_url="http://d.example.org:8444")
        document = json.loads(world.call("GET", PELICAN).data)
        assert document["director_endpoint"] == "https://d.example.org:8444"

    def test_a_federations_own_keys_are_told_where_they_are(self, make_world: MakeWorld) -> None:
        world = make_world(discovery_url="https://fed.example.org", jwk_url="https://fed.example.org/keys")
        document = json.loads(world.call("GET", PELICAN).data)
        assert (document["discovery_endpoint"], document["jwks_uri"]) == (
            "https://fed.example.org",
            "https://fed.example.org/keys",
        )

    def test_keys_are_followed_while_it_runs(self, world: World, directory: Path) -> None:
        before = published(world)
        add(directory / "0.pem", at=world.wall())
        world.director.ring.refresh()
        assert len(published(world)) == 2
        assert set(before) < set(published(world))


class TestFederationTokens:
    @pytest.mark.parametrize("by_query", [True, False])
    def test_e50_c56_a_cache_gets_one(self, world: World, cache_key: Key, by_query: bool) -> None:
        token = cache_key.token()
        told = ask(world, authz=token) if by_query else ask(world, token)
        assert told.status_code == 200
        assert told.headers["Content-Type"].startswith("application/json")
        body = json.loads(told.data)
        assert list(body) == ["access_token", "error"]
        assert body["error"] == ""

        document = parse_key_set(world.call("GET", JWKS).data)
        header = jwt.get_unverified_header(body["access_token"])
        (key,) = document.with_id(header["kid"])
        unchecked = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
        claims = jwt.decode(body["access_token"], key.public, algorithms=[header["alg"]], options=unchecked)
        assert claims.pop("jti")
        now = int(world.wall())
        assert claims == {
            "wlcg.ver": "1.0",
            "iss": WEB,
            "sub": "CACHE_CHI",
            "aud": ["https://wlcg.cern.ch/jwt/v1/any"],
            "scope": "storage.read:/",
            "iat": now,
            "nbf": now,
            "exp": now + 900,
        }

    @pytest.mark.parametrize("word", ["cache", "CACHE", "Cache", "origin", "Origin"])
    def test_the_kind_is_written_in_any_case(self, world: World, cache_key: Key, word: str) -> None:
        assert ask(world, cache_key.token(), sType=word).status_code == 200

    def test_a_restricted_cache_reads_what_it_may(self, world: World, cache_key: Key) -> None:
        registry = world.network.registry
        assert registry is not None
        registry.allowed = {"CACHE_CHI": ["/demo", "/rw/", "*"]}
        refresh_prefixes(world)
        token = json.loads(ask(world, cache_key.token()).data)["access_token"]
        scope = jwt.decode(token, options={"verify_signature": False})["scope"]
        assert scope == "storage.read:/demo storage.read:/rw/"

    @pytest.mark.parametrize(
        ("query", "said"),
        [
            ({"host": None}, "no hostname found in the 'host' url parameter"),
            ({"host": ""}, "no hostname found in the 'host' url parameter"),
            ({"host": ["A", "B"]}, "multiple hostnames found in the 'host' url parameter"),
            (
                {"sType": None},
                f"{ASKS} no server type found in the 'sType' url parameter",
            ),
            (
                {"sType": ["Cache", "Cache"]},
                f"{ASKS} multiple server types in the 'sType' url parameter",
            ),
            (
                {"sType": "Director"},
                f"{ASKS} invalid server type 'Director' as value of 'sType' url parameter",
            ),
            (
                {"authz": ""},
                f"{ASKS} no authorization token in 'Authorization' header or 'authz' url parameter",
            ),
        ],
    )
    def test_e50_c56_what_is_missing_is_named(
        self, world: World, cache_key: Key, query: dict[str, Any], said: str
    ) -> None:
        refused = ask(world, cache_key.token(), **query)
        assert refused.status_code == 403
        assert world.message(refused) == said

    def test_e50_without_a_token(self, world: World) -> None:
        refused = ask(world)
        assert refused.status_code == 403
        assert "no authorization token" in world.message(refused)

    def test_e50_a_bad_signature_is_500(self, world: World) -> None:
        refused = ask(world, Key("cache").token())
        assert refused.status_code == 500
        assert json.loads(refused.data) == {"status": "error", "msg": "Failed to verify advertise token"}

    def test_e50_a_token_for_something_else(self, world: World, cache_key: Key) -> None:
        refused = ask(world, cache_key.token(scope="storage.read:/"))
        assert refused.status_code == 403
        assert world.message(refused) == "The provided advertise token was rejected"

    def test_e50_a_server_that_is_not_approved(self, world: World, cache_key: Key) -> None:
        registry = world.network.registry
        assert registry is not None
        registry.unapproved.add("/caches/CACHE_CHI")
        refused = ask(world, cache_key.token())
        assert refused.status_code == 403
        assert world.message(refused) == "Host 'CACHE_CHI' has not been approved by an administrator"

    def test_e50_without_a_key_of_ours(self, make_world: MakeWorld, cache_key: Key) -> None:
        world = make_world()
        world.network.registry = FakeRegistry(cache_key)
        refresh_prefixes(world)
        refused = ask(world, cache_key.token())
        assert refused.status_code == 500
        assert world.message(refused) == "Attempted to create federation token but failed unexpectedly"

    def test_while_the_registry_is_away_the_sender_shall_come_again(self, world: World, cache_key: Key) -> None:
        """Unlike upstream, whose 500 says that the token was at fault."""
        registry = world.network.registry
        assert registry is not None
        registry.is_away = True
        refused = ask(world, cache_key.token())
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert world.message(refused)

    @pytest.mark.parametrize(
        "query",
        [
            "host=%80&sType=Cache",
            "host=A&sType=%80",
            "host=A&sType=Cache&authz=%80",
            "host=A;sType=Cache",
            "host=%00&sType=Cache",
            "%",
            "",
            "host=A&sType=\x80",
        ],
    )
    def test_no_query_does_worse_than_a_refusal(self, world: World, cache_key: Key, query: str) -> None:
        refused = world.call("GET", f"{FED_TOKEN}?{query}", plain=True, Authorization=f"Bearer {cache_key.token()}")
        assert refused.status_code in {403, 500}
        assert not world.message(refused).startswith("The director failed")

    def test_no_answer_shows_a_token_that_was_refused(self, world: World) -> None:
        token = Key("cache").token()
        for refused in (ask(world, token), ask(world, token, sType="x"), ask(world, token, host="../x")):
            assert not any(part in refused.text for part in token.split("."))

    def test_what_became_of_them_is_told(self, make_world: MakeWorld) -> None:
        world = make_world(metric_authorization=False)
        ask(world, Key().token())
        ask(world, "nonsense")
        text = world.call("GET", "/metrics", plain=True).text
        assert 'director_wsgi_federation_tokens_total{outcome="RegistryUnavailable"} 1.0' in text
        assert 'director_wsgi_federation_tokens_total{outcome="FedTokenFailed"} 1.0' in text


class TestDoors:
    """`/metrics`, which stands for every door of the director's own."""

    def scrape(self, world: World, token: str) -> int:
        return world.call("GET", "/metrics", plain=True, Authorization=f"Bearer {token}").status_code

    def test_ours_and_the_federations_tokens_open(self, make_world: MakeWorld, directory: Path) -> None:
        federation = Key("fed")
        url = "https://fed.example.org"
        world = make_world(issuer_keys_directory=directory, discovery_url=url, jwk_url=f"{url}/keys")
        (ours,) = world.director.ring.outlook()
        theirs = signed(federation, world.wall(), iss=url)
        assert self.scrape(world, signed(ours.key, world.wall())) == 200
        assert self.scrape(world, theirs) == 403  # nobody has told its keys yet

        host = FakeRegistry()
        host.overrides["/keys"] = answer(body=jwks(federation))
        world.network.registry = host
        keys = world.director.federation_keys
        assert keys is not None
        assert keys.refresh(Deadline.after(5.0, world.clock))
        assert self.scrape(world, theirs) == 200
        assert self.scrape(world, signed(ours.key, world.wall(), iss=url)) == 403
        assert self.scrape(world, signed(federation, world.wall())) == 403

    def test_a_federation_that_is_this_director_needs_nobody_elses_keys(self, world: World) -> None:
        assert world.director.federation_keys is None

    def test_a_door_opens_to_its_own_scope_only(self, world: World) -> None:
        (ours,) = world.director.ring.outlook()
        assert self.scrape(world, signed(ours.key, world.wall(), scope=SCRAPE)) == 200
        assert self.scrape(world, signed(ours.key, world.wall(), scope=DISCOVER)) == 403

    def test_a_federation_token_that_we_gave_opens_none(self, world: World, cache_key: Key) -> None:
        token = json.loads(ask(world, cache_key.token()).data)["access_token"]
        assert self.scrape(world, token) == 403
