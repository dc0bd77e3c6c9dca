"""How the workers of a host come to run one configuration, and the same.

The worker that holds the host's lease looks at the sources. What it finds new it puts in force itself first, and
publishes only what it runs by then; all others follow. A worker that is started later begins with what the master has
read, and takes over what was published if that was read later.

Only parameters that may change while the director runs are taken over. The others keep their values until the next
start, and are told as pending.
"""

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

from director_wsgi.errors import ConfigError
from director_wsgi.federation.replica import HOST
from director_wsgi.federation.store.records import Record, Renewal
from director_wsgi.limits.deadline import Clock, Deadline, WallClock
from director_wsgi.runtime.changes import differences, held
from director_wsgi.runtime.config import Config, load_settings
from director_wsgi.runtime.parameters import PARAMETERS
from director_wsgi.runtime.periodic import PeriodicJob
from director_wsgi.runtime.reading import Reading
from director_wsgi.runtime.sources import Complete
from director_wsgi.runtime.yaml_file import Setting

log = logging.getLogger(__name__)

CONFIGURATION: Final = "configuration"
"""The kind under which what was read is published."""

RUNNING: Final = "running"
"""The kind under which each worker tells what it runs, by holder."""

LOOK: Final = "look"
"""The kind under which an operator asks for a look at the sources, now; the key is any text."""

LOOKED: Final = "looked"
"""The kind under which the worker that looks answers, under the same key."""

ANSWER_S: Final = 60.0
"""How long question and answer hold."""

ANSWER_AFTER: Final = 4
"""Looks before the answer: what is new is believed when two have found the same, and then it may be fetched from."""

HASTY_S: Final = 0.15
"""Between those."""

LOOK_S: Final = 1.0
"""How often the sources are looked at."""

LOOK_WITHIN_S: Final = 10.0
"""How long a look may take."""

RETRY_S: Final = 5.0
"""How long after a failure the same configuration is tried again: a file that it names may be there by then."""

TELL_S: Final = 10.0
"""How often a worker tells what it runs, though nothing has changed."""

TOLD_S: Final = 30.0
"""How long that may be believed."""

PUBLISHED_S: Final = 30 * 86_400.0
"""How long a configuration waits for workers that are started; it is published anew every `PUBLISH_S`."""

PUBLISH_S: Final = 3_600.0


CLOSE_S: Final = 1.0
"""How long its end may take."""


class Told(Protocol):
    """The part of `federation.replica.Replica` that is needed here."""

    @property
    def holder(self) -> str:
        """This worker's name."""
        ...

    def holds(self, name: str) -> bool:
        """Whether it does for the host what one worker does."""
        ...

    def publish(self, kind: str, key: str, encode: Callable[[], bytes], *, lifetime_s: float, token: object) -> None:
        """Let others know; does not wait."""
        ...


