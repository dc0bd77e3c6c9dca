"""The configuration: where values come from, and how everything that is wrong is said."""

import dataclasses
import ipaddress
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from director_wsgi.errors import ConfigError
from director_wsgi.runtime.config import Config, GeoIPOverride
from director_wsgi.runtime.names import INERT
from director_wsgi.runtime.parameters import PARAMETERS
from director_wsgi.runtime.sources import load

REGISTRY = "https://registry.example.org"

Loader = Callable[..., Config]
Problems = Callable[..., tuple[str, ...]]


class TestTheTable:
    def test_every_value_has_its_pelican_default(self) -> None:
        config = Config(registry_url=REGISTRY)
        assert (config.stat_timeout_s, config.stat_concurrency_limit, config.advertisement_ttl_s) == (2.0, 100, 900.0)
        assert (config.default_response, config.cache_sort_method, config.web_port) == ("cache", "distance", 8444)

    def test_what_is_derived_is_filled_in(self) -> None:
        config = Config(registry_url=REGISTRY, hostname="d.example.org")
        assert config.web_url == config.director_url == config.discovery_url == config.advertise_url
        assert config.web_url == "https://d.example.org:8444"
        assert config.jwk_url == "https://d.example.org:8444/.well-known/issuer.jwks"
        assert config.sitename == "d.example.org"

    def test_what_is_given_is_not_derived(self) -> None:
        config = Config(registry_url=REGISTRY, hostname="d", web_url="https://w.example.org", sitename="S")
        assert (config.director_url, config.sitename) == ("https://w.example.org", "S")

    def test_port_443_is_left_out(self) -> None:
        assert Config(registry_url=REGISTRY, hostname="d", web_port=443).web_url == "https://d"

    def test_an_ipv6_host_is_put_in_brackets(self) -> None:
        assert Config(registry_url=REGISTRY, hostname="2001:db8::1").web_url == "https://[2001:db8::1]:8444"

    def test_the_discovery_url_has_no_path_even_if_the_web_url_has(self) -> None:
        assert Config(registry_url=REGISTRY, web_url="https://w/director").discovery_url == "https://w"

    def test_nothing_can_be_changed(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            Config(registry_url=REGISTRY).threads = 1  # type: ignore[misc]

    def test_equal_settings_are_equal_wherever_they_come_from(self, loaded: Loader) -> None:
        assert loaded("Director: {StatTimeout: 3s}") == loaded(PELICAN_DIRECTOR_STATTIMEOUT="3s")

    @pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda one: one.row.name)
    def test_every_default_passes_its_own_check(self, parameter: object) -> None:
        row, default = parameter.row, parameter.default  # type: ignore[attr-defined]
        assert row.check is None or row.default_text or row.check.holds(default)

    @pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda one: one.row.name)
    def test_every_default_reads_back_as_it_is_shown(self, parameter: object) -> None:
        row, default = parameter.row, parameter.default  # type: ignore[attr-defined]
        if row.kind.show(default) if default is not None else "":
            assert row.kind.read(row.kind.show(default)) == default

    def test_no_name_occurs_twice(self) -> None:
        names = [one.row.name.lower() for one in PARAMETERS] + [name.lower() for name in INERT]
        assert len(set(names)) == len(names)


