"""Under gunicorn: a client that goes away while its request waits for servers stops costing."""

import contextlib
import json
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.child import SETTINGS, Child, get, run, wait_until
from tests.process.conftest import ENVIRON
from tests.process.soaked import SERVERS_VARIABLE
from tests.servers.authority import Authority
from tests.servers.faults import FaultServer

PATH = "/api/v1.0/director/origin/n/object"
THREADS = 4

Hung = tuple[Child, list[FaultServer]]


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[Hung]:
    """A director with few threads and long deadlines, and the two origins of its only namespace, which hang."""
    authority = Authority(tmp_path)
    with FaultServer(certificate=authority.server) as a, FaultServer(certificate=authority.server) as b:
        rows = []
        for server in (a, b):
            server.behave("hang_after_request")
            rows.append({"is_cache": False, "name": str(server.port), "url": server.url, "namespaces": ["/n"]})
        environ = ENVIRON | {
            "PELICAN_SERVER_TLSCACERTIFICATEFILE": str(authority.ca_file),
            "PELICAN_DIRECTOR_REDIRECTDEADLINE": "60s",
            "PELICAN_DIRECTOR_STATTIMEOUT": "60s",
            "PELICAN_DIRECTOR_GRACEFULTIMEOUT": "60s",
            "PELICAN_DIRECTOR_THREADS": str(THREADS),
            "PELICAN_DIRECTOR_RESERVEDTHREADS": "1",
            SERVERS_VARIABLE: json.dumps(rows),
        }
        arguments = ("-c", str(SETTINGS), "-b", "127.0.0.1:0", "-w", "1", "tests.process.soaked:application")
        with run(tmp_path, *arguments, environ=environ) as child:
            yield child.wait_until_ready(), [a, b]


def until_all_have(servers: list[FaultServer], heads: int, in_hand: int) -> None:
    """Wait until each has had as many HEADs, and has as many that still want an answer."""
    wait_until(
        lambda: {(server.count("HEAD"), server.in_hand) for server in servers} == {(heads, in_hand)},
        f"{heads} HEADs, {in_hand} of them in hand",
    )


@pytest.mark.timeout(40)
def test_clients_that_keep_an_answered_connection_open_hold_no_thread(hung: Hung) -> None:
    """Two threads wait for servers. Were each answered client waited for, the other two would need two minutes."""
    child, servers = hung
    with contextlib.ExitStack() as stack:
        for turn in range(2):
            waiting = stack.enter_context(socket.create_connection(("127.0.0.1", child.port), timeout=15))
            waiting.sendall(get(f"{PATH}-{turn}"))
        until_all_have(servers, heads=2, in_hand=2)
        for _ in range(240):
            idle = stack.enter_context(socket.create_connection(("127.0.0.1", child.port), timeout=15))
            idle.sendall(get("/api/v1.0/director/directors"))
            assert idle.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_its_heads_are_cut_off_and_its_thread_serves_the_next(hung: Hung) -> None:
    child, servers = hung
    for turn in range(1, 2 * THREADS + 1):  # more than there are threads, and each would wait for a minute
        with socket.create_connection(("127.0.0.1", child.port), timeout=15) as client:
            client.sendall(get(f"{PATH}-{turn}"))
            until_all_have(servers, heads=turn, in_hand=1)
        until_all_have(servers, heads=turn, in_hand=0)


def test_waiting_requests_leave_threads_to_all_others(hung: Hung) -> None:
    child, servers = hung
    with contextlib.ExitStack() as stack:
        clients = set()
        for number in range(3 * THREADS):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", child.port), timeout=15))
            client.sendall(get(f"{PATH}-{number}"))
            clients.add(client)
        wait_until(lambda: all(server.in_hand >= 2 for server in servers), "requests that wait")
        while len(clients) >= THREADS:  # who may not wait is answered at once
            answered, _, _ = select.select(clients, [], [], 15)
            assert answered
            for client in answered:
                assert client.recv(12) == b"HTTP/1.1 307"
                client.close()
            clients -= set(answered)
        assert clients, "some are to wait all the while"
        for path in ("/api/v1.0/director/directors", "/api/v2.0/director/listNamespaces", "/api/v1.0/health"):
            assert child.ask(get(path)).status == 200
