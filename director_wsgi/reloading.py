"""How the workers of a host come to run one configuration, and the same.

The worker that holds the host's lease looks at the sources. What it finds new it puts in force itself first, and
publishes only what it runs by then; all others follow. A worker that is started later begins with what the master has
read, and takes over what was published if that was read later.

Only parameters that may change while the director runs are taken over. The others keep their values until the next
start, and are told as pending.
"""

import logging
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from director_wsgi.errors import ConfigError
from director_wsgi.federation.replica import HOST
from director_wsgi.federation.store.records import Record, Renewal
from director_wsgi.limits.deadline import Clock, Deadline, WallClock
from director_wsgi.reload_records import CONFIGURATION, LOOK, LOOKED, RUNNING, Read, Running, decode
from director_wsgi.runtime.changes import differences, held
from director_wsgi.runtime.config import Config, load_settings
from director_wsgi.runtime.parameters import PARAMETERS
from director_wsgi.runtime.periodic import PeriodicJob
from director_wsgi.runtime.reading import Reading
from director_wsgi.runtime.sources import Complete

log = logging.getLogger(__name__)

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

MOST_QUESTIONS: Final = 16
"""Operators' questions that are remembered at one time; the newest."""

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

    # What changes here is changed by its own thread alone, and before that by the one that starts it; but _heard is set
    # by the replica's thread alone, and _asked filled by it. Others read single objects.

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
        self._heeded: Record | None = None  # the last of those
        self._asked: deque[Record] = deque(maxlen=MOST_QUESTIONS)
        self._answering: tuple[str, ...] = ()
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
            self._asked.append(record)
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
        record = self._heard
        if record is None or record is self._heeded:
            return
        self._heeded = record
        try:
            read = decode(record.body, self._environ, self._cwd)
        except ValueError as error:
            log.debug("a configuration of another version, or a broken one: %s", error)
            return
        if read.read_at > self._wanted.read_at:
            self._want(read)
        elif read.read_at < self._settled.read_at:
            # From one that was late, such as a process that had been stopped; who starts next must not believe it.
            self._publish_at = -math.inf

    def _look(self) -> None:
        if not self._looks_left and (keys := self._questions()):
            self._answering, self._looks_left = keys, ANSWER_AFTER
            self._sources.start_afresh()
        reading = self._sources.look(self._environ, Deadline.after(LOOK_WITHIN_S, self._clock), self._complete)
        if reading is not None:
            self._want(Read(reading=reading, read_at=self._clock()))

    def _questions(self) -> tuple[str, ...]:
        """The keys of what operators have asked since the last time, and still want to know."""
        asked = [self._asked.popleft() for _ in range(len(self._asked))]
        return tuple(one.key for one in asked if one.remaining_s(self._wall()) > 0)

    def _want(self, read: Read) -> None:
        self._wanted = read
        self._retry_at = -math.inf

    def _settle(self) -> None:
        """Have what is wanted in force, or know why not."""
        wanted = self._wanted
        if wanted is self._settled or self._clock() < self._retry_at:
            return
        if wanted.reading.config is None and wanted.reading.settings:
            wanted = self._wanted = wanted.again(self._environ, self._cwd)
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
        """Tell operators who asked what came of it; whoever looks by now does, if it is not this worker any more."""
        if not self._looks_left:
            return
        self._looks_left = self._looks_left - 1 if self._is_ours else 0
        if self._looks_left or not self._is_ours:
            return
        for key in self._answering:
            self._told.publish(LOOKED, key, self._running.encode, lifetime_s=ANSWER_S, token=None)
