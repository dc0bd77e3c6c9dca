"""The table: every parameter that this director obeys, one row each.

A row is a field of `Config`. The documentation, `director-wsgi params`, the reader of files and of the environment all
walk this table; nothing about a parameter is written down twice. Names, units and defaults are Pelican's wherever
Pelican has the parameter.

Source: Pelican `docs/parameters.yaml`; the checks from `config/config.go` and where a parameter is used.
"""

import dataclasses
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from director_wsgi.runtime import kinds
from director_wsgi.runtime.arrival import MOST_BODY_BYTES
from director_wsgi.runtime.kinds import GeoIPOverride
from director_wsgi.runtime.rows import METADATA_KEY, Check, Row, about, between, one_of, row
from director_wsgi.runtime.tracing import kinds as tracing
from director_wsgi.runtime.tracing.kinds import TracedRoute

SORT_METHODS: Final = ("distance", "distanceAndLoad", "random", "adaptive")


def default_config_base(environ: Mapping[str, str]) -> Path:
    """Where Pelican keeps its files: `/etc/pelican` for root, else below the home directory."""
    home = environ.get("HOME", "")
    if os.geteuid() == 0 or not home:
        return Path("/etc/pelican")
    return Path(home) / ".config" / "pelican"


def default_geoip_location(config_base: Path) -> Path:
    """Where Pelican keeps its database of places: below the cache of root, else below `ConfigBase`."""
    parent = Path("/var/cache/pelican") if os.geteuid() == 0 else config_base
    return parent / "maxmind" / "GeoLite2-City.mmdb"


