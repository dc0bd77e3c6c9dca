"""What is settled when the director starts, and must outlive its workers.

gunicorn's master runs the settings file again on every HUP and forks every worker, so what stands in the master's
memory survives both: the last configuration that was good, what the federation's discovery URL told, and the address
that was bound. What must also survive the master itself (USR2 lets a new one take over by `exec`) stands in its
environment: the instant of the first start, and where a copy of the last good configuration lies (`last_good`).

The master alone reads the configuration, at the start and on HUP, and every worker works by what the master has read.
So all are of one mind, and a file that is being edited is nothing to the replacement of a worker that died.

A *first* start refuses a broken configuration. After it nothing does: one broken file would otherwise end a service
that runs well.
"""

import logging
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from director_wsgi.errors import ConfigError
from director_wsgi.limits.deadline import Clock, monotonic
from director_wsgi.runtime import discovery, last_good
from director_wsgi.runtime.changes import held
from director_wsgi.runtime.config import Config, load_settings
from director_wsgi.runtime.sources import TRIES, Reading, Sources
from director_wsgi.runtime.yaml_file import Setting

FIRST_START = "DIRECTOR_WSGI_FIRST_START"
"""The environment variable that holds the instant of the first start, in seconds of the monotonic clock."""

CANNOT_LOAD = 4
"""The exit status of a worker that gunicorn takes as "stop, starting another would not help"."""

_logger = logging.getLogger(__name__)


@dataclass
class _Memory:
    """What a forked worker inherits. Written by the main thread of a process only."""

    last_good: Config | None = None
    reading: Reading | None = None
    """What `last_good` was made of."""
    read_at: float = 0.0
    """When that was read, on the monotonic clock."""
    sources: Sources | None = None
    copy: Path | None = None
    """Where it lies on disk."""
    complaint: str = ""
    is_settled: bool = False
    """Whether the configuration that was read last is in force already."""
    told: tuple[str, discovery.Document] | None = None
    """The discovery URL last asked with success, and what it told."""
    address: str | None = None
    threads: int | None = None
    workers: int = 0
    """How many have been forked, this one included."""
    workers_before: int = 0
    """How many had been when the settings were last loaded."""


_memory = _Memory()


def load_config(environ: MutableMapping[str, str], directory: Path) -> Config:
    """The configuration as it is now; after a first good one, the last good one if it is broken now.

    For the master: what is left to the federation's discovery URL is asked there, patiently at a first start, and
    once at a later one.

    Args:
        environ: The environment variables to read.
        directory: Where `pelican.yaml` is looked for.

    Raises:
        ConfigError: It is broken, and none has been good before, in this process or in the master that it succeeds.
    """
    _memory.workers_before = _memory.workers
    _memory.is_settled = False
    before = last_good.handed_on(environ)
    if before is not None:
        _memory.told = before.told
    _memory.complaint = ""
    try:
        is_cold = before is None and _memory.last_good is None
        reading = _read(environ, directory, tries=TRIES if is_cold else 1)
        reading = reading.completed(_ask(reading.get(), is_cold=is_cold))
    except ConfigError as error:
        kept = _kept(before, environ, directory)
        if kept is None:
            raise
        _logger.error("The configuration is wrong; the last good one stays in force: %s", "; ".join(error.problems))  # noqa: TRY400, the trace says nothing more
    except Exception:
        # A cold start shows a defect as it is. Later nothing here may end a service that runs: see the module.
        kept = _kept(before, environ, directory)
        if kept is None:
            raise
        _logger.exception("The configuration cannot be read; the last good one stays in force")
    else:
        _memory.last_good, _memory.reading, _memory.read_at = reading.config, reading, monotonic()
        return reading.get()
    _memory.complaint = "The configuration is wrong; the last good one is in force. The log says what is wrong"
    return kept


def _read(environ: Mapping[str, str], directory: Path, *, tries: int) -> Reading:
    found = sources(directory)
    try:
        reading = found.read(environ, tries=tries)
    finally:
        found.rest()  # workers are forked
    if found.remote_problem:
        _memory.complaint = "Director.ConfigUrl does not answer; what it said before is in force"
    return reading


