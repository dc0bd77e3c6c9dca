"""The last good configuration, on disk: for the next master, which does not inherit the memory of this one.

It serves two cases, and no cold start with a broken file. A master that takes over from another (USR2) is told where
the copy lies by the one before, and by nobody else; and what the federation's discovery URL told is remembered for a
start while the host there is away.

The file holds what was set for the parameters of the table, as it was written, and nothing else of the environment. It
is ours alone: only its owner may read it, and one that others could have written is not believed.
"""

import json
import os
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from director_wsgi.runtime import private_file
from director_wsgi.runtime.discovery import Document
from director_wsgi.runtime.yaml_file import Setting

NAME: Final = "last-good.json"
"""The file, in the directory of the state."""

HANDED_ON: Final = "DIRECTOR_WSGI_LAST_GOOD"
"""The environment variable by which a master tells the next: the process it is meant for, and where the copy lies."""

_VERSION = 1
_MAX_BYTES = 8 << 20  # files may have 1 MiB, and so may what is fetched; escaped, it is up to three times as long


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """What is kept.

    Attributes:
        settings: As `config.load_settings` takes them.
        told: The discovery URL that was asked, and what it told; None if nobody was asked.
    """

    settings: Mapping[str, Setting]
    told: tuple[str, Document] | None


def write(directory: Path, copy: Copy) -> Path:
    """Keep a copy, whole or not at all, in the place of the one before.

    Args:
        directory: That of the state; made if there is none.
        copy: What to keep.

    Returns:
        Where it lies.

    Raises:
        OSError: It cannot be kept. The one before stays.
    """
    return private_file.write(directory, NAME, json.dumps(_to_json(copy)))


def read(path: Path) -> Copy | None:
    """The copy that lies there; None if there is none, others could have written it, or it is not one of ours."""
    text = private_file.read(path, _MAX_BYTES)
    if text is None:
        return None
    try:
        return _from_json(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def hand_on(path: Path | None, environ: MutableMapping[str, str]) -> None:
    """In the process that is about to become the new master by `exec`, and keeps its number: tell it of the copy.

    Args:
        path: Where the copy lies; None if there is none.
        environ: The environment that it will have.
    """
    environ.pop(HANDED_ON, None)
    if path is not None:
        environ[HANDED_ON] = f"{os.getpid()}:{path}"


def handed_on(environ: MutableMapping[str, str]) -> Copy | None:
    """The copy that the master before has told this process of; taken out of the environment.

    None at a cold start, whatever the environment says: the number in it is that of another process.
    """
    process, _, path = environ.pop(HANDED_ON, "").partition(":")
    return read(Path(path)) if process == str(os.getpid()) else None


def _to_json(copy: Copy) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "settings": [asdict(setting) for setting in copy.settings.values()],
        "told": None if copy.told is None else {"url": copy.told[0], "document": asdict(copy.told[1])},
    }


def _from_json(kept: Any) -> Copy | None:
    """Raises ValueError, KeyError, TypeError or AttributeError if it is not as `_to_json` makes it."""
    if kept["version"] != _VERSION:
        return None
    settings = [
        Setting(name=_text(one["name"]), value=one["value"], source=_text(one["source"])) for one in kept["settings"]
    ]
    told = kept["told"]
    return Copy(
        settings={setting.name.lower(): setting for setting in settings},
        told=None
        if told is None
        else (_text(told["url"]), Document(**{name: _text(value) for name, value in told["document"].items()})),
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise TypeError(value)
