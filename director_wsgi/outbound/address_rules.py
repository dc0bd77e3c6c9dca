"""Which addresses may be connected to, whatever name led there.

Servers and the registry name the URLs that the director calls. A name of theirs may lead anywhere, at any time
differently, so what is judged is the address that is about to be connected to, and nothing else.

An IPv6 address may carry an IPv4 address to which some router, or this host, takes the connection in the end. Both are
judged.

Source: Pelican `Server.SSRFProtection`; RFC 6890 and IANA's registries of special addresses; RFC 4291 2.5.5 (mapped and
compatible), RFC 6052 and 8215 (NAT64), RFC 3056 (6to4), RFC 4380 (Teredo).
"""

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

REFUSED_BY_DEFAULT: Final = (
    "0.0.0.0/8",  # "this host": Linux takes 0.0.0.0 for loopback
    "169.254.0.0/16",  # link-local, where clouds have their metadata services
    "224.0.0.0/4",  # multicast
    "255.255.255.255/32",  # broadcast
    "::/128",
    "fe80::/10",
    "ff00::/8",
)
"""What no server of a federation has. Loopback and private networks are not among them: federations live there."""


class _Network(NamedTuple):
    version: int
    prefix: int
    mask: int


_LOW_32_BITS: Final = 0xFFFF_FFFF
_LOOPBACK: Final = 1


def _network(text: str) -> _Network:
    network = ipaddress.ip_network(text, strict=False)
    return _Network(network.version, int(network.network_address), int(network.netmask))


_MAPPED: Final = _network("::ffff:0:0/96")
_ENDING_IN_IPV4: Final = (
    _network("::/96"),  # compatible
    _network("::ffff:0:0:0/96"),  # translated (RFC 2765)
    _network("64:ff9b::/96"),  # NAT64
    _network("64:ff9b:1::/48"),  # NAT64, of the network's own
)
_TEREDO: Final = _network("2001::/32")
_6TO4: Final = _network("2002::/16")


def _is_in(number: int, network: _Network) -> bool:
    return number & network.mask == network.prefix


def _unmapped(network: _Network) -> _Network:
    """What a network of mapped addresses is in truth: one of IPv4. Any other as it is."""
    if network.version == 6 and _is_in(network.prefix, _MAPPED) and network.mask & _MAPPED.mask == _MAPPED.mask:
        return _Network(4, network.prefix & _LOW_32_BITS, network.mask & _LOW_32_BITS)
    return network


def _by_version(texts: Iterable[str]) -> dict[int, tuple[_Network, ...]]:
    networks = [_unmapped(_network(text)) for text in texts]
    return {version: tuple(one for one in networks if one.version == version) for version in (4, 6)}


def _embedded(number: int) -> Iterator[int]:
    """The IPv4 addresses that an IPv6 address carries."""
    if any(_is_in(number, network) for network in _ENDING_IN_IPV4) and number != _LOOPBACK:
        yield number & _LOW_32_BITS
    elif _is_in(number, _6TO4):
        yield (number >> 80) & _LOW_32_BITS
    elif _is_in(number, _TEREDO):
        yield (number >> 64) & _LOW_32_BITS  # the Teredo server
        yield ~number & _LOW_32_BITS  # the client, inverted


class AddressRules:
    """Says of an address whether it may be connected to. Immutable; any number of threads; equal if it says the same.

    What is allowed beats everything; what is blocked beats what is neither; the rest is refused only if it is
    `REFUSED_BY_DEFAULT`.

    Args:
        allowed: Networks, as texts.
        blocked: Networks, as texts.
        skip_defaults: Refuse nothing by default.
        disabled: Refuse nothing at all.

    Raises:
        ValueError: A text is no network.
    """

    def __init__(
        self,
        *,
        allowed: Iterable[str] = (),
        blocked: Iterable[str] = (),
        skip_defaults: bool = False,
        disabled: bool = False,
    ) -> None:
        self._allowed = _by_version(allowed)
        self._refused = _by_version([*blocked, *(() if skip_defaults else REFUSED_BY_DEFAULT)])
        self._disabled = disabled

    def __eq__(self, other: object) -> bool:
        """Whether the networks are the same, in the same order."""
        return isinstance(other, AddressRules) and self._told == other._told

    def __hash__(self) -> int:
        return hash(self._told)

    @property
    def _told(self) -> tuple[object, ...]:
        return self._disabled, *self._allowed.values(), *self._refused.values()

    def allowed(self, address: str) -> bool:
        """Whether `address`, a numeric one, may be connected to; the zone of an IPv6 address does not matter."""
        if self._disabled:
            return True
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        number, version = int(parsed), parsed.version
        if version == 6 and _is_in(number, _MAPPED):
            number, version = number & _LOW_32_BITS, 4  # the very same address, written differently
        if self._is_allowed(number, version):
            return True
        if self._is_refused(number, version):
            return False
        return version == 4 or all(
            self._is_allowed(one, 4) or not self._is_refused(one, 4) for one in _embedded(number)
        )

    def _is_allowed(self, number: int, version: int) -> bool:
        return any(_is_in(number, network) for network in self._allowed[version])

    def _is_refused(self, number: int, version: int) -> bool:
        return any(_is_in(number, network) for network in self._refused[version])