def sources(directory: Path) -> Sources:
    """Where this process reads its configuration; in a worker, a copy of its master's, which knows what that has seen.

    Args:
        directory: As for `load_config`; that of the first call counts.
    """
    if _memory.sources is None:
        _memory.sources = Sources(directory)
    return _memory.sources


def reading() -> Reading | None:
    """What the configuration in force was read from, by the master; None if there is none yet."""
    return _memory.reading


def read_at() -> float:
    """When `reading` was made, on the monotonic clock, which all processes of a machine share."""
    return _memory.read_at


def complete(config: Config) -> Config:
    """What a configuration leaves to the discovery URL, filled in: as it was told, if it is the one asked before.

    For whoever watches the sources. Another URL is asked, once, for `discovery.ASK_S` at most.

    Raises:
        ConfigError: It does not tell what the director cannot do without.
    """
    if not discovery.missing(config):
        return config
    known = _known(config)
    if known is not None:
        return discovery.completed(config, known)
    try:
        told = discovery.ask(config, tries=1)
    except discovery.DiscoveryFailed as error:
        return discovery.completed_without(config, str(error))
    found = discovery.completed(config, told)
    _memory.told = config.discovery_url, told
    return found


def _kept(before: last_good.Copy | None, environ: Mapping[str, str], directory: Path) -> Config | None:
    """The last good configuration: in memory, or on disk if workers have read a later one, or the last master's.

    None if there is none.
    """
    copy = before if _memory.last_good is None else _copy_of_workers()
    if copy is not None:
        try:
            config = _remember(load_settings(copy.settings, environ, directory))
        except ConfigError as error:
            _logger.error("The last good configuration is wrong by now: %s", "; ".join(error.problems))  # noqa: TRY400, the trace says nothing more
        else:
            _memory.last_good, _memory.reading = config, Reading.of(config, copy.settings)
            _memory.read_at = monotonic()
    return _memory.last_good


def _copy_of_workers() -> last_good.Copy | None:
    """The copy on disk, if it is not what this master has put there."""
    found = None if _memory.copy is None else last_good.read(_memory.copy)
    if found is None or _memory.reading is None or found.settings == dict(_memory.reading.settings):
        return None
    return found


def settle(environ: MutableMapping[str, str], directory: Path, *, is_kept: bool = True) -> None:
    """Put in force, in the master, what gunicorn has just read, at the start or after HUP; the arguments are as above.

    Settings that were named as a module (`-c python:…`) are not run again by gunicorn; the configuration is read here
    then. A copy of what is in force is kept for the next master; that it cannot be written ends nothing.

    Args:
        environ: As for `load_config`.
        directory: As for `load_config`.
        is_kept: Whether to write the copy.
    """
    if _memory.is_settled:
        load_config(environ, directory)
    _memory.is_settled = True
    config = _memory.last_good
    if config is None or config.state_location is None or not is_kept:
        return
    try:
        if _memory.reading is not None:
            keep(_memory.reading, directory)
    except OSError as error:
        _logger.warning("No copy of the configuration can be kept in %s: %s", config.state_location, error.strerror)


def keep(reading: Reading, directory: Path) -> None:
    """Keep a copy of a reading that is in force, for the next master and for starts while its sources are away.

    In the master, or in a worker that has put in force what the master has not read.

    Args:
        reading: A good one.
        directory: As for `load_config`.

    Raises:
        OSError: It cannot be kept. The one before stays.
    """
    place = reading.get().state_location
    if place is not None:
        copy = last_good.Copy(settings=reading.settings, told=_memory.told)
        _memory.copy = last_good.write(place, copy)
        sources(directory).keep(reading)


def hand_on(environ: MutableMapping[str, str]) -> None:
    """In the process that is about to become the new master by `exec`: tell it what must outlive this one.

    Args:
        environ: The environment that it will have.
    """
    last_good.hand_on(_memory.copy, environ)