class TestSources:
    def test_the_file_beats_the_default(self, loaded: Loader) -> None:
        config = loaded("Director:\n  StatTimeout: 1m30s\n")
        assert config.stat_timeout_s == 90.0
        assert config.sources["stat_timeout_s"] == "pelican.yaml:2"

    def test_the_environment_beats_the_file(self, loaded: Loader) -> None:
        config = loaded("Director: {StatTimeout: 1m30s}", PELICAN_DIRECTOR_STATTIMEOUT="2000ms")
        assert config.stat_timeout_s == 2.0
        assert config.sources["stat_timeout_s"] == "PELICAN_DIRECTOR_STATTIMEOUT"

    def test_defaults_have_no_source(self, loaded: Loader) -> None:
        assert "threads" not in loaded().sources

    def test_names_in_the_file_may_be_in_any_case(self, loaded: Loader) -> None:
        assert loaded("DIRECTOR: {stattimeout: 3s}\ntlsskipverify: true").stat_timeout_s == 3.0

    def test_values_may_not(self, problems: Problems) -> None:
        assert (
            "expected distance, distanceAndLoad, random or adaptive"
            in problems("Director: {CacheSortMethod: Random}")[0]
        )

    @pytest.mark.parametrize("name", ["PELICAN_TLSSKIPVERIFY", "PELICAN_DIRECTOR_CACHESPULLFROMCACHES"])
    def test_a_variable_is_the_name_in_upper_case(self, loaded: Loader, name: str) -> None:
        config = loaded(**{name: "true"})
        assert config.tls_skip_verify or config.caches_pull_from_caches

    def test_a_blank_variable_does_not_hide_the_file(self, loaded: Loader) -> None:
        assert loaded("Director: {StatTimeout: 3s}", PELICAN_DIRECTOR_STATTIMEOUT=" ").stat_timeout_s == 3.0

    @pytest.mark.parametrize("text", ["", "Director:", "Director: {StatTimeout: }", "Director: {StatTimeout: ''}"])
    def test_an_empty_value_is_none(self, loaded: Loader, text: str) -> None:
        assert loaded(text, PELICAN_DIRECTOR_STATTIMEOUT="").stat_timeout_s == 2.0

    def test_the_named_file_is_taken_instead_of_the_default_one(self, loaded: Loader, tmp_path: Path) -> None:
        (tmp_path / "other.yaml").write_text("Director: {Threads: 5}")
        config = loaded("Director: {Threads: 6}", DIRECTOR_WSGI_CONFIG="other.yaml")
        assert (config.threads, config.sources["threads"]) == (5, "other.yaml:1")

    def test_a_named_file_that_is_missing_is_a_problem(self, problems: Problems) -> None:
        assert problems(DIRECTOR_WSGI_CONFIG="none.yaml") == ("none.yaml: cannot be read: No such file or directory",)

    def test_no_default_file_is_none(self, tmp_path: Path) -> None:
        config = load({"PELICAN_FEDERATION_REGISTRYURL": REGISTRY}, tmp_path)
        assert set(config.sources) == {"registry_url"}

    def test_without_a_registry_it_is_said_what_is_needed(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            load({}, tmp_path)
        (sentence,) = caught.value.problems
        for needed in (
            "Federation.RegistryUrl",
            "PELICAN_FEDERATION_REGISTRYURL=https://",
            "`Federation: {RegistryUrl: https://registry.example.org}`",
            "DIRECTOR_WSGI_CONFIG",
            f"there is no pelican.yaml in {tmp_path}",
            "`director-wsgi demo`",
        ):
            assert needed in sentence

    def test_a_file_without_the_registry_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "pelican.yaml").write_text("Director: {Threads: 5}")
        with pytest.raises(ConfigError, match=r"pelican\.yaml does not have it"):
            load({}, tmp_path)

    def test_a_replaced_name_counts_with_a_warning(self, loaded: Loader) -> None:
        config = loaded("Director: {EnableStat: false}")
        assert not config.check_origin_presence
        assert config.warnings == (
            "Director.EnableStat (pelican.yaml:1) is deprecated; use Director.CheckOriginPresence",
        )

    def test_the_new_name_beats_the_replaced_one(self, loaded: Loader) -> None:
        config = loaded("Director: {CheckOriginPresence: true}", PELICAN_DIRECTOR_ENABLESTAT="false")
        assert config.check_origin_presence
        assert config.warnings == ()


