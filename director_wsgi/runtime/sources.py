"""Where the configuration comes from: files, what is fetched, the environment.

A later source wins: default, main file, the files of `ConfigLocations`, the document at `Director.ConfigUrl`, the
environment. What all of them say together at one time is a `Reading`. `Sources.read` makes one at once, for a start;
`Sources.look` is for whoever watches: it makes one when something has changed, and is cheap when nothing has.

A file that is being written is left alone until two looks have found it the same: untouched, or, if somebody touches it
all the time, with the same content. What can be read and is wrong, or cannot be read any more, is a reading too: it has
problems instead of a configuration.
"""

import contextlib
import datetime as dt
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from director_wsgi.errors import ConfigError
from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.runtime import names, watch
from director_wsgi.runtime.config import Config, made, partly_made
from director_wsgi.runtime.local_files import Local, LocalFiles, merged
from director_wsgi.runtime.parameters import PARAMETERS, Parameter
from director_wsgi.runtime.reading import Reading, digest_of_file
from director_wsgi.runtime.remote import FETCH_S, OF_THE_FETCH, Document, Remote, said, write_copy
from director_wsgi.runtime.yaml_file import Setting, parse_settings

__all__ = ["TRIES", "Complete", "Reading", "Sources", "load"]

TRIES: Final = 4
"""How often a cold start asks for the document at `Director.ConfigUrl` before it gives up."""

FIRST_PAUSE_S: Final = 1.0
"""Between the first two tries; doubled each time."""

RETRY_S: Final = 10.0
"""After that long, what is wrong is read and judged again although no file has changed: something it names may have."""

RESTLESS_LOOKS: Final = 3
"""After so many looks of which each found files touched since the one before, it is their content that counts."""

WARN_LOOKS: Final = 30
"""After so many that have found another content each time, operators are told."""

_NOT_IN_THE_DOCUMENT: Final = frozenset(
    one.row.name.lower() for one in PARAMETERS if one.attribute.startswith("config_") and one.attribute != "config_base"
)
"""What says where the configuration comes from: a document that said so itself could lead anywhere."""

_logger = logging.getLogger(__name__)

Complete = Callable[[Config], Config]
"""Fills in what the federation's discovery URL has to tell; raises ConfigError if it does not."""

