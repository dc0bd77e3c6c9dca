"""A federation on loopback: a registry, origins and caches, each on a port of its own, all in this process.

The registry comes first, since a director cannot be configured without its URL; then the director, whoever runs it;
then the servers `join` it::

    with Federation(folder) as federation:
        ...  # start a director with federation.registry_url, that trusts federation.authority.ca_file
        federation.join(director_url, director_ca)
        federation.wait_until_ready(Deadline.after(20.0))
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from director_wsgi.demo.advertiser import Advertiser
from director_wsgi.demo.certificates import Authority, trusting
from director_wsgi.demo.federation_keys import FederationKeys, JsonOverHttps
from director_wsgi.demo.registry import Registration, Registry
from director_wsgi.demo.running import RunningCache, RunningOrigin, RunningServer
from director_wsgi.demo.samples import CACHES, ORIGINS, CacheSample, OriginSample
from director_wsgi.demo.wire import HttpsServer
from director_wsgi.limits.deadline import Deadline

LEAVE_S = 2.0
"""How long the servers may take to say goodbye to the director."""


class NotReadyError(Exception):
    """The director does not know the whole federation in time; says of whom it does not, and why."""


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
        self._to_issuer: JsonOverHttps | None = None
        tls = self.authority.issue("server")
        with ExitStack() as opened:
            server = HttpsServer(self.registry, name="REGISTRY", tls=tls)
            opened.callback(server.close)
            self.registry_url = server.url
            self.registry_requests = server.requests
            self.origins: tuple[RunningOrigin, ...] = ()
            for origin in origins:
                self.origins += (RunningOrigin(origin, folder / origin.name, tls),)
                opened.callback(self.origins[-1].close)
            self.caches: tuple[RunningCache, ...] = ()
            for cache in caches:
                self.caches += (RunningCache(cache, folder / cache.name, tls),)
                opened.callback(self.caches[-1].close)
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
        self._to_issuer = JsonOverHttps(trust)
        keys = FederationKeys(director_url, self._to_issuer)
        for server in self.servers:
            server.join(director_url, trust, keys, self._interval_s)

    def wait_until_ready(self, deadline: Deadline) -> None:
        """Wait until the director knows every origin, and every cache knows their namespaces.

        Caches learn from the director what they may serve, so they are made to advertise once more when all origins
        are known.

        Raises:
            NotReadyError: The deadline passed first.
        """
        origins = [origin.advertiser for origin in self.origins]
        _wait(origins, [1] * len(origins), deadline)
        caches = [cache.advertiser for cache in self.caches]
        _wait(caches, [cache.advertise_now() for cache in caches], deadline)

    def leave(self, *, goodbye: bool = True) -> None:
        """Advertise no more and close every connection to the director, within `LEAVE_S`; everybody listens on.

        Args:
            goodbye: Tell the director that the servers are shutting down, as real ones do.
        """
        deadline = Deadline.after(LEAVE_S)
        for server in self.servers:
            server.stop(goodbye=goodbye)
        for server in self.servers:
            server.wait_until_stopped(deadline)
        if self._to_issuer is not None:
            self._to_issuer.close()

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


def _wait(advertisers: Sequence[Advertiser], numbers: Sequence[int], deadline: Deadline) -> None:
    reached = [one.wait_for(number, deadline) for one, number in zip(advertisers, numbers, strict=True)]
    missing = [
        f"{one.server.name}: {one.problem or 'no answer yet'}"
        for one, is_there in zip(advertisers, reached, strict=True)
        if not is_there
    ]
    if missing:
        raise NotReadyError("the director does not know " + "; ".join(missing))