class TestKinds:
    @pytest.mark.parametrize("text", ["a,b", "a b", "a, b", " a\tb ", "a,,b"])
    def test_lists_of_the_environment_are_split_at_comma_and_blank(self, loaded: Loader, text: str) -> None:
        assert loaded(PELICAN_DIRECTOR_FILTEREDSERVERS=text).filtered_servers == ("a", "b")

    @pytest.mark.parametrize("text", ["[a, b]", "a b", '"a,b"', "\n  - a\n  - b"])
    def test_lists_of_the_file_too_if_they_are_one_text(self, loaded: Loader, text: str) -> None:
        assert loaded(f"Director:\n FilteredServers: {text}").filtered_servers == ("a", "b")

    def test_a_name_with_a_blank_survives_in_a_yaml_list(self, loaded: Loader) -> None:
        assert loaded("Director: {FilteredServers: [my origin]}").filtered_servers == ("my origin",)

    @pytest.mark.parametrize(
        ("text", "url"),
        [
            ("https://h.example.org/", "https://h.example.org"),
            ("https://h.example.org:443", "https://h.example.org"),
            ("https://h.example.org:443/a/", "https://h.example.org/a"),
            ("HTTPS://H.example.ORG:8444", "https://h.example.org:8444"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://h:443", "http://h:443"),
            ("https://[2001:DB8::1]:8444", "https://[2001:db8::1]:8444"),
        ],
    )
    def test_urls_are_written_one_way(self, loaded: Loader, text: str, url: str) -> None:
        assert loaded(PELICAN_FEDERATION_DIRECTORURL=text).director_url == url

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("h.example.org", "expected an http or https URL with a host"),
            ("ftp://h", "expected an http or https URL with a host"),
            ("https://", "expected an http or https URL with a host"),
            ("https:///path", "expected an http or https URL with a host"),
            ("https://${Server.Hostname}:1", "a character that no URL may have"),
            ("https://h:99999", "expected a URL like"),
            ("https://h:x", "expected a URL like"),
            ("https://[::1", "expected a URL like"),
            ("https://h/a b", "a character that no URL may have"),
            ("https://hé", "a character that no URL may have"),
            ("https://u:p@h", "without user name and password"),
            ("https://h?a=b", "without `?` and `#`"),
            ("https://h#a", "without `?` and `#`"),
        ],
    )
    def test_what_is_no_url_is_refused(self, problems: Problems, text: str, sentence: str) -> None:
        (problem,) = problems(PELICAN_FEDERATION_DIRECTORURL=text)
        assert problem.startswith("Federation.DirectorUrl = ")
        assert sentence in problem

    @pytest.mark.parametrize(
        ("text", "bind"),
        [
            ("127.0.0.1:8445", "127.0.0.1:8445"),
            (" localhost:08445 ", "localhost:8445"),
            ("[::1]:8445", "[::1]:8445"),
            ("::1:8445", "[::1]:8445"),
            ("unix:/run/director/admin.sock", "unix:/run/director/admin.sock"),
            ("", ""),
        ],
    )
    def test_places_to_listen_at_are_written_one_way(self, loaded: Loader, text: str, bind: str) -> None:
        assert loaded(PELICAN_DIRECTOR_ADMINBIND=text).admin_bind == bind

    @pytest.mark.parametrize(
        "text",
        ["8445", ":8445", "h", "h:", "h:0", "h:65536", "h:-1", "h:x", "a b:1", "unix:x", "unix:", "/run/x", "h:１"],
    )
    def test_what_is_no_place_to_listen_at_is_refused(self, problems: Problems, text: str) -> None:
        (problem,) = problems(PELICAN_DIRECTOR_ADMINBIND=text)
        assert problem.startswith("Director.AdminBind = ")
        assert "expected" in problem

    def test_the_discovery_url_may_be_a_bare_host(self, loaded: Loader) -> None:
        assert loaded(PELICAN_FEDERATION_DISCOVERYURL="osg-htc.org").discovery_url == "https://osg-htc.org"

    def test_the_discovery_url_may_have_no_path(self, problems: Problems) -> None:
        assert "without a path" in problems(PELICAN_FEDERATION_DISCOVERYURL="https://osg-htc.org/x")[0]

    @pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
    def test_what_go_takes_for_true_is_true(self, loaded: Loader, text: str) -> None:
        assert loaded(PELICAN_TLSSKIPVERIFY=text).tls_skip_verify is True

    @pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False"])
    def test_what_go_takes_for_false_is_false(self, loaded: Loader, text: str) -> None:
        assert loaded(PELICAN_DIRECTOR_CHECKORIGINPRESENCE=text).check_origin_presence is False

    @pytest.mark.parametrize("text", ["*", "0.0.0.0/0, *"])
    def test_a_star_trusts_every_proxy(self, loaded: Loader, text: str) -> None:
        assert loaded(PELICAN_SERVER_TRUSTEDPROXIES=text).trusted_proxies == ("0.0.0.0/0", "::/0")

    @pytest.mark.parametrize(
        ("text", "level"), [("Debug", "debug"), ("warn", "warning"), ("trace", "debug"), ("panic", "critical")]
    )
    def test_log_levels_are_pythons_whatever_their_case(self, loaded: Loader, text: str, level: str) -> None:
        assert loaded(PELICAN_LOGGING_LEVEL=text).log_level == level

    def test_a_support_url_may_have_any_scheme(self, loaded: Loader) -> None:
        config = loaded(PELICAN_DIRECTOR_SUPPORTCONTACTURL="mailto:help@example.org")
        assert config.support_contact_url == "mailto:help@example.org"

    def test_a_virtual_host_may_have_a_port(self, loaded: Loader) -> None:
        config = loaded(PELICAN_DIRECTOR_CACHERESPONSEHOSTNAMES="c.example.org c.example.org:8444")
        assert config.cache_response_hostnames == ("c.example.org", "c.example.org:8444")

    def test_networks_of_proxies_are_written_one_way(self, loaded: Loader) -> None:
        config = loaded(PELICAN_SERVER_TRUSTEDPROXIES="10.1.2.3/8, 2001:db8::1")
        assert config.trusted_proxies == ("10.0.0.0/8", "2001:db8::1/128")

    def test_brackets_of_an_ipv6_address_to_listen_on_are_dropped(self, loaded: Loader) -> None:
        assert loaded(PELICAN_SERVER_WEBHOST="[::]").web_host == "::"

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("Director: {StatTimeout: 3}", 'e.g., "10s", "5m", "1h"); got bare number: 3'),
            ("Director: {StatTimeout: [2s]}", 'expected a duration like "2s" or "1m30s", got a list'),
            ("Director: {StatTimeout: {a: 2s}}", 'expected a duration like "2s" or "1m30s", got a mapping'),
            ("Director: {StatTimeout: 0s}", "expected 10ms to 10m"),
            ("Director: {StatTimeout: -1s}", "expected 10ms to 10m"),
            ("Director: {StatTimeout: 11m}", "expected 10ms to 10m"),
            ("Director: {Threads: many}", "expected a whole number"),
            ("Director: {Threads: 1.5}", "expected a whole number"),
            ("Director: {Threads: 0x10}", "expected a whole number"),
            ("Director: {Threads: " + "9" * 400 + "}", "expected a whole number"),
            ("Director: {Threads: 1}", "expected 2 to 1024"),
            ("Director: {CachesPullFromCaches: yes}", "expected true or false"),
            ("Director: {CachesPullFromCaches: [true]}", "expected true or false, got a list"),
            ("Director: {FilteredServers: {a: b}}", "expected a list of texts, got a mapping"),
            ("Director: {FilteredServers: [[a]]}", "expected a list of texts, got a list"),
            ('Director: {FilteredServers: ["a\\x01"]}', "expected printable characters"),
            ("Director: {DefaultResponse: both}", "expected cache or origin"),
            ("Director: {CacheSortMethod: Adaptive}", "adaptive"),
            ("Director: {OriginResponseHostnames: [https://h]}", "expected host names"),
            ("Director: {SupportContactUrl: nowhere}", "expected a URL, with its scheme"),
            ('IssuerKey: "a\\0b"', "expected a file name"),
            ("Server: {WebPort: 0}", "expected 1 to 65535"),
            ("Server: {WebPort: 65536}", "expected 1 to 65535"),
            ("Server: {Hostname: a/b}", "expected a host name or an address"),
            ("Server: {TrustedProxies: [h.example.org]}", "expected addresses or networks"),
            ("Server: {DirectorUrls: [h.example.org]}", "expected an http or https URL with a host"),
            ("Logging: {Level: loud}", "expected trace, debug, info"),
            ("GeoIPOverrides: 1.2.3.4", "expected a YAML list of {IP, Coordinate: {Lat, Long}}"),
            ("Director: 5", "expected a mapping of parameters"),
            ("Server: [a]", "expected a mapping of parameters"),
        ],
    )
    def test_a_wrong_value_names_row_value_and_what_was_expected(
        self, problems: Problems, text: str, sentence: str
    ) -> None:
        (problem,) = problems(text)
        assert "pelican.yaml:1" in problem
        assert sentence in problem

    def test_a_long_value_is_shortened_in_the_message(self, problems: Problems) -> None:
        (problem,) = problems(PELICAN_DIRECTOR_DEFAULTRESPONSE="x" * 10_000)
        assert len(problem) < 250

    @pytest.mark.parametrize(
        ("name", "attribute", "text"),
        [
            ("StatConcurrencyLimit", "stat_concurrency_limit", "0"),
            ("CachePresenceCapacity", "presence_capacity", "-5"),
            ("AdvertisementTTL", "advertisement_ttl_s", "-1m"),
            ("RegistryQueryInterval", "registry_query_interval_s", "999ms"),
        ],
    )
    def test_what_upstream_replaces_by_the_default_is_replaced_with_a_warning(
        self, loaded: Loader, name: str, attribute: str, text: str
    ) -> None:
        config = loaded(f"Director: {{{name}: {text}}}")
        assert getattr(config, attribute) == getattr(Config(registry_url=REGISTRY), attribute)
        assert f"Director.{name} = '{text}' (pelican.yaml:1): expected" in config.warnings[0]


