"""The configuration: the table of `parameters`, filled from settings and the environment.

Which settings there are is the business of `sources`; the environment wins over all of them. Everything that is wrong
is reported at once. Names are Pelican's: keys of a file in any case, `PELICAN_` and upper case with `_` in the
environment. Names of Pelican that mean nothing to this director are accepted and listed in `Config.ignored`; an unknown
one where all are known is a mistake.

Source: Pelican `config/config.go`.
"""

from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from director_wsgi.errors import ConfigError
from director_wsgi.runtime import files, kinds, names
from director_wsgi.runtime.kinds import GeoIPOverride
from director_wsgi.runtime.parameters import (
    PARAMETERS,
    Config,
    Parameter,
    default_config_base,
    default_geoip_location,
    default_state_location,
)
from director_wsgi.runtime.rows import Row, variable_of
from director_wsgi.runtime.tracing import extra as tracing_extra
from director_wsgi.runtime.tracing import variables as opentelemetry
from director_wsgi.runtime.yaml_file import Setting

__all__ = [
    "DEFAULT_FILE",
    "FILE_VARIABLE",
    "Config",
    "GeoIPOverride",
    "is_own_discovery_host",
    "load_settings",
    "made",
    "partly_made",
]

FILE_VARIABLE: Final = "DIRECTOR_WSGI_CONFIG"
DEFAULT_FILE: Final = "pelican.yaml"


def made(
    settings: Mapping[str, Setting],
    environ: Mapping[str, str],
    cwd: Path,
    *,
    file: str = "",
    warnings: tuple[str, ...] = (),
    is_all: bool = True,
) -> tuple[Config, dict[str, Setting]]:
    """The configuration that settings and the environment make, completed and checked.

    Args:
        settings: What was read, by lower-case name; the environment wins over it.
        environ: The environment.
        cwd: What relative names of files start from.
        file: What the main file is called; empty if there is none.
        warnings: What else the configuration is to warn of.
        is_all: Whether everything that should be read has been. If not, what is missing may be there.

    Returns:
        A configuration in which every row, and every relation between rows, is as it must be. Nothing has been asked
        over the network: `registry_url` is empty where `runtime.discovery` can find it out. And what was set for its
        rows, by lower-case name, from wherever.

    Raises:
        ConfigError: With every problem there is.
    """
    loading = _Loading(settings, environ, cwd, PARAMETERS, file=file, warnings=warnings, is_all=is_all)
    return loading.config(), loading.obeyed


def partly_made(
    settings: Mapping[str, Setting], environ: Mapping[str, str], cwd: Path, attributes: Container[str]
) -> Config:
    """A configuration in which only some rows are as they are set, and all others as if nothing were.

    For what must be known before all is; the arguments are as for `made`.

    Args:
        settings: As for `made`.
        environ: As for `made`.
        cwd: As for `made`.
        attributes: Of those rows.

    Raises:
        ConfigError: With every problem of those rows.
    """
    parameters = tuple(one for one in PARAMETERS if one.attribute in attributes)
    return _Loading(settings, environ, cwd, parameters, is_all=False).config()


def load_settings(settings: Mapping[str, Setting], environ: Mapping[str, str], cwd: Path) -> Config:
    """The configuration for what `made` has found at another time; no parameter is read elsewhere.

    Raises:
        ConfigError: It is wrong by now: what a file holds is not the business of the settings.
    """
    others = {name: text for name, text in environ.items() if not name.startswith("PELICAN_")}
    return made(settings, others, cwd)[0]


