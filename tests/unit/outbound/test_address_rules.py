"""Which addresses may be connected to."""

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.outbound.address_rules import REFUSED_BY_DEFAULT, AddressRules

pytestmark = pytest.mark.unit

ANY_ADDRESS = st.ip_addresses().map(str)

NEVER_A_SERVER = [
    "0.0.0.0",
    "0.1.2.3",
    "169.254.0.0",
    "169.254.169.254",
    "169.254.255.255",
    "224.0.0.1",
    "239.255.255.255",
    "255.255.255.255",
    "::",
    "fe80::1",
    "febf:ffff::1",
    "fe80::1%eth0",
    "fe80::1%2",
    "ff02::1",
    "ff02::1%lo",
]

IN_DISGUISE = [
    pytest.param("::ffff:169.254.169.254", id="mapped"),
    pytest.param("::ffff:a9fe:a9fe", id="mapped, in hexadecimal"),
    pytest.param("::ffff:169.254.169.254%1", id="mapped, with a zone"),
    pytest.param("::ffff:0.0.0.0", id="mapped nothing"),
    pytest.param("::169.254.169.254", id="compatible"),
    pytest.param("::ffff:0:169.254.169.254", id="translated"),
    pytest.param("64:ff9b::169.254.169.254", id="NAT64"),
    pytest.param("64:ff9b:1::169.254.169.254", id="NAT64 of the network's own"),
    pytest.param("2002:a9fe:a9fe::1", id="6to4"),
    pytest.param("2002:e000:1::", id="6to4 of multicast"),
    pytest.param("2001:0:a9fe:a9fe::1", id="Teredo's server"),
    pytest.param("2001:0:c000:201:0:0:5601:5601", id="Teredo's client"),
]

OF_A_FEDERATION = [
    "127.0.0.1",
    "127.255.255.255",
    "::1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "fd00::1",
    "fec0::1",
    "1.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "223.255.255.255",
    "240.0.0.1",
    "2001:db8::1",
    "2600::1",
    "fe7f::1",
    "::ffff:127.0.0.1",
    "::ffff:192.0.2.1",
    "64:ff9b::192.0.2.1",
    "2002:c000:201::1",
    "2001:0:c000:201::3fff:fdfe",
]


@pytest.mark.parametrize("address", [*NEVER_A_SERVER, *IN_DISGUISE])
def test_what_no_server_has_is_refused_by_default(address: str) -> None:
    assert not AddressRules().allowed(address)


@pytest.mark.parametrize("address", OF_A_FEDERATION)
def test_loopback_private_networks_and_the_world_are_allowed_by_default(address: str) -> None:
    assert AddressRules().allowed(address)


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "2130706433", "1.2.3.4:80", "[::1]", "1.2.3.4/32", "%1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    assert not AddressRules().allowed(text)


@pytest.mark.parametrize("address", [*NEVER_A_SERVER, *IN_DISGUISE, *OF_A_FEDERATION])
def test_nothing_is_refused_if_disabled(address: str) -> None:
    assert AddressRules(blocked=["0.0.0.0/0", "::/0"], disabled=True).allowed(address)


@pytest.mark.parametrize("address", [*NEVER_A_SERVER, *IN_DISGUISE, *OF_A_FEDERATION])
def test_without_the_defaults_all_is_allowed_that_is_not_blocked(address: str) -> None:
    assert AddressRules(skip_defaults=True).allowed(address)
    assert not AddressRules(skip_defaults=True, blocked=["0.0.0.0/0", "::/0"]).allowed(address)


@pytest.mark.parametrize(
    ("blocked", "address"),
    [
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.0.0.0/8", "::ffff:10.1.2.3"),
        ("10.0.0.0/8", "64:ff9b::10.1.2.3"),
        ("10.0.0.0/8", "2002:a01:203::1"),
        ("127.0.0.0/8", "127.0.0.1"),
        ("::1/128", "::1"),
        ("fd00:ec2::254", "fd00:ec2::254"),
        ("64:ff9b::/96", "64:ff9b::192.0.2.1"),
    ],
)
def test_what_is_blocked_is_refused(blocked: str, address: str) -> None:
    assert AddressRules().allowed(address)
    assert not AddressRules(blocked=[blocked]).allowed(address)


def test_a_block_of_one_version_says_nothing_of_the_other() -> None:
    assert AddressRules(blocked=["0.0.0.0/0"]).allowed("2001:db8::1")
    assert AddressRules(blocked=["::/0"]).allowed("192.0.2.1")
    assert AddressRules(blocked=["::/0"]).allowed("::ffff:192.0.2.1")


@pytest.mark.parametrize(
    ("allowed", "address"),
    [
        ("169.254.169.254/32", "169.254.169.254"),
        ("169.254.169.254/32", "::ffff:169.254.169.254"),
        ("169.254.169.254/32", "64:ff9b::169.254.169.254"),
        ("64:ff9b::/96", "64:ff9b::169.254.169.254"),
        ("fe80::/10", "fe80::1%eth0"),
        ("10.1.0.0/16", "10.1.2.3"),
        ("2002:a01::/32", "2002:a01:203::1"),
    ],
)
def test_what_is_allowed_beats_blocks_and_defaults(allowed: str, address: str) -> None:
    rules = {"blocked": ["10.0.0.0/8"]}
    assert not AddressRules(**rules).allowed(address)
    assert AddressRules(allowed=[allowed], **rules).allowed(address)


def test_one_allowed_address_in_it_does_not_excuse_another() -> None:
    """Teredo carries two, and whoever names the address chooses both."""
    server, client = 0xC000_0201, ~0xA9FE_A9FE & 0xFFFF_FFFF  # 192.0.2.1 and 169.254.169.254
    address = str(ipaddress.IPv6Address((0x2001_0000 << 96) | (server << 64) | client))
    assert not AddressRules(allowed=["192.0.2.0/24"]).allowed(address)


@given(ANY_ADDRESS)
def test_every_address_is_judged_and_a_block_of_it_alone_refuses_it(address: str) -> None:
    assert isinstance(AddressRules().allowed(address), bool)
    assert not AddressRules(blocked=[address]).allowed(address)
    assert AddressRules(blocked=[address], allowed=[address]).allowed(address)


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_what_it_maps(address: ipaddress.IPv4Address) -> None:
    rules = AddressRules(blocked=["10.0.0.0/8"], allowed=["169.254.7.0/24"])
    assert rules.allowed(f"::ffff:{address}") == rules.allowed(str(address))


@given(st.ip_addresses(v=4))
def test_by_default_exactly_the_networks_of_the_list_are_refused(address: ipaddress.IPv4Address) -> None:
    listed = [ipaddress.ip_network(network) for network in REFUSED_BY_DEFAULT]
    assert AddressRules().allowed(str(address)) != any(address in network for network in listed)


def test_what_is_no_network_is_an_error() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        AddressRules(blocked=["nowhere"])


def test_rules_that_say_the_same_are_equal() -> None:
    def rules(**changes: Any) -> AddressRules:
        return AddressRules(**({"allowed": ["192.0.2.0/24"], "blocked": ["10.0.0.0/8", "::1/128"]} | changes))

    others = [
        rules(allowed=["192.0.2.0/25"]),
        rules(allowed=[]),
        rules(blocked=["::1/128"]),
        rules(skip_defaults=True),
        rules(disabled=True),
        AddressRules(),
    ]
    assert rules() == rules(allowed=["192.0.2.1/24"])
    assert hash(rules()) == hash(rules())
    assert len({rules(), *others}) == len(others) + 1
