"""Advertise tokens: a JWT by which a server proves that it holds the key it registered.

The issuer, the audience and the subject are not looked at, as upstream: holding the registered key is everything.
Instants are compared here and not by the library, so that they are those of the injected clock.

Source: Pelican `director/origin_api.go:verifyAdvertiseToken`, `token/token_verify.go:VerifyWithKeyset`.
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from jwt import PyJWS, PyJWTError

from director_wsgi.trust.keys import KeySet, VerificationKey

SCOPE: Final = "pelican.advertise"
LEEWAY_S: Final = 60.0
MAX_TOKEN_BYTES: Final = 8192

_jws = PyJWS()


class TokenRefused(Exception):
    """The token does not prove what it should; `str()` is the reason, without any part of the token."""


class ScopeMissing(TokenRefused):
    """It is genuine, but was made for something else."""


def bearer(authorization: str) -> str:
    """The token in an Authorization header.

    A header without the word `Bearer` is taken for a bare token, as upstream does; `bearer` in lower case is therefore
    part of what then fails to be a token.
    """
    return authorization.removeprefix("Bearer ")


class AdvertiseToken:
    """One token, checked against as many key sets as its sender wants to advertise prefixes.

    Origins usually hold one key for all their prefixes: a key that has verified the token once is not asked again.
    For one thread.
    """

    __slots__ = ("_claims", "_raw", "_verified", "kid")

    def __init__(self, raw: str) -> None:
        """Read the header of a token; nothing in it is believed yet.

        Raises:
            TokenRefused: It is no JWT, too long, or does not name its key.
        """
        if len(raw) > MAX_TOKEN_BYTES:
            raise TokenRefused(f"the token is longer than {MAX_TOKEN_BYTES} bytes")
        self._raw = raw
        self._verified: set[VerificationKey] = set()
        self._claims: dict[str, Any] = {}
        with _refusing():
            kid = _jws.get_unverified_header(raw).get("kid")
        if not isinstance(kid, str) or not kid:
            raise TokenRefused("the token does not name its key (kid)")
        self.kid: str = kid

    def verify(self, keys: KeySet, now: float) -> None:
        """Check signature, times and scope.

        Args:
            keys: Of the prefix to be advertised.
            now: Seconds since the Unix epoch.

        Raises:
            ScopeMissing: Everything else is in order.
            TokenRefused: No key of the set verifies it, or its time is not now.
        """
        candidates = keys.with_id(self.kid)
        if not candidates:
            raise TokenRefused("failed to find a key with the key ID of the token in the key set")
        if self._verified.isdisjoint(candidates):
            self._verify_signature(candidates)
        _check_times(self._claims, now)
        _check_scope(self._claims)

    def _verify_signature(self, candidates: tuple[VerificationKey, ...]) -> None:
        for key in candidates:
            try:
                with _refusing():
                    decoded = _jws.decode_complete(self._raw, key=key.public, algorithms=sorted(key.algorithms))
            except TokenRefused:
                if key is candidates[-1]:
                    raise
                continue
            if "crit" in decoded["header"]:
                raise TokenRefused("the token demands an extension that is not understood (crit)")
            self._claims = _claims(decoded["payload"])
            self._verified.add(key)
            return

    def __repr__(self) -> str:
        return "<AdvertiseToken>"


@contextmanager
def _refusing() -> Iterator[None]:
    """Every way in which PyJWT fails on a hostile token, made one.

    It has its own errors for most; ValueError and TypeError come from odd values in the header, and RecursionError from
    nested JSON in its older versions.
    """
    try:
        yield
    except PyJWTError as error:
        raise TokenRefused(_reason(error)) from None
    except (ValueError, TypeError, RecursionError):
        raise TokenRefused("the token is malformed") from None


def _reason(error: PyJWTError) -> str:
    """What went wrong, in our words: the library's may quote the token."""
    return {
        "InvalidSignatureError": "could not verify the signature with the registered key",
        "InvalidAlgorithmError": "the algorithm of the token does not fit the registered key",
    }.get(type(error).__name__, "the token is malformed")


def _claims(payload: bytes) -> dict[str, Any]:
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        raise TokenRefused("the claims of the token are not a JSON object")
    return claims


def _check_times(claims: dict[str, Any], now: float) -> None:
    expires_at, not_before, issued_at = (_instant(claims, name) for name in ("exp", "nbf", "iat"))
    if expires_at is not None and expires_at + LEEWAY_S <= now:
        raise TokenRefused('"exp" not satisfied: the token has expired')
    if not_before is not None and not_before - LEEWAY_S > now:
        raise TokenRefused('"nbf" not satisfied: the token is not valid yet')
    if issued_at is not None and issued_at - LEEWAY_S > now:
        raise TokenRefused('"iat" not satisfied: the token was issued in the future')


def _instant(claims: dict[str, Any], name: str) -> float | None:
    """A NumericDate; None if absent. There is no infinite one, and none beyond what a float holds."""
    value = claims.get(name)
    if value is None:
        return None
    try:
        instant = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        instant = math.nan
    if not math.isfinite(instant):
        raise TokenRefused(f'"{name}" of the token is not a time')
    return instant


def _check_scope(claims: dict[str, Any]) -> None:
    scope = claims.get("scope")
    if scope is None:
        raise TokenRefused("no scope is present; required to advertise to director")
    if not isinstance(scope, str):
        raise TokenRefused("scope claim in token is not string-valued")
    if SCOPE not in scope.split(" "):
        raise ScopeMissing("Token missing required scope")
