"""What a new configuration changes in a director that runs: at once, or with the next start."""

from collections.abc import Mapping
from dataclasses import dataclass

from director_wsgi.runtime.config import Config
from director_wsgi.runtime.parameters import PARAMETERS, Parameter
from director_wsgi.runtime.yaml_file import Setting


@dataclass(frozen=True, slots=True)
class Change:
    """One parameter whose value is another.

    Attributes:
        name: Pelican's.
        old: As an operator would write it; empty for nothing, `rows.MASKED` for a secret.
        new: The same.
        source: Where the new value comes from; empty for a default or what is derived.
    """

    name: str
    old: str
    new: str
    source: str

    def __str__(self) -> str:
        """`Director.StatTimeout = 3s, was 2s (pelican.yaml:4)`."""
        source = f" ({self.source})" if self.source else ""
        return f"{self.name} = {self.new or 'none'}, was {self.old or 'none'}{source}"


@dataclass(frozen=True, slots=True)
class Differences:
    """What is not the same in two configurations, in the order of the table.

    Attributes:
        live: What changes at once.
        pending: What takes a restart.
    """

    live: tuple[Change, ...]
    pending: tuple[Change, ...]


def differences(old: Config, new: Config) -> Differences:
    """What `new` changes; both as they were set, so `pending` is what differs from what is in force."""
    changed = [one for one in PARAMETERS if getattr(old, one.attribute) != getattr(new, one.attribute)]
    return Differences(
        live=tuple(_change(one, old, new) for one in changed if one.row.live),
        pending=tuple(_change(one, old, new) for one in changed if not one.row.live),
    )


def held(new: Mapping[str, Setting], running: Mapping[str, Setting]) -> dict[str, Setting]:
    """`new`, but with what takes a restart as it was set when the director was started.

    To be made a configuration by `config.load_settings`, not mixed from two: what is derived then fits, and a relation
    between a parameter that changes and one that does not is found broken.

    Args:
        new: Settings of a reading.
        running: Those that the running director was started with.
    """
    kept = {name.lower() for one in PARAMETERS if not one.row.live for name in (one.row.name, one.row.formerly)}
    settings = {name: setting for name, setting in new.items() if name not in kept}
    return settings | {name: setting for name, setting in running.items() if name in kept}


def _change(one: Parameter, old: Config, new: Config) -> Change:
    before, after = (one.row.shown(getattr(config, one.attribute)) for config in (old, new))
    return Change(one.row.name, before, after, new.sources.get(one.attribute, ""))
