"""Key rings for tests, and the tokens that a key of one signs."""

import os
from pathlib import Path
from typing import Any

import jwt

from director_wsgi.trust.issuer import IssuerKey
from director_wsgi.trust.keyring import KeyRing
from tests.fakes import FakeClock
from tests.unit.trust.forge import Key
from tests.unit.trust.test_issuer import write

WEB = "https://director.example.org"
FEDERATION = "https://federation.example.org"
LONG_AGO = 1_600_000_000.0


def add(file: Path, key: Key | None = None, *, at: float = LONG_AGO) -> Path:
    """A key file that came at an instant."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write(file, key)
    os.utime(file, (at, at))
    return file


def ring_of(directory: Path, *keys: Key, wall: FakeClock) -> KeyRing:
    """A ring with these keys, or with a new one; the first one signs."""
    for number, key in enumerate(keys or (Key(),)):
        add(directory / f"{number}.pem", key)
    return KeyRing(directory=directory, wall=wall)


def signed(key: IssuerKey | Key, now: float, *, kid: str | None = None, **changed: Any) -> str:
    """A token that opens `/metrics`, but for what is changed; None takes a claim away."""
    claims: dict[str, Any] = {
        "iss": WEB,
        "sub": WEB,
        "aud": [WEB],
        "scope": "monitoring.scrape",
        "iat": int(now),
        "nbf": int(now),
        "exp": int(now) + 3600,
        "wlcg.ver": "1.0",
    } | changed
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, key.private, algorithm=key.algorithm, headers={"kid": kid or key.kid})
