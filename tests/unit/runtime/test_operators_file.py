"""An operator's `pelican.yaml` works as it is: every name of Pelican's that a director's file may hold is accepted."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest
import yaml

from director_wsgi.runtime.config import Config
from director_wsgi.runtime.discovery import Document, completed, missing
from director_wsgi.runtime.names import INERT
from director_wsgi.runtime.parameters import PARAMETERS
from director_wsgi.runtime.sources import load
from tests.unit.runtime.test_config_files import certificate, write

pytestmark = pytest.mark.unit

Loader = Callable[..., Config]
Problems = Callable[..., tuple[str, ...]]

OBEYED: Final[Mapping[str, object]] = {
    "Director.DefaultResponse": "cache",
    "Director.CacheSortMethod": "adaptive",
    "Director.AdaptiveSortTruncateConstant": 6,
    "Director.AdaptiveSortEWMATimeConstant": "5m",
    "Director.FilterCachesInErrorState": True,
    "Director.CheckOriginPresence": True,
    "Director.AssumePresenceAtSingleOrigin": True,
    "Director.CheckCachePresence": True,
    "Director.StatTimeout": "2000ms",
    "Director.StatConcurrencyLimit": 100,
    "Director.CachePresenceTTL": "1m",
    "Director.CachePresenceCapacity": 2000,
    "Director.CachesPullFromCaches": False,
    "Director.OriginResponseHostnames": ["origins.example.org"],
    "Director.CacheResponseHostnames": ["caches.example.org"],
    "Director.AdvertisementTTL": "15m",
    "Director.AdvertiseUrl": "https://director-1.example.org",
    "Director.OriginCacheHealthTestInterval": "15s",
    "Director.RegistryQueryInterval": "1m",
    "Director.FedTokenLifetime": "15m",
    "Director.FilteredServers": ["BAD_CACHE"],
    "Director.EnableFederationMetadataHosting": True,
    "Director.SupportContactEmail": "help@example.org",
    "Director.SupportContactUrl": "https://example.org/help",
    "Director.GeoIPLocation": "/var/cache/pelican/maxmind/GeoLite2-City.mmdb",
    "GeoIPOverrides": [{"IP": "192.0.2.0/24", "Coordinate": {"Lat": 43.07, "Long": -89.4}}],
    "Federation.DiscoveryUrl": "https://osg-htc.org",
    "Federation.DirectorUrl": "https://director.example.org",
    "Federation.RegistryUrl": "https://registry.example.org",
    "Federation.JwkUrl": "https://osg-htc.org/osdf/public_signing_key.jwks",
    "Federation.BrokerUrl": "https://broker.example.org",
    "Server.ExternalWebUrl": "https://director.example.org",
    "Server.Hostname": "director.example.org",
    "Server.WebHost": "0.0.0.0",
    "Server.WebPort": 8444,
    "Server.TrustedProxies": ["10.0.0.0/8"],
    "Server.DirectorUrls": ["https://director-1.example.org", "https://director-2.example.org"],
    "Server.AdLifetime": "10m",
    "Server.TLSCertificateChain": "tls.crt",
    "Server.TLSKey": "tls.key",
    "Server.TLSCACertificateFile": "tls.crt",
    "TLSSkipVerify": False,
    "IssuerKeysDirectory": "issuer-keys",
    "IssuerKey": "tls.key",
    "Server.IssuerJwks": "further.jwks",
    "Server.HealthMonitoringPublic": False,
    "Server.SSRFProtection.Disabled": False,
    "Server.SSRFProtection.SkipDefaultBlocks": False,
    "Server.SSRFProtection.AllowedCIDRs": ["10.1.0.0/16"],
    "Server.SSRFProtection.BlockedCIDRs": ["10.0.0.0/8"],
    "Transport.DialerTimeout": "10s",
    "Monitoring.MetricAuthorization": True,
    "Logging.Level": "Info",
    "ConfigBase": ".",
    "ConfigLocations": ["config.d"],
    "Xrootd.Sitename": "DIRECTOR-1",
}

WITHOUT_EFFECT: Final = (
    "Director.MinStatResponse",
    "Director.MaxStatResponse",
    "Director.MetadataComparisonInterval",
    "Director.EnableBroker",
    "Director.EnableOIDC",
    "Director.MaxMindKeyFile",
    "Director.DbLocation",
    "Federation.TopologyNamespaceUrl",
    "Federation.TopologyDowntimeUrl",
    "Federation.TopologyReloadInterval",
    "Topology.DisableDowntime",
    "Topology.DisableCaches",
    "Topology.DisableOrigins",
    "Server.AdvertisementInterval",
    "Server.IssuerUrl",
    "Server.IssuerHostname",
    "Server.IssuerPort",
    "Server.DbLocation",
    "Server.EnableUI",
    "Server.WebReadOnly",
    "Server.EnablePprof",
    "Server.UIPasswordFile",
    "Server.UIAdminUsers",
    "Server.AdminGroups",
    "Server.UILoginRateLimit",
    "Server.SessionSecretFile",
    "Server.UIActivationCodeFile",
    "Server.WebConfigFile",
    "Server.StartupTimeout",
    "Transport.TLSHandshakeTimeout",
    "Transport.ResponseHeaderTimeout",
    "Transport.IdleConnTimeout",
    "Transport.DialerKeepAlive",
    "Transport.ExpectContinueTimeout",
    "Transport.MaxIdleConns",
    "Transport.BrokerEndpointCacheTTL",
    "Monitoring.PromQLAuthorization",
    "Monitoring.EnablePrometheus",
    "Monitoring.DataLocation",
    "Monitoring.DataRetention",
    "Monitoring.DataRetentionSize",
    "Monitoring.TokenExpiresIn",
    "Monitoring.TokenRefreshInterval",
    "Monitoring.LabelLimit",
    "Monitoring.LabelNameLengthLimit",
    "Monitoring.LabelValueLengthLimit",
    "Monitoring.SampleLimit",
    "Logging.LogLocation",
    # of other servers and of clients, and what shapes what a director sees
    "Origin.DirectorTest",
    "Cache.DirectorTest",
    "Origin.DisableDirectClients",
    "Origin.EnableBroker",
    "Cache.EnableBroker",
    "GeoLocation",
    "Registry.RequireCacheApproval",
    "Registry.RequireOriginApproval",
    "Client.DirectorRetries",
    "Client.AssumeDirectorServerHeader",
)

REPLACED: Final = {"Director.EnableStat": "Director.CheckOriginPresence"}


def nested(flat: Mapping[str, object]) -> str:
    """A YAML file in sections, as people write it."""
    tree: dict[str, object] = {}
    for name, value in flat.items():
        *sections, last = name.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})  # type: ignore[assignment]
        place[last] = value
    return yaml.safe_dump(tree, sort_keys=False)


@pytest.fixture
def _files(tmp_path: Path) -> None:
    write(tmp_path, certificate())
    (tmp_path / "config.d").mkdir()
    (tmp_path / "further.jwks").write_text('{"keys": []}')


@pytest.mark.usefixtures("_files")
def test_every_name_at_once_is_no_problem_and_has_an_effect_or_is_named_once(loaded: Loader) -> None:
    none = {"PELICAN_FEDERATION_REGISTRYURL": "", "PELICAN_CONFIGBASE": ""}
    config = loaded(nested(OBEYED | dict.fromkeys(WITHOUT_EFFECT, "anything")), **none)
    attribute_of = {one.row.name: one.attribute for one in PARAMETERS}
    assert config.warnings == ()
    for name in OBEYED:
        assert config.sources[attribute_of[name]].startswith("pelican.yaml:")
        assert name not in config.ignored
    assert sorted(config.ignored) == sorted(WITHOUT_EFFECT)


def test_a_name_that_was_replaced_has_its_effect_with_a_warning(loaded: Loader) -> None:
    for old, new in REPLACED.items():
        config = loaded(nested({old: False}))
        assert config.ignored == ()
        assert f"{old} (pelican.yaml:2) is deprecated; use {new}" in config.warnings


def test_the_lists_above_have_every_parameter_that_is_pelicans() -> None:
    ours = {one.row.name for one in PARAMETERS if one.row.ours}
    assert {one.row.name for one in PARAMETERS} - ours == set(OBEYED)
    assert set(WITHOUT_EFFECT) == set(INERT)


@pytest.mark.parametrize("value", ["-1", "3 parsecs", "[]", "[1, {a: [b]}]", "{}", "{deep: {er: [1]}}", "''", "null"])
@pytest.mark.parametrize("name", ["Director.EnableBroker", "Server.UIAdminUsers", "Transport.MaxIdleConns", "Origin"])
def test_whatever_stands_where_nothing_is_obeyed_is_no_problem(loaded: Loader, name: str, value: str) -> None:
    section, _, last = name.rpartition(".")
    loaded(f"{section}: {{{last}: {value}}}" if section else f"{last}: {value}")


def test_a_name_without_effect_in_file_and_environment_is_named_once(loaded: Loader) -> None:
    config = loaded("Director: {EnableBroker: true}", PELICAN_DIRECTOR_ENABLEBROKER="false")
    assert config.ignored == ("Director.EnableBroker",)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Server: {SSRFProtection: {BlockedCIDR: [10.0.0.0/8]}}", "the nearest is Server.SSRFProtection.BlockedCIDRs"),
        ("Server: {SSRFProtection: on}", "expected a mapping of parameters"),
        ("Server: {SSRFProtection: {BlockedCIDRs: [10.0.0.0/33]}}", "'10.0.0.0/33' is neither"),
        ("Server: {SSRFProtection: {AllowedCIDRs: ['*']}}", "'*' is neither"),
        ("Server: {SSRFProtection: {Disabled: perhaps}}", "expected true or false"),
    ],
)
def test_a_mistake_in_what_protects_is_never_passed_over(problems: Problems, text: str, complaint: str) -> None:
    (problem,) = problems(text)
    assert "Server.SSRFProtection" in problem
    assert complaint in problem


def test_nor_is_one_in_the_environment(problems: Problems) -> None:
    (problem,) = problems(PELICAN_SERVER_SSRFPROTECTION_BLOCKEDCIDR="10.0.0.0/8")
    assert problem.endswith("the nearest is PELICAN_SERVER_SSRFPROTECTION_BLOCKEDCIDRS")


# A director of the OSDF, as its operators write it.
OSDF = """
# osdf-director
Debug: true
ConfigLocations:
  - config.d
