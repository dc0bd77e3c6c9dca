"""The kinds of value a parameter may have: how each is read, and how it is printed.

A raw value is what `yaml_file` and the environment yield: a string, a list of raw values, or a dict of them by
lower-case key. All scalars are strings, so a value means the same wherever it stands. What is refused raises
ValueError, whose text says what was expected.
"""

import ipaddress
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import SplitResult, urlsplit

from director_wsgi.runtime.durations import format_duration, parse_duration
from director_wsgi.runtime.rows import Kind

IN_MEMORY: Final = ":memory:"
"""Instead of a directory: nothing is kept beyond the process."""

IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}\Z")
# What Go's strconv.ParseBool takes.
_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9.])?\Z")
UNIX: Final = "unix:"
_NOT_IN_URLS = re.compile(r"[\x00-\x20\x7f\\<>\"{}|^`]")


@dataclass(frozen=True, slots=True, kw_only=True)
class GeoIPOverride:
    """Where the addresses of a network are, whatever a database says.

    Attributes:
        network: One address is a network of one.
        latitude: Degrees, -90 to 90.
        longitude: Degrees, -180 to 180.
    """

    network: IPNetwork
    latitude: float
    longitude: float


def _scalar(value: object, expected: str) -> str:
    if isinstance(value, str):
        return value
    given = "a mapping" if isinstance(value, dict) else "a list"
    raise ValueError(f"expected {expected}, got {given}")


def _read_text(value: object) -> str:
    text = _scalar(value, "a text").strip()
    if not text.isprintable():
        raise ValueError("expected printable characters")
    return text


def _read_boolean(value: object) -> bool:
    text = _scalar(value, "true or false")
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ValueError("expected true or false")


def _read_switch(value: object) -> str:
    text = _scalar(value, "auto, on or off").strip().lower()
    if text in {"auto", "on", "off"}:
        return text
    if text in _TRUE or text in _FALSE:
        return "on" if text in _TRUE else "off"
    raise ValueError("expected auto, on or off")


def _read_integer(value: object) -> int:
    text = _scalar(value, "a whole number")
    if not _INTEGER.match(text):
        raise ValueError("expected a whole number")
    return int(text)


def _read_duration(value: object) -> float:
    return parse_duration(_scalar(value, 'a duration like "2s" or "1m30s"'))


def _read_list(value: object) -> tuple[str, ...]:
    """A YAML list of texts, or one text split at commas and blanks, as upstream splits the environment's."""
    if isinstance(value, str):
        return tuple(_read_text(entry) for entry in re.split(r"[,\s]+", value) if entry)
    if not isinstance(value, list):
        raise ValueError("expected a list of texts, got a mapping")  # noqa: TRY004, as for any other wrong value
    return tuple(_read_text(_scalar(entry, "a list of texts")) for entry in value if entry is not None)


def _split_url(text: str) -> SplitResult:
    if not text.isascii() or _NOT_IN_URLS.search(text):
        raise ValueError("expected a URL; it has a character that no URL may have")
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018, reading it is what checks it
    except ValueError:
        raise ValueError("expected a URL like https://host.example.org:8444") from None
    return parts


def _read_url(value: object) -> str:
    """An http or https URL with a host: lower-case scheme and host, no default port of https, no slash at its end."""
    text = _scalar(value, "a URL").strip()
    if not text:
        return ""
    parts = _split_url(text)
    scheme, host = parts.scheme.lower(), parts.hostname or ""
    if scheme not in {"http", "https"} or not _is_host(host):
        raise ValueError("expected an http or https URL with a host")
    if "@" in parts.netloc:
        raise ValueError("expected a URL without user name and password")
    if parts.query or parts.fragment:
        raise ValueError("expected a URL without `?` and `#`")
    port = "" if parts.port is None or (scheme, parts.port) == ("https", 443) else f":{parts.port}"
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}{port}{parts.path.rstrip('/')}"


def _read_root_url(value: object) -> str:
    """The same without a path; `host` alone means `https://host`, as for upstream's discovery URL."""
    text = _scalar(value, "a URL").strip()
    url = _read_url(f"https://{text}" if text and "://" not in text else text)
    if urlsplit(url).path:
        raise ValueError("expected a URL without a path")
    return url


