"""A federation on loopback: a registry, origins and caches, each on a port of its own, all in this process.

The registry comes first, since a director cannot be configured without its URL; then the director, whoever runs it;
then the servers `join` it::

    with Federation(folder) as federation:
        ...  # start a director with federation.registry_url, that trusts federation.authority.ca_file
        federation.join(director_url, director_ca)
        federation.wait_until_ready(Deadline.after(20.0))
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from director_wsgi.demo.ads import Advertised, Kind
from director_wsgi.demo.advertiser import Advertiser
from director_wsgi.demo.cache import Cache
from director_wsgi.demo.certificates import Authority, TlsFiles, trusting
from director_wsgi.demo.copies import Copies
from director_wsgi.demo.origin import Origin
from director_wsgi.demo.registry import Registration, Registry
from director_wsgi.demo.samples import CACHES, ORIGINS, CacheSample, OriginSample
from director_wsgi.demo.storage import Storage
from director_wsgi.demo.tokens import READ, SigningKey
from director_wsgi.demo.upstream import Upstream
from director_wsgi.demo.wire import HttpsServer
from director_wsgi.limits.deadline import Deadline

LEAVE_S = 2.0
"""How long the servers may take to say goodbye to the director."""

TOKEN_LIFETIME_S = 24 * 3600.0


class NotReadyError(Exception):
    """The director does not know the whole federation in time; says of whom it does not, and why."""


class RunningServer:
    """A server that listens.

    Attributes:
        url: Of its data, without a slash at its end.
        requests: What it was asked so far.
        advertised: What it says of itself.
    """

    def __init__(self, server: HttpsServer, advertised: Advertised) -> None:
        self._server = server
        self.url = server.url
        self.requests = server.requests
        self.advertised = advertised

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
        service = Origin(self.storage, sample.exports, may_read=self._permits)
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
        super().__init__(server, advertised)

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
    """

    def __init__(self, sample: CacheSample, folder: Path, tls: TlsFiles) -> None:
        self.copies = Copies(folder)
        self._cache = Cache(self.copies)
        self._upstream: Upstream | None = None
        server = HttpsServer(self._cache, name=sample.name, tls=tls)
        advertised = Advertised(
            kind=Kind.CACHE,
            name=sample.name,
            url=server.url,
            registry_prefix=f"/caches/{sample.name}",
            key=SigningKey(),
            place=sample.place,
        )
        super().__init__(server, advertised)

    def connect(self, upstream: Upstream) -> None:
        """Fetch from there from now on."""
        self._upstream = upstream
        self._cache.connect(upstream)

    def disconnect(self) -> None:
        """Close what leads to the director and the origins, as far as it is not in use."""
        if self._upstream is not None:
            self._upstream.close()


class Federation:
    """See the module. A context manager; everything it starts has ended when it is left.

    Attributes:
        authority: Who signed every certificate in it; may sign a director's too.
        registry: What is registered; may be changed while it runs.
        registry_url: Where it listens.
        origins, caches: In the order of the samples.
    """

    def __init__(
        self,
        folder: Path,
        *,
        origins: Sequence[OriginSample] = ORIGINS,
        caches: Sequence[CacheSample] = CACHES,
        authority: Authority | None = None,
        interval_s: float = 20.0,
    ) -> None:
        """Listen at every port; nobody is told yet.

        Args:
            folder: Exists; for objects, copies and certificates. It is the caller's to remove.
            origins: Who shall be origins, with their objects.
            caches: Who shall be caches.
            authority: Signs the certificates; a new one if None.
            interval_s: How often each server advertises itself.

        Raises:
            OSError: No port or no place for the objects could be had. What had been opened is closed.
        """
        self.authority = authority or Authority(folder)
        self.registry = Registry()
        self._interval_s = interval_s
        self._advertisers: list[Advertiser] = []
        tls = self.authority.issue("server")
        with ExitStack() as opened:
            server = HttpsServer(self.registry, name="REGISTRY", tls=tls)
            opened.callback(server.close)
            self.registry_url = server.url
            self.registry_requests = server.requests
            self.origins = tuple(_origins(origins, folder, tls, opened))
            self.caches = tuple(_caches(caches, folder, tls, opened))
            self._opened = opened.pop_all()
        self._register()

    @property
    def servers(self) -> tuple[RunningServer, ...]:
        """Origins, then caches."""
        return (*self.origins, *self.caches)

    def join(self, director_url: str, director_ca: Path | None = None) -> None:
        """Start to advertise every server at the director, which need not be up yet. Once only.

        Args:
            director_url: Without a slash at its end.
            director_ca: Who signed its certificate; None: `authority`.
        """
        trust = trusting(self.authority.ca_file, *(() if director_ca is None else (director_ca,)))
        for cache in self.caches:
            cache.connect(Upstream(director_url, trust))
        for server in self.servers:
            advertiser = Advertiser(
                server.advertised, director_url=director_url, trust=trust, interval_s=self._interval_s
            )
            self._advertisers.append(advertiser)
            advertiser.start()

    def wait_until_ready(self, deadline: Deadline) -> None:
        """Wait until the director knows every origin, and every cache knows their namespaces.

        Caches learn from the director what they may serve, so they are made to advertise once more when all origins
        are known.

        Raises:
            NotReadyError: The deadline passed first.
        """
        origins = [one for one in self._advertisers if one.server.kind is Kind.ORIGIN]
        _wait(origins, [1] * len(origins), deadline)
        caches = [one for one in self._advertisers if one.server.kind is Kind.CACHE]
        _wait(caches, [cache.advertise_now() for cache in caches], deadline)

    def leave(self, *, goodbye: bool = True) -> None:
        """Advertise no more and close every connection to the director, within `LEAVE_S`; everybody listens on.

        Args:
            goodbye: Tell the director that the servers are shutting down, as real ones do.
        """
        deadline = Deadline.after(LEAVE_S)
        for advertiser in self._advertisers:
            advertiser.stop(goodbye=goodbye)
        for advertiser in self._advertisers:
            advertiser.join(deadline)
        for cache in self.caches:
            cache.disconnect()

    def close(self) -> None:
        """`leave`, unless that has been done, and end every server, within some seconds."""
        self.leave()
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _register(self) -> None:
        for server in self.servers:
            said = server.advertised
            keys = (said.key.jwk,)
            self.registry.register(Registration(prefix=said.registry_prefix, name=said.name, keys=keys))
            for export in said.exports:
                # A namespace of several origins has the keys of all of them.
                self.registry.register(Registration(prefix=export.prefix, keys=keys))


def _origins(
    samples: Sequence[OriginSample], folder: Path, tls: TlsFiles, opened: ExitStack
) -> Iterator[RunningOrigin]:
    for sample in samples:
        origin = RunningOrigin(sample, folder / sample.name, tls)
        opened.callback(origin.close)
        yield origin


def _caches(samples: Sequence[CacheSample], folder: Path, tls: TlsFiles, opened: ExitStack) -> Iterator[RunningCache]:
    for sample in samples:
        cache = RunningCache(sample, folder / sample.name, tls)
        opened.callback(cache.close)
        yield cache


def _wait(advertisers: Sequence[Advertiser], numbers: Sequence[int], deadline: Deadline) -> None:
    reached = [one.wait_for(number, deadline) for one, number in zip(advertisers, numbers, strict=True)]
    missing = [
        f"{one.server.name}: {one.problem or 'no answer yet'}"
        for one, is_there in zip(advertisers, reached, strict=True)
        if not is_there
    ]
    if missing:
        raise NotReadyError("the director does not know " + "; ".join(missing))
