"""Laws of this director's own keys."""

import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from director_wsgi.errors import ConfigError
from director_wsgi.trust.issuer import load_issuer_keys, public_jwks, thumbprint, usable_issuer_keys
from director_wsgi.trust.keys import parse_key_set
from director_wsgi.trust.tokens import AdvertiseToken
from tests.unit.trust.forge import NOW, Key, jwks


def write(file: Path, key: Key | None = None, password: bytes | None = None) -> Path:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    private = (key or Key()).private
    file.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return file


def test_rfc7638_thumbprint_of_the_rfcs_own_example() -> None:
    example = {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    }
    assert thumbprint(example) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "RS256", "EdDSA"])
def test_what_is_published_verifies_what_is_signed(tmp_path: Path, algorithm: str) -> None:
    key = Key("", algorithm)
    write(tmp_path / "a.pem", key)
    (loaded,) = load_issuer_keys(tmp_path)
    assert loaded.algorithm == algorithm
    key.kid = loaded.kid
    document = public_jwks((loaded,))
    AdvertiseToken(key.token()).verify(parse_key_set(json.dumps(document)), NOW)


def test_nothing_private_is_published_or_shown(tmp_path: Path) -> None:
    write(tmp_path / "a.pem")
    write(tmp_path / "b.pem", Key("", "RS256"))
    keys = load_issuer_keys(tmp_path)
    assert [set(key.public_jwk) for key in keys] == [
        {"kty", "crv", "x", "y", "alg", "kid"},
        {"kty", "n", "e", "alg", "kid"},
    ]
    assert "private=" not in repr(keys)


def test_the_first_file_by_name_signs_and_the_single_one_comes_last(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    directory.mkdir()
    names = [write(directory / name).name for name in ("b.pem", "a.pem", "c.pem")]
    (directory / "notes.txt").write_text("no key")
    single = write(tmp_path / "0.pem")
    keys = load_issuer_keys(directory, single)
    assert [key.source.name for key in keys] == [*sorted(names), "0.pem"]


def test_the_same_key_in_two_files_is_published_once(tmp_path: Path) -> None:
    key = Key()
    write(tmp_path / "a.pem", key)
    assert len(load_issuer_keys(tmp_path, write(tmp_path / "b.key", key))) == 1


def test_no_directory_and_no_file_are_no_keys(tmp_path: Path) -> None:
    assert load_issuer_keys(None) == ()
    assert load_issuer_keys(tmp_path / "missing") == ()
    assert public_jwks(()) == {"keys": []}


def test_every_broken_file_is_named_with_its_parameter_and_none_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("SECRET")
    write(tmp_path / "b.pem", password=b"x")
    odd = Key()
    odd.private = ec.generate_private_key(ec.SECP256K1())
    write(tmp_path / "c.pem", odd)
    with pytest.raises(ConfigError) as caught:
        load_issuer_keys(tmp_path, tmp_path / "missing.key")
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["IssuerKeysDirectory"] * 3 + ["IssuerKey"]
    assert all(name in str(caught.value) for name in ("a.pem", "b.pem", "c.pem", "missing.key"))
    assert "SECRET" not in str(caught.value)


def test_what_would_never_end_or_never_begin_is_not_read(tmp_path: Path) -> None:
    write(tmp_path / "a.pem")
    os.mkfifo(tmp_path / "b.pem")
    (tmp_path / "c.pem").symlink_to("/dev/zero")
    (tmp_path / "d.pem").mkdir()
    keys, problems = usable_issuer_keys(tmp_path)
    assert len(keys) == 1
    assert [problem.rpartition(": ")[2] for problem in problems] == ["is no regular file"] * 3


def test_extra_public_keys_are_published_as_they_are(tmp_path: Path) -> None:
    write(tmp_path / "a.pem")
    extra = tmp_path / "extra.jwks"
    extra.write_bytes(jwks(Key("old")))
    document = public_jwks(load_issuer_keys(tmp_path), extra)
    kids = [key.kid for key in parse_key_set(json.dumps(document)).keys]
    assert len(kids) == 2
    assert kids[1] == "old"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keys":{}}', '{"keys":[5]}', '{"keys":[{"kty":"oct","k":"AA"}]}'])
def test_a_broken_set_of_extra_keys_is_refused(tmp_path: Path, text: str) -> None:
    extra = tmp_path / "extra.jwks"
    extra.write_text(text)
    with pytest.raises(ConfigError, match=r"Server\.IssuerJwks: .*extra\.jwks"):
        public_jwks((), extra)
    with pytest.raises(ConfigError, match="cannot be read"):
        public_jwks((), tmp_path / "missing")
