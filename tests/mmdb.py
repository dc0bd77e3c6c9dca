"""Databases in MaxMind's format, made for a test: any networks, any records, any damage.

The format: a tree whose nodes are pairs of records, a separator of 16 bytes, the data, a marker, the metadata
(https://maxmind.github.io/MaxMind-DB/).
"""

import ipaddress
import struct
from collections.abc import Mapping
from itertools import pairwise

BUILT_AT = 1_767_225_600  # 2026-01-01T00:00:00Z
MARKER = b"\xab\xcd\xefMaxMind.com"


def city(latitude: float, longitude: float, radius_km: int = 10) -> dict[str, object]:
    """A record as GeoLite2-City has it, and some of what is around the place."""
    return {
        "city": {"geoname_id": 5261457, "names": {"en": "Madison", "ja": "マディソン"}},
        "country": {"iso_code": "US", "is_in_european_union": False},
        "location": {"accuracy_radius": radius_km, "latitude": latitude, "longitude": longitude},
        "subdivisions": [{"iso_code": "WI"}],
    }


class Uint16(int):
    """A number that must have this type; others get the one of 32 bits."""


class Uint64(int):
    """A number that must have this type."""


class Damaged(bytes):
    """Goes into the data section as it is, in place of a record."""


def database(
    networks: Mapping[str, object],
    *,
    kind: str = "GeoLite2-City",
    built_at: int = BUILT_AT,
    record_bits: int = 28,
    ip_version: int = 6,
) -> bytes:
    """The bytes of a database file.

    Args:
        networks: What each network's record is; a longer prefix takes its part out of a shorter one.
        kind: `database_type` in its metadata.
        built_at: Unix seconds.
        record_bits: 24, 28 or 32.
        ip_version: 4 or 6; of 6, IPv4 is what lies under `::/96`.
    """
    nodes: list[list[int | None]] = [
        [None, None]
    ]  # a node's index, or the offset of data as a negative number, or None
    data = bytearray()
    for text, record in sorted(networks.items(), key=lambda row: ipaddress.ip_network(row[0]).prefixlen):
        _insert(nodes, _bits(ipaddress.ip_network(text), ip_version), -1 - len(data))
        data += record if isinstance(record, Damaged) else encode(record)
    metadata = {
        "binary_format_major_version": Uint16(2),
        "binary_format_minor_version": Uint16(0),
        "build_epoch": Uint64(built_at),
        "database_type": kind,
        "description": {"en": "made for a test"},
        "ip_version": Uint16(ip_version),
        "languages": ["en"],
        "node_count": len(nodes),
        "record_size": Uint16(record_bits),
    }
    tree = b"".join(_node(_records(pair, len(nodes)), record_bits) for pair in nodes)
    return tree + bytes(16) + bytes(data) + MARKER + encode(metadata)


def _bits(network: ipaddress.IPv4Network | ipaddress.IPv6Network, ip_version: int) -> str:
    bits = f"{int(network.network_address):0{network.max_prefixlen}b}"[: network.prefixlen]
    return "0" * 96 + bits if network.version == 4 and ip_version == 6 else bits


def _insert(nodes: list[list[int | None]], bits: str, data: int) -> None:
    index = 0
    for bit, _next in pairwise(bits):
        below = nodes[index][int(bit)]
        if below is None or below < 0:  # nothing yet, or a shorter network: it goes on in both halves
            nodes.append([below, below])
            below = nodes[index][int(bit)] = len(nodes) - 1
        index = below
    nodes[index][int(bits[-1])] = data


def _records(pair: list[int | None], count: int) -> list[int]:
    return [count if one is None else one if one >= 0 else count + 16 + (-1 - one) for one in pair]


def _node(records: list[int], record_bits: int) -> bytes:
    left, right = records
    if record_bits == 28:  # the byte in the middle has the four highest bits of both
        middle = (left >> 24) << 4 | right >> 24
        return left.to_bytes(4)[1:] + bytes([middle]) + right.to_bytes(4)[1:]
    return left.to_bytes(record_bits // 8) + right.to_bytes(record_bits // 8)


def encode(value: object) -> bytes:
    """A value as the data section has it."""
    match value:
        case bool():
            return _control(14, int(value))
        case str():
            return _control(2, len(value.encode())) + value.encode()
        case float():
            return _control(3, 8) + struct.pack(">d", value)
        case int():
            size = (value.bit_length() + 7) // 8
            kind = 5 if isinstance(value, Uint16) else 9 if isinstance(value, Uint64) else 6
            return _control(kind, size) + value.to_bytes(size)
        case dict():
            return _control(7, len(value)) + b"".join(encode(key) + encode(one) for key, one in value.items())
        case list():
            return _control(11, len(value)) + b"".join(map(encode, value))
    raise TypeError(type(value))


def _control(kind: int, size: int) -> bytes:
    """What a value begins with: three bits of its type, five of its size, more if these are not enough."""
    head, more = (
        (size, b"") if size < 29 else (29, bytes([size - 29])) if size < 285 else (30, (size - 285).to_bytes(2))
    )
    return bytes([kind << 5 | head]) + more if kind < 8 else bytes([head, kind - 7]) + more
