"""What one worker tells of itself, as it is passed on, and how the pages of all workers become one.

Plain data: families of rows, each with the rule by which a number of several workers becomes one.
"""

import enum
import json
import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

FORMAT: Final = 1
"""Of `encode`. What has another number cannot be read; two versions that overlap tell of their own workers only."""

OTHER: Final = "other"
"""Stands for whatever is beyond a bound."""

MAX_KEPT_ROWS: Final = 2_000
"""Rows of a family that are kept of workers that have ended, if it does not say otherwise."""

MAX_KEPT_NAMES: Final = 1_000
"""Names of workers that are remembered because they were taken into account: the last ones."""

SERVER_LABELS: Final = 3
"""How many labels tell of which server a row is, where it is of one; the first ones."""

Row = tuple[str, tuple[str, ...]]
"""Name of a sample and the values of its labels."""

Server = tuple[str, ...]
"""The values of the labels that tell of which server a row is."""


class Across(enum.Enum):
    """How the numbers of several workers become one."""

    COUNTED = "counted"
    """Added up, those of workers that have ended included: the sum never falls."""
    COUNTED_OF_SERVER = "counted of server"
    """The same, while the server is advertised."""
    SUM = "sum"
    """Added up: what each has a part of."""
    MAX = "max"
    """The largest: what all of them say of the same thing, or the worst."""
    MIN = "min"
    """The smallest."""
    EACH = "each"
    """None becomes of them: each is told with its worker."""


_OUTLIVING: Final = frozenset({Across.COUNTED, Across.COUNTED_OF_SERVER})
_RULES: Final[Mapping[Across, Callable[..., float]]] = {Across.MAX: max, Across.MIN: min}


