"""The kinds of value that only the rows of tracing have; see `runtime.kinds`."""

import math
import re
from dataclasses import dataclass
from typing import Final

from director_wsgi.runtime import kinds
from director_wsgi.runtime.rows import Kind

Pairs = tuple[tuple[str, str], ...]
"""Names and values, in order."""

MAX_PAIRS: Final = 64
MAX_CHARACTERS: Final = 1024

PLACEHOLDERS: Final = ("{method}", "{route}")
"""What names and attributes of routes may have in them: the method, and the route itself."""

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,254}")
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_OURS: Final = frozenset({"content-type", "content-length", "content-encoding", "host", "transfer-encoding"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedRoute:
    """What the operator wants the spans of one route to be called, and to say.

    Attributes:
        route: The template of the route, as spans have it in `http.route`.
        span: What the span is called; empty: `method route`.
        attributes: What it says besides.
    """

    route: str
    span: str = ""
    attributes: Pairs = ()

    def named(self, method: str) -> str:
        """The name of a span."""
        return self._filled(self.span, method) if self.span else f"{method} {self.route}"

    def said(self, method: str) -> Pairs:
        """The attributes of a span."""
        return tuple((name, self._filled(value, method)) for name, value in self.attributes)

    def _filled(self, text: str, method: str) -> str:
        for placeholder, value in zip(PLACEHOLDERS, (method, self.route), strict=True):
            text = text.replace(placeholder, value)
        return text


def _read_number(value: object) -> float:
    text = kinds.TEXT.read(value)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("expected a number")
    return number


def _read_pairs(value: object) -> Pairs:
    """A list of `name=value`, or one text of such with commas between them. Quotes no value: it may be a secret."""
    if isinstance(value, dict):
        raise ValueError("expected a list of `name=value`, got a mapping")  # noqa: TRY004, as for any other wrong value
    entries = value if isinstance(value, list) else kinds.TEXT.read(value).split(",")
    pairs = [_read_pair(kinds.TEXT.read(one)) for one in entries if one is not None and one != ""]
    if len(pairs) > MAX_PAIRS:
        raise ValueError(f"expected at most {MAX_PAIRS} of `name=value`")
    return tuple(pairs)


def _read_pair(text: str) -> tuple[str, str]:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (equals and name):
        raise ValueError("expected a list of `name=value`")
    if len(value) > MAX_CHARACTERS:
        raise ValueError(f"expected values of at most {MAX_CHARACTERS} characters")
    return name, value


def _read_attributes(value: object) -> Pairs:
    pairs = _read_pairs(value)
    for name, _ in pairs:
        if not _NAME.fullmatch(name):
            raise ValueError(f"expected names of letters, digits, `.`, `_` and `-`; {kinds.shorten(name)} is none")
    return pairs


def _read_headers(value: object) -> Pairs:
    pairs = _read_pairs(value)
    for name, text in pairs:
        if not _HEADER.fullmatch(name) or name.lower() in _OURS:
            raise ValueError("expected names of headers that are not set by the director itself")
        if not _VALUE.fullmatch(text):
            raise ValueError("expected values of visible ASCII characters and blanks")
    return pairs


def _read_routes(value: object) -> tuple[TracedRoute, ...]:
    if not isinstance(value, list):
        raise ValueError("expected a YAML list of {Route, Span, Attributes}")  # noqa: TRY004, as above
    routes = tuple(_read_route(one) for one in value)
    if len({one.route for one in routes}) < len(routes):
        raise ValueError("expected no route twice")
    return routes


def _read_route(entry: object) -> TracedRoute:
    if not isinstance(entry, dict) or not entry.get("route") or entry.keys() - {"route", "span", "attributes"}:
        raise ValueError("expected Route, and Span or Attributes or both")
    route = TracedRoute(
        route=kinds.TEXT.read(entry["route"]),
        span=kinds.TEXT.read(entry.get("span") or ""),
        attributes=_read_attributes(entry.get("attributes") or []),
    )
    for text in (route.span, *(value for _, value in route.attributes)):
        for placeholder in re.findall(r"\{[^{}]*\}", text):
            if placeholder not in PLACEHOLDERS:
                raise ValueError(f"expected no placeholders but {' and '.join(PLACEHOLDERS)}")
    return route


def _show_pairs(pairs: Pairs) -> str:
    return ", ".join(f"{name}={value}" for name, value in pairs)


def _show_routes(routes: tuple[TracedRoute, ...]) -> str:
    return ", ".join(one.route for one in routes)


NUMBER: Final[Kind[float]] = Kind("number", _read_number, "{:g}".format)
ATTRIBUTES: Final[Kind[Pairs]] = Kind("list of pairs", _read_attributes, _show_pairs)
HEADERS: Final[Kind[Pairs]] = Kind("list of pairs", _read_headers, _show_pairs)
ROUTES: Final[Kind[tuple[TracedRoute, ...]]] = Kind("list of objects", _read_routes, _show_routes)
