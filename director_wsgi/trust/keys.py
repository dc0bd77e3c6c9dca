"""Public keys as a JSON Web Key Set (RFC 7517) publishes them.

What a key may be used for follows from what it is, never from what a token asks for: a token that says `none`, or HMAC
with a public key for its secret, finds no key here that would verify it. Symmetric keys are left out for the same
reason.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakValueDictionary

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWTError
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

MAX_KEYS = 100
"""Keys of one set; the rest is not looked at."""

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
_MAX_MEMBER = 2048  # characters of one number in a key; an RSA modulus of 8192 bits needs 1366

PublicKey = EllipticCurvePublicKey | RSAPublicKey | Ed25519PublicKey

_CURVES: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_MEMBERS: Final = {"EC": ("crv", "x", "y"), "RSA": ("n", "e"), "OKP": ("crv", "x")}


class NotAKeySet(ValueError):
    """The document is no JSON Web Key Set."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class VerificationKey:
    """One public key.

    Attributes:
        kid: Its identifier.
        algorithms: What it may verify.
        public: The key itself; not compared, `material` is.
        material: Its numbers; equal for equal keys.
    """

    kid: str
    algorithms: frozenset[str]
    public: PublicKey = field(repr=False, compare=False)
    material: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of a set, in its order."""

    keys: tuple[VerificationKey, ...] = ()

    def with_id(self, kid: str) -> tuple[VerificationKey, ...]:
        """Every key called `kid`; usually one, or none."""
        return tuple(key for key in self.keys if key.kid == kid)


def parse_key_set(document: bytes | str) -> KeySet:
    """Read a JSON Web Key Set. Keys that we cannot use are left out, as RFC 7517 section 5 wants.

    Raises:
        NotAKeySet: It is none. An empty set is one.
    """
    try:
        value = json.loads(document)
    except (ValueError, RecursionError):
        raise NotAKeySet("not JSON") from None
    if not isinstance(value, dict) or not isinstance(value.get("keys"), list):
        raise NotAKeySet('no array "keys"')
    return KeySet(tuple(key for item in value["keys"][:MAX_KEYS] if (key := _key(item))))


def key_set_document(keys: KeySet) -> bytes:
    """A key set that `parse_key_set` reads as an equal one: public numbers, and what they may verify, nothing else."""
    return json.dumps({"keys": [_jwk(key) for key in keys.keys]}, separators=(",", ":")).encode()


def _jwk(key: VerificationKey) -> dict[str, str]:
    kty, *members = key.material
    jwk = {"kid": key.kid, "kty": kty, **dict(zip(_MEMBERS[kty], members, strict=True))}
    if len(key.algorithms) == 1:  # else all that its kind can do
        jwk["alg"] = next(iter(key.algorithms))
    return jwk


_known: WeakValueDictionary[tuple[str, ...], VerificationKey] = WeakValueDictionary()
"""Keys by what is said of them, for as long as anybody holds them: an origin has one for all of its prefixes."""


def _key(item: object) -> VerificationKey | None:
    if not isinstance(item, dict) or item.get("use", "sig") != "sig" or not isinstance(item.get("kid"), str):
        return None
    names = _MEMBERS.get(item["kty"]) if isinstance(item.get("kty"), str) else None
    if names is None:
        return None
    members = {name: item.get(name) for name in names}
    if not all(isinstance(member, str) and len(member) <= _MAX_MEMBER for member in members.values()):
        return None
    said = item["kid"], repr(item.get("alg")), item["kty"], *map(str, members.values())
    return _known.get(said) or _new_key(item, members, said)


def _new_key(item: dict[str, Any], members: dict[str, Any], said: tuple[str, ...]) -> VerificationKey | None:
    try:
        public, algorithms = _loaded({"kty": item["kty"], **members})
    except (PyJWTError, UnsupportedAlgorithm, ValueError, TypeError):
        return None
    if item.get("alg") is not None:
        algorithms &= {item["alg"]} if isinstance(item["alg"], str) else frozenset()
    if public is None or not algorithms:
        return None
    return _known.setdefault(said, VerificationKey(item["kid"], algorithms, public, said[2:]))


def _loaded(jwk: dict[str, Any]) -> tuple[PublicKey | None, frozenset[str]]:
    """The key and what it may verify; no algorithm for what is no public key or too weak.

    `jwk` holds nothing but the public members, so that a set which gives away a private key yields the public one.
    """
    key: object = None
    algorithms: frozenset[str] = frozenset()
    if jwk["kty"] == "EC" and jwk["crv"] in _CURVES:
        key, algorithms = ECAlgorithm.from_jwk(jwk), frozenset({_CURVES[jwk["crv"]]})
    elif jwk["kty"] == "OKP" and jwk["crv"] == "Ed25519":
        key, algorithms = OKPAlgorithm.from_jwk(jwk), frozenset({"EdDSA"})
    elif jwk["kty"] == "RSA":
        key, algorithms = RSAAlgorithm.from_jwk(jwk), _RSA
        if isinstance(key, RSAPublicKey) and not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            return None, frozenset()
    if isinstance(key, EllipticCurvePublicKey | RSAPublicKey | Ed25519PublicKey):
        return key, algorithms
    return None, frozenset()
