"""Makes what an attacker and an honest server would: keys, tokens, advertisements."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

NOW = 1_767_225_600.0
"""2026-01-01T00:00:00Z"""

_CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
_HASHED = {"RS256", "RS384", "RS512", "PS256"}


class Key:
    """A key pair that signs with one algorithm."""

    def __init__(self, kid: str = "k1", algorithm: str = "ES256", bits: int = 2048) -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.private: Any
        self.jwk: dict[str, Any]
        if algorithm in _CURVES:
            self.private = ec.generate_private_key(_CURVES[algorithm]())
            self.jwk = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        elif algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
            self.jwk = OKPAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        else:
            assert algorithm in _HASHED
            self.private = rsa.generate_private_key(65537, bits)
            self.jwk = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        self.jwk |= {"kid": kid, "alg": algorithm}

    @property
    def public_pem(self) -> bytes:
        pem: bytes = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem

    def token(self, headers: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """A token as a server makes it; claims that are None are left out."""
        payload = {
            "iss": "https://o1.example.org:8447",
            "sub": "https://o1.example.org:8443",
            "aud": ["https://director.example.org"],
            "scope": "pelican.advertise",
            "iat": NOW,
            "nbf": NOW,
            "exp": NOW + 60,
            "jti": "x",
            "wlcg.ver": "1.0",
        } | claims
        kept = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(kept, self.private, self.algorithm, headers={"kid": self.kid, **(headers or {})})


def jwks(*keys: Key | dict[str, Any]) -> bytes:
    return json.dumps({"keys": [key.jwk if isinstance(key, Key) else key for key in keys]}).encode()


def b64(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def origin_body(**changes: Any) -> bytes:
    """The advertisement of protocol example E45; values that are `...` are left out."""
    ad: dict[str, Any] = {
        "name": "ORIGIN_1",
        "version": "7.20.0",
        "expiry": "2026-01-01T00:10:00Z",
        "registry-prefix": "/origins/o1.example.org:8447",
        "data-url": "https://o1.example.org:8443",
        "web-url": "https://o1.example.org:8447",
        "capabilities": {"Read": True},
        "namespaces": [{"Caps": {"Read": True}, "path": "/demo", "token-generation": None, "token-issuer": None}],
        "now": "2026-01-01T00:00:00Z",
        "status": "ok",
    } | changes
    return json.dumps({name: value for name, value in ad.items() if value is not ...}).encode()


def cache_body(*paths: str, **changes: Any) -> bytes:
    names = {
        "name": "CACHE_CHI",
        "registry-prefix": "/caches/CACHE_CHI",
        "data-url": "https://c1.example.org:8443",
        "capabilities": {},
        "namespaces": [{"Caps": {}, "path": path} for path in paths],
    }
    return origin_body(**(names | changes))
