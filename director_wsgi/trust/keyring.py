"""This director's keys while it runs: which are published, and which one signs.

All are published; the first by the name of its file signs, as upstream. But who verifies a signature may hold a key set
that is a quarter of an hour old, so a key that has only just come signs nothing yet: as long as there is an older one,
that one does. Therefore a key can be added to a running director, in one step, and no token is ever refused for it.

How long a key has been there is read from its file's time of change. A file that is written anew with the same key, as
a tool that copies all of them does, counts as old as before.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from director_wsgi.errors import ConfigError
from director_wsgi.limits.deadline import WallClock, wall
from director_wsgi.trust.issuer import IssuerKey, key_files, load_issuer_keys, public_jwks, usable_issuer_keys
from director_wsgi.trust.keys import KeySet, parse_key_set

log = logging.getLogger(__name__)

REFRESH_S: Final = 60.0
"""How often a running director looks whether the files have changed."""

HELD_S: Final = 900.0
"""How long Pelican's servers hold a key set before they fetch it again."""

MARGIN_S: Final = 300.0
"""For our own refresh, for proxies that hold the key set on the way, and for clocks that differ."""

PUBLISHING_S: Final = HELD_S + MARGIN_S
"""How long a key has to be published before it signs, as long as there is an older one."""

_NO_KEYS: Final = KeySet()
_NONE_LEFT: Final = "IssuerKeysDirectory: there is no key left"

_Seen = tuple[tuple[str, int, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class KeyOutlook:
    """What will become of a key.

    Attributes:
        key: The key.
        since_at: When its file came or was changed, Unix seconds.
        signs: Whether it is the one that signs now.
        signs_at: When it will begin to sign, Unix seconds; None if it does already, or is only published.
    """

    key: IssuerKey
    since_at: float
    signs: bool
    signs_at: float | None


@dataclass(frozen=True, slots=True)
class _Held:
    """What one reading of the files came to. Never changed."""

    keys: tuple[IssuerKey, ...] = ()
    since_at: Mapping[str, float] | None = None
    jwks: dict[str, Any] | None = None
    key_set: KeySet = _NO_KEYS

    def signing_key(self, now: float) -> IssuerKey | None:
        """The first of those that have been published long enough; the oldest while none has."""
        if not self.keys:
            return None
        since = self.since_at or {}
        ripe = [key for key in self.keys if since[key.kid] + PUBLISHING_S <= now]
        return ripe[0] if ripe else min(self.keys, key=lambda key: since[key.kid])


class KeyRing:
    """Our own keys. Any number of threads read it, without a lock; one refreshes it.

    Args:
        directory: `IssuerKeysDirectory`; need not exist.
        single: `IssuerKey`.
        extra: `Server.IssuerJwks`, public keys that are published besides.
        wall: Unix seconds, for the age of keys.
        strict: Whether what is broken at the start is an error. If not, it is logged, and left out until a refresh
            finds it in order.

    Raises:
        ConfigError: A file cannot be read or holds no usable key; all such files are named. Only if `strict`.
    """

    def __init__(
        self,
        *,
        directory: Path | None,
        single: Path | None = None,
        extra: Path | None = None,
        wall: WallClock = wall,
        strict: bool = True,
    ) -> None:
        self._directory = directory
        self._single = single
        self._extra = extra
        self._wall = wall
        self._held = _Held()
        self._seen: _Seen | None = None
        self._complaint = ""
        try:
            self._read()
        except ConfigError as error:
            if strict:
                raise
            self._complain(str(error))
            self._hold(*_usable(directory, single, extra))

    def refresh(self) -> None:
        """Read the files again if they have changed. What is broken, or gone altogether, changes nothing but the log.

        By one thread at a time, and not a request's.
        """
        try:
            self._read()
        except ConfigError as error:
            self._complain(str(error))
            return
        if self._complaint:
            log.warning("The issuer keys are in order again")
            self._complaint = ""

    def signing_key(self) -> IssuerKey | None:
        """The key that signs now; None if there is none."""
        return self._held.signing_key(self._wall())

    def jwks(self) -> dict[str, object] | None:
        """The document at `/.well-known/issuer.jwks`, not to be changed; None if there is no key at all."""
        return self._held.jwks

    def key_set(self) -> KeySet:
        """The same keys, to verify with."""
        return self._held.key_set

    def outlook(self) -> tuple[KeyOutlook, ...]:
        """Every private key, in the order in which they may sign."""
        held, now = self._held, self._wall()
        signing = held.signing_key(now)
        rows = []
        for key in held.keys:
            since_at = (held.since_at or {})[key.kid]
            ripe_at = since_at + PUBLISHING_S
            comes = key is not signing and ripe_at > now and held.signing_key(ripe_at) is key
            rows.append(KeyOutlook(key, since_at, key is signing, ripe_at if comes else None))
        return tuple(rows)

    def _read(self) -> None:
        """Raises ConfigError, and changes nothing then."""
        seen = self._look()
        if seen == self._seen:
            return
        keys = load_issuer_keys(self._directory, self._single)
        if not keys and self._held.keys:
            raise ConfigError((_NONE_LEFT,))
        self._hold(keys, public_jwks(keys, self._extra))
        if self._seen is not None:
            log.info("Issuer keys read again: %d, signing with %s", len(keys), _kid(self.signing_key()))
        self._seen = seen

    def _hold(self, keys: tuple[IssuerKey, ...], jwks: dict[str, Any]) -> None:
        key_set = parse_key_set(json.dumps(jwks))
        self._held = _Held(keys, self._since(keys), jwks if jwks["keys"] else None, key_set)

    def _look(self) -> _Seen:
        """What would differ if a file did; taken before they are read, so that no change can slip by."""
        files = [file for _, file in key_files(self._directory, self._single)]
        return tuple(_stamp(file) for file in (*files, *((self._extra,) if self._extra is not None else ())))

    def _since(self, keys: tuple[IssuerKey, ...]) -> dict[str, float]:
        earlier = self._held.since_at or {}
        return {key.kid: min(_changed_at(key.source), earlier.get(key.kid, float("inf"))) for key in keys}

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            log.error("The issuer keys are not in order, those that are known stay in force: %s", complaint)
            self._complaint = complaint


def _usable(
    directory: Path | None, single: Path | None, extra: Path | None
) -> tuple[tuple[IssuerKey, ...], dict[str, Any]]:
    """Of what is broken, all that is not."""
    try:
        keys, _ = usable_issuer_keys(directory, single)
    except ConfigError:
        keys = ()
    try:
        return keys, public_jwks(keys, extra)
    except ConfigError:
        return keys, public_jwks(keys)


def _stamp(file: Path) -> tuple[str, int, int, int, int]:
    try:
        status = file.stat()
    except OSError as error:
        return str(file), -(error.errno or 1), 0, 0, 0
    return str(file), status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _changed_at(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:  # it was there a moment ago; whatever comes next is another reading's
        return float("inf")


def _kid(key: IssuerKey | None) -> str:
    return "none" if key is None else key.kid
