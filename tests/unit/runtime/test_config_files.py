"""Files that a configuration names."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from director_wsgi.runtime.config import Config
from director_wsgi.runtime.reference import values

Loader = Callable[..., Config]
Problems = Callable[..., tuple[str, ...]]


def write(folder: Path, pair: tuple[bytes, bytes]) -> None:
    (folder / "tls.crt").write_bytes(pair[0])
    (folder / "tls.key").write_bytes(pair[1])


def certificate() -> tuple[bytes, bytes]:
    """A self-signed certificate and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "d.example.org")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start + dt.timedelta(days=3650))
    made = builder.sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base" / "certificates").mkdir(parents=True)
    return tmp_path / "base"


@pytest.fixture(scope="module")
def pair() -> tuple[bytes, bytes]:
    return certificate()


@pytest.mark.parametrize("name", ["Server.TLSCACertificateFile", "IssuerKey", "Server.IssuerJwks"])
def test_a_missing_file_is_a_problem(problems: Problems, name: str) -> None:
    (problem,) = problems(f"{name}: /nonexistent/file")
    assert problem == f"{name} = '/nonexistent/file' (pelican.yaml:1): there is no such file"


def test_what_is_made_or_comes_later_need_not_be_there(loaded: Loader) -> None:
    config = loaded("{IssuerKeysDirectory: /nonexistent, Director: {GeoIPLocation: /nonexistent/places.mmdb}}")
    assert config.issuer_keys_directory == Path("/nonexistent")
    assert config.geoip_location == Path("/nonexistent/places.mmdb")


def test_a_directory_is_no_file(problems: Problems, base: Path) -> None:
    assert "expected a file" in problems(f"IssuerKey: {base}")[0]


def test_a_file_is_no_directory(problems: Problems, base: Path) -> None:
    (base / "f").touch()
    assert "expected a directory" in problems(f"IssuerKeysDirectory: {base}/f")[0]


def test_a_file_that_may_not_be_read_is_a_problem(
    problems: Problems, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may read everything, so that a mode of 000 would prove nothing.
    monkeypatch.setattr("os.access", lambda *_: False)
    (base / "key").touch()
    assert "this user may not read that file" in problems(f"IssuerKey: {base}/key")[0]


def test_a_name_too_long_for_a_file_is_a_problem(problems: Problems) -> None:
    assert "File name too long" in problems(f"IssuerKey: {'x' * 5000}")[0]


def test_a_relative_name_starts_from_the_working_directory(loaded: Loader, tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    assert loaded("IssuerKey: key").issuer_key == tmp_path / "key"


def test_pelicans_places_are_used_where_something_is_there(
    loaded: Loader, base: Path, pair: tuple[bytes, bytes]
) -> None:
    (base / "issuer-keys").mkdir()
    (base / "issuer.jwk").touch()
    write(base / "certificates", pair)
    (base / "certificates" / "tlsca.pem").write_bytes(pair[0])
    config = loaded()
    assert config.issuer_keys_directory == base / "issuer-keys"
    assert config.issuer_key == base / "issuer.jwk"
    assert config.tls_certificate_chain == base / "certificates" / "tls.crt"
    assert config.tls_key == base / "certificates" / "tls.key"
    assert config.tls_ca_certificate_file == base / "certificates" / "tlsca.pem"
    assert config.sources["tls_key"] == "found below ConfigBase"


def test_nothing_there_is_nothing_configured(loaded: Loader) -> None:
    config = loaded()
    assert config.tls_certificate_chain is config.tls_key is config.issuer_key is None


def test_keys_are_kept_below_the_base(loaded: Loader, base: Path) -> None:
    assert loaded().issuer_keys_directory == base / "issuer-keys"


def test_a_certificate_found_without_its_key_is_left(loaded: Loader, base: Path) -> None:
    (base / "certificates" / "tls.crt").touch()
    assert loaded().tls_certificate_chain is None


def test_a_configured_certificate_finds_its_key(
    loaded: Loader, base: Path, pair: tuple[bytes, bytes], tmp_path: Path
) -> None:
    write(base / "certificates", pair)
    (tmp_path / "mine.crt").write_bytes(pair[0])
    config = loaded("Server: {TLSCertificateChain: mine.crt}")
    assert config.tls_certificate_chain == tmp_path / "mine.crt"
    assert config.tls_key == base / "certificates" / "tls.key"


def test_pelicans_old_name_of_the_certificate_counts(loaded: Loader, base: Path, pair: tuple[bytes, bytes]) -> None:
    write(base, pair)
    config = loaded(f"Server: {{TLSCertificate: {base}/tls.crt, TLSKey: {base}/tls.key}}")
    assert config.tls_certificate_chain == base / "tls.crt"


@pytest.mark.parametrize(("given", "missing"), [("TLSCertificateChain", "TLSKey"), ("TLSKey", "TLSCertificateChain")])
def test_certificate_and_key_come_together(problems: Problems, tmp_path: Path, given: str, missing: str) -> None:
    (tmp_path / "x").touch()
    assert problems(f"Server: {{{given}: x}}") == (
        f"Server.{missing}: not set, but Server.{given} is; expected both or neither",
    )


def test_a_key_that_does_not_fit_is_a_problem(problems: Problems, base: Path, pair: tuple[bytes, bytes]) -> None:
    write(base / "certificates", (pair[0], certificate()[1]))
    (problem,) = problems()
    assert "Server.TLSKey" in problem
    assert "expected a certificate and its unencrypted key, both PEM" in problem


def test_what_is_no_certificate_is_a_problem(problems: Problems, base: Path) -> None:
    write(base / "certificates", (b"hello", b"world"))
    (base / "certificates" / "tlsca.pem").write_text("hello")
    assert len(problems()) == 2


def test_a_message_never_holds_what_a_file_holds(problems: Problems, base: Path) -> None:
    write(base / "certificates", (b"SECRET", b"SECRET"))
    assert "SECRET" not in " ".join(problems())


class TestStateLocation:
    def test_it_lies_below_the_base(self, loaded: Loader, base: Path) -> None:
        assert loaded("").state_location == base / "director"

    def test_no_state_lies_in_etc(self, loaded: Loader) -> None:
        assert loaded(PELICAN_CONFIGBASE="/etc/pelican").state_location == Path("/var/lib/pelican/director")

    def test_it_need_not_be_there_nor_be_usable(self, loaded: Loader, base: Path) -> None:
        """What cannot be used is a warning of the director that runs; it stops none."""
        no_folder = base / "file"
        no_folder.touch()
        for path in (base / "missing" / "state", no_folder):
            assert loaded(f"Director.StateLocation: {path}").state_location == path

    def test_it_is_relative_to_where_the_director_starts(self, loaded: Loader, base: Path) -> None:
        assert loaded("Director.StateLocation: state").state_location == base.parent / "state"

    def test_there_may_be_none(self, loaded: Loader) -> None:
        config = loaded('Director.StateLocation: ":memory:"')
        assert config.state_location is None
        assert "Director.StateLocation = :memory:" in "\n".join(values(config))
