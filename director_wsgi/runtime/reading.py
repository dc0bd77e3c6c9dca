"""What all sources of the configuration said at one time."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Self

from director_wsgi.errors import ConfigError
from director_wsgi.runtime import discovery
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.parameters import PARAMETERS
from director_wsgi.runtime.remote import Document
from director_wsgi.runtime.yaml_file import Setting

_MAX_FILE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What all sources said at one time: a configuration, or what is wrong.

    Attributes:
        settings: What was set for the rows of the table, by lower-case name, from whichever source won, the
            environment included. `config.load_settings` makes the same configuration of them anywhere on this machine.
        config: What they come to; None if something is wrong.
        problems: What is wrong, a sentence each with row, value and source; empty if `config` is there.
        hash: The same for the same configuration, another for another; empty if there is none.
        document: What `Director.ConfigUrl` said, if it is set.
    """

    settings: Mapping[str, Setting] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    config: Config | None = None
    problems: tuple[str, ...] = ()
    hash: str = ""
    document: Document | None = None

    @classmethod
    def of(cls, config: Config, settings: Mapping[str, Setting], document: Document | None = None) -> Self:
        """A good one.

        Args:
            config: Complete: what `runtime.discovery` found out is put into the settings, so that nobody who gets
                them needs to ask again.
            settings: What `config` was made of.
            document: As in the attribute.
        """
        source = discovery.url_of(config)
        told = {
            one.row.name.lower(): Setting(one.row.name, getattr(config, one.attribute), source)
            for one in PARAMETERS
            if config.sources.get(one.attribute) == source
        }
        every = MappingProxyType({**settings, **told})
        return cls(settings=every, config=config, hash=hash_of(every, config), document=document)

    def completed(self, config: Config) -> "Reading":
        """The same with `config`, which is its own, completed by `runtime.discovery`."""
        return self.of(config, self.settings, self.document)

    def get(self) -> Config:
        """The configuration.

        Raises:
            ConfigError: With all that is wrong.
        """
        if self.config is None:
            raise ConfigError(self.problems)
        return self.config

    def is_as(self, other: "Reading | None") -> bool:
        """Whether the other comes to the same, or has the same problems."""
        return other is not None and (self.hash, self.problems) == (other.hash, other.problems)


def hash_of(settings: Mapping[str, Setting], config: Config) -> str:
    """A digest of what settings come to: of names and values, not of where they stand.

    Files whose content counts (`Row.by_content`) are read for it.
    """
    values = sorted((name, setting.value) for name, setting in settings.items())
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for one in PARAMETERS:
        path: Path | None = getattr(config, one.attribute) if one.row.by_content else None
        if path is not None:
            digest.update(f"\n{one.row.name}:{digest_of_file(path)}".encode())
    return digest.hexdigest()


def digest_of_file(path: Path) -> str:
    """Of its content; a word if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.sha256(file.read(_MAX_FILE_BYTES)).hexdigest()
    except OSError:
        return "unreadable"