def default_state_location(config_base: Path) -> Path:
    """Where the director keeps its state: below `ConfigBase`, unless that is in `/etc`, where no state belongs."""
    parent = Path("/var/lib/pelican") if config_base == Path("/etc/pelican") else config_base
    return parent / "director"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One configuration, complete and unchangeable; safe to share between threads.

    `config.made` makes it of settings and the environment, and checks it; the constructor checks nothing. What the
    federation's discovery URL has to tell is put in by `runtime.discovery`. What is left empty and can be derived from
    other rows (`web_url`, `discovery_url`, `director_url`, `jwk_url`, `advertise_url`, `sitename`) is filled in by the
    constructor; hence `dataclasses.replace` keeps what was derived before.

    Attributes:
        ignored: Names that were set and are accepted without effect, in Pelican's spelling where it is known.
        warnings: Sentences about what was set and is skipped or replaced.
        sources: Where each value comes from, by attribute: `file:line`, a variable's name, `derived`; defaults are left
            out.
    """

    # fmt: off

    # --- the federation -------------------------------------------------------------------------------------------
    registry_url: str = field(
        metadata=about(
            "Federation.RegistryUrl",
            kinds.URL,
            "The registry that decides which servers may advertise which prefixes.",
            default_text="told by `Federation.DiscoveryUrl`, else required",
            check=Check("an http or https URL", bool),
            live=False,
        )
    )
    discovery_url: str = row(
        "", kinds.ROOT_URL, "Federation.DiscoveryUrl",
        "Root of the federation, which is also the issuer of its tokens. Asked at the start for what is not set of the "
        "other four.",
        default_text="`Server.ExternalWebUrl`",
        live=False,
    )
    director_url: str = row(
        "", kinds.URL, "Federation.DirectorUrl",
        "The director as clients are told of it.",
        default_text="told by `Federation.DiscoveryUrl`, else `Server.ExternalWebUrl`",
        live=False,
    )
    jwk_url: str = row(
        "", kinds.URL, "Federation.JwkUrl",
        "Where the public keys of the federation are.",
        default_text="told by `Federation.DiscoveryUrl`, else `Server.ExternalWebUrl` + `/.well-known/issuer.jwks`",
        live=False,
    )
    broker_url: str = row(
        "", kinds.URL, "Federation.BrokerUrl",
        "The connection broker that clients are told of.",
        default_text="told by `Federation.DiscoveryUrl`, else none",
        live=False,
    )

    # --- the director: redirects ----------------------------------------------------------------------------------
    default_response: str = row(
        "cache", kinds.TEXT, "Director.DefaultResponse",
        "Where GET and HEAD of a bare path lead: to a cache, or to an origin.",
        check=one_of("cache", "origin"),
    )
    cache_sort_method: str = row(
        "distance", kinds.TEXT, "Director.CacheSortMethod",
        "How servers are ordered.",
        check=one_of(*SORT_METHODS),
    )
    adaptive_truncate: int = row(
        6, kinds.INTEGER, "Director.AdaptiveSortTruncateConstant",
        "How many of the nearest servers the ranking `adaptive` looks at.",
        check=between(3, 100), forgiving=True,
    )
    status_time_constant_s: float = row(
        300.0, kinds.DURATION, "Director.AdaptiveSortEWMATimeConstant",
        "How slowly the ranking `adaptive` forgets what a server said of its own health.",
        check=between(0.001, 86400, "1ms to 24h"), forgiving=True,
    )
    ranking_seed: str = row(
        "", kinds.TEXT, "Director.RankingSeed",
        "Makes the rankings `random` and `adaptive` replayable: the same seed, path and job id give the same order.",
        ours=True,
    )
    filter_caches_in_error_state: bool = row(
        True, kinds.BOOLEAN, "Director.FilterCachesInErrorState",
        "Leave out caches that call themselves critical or shutting down.",
    )
    caches_pull_from_caches: bool = row(
        False, kinds.BOOLEAN, "Director.CachesPullFromCaches",
        "Let a cache that asks for it (`prefercached`) fetch an object from another cache.",
    )
    redirect_deadline_s: float = row(
        1.0, kinds.DURATION, "Director.RedirectDeadline",
        "Longest time a redirect takes. What servers have not said by then is not waited for.",
        check=between(0.01, 60, "10ms to 1m"), ours=True,
    )
    startup_window_s: float = row(
        300.0, kinds.DURATION, "Director.StartupWindow",
        "How long after the start of the director a worker answers 429 instead of 404 for a prefix that nobody has "
        "advertised; after its own start, if it does not know any advertisement from before.",
        check=between(0, 86400, "0s to 24h"), live=False, ours=True,
    )
    origin_response_hostnames: tuple[str, ...] = row(
        (), kinds.HOST_NAMES, "Director.OriginResponseHostnames",
        "Host names under which bare paths lead to origins.",
    )
    cache_response_hostnames: tuple[str, ...] = row(
        (), kinds.HOST_NAMES, "Director.CacheResponseHostnames",
        "Host names under which bare paths lead to caches.",
    )
    geoip_overrides: tuple[GeoIPOverride, ...] = row(
        (), kinds.OVERRIDES, "GeoIPOverrides",
        "Where clients and servers of these networks are: entries `{IP: address or network, Coordinate: {Lat, Long}}`. "
        "A bad entry is skipped with a warning. Only in the file.",
    )
    geoip_location: Path | None = row(  # noqa: RUF009, it returns a field
        None, kinds.FILE, "Director.GeoIPLocation",
        "Database (MaxMind's format, City) of where addresses are. It need not be there at the start, and is read "
        "again when it has changed.",
        default_text="`${ConfigBase}/maxmind/GeoLite2-City.mmdb`; for root "
        "`/var/cache/pelican/maxmind/GeoLite2-City.mmdb`",
        may_be_missing=True,
    )

    when_unknown: str = row(
        "redirect", kinds.TEXT, "Director.WhenUnknown",
        "What to answer when nothing is known of any origin: `redirect` to them all the same, or `retry` (429 with "
        "Retry-After).",
        check=one_of("redirect", "retry"), ours=True,
    )

    # --- the director: asking servers whether they have an object --------------------------------------------------
    check_cache_presence: bool = row(
        True, kinds.BOOLEAN, "Director.CheckCachePresence",
        "Ask caches whether they have an object; only the ranking `adaptive` does.",
    )
    check_origin_presence: bool = row(
        True, kinds.BOOLEAN, "Director.CheckOriginPresence",
        "Ask origins whether they have an object before redirecting to them.",
        formerly="Director.EnableStat",
    )
    assume_presence_at_single_origin: bool = row(
        True, kinds.BOOLEAN, "Director.AssumePresenceAtSingleOrigin",
        "Do not ask if only one origin could have it.",
    )
    stat_timeout_s: float = row(
        2.0, kinds.DURATION, "Director.StatTimeout",
        "Longest time one question (HEAD) to one server takes, name resolution and TLS included.",
        check=between(0.01, 600, "10ms to 10m"),
    )
    stat_concurrency_limit: int = row(
        100, kinds.INTEGER, "Director.StatConcurrencyLimit",
        "Questions in flight to one server at a time, from all workers together: each has its share, rounded up.",
        check=between(1, 10_000), forgiving=True,
    )
    presence_ttl_s: float = row(
        60.0, kinds.DURATION, "Director.CachePresenceTTL",
        "How long it is remembered that a server, origins too, has an object.",
        check=between(0, 86400, "0s to 24h"),
    )
    presence_capacity: int = row(
        2000, kinds.INTEGER, "Director.CachePresenceCapacity",
        "Answers remembered per server, in each worker.",
        check=between(1, 10_000_000), forgiving=True,
    )
    absence_ttl_s: float = row(
        10.0, kinds.DURATION, "Director.AbsenceTTL",
        "How long it is remembered that a server does not have an object.",
        check=between(0, 86400, "0s to 24h"), ours=True,
    )
    failure_ttl_s: float = row(
        1.0, kinds.DURATION, "Director.FailureTTL",
        "How long it is remembered that a server could not be asked.",
        check=between(0, 3600, "0s to 1h"), ours=True,
    )

    stale_if_error_s: float = row(
        600.0, kinds.DURATION, "Director.StaleIfError",
        "How much longer it is believed that a server has an object while the server cannot be asked.",
        check=between(0, 86400, "0s to 24h"), ours=True,
    )
    slow_stat_s: float = row(
        1.0, kinds.DURATION, "Director.SlowStat",
        "An answer that takes longer is slow; a server most of whose answers are slow is not waited for.",
        check=between(0.001, 600, "1ms to 10m"), ours=True,
    )
    probe_interval_s: float = row(
        5.0, kinds.DURATION, "Director.ProbeInterval",
        "Longest pause between two attempts to ask a server that is sick.",
        check=between(0.1, 600, "100ms to 10m"), ours=True,
    )
    adaptive_concurrency: bool = row(
        True, kinds.BOOLEAN, "Director.AdaptiveConcurrency",
        "Let fewer questions than Director.StatConcurrencyLimit be in flight to a server that does not answer them.",
        ours=True,
    )
    stat_threads: int = row(
        256, kinds.INTEGER, "Director.StatThreads",
        "Questions in flight to all servers at a time, from all workers together: each has its share, rounded up.",
        check=between(1, 10_000), ours=True,
    )

    # --- the director: advertisements ------------------------------------------------------------------------------
    advertisement_ttl_s: float = row(
        900.0, kinds.DURATION, "Director.AdvertisementTTL",
        "Life of an advertisement that does not say when it expires.",
        check=between(1, 30 * 86400, "1s to 720h"), forgiving=True,
    )
    advertise_url: str = row(
        "", kinds.URL, "Director.AdvertiseUrl",
        "Where advertisements meant for this director alone are to be sent, if there are several directors.",
        default_text="`Server.ExternalWebUrl`",
    )
    filtered_servers: tuple[str, ...] = row(
        (), kinds.NAMES, "Director.FilteredServers",
        "Names of servers that are never redirected to.",
    )
    registry_query_interval_s: float = row(
        60.0, kinds.DURATION, "Director.RegistryQueryInterval",
        "How often the registry is asked which prefixes each cache may serve, and which servers are in downtime.",
        check=between(1, 86400, "1s to 24h"), forgiving=True,
    )
    registry_timeout_s: float = row(
        5.0, kinds.DURATION, "Director.RegistryTimeout",
        "Longest time that one advertisement waits for answers of the registry.",
        check=between(0.1, 60, "100ms to 1m"), ours=True,
    )
    max_advertisement_bytes: int = row(
        MOST_BODY_BYTES, kinds.INTEGER, "Director.MaxAdvertisementSize",
        "Bytes; a longer advertisement is refused unread.",
        check=between(1024, MOST_BODY_BYTES), ours=True,
    )
    max_servers: int = row(
        10_000, kinds.INTEGER, "Director.MaxServers",
        "Servers that may be advertised at a time.",
        check=between(1, 1_000_000), live=False, ours=True,
    )
    enable_federation_metadata_hosting: bool = row(
        True, kinds.BOOLEAN, "Director.EnableFederationMetadataHosting",
        "Serve `/.well-known/pelican-configuration`.",
    )
    fed_token_lifetime_s: float = row(
        900.0, kinds.DURATION, "Director.FedTokenLifetime",
        "Life of the tokens by which caches read protected objects from origins.",
        check=between(60, 86400, "1m to 24h"), forgiving=True,
    )
    support_contact_email: str = row(
        "", kinds.TEXT, "Director.SupportContactEmail",
        "Whom servers that are refused may write to.",
    )
    support_contact_url: str = row(
        "", kinds.ANY_URL, "Director.SupportContactUrl",
        "Where servers that are refused find help.",
    )

    # --- the director: testing servers -------------------------------------------------------------------------------
    health_test_interval_s: float = row(
        15.0, kinds.DURATION, "Director.OriginCacheHealthTestInterval",
        "How often each origin and cache is tested with a small file, and told the result. Servers that are told "
        "nothing for 30s call themselves critical.",
        check=between(1, 3600, "1s to 1h"), forgiving=True,
    )
    health_test_threads: int = row(
        64, kinds.INTEGER, "Director.HealthTestThreads",
        "Tests under way at a time. At most half of them are of servers that hung in their last test.",
        check=between(2, 1000), live=False, ours=True,
    )

    # --- the director: its process ----------------------------------------------------------------------------------
    state_location: Path | None = row(  # noqa: RUF009, it returns a field
        None, kinds.STATE, "Director.StateLocation",
        "Directory of what a restart must not forget: advertisements, and what the registry said. Workers share it "
        "through shared memory, and this is its copy on disk; it is made if need be. `:memory:` keeps and shares "
        "nothing, which is possible with one worker only.",
        default_text="`/var/lib/pelican/director`; if `ConfigBase` is not `/etc/pelican`, `${ConfigBase}/director`",
        live=False, may_be_missing=True, ours=True,
    )
    threads: int = row(
        32, kinds.INTEGER, "Director.Threads",
        "Threads of each worker that handle requests.",
        check=between(2, 1024), live=False, ours=True,
    )
    reserved_threads: int = row(
        4, kinds.INTEGER, "Director.ReservedThreads",
        "How many of them never wait for a server.",
        check=between(1, 1023), live=False, ours=True,
    )
    pin_workers: str = row(
        "auto", kinds.SWITCH, "Director.PinWorkers",
        "Bind each worker to a core of its own, which roughly doubles the throughput. auto: while there are as many "
        "cores as workers; on: even if some have to share one; off: where something else needs a core for itself.",
        live=False, ours=True,
    )
    graceful_timeout_s: float = row(
        10.0, kinds.DURATION, "Director.GracefulTimeout",
        "How long a worker that is told to end may take to finish its requests.",
        check=between(1, 3600, "1s to 1h"), live=False, ours=True,
    )

    admin_bind: str = row(
        "", kinds.BIND, "Director.AdminBind",
        "A second door, for operators and load balancers only: `/livez`, `/readyz` and `/metrics`, over plain HTTP, at "
        "`host:port` or `unix:/path`, whatever clients do at the first. No client should reach it.",
        default_text="none", live=False, ours=True,
    )

    metric_authorization: bool = row(
        True, kinds.BOOLEAN, "Monitoring.MetricAuthorization",
        "Ask for a token at `/metrics`.",
    )
    prometheus_url: str = row(
        "", kinds.URL, "Monitoring.PrometheusUrl",
        "A Prometheus that scrapes the federation's servers; the ranking `adaptive` asks it how busy they are.",
        live=False, ours=True,
    )
    health_monitoring_public: bool = row(
        False, kinds.BOOLEAN, "Server.HealthMonitoringPublic",
        "Show `/api/v1.0/metrics/health` to everybody.",
    )

    # --- the server -------------------------------------------------------------------------------------------------
    hostname: str = field(
        default_factory=socket.gethostname,
        metadata=about(
            "Server.Hostname",
            kinds.HOST,
            "Name of this host, as others reach it.",
            default_text="the operating system's",
            check=Check("a host name", bool),
            live=False,
        ),
    )
    web_host: str = row(
        "0.0.0.0", kinds.HOST, "Server.WebHost",  # noqa: S104, Pelican's default
        "Address to listen on.",
        check=Check("an address or a host name", bool), live=False,
    )
    web_port: int = row(
        8444, kinds.INTEGER, "Server.WebPort",
        "Port to listen on.",
        check=between(1, 65535), live=False,
    )
    web_url: str = row(
        "", kinds.URL, "Server.ExternalWebUrl",
        "The director as others reach it.",
        default_text="`https://${Server.Hostname}:${Server.WebPort}`", live=False,
    )
    sitename: str = row(
        "", kinds.TEXT, "Xrootd.Sitename",
        "Name under which the director advertises itself.",
        default_text="`Server.Hostname`", live=False,
    )
    trusted_proxies: tuple[str, ...] = row(
        (), kinds.NETWORKS, "Server.TrustedProxies",
        "Addresses or networks of proxies whose word on the client's address counts.",
    )
    director_urls: tuple[str, ...] = row(
        (), kinds.URLS, "Server.DirectorUrls",
        "All directors of the federation, for servers to advertise to.",
    )
    ad_lifetime_s: float = row(
        600.0, kinds.DURATION, "Server.AdLifetime",
        "Life of the director's own advertisement at other directors.",
        check=between(1, 86400, "1s to 24h"),
    )

    # --- keys and TLS -----------------------------------------------------------------------------------------------
    tls_certificate_chain: Path | None = row(  # noqa: RUF009, it returns a field
        None, kinds.FILE, "Server.TLSCertificateChain",
        "Certificate (PEM) and its chain. Without it and its key, plain HTTP is served, for a proxy in front. A file "
        "that changes is used for the next connection; one that is broken, or does not fit the key, is not.",
        default_text="`${ConfigBase}/certificates/tls.crt`, if it and the key exist", live=False,
        base_file="certificates/tls.crt", formerly="Server.TLSCertificate",
    )
    tls_key: Path | None = row(  # noqa: RUF009, it returns a field
        None, kinds.FILE, "Server.TLSKey",
        "Its private key (PEM).",
        default_text="`${ConfigBase}/certificates/tls.key`, if it and the certificate exist", live=False,
        base_file="certificates/tls.key",
    )
    tls_ca_certificate_file: Path | None = row(  # noqa: RUF009, it returns a field
        None, kinds.FILE, "Server.TLSCACertificateFile",
        "Certificate authorities (PEM) to trust besides the system's.",
        default_text="`${ConfigBase}/certificates/tlsca.pem`, if it exists", base_file="certificates/tlsca.pem",
        by_content=True,
    )
    tls_skip_verify: bool = row(
        False, kinds.BOOLEAN, "TLSSkipVerify",
        "Believe any certificate of any server. Only for tests.",
    )
    issuer_keys_directory: Path | None = row(  # noqa: RUF009, it returns a field
        None, kinds.DIRECTORY, "IssuerKeysDirectory",
        "Directory of the private keys (PEM) that sign; the public halves are published. A first key is made if there "
        "is none.",
        default_text="`${ConfigBase}/issuer-keys`", live=False, may_be_missing=True,
    )
    issuer_key: Path | None = row(  # noqa: RUF009, it returns a field
        None, kinds.FILE, "IssuerKey",
        "One further private key (PEM).",
        default_text="`${ConfigBase}/issuer.jwk`, if it exists", live=False, base_file="issuer.jwk",
    )
    issuer_jwks: Path | None = row(  # noqa: RUF009, it returns a field
        None, kinds.FILE, "Server.IssuerJwks",
        "Further public keys (a JSON Web Key Set) to publish.",
        live=False,
    )
    ssrf_disabled: bool = row(
        False, kinds.BOOLEAN, "Server.SSRFProtection.Disabled",
        "Let the director connect to whatever address a name that servers advertise resolves to.",
    )
    ssrf_skip_default_blocks: bool = row(
        False, kinds.BOOLEAN, "Server.SSRFProtection.SkipDefaultBlocks",
        "Do not refuse link-local, multicast and unspecified addresses by themselves.",
    )
    ssrf_allowed: tuple[str, ...] = row(
        (), kinds.CIDRS, "Server.SSRFProtection.AllowedCIDRs",
        "Networks that may be connected to, whatever else forbids it.",
    )
    ssrf_blocked: tuple[str, ...] = row(
        (), kinds.CIDRS, "Server.SSRFProtection.BlockedCIDRs",
        "Networks that are not connected to, unless they are allowed.",
    )
    dial_timeout_s: float = row(
        10.0, kinds.DURATION, "Transport.DialerTimeout",
        "Longest time to connect to anybody.",
        check=between(0.01, 600, "10ms to 10m"),
    )
    log_level: str = row(
        "info", kinds.LOG_LEVEL, "Logging.Level",
        "The least that is logged: trace, debug, info, warn, error, fatal or panic.",
    )
    config_base: Path = field(
        default_factory=lambda: default_config_base(os.environ),
        metadata=about(
            "ConfigBase",
            kinds.DIRECTORY,
            "Directory below which keys and certificates are looked for; it need not exist.",
            default_text="`/etc/pelican` for root, else `~/.config/pelican`",
            check=Check("a directory", bool),
            live=False,
        ),
    )

    # --- where the configuration comes from ---------------------------------------------------------------------------
    config_locations: tuple[Path, ...] = row(
        (), kinds.DIRECTORIES, "ConfigLocations",
        "Directories of further files (`*.yaml`, `*.yml`): the directories in this order, the files of each in the "
        "order of their names; what is set last wins. Only in the main file and in the environment.",
    )
    config_url: str = row(
        "", kinds.URL, "Director.ConfigUrl",
        "A further YAML document, fetched at the start and then polled; it wins over files, the environment wins over "
        "it. Must be `https`, unless it is on this machine. Not in that document itself.",
        ours=True,
    )
    config_token_file: Path | None = row(  # noqa: RUF009, it returns a field
        None, kinds.FILE, "Director.ConfigTokenFile",
        "A file with the bearer token to send to `Director.ConfigUrl`; read anew for every poll. Not in that document.",
        ours=True,
    )
    config_poll_interval_s: float = row(
        5.0, kinds.DURATION, "Director.ConfigPollInterval",
        "How often `Director.ConfigUrl` is asked whether it has changed, give or take a fifth. Not in that document.",
        check=between(0.1, 3600, "100ms to 1h"), ours=True,
    )
    config_url_allow_http: bool = row(
        False, kinds.BOOLEAN, "Director.ConfigUrlAllowHttp",
        "Let `Director.ConfigUrl` be plain `http` to another machine: whoever is on the way can then set anything. Not "
        "with `Director.ConfigTokenFile`. Not in that document.",
        ours=True,
    )

    # --- tracing ------------------------------------------------------------------------------------------------------
    tracing_enabled: bool = row(
        False, kinds.BOOLEAN, "Tracing.Enabled",
        "Tell an OpenTelemetry collector what becomes of requests. Needs `pip install 'director-wsgi[tracing]'`. "
        "`OTEL_SDK_DISABLED=true` in the environment switches it off all the same.",
        ours=True,
    )
    tracing_endpoint: str = row(
        "http://localhost:4318/v1/traces", kinds.URL, "Tracing.Endpoint",
        "Where spans are posted to, the path included: OTLP over HTTP.",
        check=Check("an http or https URL", bool), ours=True,
    )
    tracing_protocol: str = row(
        "http/protobuf", kinds.TEXT, "Tracing.Protocol",
        "How. There is one way only; the row is there to refuse variables that ask for another.",
        check=Check("http/protobuf", "http/protobuf".__eq__), ours=True,
    )
    tracing_headers: tuple[tuple[str, str], ...] = row(
        (), tracing.HEADERS, "Tracing.Headers",
        "Headers to send with them, a list of `name=value`: by which the collector knows us, mostly.",
        ours=True, secret=True,
    )
    tracing_ca_file: Path | None = row(  # noqa: RUF009, it returns a field
        None, kinds.FILE, "Tracing.CACertificateFile",
        "Certificate authorities (PEM) to trust for the collector, besides the system's.",
        default_text="`Server.TLSCACertificateFile`", by_content=True, ours=True,
    )
    tracing_compression: str = row(
        "none", kinds.TEXT, "Tracing.Compression",
        "How spans are packed.",
        check=one_of("none", "gzip"), ours=True,
    )
    tracing_timeout_s: float = row(
        3.0, kinds.DURATION, "Tracing.ExportTimeout",
        "Longest time for one post.",
        check=between(0.01, 60, "10ms to 1m"), ours=True,
    )
    tracing_interval_s: float = row(
        5.0, kinds.DURATION, "Tracing.ExportInterval",
        "How long spans wait for company.",
        check=between(0.01, 300, "10ms to 5m"), ours=True,
    )
    tracing_queue: int = row(
        2048, kinds.INTEGER, "Tracing.QueueSize",
        "Spans of a worker that may wait to be sent; more are dropped, and counted.",
        check=between(1, 100_000), ours=True,
    )
    tracing_batch: int = row(
        512, kinds.INTEGER, "Tracing.BatchSize",
        "Most spans of one post.",
        check=between(1, 10_000), ours=True,
    )
    tracing_sampler: str = row(
        "parentbased_traceidratio", kinds.TEXT, "Tracing.Sampler",
        "Which requests are traced, by OpenTelemetry's names. `parentbased_…`: if the client says whether it traces "
        "the request, its word counts.",
        check=one_of(
            "always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off",
            "parentbased_traceidratio",
        ),
        ours=True,
    )
    tracing_ratio: float = row(
        1.0, tracing.NUMBER, "Tracing.SamplerRatio",
        "How many of them, for the samplers that end in `ratio`: 0 is none, 1 is all.",
        check=between(0, 1), ours=True,
    )
    tracing_service_name: str = row(
        "", kinds.TEXT, "Tracing.ServiceName",
        "What the director is called at the collector.",
        default_text="`pelican-director`", ours=True,
    )
    tracing_resource: tuple[tuple[str, str], ...] = row(
        (), tracing.ATTRIBUTES, "Tracing.ResourceAttributes",
        "What else is said of it, a list of `name=value`.",
        ours=True,
    )
    tracing_routes: tuple[TracedRoute, ...] = row(
        (), tracing.ROUTES, "Tracing.Routes",
        "What the spans of single routes are called, and say besides: a YAML list of `{Route, Span, Attributes}`, the "
        "attributes a list of `name=value`. In both, `{method}` and `{route}` are filled in.",
        ours=True,
    )

    # fmt: on

    ignored: tuple[str, ...] = field(default=(), compare=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), compare=False, repr=False)

    def __post_init__(self) -> None:
        host = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        self._fill("web_url", f"https://{host}" + ("" if self.web_port == 443 else f":{self.web_port}"))
        self._fill("discovery_url", "{0.scheme}://{0.netloc}".format(urlsplit(self.web_url)))
        self._fill("director_url", self.web_url)
        self._fill("advertise_url", self.web_url)
        self._fill("jwk_url", f"{self.web_url}/.well-known/issuer.jwks")
        self._fill("sitename", self.hostname)

    def _fill(self, attribute: str, value: str) -> None:
        if not getattr(self, attribute):
            object.__setattr__(self, attribute, value)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A row with its place in `Config`.

    Attributes:
        attribute: The field's name.
        default: The field's default; None where there is none, or where it is found out at start.
    """

    attribute: str
    row: Row[Any]
    default: Any

    @property
    def shown_default(self) -> str:
        """The default as the documentation shows it."""
        if self.row.default_text:
            return self.row.default_text
        shown = self.row.kind.show(self.default)
        return f"`{shown}`" if shown else "none"


def _parameters() -> tuple[Parameter, ...]:
    return tuple(
        Parameter(one.name, one.metadata[METADATA_KEY], None if one.default is dataclasses.MISSING else one.default)
        for one in dataclasses.fields(Config)
        if METADATA_KEY in one.metadata
    )


PARAMETERS: Final = _parameters()
"""Every row, in the order of the table."""
