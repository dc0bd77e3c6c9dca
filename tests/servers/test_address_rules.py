"""What is not to be connected to is not, whatever name led there, for every call of a director as it is configured."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from director_wsgi.limits.deadline import Deadline, monotonic
from director_wsgi.outbound.client import Failure, HttpClient, NameResolver, OutboundError
from director_wsgi.outbound.names import Found, system_look_up
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.outgoing import client_maker
from director_wsgi.trust.registry import Registry, RegistryError
from tests.servers.authority import Authority
from tests.servers.conftest import MakeServer, head

pytestmark = pytest.mark.servers

BLOCKED = ("127.0.0.0/8", "::1/128")


def ip4(*addresses: str) -> Found:
    return tuple((socket.AF_INET, address, 0) for address in addresses)


Make = Callable[..., HttpClient]


@pytest.fixture
def configured(test_ca: Authority) -> Iterator[Make]:
    """Makes clients as a director of that configuration does."""
    with ExitStack() as stack:

        def make(look_up: Callable[[str], Found] = system_look_up, **settings: Any) -> HttpClient:
            names = NameResolver(look_up=look_up, fresh_s=0.0, stale_s=0.0)
            stack.callback(names.close)
            config = Config(registry_url="https://r", tls_ca_certificate_file=test_ca.ca_file, **settings)
            client = client_maker(config, names, monotonic)(2)
            stack.callback(client.close)
            return client

        yield make


def failure(client: HttpClient, url: str) -> Failure:
    with pytest.raises(OutboundError) as failed:
        client.send("HEAD", url, deadline=Deadline.after(10.0))
    return failed.value.failure


def test_loopback_can_be_asked_by_default(fault_server: MakeServer, configured: Make) -> None:
    server = fault_server(tls=True)
    assert head(configured(), server).status == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"])
def test_no_connection_arrives_at_a_blocked_address_however_it_is_written(
    host: str, fault_server: MakeServer, configured: Make
) -> None:
    server = fault_server()
    assert failure(configured(ssrf_blocked=BLOCKED), f"http://{host}:{server.port}/") is Failure.FORBIDDEN_ADDRESS
    assert server.connections == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "[::ffff:0.0.0.0]", "0"])
def test_nor_at_loopback_by_the_name_of_nobody(host: str, fault_server: MakeServer, configured: Make) -> None:
    """Linux connects 0.0.0.0 to loopback."""
    server = fault_server()
    assert failure(configured(), f"http://{host}:{server.port}/") is Failure.FORBIDDEN_ADDRESS
    assert server.connections == 0


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[64:ff9b::a9fe:a9fe]", "metadata.example"])
def test_link_local_addresses_are_refused_by_default(host: str, configured: Make) -> None:
    client = configured(look_up=lambda _: ip4("169.254.169.254"))
    assert failure(client, f"http://{host}/") is Failure.FORBIDDEN_ADDRESS


def test_what_is_allowed_beats_what_is_blocked(fault_server: MakeServer, configured: Make) -> None:
    server = fault_server()
    assert head(configured(ssrf_blocked=BLOCKED, ssrf_allowed=("127.0.0.1/32",)), server).status == 200


def test_the_protection_can_be_switched_off(fault_server: MakeServer, configured: Make) -> None:
    server = fault_server()
    assert head(configured(ssrf_blocked=BLOCKED, ssrf_disabled=True), server).status == 200


def test_of_the_addresses_of_a_name_only_the_allowed_are_tried(fault_server: MakeServer, configured: Make) -> None:
    server = fault_server()
    client = configured(look_up=lambda _: ip4("169.254.169.254", "127.0.0.1"))
    url = f"http://two.example:{server.port}/"
    assert client.send("HEAD", url, deadline=Deadline.after(10.0)).status == 200


def test_a_name_that_changes_is_judged_at_every_connection(fault_server: MakeServer, configured: Make) -> None:
    """A name server of an attacker's gives a good address first."""
    server = fault_server()
    server.behave("ok", headers={"Connection": "close"})
    answers = [ip4("127.0.0.1"), ip4("127.0.0.2"), ip4("169.254.169.254"), ip4("127.0.0.1")]
    client = configured(look_up=lambda _: answers.pop(0), ssrf_blocked=("127.0.0.2/32",))
    url = f"http://changing.example:{server.port}/"
    assert client.send("HEAD", url, deadline=Deadline.after(10.0)).status == 200
    assert failure(client, url) is Failure.FORBIDDEN_ADDRESS
    assert failure(client, url) is Failure.FORBIDDEN_ADDRESS
    assert client.send("HEAD", url, deadline=Deadline.after(10.0)).status == 200
    assert server.connections == 2


def test_a_registry_cannot_send_the_director_elsewhere_for_keys(fault_server: MakeServer, configured: Make) -> None:
    registry = fault_server(tls=True)
    client = configured(ssrf_blocked=("127.0.0.2/32",))
    with socket.create_server(("127.0.0.2", 0)) as listener:
        listener.setblocking(False)
        elsewhere = f"https://127.0.0.2:{listener.getsockname()[1]}/keys"
        registry.behave("ok", body=json.dumps({"issuer": registry.url, "jwks_uri": elsewhere}).encode())
        with pytest.raises(RegistryError):
            Registry(client, registry.url).key_set("/origins/o", Deadline.after(10.0))
        assert registry.connections == 1
        with pytest.raises(BlockingIOError):
            listener.accept()
