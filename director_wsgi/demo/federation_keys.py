"""The federation as its servers see it: who issues its tokens, and by which keys they are known.

Found as Pelican's servers find it: the director's discovery document names the issuer, the issuer's OpenID document the
place of the keys.
"""

import json
import logging
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import jwt
import urllib3
from urllib3.exceptions import HTTPError

from director_wsgi.demo.tokens import grants
from director_wsgi.limits.deadline import Clock, Deadline, WallClock, monotonic, wall

REFRESH_S: Final = 900.0
"""How long keys are taken to be all there are."""

RETRY_S: Final = 1.0
"""From one look for keys to the next: whoever sends tokens of unknown keys causes no more."""

FETCH_S: Final = 3.0
"""How long a look may take. The director waits meanwhile for its test to go on."""

_logger = logging.getLogger(__name__)

Get = Callable[[str, Deadline], Any]
"""The JSON at a URL; raises `NotFoundError`."""


class NotFoundError(Exception):
    """The document cannot be had, or is not what it should be."""


@dataclass(frozen=True, slots=True)
class _Known:
    """The issuer, its keys by their ids, and when they were fetched."""

    issuer: str
    keys: dict[str, jwt.PyJWK] = field(repr=False)
    fetched_at: float


class FederationKeys:
    """Judges tokens of the federation, on any thread; the first one, and one of an unknown key, waits for a look."""

    def __init__(self, director_url: str, get: Get, *, clock: Clock = monotonic, now: WallClock = wall) -> None:
        """Prepare; nothing is asked for yet.

        Args:
            director_url: Without a slash at its end.
            get: Fetches a document; called without a lock, one call at a time.
            clock: Monotonic seconds.
            now: The wall clock that tokens are judged by.
        """
        self._director_url = director_url
        self._get = get
        self._clock = clock
        self._now = now
        self._changed = threading.Condition()
        self._known: _Known | None = None
        self._looked_at: float | None = None
        self._is_looking = False

    def permits(self, token: str, *, audience: str, scope: str) -> bool:
        """Whether the federation issued a token for `audience` that is in force and grants `scope`."""
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
        except (jwt.InvalidTokenError, ValueError):
            return False
        known = self._known_by(str(key_id))
        key = known and known.keys.get(str(key_id))
        if not known or not key:
            return False
        return grants(token, key, issuer=known.issuer, scope=scope, audience=audience, now=self._now)

    def _known_by(self, key_id: str) -> _Known | None:
        """What is known, after another look if that may bring the key."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_looking, FETCH_S)
            if self._is_looking or not self._is_due(key_id):
                return self._known
            self._is_looking = True
        found = None
        try:
            found = self._look()
        except NotFoundError as error:
            _logger.debug("the keys of the federation cannot be had: %s", error)
        finally:
            with self._changed:
                known = self._known = found or self._known
                self._looked_at = self._clock()
                self._is_looking = False
                self._changed.notify_all()
        return known

    def _is_due(self, key_id: str) -> bool:
        now, known = self._clock(), self._known
        if self._looked_at is not None and now - self._looked_at < RETRY_S:
            return False
        return known is None or key_id not in known.keys or now - known.fetched_at >= REFRESH_S

    def _look(self) -> _Known:
        deadline = Deadline.after(FETCH_S, self._clock)
        try:
            discovery = self._get(f"{self._director_url}/.well-known/pelican-configuration", deadline)
            issuer = discovery["discovery_endpoint"]
            keys_url = self._get(f"{issuer}/.well-known/openid-configuration", deadline)["jwks_uri"]
            key_set = jwt.PyJWKSet.from_dict(self._get(keys_url, deadline))
        except (LookupError, TypeError, AttributeError, jwt.PyJWTError) as error:
            raise NotFoundError(type(error).__name__) from error
        keys = {key.key_id: key for key in key_set.keys if key.key_id}
        return _Known(issuer, keys, self._clock())


class JsonOverHttps:
    """A `Get` that trusts an authority; safe to use from many threads."""

    def __init__(self, trust: ssl.SSLContext) -> None:
        self._pool = urllib3.PoolManager(num_pools=2, maxsize=1, ssl_context=trust)

    def __call__(self, url: str, deadline: Deadline) -> Any:
        """The JSON at `url`.

        Raises:
            NotFoundError: No answer in time, another status than 200, or no JSON.
        """
        try:
            reply = self._pool.request(
                "GET", url, timeout=urllib3.Timeout(total=deadline.remaining_s()), retries=False, redirect=False
            )
            if reply.status != 200:
                raise NotFoundError(f"{url} answered {reply.status}")
            return json.loads(reply.data)
        except (HTTPError, ValueError) as error:
            raise NotFoundError(f"{url}: {type(error).__name__}") from error

    def close(self) -> None:
        """Close idle connections."""
        self._pool.clear()