class TestGeoIPOverrides:
    def test_addresses_and_networks_have_places(self, loaded: Loader) -> None:
        text = """
            GeoIPOverrides:
              - IP: 192.0.2.7
                Coordinate: {Lat: 43.07, Long: -89.38}
              - ip: "2001:db8::1234/112"
                coordinate: {lat: 39, long: -98.5}
        """
        assert loaded(text).geoip_overrides == (
            GeoIPOverride(network=ipaddress.ip_network("192.0.2.7/32"), latitude=43.07, longitude=-89.38),
            GeoIPOverride(network=ipaddress.ip_network("2001:db8::/112"), latitude=39.0, longitude=-98.5),
        )

    @pytest.mark.parametrize(
        ("entry", "sentence"),
        [
            ("{IP: 192.0.2.999, Coordinate: {Lat: 1, Long: 2}}", "neither an address nor a network"),
            ("{Coordinate: {Lat: 1, Long: 2}}", "neither an address nor a network"),
            ("{IP: 192.0.2.1}", "expected IP, and Coordinate"),
            ("{IP: 192.0.2.1, Coordinate: here}", "expected IP, and Coordinate"),
            ("somewhere", "expected IP, and Coordinate"),
            ("", "expected IP, and Coordinate"),
            ("{IP: 192.0.2.1, Coordinate: {Lat: 1}}", "must be numbers"),
            ("{IP: 192.0.2.1, Coordinate: {Lat: north, Long: 2}}", "must be numbers"),
            ("{IP: 192.0.2.1, Coordinate: {Lat: 91, Long: 2}}", "-90 to 90"),
            ("{IP: 192.0.2.1, Coordinate: {Lat: 1, Long: -181}}", "-180 to 180"),
            ("{IP: 192.0.2.1, Coordinate: {Lat: NaN, Long: 2}}", "-90 to 90"),
        ],
    )
    def test_a_bad_entry_is_skipped_with_a_warning(self, loaded: Loader, entry: str, sentence: str) -> None:
        good = "{IP: 192.0.2.2, Coordinate: {Lat: 1, Long: 2}}"
        config = loaded(f"GeoIPOverrides:\n- {good}\n- {entry}\n")
        assert len(config.geoip_overrides) == 1
        (warning,) = config.warnings
        assert warning.startswith("GeoIPOverrides (pelican.yaml:2): entry 2 is skipped: ")
        assert sentence in warning