class _Loading:
    """One run of `made`: what has been found so far."""

    def __init__(
        self,
        settings: Mapping[str, Setting],
        environ: Mapping[str, str],
        cwd: Path,
        parameters: tuple[Parameter, ...],
        *,
        file: str = "",
        warnings: tuple[str, ...] = (),
        is_all: bool,
    ) -> None:
        self._settings = settings
        self._variables = {name: text for name, text in environ.items() if name.startswith("PELICAN_") and text.strip()}
        self._standard = opentelemetry.settings(environ)
        self._untraced = opentelemetry.switched_off(environ)
        self._cwd = cwd
        self._parameters = parameters
        self._file = file
        self._is_all = is_all
        self._problems: list[str] = []
        self._warnings = list(warnings)
        self._ignored: list[str] = []
        self._values: dict[str, Any] = {"config_base": default_config_base(environ)}
        self._sources: dict[str, str] = {}
        self._wrong: set[str] = set()
        self.obeyed: dict[str, Setting] = {}

    def config(self) -> Config:
        for parameter in self._parameters:
            self._read(parameter)
        if self._parameters is PARAMETERS:
            self._judge_names()
        self._heed_switch()
        self._adopt_base_files()
        self._check_files()
        config = Config(
            **{"registry_url": "", **self._values},
            ignored=tuple(self._ignored),
            warnings=tuple(self._warnings),
            sources=MappingProxyType(self._sources),
        )
        if not self._may_have_a_registry(config):
            self._problems.append(self._what_is_needed())
        known = {one.attribute for one in self._parameters} - self._wrong
        self._problems += (problem for attributes, problem in _broken_relations(config) if known.issuperset(attributes))
        if self._problems:
            raise ConfigError(tuple(self._problems))
        return config

    def _may_have_a_registry(self, config: Config) -> bool:
        """Whether there is one, or it may stand where nobody has looked yet, or where something else is wrong."""
        can_be_asked = "discovery_url" in self._sources and not is_own_discovery_host(config)
        is_hidden = not self._wrong.isdisjoint({"registry_url", "discovery_url", "config_url", "config_locations"})
        return bool(config.registry_url) or can_be_asked or is_hidden or not self._is_all

    def _read(self, parameter: Parameter) -> None:
        setting = self._setting(parameter.row)
        if setting is None:
            return
        row = parameter.row
        self.obeyed[setting.name.lower()] = setting
        try:
            value = row.kind.read(setting.value)
            skipped = row.kind.skipped(setting.value)
        except ValueError as error:
            self._refuse(parameter, setting, str(error))
            return
        self._warnings += [f"{row.name} ({setting.source}): {sentence}" for sentence in skipped]
        if row.check is None or row.check.holds(value):
            self._values[parameter.attribute] = value
            self._sources[parameter.attribute] = setting.source
        elif row.forgiving:
            self._warnings.append(
                f"{_said(row, setting)}: expected {row.check.text}; {parameter.shown_default} is used instead"
            )
        else:
            self._refuse(parameter, setting, f"expected {row.check.text}")

    def _setting(self, row: Row[Any]) -> Setting | None:
        """What is set for a row; an empty value counts as none, as it does upstream."""
        for name in filter(None, (row.name, row.formerly)):
            variable = variable_of(name)
            setting = self._settings.get(name.lower())
            if variable in self._variables:
                setting = Setting(name, self._variables[variable], variable)
            if setting is not None and setting.value is not None and str(setting.value).strip():
                if name == row.formerly:
                    self._warnings.append(f"{name} ({setting.source}) is deprecated; use {row.name}")
                return setting
        # OpenTelemetry's variables are set for all programs of a site: they are nothing to one that does not trace.
        return self._standard.get(row.name.lower()) if self._values.get("tracing_enabled") else None

    def _refuse(self, parameter: Parameter, setting: Setting, complaint: str) -> None:
        self._wrong.add(parameter.attribute)
        self._problems.append(f"{_said(parameter.row, setting)}: {complaint}")

    def _heed_switch(self) -> None:
        """Trace nothing if that is switched off for all programs of the site."""
        if self._untraced and self._values.pop("tracing_enabled", False):
            source = self._sources.pop("tracing_enabled")
            self._warnings.append(f"Tracing.Enabled = true ({source}): nothing is traced, because of {self._untraced}")

    def _judge_names(self) -> None:
        obeyed = {name for one in PARAMETERS for name in (one.row.name, one.row.formerly)}
        for lower, setting in self._settings.items():
            known = names.BY_LOWER_NAME.get(lower)
            if known is None and names.is_misspelt(lower):
                self._problems.append(_misspelt(setting.name, setting.source))
            elif lower in names.SECTIONS:
                if setting.value is not None:
                    self._problems.append(f"{setting.name} ({setting.source}): expected a mapping of parameters")
            elif known not in obeyed:
                self._ignored.append(known or setting.name)
        for variable in sorted(self._variables):
            known = names.BY_VARIABLE.get(variable)
            if known is None and names.is_misspelt_variable(variable):
                self._problems.append(_misspelt(variable, "environment"))
            elif known not in obeyed and known not in self._ignored:
                self._ignored.append(variable)

    def _adopt_base_files(self) -> None:
        """Take Pelican's default files where they exist; a certificate and its key only together."""
        base = self._cwd / self._values["config_base"]
        found = {
            one.attribute: base / one.row.base_file
            for one in self._parameters
            if one.row.base_file and one.attribute not in self._values and files.exists(base / one.row.base_file)
        }
        pair = {"tls_certificate_chain", "tls_key"}
        if not pair <= found.keys() | self._values.keys() | self._wrong:
            found = {attribute: path for attribute, path in found.items() if attribute not in pair}
        for attribute, path in found.items():
            self._values[attribute] = path
            self._sources[attribute] = "found below ConfigBase"
        self._values = self._places_of_what_may_come(base) | self._values

    @staticmethod
    def _places_of_what_may_come(base: Path) -> dict[str, Path]:
        """Pelican's default places for what need not be there at the start."""
        return {
            "issuer_keys_directory": base / "issuer-keys",
            "geoip_location": default_geoip_location(base),
            "state_location": default_state_location(base),
        }

    def _check_files(self) -> None:
        for one in self._parameters:
            path = self._values.get(one.attribute)
            if not isinstance(path, Path):
                continue
            path = self._values[one.attribute] = self._cwd / path
            if one.attribute in {"config_base", "state_location"}:  # trouble with the state stops no director
                continue
            if one.row.may_be_missing and not files.exists(path):
                continue
            complaint = files.complaint(path, directory=one.row.kind is kinds.DIRECTORY)
            if not complaint and one.attribute == "tls_ca_certificate_file":
                complaint = files.authorities_complaint(path)
            if complaint:
                self._refuse(one, Setting(one.row.name, str(path), self._sources[one.attribute]), complaint)

    def _what_is_needed(self) -> str:
        read = f"{self._file} does not have it" if self._file else f"there is no {DEFAULT_FILE} in {self._cwd}"
        return (
            "Federation.RegistryUrl: not set; it is the one parameter without a default. Set it in the file that "
            f"{FILE_VARIABLE} names, or in ./{DEFAULT_FILE} ({read}), as `Federation: {{RegistryUrl: "
            "https://registry.example.org}`, or in the environment, as "
            "PELICAN_FEDERATION_REGISTRYURL=https://registry.example.org; or set Federation.DiscoveryUrl, if the "
            "federation has a host of its own that tells it. `director-wsgi demo` needs no configuration."
        )


