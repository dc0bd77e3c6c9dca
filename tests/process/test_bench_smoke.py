"""The benchmarks run, and refuse to measure a server that answers wrongly."""

import itertools
import json
import os
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks import federations
from benchmarks.federations import Clients, Exchange
from benchmarks.figures import figure
from benchmarks.load import Order, WrongAnswerError, run

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parent.parent.parent


@contextmanager
def redirecting(status: int, host: str) -> Iterator[int]:
    """A server that sends every path to this host; its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Location", f"https://{host}.example.org:8443{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="test-redirecting")
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def order(port: int) -> Order:
    return Order(
        port=port,
        server_pid=os.getpid(),
        federation="medium",
        clients=Clients.MANY_PLACES,
        connections=2,
        warm_up_s=0,
        seconds=0.1,
    )


def requests(*, from_anywhere: bool = False) -> Iterator[Exchange]:
    """Without end, as the generator makes them; `from_anywhere`: any server's answer is right."""
    made = federations.exchanges(federations.MEDIUM, count=200, clients=Clients.MANY_PLACES)
    for number, exchange in enumerate(itertools.cycle(made)):
        one = exchange.numbered(number)
        yield replace(one, location=one.location.partition(b":8443")[2]) if from_anywhere else one


def test_a_round_counts_the_answers_it_got() -> None:
    with redirecting(307, "any") as port:
        made = run(order(port), requests(from_anywhere=True))
    assert made.per_s > 0
    assert made.p50_ms <= made.p99_ms
    assert made.reconnects == 0


def test_a_redirect_to_another_than_the_nearest_cache_is_no_figure() -> None:
    with redirecting(307, "any") as port, pytest.raises(WrongAnswerError, match="expecting"):
        run(order(port), requests())


def test_another_status_is_no_figure() -> None:
    with redirecting(404, "any") as port, pytest.raises(WrongAnswerError, match="404"):
        run(order(port), requests(from_anywhere=True))


def test_no_object_is_asked_for_twice_and_every_new_place_is_another() -> None:
    made = federations.exchanges(federations.SMALL, count=50, clients=Clients.NEW_PLACES)
    asked = [exchange.numbered(number).request for number, exchange in enumerate(made * 3)]
    targets, places = zip(
        *(re.search(rb"GET (\S+) .*\r\n(X-Pelican-Coordinate:[^\r]*)", a, re.DOTALL).groups() for a in asked),
        strict=True,
    )
    assert len(set(targets)) == len(set(places)) == len(asked)


@pytest.mark.parametrize(("clients", "number"), [(Clients.ONE_PLACE, 1), (Clients.MANY_PLACES, 50)])
def test_other_clients_come_from_as_many_places_as_is_said(clients: Clients, number: int) -> None:
    made = federations.exchanges(federations.SMALL, count=50, clients=clients)
    assert (
        len({re.search(rb"X-Pelican-Coordinate:[^\r]*", one.numbered(n).request)[0] for n, one in enumerate(made)})
        == number
    )


def test_a_digit_more_or_less_leaves_the_nearest_cache_the_nearest() -> None:
    for (latitude, longitude), cache in federations._places(federations.LARGE, random.Random(1), 20):
        for moved in (latitude, latitude + 0.01):
            here = moved, longitude
            assert cache == min(range(100), key=lambda n: federations._radians(here, federations._position("cache", n)))


def test_an_aim_is_judged_by_the_median_ratio_and_never_assumed() -> None:
    assert figure("x", "1/s", [1, 2, 9], ratios=[0.5, 0.6, 0.7], beside="y", at_least=0.6).met is True
    assert figure("x", "1/s", [1, 2, 9], ratios=[0.5, 0.59, 0.7], beside="y", at_least=0.6).met is False
    assert figure("x", "us", [1, 2, 9], at_most=1.9).met is False
    assert figure("x", "us", [1, 2, 9]).met is None


def test_every_namespace_has_one_origin_and_every_cache_carries_them_all() -> None:
    size = federations.MEDIUM
    served = [ns["path"] for ad in federations.origin_ads(size) for ns in ad["namespaces"]]
    assert sorted(served) == sorted(federations.prefix_of(n) for n in range(size.namespaces))
    assert all(a != b for a, b in pairwise(sorted(served)))
    assert {ns["path"] for ns in federations.cache_ad(size, 7)["namespaces"]} == set(served)


@pytest.mark.slow
def test_the_command_measures_redirects_and_writes_its_figures(tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "redirects", "--size", "small"]
    done = subprocess.run(
        [*command, "--seconds", "0.2", "--json", str(written)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(written.read_text())
    figures = {figure["name"]: figure for figure in document["figures"]}
    assert figures["redirects, the constant Flask route"]["median"] > 0
    for clients in Clients:
        assert figures[f"redirects, small (2 + 2, 4), {clients}: over the bare WSGI callable"]["median"] > 0
    assert document["machine"]["gunicorn"]
    assert "redirects, small (2 + 2, 4), each client from a place never seen" in done.stdout
