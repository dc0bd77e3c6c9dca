"""The federation that the end-to-end tests run in: what is in it, and how it is brought up.

Two XRootD servers, `north` and `south`, serve the same namespace, so that the director has to find out which of them
holds an object. What they hold differs from test to test and is laid down in `_fill`.
"""

import random
import ssl
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from director_wsgi.demo.ads import Advertised, Kind
from director_wsgi.demo.advertiser import Advertiser
from director_wsgi.demo.cache import Cache
from director_wsgi.demo.certificates import Authority, trusting
from director_wsgi.demo.copies import Copies
from director_wsgi.demo.origin import Export, Origin
from director_wsgi.demo.registry import Registration, Registry
from director_wsgi.demo.storage import Storage
from director_wsgi.demo.tokens import SigningKey
from director_wsgi.demo.upstream import Upstream
from director_wsgi.demo.wire import HttpsServer
from director_wsgi.limits.deadline import Deadline
from tests.e2e.director import LOG, director
from tests.e2e.programs import sha256
from tests.e2e.xrootd import XrootdServer, xrootd_origin

AWKWARD_NAME = "blanks and %25 100% #1,2;3 Zürich 日本.bin"
"""`%25` is part of the name: whoever decodes twice asks for another one."""

QUESTION_NAME = "what? really & truly+surely.txt"

SHARED = Export(prefix="/shared", writes=True)
SCRATCH = Export(prefix="/scratch", writes=True)
CACHED = Export(prefix="/cached")
DAV = Export(prefix="/dav")
PROTECTED = Export(prefix="/protected", public_reads=False)

TOKEN = "a-token.that_nobody-else.has"
"""What the loopback server asks for in `/protected`; no JWT, so that the director has nothing to say about it."""

SECRET = ("/protected/secret.txt", b"for the bearer\n")
"""Path and bytes of the only object there."""

TREE = {
    "/shared/tree/one.txt": b"one and only one\n",
    "/shared/tree/two.txt": b"two\n" * 2,
    "/shared/tree/branch/leaf.txt": b"a leaf\n",
    "/shared/tree/branch/twig/bud.txt": b"",
}