@dataclass(slots=True, kw_only=True)
class Family:
    """A metric of Prometheus.

    Attributes:
        name: As its library has it: without `_total`.
        kind: The library's word for its type.
        text: For operators.
        across: See there.
        most: How many rows are kept of workers that have ended; beyond it they are `other`.
        labels: The names of the labels, by the name of the sample.
        rows: The numbers.
    """

    name: str
    kind: str
    text: str
    across: Across
    most: int = MAX_KEPT_ROWS
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rows: dict[Row, float] = field(default_factory=dict)

    @property
    def outlives(self) -> bool:
        """Whether its numbers count when the worker has ended."""
        return self.across in _OUTLIVING

    def without_rows(self) -> "Family":
        """One like it, to be filled."""
        return Family(
            name=self.name,
            kind=self.kind,
            text=self.text,
            across=self.across,
            most=self.most,
            labels=dict(self.labels),
        )

    def alike(self, other: "Family") -> Iterator[tuple[Row, float]]:
        """The rows of another version of this family, but for those whose labels have other names."""
        strangers = {
            sample
            for sample, labels in other.labels.items()
            if self.labels.setdefault(sample, labels) != labels  # what this one has no row of yet is taken over
        }
        return (pair for pair in other.rows.items() if pair[0][0] not in strangers)

    def merge(self, other: "Family") -> None:
        """Let the numbers of another worker count in this one."""
        rule: Callable[[float, float], float] = _RULES.get(self.across, operator.add)
        rows = self.rows
        for row, number in self.alike(other):
            rows[row] = rule(rows[row], number) if row in rows else number

    def of_worker(self, worker: str) -> "Family":
        """The same with a label that names the worker."""
        made = self.without_rows()
        made.labels = {sample: (*labels, "worker") for sample, labels in self.labels.items()}
        made.rows = {(sample, (*values, worker)): number for (sample, values), number in self.rows.items()}
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a worker told at some moment, or what is kept of those that have ended.

    Attributes:
        worker: Its process id; empty for those that have ended.
        families: By name.
        is_live: Whether it was told just now. Else only what outlives a worker counts.
        kept: Names of the workers that have been added to it.
    """

    worker: str
    families: dict[str, Family]
    is_live: bool = True
    kept: tuple[str, ...] = ()

    def tells_of_strays(self, advertised: Collection[Server] | None) -> bool:
        """Whether it tells of servers that are not advertised any more."""
        return advertised is not None and any(
            values[:SERVER_LABELS] not in advertised
            for family in self.families.values()
            if family.across is Across.COUNTED_OF_SERVER
            for _, values in family.rows
        )


NOBODY: Final = Page(worker="", families={}, is_live=False)
"""Of nobody."""


def together(pages: Iterable[Page], advertised: Collection[Server] | None) -> list[Family]:
    """One family for each that a living worker tells.

    Args:
        pages: Of the workers and of those that have ended; none is changed.
        advertised: Of which servers to tell; None: of all.
    """
    pages = sorted(pages, key=lambda page: not page.is_live)
    has_several = sum(page.is_live for page in pages) > 1
    found: dict[str, Family] = {}
    for page in pages:
        for family in page.families.values():
            if not (page.is_live or (family.outlives and family.name in found)):
                continue
            if family.across is Across.EACH and has_several:
                family = family.of_worker(page.worker)  # noqa: PLW2901, the same in another shape
            found.setdefault(family.name, family.without_rows()).merge(family)
    for family in found.values():
        _forget_strays(family, advertised)
    return list(found.values())


def kept(ended: Page, pages: Mapping[str, Page], advertised: Collection[Server] | None) -> Page:
    """What is kept of the workers that have ended, once more of them have.

    Args:
        ended: What has been kept so far; is not changed.
        pages: The last page of each that is to be added, by its name.
        advertised: As for `together`.
    """
    families: dict[str, Family] = {}
    for page in (ended, *pages.values()):
        for family in page.families.values():
            if family.outlives:
                _keep(families.setdefault(family.name, family.without_rows()), family)
    for family in families.values():
        _forget_strays(family, advertised)
    names = (*ended.kept, *pages)[-MAX_KEPT_NAMES:]
    return Page(worker="", families=families, is_live=False, kept=names)


def _keep(target: Family, family: Family) -> None:
    """Add up; beyond the bound under one row, so that the sum of all rows is right nevertheless."""
    is_bounded = target.across is Across.COUNTED
    for (sample, values), number in target.alike(family):
        row = sample, values
        if is_bounded and row not in target.rows and len(target.rows) >= target.most:
            row = sample, (OTHER,) * len(values)
        target.rows[row] = target.rows.get(row, 0) + number


def _forget_strays(family: Family, advertised: Collection[Server] | None) -> None:
    if advertised is None or family.across is not Across.COUNTED_OF_SERVER:
        return
    for row in [row for row in family.rows if row[1][:SERVER_LABELS] not in advertised]:
        del family.rows[row]


def encode(page: Page) -> Iterator[bytes]:
    """A page as it is passed on: JSON, in a line for each family, so that no step of it takes long."""
    yield _line([FORMAT, page.worker, page.kept])
    for family in page.families.values():
        rows: dict[str, list[list[Any]]] = {sample: [] for sample in family.labels}
        for (sample, values), number in family.rows.items():
            rows[sample].append([*values, number])
        samples = [[sample, labels, rows[sample]] for sample, labels in family.labels.items()]
        yield _line([family.name, family.kind, family.text, family.across.value, family.most, samples])


def _line(told: list[Any]) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode() + b"\n"


def decode(data: bytes) -> Page:
    """Read what `encode` wrote; the page counts as one of a worker that has ended.

    Raises:
        ValueError: It did not write this, or another version of it did.
    """
    try:
        first, *lines = data.splitlines()
        number, worker, names = json.loads(first)
        if number != FORMAT:
            raise ValueError(f"its format is {number}")
        families = {family.name: family for family in map(_family, lines)}
        return Page(worker=worker, families=families, is_live=False, kept=tuple(names))
    except (TypeError, LookupError, RecursionError) as error:
        raise ValueError(f"not what a worker tells: {error}") from error


def _family(line: bytes) -> Family:
    name, kind, text, across, most, samples = json.loads(line)
    labels = {sample: tuple(names) for sample, names, _ in samples}
    rows = {(sample, tuple(row[:-1])): row[-1] + 0 for sample, _, told in samples for row in told}
    return Family(name=name, kind=kind, text=text, across=Across(across), most=most, labels=labels, rows=rows)
