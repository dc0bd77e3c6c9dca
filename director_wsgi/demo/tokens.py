"""Who signs what: a server's key, its tokens, and the reading of tokens at a server.

Source: Pelican `token/token_create.go`; RFC 7638 for the name of a key.
"""

import base64
import hashlib
import json
import uuid
from collections.abc import Mapping
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from director_wsgi.limits.deadline import WallClock, wall

ADVERTISE = "pelican.advertise"
READ = "storage.read:/"
LEEWAY_S = 60.0


class SigningKey:
    """A P-256 key; its private half is never shown.

    Attributes:
        key_id: RFC 7638 thumbprint, base64url.
        jwk: The public half as a JSON Web Key, with `kid` and `alg`.
    """

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        members = dict(ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True))
        self.key_id = thumbprint(members)
        self.jwk: Mapping[str, str] = {**members, "kid": self.key_id, "alg": "ES256"}

    def save(self, file: Path) -> None:
        """Write the private half down, as PEM, for its owner only."""
        file.touch(mode=0o600)
        file.write_bytes(
            self._key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def sign(
        self, *, issuer: str, subject: str, audience: list[str], scope: str, lifetime_s: float, now: WallClock = wall
    ) -> str:
        """A token as Pelican's servers make them (WLCG profile 1.0), valid from now on."""
        issued_at = int(now())
        claims = {
            "wlcg.ver": "1.0",
            "iss": issuer,
            "sub": subject,
            "aud": audience,
            "scope": scope,
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at + int(lifetime_s),
            "jti": uuid.uuid4().hex,
        }
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": self.key_id})

    def permits(self, token: str, *, issuer: str, scope: str, now: WallClock = wall) -> bool:
        """Whether `token` was signed with this key for `issuer`, is in force, and grants `scope`."""
        return grants(token, jwt.PyJWK(dict(self.jwk)), issuer=issuer, scope=scope, now=now)


def grants(
    token: str, key: jwt.PyJWK, *, issuer: str, scope: str, audience: str | None = None, now: WallClock = wall
) -> bool:
    """Whether a token was signed with a key, by an issuer, is in force, and grants a scope.

    Args:
        token: Whatever was sent.
        key: A public one.
        issuer: Who must have issued it.
        scope: A word that must be in its scope, letter by letter.
        audience: Who it must be for; None: anybody.
        now: The wall clock.
    """
    try:
        # PyJWT reads the wall clock itself, so times are judged here.
        claims = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            issuer=issuer,
            audience=audience,
            options={
                "verify_aud": audience is not None,
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
        in_force = float(claims["nbf"]) - LEEWAY_S <= now() <= float(claims["exp"]) + LEEWAY_S
        return in_force and scope in str(claims["scope"]).split(" ")
    except (jwt.InvalidTokenError, KeyError, TypeError, ValueError):
        return False


def thumbprint(jwk: Mapping[str, str]) -> str:
    """The RFC 7638 name of an elliptic-curve key: SHA-256 over its required members, sorted, without blanks."""
    required = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    text = json.dumps(required, separators=(",", ":"), sort_keys=True)
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
