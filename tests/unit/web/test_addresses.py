"""Whose word on a client's address is taken."""

import pytest

from director_wsgi.web.addresses import TrustedProxies


def seen(networks: list[str], peer: str, forwarded: str = "", real: str = "") -> str:
    environ = {"REMOTE_ADDR": peer}
    if forwarded:
        environ["HTTP_X_FORWARDED_FOR"] = forwarded
    if real:
        environ["HTTP_X_REAL_IP"] = real
    return TrustedProxies(networks).client_address(environ)


@pytest.mark.parametrize(
    ("networks", "peer", "forwarded", "real", "client"),
    [
        ([], "192.0.2.1", "198.51.100.7", "198.51.100.8", "192.0.2.1"),
        (["10.0.0.0/8"], "192.0.2.1", "198.51.100.7", "", "192.0.2.1"),
        (["10.0.0.0/8"], "10.0.0.1", "198.51.100.7", "", "198.51.100.7"),
        (["10.0.0.0/8"], "10.0.0.1", "203.0.113.5, 198.51.100.7, 10.1.1.1", "", "198.51.100.7"),
        (["10.0.0.0/8"], "10.0.0.1", "10.2.2.2, 10.1.1.1", "", "10.2.2.2"),
        (["10.0.0.0/8"], "10.0.0.1", "", "198.51.100.8", "198.51.100.8"),
        (["10.0.0.0/8"], "10.0.0.1", "garbage", "198.51.100.8", "198.51.100.8"),
        (["10.0.0.0/8"], "10.0.0.1", "garbage", "garbage", "10.0.0.1"),
        (["10.0.0.1"], "::ffff:10.0.0.1", "198.51.100.7", "", "198.51.100.7"),
        (["*"], "192.0.2.1", "203.0.113.5, 198.51.100.7", "", "203.0.113.5"),
        (["10.0.0.0/8"], "", "198.51.100.7", "", ""),
    ],
)
def test_only_trusted_proxies_are_believed(
    networks: list[str], peer: str, forwarded: str, real: str, client: str
) -> None:
    assert seen(networks, peer, forwarded, real) == client
