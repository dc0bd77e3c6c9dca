"""The files of a configuration: the main one, and those of the directories that it names.

Which of several wins, and that only the main file and the environment say where there are more: Pelican's
`ConfigLocations` (`docs/parameters.yaml`, `config/config.go:handleContinuedCfg`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from director_wsgi.errors import ConfigError
from director_wsgi.runtime import files, kinds, names, watch
from director_wsgi.runtime.config import DEFAULT_FILE, FILE_VARIABLE
from director_wsgi.runtime.rows import variable_of
from director_wsgi.runtime.watch import Mark
from director_wsgi.runtime.yaml_file import MAX_BYTES, Setting, parse_settings, read_content

LOCATIONS: Final = "ConfigLocations"

MAX_FILES: Final = 256
"""Most files in all directories together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """What the files say.

    Attributes:
        file: The main file as messages call it; empty if there is none.
        settings: By lower-case name; the last file that sets something has won.
        warnings: Sentences about what has no effect where it stands.
    """

    file: str
    settings: Mapping[str, Setting]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Parsed:
    """What a file held, and what that came to: settings or problems."""

    content: bytes
    settings: Mapping[str, Setting]
    problems: tuple[str, ...] = ()


class LocalFiles:
    """Reads the files, and tells whether they have been touched. For one thread at a time.

    Args:
        cwd: What relative names start from, and where `pelican.yaml` is looked for.
    """

    def __init__(self, cwd: Path) -> None:
        self._cwd = cwd
        self._directories: tuple[Path, ...] = ()
        self._has_default = False
        self._parsed: dict[str, _Parsed] = {}  # of the last reading, by name: to parse a long one takes a second

    def marks(self, environ: Mapping[str, str]) -> tuple[object, ...]:
        """What all of it looks like now, by what was read last; equal values mean that nothing has changed."""
        file = self._file(environ)
        main = (file, watch.mark(self._cwd / file)) if file else ()
        return (main, *(_listing(directory) for directory in self._directories))

    def read(self, environ: Mapping[str, str]) -> Local:
        """Read everything.

        Raises:
            ConfigError: With all that is wrong with what stands in the files: `yaml_file` says what.
        """
        file = self._file(environ)
        before, self._parsed = self._parsed, {}
        settings = self._settings(self._cwd / file, file, before) if file else {}
        self._has_default |= file == DEFAULT_FILE
        shown = _locations(settings, environ)
        self._directories = tuple(self._cwd / directory for directory in shown)
        problems: list[str] = []
        warnings: list[str] = []
        for path, name in self._further(shown, problems):
            try:
                further = self._settings(path, name, before)
            except ConfigError as error:
                problems += error.problems
                continue
            if (ignored := further.get(LOCATIONS.lower())) is not None:
                warnings.append(f"{LOCATIONS} ({ignored.source}) has no effect there; only in the main file")
            settings = merged(settings, {name: one for name, one in further.items() if one is not ignored})
        if problems:
            raise ConfigError(tuple(problems))
        return Local(file=file, settings=settings, warnings=tuple(warnings))

    def contents(self) -> object:
        """All that was read the last time; equal values mean that it was the same."""
        return {name: parsed.content for name, parsed in self._parsed.items()}

    def _settings(self, path: Path, shown: str, before: Mapping[str, _Parsed]) -> Mapping[str, Setting]:
        content = read_content(path, shown)
        parsed = before.get(shown)
        if parsed is None or parsed.content != content:
            parsed = _parsed(content, shown)
        self._parsed[shown] = parsed
        if parsed.problems:
            raise ConfigError(parsed.problems)
        return parsed.settings

    def _file(self, environ: Mapping[str, str]) -> str:
        """The main file. `pelican.yaml` need not be there, but once it was, its absence is not what anybody meant."""
        named = environ.get(FILE_VARIABLE, "").strip()
        if named or not (self._has_default or files.exists(self._cwd / DEFAULT_FILE)):
            return named
        return DEFAULT_FILE

    def _further(self, shown: tuple[Path, ...], problems: list[str]) -> Iterator[tuple[Path, str]]:
        """The files of the directories, and how messages call them; what is wrong is added to `problems`."""
        found: list[tuple[Path, str]] = []
        for directory in shown:
            try:
                paths = watch.yaml_files(self._cwd / directory)
            except OSError as error:
                problems.append(f"{LOCATIONS}: {directory}: expected a directory; {error.strerror}")
            except watch.TooManyEntries:
                problems.append(f"{LOCATIONS}: {directory}: more than {watch.MAX_ENTRIES} files are in it")
            else:
                found += ((path, str(directory / path.name)) for path in paths)
        if len(found) > MAX_FILES:
            problems.append(f"{LOCATIONS}: {len(found)} files, which is more than {MAX_FILES}")
        elif sum(watch.size_bytes(watch.mark(path)) for path, _ in found) > MAX_BYTES:
            problems.append(f"{LOCATIONS}: the files are longer than {MAX_BYTES} bytes together")
        else:
            yield from found


def _parsed(content: bytes, shown: str) -> _Parsed:
    try:
        return _Parsed(content, parse_settings(content, shown, names.BY_LOWER_NAME))
    except ConfigError as error:
        return _Parsed(content, {}, error.problems)


def merged(settings: Mapping[str, Setting], later: Mapping[str, Setting]) -> dict[str, Setting]:
    """What is set if `later` wins. An empty value sets nothing, so what was set before stays, as it does upstream."""
    return {**settings, **{name: setting for name, setting in later.items() if name not in settings or is_set(setting)}}


def is_set(setting: Setting) -> bool:
    """Whether it has a value; an empty one is none."""
    return setting.value is not None and bool(str(setting.value).strip())


def _locations(settings: Mapping[str, Setting], environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The directories; none if they are wrong, which whoever judges all settings will say."""
    setting = settings.get(LOCATIONS.lower())
    value: object = environ.get(variable_of(LOCATIONS), "").strip() or (setting.value if setting is not None else None)
    try:
        return () if value is None else kinds.DIRECTORIES.read(value)
    except ValueError:
        return ()


def _listing(directory: Path) -> tuple[object, ...]:
    try:
        paths = watch.yaml_files(directory)[: MAX_FILES + 1]
    except OSError as error:
        return (error.errno,)
    except watch.TooManyEntries:
        return (-1,)
    found: tuple[tuple[str, Mark], ...] = tuple((path.name, watch.mark(path)) for path in paths)
    return found
