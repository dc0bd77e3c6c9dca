"""What a Pelican server sends along with an advertisement, and the key that its token is signed with."""

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

KEY_ID = "benchmark"
DIRECTOR = "https://director.example.org"


def headers(kind: str, web_url: str, data_url: str, key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """Those of one POST, with a token of its own.

    Args:
        kind: `Origin` or `Cache`.
        web_url: Of the server; the issuer of its tokens.
        data_url: Of the server.
        key: The server's.
    """
    now = int(time.time())
    claims = {
        "iss": web_url,
        "sub": data_url,
        "aud": [DIRECTOR],
        "scope": "pelican.advertise",
        "iat": now,
        "nbf": now,
        "exp": now + 60,
        "jti": str(now),
        "wlcg.ver": "1.0",
    }
    token = jwt.encode(claims, key, algorithm="ES256", headers={"kid": KEY_ID})
    return {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "User-Agent": f"pelican-{kind.lower()}/7.20.0",
    }


def key_set(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    """The public half as a JSON Web Key Set (RFC 7517)."""
    made: dict[str, Any] = json.loads(
        jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).to_jwk(key.public_key())
    )
    return {"keys": [made | {"kid": KEY_ID, "alg": "ES256", "use": "sig"}]}
