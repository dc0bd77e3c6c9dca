"""How a URL is split into whom to ask and what to ask for. What is refused: tests/servers/test_outbound_answers.py."""

import pytest

from director_wsgi.outbound.client import _parse
from director_wsgi.outbound.transport import Peer


@pytest.mark.parametrize(
    ("url", "peer", "target"),
    [
        ("http://a.example", Peer(False, "a.example", 80), "/"),
        ("https://a.example", Peer(True, "a.example", 443), "/"),
        ("HTTPS://A.Example:8443/B?C", Peer(True, "a.example", 8443), "/B?C"),
        ("http://a.example?q=1", Peer(False, "a.example", 80), "/?q=1"),
        ("http://a.example#f", Peer(False, "a.example", 80), "/"),
        ("http://a.example/b#f?x", Peer(False, "a.example", 80), "/b"),
        ("http://a.example//b//?", Peer(False, "a.example", 80), "//b//?"),
        ("http://a.example./b", Peer(False, "a.example.", 80), "/b"),
        ("http://127.0.0.1:1/%2f%00", Peer(False, "127.0.0.1", 1), "/%2f%00"),
        ("https://[2001:DB8::1]:8443/b", Peer(True, "2001:db8::1", 8443), "/b"),
        ("https://[::1]/@:b", Peer(True, "::1", 443), "/@:b"),
    ],
)
def test_a_url_is_split_and_nothing_of_its_path_is_changed(url: str, peer: Peer, target: str) -> None:
    assert _parse(url) == (peer, target)


@pytest.mark.parametrize(
    ("peer", "text"), [(Peer(True, "a.example", 443), "a.example:443"), (Peer(False, "::1", 80), "[::1]:80")]
)
def test_a_peer_reads_as_in_a_url(peer: Peer, text: str) -> None:
    assert str(peer) == text
