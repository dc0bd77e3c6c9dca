"""What a new configuration changes, and what it leaves for the next start."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from director_wsgi.errors import ConfigError
from director_wsgi.runtime import changes
from director_wsgi.runtime.changes import Change, differences, held
from director_wsgi.runtime.config import Config, load_settings
from director_wsgi.runtime.parameters import PARAMETERS
from director_wsgi.runtime.reading import Reading
from director_wsgi.runtime.rows import MASKED
from director_wsgi.runtime.sources import Sources
from director_wsgi.runtime.yaml_file import Setting

pytestmark = pytest.mark.unit


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Reading]:
    def reading(text: str) -> Reading:
        (tmp_path / "pelican.yaml").write_text(text)
        base = {"PELICAN_FEDERATION_REGISTRYURL": "https://r.example.org", "PELICAN_CONFIGBASE": str(tmp_path)}
        return Sources(tmp_path).read(base)

    return reading


Read = Callable[[str], Reading]


def test_each_is_told_apart_with_both_values_and_the_source(read: Read) -> None:
    old = read("Director: {StatTimeout: 2s, Threads: 8, FilteredServers: [A]}").get()
    new = read("Director:\n  StatTimeout: 1500ms\n  Threads: 9").get()
    found = differences(old, new)
    assert found.live == (
        Change("Director.StatTimeout", "2s", "1.5s", "pelican.yaml:2"),
        Change("Director.FilteredServers", "A", "", ""),
    )
    assert found.pending == (Change("Director.Threads", "8", "9", "pelican.yaml:3"),)
    assert [str(one) for one in found.live] == [
        "Director.StatTimeout = 1.5s, was 2s (pelican.yaml:2)",
        "Director.FilteredServers = none, was A",
    ]


def test_the_same_has_none(read: Read) -> None:
    found = differences(read("Director: {Threads: 8}").get(), read("# \nDirector: {Threads: 8}").get())
    assert found == differences(Config(registry_url="a"), Config(registry_url="a"))
    assert (found.live, found.pending) == ((), ())


def test_a_secret_is_not_shown(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tuple(
        dataclasses.replace(one, row=dataclasses.replace(one.row, secret=one.attribute == "ranking_seed"))
        for one in PARAMETERS
    )
    monkeypatch.setattr(changes, "PARAMETERS", secret)
    old, new = read("Director: {RankingSeed: hush}").get(), read("Director: {RankingSeed: hushhush}").get()
    (change,) = differences(old, new).live
    assert (change.old, change.new) == (MASKED, MASKED)
    assert "hush" not in str(differences(Config(registry_url=old.registry_url), old))


class TestHeld:
    """What takes a restart stays as it was, and with it what follows from it."""

    def test_what_may_change_does_and_the_rest_stays(self, read: Read, tmp_path: Path) -> None:
        old = read("Director: {StatTimeout: 2s, Threads: 8, MaxServers: 5}")
        new = read("Director: {StatTimeout: 3s, Threads: 9, HealthTestThreads: 7}")
        config = load_settings(held(new.settings, old.settings), {}, tmp_path)
        assert (config.stat_timeout_s, config.threads, config.max_servers) == (3.0, 8, 5)
        assert config.health_test_threads == old.get().health_test_threads

    def test_what_is_derived_follows_what_stays(self, read: Read, tmp_path: Path) -> None:
        old = read("Server: {ExternalWebUrl: https://old.example.org}")
        new = read("Server: {ExternalWebUrl: https://new.example.org}\nDirector: {StatTimeout: 3s}")
        config = load_settings(held(new.settings, old.settings), {}, tmp_path)
        assert config.web_url == config.advertise_url == config.director_url == "https://old.example.org"
        assert config.jwk_url == "https://old.example.org/.well-known/issuer.jwks"

    def test_what_does_not_go_with_what_stays_is_said(self, read: Read, tmp_path: Path) -> None:
        old = read("Director: {GracefulTimeout: 5s}")
        new = read("Director: {GracefulTimeout: 50s, RedirectDeadline: 20s}")
        with pytest.raises(ConfigError, match=r"GracefulTimeout = 5s: expected at least Director\.RedirectDeadline"):
            load_settings(held(new.settings, old.settings), {}, tmp_path)

    def test_a_former_name_stays_as_well(self, read: Read) -> None:
        former = {one.row.formerly.lower() for one in PARAMETERS if one.row.formerly and not one.row.live}
        assert former == {"server.tlscertificate"}
        new = {"server.tlscertificate": Setting("Server.TLSCertificate", "new.crt", "pelican.yaml:1")}
        assert "server.tlscertificate" not in held(new, read("{}").settings)
