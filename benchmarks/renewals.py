"""Servers that renew their advertisements: all of them once at first, then each once a minute, evenly spread.

What they say is the same each time but for its date, as it is in life. Each POST has a token and a connection of its
own, since a director keeps none open for a minute.
"""

import contextlib
import http.client
import itertools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks import federations
from benchmarks.advertiser import headers
from benchmarks.federations import Json, Size
from benchmarks.load import WrongAnswerError
from benchmarks.server import Server, cores
from director_wsgi.limits.deadline import monotonic

EVERY_S = 60.0
"""Pelican's own (`Server.AdvertisementInterval`)."""

LOWER_PRIORITY = 10
READY_TIMEOUT_S = 30.0
_END_S = 30.0


class Renewals:
    """The servers of a federation; made by `renewing`.

    Attributes:
        sent: How many advertisements have been accepted.
    """

    def __init__(self, server: Server, size: Size, key: ec.EllipticCurvePrivateKey) -> None:
        self.sent = 0
        self._server = server
        self._key = key
        self._ads = list(_ads(size))
        self._pause_s = EVERY_S / (size.origins + size.caches)
        self._goes_on = threading.Event()
        self._ends = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="benchmark-renewals", daemon=True)

    def advertise_all(self) -> None:
        """Every server advertises once, one after the other, as fast as they can.

        Raises:
            WrongAnswerError, OSError: An advertisement was not accepted.
        """
        for ad in self._ads:
            self._send(ad)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """They renew until the block ends, where they left off.

        Raises:
            WrongAnswerError: A renewal was not accepted.
        """
        if not self._thread.is_alive():
            self._thread.start()
        self._goes_on.set()
        try:
            yield
        finally:
            self._goes_on.clear()
        if self._failure is not None:
            raise WrongAnswerError(f"a renewal failed: {self._failure}")

    def close(self) -> None:
        """End the thread."""
        self._ends.set()
        self._goes_on.set()
        if self._thread.is_alive():
            self._thread.join(_END_S)

    def _run(self) -> None:
        # Never on the director's processor; and on the others whoever measures comes first.
        os.sched_setaffinity(0, cores()[1])
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWER_PRIORITY)
        due_at = 0.0
        try:
            for ad in itertools.cycle(self._ads):
                self._goes_on.wait()
                due_at = max(due_at + self._pause_s, monotonic())
                if self._ends.wait(due_at - monotonic()):
                    return
                self._send(ad)
        except (WrongAnswerError, OSError, http.client.HTTPException) as error:
            self._failure = error

    def _send(self, ad: "_Ad") -> None:
        body = ad.body()
        give_up_at = monotonic() + READY_TIMEOUT_S
        while True:
            fields = headers(ad.kind, ad.web_url, ad.data_url, self._key)
            connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=60)
            with contextlib.closing(connection):
                connection.request("POST", f"/api/v1.0/director/register{ad.kind}", body, fields)
                answer = connection.getresponse()
                told = answer.read()
            if answer.status == 200:
                self.sent += 1
                return
            if answer.status != 503 or monotonic() > give_up_at:
                raise WrongAnswerError(f"an advertisement of {ad.data_url} answered {answer.status}: {told[:500]!r}")
            time.sleep(1)


@dataclass(frozen=True, slots=True)
class _Ad:
    """An advertisement whose namespaces have been written already; those of all caches are the same bytes."""

    kind: str
    web_url: str
    data_url: str
    rest: Json
    namespaces: bytes

    def body(self) -> bytes:
        """What to post, with the date of now."""
        now = datetime.now(UTC)
        dated = self.rest | {"now": now.isoformat(), "expiry": (now + federations.AD_LIFETIME).isoformat()}
        return federations.encode(dated)[:-1] + b',"namespaces":' + self.namespaces + b"}"


def _ad(kind: str, made: Json, namespaces: bytes) -> _Ad:
    rest = {name: value for name, value in made.items() if name != "namespaces"}
    return _Ad(kind, made["web-url"], made["data-url"], rest, namespaces)


def _ads(size: Size) -> Iterator[_Ad]:
    """Of every server; the caches are spread among the origins."""
    of_caches = federations.encode(federations.cache_ad(size, 0)["namespaces"])
    without = replace(size, namespaces=0)
    for number, origin in enumerate(federations.origin_ads(size)):
        yield _ad("Origin", origin, federations.encode(origin["namespaces"]))
        for cache in range(number * size.caches // size.origins, (number + 1) * size.caches // size.origins):
            yield _ad("Cache", federations.cache_ad(without, cache), of_caches)


@contextmanager
def renewing(server: Server, size: Size, key: ec.EllipticCurvePrivateKey) -> Iterator[Renewals]:
    """The servers of a federation, which do nothing yet, until the block ends.

    Args:
        server: The director that they advertise to.
        size: Of the federation.
        key: Of every server.
    """
    renewals = Renewals(server, size, key)
    try:
        yield renewals
    finally:
        renewals.close()
