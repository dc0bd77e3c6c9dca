"""A throw-away certificate authority for servers on loopback.

The extensions are those that RFC 5280 asks for, since OpenSSL 3, Go and Python 3.13 (`VERIFY_X509_STRICT`) refuse
certificates without them: key identifiers, a critical basicConstraints and keyUsage of the authority.
"""

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from director_wsgi.limits.deadline import WallClock, wall

_VALID = timedelta(days=7)
_BACKDATED = timedelta(hours=1)  # for whoever's clock is behind ours


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files of one server.

    Attributes:
        certificate: Its certificate alone; the authority signed it directly.
        key: The private key of that, readable by its owner only.
        ca: The authority's certificate.
    """

    certificate: Path
    key: Path
    ca: Path

    def server_context(self) -> ssl.SSLContext:
        """What a server with this certificate speaks TLS with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def trusting(*ca_files: Path) -> ssl.SSLContext:
    """A client's context that trusts these authorities and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for file in ca_files:
        context.load_verify_locations(file)
    return context


class Authority:
    """An authority that lives as long as this object: its private key is never written down."""

    def __init__(self, directory: Path, *, now: WallClock = wall) -> None:
        """Make an authority.

        Args:
            directory: Where `ca.crt` and the files of every certificate issued go; it must exist.
            now: The wall clock that certificates are dated by.
        """
        self._directory = directory
        self._now = now
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._own_certificate()
        self.ca_file = directory / "ca.crt"
        self.ca_file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str = "server") -> TlsFiles:
        """Issue a certificate for `localhost` and 127.0.0.1.

        Args:
            name: What the two files are called, and the subject's common name.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._leaf(name, key.public_key())
        files = TlsFiles(
            certificate=self._directory / f"{name}.crt", key=self._directory / f"{name}.key", ca=self.ca_file
        )
        files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files.key.touch(mode=0o600)
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files

    def _own_certificate(self) -> x509.Certificate:
        name = _name("Throw-away authority of a federation on loopback")
        public = self._key.public_key()
        builder = self._builder(name, name, public)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
        return builder.sign(self._key, hashes.SHA256())

    def _leaf(self, name: str, public: ec.EllipticCurvePublicKey) -> x509.Certificate:
        builder = self._builder(_name(name), self._certificate.subject, public)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage("digital_signature"), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        alternatives = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = datetime.fromtimestamp(self._now(), UTC)
        builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=public)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - _BACKDATED).not_valid_after(now + _VALID)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return builder.add_extension(authority, critical=False)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _key_usage(*uses: str) -> x509.KeyUsage:
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{use: use in uses for use in every})
