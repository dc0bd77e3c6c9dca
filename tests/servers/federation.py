"""A whole director in this process, in front of real servers on loopback under TLS.

    with Federation(authority, stat_timeout_s=0.4) as federation:
        holder = federation.origin("holder", "/a")
        federation.origin("lacking", "/a").behave("status", code=404)
        told = federation.ask("/a/object")
        assert (told.status, told.first) == (307, "holder")

Servers are known by name; every answer is told in these names. All of the director is real but the socket in front of
it: requests come in through WSGI, on as many threads as a test likes.
"""

import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Self
from urllib.parse import urlsplit

from werkzeug.test import Client, EnvironBuilder

from director_wsgi.app import Director, create_app
from director_wsgi.federation.models import NamespaceAd, ServerAd
from director_wsgi.limits.deadline import Deadline, monotonic
from director_wsgi.outbound.client import Answer, HttpClient, Terms, TlsTrust
from director_wsgi.outbound.names import NameResolver
from director_wsgi.runtime.config import Config
from tests.descriptors import open_files
from tests.make import at, cache, origin
from tests.servers.authority import Authority
from tests.servers.faults import FaultServer

ORIGIN = "/api/v1.0/director/origin"
OBJECT = "/api/v1.0/director/object"
WAIT_S = 20.0
"""How long a test waits for what must come about; a test that needs this long fails."""

AD_LIFETIME_S = 3600.0
PLACE = at(43.07, -89.40)

_URL = re.compile(r"<([^>]+)>")


@dataclass(frozen=True)
class Told:
    """One answer of the director, in the names of servers.

    Attributes:
        path: The object that was asked for.
        servers: Where it leads, best first; empty for anything but a redirect.
        message: What the body says of a refusal.
    """

    path: str
    status: int
    servers: tuple[str, ...] = ()
    message: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def first(self) -> str:
        """Where `Location` leads; empty if nowhere."""
        return self.servers[0] if self.servers else ""


