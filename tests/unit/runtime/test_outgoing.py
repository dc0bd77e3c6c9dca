"""Laws of the terms of outbound calls: what is prepared changes nothing, and what says the same is the same object."""

import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from director_wsgi.errors import ConfigError
from director_wsgi.outbound.client import NameResolver
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.outgoing import Outgoing
from tests.servers.authority import Authority

CONFIG = Config(registry_url="https://registry.example.org")


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    return Authority(tmp_path).ca_file


@pytest.fixture
def trusting(ca_file: Path) -> Config:
    return replace(CONFIG, tls_ca_certificate_file=ca_file)


def made(config: Config) -> Outgoing:
    return Outgoing(config, NameResolver())


def test_what_says_the_same_is_the_same_and_loads_nothing_again(
    trusting: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    outgoing = made(trusting)
    context = outgoing.terms.trust.context
    monkeypatch.setattr(ssl, "create_default_context", None)
    terms = outgoing.prepare(replace(trusting, log_level="debug"))
    assert terms is outgoing.terms
    assert terms.trust.context is context


def test_to_prepare_changes_nothing_and_to_adopt_does(trusting: Config) -> None:
    outgoing = made(CONFIG)
    before = outgoing.terms
    terms = outgoing.prepare(trusting)
    assert outgoing.terms is before
    outgoing.adopt(terms)
    assert outgoing.terms is terms
    assert outgoing.prepare(trusting) is terms


@pytest.mark.parametrize(
    "changes", [{"dial_timeout_s": 1.0}, {"ssrf_blocked": ("10.0.0.0/8",)}, {"ssrf_disabled": True}]
)
def test_what_does_not_concern_the_certificates_keeps_them_loaded(trusting: Config, changes: dict[str, object]) -> None:
    outgoing = made(trusting)
    terms = outgoing.prepare(replace(trusting, **changes))  # type: ignore[arg-type]
    assert terms != outgoing.terms
    assert terms.trust is outgoing.terms.trust


def test_the_rules_are_those_of_the_configuration() -> None:
    outgoing = made(replace(CONFIG, ssrf_blocked=("10.0.0.0/8",), ssrf_allowed=("10.1.0.0/16",)))
    rules = outgoing.terms.rules
    assert rules is not None
    assert [rules.allowed(address) for address in ("10.0.0.1", "10.1.0.1", "169.254.0.1")] == [False, True, False]


def test_a_file_with_another_content_is_another_trust(trusting: Config, ca_file: Path, tmp_path: Path) -> None:
    outgoing = made(trusting)
    (tmp_path / "other").mkdir()
    ca_file.write_bytes(Authority(tmp_path / "other").ca_file.read_bytes())
    terms = outgoing.prepare(trusting)
    assert terms.trust != outgoing.terms.trust
    assert not terms.suit(outgoing.terms)
    assert terms.trust.context.get_ca_certs() != outgoing.terms.trust.context.get_ca_certs()


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
def test_a_file_that_cannot_serve_is_refused_before_anything_changes(
    trusting: Config, ca_file: Path, content: bytes | None
) -> None:
    outgoing = made(trusting)
    before = outgoing.terms
    ca_file.unlink()
    if content is not None:
        ca_file.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        outgoing.prepare(trusting)
    [problem] = refused.value.problems
    assert problem.startswith(f"Server.TLSCACertificateFile = {str(ca_file)!r}: expected certificates (PEM)")
    assert outgoing.terms is before
    with pytest.raises(ConfigError):
        made(trusting)


def test_whoever_trusts_anybody_needs_the_file_all_the_same(trusting: Config, ca_file: Path) -> None:
    """It is wrong, and would be found out on the day on which somebody trusts nobody any more."""
    ca_file.unlink()
    with pytest.raises(ConfigError):
        made(replace(trusting, tls_skip_verify=True))
