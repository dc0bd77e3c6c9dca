"""Federation tokens: by them a cache reads protected objects from origins.

Whoever holds the key of a registered and approved server gets one, for what the registry lets that server have. The
proof is the token by which it advertises itself.

Source: Pelican `director/fed_token.go`.
"""

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from posixpath import normpath
from typing import Final

from director_wsgi.errors import FedTokenFailed, FedTokenRefused, RegistryUnavailable
from director_wsgi.federation.models import ServerKind
from director_wsgi.limits.deadline import Deadline, WallClock
from director_wsgi.trust.inquiry import Inquiries
from director_wsgi.trust.minting import Minter, NoSigningKey
from director_wsgi.trust.prefixes import AllowedPrefixes
from director_wsgi.trust.registry import BadAnswer
from director_wsgi.trust.tokens import AdvertiseToken, ScopeMissing, TokenRefused

log = logging.getLogger(__name__)

ANY_AUDIENCE: Final = "https://wlcg.cern.ch/jwt/v1/any"
"""Every origin may take it (WLCG Common JWT Profiles 1.0)."""

MAX_HOST: Final = 256

_HOME: Final = {ServerKind.CACHE: "/caches/", ServerKind.ORIGIN: "/origins/"}
_NOT_VERIFIED: Final = "Failed to verify advertise token"
_NOT_LOADED: Final = (
    "The Director has not yet fetched what this server may read from the Registry; please retry shortly."
)


class FedTokens:
    """Issues them. Any number of threads may be inside; few of them wait for the registry.

    Args:
        inquiries: What the registry says of the server.
        prefixes: What each server may read.
        minter: Signs.
        issuer: The federation's discovery URL.
        lifetime_s: Seconds a token is good for.
        wall: Unix seconds.
    """

    def __init__(
        self,
        *,
        inquiries: Inquiries,
        prefixes: AllowedPrefixes,
        minter: Minter,
        issuer: str,
        lifetime_s: float,
        wall: WallClock,
    ) -> None:
        self._inquiries = inquiries
        self._prefixes = prefixes
        self._minter = minter
        self._issuer = issuer
        self._lifetime_s = lifetime_s
        self._wall = wall
        self._counts: Counter[str] = Counter()
        self._counts_lock = threading.Lock()

    def adopt(self, *, lifetime_s: float) -> None:
        """Let the next tokens be good for so many seconds."""
        self._lifetime_s = lifetime_s

    @property
    def counts(self) -> Mapping[str, int]:
        """Requests by what became of them: `issued`, or the name of the error."""
        with self._counts_lock:
            return dict(self._counts)

    def issue(self, host: str, kind: ServerKind, raw: str, deadline: Deadline) -> str:
        """A token for a server.

        Args:
            host: What follows `/caches/` or `/origins/` in its registration, as it says.
            kind: What it says it is.
            raw: Its advertise token, bare.
            deadline: For all questions to the registry.

        Raises:
            FedTokenRefused: It may have none.
            FedTokenFailed: It did not prove who it is, or no token could be made.
            RegistryUnavailable: What decides about it is not known, and cannot be asked now.
        """
        outcome = "failed"
        try:
            self._check(host, kind, raw, deadline)
            token = self._mint(host)
            outcome = "issued"
        except (FedTokenRefused, FedTokenFailed, RegistryUnavailable) as error:
            outcome = type(error).__name__
            raise
        finally:
            with self._counts_lock:
                self._counts[outcome] += 1
        return token

    def _check(self, host: str, kind: ServerKind, raw: str, deadline: Deadline) -> None:
        prefix = _HOME[kind] + host
        if not host.isprintable() or len(host) > MAX_HOST or normpath(prefix) != prefix:
            raise FedTokenRefused("the value of the 'host' url parameter is no name of a registered server")
        try:
            token = AdvertiseToken(raw)
            with self._inquiries.open(deadline) as inquiry:
                if not inquiry.is_approved(prefix):
                    raise FedTokenRefused(f"Host '{host}' has not been approved by an administrator")
                token.verify(inquiry.key_set(prefix, token.kid), self._wall())
        except ScopeMissing:
            raise FedTokenRefused("The provided advertise token was rejected") from None
        except (TokenRefused, BadAnswer) as error:
            log.debug("no federation token for %s: %s", prefix, error)  # whoever likes can cause it: no louder
            raise FedTokenFailed(_NOT_VERIFIED) from None

    def _mint(self, host: str) -> str:
        if not self._prefixes.loaded:  # an unrestricted token for a restricted server must not be made meanwhile
            raise RegistryUnavailable(_NOT_LOADED)
        try:
            return self._minter.mint(
                issuer=self._issuer,
                subject=host,
                audience=(ANY_AUDIENCE,),
                scope=read_scope(self._prefixes.for_host(host)),
                lifetime_s=self._lifetime_s,
            )
        except NoSigningKey:
            raise FedTokenFailed("Attempted to create federation token but failed unexpectedly") from None


def read_scope(prefixes: Iterable[str] | None) -> str:
    """The words that let a server read below these prefixes; below all if it is not restricted.

    Prefixes are the registry's and stand in the token as they are. One that does not begin with a slash, or that holds
    a blank or what cannot be printed, is left out: a blank would begin a further word, and that could be any scope.
    """
    if prefixes is None:
        return "storage.read:/"
    usable = sorted(prefix for prefix in prefixes if prefix.startswith("/") and prefix.isprintable())
    return " ".join(f"storage.read:{prefix}" for prefix in usable if " " not in prefix)
