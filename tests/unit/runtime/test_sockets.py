"""One TLS context until its files change, and the last good one when they break."""

import ssl
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from director_wsgi.runtime.sockets import BoundedTlsSocket, ServerContext

pytestmark = pytest.mark.unit


class Files:
    """A certificate and a key that nobody parses, and how often a context was built from them."""

    def __init__(self, directory: Path) -> None:
        self.certificate = directory / "tls.crt"
        self.key = directory / "tls.key"
        self.certificate.write_text("certificate")
        self.key.write_text("key")
        self.built = 0
        self.settings = SimpleNamespace(
            certfile=str(self.certificate), keyfile=str(self.key), ca_certs=None, cert_reqs=0, ciphers=None
        )

    def build(self) -> ssl.SSLContext:
        self.built += 1
        return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def fail(self) -> ssl.SSLContext:
        self.built += 1
        raise ssl.SSLError("no such pair")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_it_is_built_once(files: Files) -> None:
    contexts = ServerContext()
    assert contexts.get(files.settings, files.build) is contexts.get(files.settings, files.build)
    assert files.built == 1


def test_its_sockets_are_bounded(files: Files) -> None:
    assert ServerContext().get(files.settings, files.build).sslsocket_class is BoundedTlsSocket


@pytest.mark.parametrize(
    "change",
    [
        lambda files: files.key.write_text("another key"),
        lambda files: files.certificate.write_text("another certificate"),
        lambda files: setattr(files.settings, "ciphers", "HIGH"),
    ],
)
def test_a_change_builds_it_anew(files: Files, change: Callable[[Files], object]) -> None:
    contexts = ServerContext()
    before = contexts.get(files.settings, files.build)
    change(files)

    assert contexts.get(files.settings, files.build) is not before
    assert files.built == 2


def test_a_first_pair_that_cannot_be_used_is_an_error(files: Files) -> None:
    with pytest.raises(ssl.SSLError):
        ServerContext().get(files.settings, files.fail)


def test_a_later_one_that_cannot_be_used_is_tried_once_and_the_last_good_one_stays(files: Files) -> None:
    contexts = ServerContext()
    good = contexts.get(files.settings, files.build)
    files.key.unlink()

    assert contexts.get(files.settings, files.fail) is good
    assert contexts.get(files.settings, files.fail) is good
    assert files.built == 2


def test_a_link_that_leads_elsewhere_is_a_change(files: Files, tmp_path: Path) -> None:
    """As where certificates are kept in directories of which one is current."""
    new = tmp_path / "new.crt"
    new.write_text("certificate")
    link = tmp_path / "current.crt"
    link.symlink_to(files.certificate)
    files.settings.certfile = str(link)
    contexts = ServerContext()
    before = contexts.get(files.settings, files.build)
    link.unlink()
    link.symlink_to(new)

    assert contexts.get(files.settings, files.build) is not before


def test_it_recovers_when_the_files_do(files: Files) -> None:
    contexts = ServerContext()
    good = contexts.get(files.settings, files.build)
    files.key.unlink()
    contexts.get(files.settings, files.fail)
    files.key.write_text("a new key")

    assert contexts.get(files.settings, files.build) is not good
