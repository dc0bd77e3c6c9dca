"""Tokens that this director signs for its own doors, such as `/metrics`.

They are checked with the public halves of the same keys, without asking anybody. What a key may verify follows from
the key, never from the token. Instants are those of the injected clock, as in `trust.tokens`.

Source: Pelican `web_ui/authorization.go:promMetricAuthHandler`, `token/token_create.go`.
"""

import math
import uuid
from typing import Any, Final

import jwt

from director_wsgi.limits.deadline import WallClock, wall
from director_wsgi.trust.issuer import IssuerKey
from director_wsgi.trust.tokens import LEEWAY_S, MAX_TOKEN_BYTES, ScopeMissing, TokenRefused

SCRAPE: Final = "monitoring.scrape"
"""The scope that opens `/metrics`."""

SCOPES: Final = (SCRAPE,)
"""Every scope that this director asks for at a door of its own."""

_NO_KEY: Final = "this director has no signing key; set IssuerKey or IssuerKeysDirectory"

# PyJWT reads the wall clock by itself, so times are judged here. The audience is not looked at, as upstream.
_OPTIONS: Final[Any] = {
    "require": ["iss", "exp", "scope"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
}


def mint(key: IssuerKey, *, issuer: str, scope: str, lifetime_s: float, now: float) -> str:
    """A token for a door of our own (WLCG profile 1.0).

    Args:
        key: Signs it.
        issuer: Our own URL (`Server.ExternalWebUrl`).
        scope: What it opens.
        lifetime_s: Seconds it is good for; fractions are cut off.
        now: Unix seconds.
    """
    issued_at = int(now)
    claims = {
        "wlcg.ver": "1.0",
        "iss": issuer,
        "sub": issuer,
        "aud": [issuer],
        "scope": scope,
        "iat": issued_at,
        "nbf": issued_at,
        "exp": issued_at + int(lifetime_s),
        "jti": str(uuid.uuid4()),
    }
    return jwt.encode(claims, key.private, algorithm=key.algorithm, headers={"kid": key.kid})


class Guard:
    """Checks tokens for one scope. Any number of threads at once.

    Args:
        keys: Ours; without any, every token is refused.
        issuer: Our own URL, which must have issued them.
        scope: What they must be for.
        wall_clock: Unix seconds.
    """

    def __init__(self, keys: tuple[IssuerKey, ...], *, issuer: str, scope: str, wall_clock: WallClock = wall) -> None:
        self._keys = {key.kid: (key.private.public_key(), key.algorithm) for key in keys}
        self._issuer = issuer
        self._scope = scope
        self._wall = wall_clock

    def check(self, raw: str) -> None:
        """Let this token pass.

        Args:
            raw: Bare, of any shape.

        Raises:
            ScopeMissing: It is genuine, and made for something else.
            TokenRefused: It is not ours, or its time is not now. The message holds nothing of the token.
        """
        if not self._keys:
            raise TokenRefused(_NO_KEY)
        if len(raw) > MAX_TOKEN_BYTES:
            raise TokenRefused(f"the token is longer than {MAX_TOKEN_BYTES} bytes")
        claims = self._verified(raw)
        now = self._wall()
        if _instant(claims["exp"]) + LEEWAY_S <= now:
            raise TokenRefused("the token has expired")
        if _instant(claims.get("nbf", now)) - LEEWAY_S > now:
            raise TokenRefused("the token is not valid yet")
        scope = claims["scope"]
        if not isinstance(scope, str) or self._scope not in scope.split(" "):
            raise ScopeMissing(f"the token lacks the scope {self._scope}")

    def _verified(self, raw: str) -> dict[str, Any]:
        try:
            public, algorithm = self._keys[jwt.get_unverified_header(raw)["kid"]]
            return jwt.decode(raw, public, algorithms=[algorithm], issuer=self._issuer, options=_OPTIONS)
        except KeyError:
            raise TokenRefused("the token was not signed with a key of this director") from None
        except jwt.InvalidIssuerError:
            raise TokenRefused(f"the token was not issued by {self._issuer}") from None
        except (jwt.PyJWTError, TypeError, ValueError, RecursionError):  # the message might quote the token
            raise TokenRefused("the token does not verify") from None


def _instant(value: object) -> float:
    """A NumericDate (RFC 7519). There is no infinite one."""
    try:
        instant = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        instant = math.nan
    if not math.isfinite(instant):
        raise TokenRefused("the token does not say when it ends")
    return instant
