"""The fault server does as it is told, and ends."""

import contextlib
import inspect
import threading
from typing import Any

import pytest

from director_wsgi.outbound.client import Failure, HttpClient, OutboundError
from tests.servers.behaviours import ON_CONNECTION, ON_REQUEST
from tests.servers.conftest import MakeClient, MakeServer, head
from tests.servers.faults import FaultServer, names

NEEDED: dict[str, dict[str, Any]] = {
    "status": {"code": 200},
    "slow": {"seconds": 60.0},
    "held": {"until": threading.Event()},
    "raw": {"data": b""},
}


@pytest.mark.parametrize("name", names())
def test_it_ends_whatever_it_is_doing(name: str, make_client: MakeClient) -> None:
    before = threading.active_count()
    with FaultServer() as server:
        server.behave(name, **NEEDED.get(name, {}))
        with contextlib.suppress(OutboundError):
            head(make_client(), server, seconds=0.05)
    assert threading.active_count() <= before


def test_every_behaviour_says_what_it_does() -> None:
    for behaviour in (*ON_REQUEST.values(), *ON_CONNECTION.values()):
        assert inspect.getdoc(behaviour)


def test_what_it_does_not_know_is_refused(fault_server: MakeServer) -> None:
    server = fault_server()
    with pytest.raises(ValueError, match="no behaviour 'explode'"):
        server.behave("explode")
    with pytest.raises(TypeError):
        server.behave("ok", size=3)
    with pytest.raises(ValueError, match="before a path is known"):
        server.behave("refuse", path="/a")


def test_a_path_may_have_a_behaviour_of_its_own(fault_server: MakeServer, make_client: MakeClient) -> None:
    server, client = fault_server(), make_client()
    server.behave("status", path="/gone", code=404)
    assert [head(client, server, path).status for path in ("/gone", "/here", "/gone?query")] == [404, 200, 404]
    assert server.count("HEAD", "/gone") == 2
    assert server.count(path="/here") == server.count("HEAD") - 2 == 1


def test_it_comes_back_on_the_same_port_after_refusing(fault_server: MakeServer, make_client: MakeClient) -> None:
    server, client = fault_server(), make_client()
    port = server.port
    for _ in range(3):
        server.behave("refuse")
        with pytest.raises(OutboundError) as failed:
            head(client, server)
        assert failed.value.failure is Failure.REFUSED
        server.behave("ok")
        assert head(client, server).status == 200
        server.drop_connections()
        assert server.wait_until(lambda: server.open_connections == 0)
    assert server.port == port


def test_it_takes_turns(fault_server: MakeServer, make_client: MakeClient) -> None:
    server, client = fault_server(), make_client()
    server.behave("flap", good=2, bad=1, then="reset")
    outcomes: list[int | Failure] = []
    for _ in range(6):
        try:
            outcomes.append(head(make_client(), server).status)
        except OutboundError as error:
            outcomes.append(error.failure)
    assert outcomes == [200, 200, Failure.CUT_OFF] * 2
    assert client.idle_connections == 0


def test_it_counts_what_is_in_hand(fault_server: MakeServer, make_client: MakeClient) -> None:
    server = fault_server()
    server.behave("hang_after_request")
    callers = [threading.Thread(target=quietly_head, args=(make_client(), server)) for _ in range(3)]
    for caller in callers:
        caller.start()
    assert server.wait_until(lambda: server.in_hand == 3)
    server.drop_connections()
    for caller in callers:
        caller.join()
    assert server.wait_until(lambda: server.in_hand == 0)
    assert (server.peak, server.connections) == (3, 3)


def quietly_head(client: HttpClient, server: FaultServer) -> None:
    with contextlib.suppress(OutboundError):
        head(client, server)