def shares_state() -> bool:
    """Whether workers have a state to share, by the configuration in force."""
    return _memory.last_good is not None and _memory.last_good.state_location is not None


def complaint() -> str:
    """What is wrong with the configuration that was read last, in a sentence for operators; empty if nothing is."""
    return _memory.complaint


def _ask(config: Config, *, is_cold: bool) -> Config:
    if not discovery.missing(config):
        return config
    if is_cold and _known(config) is None:
        _memory.told = _told_to_an_earlier_start(config)
    known = _known(config)
    try:
        told = discovery.ask(config, tries=discovery.TRIES if is_cold and known is None else 1)
    except discovery.DiscoveryFailed as error:
        # At a cold start only a host that is away is made up for, not one that says something else by now.
        if known is None or (is_cold and error.is_final):
            return discovery.completed_without(config, str(error))
        _logger.warning("%s: %s; what it told before stays in force", discovery.url_of(config), error)
        _memory.complaint = "Federation.DiscoveryUrl does not answer; what it told before is in force"
        return discovery.completed(config, known)
    config = discovery.completed(config, told)
    _memory.told = config.discovery_url, told
    return config


def _told_to_an_earlier_start(config: Config) -> tuple[str, discovery.Document] | None:
    """What the discovery URL told a director whose state this one has; so the host there may be away for a restart."""
    kept = last_good.read(config.state_location / last_good.NAME) if config.state_location is not None else None
    return kept.told if kept is not None else None


def _remember(config: Config) -> Config:
    """What is left to the discovery URL, as it has been heard."""
    if not discovery.missing(config):
        return config
    known = _known(config)
    if known is None:
        return discovery.completed_without(config, "nobody is asked now; the next reload (SIGHUP) does")
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
    """Whether no worker has served before this one, so that a mistake may end the process: see the module.

    Of several that start together one is enough: what ends it ends all.
    """
    return _memory.workers <= 1


def speaks_for_all() -> bool:
    """Whether this worker is the first of those that a start or a reload brings: what all would say, it says."""
    return _memory.workers <= _memory.workers_before + 1


def use_threads(threads: int) -> None:
    """Say how many handler threads this worker really has, whichever of gunicorn's flags decided it."""
    _memory.threads = threads


def worker_config(environ: MutableMapping[str, str], directory: Path) -> Config:
    """The configuration a worker works by: that of its master, with the threads it really has.

    Without a master that has one it is read here, as by `load_config`, whose arguments these are.

    Raises:
        ConfigError: As `load_config`.
    """
    config = _memory.last_good or load_config(environ, directory)
    return config if _memory.threads is None else replace(config, threads=_memory.threads)


def later_configs(environ: Mapping[str, str], directory: Path) -> Iterator[Config]:
    """What a worker may start with instead, if a file that its master's configuration names is gone: the next is tried.

    First what workers have put in force since then, by the copy on disk; then what the sources say now. What takes a
    restart stays as the master has it. None for a first worker, with which a mistake is to show.

    Args:
        environ: As for `load_config`.
        directory: As for `load_config`.
    """
    mine = _memory.reading
    if mine is None or is_first_worker():
        return
    for settings_of in (_settings_of_workers, partial(_settings_now, environ, directory)):
        try:
            settings = held(settings_of(mine), mine.settings)
            config = load_settings(settings, environ, directory)
        except ConfigError:
            continue
        # As early as the master's: what is published has been read later, and counts.
        _memory.last_good, _memory.reading = config, Reading.of(config, settings)
        yield worker_config({}, directory)


def _settings_of_workers(mine: Reading) -> Mapping[str, Setting]:
    copy = _copy_of_workers()
    return mine.settings if copy is None else copy.settings


def _settings_now(environ: Mapping[str, str], directory: Path, _mine: Reading) -> Mapping[str, Setting]:
    found = sources(directory).read(environ)
    found.get()
    return found.settings


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