class TestNames:
    def test_an_unknown_name_under_director_names_the_nearest(self, problems: Problems) -> None:
        assert problems("Director: {StatTimeot: 3s}") == (
            "Director.StatTimeot (pelican.yaml:1): there is no such parameter; the nearest is Director.StatTimeout",
        )

    def test_so_does_an_unknown_variable(self, problems: Problems) -> None:
        (problem,) = problems(PELICAN_DIRECTOR_STATTIMEOT="3s")
        assert problem.startswith("PELICAN_DIRECTOR_STATTIMEOT (environment): there is no such parameter")
        assert problem.endswith("the nearest is PELICAN_DIRECTOR_STATTIMEOUT")

    def test_even_the_strangest_name_has_a_nearest(self, problems: Problems) -> None:
        assert "the nearest is " in problems('Director: {"%&§": 3s}')[0]

    @pytest.mark.parametrize("name", INERT)
    def test_pelicans_other_names_are_accepted_and_mentioned(self, loaded: Loader, name: str) -> None:
        assert loaded(f"{name.lower()}: x").ignored == (name,)

    def test_other_servers_parameters_are_accepted_and_mentioned(self, loaded: Loader) -> None:
        config = loaded("Origin: {Port: 8443, Exports: [{Prefix: /a}]}\nDebug: true", PELICAN_CACHE_PORT="1")
        assert config.ignored == ("Origin.Port", "Origin.Exports", "Debug", "PELICAN_CACHE_PORT")

    @pytest.mark.parametrize(
        "variable",
        [
            "PELICAN_DIRECTOR_SERVICE_HOST",
            "PELICAN_DIRECTOR_SERVICE_PORT",
            "PELICAN_DIRECTOR_SERVICE_PORT_HTTPS",
            "PELICAN_DIRECTOR_PORT",
            "PELICAN_DIRECTOR_PORT_8444_TCP",
            "PELICAN_DIRECTOR_PORT_8444_TCP_ADDR",
            "PELICAN_DIRECTOR_WEB_SERVICE_HOST",
        ],
    )
    def test_the_variables_of_a_kubernetes_service_are_no_mistake(self, loaded: Loader, variable: str) -> None:
        """Otherwise a service called pelican-director would keep the director from starting."""
        assert loaded(**{variable: "tcp://10.0.0.1:8444"}).ignored == (variable,)

    def test_variables_of_others_are_not_looked_at(self, loaded: Loader) -> None:
        assert loaded(HOME="/nowhere", DIRECTOR_STATTIMEOUT="x").ignored == ()


