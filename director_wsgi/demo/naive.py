"""The failing design: Pelican's issue 3495 in synchronous Python, to be compared with, never to be used.

`application` does what Pelican's director does for a redirect to an origin, and what a straightforward port of it to
Flask would do. Nothing is made worse than it is there, and some things are better: it keeps a connection for every
slot (Go's transport keeps two), and looks its few namespaces up at once. Where what comes from, in Pelican's main
branch at 4012bc4a3 (August 2026; `director/`):

1. Slots per server, awaited without a deadline, one server's after the other's: `stat.go:391` loops over the servers
   and calls `TryGoUntil` (`:516`), which waits until its context ends; the context is `context.Background()`
   (`:688`) and never does. While the first door is shut, the second server is not asked.
2. A second HEAD after any failure but 404, without the digest and with the whole timeout anew: `stat.go:432-441`. So a
   server that hangs holds a slot for twice StatTimeout.
3. The answer waits for the slowest server: `query` is called with max = number of servers (`stat.go:688`).
4. Who timed out is in none of the lists of answers, and if nobody is left that has the object, it is 404:
   `stat.go:786`.
5. What a server said is remembered for a minute, found or not found, and a failure never: `stat.go:445-497`.
6. The listing of directors reads what was advertised, and asks nobody.

Two things are Python's and not Pelican's. A request that waits holds one of gunicorn's threads, of which there are few,
where in Go it holds a goroutine, of which there are thousands before anybody notices: so here `/directors` goes down
with the rest. And the timeout is `requests`' own, for each read, where Go's is for the whole exchange; against an
origin that sends nothing at all the two are the same.
"""

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import requests
from cachetools import TTLCache
from flask import Flask, Response, jsonify
from requests.adapters import HTTPAdapter

from director_wsgi.demo.scene import LISTING, NAMESPACES, ORIGIN_ENDPOINT, PORTS_VARIABLE, base_urls

STAT_TIMEOUT_S = 2.0
PRESENCE_TTL_S = 60.0
PRESENCE_CAPACITY = 2000
SLOTS_VARIABLE = "PELICAN_DIRECTOR_STATCONCURRENCYLIMIT"


class Server:
    """One origin: its slots, its threads, its connections, and what it said lately."""

    def __init__(self, url: str, slots: int) -> None:
        self.url = url
        self.slots = threading.BoundedSemaphore(slots)
        self.threads = ThreadPoolExecutor(slots, thread_name_prefix="head")
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.mount("http://", HTTPAdapter(pool_maxsize=slots))
        self.said: TTLCache[str, bool] = TTLCache(PRESENCE_CAPACITY, PRESENCE_TTL_S)
        self.lock = threading.Lock()

    def ask(self, path: str) -> bool | None:
        """Whether it has the object, or None if it did not say; runs on one of its threads, and owns a slot."""
        try:
            for headers in ({"Want-Digest": "crc32c"}, {}):  # 2
                try:
                    status = self.session.head(self.url + path, headers=headers, timeout=STAT_TIMEOUT_S).status_code
                except requests.RequestException:
                    continue
                if status in {200, 404}:
                    with self.lock:
                        self.said[path] = status == 200  # 5
                    return status == 200
            return None
        finally:
            self.slots.release()


def available(servers: list[Server], path: str) -> list[Server]:
    """The servers that have the object; runs on the thread of the request, and waits there."""
    answers: dict[Server, Future[bool | None] | bool] = {}
    for server in servers:
        with server.lock:
            said = server.said.get(path)
        if said is None:
            server.slots.acquire()  # 1: without a deadline
            answers[server] = server.threads.submit(server.ask, path)
        else:
            answers[server] = said
    return [s for s, answer in answers.items() if (answer.result() if isinstance(answer, Future) else answer)]  # 3


def create_app(urls: list[str], slots: int) -> Flask:
    """The failing director of the origins at these base URLs."""
    app = Flask(__name__)
    servers = [Server(url, slots) for url in urls]

    @app.get(f"{ORIGIN_ENDPOINT}/<path:path>")
    def redirect(path: str) -> Response:
        origins = [servers[number] for number in NAMESPACES.get("/" + path.partition("/")[0], ())]
        holders = available(origins, f"/{path}")
        if not holders:
            return Response("no sources have the object: are you sure that it exists?", status=404)  # 4
        return Response(status=307, headers={"Location": f"{holders[0].url}/{path}"})

    @app.get(LISTING)
    def directors() -> Response:
        return jsonify([{"name": "naive"}])  # 6

    return app


if PORTS_VARIABLE in os.environ:
    application = create_app(base_urls(os.environ[PORTS_VARIABLE]), int(os.environ[SLOTS_VARIABLE]))
