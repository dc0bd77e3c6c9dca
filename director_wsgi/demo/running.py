"""The servers of the federation, each put together, on a port of its own, and in touch with a director."""

import io
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from director_wsgi.demo.ads import Advertised, Kind
from director_wsgi.demo.advertiser import Advertiser
from director_wsgi.demo.cache import Cache
from director_wsgi.demo.certificates import TlsFiles
from director_wsgi.demo.copies import Copies
from director_wsgi.demo.fed_token import FederationToken
from director_wsgi.demo.federation_keys import FederationKeys
from director_wsgi.demo.monitored import MONITORING, Monitored, MonitoredCache, MonitoredOrigin
from director_wsgi.demo.origin import Export, Origin
from director_wsgi.demo.samples import CacheSample, OriginSample
from director_wsgi.demo.storage import Storage
from director_wsgi.demo.tokens import READ, SigningKey
from director_wsgi.demo.upstream import Upstream
from director_wsgi.demo.wire import HttpsServer
from director_wsgi.limits.deadline import Deadline

TOKEN_LIFETIME_S: Final = 24 * 3600.0


class RunningServer:
    """A server that listens.

    Attributes:
        url: Of its data, without a slash at its end.
        requests: What it was asked so far.
        advertised: What it says of itself.
        reports: What the director told it of its tests.
    """

    def __init__(self, service: Monitored, server: HttpsServer, advertised: Advertised) -> None:
        self._service = service
        self._server = server
        self._advertiser: Advertiser | None = None
        self.url = server.url
        self.requests = server.requests
        self.advertised = advertised
        self.reports = service.reports

    def join(self, director_url: str, trust: ssl.SSLContext, federation: FederationKeys, interval_s: float) -> None:
        """Get in touch with the director, and advertise there from now on. Once only.

        Args:
            director_url: Without a slash at its end.
            trust: Believes the certificates of the director and of every server.
            federation: Judges the director's tokens.
            interval_s: From one advertisement to the next.
        """
        self._service.connect(self.url, federation)
        self._advertiser = Advertiser(
            self.advertised,
            director_url=director_url,
            trust=trust,
            interval_s=interval_s,
            status=lambda: self.reports.status,
        )
        self._advertiser.start()

    @property
    def advertiser(self) -> Advertiser:
        """Advertises it.

        Raises:
            RuntimeError: It has not joined.
        """
        if self._advertiser is None:
            raise RuntimeError(f"{self.advertised.name} has joined no federation")
        return self._advertiser

    def stop(self, *, goodbye: bool) -> None:
        """Have all that goes on towards the director end; does not wait for it."""
        if self._advertiser is not None:
            self._advertiser.stop(goodbye=goodbye)

    def wait_until_stopped(self, deadline: Deadline) -> None:
        """Wait for that, and close the connections."""
        if self._advertiser is not None:
            self._advertiser.join(deadline)

    def close(self) -> None:
        """Stop listening."""
        self._server.close()


class RunningOrigin(RunningServer):
    """An origin that listens.

    Attributes:
        storage: Its objects; a change takes effect with the next request.
    """

    def __init__(self, sample: OriginSample, folder: Path, tls: TlsFiles) -> None:
        self._key = SigningKey()
        self.storage = Storage(folder)
        for path, content in sample.objects.items():
            self.storage.write(path, io.BytesIO(content))
        service = MonitoredOrigin(
            Origin(self.storage, sample.exports, may_read=self._permits),
            Origin(self.storage, (Export(prefix=MONITORING, writes=True),)),
        )
        server = HttpsServer(service, name=sample.name, tls=tls)
        advertised = Advertised(
            kind=Kind.ORIGIN,
            name=sample.name,
            url=server.url,
            registry_prefix=f"/origins/{urlsplit(server.url).netloc}",
            key=self._key,
            exports=sample.exports,
            place=sample.place,
        )
        super().__init__(service, server, advertised)

    def token(self) -> str:
        """A token that permits to read everything here, for a day."""
        return self._key.sign(
            issuer=self.url, subject="demo", audience=[self.url], scope=READ, lifetime_s=TOKEN_LIFETIME_S
        )

    def _permits(self, token: str) -> bool:
        return self._key.permits(token, issuer=self.url, scope=READ)


class RunningCache(RunningServer):
    """A cache that listens.

    Attributes:
        copies: What it holds.
        federation_token: None until it joined.
    """

    def __init__(self, sample: CacheSample, folder: Path, tls: TlsFiles) -> None:
        self.copies = Copies(folder)
        self.federation_token: FederationToken | None = None
        self._cache = Cache(self.copies)
        self._upstream: Upstream | None = None
        service = MonitoredCache(self._cache, self._cache.forget)
        server = HttpsServer(service, name=sample.name, tls=tls)
        advertised = Advertised(
            kind=Kind.CACHE,
            name=sample.name,
            url=server.url,
            registry_prefix=f"/caches/{sample.name}",
            key=SigningKey(),
            place=sample.place,
        )
        super().__init__(service, server, advertised)

    def join(self, director_url: str, trust: ssl.SSLContext, federation: FederationKeys, interval_s: float) -> None:
        """See `RunningServer`; fetches through the director, and keeps a federation token, from now on."""
        self._upstream = Upstream(director_url, trust)
        self._cache.connect(self._upstream)
        self.federation_token = FederationToken(self.advertised, director_url=director_url, trust=trust)
        self.federation_token.start()
        super().join(director_url, trust, federation, interval_s)

    def stop(self, *, goodbye: bool) -> None:
        """See `RunningServer`."""
        super().stop(goodbye=goodbye)
        if self.federation_token is not None:
            self.federation_token.stop()

    def wait_until_stopped(self, deadline: Deadline) -> None:
        """See `RunningServer`."""
        super().wait_until_stopped(deadline)
        if self.federation_token is not None:
            self.federation_token.join(deadline)
        if self._upstream is not None:
            self._upstream.close()
