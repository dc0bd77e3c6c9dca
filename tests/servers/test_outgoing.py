"""Another configuration holds for the next call of a client that is there already, over a kept connection too."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Failure, HttpClient, NameResolver, OutboundError
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.outgoing import Outgoing
from tests.servers.authority import Authority
from tests.servers.conftest import MakeServer, head
from tests.servers.faults import FaultServer, black_hole

pytestmark = pytest.mark.servers

CONFIG = Config(registry_url="https://registry.example.org")
LOOPBACK = ("127.0.0.0/8", "::1/128")


@pytest.fixture
def trusting(test_ca: Authority) -> Config:
    return replace(CONFIG, tls_ca_certificate_file=test_ca.ca_file)


@pytest.fixture
def outgoing(trusting: Config, names: NameResolver) -> Outgoing:
    return Outgoing(trusting, names)


@pytest.fixture
def client(outgoing: Outgoing) -> Iterator[HttpClient]:
    client = outgoing.client(3)
    yield client
    client.close()


def change(outgoing: Outgoing, config: Config) -> None:
    outgoing.adopt(outgoing.prepare(config))


def failure(client: HttpClient, server: FaultServer) -> Failure:
    with pytest.raises(OutboundError) as failed:
        head(client, server)
    return failed.value.failure


@pytest.mark.parametrize("tls", [False, True])
def test_the_same_again_keeps_the_connection(
    tls: bool, fault_server: MakeServer, outgoing: Outgoing, client: HttpClient, trusting: Config
) -> None:
    server = fault_server(tls=tls)
    assert head(client, server).status == 200
    for config in (replace(trusting), replace(trusting, dial_timeout_s=3.0, log_level="debug")):
        change(outgoing, config)
        assert head(client, server).status == 200
    assert server.connections == 1


def test_whom_is_not_trusted_any_more_is_not_asked_over_a_kept_connection(
    fault_server: MakeServer, outgoing: Outgoing, client: HttpClient, trusting: Config
) -> None:
    server = fault_server(tls=True)
    assert head(client, server).status == 200
    change(outgoing, CONFIG)
    assert failure(client, server) is Failure.TLS
    assert (server.count("HEAD"), client.idle_connections) == (1, 0)
    change(outgoing, trusting)
    assert head(client, server).status == 200


def test_the_file_of_authorities_with_another_content_holds_for_the_next_call(
    fault_server: MakeServer, names: NameResolver, test_ca: Authority, tmp_path: Path
) -> None:
    ca_file, server = tmp_path / "trusted.pem", fault_server(tls=True)
    ca_file.write_bytes(test_ca.ca_file.read_bytes())
    config = replace(CONFIG, tls_ca_certificate_file=ca_file)
    outgoing = Outgoing(config, names)
    with ExitStack() as stack:
        client = outgoing.client(3)
        stack.callback(client.close)
        assert head(client, server).status == 200
        (tmp_path / "other").mkdir()
        ca_file.write_bytes(Authority(tmp_path / "other").ca_file.read_bytes())
        assert head(client, server).status == 200  # nobody has adopted it
        change(outgoing, config)
        assert failure(client, server) is Failure.TLS
        ca_file.write_bytes(test_ca.ca_file.read_bytes())
        change(outgoing, config)
        assert head(client, server).status == 200


@pytest.mark.parametrize("tls", [False, True])
def test_an_address_that_is_forbidden_now_is_not_asked_over_a_kept_connection(
    tls: bool, fault_server: MakeServer, outgoing: Outgoing, client: HttpClient, trusting: Config
) -> None:
    server = fault_server(tls=tls)
    assert head(client, server).status == 200
    change(outgoing, replace(trusting, ssrf_blocked=LOOPBACK))
    assert failure(client, server) is Failure.FORBIDDEN_ADDRESS
    assert (server.count("HEAD"), server.connections, client.idle_connections) == (1, 1, 0)
    assert server.wait_until(lambda: server.open_connections == 0)
    change(outgoing, trusting)
    assert head(client, server).status == 200


def test_a_call_under_way_goes_on_and_its_connection_is_not_used_again(
    fault_server: MakeServer, outgoing: Outgoing, client: HttpClient, trusting: Config
) -> None:
    """It was let through by what held when it began."""
    server = fault_server()
    server.behave("slow", path="/slow", seconds=0.3)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(head, client, server, "/slow")
        assert server.wait_until(lambda: server.in_hand == 1)
        change(outgoing, replace(trusting, ssrf_blocked=LOOPBACK))
        assert asking.result(10.0).status == 200
    assert failure(client, server) is Failure.FORBIDDEN_ADDRESS
    assert server.connections == 1


def test_the_next_connect_takes_so_long_at_most(outgoing: Outgoing, client: HttpClient, trusting: Config) -> None:
    change(outgoing, replace(trusting, dial_timeout_s=0.05))
    with black_hole() as port, pytest.raises(OutboundError) as failed:
        client.send("HEAD", f"http://127.0.0.1:{port}/", deadline=Deadline.after(10.0))
    assert failed.value.failure is Failure.TIMED_OUT


def test_every_client_hears_of_it(fault_server: MakeServer, outgoing: Outgoing, trusting: Config) -> None:
    server = fault_server()
    with ExitStack() as stack:
        clients = [outgoing.client(1) for _ in range(3)]
        for client in clients:
            stack.callback(client.close)
            assert head(client, server).status == 200
        change(outgoing, replace(trusting, ssrf_blocked=LOOPBACK))
        assert {failure(client, server) for client in clients} == {Failure.FORBIDDEN_ADDRESS}


def test_a_client_told_to_keep_fewer_connections_closes_what_is_too_many(
    fault_server: MakeServer, client: HttpClient
) -> None:
    servers = [fault_server() for _ in range(3)]
    for server in servers:
        assert head(client, server).status == 200
    assert client.idle_connections == 3
    client.keep(1)
    assert head(client, servers[0]).status == 200
    assert client.idle_connections == 1
