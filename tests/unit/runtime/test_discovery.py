"""What the discovery URL tells, when it is asked, and what a start makes of it if it does not tell."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from requests.structures import CaseInsensitiveDict

from director_wsgi.errors import ConfigError
from director_wsgi.outbound.client import Answer
from director_wsgi.runtime import discovery, start
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.discovery import DiscoveryFailed, Document, ask, completed, discovered, missing, read
from director_wsgi.runtime.sources import load

pytestmark = pytest.mark.unit

ASKED = {"PELICAN_FEDERATION_DISCOVERYURL": "https://fed.example.org"}
REGISTRY = {"PELICAN_FEDERATION_REGISTRYURL": "https://mine.example.org"}
DIRECTOR = {"PELICAN_FEDERATION_DIRECTORURL": "https://d.example.org"}
JWKS = {"PELICAN_FEDERATION_JWKURL": "https://mine.example.org/jwks"}
BROKER = {"PELICAN_FEDERATION_BROKERURL": "https://b.example.org"}

TOLD = Document(
    registry_url="https://registry.example.org",
    director_url="https://director.example.org",
    jwk_url="https://fed.example.org/keys",
    broker_url="",
)


class Host:
    """A discovery host that answers as it is told, and how often it was asked."""

    def __init__(self, *answers: Document | DiscoveryFailed) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.pauses: list[float] = []

    def __call__(self, config: Config) -> Document:
        self.asked.append(discovery.url_of(config))
        answer = self.answers.pop(0)
        if isinstance(answer, DiscoveryFailed):
            raise answer
        return answer


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., Config]:
    return lambda *parts: load({name: text for part in parts for name, text in part.items()}, tmp_path)


def is_away() -> DiscoveryFailed:
    return DiscoveryFailed("fed.example.org:443: refused")


class TestWhatIsMissing:
    def test_nothing_if_there_is_no_discovery_url(self, configured: Callable[..., Config]) -> None:
        assert missing(configured(REGISTRY)) == ()

    def test_what_is_configured_is_not(self, configured: Callable[..., Config]) -> None:
        assert missing(configured(ASKED)) == ("registry_url", "director_url", "jwk_url", "broker_url")
        assert missing(configured(ASKED, REGISTRY, BROKER)) == ("director_url", "jwk_url")
        assert missing(configured(ASKED, REGISTRY, DIRECTOR, JWKS, BROKER)) == ()

    @pytest.mark.parametrize(
        "own",
        [
            {"PELICAN_SERVER_EXTERNALWEBURL": "https://fed.example.org"},
            {"PELICAN_SERVER_EXTERNALWEBURL": "https://fed.example.org:443/"},
            {"PELICAN_SERVER_EXTERNALWEBURL": "https://FED.example.org/director"},
            {"PELICAN_FEDERATION_DIRECTORURL": "https://fed.example.org"},
        ],
    )
    def test_a_director_that_is_the_discovery_host_asks_nobody(
        self, configured: Callable[..., Config], own: dict[str, str]
    ) -> None:
        assert missing(configured(ASKED, REGISTRY, own)) == ()
        with pytest.raises(ConfigError, match=r"Federation\.RegistryUrl: not set"):
            configured(ASKED, own)

    def test_a_wrong_discovery_url_is_one_problem(self, configured: Callable[..., Config]) -> None:
        with pytest.raises(ConfigError) as caught:
            configured({"PELICAN_FEDERATION_DISCOVERYURL": "https://fed.example.org/path"})
        assert len(caught.value.problems) == 1


class TestCompleting:
    def test_what_is_told_is_filled_in_and_says_whence_it_comes(self, configured: Callable[..., Config]) -> None:
        config = completed(configured(ASKED), TOLD)
        assert (config.registry_url, config.director_url) == (TOLD.registry_url, TOLD.director_url)
        assert (config.jwk_url, config.broker_url) == (TOLD.jwk_url, "")
        assert config.sources["registry_url"] == "https://fed.example.org/.well-known/pelican-configuration"
        assert "broker_url" not in config.sources

    def test_what_is_configured_stays(self, configured: Callable[..., Config]) -> None:
        config = completed(configured(ASKED, REGISTRY, JWKS), TOLD)
        assert (config.registry_url, config.jwk_url) == ("https://mine.example.org", "https://mine.example.org/jwks")
        assert config.director_url == TOLD.director_url

    def test_holes_are_filled_with_the_director_itself(self, configured: Callable[..., Config]) -> None:
        said = dataclasses.replace(TOLD, director_url="", jwk_url="")
        config = completed(configured(ASKED, {"PELICAN_SERVER_EXTERNALWEBURL": "https://d.example.org"}), said)
        assert config.director_url == "https://d.example.org"
        assert config.jwk_url == "https://d.example.org/.well-known/issuer.jwks"

    def test_without_a_registry_anywhere_there_is_no_director(self, configured: Callable[..., Config]) -> None:
        said = dataclasses.replace(TOLD, registry_url="")
        assert completed(configured(ASKED, REGISTRY), said).registry_url == "https://mine.example.org"
        with pytest.raises(ConfigError, match=r"it names no registry\. Set it instead"):
            completed(configured(ASKED), said)


class TestAsking:
    def test_it_perseveres(self, configured: Callable[..., Config], caplog: pytest.LogCaptureFixture) -> None:
        host = Host(is_away(), DiscoveryFailed("it answered 503"), TOLD)
        assert ask(configured(ASKED), tries=4, fetch=host, pause=host.pauses.append) is TOLD
        assert host.pauses == [1.0, 2.0]
        assert [record.getMessage() for record in caplog.records] == [
            f"{host.asked[0]}: fed.example.org:443: refused (try 1 of 4, next in 1 s)",
            f"{host.asked[0]}: it answered 503 (try 2 of 4, next in 2 s)",
        ]

    def test_not_for_ever(self, configured: Callable[..., Config]) -> None:
        host = Host(is_away(), is_away(), is_away())
        with pytest.raises(DiscoveryFailed, match="refused"):
            ask(configured(ASKED), tries=3, fetch=host, pause=host.pauses.append)
        assert host.pauses == [1.0, 2.0]

    def test_nor_if_it_would_not_help(self, configured: Callable[..., Config]) -> None:
        host = Host(DiscoveryFailed("it answered 404", is_final=True))
        with pytest.raises(DiscoveryFailed, match="404"):
            ask(configured(ASKED), tries=3, fetch=host, pause=host.pauses.append)
        assert host.pauses == []

    def test_nobody_is_asked_if_nothing_is_missing(self, configured: Callable[..., Config]) -> None:
        config = configured(REGISTRY)
        assert discovered(config, tries=1, fetch=Host()) is config

    def test_a_failure_says_what_was_asked_what_came_and_what_to_set(self, configured: Callable[..., Config]) -> None:
        with pytest.raises(ConfigError) as caught:
            discovered(configured(ASKED, JWKS), tries=1, fetch=Host(is_away()))
        (problem,) = caught.value.problems
        assert problem == (
            "Federation.DiscoveryUrl = 'https://fed.example.org' (PELICAN_FEDERATION_DISCOVERYURL): asked "
            "https://fed.example.org/.well-known/pelican-configuration for Federation.RegistryUrl, "
            "Federation.DirectorUrl and Federation.BrokerUrl: fed.example.org:443: refused. Set them instead, and "
            "nobody is asked"
        )

    def test_without_a_broker_a_director_can_live(self, configured: Callable[..., Config]) -> None:
        config = discovered(configured(ASKED, REGISTRY, DIRECTOR, JWKS), tries=1, fetch=Host(is_away()))
        assert config.broker_url == ""
        (warning,) = config.warnings
        assert "for Federation.BrokerUrl: fed.example.org:443: refused. Set it instead" in warning


def answer(body: object, status: int = 200, kind: str = "application/json") -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, CaseInsensitiveDict({"Content-Type": kind}), content)


class TestReading:
    def test_members_are_written_one_way(self) -> None:
        document = read(
            answer(
                {
                    "director_endpoint": "https://Director.example.org:443/",
                    "namespace_registration_endpoint": "https://registry.example.org:8444",
                    "jwks_uri": "https://fed.example.org/keys",
                    "discovery_endpoint": "https://fed.example.org",
                    "unheard_of": [1],
                }
            )
        )
        assert document == Document(
            registry_url="https://registry.example.org:8444",
            director_url="https://director.example.org",
            jwk_url="https://fed.example.org/keys",
            broker_url="",
        )

    @pytest.mark.parametrize(
        ("said", "is_final", "sentence"),
        [
            (answer(b"", 404), True, "it answered 404"),
            (answer(b"", 410), True, "it answered 410"),
            (answer(b"", 429), False, "it answered 429"),
            (answer(b"", 500), False, "it answered 500"),
            (answer({}, 204), False, "it answered 204"),
            (answer(b"<html>", kind="text/html"), False, "what it answered is not JSON but 'text/html'"),
            (answer(b"\xff", kind="a\x01b"), False, "what it answered is not JSON"),
            (answer(b"[" * 50_000), False, "what it answered is not JSON"),
            (answer([]), False, "what it answered is JSON, but no object"),
            (answer({"jwks_uri": 5}), False, "its member jwks_uri is wrong: expected a text"),
            (answer({"jwks_uri": "file:///etc/passwd"}), False, "its member jwks_uri is wrong: expected an http"),
            (answer({"broker_endpoint": "https://u:p@h"}), False, "its member broker_endpoint is wrong: expected"),
        ],
    )
    def test_what_is_no_document_is_said(self, said: Answer, is_final: bool, sentence: str) -> None:
        with pytest.raises(DiscoveryFailed) as caught:
            read(said)
        assert str(caught.value).startswith(sentence)
        assert caught.value.is_final == is_final


class TestMaster:
    """What the master has heard outlives the host that told it."""

    @pytest.fixture(autouse=True)
    def _cold(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(start, "_memory", start._Memory())
        self.host = Host()
        monkeypatch.setattr(discovery, "fetch_once", self.host)
        monkeypatch.setattr(discovery, "_pause", self.host.pauses.append)
        return iter([None])

    def test_a_cold_start_perseveres_and_then_refuses(self, tmp_path: Path) -> None:
        self.host.answers = [is_away()] * discovery.TRIES
        with pytest.raises(ConfigError, match="refused"):
            start.load_config(ASKED, tmp_path)
        assert len(self.host.asked) == discovery.TRIES
        assert not start.is_prepared()

    def test_a_worker_asks_nobody_and_has_what_the_master_heard(self, tmp_path: Path) -> None:
        self.host.answers = [TOLD]
        config = start.load_config(ASKED, tmp_path)
        assert config.registry_url == TOLD.registry_url
        assert start.worker_config(ASKED, tmp_path) == config
        assert len(self.host.asked) == 1

    def test_a_reload_asks_once_and_takes_what_has_changed(self, tmp_path: Path) -> None:
        later = dataclasses.replace(TOLD, registry_url="https://later.example.org")
        self.host.answers = [TOLD, later]
        start.load_config(ASKED, tmp_path)
        assert start.load_config(ASKED, tmp_path).registry_url == "https://later.example.org"
        assert start.worker_config(ASKED, tmp_path).registry_url == "https://later.example.org"

    def test_a_reload_while_the_host_is_away_changes_what_else_has_changed(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.host.answers = [TOLD, is_away()]
        start.load_config(ASKED, tmp_path)
        config = start.load_config(ASKED | {"PELICAN_DIRECTOR_THREADS": "9"}, tmp_path)
        assert (config.registry_url, config.threads) == (TOLD.registry_url, 9)
        assert "what it told before stays in force" in caplog.text
        assert self.host.pauses == []

    def test_a_changed_url_that_does_not_tell_leaves_all_as_it_was(self, tmp_path: Path) -> None:
        self.host.answers = [TOLD, is_away()]
        good = start.load_config(ASKED, tmp_path)
        changed = {"PELICAN_FEDERATION_DISCOVERYURL": "https://other.example.org"}
        assert start.load_config(changed, tmp_path) is good
        assert start.worker_config(changed, tmp_path) is good
        assert len(self.host.asked) == 2

    def test_a_worker_may_do_without_a_broker(self, tmp_path: Path) -> None:
        almost = ASKED | REGISTRY | DIRECTOR | JWKS
        self.host.answers = [is_away()] * discovery.TRIES
        assert start.load_config(almost, tmp_path).registry_url == "https://mine.example.org"
        assert start.worker_config(almost, tmp_path).broker_url == ""