class Tally:
    """Counts what the director has under way at each server, by `host:port`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: Counter[str] = Counter()
        self.begun: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()

    @contextmanager
    def sending(self, server: str) -> Iterator[None]:
        """One exchange with `server`."""
        with self._lock:
            self.begun[server] += 1
            self._now[server] += 1
            self.peak[server] = max(self.peak[server], self._now[server])
        try:
            yield
        finally:
            with self._lock:
                self._now[server] -= 1


class TalliedClient(HttpClient):
    """The director's own client, tallied.

    A server cannot count this itself: it learns late that an exchange has been given up.
    """

    def __init__(self, tally: Tally, **options: Any) -> None:
        super().__init__(**options)
        self._tally = tally

    def send(self, method: str, url: str, **options: Any) -> Answer:
        with self._tally.sending(urlsplit(url).netloc):
            return super().send(method, url, **options)


class Census:
    """The threads of the director and the open files of this process, at one moment."""

    def __init__(self) -> None:
        self.threads = frozenset(thread.name for thread in threading.enumerate() if thread.name.startswith("director-"))
        self.files = open_files()

    def __repr__(self) -> str:
        return f"<Census: {self.files} files, threads {sorted(self.threads)}>"


class Federation:
    """A director, and servers that it knows; a context manager.

    Args:
        authority: Who signs the servers' certificates; the director trusts it.
        settings: Attributes of the director's `Config`.

    Attributes:
        director: The director's parts.
        servers: By name.
        ads: By name.
        tally: What the director has under way.
    """

    def __init__(self, authority: Authority, **settings: Any) -> None:
        self._authority = authority
        self.tally = Tally()
        self.servers: dict[str, FaultServer] = {}
        self.ads: dict[str, ServerAd] = {}
        self._stack = ExitStack()
        self._fresh = count()
        self._names = NameResolver()
        terms = Terms(trust=TlsTrust(authority.ca_file))
        self._terms = lambda: terms
        usual = {"registry_url": "https://127.0.0.1:1", "web_url": "https://director.example.org"}
        config = Config(**(usual | settings))
        self._app = create_app(config, make_client=self._make_client)
        self.director: Director = self._app.extensions["director"]
        self._client = Client(self._app, use_cookies=False)
        self._is_closed = False

    def _make_client(self, connections: int) -> HttpClient:
        return TalliedClient(
            self.tally,
            names=self._names,
            terms=self._terms,
            user_agent="pelican-director/test",
            connections=connections,
        )

    def __enter__(self) -> Self:
        self.director.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._stack.close()

    def close(self) -> None:
        """End the director; the servers go on."""
        if not self._is_closed:
            self._is_closed = True
            self.director.close()
            self._names.close()

    def reload(self, config: Config) -> int:
        """Put another configuration in force; the number of its generation."""
        number: int = self._app.extensions["reload"](config)
        return number

    # -- who is in it

    def origin(self, name: str, *namespaces: str | NamespaceAd, **more: Any) -> FaultServer:
        """A new origin, advertised."""
        return self._add(origin, name, *namespaces, **more)

    def cache(self, name: str, *namespaces: str | NamespaceAd, **more: Any) -> FaultServer:
        """A new cache, advertised."""
        return self._add(cache, name, *namespaces, **more)

    def _add(
        self, make: Callable[..., ServerAd], name: str, *namespaces: str | NamespaceAd, **more: Any
    ) -> FaultServer:
        server = self._stack.enter_context(FaultServer(certificate=self._authority.server))
        place = {"coordinate": PLACE, "director_test_disabled": True} | more
        self.servers[name] = server
        self.ads[name] = make(name, *namespaces, data_url=server.url, base_url=server.url, **place)
        self.advertise(name)
        return server

    def advertise(self, *names: str) -> None:
        """Record the advertisements of these servers, as if they had just come."""
        for name in names:
            self.director.directory.record(self.ads[name], AD_LIFETIME_S)

    def retire(self, *names: str) -> None:
        """Take these servers out of the directory, and give back what belongs to them."""
        for name in names:
            self.director.directory.remove(self.ads[name].data_url)
        self.director.engine.retain(self.director.directory.snapshot().servers)

    # -- asking

    def fresh(self, namespace: str) -> str:
        """The path of an object that nobody has asked for."""
        return f"{namespace}/{next(self._fresh)}"

    def ask(
        self,
        path: str,
        method: str = "GET",
        *,
        endpoint: str = ORIGIN,
        headers: Mapping[str, str] | None = None,
        connection: socket.socket | None = None,
    ) -> Told:
        """Send a request to the director, on this thread; `connection` is what gunicorn would have it come over."""
        sent = {"X-Pelican-Coordinate": "lat=43.07,long=-89.40", **(headers or {})}
        environ = {"RAW_URI": endpoint + path, "REMOTE_ADDR": "192.0.2.10"}
        builder = EnvironBuilder(
            path="/",
            method=method,
            headers=list(sent.items()),
            environ_overrides=environ if connection is None else {**environ, "gunicorn.socket": connection},
        )
        response = self._client.open(builder)
        servers: tuple[str, ...] = ()
        message = ""
        if response.status_code == 307:
            urls = _URL.findall(response.headers["Link"])
            assert response.headers["Location"].startswith(urls[0]), "Link and Location disagree"
            servers = tuple(map(self._name, urls))
        else:
            message = response.get_data(as_text=True)
        response.close()  # what was held for it is given back
        return Told(path, response.status_code, servers, message, tuple(response.headers.items()))

    def _name(self, url: str) -> str:
        port = urlsplit(url).port
        return next(name for name, server in self.servers.items() if server.port == port)

    # -- what is known of servers

    def heads(self, name: str) -> int:
        """HEADs begun at this server, whether or not they have arrived there."""
        return self.tally.begun[urlsplit(self.servers[name].url).netloc]

    def peak(self, name: str) -> int:
        """Most HEADs under way there at one moment."""
        return self.tally.peak[urlsplit(self.servers[name].url).netloc]

    def state(self, name: str) -> Any:
        """The engine's `ServerState`; None if it has not been asked yet."""
        url = self.ads[name].data_url
        return next((state for state in self.director.engine.servers() if state.data_url == url), None)

    def states(self, names: Iterable[str]) -> dict[str, Any]:
        """The engine's `ServerState` of those that have been asked."""
        by_url = {state.data_url: state for state in self.director.engine.servers()}
        return {name: by_url[self.ads[name].data_url] for name in names if self.ads[name].data_url in by_url}


class Load:
    """Threads that ask for fresh objects of one namespace, one after the other, at a bounded pace.

    Attributes:
        told: Every answer so far.
        slowest_s: How long one was waited for at the most.
    """

    def __init__(
        self, federation: Federation, namespace: str, *, endpoint: str = ORIGIN, threads: int = 4, pause_s: float = 0.03
    ) -> None:
        self.told: list[Told] = []
        self.errors: list[BaseException] = []
        self.slowest_s = 0.0
        self._federation = federation
        self._namespace = namespace
        self._endpoint = endpoint
        self._pause_s = pause_s
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name=f"load-{namespace}-{number}") for number in range(threads)
        ]

    def _run(self) -> None:
        try:
            while not self._ending.wait(self._pause_s):
                began_at = monotonic()
                self.told.append(self._federation.ask(self._federation.fresh(self._namespace), endpoint=self._endpoint))
                self.slowest_s = max(
                    self.slowest_s, monotonic() - began_at
                )  # of a race something nearly as slow is left
        except BaseException as error:
            self.errors.append(error)
            raise

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(WAIT_S)
        assert not any(thread.is_alive() for thread in self._threads), "a request does not come back"


def eventually(holds: Callable[[], bool], within_s: float = WAIT_S) -> bool:
    """Whether it comes to hold, looked at again and again."""
    deadline = Deadline.after(within_s)
    pause = threading.Event()
    while not holds():
        if deadline.has_passed():
            return False
        pause.wait(0.005)
    return True
