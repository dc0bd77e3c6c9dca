"""What workers, and an operator, tell each other of configurations, through the store that they share.

Bodies come from processes of this user, perhaps of another version; whoever decodes them is told if they are nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from director_wsgi.errors import ConfigError
from director_wsgi.runtime.config import load_settings
from director_wsgi.runtime.reading import Reading
from director_wsgi.runtime.yaml_file import Setting

CONFIGURATION: Final = "configuration"
"""The kind under which what was read is published."""

RUNNING: Final = "running"
"""The kind under which each worker tells what it runs, by holder."""

LOOK: Final = "look"
"""The kind under which an operator asks for a look at the sources, now; the key is any text."""

LOOKED: Final = "looked"
"""The kind under which the worker that looks answers, under the same key."""

PASSING: Final = frozenset({CONFIGURATION, RUNNING, LOOK, LOOKED})
"""What is not to be kept on disk: after a reboot only the sources know what holds, and secrets are among it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What one worker runs.

    Attributes:
        hash: Of the configuration.
        generation: The number of what was made for it, in this worker.
        since: When it was put in force, in Unix seconds.
        pending: Parameters that were changed and wait for the next start.
        rejected: Why what was read last is not in force; empty if it is.
    """

    hash: str
    generation: int
    since: float
    pending: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """As it is published."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, body: bytes) -> "Running":
        """What is in a body.

        Raises:
            ValueError: Nothing that a worker tells.
        """
        try:
            told: Any = json.loads(body)
            return cls(
                hash=str(told["hash"]),
                generation=int(told["generation"]),
                since=float(told["since"]),
                pending=tuple(map(str, told["pending"])),
                rejected=tuple(map(str, told["rejected"])),
            )
        except (LookupError, TypeError, RecursionError, OverflowError, ValueError) as error:
            raise ValueError("nothing that a worker tells of its configuration") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A reading, and when it was made.

    Attributes:
        reading: What the sources said.
        read_at: On the monotonic clock, which all processes of a machine share until its next boot.
    """

    reading: Reading
    read_at: float

    def encode(self) -> bytes:
        """As it is published."""
        settings = [asdict(setting) for setting in self.reading.settings.values()]
        told = {"hash": self.reading.hash, "boot": _boot(), "readAt": self.read_at, "settings": settings}
        return json.dumps(told).encode()

    def again(self, environ: Mapping[str, str], cwd: Path) -> "Read":
        """The same settings, judged anew: a file that they name may be there by now."""
        return replace(self, reading=_judged(self.reading.settings, self.reading.hash, environ, cwd))


def decode(body: bytes, environ: Mapping[str, str], cwd: Path) -> Read:
    """What another worker has published.

    Args:
        body: As `Read.encode` makes it.
        environ: The environment, where no parameter is looked for.
        cwd: What relative names of files start from.

    Returns:
        The reading; with problems instead of a configuration, if a file that it names is not there any more.

    Raises:
        ValueError: It is nothing of the kind, or was published before this machine was booted, so that nobody can say
            whether it is newer than anything else.
    """
    try:
        told: Any = json.loads(body)
        settings = {
            one["name"].lower(): Setting(name=one["name"], value=one["value"], source=str(one["source"]))
            for one in told["settings"]
        }
        digest, boot, read_at = str(told["hash"]), str(told["boot"]), float(told["readAt"])
    except (LookupError, TypeError, AttributeError, RecursionError, ValueError) as error:
        raise ValueError("no configuration") from error
    if boot != _boot():
        raise ValueError("a configuration of the time before the last boot")
    return Read(reading=_judged(settings, digest, environ, cwd), read_at=read_at)


def _judged(settings: Mapping[str, Setting], digest: str, environ: Mapping[str, str], cwd: Path) -> Reading:
    try:
        return Reading(settings=settings, config=load_settings(settings, environ, cwd), hash=digest)
    except ConfigError as error:
        return Reading(settings=settings, problems=error.problems, hash=digest)


@cache
def _boot() -> str:
    """By which one boot of this machine is known; empty if the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
