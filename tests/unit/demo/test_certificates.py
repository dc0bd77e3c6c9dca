import ssl
import stat
from pathlib import Path

import pytest

from director_wsgi.demo.certificates import Authority, TlsFiles, trusting


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def shake_hands(client: ssl.SSLContext, files: TlsFiles, name: str) -> ssl.SSLObject:
    """A whole handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_side = client.wrap_bio(to_client, to_server, server_hostname=name)
    server_side = files.server_context().wrap_bio(to_server, to_client, server_side=True)
    waiting = [client_side, server_side]
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    return client_side


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_client_that_is_strict_and_trusts_the_authority_accepts_what_it_issued(
    authority: Authority, name: str
) -> None:
    client = trusting(authority.ca_file)
    client.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    assert shake_hands(client, authority.issue(), name).version() == "TLSv1.3"


def test_another_name_is_refused(authority: Authority) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(trusting(authority.ca_file), authority.issue(), "example.org")


def test_who_trusts_another_authority_refuses(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(trusting(other.ca_file), authority.issue(), "localhost")


def test_the_private_key_is_for_its_owner_only(authority: Authority) -> None:
    assert stat.S_IMODE(authority.issue().key.stat().st_mode) == 0o600