def _read_any_url(value: object) -> str:
    text = _read_text(value)
    if text and not _split_url(text).scheme:
        raise ValueError("expected a URL, with its scheme")
    return text


def _read_urls(value: object) -> tuple[str, ...]:
    return tuple(_read_url(entry) for entry in _read_list(value))


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return bool(_HOST.match(text))
    return True


def _read_host(value: object) -> str:
    text = _scalar(value, "a host name or an address").strip()
    if text and not _is_host(text.removeprefix("[").removesuffix("]")):
        raise ValueError("expected a host name or an address")
    return text.removeprefix("[").removesuffix("]")


def _read_host_names(value: object) -> tuple[str, ...]:
    names = _read_list(value)
    for name in names:
        if not _is_host(name.rpartition(":")[0] if re.search(r":[0-9]{1,5}\Z", name) else name):
            raise ValueError(f"expected host names, each with a port or without; {shorten(name)} is none")
    return names


def _read_networks(value: object) -> tuple[str, ...]:
    """Networks, one way: the bits of a host are dropped, an address is a network of one, `*` is every address."""
    entries = _read_list(value)
    if "*" in entries:
        return ("0.0.0.0/0", "::/0")
    return tuple(_read_network(entry) for entry in entries)


def _read_cidrs(value: object) -> tuple[str, ...]:
    """The same without `*`: what is allowed or forbidden for security must be spelt out."""
    return tuple(_read_network(entry) for entry in _read_list(value))


def _read_network(entry: str) -> str:
    try:
        return str(ipaddress.ip_network(entry, strict=False))
    except ValueError:
        raise ValueError(f"expected addresses or networks (10.0.0.0/8); {shorten(entry)} is neither") from None


def _read_path(value: object) -> Path | None:
    text = _scalar(value, "a file name").strip()
    if "\x00" in text:
        raise ValueError("expected a file name")
    return Path(text) if text else None


def _read_paths(value: object) -> tuple[Path, ...]:
    return tuple(Path(entry) for entry in _read_list(value))


def _show_paths(paths: tuple[Path, ...]) -> str:
    return ", ".join(map(str, paths))


def _read_bind(value: object) -> str:
    text = _scalar(value, "host:port or unix:/path").strip()
    if not text:
        return ""
    if not text.isprintable():
        raise ValueError("expected printable characters")
    place = split_bind(text)
    if isinstance(place, Path):
        return text
    if not _is_host(place[0]):
        raise ValueError("expected host:port or unix:/path; the host is none")
    return f"[{place[0]}]:{place[1]}" if ":" in place[0] else f"{place[0]}:{place[1]}"


def split_bind(text: str) -> tuple[str, int] | Path:
    """Where to listen: a host and a port, or the path of a socket file.

    Raises:
        ValueError: It is neither.
    """
    if text.startswith(UNIX):
        path = Path(text.removeprefix(UNIX))
        if not path.is_absolute():
            raise ValueError("expected the absolute path of a socket file after `unix:`")
        return path
    host, _, port = text.rpartition(":")
    if not (host and re.fullmatch(r"[0-9]{1,5}", port) and 1 <= int(port) <= 65_535):
        raise ValueError("expected host:port, the port from 1 to 65535, or unix:/path")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _read_state(value: object) -> Path | None:
    path = _read_path(value)
    return None if path == Path(IN_MEMORY) else path


def _read_log_level(value: object) -> str:
    # Pelican's words are logrus's, in any case; what we keep are the names of Python's levels.
    levels = {"trace": "debug", "warn": "warning", "fatal": "critical", "panic": "critical"}
    level = _scalar(value, "a level").strip().lower()
    level = levels.get(level, level)
    if level not in {"debug", "info", "warning", "error", "critical"}:
        raise ValueError("expected trace, debug, info, warn, error, fatal or panic")
    return level


