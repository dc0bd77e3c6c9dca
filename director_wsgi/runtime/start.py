"""What is settled when the director starts, and must outlive its workers.

gunicorn's master runs the settings file again on every HUP and forks every worker, so what stands in the master's
memory survives both: the last configuration that was good, what the federation's discovery URL told, and the address
that was bound. What must also survive the master itself (USR2 lets a new one take over by `exec`) stands in its
environment: the instant of the first start.

A *first* start refuses a broken configuration. After it nothing does: one broken file, read by the replacement of one
worker, would otherwise end a service that runs well (gunicorn stops all workers when one cannot boot).
"""

import logging
import sys
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from director_wsgi.errors import ConfigError
from director_wsgi.limits.deadline import Clock, monotonic
from director_wsgi.runtime import discovery
from director_wsgi.runtime.config import Config, load

FIRST_START = "DIRECTOR_WSGI_FIRST_START"
"""The environment variable that holds the instant of the first start, in seconds of the monotonic clock."""

CANNOT_LOAD = 4
"""The exit status of a worker that gunicorn takes as "stop, starting another would not help"."""

_logger = logging.getLogger(__name__)


@dataclass
class _Memory:
    """What a forked worker inherits. Written by the main thread of a process only."""

    last_good: Config | None = None
    told: tuple[str, discovery.Document] | None = None
    """The discovery URL last asked with success, and what it told."""
    address: str | None = None
    threads: int | None = None
    workers: int = 0
    """How many have been forked, this one included."""


_memory = _Memory()


def load_config(environ: MutableMapping[str, str], directory: Path) -> Config:
    """The configuration as it is now; after a first good one, the last good one if it is broken now.

    For the master: what is left to the federation's discovery URL is asked there, patiently at a first start, and
    once at a later one.

    Args:
        environ: The environment variables to read.
        directory: Where `pelican.yaml` is looked for.

    Raises:
        ConfigError: It is broken, and none has been good before in this process or the one that forked it.
    """
    return _good(lambda: _ask(load(environ, directory)))


def _good(read: Callable[[], Config]) -> Config:
    try:
        _memory.last_good = read()
    except ConfigError as error:
        if _memory.last_good is None:
            raise
        _logger.error("The configuration is wrong; the last good one stays in force: %s", "; ".join(error.problems))  # noqa: TRY400, the trace says nothing more
    except Exception:
        # A cold start shows a defect as it is. Later nothing here may end a service that runs: see the module.
        if _memory.last_good is None:
            raise
        _logger.exception("The configuration cannot be read; the last good one stays in force")
    return _memory.last_good


def _ask(config: Config) -> Config:
    if not discovery.missing(config):
        return config
    try:
        told = discovery.ask(config, tries=discovery.TRIES if _memory.last_good is None else 1)
    except discovery.DiscoveryFailed as error:
        known = _known(config)
        if known is None:
            return discovery.completed_without(config, str(error))
        _logger.warning("%s: %s; what it told before stays in force", discovery.url_of(config), error)
        return discovery.completed(config, known)
    config = discovery.completed(config, told)
    _memory.told = config.discovery_url, told
    return config


def _remember(config: Config) -> Config:
    """What is left to the discovery URL as the master has heard it: a worker that asked would be late."""
    if not discovery.missing(config):
        return config
    known = _known(config)
    if known is None:
        return discovery.completed_without(config, "a worker asks nobody; the next reload (SIGHUP) does")
    return discovery.completed(config, known)


def _known(config: Config) -> discovery.Document | None:
    if _memory.told is None or _memory.told[0] != config.discovery_url:
        return None
    return _memory.told[1]


def is_prepared() -> bool:
    """Whether the director's settings for gunicorn have been loaded by this process or the one that forked it."""
    return _memory.last_good is not None


def address(config: Config) -> str:
    """`host:port` to listen at: that of the first start for as long as the master lives.

    gunicorn would close the old listener before it tries the new one, and end if it cannot have it.
    """
    host = f"[{config.web_host}]" if ":" in config.web_host else config.web_host
    wanted = f"{host}:{config.web_port}"
    if _memory.address is None:
        _memory.address = wanted
    elif _memory.address != wanted:
        _logger.warning("Still listening at %s: %s takes effect with a restart", _memory.address, wanted)
    return _memory.address


def count_worker() -> None:
    """Note, in the master, that a worker is about to be forked."""
    _memory.workers += 1


def is_first_worker() -> bool:
    """Whether no worker has served before this one, so that a mistake may end the process: see the module."""
    return _memory.workers <= 1


def use_threads(threads: int) -> None:
    """Say how many handler threads this worker really has, whichever of gunicorn's flags decided it."""
    _memory.threads = threads


def worker_config(environ: MutableMapping[str, str], directory: Path) -> Config:
    """The configuration a worker works by: as `load_config`, with the threads it really has. Asks nobody.

    Raises:
        ConfigError: As `load_config`.
    """
    config = _good(lambda: _remember(load(environ, directory)))
    return config if _memory.threads is None else replace(config, threads=_memory.threads)


def first_start_at(environ: MutableMapping[str, str], clock: Clock = monotonic) -> float:
    """The instant of the director's first start; the first call notes it in `environ`.

    On Linux the monotonic clock is one for all processes of a machine, so a worker may compare it with its own. A
    value that is not an instant of the past is replaced: it comes from elsewhere.
    """
    now = clock()
    try:
        noted = float(environ[FIRST_START])
    except (KeyError, ValueError):
        noted = -1.0
    if 0.0 <= noted <= now:
        return noted
    environ[FIRST_START] = repr(now)
    return now


def refuse(problems: tuple[str, ...], status: int = 1) -> NoReturn:
    """End the process with one message on standard error, a line for each of `problems`.

    Raises:
        SystemExit: Always.
    """
    sys.stderr.write("".join(f"director_wsgi: {problem}\n" for problem in problems))
    sys.stderr.flush()
    sys.exit(status)
