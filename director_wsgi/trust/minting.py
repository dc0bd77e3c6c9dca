"""Tokens that this director signs: for the federation, and for its own doors (WLCG profile 1.0).

Source: Pelican `token/token_create.go`.
"""

import uuid
from collections.abc import Sequence

import jwt

from director_wsgi.limits.deadline import WallClock
from director_wsgi.trust.keyring import KeyRing


class NoSigningKey(Exception):
    """There is no key to sign with."""

    def __init__(self) -> None:
        super().__init__("this director has no signing key; set IssuerKey or IssuerKeysDirectory")


class Minter:
    """Makes tokens. Any number of threads at once; about a tenth of a millisecond each.

    Args:
        ring: Has the key that signs.
        wall: Unix seconds.
    """

    def __init__(self, ring: KeyRing, *, wall: WallClock) -> None:
        self._ring = ring
        self._wall = wall

    def mint(self, *, issuer: str, subject: str, audience: Sequence[str], scope: str, lifetime_s: float) -> str:
        """A token that is good from now on.

        Args:
            issuer: In whose name.
            subject: For whom.
            audience: Who may take it; written as an array even if it is one.
            scope: What it permits, words separated by blanks; without any the token has no such claim.
            lifetime_s: Seconds it is good for; fractions are cut off.

        Raises:
            NoSigningKey: There is no key.
        """
        key = self._ring.signing_key()
        if key is None:
            raise NoSigningKey
        issued_at = int(self._wall())
        claims: dict[str, object] = {
            "wlcg.ver": "1.0",
            "iss": issuer,
            "sub": subject,
            "aud": list(audience),
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at + int(lifetime_s),
            "jti": str(uuid.uuid4()),
        }
        if scope:
            claims["scope"] = scope
        return jwt.encode(claims, key.private, algorithm=key.algorithm, headers={"kid": key.kid})
