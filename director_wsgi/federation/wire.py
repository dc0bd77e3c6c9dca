"""JSON read the way Go's `encoding/json` reads it into a struct.

Servers are written in Go, and what they send was only ever tried against Go: keys match whatever their case, `null` is
"not said" for every type, a whole number is never a float, an instant is Go's idea of RFC 3339. What Go refuses is
refused here, with a sentence that names the field; so is what Go takes but nobody should have to carry about: control
characters, texts without end, a key in two spellings (whoever reads the same object after us may take the other one).

Everything here is pure.
"""

import json
import math
import re
from collections.abc import Iterator
from datetime import date
from json import JSONDecodeError, JSONDecoder
from typing import Any, NoReturn
from urllib.parse import quote, unquote

from director_wsgi.federation.urls import quote_path

MAX_TEXT = 4096
"""Characters of one string."""

MAX_ITEMS = 1000
"""Elements of one array, except the namespaces themselves."""

_UNIX_EPOCH = date(1970, 1, 1).toordinal()
_GO_ZERO_TIME = -62_135_596_800.0  # 0001-01-01T00:00:00Z

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANKS = re.compile(r"[ \t\n\r]*")
_INSTANT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]+))?"
    r"(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)
_NOT_IN_HEADER = re.compile(r"[^\x21-\x7e]")

_NEAR_END = 12
"""Characters of the longest token that is no string: one that was cut off fails as near to the end as that."""


class WireError(ValueError):
    """The text is not JSON, or not of the shape wanted; `str()` says where."""


def _refuse_constant(name: str) -> NoReturn:
    raise WireError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise WireError(f"number {text[:20]} is out of range")
    return value


_decoder = JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def decode(text: str, at: int, max_chars: int) -> tuple[Any, int]:
    """The JSON value that begins at `at`, and where it ends.

    Args:
        text: Holds it.
        at: Where it begins.
        max_chars: How much of the text it may take up. No more than that is looked at.

    Raises:
        WireError: There is none, or it is too long, or nested too deeply.
    """
    part = text[at : at + max_chars]
    is_cut = at + len(part) < len(text)
    try:
        value, length = _decoder.raw_decode(part)
    except RecursionError:
        raise WireError("nested too deeply") from None
    except JSONDecodeError as error:
        if is_cut and (len(part) - error.pos < _NEAR_END or error.msg.startswith("Unterminated string")):
            raise WireError(f"a value at character {at} is longer than {max_chars} characters") from None
        raise WireError(str(JSONDecodeError(error.msg, text, at + error.pos))) from None
    except ValueError as error:  # an integer of thousands of digits
        raise WireError(str(error)) from None
    return value, at + length


def skip_blanks(text: str, at: int) -> int:
    """Where the next token begins."""
    blanks = _BLANKS.match(text, at)
    return blanks.end() if blanks else at


def expect(text: str, at: int, token: str) -> int:
    """Where the token after `token` begins, which is to come next.

    Raises:
        WireError: Something else comes next.
    """
    at = skip_blanks(text, at)
    if not text.startswith(token, at):
        raise WireError(f"expected '{token}' at character {at}")
    return skip_blanks(text, at + len(token))