class Look(Protocol):
    """The part of `runtime.sources.Sources` that is needed here."""

    def look(self, environ: Mapping[str, str], deadline: Deadline, complete: Complete) -> Reading | None:
        """What the sources say, if that is new."""
        ...

    @property
    def remote_problem(self) -> str:
        """Why a part of them could not be asked; empty if it could, or nobody has tried."""
        ...

    def start_afresh(self) -> None:
        """Take nothing for granted."""
        ...

    def rest(self) -> None:
        """Give up connections and threads."""
        ...


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
        read_at: On the monotonic clock, which all processes of a machine share.
    """

    reading: Reading
    read_at: float

    def encode(self) -> bytes:
        """As it is published."""
        settings = [asdict(setting) for setting in self.reading.settings.values()]
        return json.dumps({"hash": self.reading.hash, "readAt": self.read_at, "settings": settings}).encode()


def decode(body: bytes, environ: Mapping[str, str], cwd: Path) -> Read:
    """What another worker has published.

    Args:
        body: As `Read.encode` makes it.
        environ: The environment, where no parameter is looked for.
        cwd: What relative names of files start from.

    Returns:
        The reading; with problems instead of a configuration, if a file that it names is not there any more.

    Raises:
        ValueError: It is nothing of the kind.
    """
    try:
        told: Any = json.loads(body)
        settings = {
            one["name"].lower(): Setting(name=one["name"], value=one["value"], source=str(one["source"]))
            for one in told["settings"]
        }
        digest, read_at = str(told["hash"]), float(told["readAt"])
    except (LookupError, TypeError, AttributeError, RecursionError, ValueError) as error:
        raise ValueError("no configuration") from error
    try:
        reading = Reading(settings=settings, config=load_settings(settings, environ, cwd), hash=digest)
    except ConfigError as error:
        reading = Reading(settings=settings, problems=error.problems)
    return Read(reading=reading, read_at=read_at)


class Reloads:
    """One worker's part. It works on a thread of its own, `director-configuration`; any thread may ask.

    It is a `federation.replica.Follower` of what is published, and of an operator's wish for a look.

    Args:
        first: What this worker was started with.
        sources: Where the configuration comes from.
        environ: The environment.
        cwd: What relative names of files start from.
        told: What workers tell each other.
        apply: Puts a configuration in force, and returns its number; raises whatever is in the way, and nothing has
            changed then.
        complete: See `Sources.look`.
        keep: Keeps, for later starts, what has proved good; may raise OSError.
        complaint: What was wrong with the configuration at the start, in a sentence for operators.
        clock: Monotonic seconds.
        wall: Unix seconds.
    """

    # What changes here is changed by its own thread alone, and before that by the one that starts it; but _heard and
    # _asked are set by the replica's thread. Others read single objects.

    def __init__(
        self,
        *,
        first: Read,
        sources: Look,
        environ: Mapping[str, str],
        cwd: Path,
        told: Told,
        apply: Callable[[Config], int],
        complete: Complete,
        keep: Callable[[Reading], object],
        complaint: str = "",
        clock: Clock,
        wall: WallClock,
    ) -> None:
        self._sources = sources
        self._environ = environ
        self._cwd = cwd
        self._told = told
        self._apply = apply
        self._complete = complete
        self._keep = keep
        self._started_with = first.reading.settings
        self._clock = clock
        self._wall = wall
        self._config = first.reading.get()
        self._wanted = self._settled = first
        self._heard: Record | None = None
        self._asked: Record | None = None
        self._is_ours = False
        self._looks_left = 0
        self._running = Running(
            hash=first.reading.hash, generation=1, since=wall(), rejected=(complaint,) if complaint else ()
        )
        self._retry_at = self._tell_at = self._publish_at = -math.inf
        self.applied = 0
        self.rejected = 0
        self._job = PeriodicJob("director-configuration", lambda: HASTY_S if self._looks_left else LOOK_S, self.turn)

    # -- from any thread

    @property
    def running(self) -> Running:
        """What this worker runs."""
        return self._running

    def complaint(self) -> str:
        """What is wrong with the configuration that was read last, in a sentence for operators; empty if nothing is."""
        if not self._running.rejected:
            away = "Director.ConfigUrl does not answer; what it said before is in force. The log says why"
            return away if self._sources.remote_problem else ""
        return "The configuration that was read last is not in force; the one before is. The log says what is wrong"

    def took(self, record: Record) -> None:
        """Another worker has put a configuration in force, or an operator wants a look; on the replica's thread."""
        if record.remaining_s(self._wall()) <= 0:
            return
        if record.kind == LOOK:
            self._asked = record
        else:
            self._heard = record
        self._job.wake()

    def renewed(self, renewal: Renewal) -> None:
        """Nothing: each configuration is told anew."""

    def dropped(self, key: str) -> None:
        """Nothing: what is in force stays."""

    # -- its own life

    def catch_up(self) -> None:
        """Take over what has been published, if that is newer."""
        self._hear()
        self._settle()

    def start(self) -> None:
        """Catch up, so that the first request is answered by what the others run; then look and listen. Once."""
        self.catch_up()
        self._job.start()

    def close(self) -> None:
        """End, within `CLOSE_S`. Harmless if never started."""
        self._sources.rest()
        self._job.stop(Deadline.after(CLOSE_S, self._clock))
        self._sources.rest()  # a question may have begun in between

    def turn(self) -> None:
        """Look, listen, and put in force what is new; on its own thread, again and again."""
        self._hear()
        was_ours, self._is_ours = self._is_ours, self._told.holds(HOST)
        if self._is_ours:
            if not was_ours:  # what others have found since it was last ours is not known here
                self._sources.start_afresh()
            self._look()
        self._settle()
        self._tell()
        self._answer()

    def _hear(self) -> None:
        """Want what others run, if it was read later than what is wanted here."""
        record, self._heard = self._heard, None
        if record is None:
            return
        try:
            read = decode(record.body, self._environ, self._cwd)
        except ValueError as error:
            log.debug("a configuration of another version, or a broken one: %s", error)
            return
        if read.read_at > self._wanted.read_at:
            self._want(read)

    def _look(self) -> None:
        if self._asked is not None and not self._looks_left:
            self._looks_left = ANSWER_AFTER
            self._sources.start_afresh()
        reading = self._sources.look(self._environ, Deadline.after(LOOK_WITHIN_S, self._clock), self._complete)
        if reading is not None:
            self._want(Read(reading=reading, read_at=self._clock()))

    def _want(self, read: Read) -> None:
        self._wanted = read
        self._retry_at = -math.inf

    def _settle(self) -> None:
        """Have what is wanted in force, or know why not."""
        wanted = self._wanted
        if wanted is self._settled or self._clock() < self._retry_at:
            return
        try:
            number, pending = self._put_in_force(wanted.reading)
        except ConfigError as error:
            self._reject(error.problems)
        except Exception as error:  # whatever it is, the director goes on with what it has
            if not self._running.rejected:
                log.exception("The configuration cannot be put in force; the one before stays")
            self._reject((f"it cannot be put in force ({type(error).__name__}); the log says more",))
        else:
            self._settled = wanted
            self._settled_on(wanted.reading, number, pending)

    def _put_in_force(self, reading: Reading) -> tuple[int, tuple[str, ...]]:
        """The number of the generation that is in force now, and what waits for the next start.

        Raises:
            ConfigError: It is wrong.
        """
        pending = tuple(change.name for change in differences(self._config, reading.get()).pending)
        config = load_settings(held(reading.settings, self._started_with), self._environ, self._cwd)
        # What files of authorities hold is part of the hash, not of the configuration.
        names_files = any(one.row.by_content and getattr(config, one.attribute) is not None for one in PARAMETERS)
        has_same_files = not names_files or reading.hash == self._settled.reading.hash
        if config == self._config and has_same_files:
            return self._running.generation, pending
        number = self._apply(config)
        self._config = config
        self.applied += 1
        return number, pending

    def _settled_on(self, reading: Reading, number: int, pending: tuple[str, ...]) -> None:
        before = self._running
        is_new = number != before.generation
        self._running = Running(
            hash=reading.hash,
            generation=number,
            since=self._wall() if is_new else before.since,
            pending=pending,
        )
        self._tell_at = self._publish_at = -math.inf
        if is_new:
            log.info("A new configuration is in force (generation %d, %.12s)", number, reading.hash)
            for warning in reading.get().warnings:
                log.warning("%s", warning)
        elif before.rejected:
            log.info("The configuration is right again; what is in force stays")
        if pending and pending != before.pending:
            log.warning("Changed, and in force only after the next start or SIGHUP: %s", ", ".join(pending))
        if self._told.holds(HOST):
            try:
                self._keep(reading)
            except OSError as error:
                log.warning("No copy of the configuration can be kept: %s", error.strerror)

    def _reject(self, problems: tuple[str, ...]) -> None:
        self._retry_at = self._clock() + RETRY_S
        if problems == self._running.rejected:
            return
        self.rejected += 1
        self._running = replace(self._running, rejected=problems)
        self._tell_at = -math.inf
        log.error("The configuration is wrong; the one before stays in force: %s", "; ".join(problems))

    def _tell(self) -> None:
        """Let others know what is in force here, and operators."""
        now = self._clock()
        if now >= self._tell_at:
            self._tell_at = now + TELL_S
            running = self._running
            self._told.publish(RUNNING, self._told.holder, running.encode, lifetime_s=TOLD_S, token=running)
        if now >= self._publish_at and self._told.holds(HOST):
            self._publish_at = now + PUBLISH_S
            self._told.publish(CONFIGURATION, "", self._settled.encode, lifetime_s=PUBLISHED_S, token=None)

    def _answer(self) -> None:
        """Tell an operator who asked what came of it."""
        if not self._looks_left:
            return
        self._looks_left -= 1
        asked = self._asked
        if self._looks_left or asked is None:
            return
        self._asked = None
        running = self._running
        self._told.publish(LOOKED, asked.key, running.encode, lifetime_s=ANSWER_S, token=None)
