"""The bearer token of a client: read here, once, and never shown.

The director demands no token and checks no signature; origins and caches do. It only refuses a token that would not
live through the transfer, so that a client gets a new one now rather than after its first megabytes.

Source: Pelican `director/director.go:getRequestParameters`, `validateClientToken`.
"""

import base64
import binascii
import hashlib
import json
import math
import secrets
from collections.abc import Sequence

from director_wsgi.limits.deadline import WallClock
from director_wsgi.redirect.request import Token

GRACE_S = 10.0
"""How long before its end a token counts as expired; half its life if that is less."""

MAX_TOKEN_CHARACTERS = 16_384

_digest_key = secrets.token_bytes(32)


def read_token(authorization: str | None, query: Sequence[tuple[str, str]], wall: WallClock) -> Token | None:
    """The token of a request.

    A query parameter `authz` wins over the header, even an empty one, and the first of several wins; a leading
    `Bearer ` is cut from either. Whether it has expired is read from the header first, as upstream does.

    Args:
        authorization: The Authorization header, as WSGI gives it; None if absent.
        query: The decoded query.
        wall: What the end of a token is compared with.
    """
    in_header = _bare(_utf8(authorization)) if authorization else ""
    in_query = next((value for name, value in query if name == "authz"), None)
    value = in_header if in_query is None else _bare(in_query)
    if not value:
        return None
    return Token(
        value=value,
        authority=hashlib.blake2b(
            value.encode("utf-8", "surrogateescape"), key=_digest_key, digest_size=16
        ).hexdigest(),
        expired=has_expired(in_header or value, wall()),
    )


def _bare(value: str) -> str:
    return value.removeprefix("Bearer ")


def _utf8(value: str) -> str:
    return value if value.isascii() else value.encode("latin-1", "replace").decode("utf-8", "surrogateescape")


def has_expired(token: str, now: float) -> bool:
    """Whether this is a JWT that is past its end, or within its grace before it. What is no JWT has no end.

    Args:
        token: Bare, of any shape.
        now: Unix seconds.
    """
    claims = _claims(token)
    expiry = _instant(claims.get("exp"))
    if expiry is None:
        return False
    issued = _instant(claims.get("iat"))
    grace = GRACE_S
    if issued is not None:
        life = expiry - issued
        if life <= 0:
            return True
        grace = min(GRACE_S, life / 2)
    return now + grace > expiry


def _claims(token: str) -> dict[str, object]:
    parts = token.split(".")
    if len(parts) != 3 or len(token) > MAX_TOKEN_CHARACTERS:
        return {}
    payload = parts[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _instant(claim: object) -> float | None:
    if isinstance(claim, bool) or not isinstance(claim, int | float):
        return None
    try:
        instant = float(claim)
    except OverflowError:
        return None
    return instant if math.isfinite(instant) else None