Pause = Callable[[float], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnDisk:
    """What files say: either `local` or `problems`; and how to fetch the rest, if that can be told from it."""

    local: Local | None = None
    problems: tuple[str, ...] = ()
    fetch: Config | None = None


class Sources:
    """All sources, and what of them has been seen. For one thread at a time, but for `rest`.

    A process that is about to fork calls `rest` first: neither connections nor threads survive that.

    Args:
        cwd: What relative names start from, and where `pelican.yaml` is looked for.
        clock: Monotonic seconds.
        remote: What is at `Director.ConfigUrl`; asked over the network if left out.
    """

    def __init__(self, cwd: Path, *, clock: Clock = monotonic, remote: Remote | None = None) -> None:
        self._cwd = cwd
        self._clock = clock
        self._remote = remote or Remote(clock=clock)
        self._files = LocalFiles(cwd)
        self._named: tuple[Path, ...] = ()  # files whose content counts
        self._seen: object = None  # what the files looked like at the last look
        self._taken: object = None  # what they looked like when a look read them; None: they are to be read
        self._on_disk: _OnDisk | None = None  # what was read then
        self._restless = 0  # looks, one after the other, of which each found something touched
        self._glimpse: object = None  # what the last of them read
        self._believed: object = None  # the last glimpse that two of them had
        self._document: Document | None = None  # what was judged last
        self._last: Reading | None = None
        self._judged_at = clock()
        self._is_afresh = True

    @property
    def remote_problem(self) -> str:
        """Why `Director.ConfigUrl` did not answer when it was asked last; empty if it did, or nobody has asked."""
        return "" if self._remote.failure is None else str(self._remote.failure)

    def read(
        self, environ: Mapping[str, str], *, tries: int = 1, is_offline: bool = False, pause: Pause | None = None
    ) -> Reading:
        """Read everything now, whatever has been seen before.

        Blocks for `FETCH_S` for each try and the pauses between them, at most. If nobody answers at
        `Director.ConfigUrl`, what was said there before counts, to this process or to an earlier one.

        Args:
            environ: The environment.
            tries: How often to ask there, as long as nothing is known of what it says.
            is_offline: Ask nobody; that nothing is known of the document is no problem then.
            pause: Waits that many seconds.
        """
        on_disk = self._read_files(environ)
        fetch, document = on_disk.fetch, None
        if fetch is not None and fetch.config_url:
            document = self._remote.document(fetch) if is_offline else self._ask(fetch, tries, pause or _pause)
        self._on_disk = on_disk
        reading = self._judge(on_disk, environ, document, is_offline=is_offline)
        self.start_afresh()
        self._last = reading  # a look need not tell it again
        return reading

    def look(
        self, environ: Mapping[str, str], deadline: Deadline, complete: Complete = lambda config: config
    ) -> Reading | None:
        """See whether something has changed; to be called every second or so, on a thread that may wait.

        Costs some `stat` calls if nothing has, and a poll, of `FETCH_S` at most, when one is due.

        Args:
            environ: The environment.
            deadline: By which a poll comes back.
            complete: Fills in what the discovery URL has to tell.

        Returns:
            What the sources say now, if it comes to something else than what was read or told last; else None. So
            what is wrong is told once, and again only when something else is wrong.
        """
        is_broken = self._last is None or self._last.config is None
        if is_broken and self._clock() - self._judged_at >= RETRY_S:
            self._taken = None
        is_new = self._read_if_settled(environ)
        if self._taken is None or self._on_disk is None:
            return None
        document = self._polled(self._on_disk.fetch, deadline, is_new=is_new)
        if not is_new and _is_same(document, self._document):
            return None
        reading = self._judge(self._on_disk, environ, document, complete=complete)
        if reading.is_as(self._last):
            return None
        self._last = reading
        return reading

    def start_afresh(self) -> None:
        """Take nothing for granted, and tell whatever is found; for who begins to watch, or begins again."""
        self._seen = self._taken = self._last = None
        self._is_afresh = True

    def keep(self, reading: Reading) -> None:
        """Keep, on disk, what `Director.ConfigUrl` said in a reading that has proved good.

        Raises:
            OSError: It cannot be kept.
        """
        fetch = self._on_disk.fetch if self._on_disk is not None else None
        if fetch is not None and reading.document is not None:
            write_copy(fetch, reading.document)

    def rest(self) -> None:
        """Give up connections and threads; what comes next makes new ones. Any thread; ends a question under way."""
        self._remote.rest()

    # -- files

    def _marks(self, environ: Mapping[str, str]) -> object:
        return self._files.marks(environ), *map(watch.mark, self._named)

    def _read_files(self, environ: Mapping[str, str]) -> _OnDisk:
        try:
            local = self._files.read(environ)
        except ConfigError as error:
            return _OnDisk(problems=error.problems)
        fetch = None
        with contextlib.suppress(ConfigError):  # who judges all of it will say so
            fetch = partly_made(local.settings, environ, self._cwd, OF_THE_FETCH)
        return _OnDisk(local=local, fetch=fetch)

    def _read_if_settled(self, environ: Mapping[str, str]) -> bool:
        """Read the files if they have changed, but not since the last look; whether they were read."""
        marks = self._marks(environ)
        before, self._seen = self._seen, marks
        if marks not in (self._taken, before):
            return self._read_if_same(environ, marks)
        self._restless, self._glimpse, self._believed = 0, None, None
        if marks == self._taken:
            return False
        on_disk = self._read_files(environ)
        self._seen = self._marks(environ)
        if self._seen != marks:  # somebody is writing, or other directories are named than before
            return False
        self._taken, self._on_disk = marks, on_disk
        return True

    def _read_if_same(self, environ: Mapping[str, str], marks: object) -> bool:
        """The same of files that somebody touches all the time: whether what they say is new, and settled."""
        self._restless += 1
        if self._restless < RESTLESS_LOOKS:
            return False
        on_disk = self._read_files(environ)
        before, self._glimpse = self._glimpse, (on_disk, self._files.contents(), *map(digest_of_file, self._named))
        if self._restless == WARN_LOOKS:
            _logger.warning("The files of the configuration are changed all the time; nothing is taken over meanwhile")
        if before != self._glimpse:
            return False
        self._restless = RESTLESS_LOOKS
        is_new = self._taken is None or self._believed != self._glimpse
        self._taken, self._on_disk, self._believed = marks, on_disk, self._glimpse
        return is_new

    # -- what is fetched

    def _ask(self, fetch: Config, tries: int, pause: Pause) -> Document | None:
        for number in range(1, tries):
            document = self._remote.ask(fetch, Deadline.after(FETCH_S))
            failure = self._remote.failure
            if document is not None or failure is None or failure.is_final:
                return document
            pause_s = FIRST_PAUSE_S * 2 ** (number - 1)
            _logger.warning("%s: try %d of %d, next in %.0f s", said(fetch), number, tries, pause_s)
            pause(pause_s)
        return self._remote.ask(fetch, Deadline.after(FETCH_S))

    def _polled(self, fetch: Config | None, deadline: Deadline, *, is_new: bool) -> Document | None:
        """The document, after a poll if one is due; but what is new in files does not wait for it."""
        if fetch is None or not fetch.config_url:
            return None
        known = self._remote.known(fetch)
        if not self._is_afresh and ((is_new and known is not None) or not self._remote.is_due(fetch)):
            return known
        self._is_afresh = False
        return self._remote.ask(fetch, deadline)

    # -- what all of it comes to

    def _judge(
        self,
        on_disk: _OnDisk,
        environ: Mapping[str, str],
        document: Document | None,
        *,
        is_offline: bool = False,
        complete: Complete = lambda config: config,
    ) -> Reading:
        self._judged_at = self._clock()
        self._document = document
        if on_disk.local is None:
            return Reading(problems=on_disk.problems)
        local, warnings = on_disk.local, list(on_disk.local.warnings)
        problems: list[str] = []
        settings = local.settings
        if document is not None:
            try:
                settings = merged(settings, _told(document, warnings))
            except ConfigError as error:
                problems += error.problems
        missing = self._missing(on_disk.fetch, document)
        (warnings if is_offline or document is not None else problems).extend(missing)
        is_all = on_disk.fetch is not None and not problems and not missing
        try:
            config, obeyed = made(
                settings, environ, self._cwd, file=local.file, warnings=tuple(warnings), is_all=is_all
            )
            if not problems:
                config = complete(config)
        except ConfigError as error:
            problems += error.problems
        if problems:
            return Reading(problems=tuple(problems))
        self._named = _files_that_count(config)
        return Reading.of(config, obeyed, document)

    def _missing(self, fetch: Config | None, document: Document | None) -> tuple[str, ...]:
        """What is to be said of a document that is not there, or not as it may be by now."""
        if fetch is None or not fetch.config_url:
            return ()
        if document is None:
            return (f"{said(fetch)}: {self.remote_problem or 'nobody was asked'}; there is no copy of what it said",)
        if self._remote.failure is None:
            return ()
        at = dt.datetime.fromtimestamp(document.at, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return (f"{said(fetch)}: {self.remote_problem}; what it said at {at} is in force",)


def load(environ: Mapping[str, str], cwd: Path, *, tries: int = 1, is_offline: bool = False) -> Config:
    """The configuration, for a program that needs it once; the arguments are those of `Sources.read`.

    Raises:
        ConfigError: With every problem there is; with those of the files alone, if they cannot be understood.
    """
    sources = Sources(cwd)
    try:
        return sources.read(environ, tries=tries, is_offline=is_offline).get()
    finally:
        sources.rest()


def _told(document: Document, warnings: list[str]) -> dict[str, Setting]:
    """What the document sets. What it cannot set is left out, and added to `warnings`."""
    told = parse_settings(document.body, document.url, names.BY_LOWER_NAME)
    for name in sorted(_NOT_IN_THE_DOCUMENT & told.keys()):
        setting = told.pop(name)
        warnings.append(f"{setting.name} ({setting.source}) has no effect there; only in files and the environment")
    return told


def _files_that_count(config: Config) -> tuple[Path, ...]:
    """Those whose content is part of the configuration: named in it, or taken as soon as they are there."""
    those = [one for one in PARAMETERS if one.row.by_content]
    named = (getattr(config, one.attribute) or _base_file(one, config) for one in those)
    return tuple(path for path in named if path is not None)


def _base_file(one: Parameter, config: Config) -> Path | None:
    return config.config_base / one.row.base_file if one.row.base_file else None


def _is_same(document: Document | None, other: Document | None) -> bool:
    return document is other or (document is not None and document.is_as(other))


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