def compact(value: object) -> str:
    """JSON without blanks, in ASCII: safe in a header, a log and a byte string alike."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


class Fields:
    """One JSON object, read as a Go struct. Every reader returns Go's zero value for what is absent or null.

    Raises (every method): WireError, naming the field.
    """

    __slots__ = ("_folded", "_path", "_struct", "_values")

    def __init__(self, values: dict[str, Any], struct: str, path: str = "") -> None:
        """Wrap an object.

        Args:
            values: As `json` decodes it.
            struct: Name of the Go struct, for messages.
            path: Names of the fields that lead here, each with a dot behind it; empty at the top.
        """
        self._values = values
        self._struct = struct
        self._path = path
        self._folded = {key.casefold(): key for key in values}
        if len(self._folded) != len(values):
            raise WireError(f"{path.rstrip('.') or 'the object'} has a key in two spellings")

    def _get(self, name: str) -> Any:
        value = self._values.get(name)
        if value is None:
            key = self._folded.get(name.casefold())
            value = self._values[key] if key is not None else None
        return value

    def key(self, name: str) -> str:
        """The key under which `name` is found in the object."""
        return self._folded.get(name.casefold(), name)

    def has(self, name: str) -> bool:
        """Whether anything but null is said."""
        return self._get(name) is not None

    def _wrong(self, name: str, value: object, wanted: str) -> WireError:
        return wrong_type(value, f"{self._struct}.{self._path}{name}", wanted)

    def refuse(self, name: str, why: str) -> WireError:
        """An error that says `why` the value of `name` cannot be used."""
        return WireError(f"{self._path}{name} {why}")

    def text(self, name: str) -> str:
        """A string without control characters; halves of surrogate pairs become U+FFFD, as in Go."""
        value = self._get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._wrong(name, value, "string")
        return self._clean(name, value)

    def _clean(self, name: str, value: str) -> str:
        if len(value) > MAX_TEXT:
            raise self.refuse(name, f"is longer than {MAX_TEXT} characters")
        if value.isascii() and value.isprintable():
            return value
        if _CONTROL.search(value):
            raise self.refuse(name, "contains control characters")
        return _SURROGATE.sub("\ufffd", value)

    def prose(self, name: str) -> str:
        """A string that people wrote for people: line breaks may be in it, and what is too long of it is cut off."""
        value = self._get(name)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, value, "string")
        return _SURROGATE.sub("\ufffd", value[:MAX_TEXT]) if value else ""

    def texts(self, name: str) -> tuple[str, ...]:
        """An array of strings."""
        return tuple(self._clean(name, item if item is not None else "") for item in self._items(name, str, "string"))

    def flag(self, name: str) -> bool:
        """A boolean."""
        value = self._get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self._wrong(name, value, "bool")
        return value

    def integer(self, name: str, *, low: int = 0, high: int = (1 << 64) - 1, wanted: str = "uint64") -> int:
        """A whole number, written as one (`1e3` is not, in Go)."""
        value = self._get(name)
        if value is None:
            return 0
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self._wrong(name, value, wanted)
        return value

    def number(self, name: str) -> float:
        """A finite number."""
        value = self._get(name)
        if value is None:
            return 0.0
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._wrong(name, value, "float64")
        try:
            return float(value)
        except OverflowError:
            raise self.refuse(name, "is out of range") from None

    def struct(self, name: str, struct: str, wanted: str = "") -> "Fields | None":
        """An object; None if absent."""
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._wrong(name, value, wanted or f"server_structs.{struct}")
        return Fields(value, struct, f"{self._path}{name}.")

    def structs(self, name: str, struct: str) -> Iterator["Fields"]:
        """An array of objects; a null in it is an empty one, as in Go."""
        path = f"{self._path}{name}."
        for item in self._items(name, dict, f"server_structs.{struct}"):
            yield Fields(item or {}, struct, path)

    def _items(self, name: str, kind: type, wanted: str) -> list[Any]:
        value = self._get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(name, value, f"[]{wanted}")
        if len(value) > MAX_ITEMS:
            raise self.refuse(name, f"has more than {MAX_ITEMS} elements")
        for item in value:
            if item is not None and not isinstance(item, kind):
                raise self._wrong(name, item, wanted)
        return value

    def instant(self, name: str) -> float | None:
        """An RFC 3339 time as seconds since the Unix epoch; None if absent or Go's zero time.

        A comma before the fraction and an hour of one digit are taken, since Go takes them.
        """
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self._wrong(name, value, "time.Time")
        found = _INSTANT.fullmatch(value)
        seconds = _seconds(found) if found else None
        if seconds is None:
            raise self.refuse(name, "is not an RFC 3339 time")
        return None if seconds == _GO_ZERO_TIME else seconds

    def url(self, name: str) -> str:
        """A Go `url.URL`, which travels as an object, as a URL that can stand in a header; empty if absent."""
        fields = self.struct(name, "URL", "url.URL")
        if fields is None:
            return ""
        url = fields._joined_url()  # noqa: SLF001, its own kind
        if _NOT_IN_HEADER.search(url):
            raise self.refuse(name, "contains characters that no URL may have")
        return url

    def _joined_url(self) -> str:
        """As Go's `URL.String`; user and password never travel, so there are none.

        Every member is read, whether or not it counts: the object is handed on as it came, and one that Go cannot
        decode would keep every cache of the federation from reading the list it is in.
        """
        scheme, host, path, raw, opaque = map(self.text, ("Scheme", "Host", "Path", "RawPath", "Opaque"))
        query, fragment, _raw_fragment = map(self.text, ("RawQuery", "Fragment", "RawFragment"))
        omits_host, forces_query = self.flag("OmitHost"), self.flag("ForceQuery")
        self.struct("User", "Userinfo", "url.Userinfo")
        parts = [f"{scheme}:"] if scheme else []
        if opaque:
            parts.append(opaque)
        else:
            if host or (scheme and not omits_host):
                parts.append(f"//{host}")
            escaped = raw if raw and unquote(raw) == path else quote_path(path)
            if host and escaped and not escaped.startswith("/"):
                escaped = f"/{escaped}"
            parts.append(escaped)
        if query or forces_query:
            parts.append(f"?{query}")
        if fragment:
            parts.append("#" + quote(fragment, safe="/?$&+,:;=@!()*"))
        return "".join(parts)


def wrong_type(value: object, field: str, wanted: str) -> WireError:
    """The error for a value of the wrong JSON type, in Go's words, which its senders' operators search for."""
    return WireError(f"cannot unmarshal {_kind(value)} into Go struct field {field} of type {wanted}")


def _kind(value: object) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "null"


def _seconds(found: re.Match[str]) -> float | None:
    year, month, day, hour, minute, second = (int(found[i]) for i in range(1, 7))
    sign, offset_hour, offset_minute = found[8], int(found[9] or 0), int(found[10] or 0)
    if hour > 23 or minute > 59 or second > 59 or offset_hour > 24 or offset_minute > 60:
        return None
    try:
        days = date(year, month, day).toordinal() - _UNIX_EPOCH
    except ValueError:
        return None
    offset = (offset_hour * 3600 + offset_minute * 60) * (-1 if sign == "-" else 1)
    fraction = float(f"0.{found[7][:9]}") if found[7] else 0.0
    return days * 86_400.0 + hour * 3600 + minute * 60 + second - offset + fraction
