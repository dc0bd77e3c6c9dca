"""Has a file changed? Asked of the file system, at the price of one `stat` per file, without reading anything.

Whatever path leads to a file is followed to its end, so it makes no difference whether a file is written to, replaced
by renaming another, or exchanged by turning a link somewhere on the way (as Kubernetes does with `..data`).
"""

import os
from pathlib import Path
from typing import Final, TypeAlias

Mark: TypeAlias = tuple[int, ...]
"""What a file looked like: equal marks, taken at different times, mean that it has not been touched in between."""

YAML_SUFFIXES: Final = (".yaml", ".yml")

MAX_ENTRIES: Final = 4096
"""Most names, of whatever kind, that a directory of configuration files may have."""


class TooManyEntries(Exception):
    """A directory has more names than anybody keeps configuration in."""


def mark(path: Path) -> Mark:
    """What a file looks like now; why it cannot be seen, if it cannot."""
    try:
        found = path.stat()
    except OSError as error:
        return (error.errno or -1,)
    except ValueError:  # no file can have such a name
        return (-1,)
    # The time of the last change of any kind, which nobody can set back, tells of permissions and owners as well.
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def size_bytes(one: Mark) -> int:
    """How long the file was; 0 if it could not be seen."""
    return one[2] if len(one) > 1 else 0


def yaml_files(directory: Path) -> tuple[Path, ...]:
    """The YAML files of a directory, in the order of their names; none of those below it.

    What begins with a dot is left out, and so is what ends in anything else: both are how editors and package managers
    name what is not, or not yet, meant.

    Source: Pelican `config/config.go:handleContinuedCfg`, pull request 3406.

    Raises:
        OSError: It is none, or this user may not list it.
        TooManyEntries: It has more than `MAX_ENTRIES`.
    """
    found = []
    with os.scandir(directory) as entries:
        for number, entry in enumerate(entries, start=1):
            if number > MAX_ENTRIES:
                raise TooManyEntries
            if entry.name.lower().endswith(YAML_SUFFIXES) and not entry.name.startswith(".") and not entry.is_dir():
                found.append(entry.name)
    return tuple(directory / name for name in sorted(found))