def is_own_discovery_host(config: Config) -> bool:
    """Whether the federation's discovery URL leads to this director, so that nobody else can be asked there."""
    roots = {"{0.scheme}://{0.netloc}".format(urlsplit(url)) for url in (config.web_url, config.director_url)}
    return config.discovery_url in roots


def _said(row: Row[Any], setting: Setting) -> str:
    value = f" = {kinds.shorten(setting.value)}" if isinstance(setting.value, str) and not row.secret else ""
    return f"{row.name}{value} ({setting.source})"


def _misspelt(name: str, source: str) -> str:
    return f"{name} ({source}): there is no such parameter; the nearest is {names.nearest(name)}"


def _broken_relations(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    """Everything that must hold between rows: the rows it is about, and what is wrong with them."""
    if config.reserved_threads >= config.threads:
        problem = f"Director.ReservedThreads = {config.reserved_threads}: expected fewer than"
        yield ("reserved_threads", "threads"), f"{problem} Director.Threads, which is {config.threads}"
    if config.graceful_timeout_s < config.redirect_deadline_s:
        graceful, deadline = map(kinds.DURATION.show, (config.graceful_timeout_s, config.redirect_deadline_s))
        problem = f"Director.GracefulTimeout = {graceful}: expected at least Director.RedirectDeadline"
        yield ("graceful_timeout_s", "redirect_deadline_s"), f"{problem}, which is {deadline}"
    if (url := config.config_url).startswith("http://") and not kinds.is_loopback_url(url):
        said = f"Director.ConfigUrl = {kinds.shorten(url)}: expected https, since it is another machine's"
        if not config.config_url_allow_http:
            yield ("config_url", "config_url_allow_http"), f"{said}; or set Director.ConfigUrlAllowHttp"
        elif config.config_token_file is not None:
            yield ("config_url", "config_token_file"), f"{said}, and Director.ConfigTokenFile is set"
    if config.tracing_enabled and not tracing_extra.is_installed():
        problem = f"Tracing.Enabled = true: needs packages that are not installed; {tracing_extra.PIP}"
        yield ("tracing_enabled",), problem
    if config.tracing_batch > config.tracing_queue:
        problem = f"Tracing.BatchSize = {config.tracing_batch}: expected at most Tracing.QueueSize"
        yield ("tracing_batch", "tracing_queue"), f"{problem}, which is {config.tracing_queue}"
    yield from _broken_tls(config)


def _broken_tls(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    rows = ("tls_certificate_chain", "tls_key")
    chain, key = config.tls_certificate_chain, config.tls_key
    if chain is not None and key is not None:
        if complaint := files.certificate_complaint(chain, key):
            yield rows, f"Server.TLSCertificateChain = {str(chain)!r} and Server.TLSKey = {str(key)!r}: {complaint}"
    elif chain is not None or key is not None:
        missing, given = ("Server.TLSKey", "Server.TLSCertificateChain")[:: 1 if chain is not None else -1]
        yield rows, f"{missing}: not set, but {given} is; expected both or neither"
