"""What a row of the configuration table is made of.

A row is a field of the dataclass `parameters.Config`; everything about it that a type and a default cannot say stands
in the field's metadata, as one `Row`. Knows nothing of any particular parameter.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

METADATA_KEY: Final = "row"

MASKED: Final = "(secret)"
"""Stands for a value that nobody is shown."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """One sort of value: how it is read from a file or the environment, and how it is printed.

    Attributes:
        name: As the documentation calls it: `duration`, `URL`.
        read: From a string (the environment, a YAML scalar), a list of such or a dict of such. Raises ValueError whose
            text says what was expected.
        show: The value as an operator would write it; an empty text for nothing.
        skipped: The entries of a raw value that `read` leaves out, as sentences; most kinds leave out nothing.
    """

    name: str
    read: Callable[[object], T]
    show: Callable[[T], str]
    skipped: Callable[[object], tuple[str, ...]] = lambda _: ()


@dataclass(frozen=True, slots=True)
class Check(Generic[T]):
    """What a value must be beyond its kind.

    Attributes:
        text: Reads after "expected": `at least 1`.
        holds: Whether a value passes.
    """

    text: str
    holds: Callable[[T], bool]


@dataclass(frozen=True, slots=True)
class Row(Generic[T]):
    """What is known of one parameter besides its attribute, its type and its default.

    Attributes:
        name: Pelican's: `Director.StatTimeout`.
        default_text: How the default reads in the documentation where it depends on the host or on other rows.
        live: Whether a reload may change it; otherwise it takes a restart.
        ours: Pelican has no such parameter.
        forgiving: A value that fails the check is replaced by the default, with a warning, because Pelican does so.
        formerly: A name that Pelican has replaced by this one; counts if this one is not set.
        base_file: Below `ConfigBase`; taken if nothing is configured and it exists. Only for files.
        may_be_missing: That there is no such file is no mistake: it is made, or comes later. Only for files.
        by_content: Another content of the file is another configuration. Only for files that nobody else watches.
        secret: Nobody is shown the value: no message, no log, no list of values.
    """

    name: str
    kind: Kind[T]
    help: str
    check: Check[T] | None = None
    default_text: str = ""
    live: bool = True
    ours: bool = False
    forgiving: bool = False
    formerly: str = ""
    base_file: str = ""
    may_be_missing: bool = False
    by_content: bool = False
    secret: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return variable_of(self.name)

    def shown(self, value: T) -> str:
        """A value as an operator may see it; an empty text for nothing."""
        return MASKED if self.secret and value else self.kind.show(value)


def variable_of(name: str) -> str:
    """The environment variable for Pelican's name of a parameter: `PELICAN_` + upper case, `.` as `_`."""
    return "PELICAN_" + name.replace(".", "_").upper()


def row(default: T, kind: Kind[T], name: str, help: str, **more: Any) -> T:  # noqa: A002, as in argparse
    """A field with a default. `more` are further attributes of `Row`."""
    field: T = dataclasses.field(default=default, metadata={METADATA_KEY: Row(name, kind, help, **more)})
    return field


def about(name: str, kind: Kind[Any], help: str, **more: Any) -> Mapping[str, Row[Any]]:  # noqa: A002, as above
    """The metadata of a field that has no default, or a made one, and is therefore written with `dataclasses.field`."""
    return {METADATA_KEY: Row(name, kind, help, **more)}


def between(least: float, most: float, text: str = "") -> Check[Any]:
    """A number from `least` to `most`, both allowed; `text` is how the range reads, with its units."""
    return Check(text or f"{least} to {most}", lambda value: least <= value <= most)


def one_of(*words: str) -> Check[Any]:
    """One of these words, exactly so."""
    return Check(f"{', '.join(words[:-1])} or {words[-1]}", lambda value: value in words)
