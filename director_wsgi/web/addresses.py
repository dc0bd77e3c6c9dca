"""Who is at the other end: the client's address, behind the proxies that the operator trusts.

Source: Pelican `Server.TrustedProxies`; gin's `Context.ClientIP`.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_EVERYBODY = frozenset({"0.0.0.0/0", "::/0"})


class TrustedProxies:
    """The proxies whose word on a client's address is taken."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Take networks; those of all addresses together trust everybody, and whoever is at a Unix socket."""
        rows = frozenset(networks)
        self._everybody = rows >= _EVERYBODY
        self._networks = tuple(ipaddress.ip_network(row, strict=False) for row in rows)

    def client_address(self, environ: Mapping[str, Any]) -> str:
        """The client's address; the peer's unless a trusted proxy says otherwise. Empty on a Unix socket.

        What a proxy says counts as far as it is made of addresses: `X-Forwarded-For` from its end to the first hop that
        is no trusted proxy, and if it is malformed before, `X-Real-IP`. What stands to the left of that hop was written
        by whoever it is.
        """
        peer = str(environ.get("REMOTE_ADDR") or "")
        if not self._trusts(peer):
            return peer
        forwarded = str(environ.get("HTTP_X_FORWARDED_FOR") or "")
        hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()] if forwarded else []
        # From the nearest hop outwards: the first that is no proxy of ours is the client.
        for position, hop in enumerate(reversed(hops)):
            said = _said(hop)
            if not said:
                break
            if position == len(hops) - 1 or not self._trusts(said):
                return said
        return _said(str(environ.get("HTTP_X_REAL_IP") or "").strip()) or peer

    def _trusts(self, address: str) -> bool:
        if self._everybody:
            return True
        if not self._networks:
            return False
        parsed = _parse(address)
        return parsed is not None and any(
            parsed.version == network.version and parsed in network for network in self._networks
        )


def _said(text: str) -> str:
    """An address that a proxy has written, one way; empty if it is none. A zone means something to its host only."""
    parsed = None if "%" in text else _parse(text)
    return "" if parsed is None else str(parsed)


def _parse(address: str) -> IPAddress | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed
