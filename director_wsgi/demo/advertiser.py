"""Tells the director of one server, again and again, as Pelican's servers do.

Source: Pelican `launcher_utils/advertise.go`.
"""

import json
import logging
import ssl
import threading
from collections.abc import Callable
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from director_wsgi.demo.ads import VERSION, AdBuilder, Advertised, Kind
from director_wsgi.limits.deadline import Deadline, WallClock, wall

TRY_S = 10.0
"""How long one step of an advertisement may take."""

GOODBYE_S = 0.5
"""The same of the last one, which says that the server is shutting down."""

RETRY_S = 0.25
"""When to come again after a failure, unless the director says so itself; doubled each time, up to the interval."""

RETRY_AFTER_S = (2.0, 5.0)
"""What Pelican takes for an absent Retry-After, and the most it will wait for a present one."""

_ENDPOINTS = {Kind.ORIGIN: "registerOrigin", Kind.CACHE: "registerCache"}
_LISTING = "/api/v2.0/director/listNamespaces"
_SAID_BYTES = 300
_logger = logging.getLogger(__name__)


class AdFailedError(Exception):
    """The director did not take the advertisement.

    Attributes:
        retry_after_s: When it wants to see it again; None if it did not say.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class Advertiser:
    """One thread that advertises one server: at once, then at every interval, until it is stopped."""

    def __init__(
        self,
        server: Advertised,
        *,
        director_url: str,
        trust: ssl.SSLContext,
        interval_s: float = 20.0,
        status: Callable[[], str] = lambda: "ok",
        now: WallClock = wall,
    ) -> None:
        """Prepare; nothing is sent before `start`.

        Args:
            server: What to say.
            director_url: Without a slash at its end.
            trust: Believes the director's certificate.
            interval_s: From one advertisement that was taken to the next.
            status: The server's health, in Pelican's words; asked on the thread that advertises.
            now: The wall clock that advertisements are dated by.
        """
        self.server = server
        self._director_url = director_url
        self._builder = AdBuilder(server, now=now)
        self._interval_s = interval_s
        self._status = status
        self._pool = urllib3.PoolManager(num_pools=1, maxsize=1, ssl_context=trust)
        self._changed = threading.Condition()
        self._begun = 0
        self._taken = 0
        self._problem = "it has not been asked yet"
        self._is_wanted_now = False
        self._is_stopping = False
        self._says_goodbye = False
        self._thread = threading.Thread(target=self._run, name=f"advertise-{server.name}", daemon=True)

    def start(self) -> None:
        """Begin, on a thread of its own; once only."""
        self._thread.start()

    @property
    def taken(self) -> int:
        """The number of the last advertisement that the director took; 0 if it took none. The first is number 1."""
        with self._changed:
            return self._taken

    @property
    def problem(self) -> str:
        """Why the last one was not taken; empty if it was."""
        with self._changed:
            return self._problem

    def advertise_now(self) -> int:
        """Do not wait for the interval to end; gives the number of the advertisement that will begin next."""
        with self._changed:
            self._is_wanted_now = True
            self._changed.notify_all()
            return self._begun + 1

    def wait_for(self, number: int, deadline: Deadline) -> bool:
        """Wait until the director has taken this advertisement or a later one; False if the deadline passes first."""
        with self._changed:
            return self._changed.wait_for(lambda: self._taken >= number, deadline.remaining_s())

    def stop(self, *, goodbye: bool = True) -> None:
        """Have the thread end; does not wait for it.

        Args:
            goodbye: Let it tell the director first that the server is shutting down.
        """
        with self._changed:
            self._is_stopping = True
            self._says_goodbye = goodbye
            self._changed.notify_all()

    def join(self, deadline: Deadline) -> bool:
        """Wait for the thread to end after `stop`; False if the deadline passes first."""
        if self._thread.ident is not None:
            self._thread.join(deadline.remaining_s())
        return not self._thread.is_alive()

    def _run(self) -> None:
        failures = 0
        while self._begin():
            try:
                self._advertise(self._status(), TRY_S)
            except AdFailedError as error:
                wait_s = error.retry_after_s or min(RETRY_S * 2 ** min(failures, 10), self._interval_s)
                failures += 1
                self._note(str(error))
            else:
                wait_s, failures = self._interval_s, 0
                self._note("")
            self._rest(wait_s)
        if self._says_goodbye and self.taken:
            try:
                self._advertise("shutting down", GOODBYE_S)
            except AdFailedError as error:
                _logger.debug("%s could not say goodbye: %s", self.server.name, error)
        self._pool.clear()

    def _begin(self) -> bool:
        with self._changed:
            self._begun += not self._is_stopping
            return not self._is_stopping

    def _note(self, problem: str) -> None:
        with self._changed:
            self._problem = problem
            if not problem:
                self._taken = self._begun
            self._changed.notify_all()

    def _rest(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopping or self._is_wanted_now, seconds)
            self._is_wanted_now = False

    def _advertise(self, status: str, timeout_s: float) -> None:
        listed = self._listed(timeout_s) if self.server.kind is Kind.CACHE else []
        body = json.dumps(self._builder.ad(listed, status=status)).encode()
        url = f"{self._director_url}/api/v1.0/director/{_ENDPOINTS[self.server.kind]}"
        headers = {
            "Authorization": f"Bearer {self._builder.token(self._director_url)}",
            "Content-Type": "application/json",
            "User-Agent": f"pelican-{self.server.kind.value}/{VERSION}",
        }
        reply = self._send("POST", url, headers, body, timeout_s)
        if reply.status > 299:
            raise AdFailedError(f"it answered {reply.status}: {_said(reply)}", _retry_after_s(reply))

    def _listed(self, timeout_s: float) -> list[Any]:
        # A GET with a body, as Pelican's caches send it.
        headers = {"Content-Type": "application/json", "User-Agent": "Go-http-client/1.1"}
        reply = self._send("GET", f"{self._director_url}{_LISTING}", headers, b"null", timeout_s)
        if reply.status != 200:
            raise AdFailedError(f"it answered {reply.status} to {_LISTING}: {_said(reply)}")
        try:
            listed = reply.json()
        except ValueError as error:
            raise AdFailedError(f"{_LISTING} is not JSON") from error
        if not isinstance(listed, list):
            raise AdFailedError(f"{_LISTING} is not a list")
        return listed

    def _send(
        self, method: str, url: str, headers: dict[str, str], body: bytes, timeout_s: float
    ) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool.request(
                method, url, headers=headers, body=body, timeout=timeout_s, redirect=False, retries=False
            )
        except HTTPError as error:
            raise AdFailedError(f"no answer ({type(error).__name__})") from error


def _said(reply: urllib3.BaseHTTPResponse) -> str:
    return reply.data[:_SAID_BYTES].decode(errors="replace").strip()


def _retry_after_s(reply: urllib3.BaseHTTPResponse) -> float | None:
    """Seconds to wait, if the status is one that Pelican tries again after."""
    if reply.status not in (429, 503):
        return None
    absent_s, most_s = RETRY_AFTER_S
    said = reply.headers.get("Retry-After", "")
    return min(float(said), most_s) if said.isascii() and said.isdecimal() else absent_s
