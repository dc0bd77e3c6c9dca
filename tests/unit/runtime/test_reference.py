"""The table, for people to read."""

from pathlib import Path

import pytest

from director_wsgi.runtime.config import Config
from director_wsgi.runtime.parameters import PARAMETERS
from director_wsgi.runtime.reference import markdown, values

DOCS = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_documentation_is_what_the_program_prints() -> None:
    """If this fails: keep the text above the marker, and put the output of `director-wsgi params` below it."""
    _, marker, printed = DOCS.read_text().partition("<!-- What follows is printed by `director-wsgi params`. -->\n\n")
    assert marker
    assert printed == markdown()


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda one: one.row.name)
def test_every_parameter_is_in_the_table_once(parameter: object) -> None:
    assert markdown().count(f"\n| `{parameter.row.name}`") == 1  # type: ignore[attr-defined]


def test_the_table_does_not_depend_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    before = markdown()
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    monkeypatch.setenv("HOME", "/elsewhere")
    assert markdown() == before


def test_values_say_where_they_come_from() -> None:
    config = Config(registry_url="https://r", hostname="d", sources={"registry_url": "pelican.yaml:2"})
    lines = list(values(config))
    assert "Federation.RegistryUrl = https://r  # pelican.yaml:2" in lines
    assert "Server.ExternalWebUrl = https://d:8444  # derived" in lines
    assert "Director.StatTimeout = 2s  # default" in lines
    assert len(lines) == len(PARAMETERS)