def _read_override(entry: object) -> GeoIPOverride:
    if not isinstance(entry, dict) or not isinstance(place := entry.get("coordinate"), dict):
        raise ValueError("expected IP, and Coordinate with Lat and Long")  # noqa: TRY004, as above
    try:
        network = ipaddress.ip_network(str(entry.get("ip", "")).strip(), strict=False)
    except ValueError:
        raise ValueError("IP is neither an address nor a network") from None
    try:
        latitude, longitude = float(str(place.get("lat"))), float(str(place.get("long")))
    except ValueError:
        raise ValueError("Lat and Long must be numbers") from None
    # NaN fails both comparisons.
    if not (math.fabs(latitude) <= 90 and math.fabs(longitude) <= 180):
        raise ValueError("Lat must be -90 to 90, Long -180 to 180")
    return GeoIPOverride(network=network, latitude=latitude, longitude=longitude)


def _sort_overrides(value: object) -> tuple[tuple[GeoIPOverride, ...], tuple[str, ...]]:
    if not isinstance(value, list):
        raise ValueError("expected a YAML list of {IP, Coordinate: {Lat, Long}}")  # noqa: TRY004, as above
    good, bad = [], []
    for number, entry in enumerate(value, start=1):
        try:
            good.append(_read_override(entry))
        except ValueError as error:
            bad.append(f"entry {number} is skipped: {error}")
    return tuple(good), tuple(bad)


def _show_overrides(overrides: tuple[GeoIPOverride, ...]) -> str:
    return ", ".join(f"{one.network} at {one.latitude:g},{one.longitude:g}" for one in overrides)


def is_loopback_url(url: str) -> bool:
    """Whether a URL leads to this machine whoever answers for names: to a loopback address, or to `localhost`."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def shorten(text: str) -> str:
    """A value for a message: quoted, on one line, at most about 80 characters of it."""
    return repr(text if len(text) <= 80 else text[:77] + "…")


TEXT: Final[Kind[str]] = Kind("text", _read_text, str)
BOOLEAN: Final[Kind[bool]] = Kind("boolean", _read_boolean, lambda value: str(value).lower())
SWITCH: Final[Kind[str]] = Kind("auto, on or off", _read_switch, str)
INTEGER: Final[Kind[int]] = Kind("integer", _read_integer, str)
DURATION: Final[Kind[float]] = Kind("duration", _read_duration, format_duration)
URL: Final[Kind[str]] = Kind("URL", _read_url, str)
ROOT_URL: Final[Kind[str]] = Kind("URL", _read_root_url, str)
ANY_URL: Final[Kind[str]] = Kind("URL", _read_any_url, str)
URLS: Final[Kind[tuple[str, ...]]] = Kind("list of URLs", _read_urls, ", ".join)
HOST: Final[Kind[str]] = Kind("host", _read_host, str)
HOST_NAMES: Final[Kind[tuple[str, ...]]] = Kind("list of hosts", _read_host_names, ", ".join)
NAMES: Final[Kind[tuple[str, ...]]] = Kind("list", _read_list, ", ".join)
CIDRS: Final[Kind[tuple[str, ...]]] = Kind("list of networks", _read_cidrs, ", ".join)
NETWORKS: Final[Kind[tuple[str, ...]]] = Kind("list of networks", _read_networks, ", ".join)
FILE: Final[Kind[Path | None]] = Kind("file", _read_path, lambda path: "" if path is None else str(path))
DIRECTORY: Final[Kind[Path | None]] = Kind("directory", _read_path, FILE.show)
DIRECTORIES: Final[Kind[tuple[Path, ...]]] = Kind("list of directories", _read_paths, _show_paths)
STATE: Final[Kind[Path | None]] = Kind("directory", _read_state, lambda path: IN_MEMORY if path is None else str(path))
BIND: Final[Kind[str]] = Kind("address", _read_bind, str)
LOG_LEVEL: Final[Kind[str]] = Kind("text", _read_log_level, str)
OVERRIDES: Final[Kind[tuple[GeoIPOverride, ...]]] = Kind(
    "list of objects", lambda value: _sort_overrides(value)[0], _show_overrides, lambda value: _sort_overrides(value)[1]
)
