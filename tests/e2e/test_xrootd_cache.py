"""XRootD's own disk cache between clients and an origin: it finds the origin through the director, as the clients find it.

XRootD 5.5's client speaks HTTP, but nothing of a federation: it cannot be told to put `/api/v1.0/director/origin` before
a path (xrdcl-pelican, which Debian does not have, does so in real caches). So it reaches the director under another
name, which `Director.OriginResponseHostnames` sends to origins.
"""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from director_wsgi.demo.ads import Kind
from director_wsgi.demo.certificates import Authority, trusting
from director_wsgi.demo.origin import Export
from director_wsgi.demo.registry import Registry
from director_wsgi.demo.wire import HttpsServer
from tests.e2e.curl import Curl
from tests.e2e.director import director
from tests.e2e.federation import advertised, registered
from tests.e2e.links import links_of
from tests.e2e.pelicanfs_client import PelicanFS
from tests.e2e.programs import sha256, sha256_of
from tests.e2e.xrdcp import Xrdcp
from tests.e2e.xrootd import XrootdServer, xrootd_cache, xrootd_origin

BLOCK_BYTES = 1 << 20
"""What the cache fetches at a time, by its configuration."""

FOR_ORIGINS = "/api/v1.0/director/origin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Clients, a cache, an origin, and the director that leads each to the next."""

    director_url: str
    origin: XrootdServer
    cache: XrootdServer
    curl: Curl
    xrdcp: Xrdcp
    pelicanfs: PelicanFS

    def reads_at_origin(self, path: str) -> list[str]:
        """Return the ranges of this object that the origin was asked for, sorted; a read without one is empty."""
        return sorted(header.get("range", "") for line, header in self.origin.requests() if line == f"GET {path}")


def content(seed: int) -> bytes:
    """Bytes that fill several blocks of the cache, and no whole number of them."""
    return random.Random(seed).randbytes(3 * BLOCK_BYTES + 17)


def blocks(data: bytes) -> list[str]:
    """Return the ranges of all blocks of an object, sorted."""
    starts = range(0, len(data), BLOCK_BYTES)
    return sorted(f"bytes={start}-{min(start + BLOCK_BYTES, len(data)) - 1}" for start in starts)


@contextmanager
def run_chain(directory: Path) -> Iterator[Chain]:
    for name in ("home", "director", "certificates"):
        (directory / name).mkdir()
    authority = Authority(directory / "certificates")
    tls = authority.issue()
    export = Export(prefix="/cached")
    with ExitStack() as stack:
        origin = stack.enter_context(xrootd_origin(tls, [export.prefix], traced=True))
        registry = Registry()
        registry_server = stack.enter_context(HttpsServer(registry, name="registry", tls=tls))
        url = stack.enter_context(
            director(
                tls,
                directory / "director",
                registry_url=registry_server.url,
                environment={"PELICAN_DIRECTOR_ORIGINRESPONSEHOSTNAMES": "127.0.0.1:{port}"},
            )
        ).url
        cache = stack.enter_context(
            xrootd_cache(
                tls,
                [export.prefix, FOR_ORIGINS + export.prefix],
                director_url=url.replace("localhost", "127.0.0.1"),
            )
        )
        for server in (
            registered(registry, "ORIGIN", Kind.ORIGIN, origin.url, (export,)),
            registered(registry, "CACHE", Kind.CACHE, cache.url, ()),
        ):
            stack.enter_context(advertised([server], url, trusting(tls.ca)))
        home = directory / "home"
        yield Chain(
            director_url=url,
            origin=origin,
            cache=cache,
            curl=Curl(tls.ca, home),
            xrdcp=Xrdcp(tls.ca, home),
            pelicanfs=PelicanFS(url, tls.ca, home),
        )


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with run_chain(tmp_path_factory.mktemp("chain")) as running:
        yield running


