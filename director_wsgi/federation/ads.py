"""Advertisements: from the bytes a server posts to the models of this room. Pure.

A cache repeats the namespaces of the whole federation in every advertisement, once a minute: thousands of elements of
which none has changed. Equal texts become one object here, so that a hundred caches share one list of namespaces, and
an element that is known already is recognised by its text and not parsed again; nor is a whole list (`lists`).

Source: Pelican `server_structs/director.go:OriginAdvertise`; the checks, `director/director.go:registerServerAd`.
"""

import re
from dataclasses import dataclass, fields
from ipaddress import IPv6Address
from itertools import product
from typing import Any

from director_wsgi.errors import InvalidAd
from director_wsgi.federation.downtimes import downtimes_of_ad
from director_wsgi.federation.lists import LONG_BYTES, KnownLists, ListKey, by_text, interned
from director_wsgi.federation.models import (
    Capabilities,
    Coordinate,
    NamespaceAd,
    ServerAd,
    ServerKind,
    TokenGeneration,
    TokenIssuer,
)
from director_wsgi.federation.urls import quote_path
from director_wsgi.federation.wire import Fields, WireError, compact, decode, expect, skip_blanks, wrong_type

MAX_NAMESPACES = 20_000
"""Elements of `namespaces`, doubles included."""

MAX_NAMESPACE_CHARS = 65_536
"""Text of one element; far more than any real one, and a bound on what `wire` keeps."""

MAX_OTHER_CHARS = 1 << 20
"""Text of all members but `namespaces` together. Much may be made of little text: `[]`, without end, becomes thirty
times as many bytes, and whoever likes can send it, since an advertisement is read before its sender is known."""

MAX_MEMBERS = 1000
"""Members of the object."""

_SHORT_ELEMENT = 4096  # longer ones are parsed each time; it bounds the search for an element's end

_TESTABLE_STORAGE = frozenset({"posix", "posixv2", "pstore"})

_known_lists = KnownLists()

# What thousands of namespaces say is said by one object.
_CAPABILITIES = {
    flags: Capabilities(**dict(zip((field.name for field in fields(Capabilities)), flags, strict=True)))
    for flags in product((False, True), repeat=len(fields(Capabilities)))
}
_NOTHING_SAID = (TokenGeneration(),)
"""How public data get their tokens: origins always tell one way."""

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[^?#]*)?(?:\?[^#]*)?(?:#.*)?",
    re.IGNORECASE,
)
_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Listed:
    """A list of namespaces as it was sent.

    Attributes:
        namespaces: No path twice.
        key: Stands for its bytes, if they are many and not known yet.
    """

    namespaces: tuple[NamespaceAd, ...] = ()
    key: ListKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedAd:
    """An advertisement and its two instants, both in seconds since the Unix epoch by the sender's clock.

    Attributes:
        ad: What it says. `version` is as sent, or empty.
        expiry_at: When it ends; None if not said.
        sent_at: When it was sent; None if not said.
        listed: Its namespaces as sent, whatever `ad` may be restricted to later; see `remember`.
    """

    ad: ServerAd
    expiry_at: float | None = None
    sent_at: float | None = None
    listed: Listed = Listed()


