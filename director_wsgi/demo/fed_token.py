"""The federation token of a cache: fetched at the start, and again long before it ends.

Caches show it to origins that take requests from caches only. No origin of the demo does, so that it is held and not
used here.

Source: Pelican `cache/advertise.go:getTickerRate`, `server_utils/server_utils.go:CreateFedTok`.
"""

import logging
import ssl
import threading
from typing import Final
from urllib.parse import urlencode

import jwt
import urllib3
from urllib3.exceptions import HTTPError

from director_wsgi.demo.ads import VERSION, AdBuilder, Advertised
from director_wsgi.limits.deadline import Deadline

SHARE: Final = 1 / 3
"""Of the token's lifetime, after which it is fetched anew."""

LEAST_S: Final = 60.0
"""Shortest time from one token to the next."""

RETRY_S: Final = 1.0
"""When to come again after a failure; doubled each time, up to `LEAST_S`."""

TRY_S: Final = 2.0
"""How long one try may take."""

_logger = logging.getLogger(__name__)


class NoTokenError(Exception):
    """The director gave none; says why."""


class FederationToken:
    """One thread that keeps the token of one cache fresh until it is stopped."""

    def __init__(self, cache: Advertised, *, director_url: str, trust: ssl.SSLContext) -> None:
        """Prepare; nothing is asked for before `start`.

        Args:
            cache: Whose it is.
            director_url: Without a slash at its end.
            trust: Believes the director's certificate.
        """
        self._cache = cache
        self._director_url = director_url
        self._builder = AdBuilder(cache)
        self._pool = urllib3.PoolManager(num_pools=1, maxsize=1, ssl_context=trust)
        self._changed = threading.Condition()
        self._token: str | None = None
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name=f"fed-token-{cache.name}", daemon=True)

    def start(self) -> None:
        """Begin, on a thread of its own; once only."""
        self._thread.start()

    @property
    def value(self) -> str | None:
        """The token; None as long as there was none."""
        with self._changed:
            return self._token

    def wait(self, deadline: Deadline) -> bool:
        """Wait until there is one; False if the deadline passes first."""
        with self._changed:
            return self._changed.wait_for(lambda: self._token is not None, deadline.remaining_s())

    def stop(self) -> None:
        """Have the thread end; does not wait for it."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()

    def join(self, deadline: Deadline) -> bool:
        """Wait for the thread to end after `stop`; False if the deadline passes first."""
        if self._thread.ident is not None:
            self._thread.join(deadline.remaining_s())
        return not self._thread.is_alive()

    def _run(self) -> None:
        failures, is_stopping = 0, False
        while not is_stopping:
            try:
                token = self._fetch()
                wait_s, failures = refresh_in_s(token), 0
            except NoTokenError as error:
                _logger.debug("%s has no federation token: %s", self._cache.name, error)
                wait_s = min(RETRY_S * 2 ** min(failures, 10), LEAST_S)
                failures += 1
            else:
                with self._changed:
                    self._token = token
                    self._changed.notify_all()
            with self._changed:
                is_stopping = self._changed.wait_for(lambda: self._is_stopping, wait_s)
        self._pool.clear()

    def _fetch(self) -> str:
        query = urlencode({"host": self._cache.registry_prefix.removeprefix("/caches/"), "sType": "Cache"})
        headers = {
            "Authorization": f"Bearer {self._builder.token(self._director_url)}",
            "User-Agent": f"pelican-cache/{VERSION}",
        }
        url = f"{self._director_url}/api/v1.0/director/getFedToken?{query}"
        try:
            reply = self._pool.request("GET", url, headers=headers, timeout=TRY_S, redirect=False, retries=False)
            if reply.status != 200:
                raise NoTokenError(f"it answered {reply.status}")
            return str(reply.json()["access_token"])
        except (HTTPError, ValueError, LookupError, TypeError) as error:
            raise NoTokenError(type(error).__name__) from error


def refresh_in_s(token: str) -> float:
    """How long after it was fetched a token is to be fetched anew.

    Raises:
        NoTokenError: It is none, or does not say how long it is good for.
    """
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        return max((float(claims["exp"]) - float(claims["iat"])) * SHARE, LEAST_S)
    except (jwt.InvalidTokenError, LookupError, TypeError, ValueError) as error:
        raise NoTokenError("it gave something else") from error