Federation:
  DiscoveryUrl: osg-htc.org
  TopologyNamespaceUrl: https://topology.opensciencegrid.org/osdf/namespaces?production=1
  TopologyDowntimeUrl: https://topology.opensciencegrid.org/rgdowntime/xml
  TopologyReloadInterval: 4.5m
Director:
  CacheSortMethod: adaptive
  MaxMindKeyFile: /etc/pelican/maxmind.key
  GeoIPLocation: /var/cache/pelican/maxmind/GeoLite2-City.mmdb
  CachePresenceTTL: 1m
  StatTimeout: 2000ms
  StatConcurrencyLimit: 1000
  AdvertisementTTL: 15m
  CacheResponseHostnames: ["osdf-director.osg-htc.org"]
  OriginResponseHostnames: ["osdf-director-origins.osg-htc.org"]
  SupportContactEmail: support@osg-htc.org
  EnableBroker: false
  FilteredServers:
    - OLD_CACHE
Server:
  Hostname: osdf-director.osg-htc.org
  ExternalWebUrl: "https://osdf-director.osg-htc.org:443"
  WebPort: 8443
  TrustedProxies: [10.0.0.0/8, "fd00::/8"]
  UIAdminUsers: ["http://cilogon.org/serverA/users/1"]
  UILoginRateLimit: 5
