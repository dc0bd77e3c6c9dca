"""Laws of the documents below `/.well-known/`: what they say, of whom, and who asked for them."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from director_wsgi.runtime.metrics import Metrics
from director_wsgi.web import discovery
from director_wsgi.web.addresses import TrustedProxies
from director_wsgi.web.discovery import MAX_ROWS, Discovery, MetadataRequests

PELICAN = "/.well-known/pelican-configuration"
OPENID = "/.well-known/openid-configuration"
JWKS = "/.well-known/issuer.jwks"

TOLD = Discovery(
    discovery_url="https://fed.example.org",
    director_url="https://director.example.org",
    director_urls=(),
    registry_url="https://registry.example.org",
    jwk_url="https://fed.example.org/keys",
    broker_url="",
    jwks=lambda: {"keys": [{"kid": "k1"}]},
    is_hosted=True,
)


@pytest.fixture
def requests() -> MetadataRequests:
    return MetadataRequests()


@pytest.fixture
def make_client(requests: MetadataRequests) -> Callable[..., FlaskClient]:
    def make(**changed: Any) -> FlaskClient:
        app = Flask(__name__)
        proxies = TrustedProxies(["10.0.0.0/8"])
        app.register_blueprint(discovery.blueprint(replace(TOLD, **changed), requests=requests, proxies=proxies))
        return app.test_client()

    return make


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://d.example.org", "https://d.example.org"),
        ("https://d.example.org:443", "https://d.example.org"),
        ("http://d.example.org:443/x", "https://d.example.org/x"),
        ("https://d.example.org:8443", "https://d.example.org:8443"),
        ("HTTP://d.example.org:80", "https://d.example.org:80"),
        ("https://[::1]:443", "https://[::1]"),
    ],
)
def test_director_and_registry_are_told_as_https_without_its_usual_port(
    make_client: Callable[..., FlaskClient], url: str, shown: str
) -> None:
    client = make_client(director_url=url, registry_url=url)
    document = json.loads(client.get(PELICAN).data)
    assert (document["director_endpoint"], document["namespace_registration_endpoint"]) == (shown, shown)
    document = json.loads(client.get(OPENID).data)
    assert document == {"issuer": shown, "jwks_uri": f"{shown}/.well-known/issuer.jwks"}


def test_documents_are_indented_and_named(make_client: Callable[..., FlaskClient]) -> None:
    for path, name in ((PELICAN, "pelican-configuration.json"), (JWKS, "public-signing-key.jwks")):
        answer = make_client().get(path)
        assert answer.text == json.dumps(json.loads(answer.data), indent=2) + "\n"
        assert answer.headers["Content-Disposition"] == f"attachment; filename={name}"
        assert answer.headers["Content-Type"].startswith("application/json")


def test_pages_of_browsers_may_read_keys_and_issuer(make_client: Callable[..., FlaskClient]) -> None:
    for path in (OPENID, JWKS):
        assert make_client().get(path).headers["Access-Control-Allow-Origin"] == "*"


def test_keys_are_those_of_the_moment(make_client: Callable[..., FlaskClient]) -> None:
    now: list[dict[str, object] | None] = [{"keys": [{"kid": "one"}]}]
    client = make_client(jwks=lambda: now[0])
    assert json.loads(client.get(JWKS).data) == now[0]
    now[0] = {"keys": [{"kid": "one"}, {"kid": "two"}]}
    assert json.loads(client.get(JWKS).data) == now[0]


def test_without_keys_it_is_500_and_says_so(make_client: Callable[..., FlaskClient]) -> None:
    answer = make_client(jwks=lambda: None).get(JWKS)
    assert answer.status_code == 500
    assert json.loads(answer.data) == {"status": "error", "msg": "Failed to load server's public key"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"director_url": ""}, "director URL is not set"),
        ({"registry_url": ""}, "registry URL is not set"),
        ({"jwk_url": ""}, "JwksUri is not set"),
    ],
)
def test_what_is_not_known_is_500_and_named(
    make_client: Callable[..., FlaskClient], changed: dict[str, str], said: str
) -> None:
    answer = make_client(**changed).get(PELICAN)
    assert answer.status_code == 500
    assert json.loads(answer.data) == {"status": "error", "msg": f"Bad server configuration: {said}"}


def test_whose_metadata_is_hosted_elsewhere_has_gone_and_its_keys_are_still_here(
    make_client: Callable[..., FlaskClient],
) -> None:
    client = make_client(is_hosted=False)
    assert client.get(PELICAN).status_code == 410
    assert json.loads(client.get(PELICAN).data)["msg"].startswith("This Director is configured to disallow")
    assert client.get(OPENID).status_code == 200
    assert client.get(JWKS).status_code == 200


class TestWhoAsks:
    def told(self, requests: MetadataRequests) -> dict[tuple[str, str], float]:
        shown = Metrics()
        shown.add(requests.collect)
        return {
            (sample.labels["network"], sample.labels["service_type"]): sample.value
            for family in text_string_to_metric_families(shown.text().decode())
            for sample in family.samples
            if sample.name == "pelican_director_federationmetadata_requests_total"
        }

    def test_is_counted_by_network_and_by_what_it_says_it_is(
        self, make_client: Callable[..., FlaskClient], requests: MetadataRequests
    ) -> None:
        for is_hosted in (True, False):
            client = make_client(is_hosted=is_hosted)
            for agent in (
                "pelican-cache/7.20.0",
                "Pelican-Director/7 origin cache",
                "pelican-origin/7",
                "the registry",
                "curl/8",
                "",
            ):
                client.get(PELICAN, headers={"User-Agent": agent}, environ_base={"REMOTE_ADDR": "192.0.2.7"})
        network = "192.0.2.0/24"
        assert self.told(requests) == {
            (network, "cache"): 2,
            (network, "director"): 2,
            (network, "origin"): 2,
            (network, "registry"): 2,
            (network, "unknown"): 4,
        }

    def test_is_where_the_trusted_proxy_says(
        self, make_client: Callable[..., FlaskClient], requests: MetadataRequests
    ) -> None:
        headers = {"X-Forwarded-For": "2001:db8::1"}
        make_client().get(PELICAN, headers=headers, environ_base={"REMOTE_ADDR": "10.0.0.1"})
        make_client().get(PELICAN, headers=headers, environ_base={"REMOTE_ADDR": "192.0.2.1"})
        make_client().get(PELICAN, environ_base={"REMOTE_ADDR": ""})
        assert {network for network, _ in self.told(requests)} == {"2001:db8::/64", "192.0.2.0/24", "unknown"}

    def test_nobody_can_make_it_grow(self, requests: MetadataRequests) -> None:
        for number in range(MAX_ROWS + 50):
            requests.count(f"network {number}", f"agent {number} cache")
        requests.count("network 0", "cache")
        told = self.told(requests)
        assert len(told) == MAX_ROWS + 1
        assert told["other", "cache"] == 50
        assert told["network 0", "cache"] == 2