class TestTogether:
    def test_everything_wrong_is_said_at_once(self, problems: Problems) -> None:
        found = problems(
            "Director:\n  StatTimeout: 3\n  Treads: 4\n  Threads: 8\n  ReservedThreads: 8\n",
            PELICAN_FEDERATION_REGISTRYURL="nowhere",
            PELICAN_DIRECTOR_DEFAULTRESPONSE="both",
            PELICAN_ISSUERKEY="/nonexistent",
        )
        rows = ("RegistryUrl", "DefaultResponse", "StatTimeout", "Treads", "IssuerKey", "ReservedThreads")
        assert len(found) == len(rows)
        assert all(any(row in problem for problem in found) for row in rows)

    def test_reserved_threads_are_fewer_than_threads(self, problems: Problems) -> None:
        assert problems("Director: {Threads: 4}") == (
            "Director.ReservedThreads = 4: expected fewer than Director.Threads, which is 4",
        )

    def test_a_draining_worker_has_time_for_a_redirect(self, problems: Problems) -> None:
        assert problems("Director: {GracefulTimeout: 2s, RedirectDeadline: 3s}") == (
            "Director.GracefulTimeout = 2s: expected at least Director.RedirectDeadline, which is 3s",
        )

    def test_a_relation_to_a_wrong_value_is_not_judged(self, problems: Problems) -> None:
        assert len(problems("Director: {Threads: many, ReservedThreads: 500}")) == 1

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
    @given(
        st.sampled_from([one.row for one in PARAMETERS if not one.row.kind.name.startswith(("file", "dir"))]),
        st.text(st.characters(exclude_characters="\x00"), max_size=30),
    )
    def test_any_text_for_any_row_is_a_configuration_or_a_config_error(
        self, loaded: Loader, row: object, text: str
    ) -> None:
        try:
            config = loaded(**{row.variable: text})  # type: ignore[attr-defined]
        except ConfigError as error:
            assert row.name in error.problems[0]  # type: ignore[attr-defined]  # noqa: PT017, either is right
        else:
            assert config.registry_url
