"""This director's own keys: read from PEM files, published as a JSON Web Key Set.

`keyring` keeps them while the director runs, `key_files` makes and retires their files.

Source: Pelican `config/init_server_creds.go` (which files, which key signs); RFC 7517, RFC 7638.
"""

import base64
import hashlib
import json
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from director_wsgi.errors import ConfigError
from director_wsgi.trust.keys import MIN_RSA_BITS

PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey

_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_THUMBPRINT_MEMBERS: Final = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}
_MAX_BYTES: Final = 65_536
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """One key of ours.

    Attributes:
        private: Signs.
        public_jwk: What the world may know, with `kid` (the RFC 7638 thumbprint) and `alg`.
        source: The file it was read from.
    """

    private: PrivateKey = field(repr=False)
    public_jwk: dict[str, Any]
    source: Path

    @property
    def kid(self) -> str:
        """Identifier of the key, the same for whoever computes it."""
        kid: str = self.public_jwk["kid"]
        return kid

    @property
    def algorithm(self) -> str:
        """What it signs with."""
        algorithm: str = self.public_jwk["alg"]
        return algorithm


def key_files(directory: Path | None, single: Path | None = None) -> tuple[tuple[str, Path], ...]:
    """The files of our private keys, each with the parameter that names it, in the order in which they may sign.

    Args:
        directory: `IssuerKeysDirectory`: every `*.pem` in it, in the order of their names; one that does not exist is
            empty.
        single: `IssuerKey`: one more file, which comes last.

    Raises:
        ConfigError: The directory cannot be read.
    """
    try:
        files = sorted(file for file in directory.iterdir() if file.suffix == ".pem") if directory is not None else []
    except FileNotFoundError:
        files = []
    except OSError as error:
        raise ConfigError((f"IssuerKeysDirectory: {directory}: cannot be read: {error.strerror}",)) from None
    rows = [("IssuerKeysDirectory", file) for file in files]
    if single is not None and single not in files:
        rows.append(("IssuerKey", single))
    return tuple(rows)


def load_issuer_keys(directory: Path | None, single: Path | None = None) -> tuple[IssuerKey, ...]:
    """Read our private keys, in the order of `key_files`; a key that is in two files once.

    Raises:
        ConfigError: A file cannot be read or holds no usable key; all such files are named.
    """
    keys, problems = usable_issuer_keys(directory, single)
    if problems:
        raise ConfigError(problems)
    return keys


def usable_issuer_keys(
    directory: Path | None, single: Path | None = None
) -> tuple[tuple[IssuerKey, ...], tuple[str, ...]]:
    """The same, but broken files are left out, and told of, a sentence for each.

    Raises:
        ConfigError: The directory cannot be read.
    """
    keys: dict[str, IssuerKey] = {}
    problems: list[str] = []
    for name, file in key_files(directory, single):
        try:
            key = _load(file)
        except ValueError as error:
            problems.append(f"{name}: {file}: {error}")
        else:
            keys.setdefault(key.kid, key)
    return tuple(keys.values()), tuple(problems)


def public_jwks(keys: tuple[IssuerKey, ...], extra: Path | None = None) -> dict[str, object]:
    """The document at `/.well-known/issuer.jwks`.

    Args:
        keys: Ours.
        extra: `Server.IssuerJwks`: a key set whose keys are published as well.

    Raises:
        ConfigError: `extra` cannot be read, is no key set, or gives away a private key.
    """
    return {"keys": [key.public_jwk for key in keys] + (_extra_keys(extra) if extra is not None else [])}


def _extra_keys(file: Path) -> list[dict[str, Any]]:
    try:
        document = json.loads(file.read_bytes())
        keys = document["keys"]
    except OSError as error:
        raise ConfigError((f"Server.IssuerJwks: {file}: cannot be read: {error.strerror}",)) from None
    except (ValueError, RecursionError, TypeError, LookupError):
        keys = None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise ConfigError((f"Server.IssuerJwks: {file}: expected a JSON Web Key Set",))
    if any(not _PRIVATE_MEMBERS.isdisjoint(key) for key in keys):
        raise ConfigError((f"Server.IssuerJwks: {file}: holds a private or secret key; expected public ones only",))
    return keys


def _load(file: Path) -> IssuerKey:
    """One key; ValueError says why not, without a word of what is in the file."""
    try:
        pem = _pem(file)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("holds no unencrypted private key in PEM form") from None
    match private:
        case EllipticCurvePrivateKey() if private.curve.name in _CURVES:
            jwk = ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
            algorithm = _CURVES[private.curve.name]
        case RSAPrivateKey() if private.key_size >= MIN_RSA_BITS:
            jwk = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
            jwk.pop("key_ops", None)
            algorithm = "RS256"
        case Ed25519PrivateKey():
            jwk = OKPAlgorithm.to_jwk(private.public_key(), as_dict=True)
            algorithm = "EdDSA"
        case _:
            raise ValueError(f"expected P-256, P-384, P-521, Ed25519, or RSA of at least {MIN_RSA_BITS} bits")
    return IssuerKey(private, {**jwk, "alg": algorithm, "kid": thumbprint(jwk)}, file)


def _pem(file: Path) -> bytes:
    """What is in it, as far as a key could be that long. A pipe or a device might never end, or never begin."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise ValueError("is no regular file")
    with file.open("rb") as reading:
        return reading.read(_MAX_BYTES)


def thumbprint(jwk: dict[str, Any]) -> str:
    """RFC 7638 thumbprint (SHA-256, base64url without padding) of an EC, OKP or RSA key."""
    members = {name: jwk[name] for name in _THUMBPRINT_MEMBERS[jwk["kty"]]}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
    return base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()
