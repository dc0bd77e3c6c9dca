"""Who may pass the director's own doors, such as `/metrics`: holders of a token of its own, or of the federation's.

They are checked with the public keys at hand, without asking anybody. What a key may verify follows from the key, never
from the token, and whose name a token may bear from where the key is published. Instants are those of the injected
clock, as in `trust.tokens`.

Source: Pelican `token/token_verify.go:Verify`, `web_ui/authorization.go:promMetricAuthHandler`.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import jwt

from director_wsgi.limits.deadline import WallClock, wall
from director_wsgi.trust.keys import KeySet, VerificationKey
from director_wsgi.trust.tokens import LEEWAY_S, MAX_TOKEN_BYTES, ScopeMissing, TokenRefused

SCRAPE: Final = "monitoring.scrape"
"""The scope that opens `/metrics`."""

DISCOVER: Final = "pelican.director_service_discovery"
"""The scope that opens `discoverServers`."""

SCOPES: Final = (SCRAPE, DISCOVER)
"""Every scope that this director asks for at a door of its own."""

_NO_KEYS: Final = "there is no key to verify it with: set IssuerKey or IssuerKeysDirectory"

# PyJWT reads the wall clock by itself, so times are judged here. The audience is not looked at, as upstream.
_OPTIONS: Final[Any] = {
    "require": ["iss", "exp", "scope"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
}


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens count.

    Attributes:
        url: What they name as their issuer.
        key_set: Gives its public keys as they are now, at once; called by any thread.
    """

    url: str
    key_set: Callable[[], KeySet]


class Guard:
    """Checks tokens for one scope. Any number of threads at once.

    Args:
        issuers: Whose tokens count; each is checked with its own keys only.
        scope: What they must be for.
        wall_clock: Unix seconds.
    """

    def __init__(self, issuers: Iterable[Issuer], *, scope: str, wall_clock: WallClock = wall) -> None:
        self._issuers = tuple(issuers)
        self._scope = scope
        self._wall = wall_clock

    def check(self, raw: str) -> None:
        """Let this token pass.

        Args:
            raw: Bare, of any shape.

        Raises:
            ScopeMissing: It is genuine, and made for something else.
            TokenRefused: Nobody whose tokens count signed it, or its time is not now. The message holds nothing of the
                token.
        """
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
        """The claims of a token that one of the issuers signed."""
        refused = TokenRefused("the token was not signed with a key of this director or its federation")
        for issuer, key in self._candidates(_key_id(raw)):
            try:
                return jwt.decode(
                    raw, key.public, algorithms=sorted(key.algorithms), issuer=issuer.url, options=_OPTIONS
                )
            except jwt.InvalidIssuerError:
                refused = TokenRefused(f"the token was not issued by {self._names()}")
            except (jwt.PyJWTError, TypeError, ValueError, RecursionError):  # the message might quote the token
                refused = TokenRefused("the token does not verify")
        raise refused

    def _candidates(self, kid: object) -> Iterator[tuple[Issuer, VerificationKey]]:
        key_sets = [(issuer, issuer.key_set()) for issuer in self._issuers]
        if not any(keys.keys for _, keys in key_sets):
            raise TokenRefused(_NO_KEYS)
        for issuer, keys in key_sets:
            for key in keys.with_id(kid) if isinstance(kid, str) else ():
                yield issuer, key

    def _names(self) -> str:
        return " or ".join(dict.fromkeys(issuer.url for issuer in self._issuers))


def _key_id(raw: str) -> object:
    """What the token names as its key; None if it names none."""
    try:
        header = jwt.get_unverified_header(raw)
    except (jwt.PyJWTError, TypeError, ValueError, RecursionError):  # the message might quote the token
        raise TokenRefused("the token does not verify") from None
    if "crit" in header:
        raise TokenRefused("the token demands an extension that is not understood (crit)")
    return header.get("kid")


def _instant(value: object) -> float:
    """A NumericDate (RFC 7519). There is no infinite one."""
    try:
        instant = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        instant = math.nan
    if not math.isfinite(instant):
        raise TokenRefused("the token does not say when it ends")
    return instant
