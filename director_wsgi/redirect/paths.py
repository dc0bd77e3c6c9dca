"""From a request target to an object path and back to a URL.

The target is taken as the client sent it, decoded exactly once (`%2F` becomes `/`, as in Go), cleaned, and encoded
again where a URL is built. The path that a WSGI server offers beside it is decoded already, and frameworks merge and
redirect double slashes on the way; names with `%`, `#` or `?` would not survive that.

Source: Go `net/url` and `path.Clean`; RFC 3986 sections 2 and 3.3; RFC 9112 3.2 for the forms of a target.
"""

import re
from urllib.parse import quote_plus, unquote_plus, unquote_to_bytes

from director_wsgi.errors import BadRequest

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NEEDS_CLEANING = re.compile(r"//|/\.{1,2}(?:/|\Z)|(?<=.)/\Z", re.DOTALL)  # linear: any client may send 8 kB
_ABSOLUTE_FORM = re.compile(r"https?://[^/?]*", re.IGNORECASE)

MAX_QUERY_PARAMETERS = 100
"""More than any client sends; what is beyond is refused."""


def split_target(target: str) -> tuple[str, str]:
    """Split a request target into its path, decoded but not cleaned, and its raw query.

    Args:
        target: As in the request line: `/path?query`, or `https://host/path?query`.

    Raises:
        BadRequest: The path holds a broken percent escape, bytes that are no UTF-8, or NUL.
    """
    raw_path, _, query = target.partition("?")
    if not raw_path.startswith("/"):
        raw_path = _ABSOLUTE_FORM.sub("", raw_path, count=1)
    if "%" not in raw_path and raw_path.isascii():
        path = raw_path
    else:
        if _BROKEN_ESCAPE.search(raw_path):
            raise BadRequest("The request path contains a malformed percent escape")
        try:
            path = unquote_to_bytes(raw_path.encode("latin-1")).decode("utf-8")
        except UnicodeError:
            raise BadRequest("The request path contains invalid UTF-8 characters") from None
    if "\0" in path:
        raise BadRequest("The request path contains a NUL character")
    return path or "/", query


def clean(path: str) -> str:
    """The shortest equal path: no `//`, `.` or `..`, no slash at the end; absolute; `/` for nothing.

    Source: Go `path.Clean("/" + path)`.
    """
    if path[:1] == "/" and "//" not in path and "/." not in path and path[-1] != "/":
        return path  # nearly every one; the question below costs eight times as much
    if path.startswith("/") and not _NEEDS_CLEANING.search(path):
        return path
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in {"", "."}:
            kept.append(part)
    return "/" + "/".join(kept)


def parse_query(raw: str) -> tuple[tuple[str, str], ...]:
    """Names and values of a query, decoded, in order.

    Parameters that hold a raw `;` or a broken escape are dropped, as Go drops them. Bytes that are no UTF-8 are kept
    through surrogates, so that they reach the next server as they came.

    Raises:
        BadRequest: There are more than `MAX_QUERY_PARAMETERS`.
    """
    if not raw:
        return ()
    if not raw.isascii():  # servers hand bytes over as latin-1 (PEP 3333)
        raw = raw.encode("latin-1", "replace").decode("utf-8", "surrogateescape")
    pieces = raw.split("&")
    if len(pieces) > MAX_QUERY_PARAMETERS:
        raise BadRequest(f"The query has more than {MAX_QUERY_PARAMETERS} parameters")
    pairs: list[tuple[str, str]] = []
    for piece in pieces:
        if not piece or ";" in piece or _BROKEN_ESCAPE.search(piece):
            continue
        name, _, value = piece.partition("=")
        pairs.append((unquote_plus(name, errors="surrogateescape"), unquote_plus(value, errors="surrogateescape")))
    return tuple(pairs)


def encode_query(pairs: list[tuple[str, str]]) -> str:
    """A query with its names sorted and repeated values in their order.

    Source: Go `url.Values.Encode`.
    """
    return "&".join(
        f"{quote_plus(name, errors='surrogateescape')}={quote_plus(value, errors='surrogateescape')}"
        for name, value in sorted(pairs, key=lambda pair: pair[0])
    )


def depth_below(path: str, prefix: str) -> int:
    """Number of components of `path` after `prefix`; 0 if they are equal or the prefix is the root.

    Source: Pelican `director/director.go:getLinkDepth`.
    """
    if prefix in {"/", path}:
        return 0
    return path.count("/") - prefix.count("/")