ADVERTISED_S = 20.0
"""How long the director may take to accept everybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """A running federation.

    Attributes:
        director_url: Without a slash at its end, as all URLs here.
        director_log: Everything that gunicorn and the director write.
        ca: The authority of every certificate.
        home: A directory for the clients: their home, and for what they fetch.
        north, south: Both serve `/shared` and may be written to; `north` alone serves `/scratch` and `/cached`.
        webdav_url: A loopback server with `/dav` and `/protected`.
        cache_url: The only cache; it serves `/cached` and nothing else.
        large: `/shared/large.bin`, at `north` only.
        dav_objects: Name and bytes of everything in `/dav`.
    """

    director_url: str
    director_log: Path
    ca: Path
    home: Path
    north: XrootdServer
    south: XrootdServer
    webdav_url: str
    cache_url: str
    large: bytes
    dav_objects: dict[str, bytes]

    @property
    def origins(self) -> tuple[XrootdServer, XrootdServer]:
        """Both XRootD servers."""
        return self.north, self.south

    def url(self, path: str) -> str:
        """Return the URL at the director for an object path, encoded."""
        return self.director_url + quote(path)

    @property
    def large_sha256(self) -> str:
        """Digest of the large object."""
        return sha256(self.large)


@contextmanager
def run_federation(directory: Path) -> Iterator[Federation]:
    """Bring everything up, wait until the director knows it, and take it down again when the block is left.

    Args:
        directory: An empty directory for everything but XRootD's own.
    """
    for name in ("home", "director", "certificates"):
        (directory / name).mkdir()
    authority = Authority(directory / "certificates")
    tls = authority.issue()
    trust = trusting(tls.ca)
    with ExitStack() as stack:
        north = stack.enter_context(xrootd_origin(tls, [export.prefix for export in (SHARED, SCRATCH, CACHED)]))
        south = stack.enter_context(xrootd_origin(tls, [SHARED.prefix]))
        storage = Storage(directory / "webdav")
        webdav = stack.enter_context(
            HttpsServer(Origin(storage, (DAV, PROTECTED), may_read=TOKEN.__eq__), name="webdav", tls=tls)
        )
        cache = Cache(Copies(directory / "cache"))
        cache_server = stack.enter_context(HttpsServer(cache, name="cache", tls=tls))
        registry = Registry()
        registry.allow_cache("localhost", [CACHED.prefix])
        registry_server = stack.enter_context(HttpsServer(registry, name="registry", tls=tls))
        url = stack.enter_context(director(tls, directory / "director", registry_url=registry_server.url)).url
        upstream = Upstream(url, trust)
        stack.callback(upstream.close)
        cache.connect(upstream)
        federation = Federation(
            director_url=url,
            director_log=directory / "director" / LOG,
            ca=tls.ca,
            home=directory / "home",
            north=north,
            south=south,
            webdav_url=webdav.url,
            cache_url=cache_server.url,
            large=random.Random(1).randbytes((64 << 20) + 12345),
            dav_objects={AWKWARD_NAME: b"awkward", QUESTION_NAME: b"a question\n", "plain.txt": b"plain\n"},
        )
        _fill(federation, directory / "webdav")
        origins = [
            registered(registry, "NORTH", Kind.ORIGIN, north.url, (SHARED, SCRATCH, CACHED)),
            registered(registry, "SOUTH", Kind.ORIGIN, south.url, (SHARED,)),
            registered(registry, "WEBDAV", Kind.ORIGIN, webdav.url, (DAV, PROTECTED)),
        ]
        # The cache asks the director which namespaces there are, so the origins come first.
        for servers in (origins, [registered(registry, "CACHE", Kind.CACHE, cache_server.url, ())]):
            stack.enter_context(advertised(servers, url, trust))
        yield federation


@contextmanager
def advertised(servers: Sequence[Advertised], director_url: str, trust: ssl.SSLContext) -> Iterator[None]:
    """Keep servers advertised; the block is entered when the director has accepted all of them."""
    advertisers = [Advertiser(server, director_url=director_url, trust=trust) for server in servers]
    try:
        for advertiser in advertisers:
            advertiser.start()
        for advertiser in advertisers:
            if not advertiser.wait_for(1, Deadline.after(ADVERTISED_S)):
                raise RuntimeError(f"{advertiser.server.name} was not accepted: {advertiser.problem}")
        yield
    finally:
        for advertiser in advertisers:
            advertiser.stop(goodbye=False)
        for advertiser in advertisers:
            advertiser.join(Deadline.after(ADVERTISED_S))


def _fill(federation: Federation, webdav: Path) -> None:
    north, south = federation.north, federation.south
    north.write("/shared/large.bin", federation.large)
    north.write("/shared/only-north.txt", b"only at north\n")
    south.write("/shared/only-south.txt", b"only at south\n")
    south.write(f"/shared/names/{AWKWARD_NAME}", random.Random(2).randbytes(70_001))
    north.write(f"/cached/{AWKWARD_NAME}", random.Random(3).randbytes(70_002))
    for origin in federation.origins:
        origin.write("/shared/twice.txt", b"at both\n")
        origin.write(f"/shared/names/twice {AWKWARD_NAME}", b"at both, with an awkward name\n")
        for path, data in TREE.items():
            origin.write(path, data)
    for path, data in (*((f"/dav/{name}", data) for name, data in federation.dav_objects.items()), SECRET):
        target = webdav / "objects" / path.removeprefix("/")
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(data)


def registered(
    registry: Registry,
    name: str,
    kind: Kind,
    url: str,
    exports: tuple[Export, ...],
    *,
    place: tuple[float, float] | None = None,
) -> Advertised:
    """Register a server and its namespaces with a key of its own; returns what it has to advertise."""
    key = SigningKey()
    # A namespace that two origins serve is registered with the keys of both.
    prefix = f"/origins/{urlsplit(url).netloc}" if kind is Kind.ORIGIN else f"/caches/{name}"
    registry.register(Registration(prefix=prefix, name=name, keys=(key.jwk,)))
    for export in exports:
        registry.register(Registration(prefix=export.prefix, keys=(key.jwk,)))
    return Advertised(
        kind=kind,
        name=name,
        url=url,
        registry_prefix=prefix,
        key=key,
        exports=exports,
        place=place,
        takes_tests=False,  # XRootD alone takes no reports
    )
