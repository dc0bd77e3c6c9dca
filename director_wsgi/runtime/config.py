"""The configuration: the table of `parameters`, filled from a file and the environment.

A later source wins: default, YAML file, environment. Everything that is wrong is reported at once. Names are Pelican's:
keys of the file in any case, `PELICAN_` and upper case with `_` in the environment. Names of Pelican that mean nothing
to this director are accepted and listed in `Config.ignored`; an unknown one where all are known is a mistake.

Source: Pelican `config/config.go`.
"""

from collections.abc import Iterator, Mapping
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
from director_wsgi.runtime.yaml_file import Setting, read_settings

__all__ = [
    "FILE_VARIABLE",
    "Config",
    "GeoIPOverride",
    "is_own_discovery_host",
    "load",
    "load_settings",
    "load_with_settings",
]

FILE_VARIABLE: Final = "DIRECTOR_WSGI_CONFIG"
_DEFAULT_FILE = "pelican.yaml"


def load(environ: Mapping[str, str], cwd: Path) -> Config:
    """As `load_with_settings`, the configuration alone."""
    return load_with_settings(environ, cwd)[0]


def load_with_settings(environ: Mapping[str, str], cwd: Path) -> tuple[Config, dict[str, Setting]]:
    """Read, check and complete the configuration.

    Args:
        environ: The environment. `DIRECTOR_WSGI_CONFIG` names the file; without it, `pelican.yaml` in `cwd` is taken if
            there is one.
        cwd: What relative names of files start from.

    Returns:
        A configuration in which every row, and every relation between rows, is as it must be. Nothing has been asked
        over the network: `registry_url` is empty where `runtime.discovery` can find it out. And what was set for its
        rows, by lower-case name, from wherever.

    Raises:
        ConfigError: With every problem there is; with those of the file alone, if it cannot be understood at all.
    """
    file = environ.get(FILE_VARIABLE, "").strip()
    if not file and files.exists(cwd / _DEFAULT_FILE):
        file = _DEFAULT_FILE
    settings = read_settings(cwd / file, file, names.BY_LOWER_NAME) if file else {}
    loading = _Loading(settings, environ, cwd, file)
    return loading.config(), loading.obeyed


def load_settings(settings: Mapping[str, Setting], environ: Mapping[str, str], cwd: Path) -> Config:
    """The configuration for what `load_with_settings` has found at another time; no parameter is read elsewhere.

    Raises:
        ConfigError: It is wrong by now: what a file holds is not the business of the settings.
    """
    others = {name: text for name, text in environ.items() if not name.startswith("PELICAN_")}
    return _Loading(dict(settings), others, cwd, "").config()


class _Loading:
    """One run of `load`: what has been found so far."""

    def __init__(self, settings: dict[str, Setting], environ: Mapping[str, str], cwd: Path, file: str) -> None:
        self._settings = settings
        self._variables = {name: text for name, text in environ.items() if name.startswith("PELICAN_") and text.strip()}
        self._cwd = cwd
        self._file = file
        self._problems: list[str] = []
        self._warnings: list[str] = []
        self._ignored: list[str] = []
        self._values: dict[str, Any] = {"config_base": default_config_base(environ)}
        self._sources: dict[str, str] = {}
        self._wrong: set[str] = set()
        self.obeyed: dict[str, Setting] = {}

    def config(self) -> Config:
        for parameter in PARAMETERS:
            self._read(parameter)
        self._judge_names()
        self._adopt_base_files()
        self._check_files()
        config = Config(
            **{"registry_url": "", **self._values},
            ignored=tuple(self._ignored),
            warnings=tuple(self._warnings),
            sources=MappingProxyType(self._sources),
        )
        can_be_asked = "discovery_url" in self._sources and not is_own_discovery_host(config)
        if not (config.registry_url or can_be_asked) and self._wrong.isdisjoint({"registry_url", "discovery_url"}):
            self._problems.append(self._what_is_needed())
        for attributes, problem in _broken_relations(config):
            if self._wrong.isdisjoint(attributes):
                self._problems.append(problem)
        if self._problems:
            raise ConfigError(tuple(self._problems))
        return config

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
        return None

    def _refuse(self, parameter: Parameter, setting: Setting, complaint: str) -> None:
        self._wrong.add(parameter.attribute)
        self._problems.append(f"{_said(parameter.row, setting)}: {complaint}")

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
            for one in PARAMETERS
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
        for one in PARAMETERS:
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
        read = f"{self._file} does not have it" if self._file else f"there is no {_DEFAULT_FILE} in {self._cwd}"
        return (
            "Federation.RegistryUrl: not set; it is the one parameter without a default. Set it in the file that "
            f"{FILE_VARIABLE} names, or in ./{_DEFAULT_FILE} ({read}), as `Federation: {{RegistryUrl: "
            "https://registry.example.org}`, or in the environment, as "
            "PELICAN_FEDERATION_REGISTRYURL=https://registry.example.org; or set Federation.DiscoveryUrl, if the "
            "federation has a host of its own that tells it. `director-wsgi demo` needs no configuration."
        )


def is_own_discovery_host(config: Config) -> bool:
    """Whether the federation's discovery URL leads to this director, so that nobody else can be asked there."""
    roots = {"{0.scheme}://{0.netloc}".format(urlsplit(url)) for url in (config.web_url, config.director_url)}
    return config.discovery_url in roots


def _said(row: Row[Any], setting: Setting) -> str:
    value = f" = {kinds.shorten(setting.value)}" if isinstance(setting.value, str) else ""
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
