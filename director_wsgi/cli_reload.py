"""`director-wsgi reload`: have the running director look at its configuration now, and hear what its workers run.

Nothing is sent to a process: the question lies in the store that the workers share, and so do the answers. So it has
to be asked by the user whose director it is.
"""

import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from director_wsgi.federation.replica import WORKER
from director_wsgi.federation.store.errors import StoreError
from director_wsgi.federation.store.files import bus_path
from director_wsgi.federation.store.records import Put, Record, Store
from director_wsgi.federation.store.sqlite import SqliteStore
from director_wsgi.limits.deadline import Clock, Deadline, WallClock, monotonic, wall
from director_wsgi.reload_records import CONFIGURATION, LOOK, LOOKED, RUNNING, Running, decode
from director_wsgi.reloading import ANSWER_S
from director_wsgi.runtime import discovery
from director_wsgi.runtime.changes import differences
from director_wsgi.runtime.config import Config, partly_made
from director_wsgi.runtime.local_files import LocalFiles
from director_wsgi.runtime.sources import Sources

WAIT_S: Final = 20.0
"""How long workers may take to agree."""

POLL_S: Final = 0.05
_STORE_S: Final = 5.0
_HEADINGS: Final = ("WORKER", "CONFIGURATION", "GENERATION", "SINCE")


class ReloadError(Exception):
    """It cannot be done, or was not; the text says why."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One that is alive, and what it says it runs; None if it has not said so yet."""

    holder: str
    running: Running | None


def reloaded(
    environ: Mapping[str, str],
    cwd: Path,
    *,
    clock: Clock = monotonic,
    wall: WallClock = wall,
    pause: Callable[[float], object] | None = None,
) -> str:
    """Have the sources looked at, wait until all workers run what was found, and tell what that is.

    Raises:
        ConfigError: The configuration cannot be used, so that it is not known where the director's state lies.
        ReloadError: Nothing was put in force: nobody runs, it is wrong, or not all workers could.
    """
    store = _opened(environ, cwd, clock, wall)
    try:
        return _reloaded(store, Deadline.after(WAIT_S, clock), wall, pause or threading.Event().wait)
    except StoreError as error:
        raise ReloadError(f"what the workers share cannot be used: {error}") from None
    finally:
        store.close()


def checked(environ: Mapping[str, str], cwd: Path, *, clock: Clock = monotonic, wall: WallClock = wall) -> str:
    """Tell what a reload would do, by the sources and the environment as they are here.

    Raises:
        ConfigError: The configuration is wrong.
        ReloadError: Nobody runs.
    """
    wanted = Sources(cwd, clock=clock).read(environ).get()
    store = _opened(environ, cwd, clock, wall)
    try:
        workers, record = _workers(store, wall), store.get(CONFIGURATION, "")
    except StoreError as error:
        raise ReloadError(f"what the workers share cannot be used: {error}") from None
    finally:
        store.close()
    if not workers or record is None:
        raise ReloadError(_nobody())
    running = _published(record, environ, cwd)
    found = differences(running, _completed(wanted, running))
    lines = []
    if found.live:
        lines += ["A reload would change:", *(f"  {change}" for change in found.live)]
    if found.pending:
        lines += ["Only the next start, or SIGHUP, would change:", *(f"  {change}" for change in found.pending)]
    lines = lines or ["Nothing would change."]
    waiting = sorted({name for one in workers if one.running is not None for name in one.running.pending})
    if waiting:
        lines.append(f"Changed before, and waiting for the next start already: {', '.join(waiting)}")
    return "\n".join(lines)


def _published(record: Record, environ: Mapping[str, str], cwd: Path) -> Config:
    """What the workers run, or would if they were started now.

    Raises:
        ReloadError: It cannot be told.
    """
    try:
        reading = decode(record.body, environ, cwd).reading
    except ValueError as error:
        raise ReloadError(
            f"what runs cannot be compared; is the director of another version? It tells {error}"
        ) from None
    if reading.config is None:
        raise ReloadError(
            "what runs cannot be compared, for it could not be started now: " + "; ".join(reading.problems)
        )
    return reading.config


def _completed(wanted: Config, running: Config) -> Config:
    """With what is left to the discovery URL as it was told to those who run: nobody is asked now."""
    told = {name: getattr(running, name) for name in discovery.missing(wanted)}
    return replace(wanted, **told)


def _reloaded(store: Store, deadline: Deadline, wall: WallClock, pause: Callable[[float], object]) -> str:
    if not _workers(store, wall):
        raise ReloadError(_nobody())
    key = secrets.token_hex(8)
    question = Put(kind=LOOK, key=key, body=b"", expires_at=wall() + ANSWER_S, granted_s=ANSWER_S)
    store.put((question,), deadline)
    answer: Running | None = None
    while not deadline.has_passed():
        record = store.get(LOOKED, key)
        if record is not None:
            answer = _running(record)
        if record is not None and answer is not None:
            if answer.rejected:
                raise ReloadError("it is wrong, and the one before stays in force:\n  " + "\n  ".join(answer.rejected))
            workers = _workers(store, wall)
            if all(one.running is not None and one.running.hash == answer.hash for one in workers):
                return _table(workers, answer)
        pause(POLL_S)
    if answer is None:
        raise ReloadError(f"no worker has answered within {WAIT_S:.0f} s; does the director respond at /livez?")
    raise ReloadError("not all workers run the same yet:\n" + _table(_workers(store, wall), answer))


def _opened(environ: Mapping[str, str], cwd: Path, clock: Clock, wall: WallClock) -> SqliteStore:
    settings = LocalFiles(cwd).read(environ).settings
    # What else is wrong is for the director to say.
    config = partly_made(settings, environ, cwd, {"config_base", "state_location"})
    if config.state_location is None:
        raise ReloadError(
            "Director.StateLocation is :memory:, so that there is no way to ask the director. It looks at its "
            "configuration every second by itself; its log says what it finds"
        )
    return SqliteStore(bus_path(config.state_location), clock=clock, wall=wall)


def _nobody() -> str:
    return (
        "no director runs with the state that Director.StateLocation names, as this user. Is this the configuration "
        "that it was started with, and the user it runs as?"
    )


def _workers(store: Store, wall: WallClock) -> list[Worker]:
    now = wall()
    records = [record for record in store.changes(0).records if record.remaining_s(now) > 0]
    told = {record.key: _running(record) for record in records if record.kind == RUNNING}
    alive = sorted(record.key for record in records if record.kind == WORKER)
    return [Worker(holder, told.get(holder)) for holder in alive]


def _running(record: Record) -> Running | None:
    try:
        return Running.decode(record.body)
    except ValueError:  # of another version, while one takes the other's place
        return None


def _table(workers: list[Worker], answer: Running) -> str:
    rows = [_HEADINGS, *(_row(worker) for worker in workers)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if answer.pending:
        lines.append(f"Changed, and in force only after the next start or SIGHUP: {', '.join(answer.pending)}")
    return "\n".join(lines)


def _row(worker: Worker) -> tuple[str, ...]:
    process = worker.holder.partition("-")[0]
    if worker.running is None:
        return process, "not told yet", "", ""
    running = worker.running
    since = datetime.fromtimestamp(running.since, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    why_not = f" ({'; '.join(running.rejected)})" if running.rejected else ""
    return process, running.hash[:12], str(running.generation), since + why_not
