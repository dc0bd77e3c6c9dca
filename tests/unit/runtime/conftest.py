"""Configurations of one file and some variables."""

from collections.abc import Callable
from pathlib import Path

import pytest

from director_wsgi.errors import ConfigError
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.sources import load


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., Config]:
    """Load a file's text, and variables, below an empty directory; the registry is given."""

    def load_them(text: str = "", **variables: str) -> Config:
        (tmp_path / "pelican.yaml").write_text(text)
        base = {
            "PELICAN_FEDERATION_REGISTRYURL": "https://registry.example.org",
            "PELICAN_CONFIGBASE": str(tmp_path / "base"),
        }
        return load({**base, **variables}, tmp_path)

    return load_them


@pytest.fixture
def problems(loaded: Callable[..., Config]) -> Callable[..., tuple[str, ...]]:
    def fail(text: str = "", **variables: str) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            loaded(text, **variables)
        return caught.value.problems

    return fail