def parse_ad(body: bytes, kind: ServerKind) -> ParsedAd:
    """Read the body of an advertisement.

    Of namespaces with the same path the first counts, since it is the one Go's matching would find. What follows the
    JSON object is ignored, and so is every key nobody knows.

    Args:
        body: As received; the caller has limited its size.
        kind: By which route it came.

    Raises:
        InvalidAd: Anything at all is wrong with it; the message names the field.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidAd(f"invalid {kind.value} registration: not UTF-8 at byte {error.start}") from None
    try:
        values, listed = _members(text, body)
        return _parsed(Fields(values, "OriginAdvertise"), listed, kind)
    except WireError as error:
        raise InvalidAd(f"invalid {kind.value} registration: {error}") from None


def remember(parsed: ParsedAd, held: ServerAd) -> None:
    """Recognise its list of namespaces when it comes again; to be called when the advertisement was admitted.

    Args:
        parsed: As it was read.
        held: What the directory has made of it: equal, but for what the sender may not serve, and there to stay.
    """
    listed = parsed.listed
    if listed.key is not None:
        is_whole = parsed.ad.namespaces is listed.namespaces
        _known_lists.learn(listed.key, held.namespaces if is_whole else listed.namespaces)


def _members(text: str, body: bytes) -> tuple[dict[str, Any], Listed]:
    """The members of the object that `text` begins with, which is `body` decoded; the namespaces apart."""
    values: dict[str, Any] = {}
    listed = Listed()
    room = MAX_OTHER_CHARS
    count = 0
    at = skip_blanks(text, 0)
    if not text.startswith("{", at):
        value, _ = decode(text, at, room)
        if value is not None:
            raise WireError("cannot unmarshal this into Go value of type server_structs.OriginAdvertise")
        return values, listed  # null says nothing, so the first required field is what will be missed
    at = skip_blanks(text, at + 1)
    while not text.startswith("}", at):
        count += 1
        if count > MAX_MEMBERS:
            raise WireError(f"the object has more than {MAX_MEMBERS} members")
        key, end = decode(text, at, room)
        if not isinstance(key, str):
            raise WireError("a key of the object is not a string")
        room -= end - at
        at = expect(text, end, ":")
        is_namespaces = key.casefold() == "namespaces"
        if is_namespaces and text.startswith("[", at):
            listed, at = _list(text, body, at)
        else:
            values[key], end = decode(text, at, room)
            room -= end - at
            at = end
            if is_namespaces and values[key] is not None:
                raise wrong_type(values[key], "OriginAdvertise.namespaces", "[]server_structs.NamespaceAd")
        at = skip_blanks(text, at)
        if not text.startswith("}", at):
            at = expect(text, at, ",")
    return values, listed


def _list(text: str, body: bytes, at: int) -> tuple[Listed, int]:
    """The array that begins at `at`, and where it ends."""
    start = _in_bytes(text, 0, at)
    found = _known_lists.find(body, start)
    if found is not None:
        namespaces, length = found
        return Listed(namespaces), at + (length if text.isascii() else len(body[start : start + length].decode()))
    namespaces, end = _namespaces(text, at)
    if end - at < LONG_BYTES:
        return Listed(namespaces), end
    key = ListKey.of(memoryview(body)[start : start + _in_bytes(text, at, end)])
    return Listed(namespaces, key), end


def _in_bytes(text: str, start: int, end: int) -> int:
    """How many bytes these characters were."""
    return end - start if text.isascii() else len(text[start:end].encode())


def _namespaces(text: str, at: int) -> tuple[tuple[NamespaceAd, ...], int]:
    """The array that begins at `at`, and where it ends."""
    found: dict[str, NamespaceAd] = {}
    count = 0
    at = skip_blanks(text, at + 1)
    # Elements written by one program begin alike, so the beginning of the next one tells where this one may end. The
    # guess needs no check: only whole objects are known, and no whole object is the beginning of another.
    boundary = f"}},{text[at : at + 8]}"
    while not text.startswith("]", at):
        end = text.find(boundary, at, at + _SHORT_ELEMENT) + 1
        namespace = by_text.get(text[at:end]) if end else None
        if namespace is None:
            value, end = decode(text, at, MAX_NAMESPACE_CHARS)
            namespace = _namespace(text[at:end], value)
        found.setdefault(namespace.path, namespace)
        count += 1
        if count > MAX_NAMESPACES:
            raise WireError(f"namespaces has more than {MAX_NAMESPACES} elements")
        if text.startswith(",{", end):  # as nearly always: a shorter way for thousands
            at = end + 1
            continue
        at = skip_blanks(text, end)
        if not text.startswith("]", at):
            at = expect(text, at, ",")
    return tuple(found.values()), at + 1


def _namespace(text: str, value: object) -> NamespaceAd:
    """One element: the object known by that text, or a new one."""
    known = by_text.get(text)
    if known is not None:
        return known
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise wrong_type(value, "OriginAdvertise.namespaces", "server_structs.NamespaceAd")
    fields = Fields(value, "NamespaceAd", "namespaces.")
    path = _prefix(fields)
    value[fields.key("path")] = path
    wire = compact(value)
    namespace = NamespaceAd(
        path=path,
        capabilities=_capabilities(fields.struct("Caps", "Capabilities")),
        token_generations=_generations(fields),
        token_issuers=tuple(map(_issuer, fields.structs("token-issuer", "TokenIssuer"))),
        wire=text if wire == text else wire,
    )
    fields.flag("from-topology")
    return by_text.setdefault(text, interned(namespace))


def _prefix(fields: Fields) -> str:
    path = fields.text("path")
    if path != "/":
        path = path.removesuffix("/")
    if not path.startswith("/"):
        raise fields.refuse("path", "is not an absolute path")
    if path != "/" and not {"", ".", ".."}.isdisjoint(path[1:].split("/")):
        raise fields.refuse("path", "is not a clean path")
    return path


def _capabilities(fields: Fields | None) -> Capabilities:
    flags = ("PublicRead", "Read", "Write", "Listing", "FallBackRead", "Copies")
    return _CAPABILITIES[tuple(fields is not None and fields.flag(name) for name in flags)]


def _generations(fields: Fields) -> tuple[TokenGeneration, ...]:
    found = tuple(map(_generation, fields.structs("token-generation", "TokenGen")))
    return _NOTHING_SAID if found == _NOTHING_SAID else found


def _generation(fields: Fields) -> TokenGeneration:
    return TokenGeneration(
        strategy=fields.text("strategy"),
        vault_server=fields.text("vault-server"),
        max_scope_depth=fields.integer("max-scope-depth", wanted="uint"),
        issuer=fields.url("issuer"),
    )


def _issuer(fields: Fields) -> TokenIssuer:
    return TokenIssuer(
        issuer=fields.url("issuer"),
        base_paths=fields.texts("base-paths"),
        restricted_paths=fields.texts("restricted-paths"),
    )


def _coordinate(fields: Fields | None) -> Coordinate | None:
    """Where the server says it is; what it guessed, and what is nowhere on earth, does not count."""
    if fields is None:
        return None
    latitude, longitude = fields.number("Lat"), fields.number("Long")
    radius = fields.integer("AccuracyRadius", high=65_535, wanted="uint16")
    if fields.text("Source") != "declared" or abs(latitude) > 90 or abs(longitude) > 180:
        return None
    return Coordinate(latitude=latitude, longitude=longitude, accuracy_radius_km=radius)


def _parsed(fields: Fields, listed: Listed, kind: ServerKind) -> ParsedAd:
    data_url, web_url, broker_url = fields.text("data-url"), fields.text("web-url"), fields.text("broker-url")
    if not data_url:
        raise WireError("data-url is required")
    storage_type = fields.text("storageType") or "posix"
    test_disabled = fields.flag("directorTest")  # the wire's word for it means the opposite
    ad = ServerAd(
        kind=kind,
        name=fields.text("name"),
        data_url=data_url,
        base_url=_base_url(data_url, kind),
        web_url=_web_url(web_url, kind),
        broker_url=_broker_url(broker_url, kind),
        registry_prefix=fields.text("registry-prefix"),
        server_id=fields.text("serverId"),
        version=fields.text("version"),
        status=fields.text("status"),
        storage_type=storage_type,
        director_test_disabled=test_disabled or storage_type not in _TESTABLE_STORAGE,
        coordinate=_coordinate(fields.struct("coordinate", "Coordinate")),
        capabilities=_capabilities(fields.struct("capabilities", "Capabilities")),
        namespaces=listed.namespaces,
        required_features=fields.texts("requiredFeatures"),
        downtimes=downtimes_of_ad(fields),
        start_time=fields.integer("startTime", low=-(1 << 63), high=(1 << 63) - 1, wanted="int64"),
        instance_id=fields.text("instanceID"),
        generation_id=fields.integer("generationID"),
    )
    return ParsedAd(ad=ad, expiry_at=fields.instant("expiry"), sent_at=fields.instant("now"), listed=listed)


def _base_url(url: str, kind: ServerKind) -> str:
    """What redirects are built on: https whatever was advertised, without query, fragment and slash at the end."""
    found = _usable(url)
    if found is None:
        if kind is ServerKind.CACHE and _is_unparsable(url):
            raise InvalidAd(f"Invalid Cache URL {url} (config parameter: Cache.Url): it cannot be parsed")
        raise InvalidAd(f"Invalid {kind.value} registration. {kind.value}.URL {url} is not a valid URL")
    port = f":{found['port']}" if found["port"] else ""
    path = re.sub("[^%]+", lambda part: quote_path(part[0]), found["path"] or "").rstrip("/")
    return f"https://{found['host']}{port}{path}"


def _web_url(url: str, kind: ServerKind) -> str:
    if url and _usable(url) is None:
        raise InvalidAd(f"Invalid Server.ExternalWebUrl registration. {kind.value} {url} is not a valid URL")
    return url


def _broker_url(url: str, kind: ServerKind) -> str:
    if url and _usable(url) is None:
        raise InvalidAd(f"Invalid {kind.value} registration. BrokerURL {url} is not a valid URL")
    return url


def _usable(url: str) -> re.Match[str] | None:
    """An http or https URL with a host, and nothing that could not stand in a header; None otherwise."""
    found = _URL.fullmatch(url)
    if found is None or _BAD_ESCAPE.search(found["path"] or "") or not _is_host(found["host"]):
        return None
    if found["port"] and not 0 < int(found["port"]) <= 65_535:
        return None
    return found


def _is_host(host: str) -> bool:
    """Whether what is in brackets, if it is, is an address; whoever splits the URL after us fails on it else."""
    if host.startswith("["):
        try:
            IPv6Address(host[1:-1])
        except ValueError:
            return False
    return True


def _is_unparsable(url: str) -> bool:
    """Whether Go's `url.Parse` fails on it; what it can read may still be of no use."""
    authority = re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0]
    port = authority.rpartition("]")[2].partition(":")[2]
    is_bad_port = port != "" and not (port.isascii() and port.isdecimal())
    return is_bad_port or " " in authority or bool(_BAD_ESCAPE.search(url.partition("?")[0]))