Logging:
  Level: Debug
  LogLocation: /var/log/pelican/osdf-director.log
Monitoring:
  DataRetention: 360h
  MetricAuthorization: true
OIDC:
  ClientIDFile: /etc/pelican/oidc-client-id
  ClientSecretFile: /etc/pelican/oidc-client-secret
  Issuer: https://cilogon.org
Xrootd:
  SummaryMonitoringHost: xrd-mon.osgstorage.org
  DetailedMonitoringHost: xrd-mon.osgstorage.org
Cache:
  Port: 8443
GeoIPOverrides:
  - IP: "2001:db8::1234/112"
    Coordinate: {Lat: 39.8281, Long: -98.5795}
"""


def test_a_director_of_the_osdf_starts_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "pelican.yaml").write_text(OSDF)
    (tmp_path / "config.d").mkdir()
    config = load({"PELICAN_CONFIGBASE": str(tmp_path)}, tmp_path)
    assert missing(config) == ("registry_url", "director_url", "jwk_url", "broker_url")
    config = completed(
        config,
        Document(
            registry_url="https://osdf-registry.osg-htc.org",
            director_url="https://osdf-director.osg-htc.org",
            jwk_url="https://osg-htc.org/osdf/public_signing_key.jwks",
            broker_url="",
        ),
    )
    assert config.registry_url == "https://osdf-registry.osg-htc.org"
    assert config.web_url == config.director_url == "https://osdf-director.osg-htc.org"
    assert config.discovery_url == "https://osg-htc.org"
    assert config.cache_sort_method == "adaptive"
    assert config.warnings == ()
    assert len(config.ignored) == len(set(config.ignored))
    assert {"Debug", "OIDC.Issuer", "Cache.Port", "Federation.TopologyReloadInterval"} < set(config.ignored)