def test_director_leads_clients_to_the_cache_and_the_cache_to_the_origin(chain: Chain) -> None:
    chain.origin.write("/cached/led.txt", b"led on\n")
    to_cache = chain.curl(f"{chain.director_url}/cached/led.txt", follow=False)
    as_the_cache = chain.curl(f"{chain.director_url}/cached/led.txt".replace("localhost", "127.0.0.1"), follow=False)
    assert (to_cache.status, to_cache.header("Location")) == (307, f"{chain.cache.url}/cached/led.txt")
    assert (as_the_cache.status, as_the_cache.header("Location")) == (307, f"{chain.origin.url}/cached/led.txt")
    assert [link.server for link in links_of(to_cache.header("Link"))] == [chain.cache.url]
    assert chain.reads_at_origin("/cached/led.txt") == []


def test_three_clients_read_every_byte_and_the_origin_each_block_once(chain: Chain, tmp_path: Path) -> None:
    path, data = "/cached/popular.bin", content(1)
    chain.origin.write(path, data)
    url = chain.director_url + path
    (by_pelicanfs, servers) = chain.pelicanfs.ask(("cat", path), ("servers_used", path))
    chain.xrdcp(url, str(tmp_path / "copy"))
    by_curl = chain.curl(url)
    assert by_pelicanfs == {"bytes": len(data), "sha256": sha256(data)}
    assert sha256_of(tmp_path / "copy") == sha256(data)
    assert (by_curl.status, by_curl.redirects, sha256(by_curl.body)) == (200, 1, sha256(data))
    assert {urlsplit(server).netloc for server in servers} == {urlsplit(chain.cache.url).netloc}
    assert chain.reads_at_origin(path) == blocks(data)
    assert chain.cache.read(path) == data


def test_range_costs_the_origin_the_blocks_it_lies_in(chain: Chain) -> None:
    path, data = "/cached/part.bin", content(2)
    chain.origin.write(path, data)
    first = BLOCK_BYTES - 5
    got = chain.curl(chain.director_url + path, "--range", f"{first}-{first + 9}")
    assert (got.status, got.body) == (206, data[first : first + 10])
    assert chain.reads_at_origin(path) == blocks(data)[:2]


def test_cache_that_asks_at_the_endpoint_for_origins_is_led_to_the_origin(chain: Chain) -> None:
    """With the endpoint's path in its own, as nobody deploys it: the way through the director is that of real caches."""
    path, data = "/cached/endpoint.bin", content(3)
    chain.origin.write(path, data)
    got = chain.curl(chain.cache.url + FOR_ORIGINS + path)
    assert (got.status, sha256(got.body)) == (200, sha256(data))
    assert chain.reads_at_origin(path) == blocks(data)


def test_object_of_no_origin_is_404_through_the_cache(chain: Chain, tmp_path: Path) -> None:
    got = chain.curl(f"{chain.director_url}/cached/absent.bin")
    assert (got.status, got.redirects) == (404, 1)
    assert chain.xrdcp(f"{chain.director_url}/cached/absent.bin", str(tmp_path / "x"), expect=None).returncode != 0
    assert not (tmp_path / "x").exists()


def test_what_was_read_once_is_served_when_the_origin_has_gone(tmp_path: Path) -> None:
    """By its cache, to which the director leads although it cannot ask the origin any more."""
    path, data = "/cached/kept.bin", content(4)
    with run_chain(tmp_path) as chain:
        url = chain.director_url + path
        chain.origin.write(path, data)
        chain.origin.write("/cached/never.bin", data)
        assert chain.curl(url).status == 200
        chain.origin.stop()
        (by_pelicanfs,) = chain.pelicanfs.ask(("cat", path))
        chain.xrdcp(url, str(tmp_path / "copy"))
        by_curl = chain.curl(url)
        never_read = chain.curl(f"{chain.director_url}/cached/never.bin")
    assert by_pelicanfs == {"bytes": len(data), "sha256": sha256(data)}
    assert sha256_of(tmp_path / "copy") == sha256(data)
    assert (by_curl.status, sha256(by_curl.body)) == (200, sha256(data))
    assert never_read.status // 100 != 2
