"""A running director with the stand-in application, and certificates."""

import datetime as dt
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.process.child import SETTINGS, STAND_IN, Child, run

ENVIRON = {"PELICAN_FEDERATION_REGISTRYURL": "https://127.0.0.1:1"}  # nobody listens there


class Pair(NamedTuple):
    certificate: Path
    key: Path

    def environ(self) -> dict[str, str]:
        return ENVIRON | {
            "PELICAN_SERVER_TLSCERTIFICATECHAIN": str(self.certificate),
            "PELICAN_SERVER_TLSKEY": str(self.key),
        }

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))


def make_pair(directory: Path, name: str = "tls") -> Pair:
    """A self-signed certificate for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pair = Pair(directory / f"{name}.crt", directory / f"{name}.key")
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pair.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pair


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make_pair(tmp_path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """The stand-in behind the director's settings, one for a module: for tests that leave it as it was."""
    arguments = ("-c", str(SETTINGS), "-b", "127.0.0.1:0", "--access-logfile", "-", STAND_IN)
    with run(tmp_path_factory.mktemp("served"), *arguments, environ=ENVIRON) as child:
        yield child.wait_until_ready()
